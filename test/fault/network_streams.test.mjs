// The network between a bridge and clients of /events is cut: packets vanish, nobody is told (no FIN, no RST). The bridge is rid of them soon
// after two heartbeats that no kernel confirmed, streams on another wire notice nothing, and who was cut off comes back with his cursor.
// The clients stand in a network namespace of their own. Not here: WebSockets (network_clients).

import { apart } from './lib/apart.mjs';

const skip = apart('network_streams');

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Bridge, freePort } from '../e2e/lib/bridge.mjs';
import { Cluster } from '../e2e/lib/cluster.mjs';
import { SCHEMA } from '../e2e/lib/schema.mjs';
import { Stream } from '../e2e/lib/stream.mjs';
import { SLOW, until } from '../e2e/lib/wait.mjs';
import { established, Net } from './lib/apart.mjs';

const HEARTBEAT_S = 1;
const CUT_OFF = 6;
const UNTOUCHED = 3;
const UNIT = 'requests:unit:7';
// A heartbeat until the next write, two until TCP gives up on it; the rest is for a machine with much else to do.
const DEAD_WITHIN_MS = 3 * HEARTBEAT_S * 1000 + 10_000 * SLOW;

describe('the network between a bridge and its streams', { skip }, () => {
  let cluster;
  let db;
  let bridge;
  let wires;

  before(async () => {
    const net = await Net.make();
    await net.room('bridge');
    wires = [await net.wire('here', 'bridge'), await net.wire('here', 'bridge')];
    cluster = await Cluster.start();
    db = await cluster.database(SCHEMA);
    const port = await freePort();
    bridge = await Bridge.start(db, ['--heartbeat', `${HEARTBEAT_S}s`, '--listen', wires.map(({ far }) => `${far}:${port}`).join(',')],
      { port, host: wires[1].far, wrapper: net.inside('bridge') });
  });
  after(async () => {
    await wires?.[0].heal();
    await bridge?.stop();
    await cluster?.remove();
  });

  it('is cut: dead peers go, nobody else notices, nothing is lost', async () => {
    const token = await db.token('1', { units: [7] });
    const at = ({ far: host }) => ({ host, port: bridge.port });
    const begin = async (wire) => {
      const one = await Stream.open(at(wire), { token, channels: [UNIT] });
      await until('a cursor', () => one.lastId);
      return one;
    };
    const insert = (id) => db.write(`INSERT INTO requests (id, unit_id, title) VALUES ($1, 7, 'x')`, [id]);
    const cutOff = await Promise.all(Array.from({ length: CUT_OFF }, () => begin(wires[0])));
    const untouched = await Promise.all(Array.from({ length: UNTOUCHED }, () => begin(wires[1])));
    const connections = () => established(bridge.process.pid, bridge.port);
    try {
      await insert(1);
      for (const each of [...cutOff, ...untouched]) await each.next({ key: '1' });
      const began = performance.now();
      await wires[0].cut();
      await insert(2);
      for (const each of untouched) await each.next({ key: '2' });
      await until('the bridge to be rid of its dead peers', async () => await connections() === UNTOUCHED, DEAD_WITHIN_MS)
        .catch(async (error) => { error.message += `: it has ${await connections()} connections, ${UNTOUCHED} are alive`; throw error; });
      console.log(`network_streams: ${JSON.stringify({ heartbeatSeconds: HEARTBEAT_S, deadAfterMs: Math.round(performance.now() - began) })}`);
      await insert(3);
      for (const each of untouched) await each.next({ key: '3' });
      await wires[0].heal();
      for (const each of cutOff) {
        const again = await Stream.open(at(wires[0]), { token, channels: [UNIT], lastEventId: each.lastId });
        await again.next({ key: '3' });
        assert.deepEqual([...each.frames, ...again.frames].map(({ frame }) => frame.key), ['1', '2', '3']);
        again.leave();
      }
      for (const each of untouched) assert.equal(each.ended, false);
    } finally {
      for (const each of [...cutOff, ...untouched]) each.leave();
    }
  });
});
