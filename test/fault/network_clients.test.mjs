// The network between a bridge and its clients is cut: packets vanish, nobody is told (no FIN, no RST). The bridge is rid
// of its dead peers within twice the heartbeat, clients on another wire notice nothing, those that were cut off come back
// and resume, and no half-open socket stays behind. Before the long cut, short ones in either direction.
// The clients stand in a network namespace of their own. Not here: the database's side (network_database).

import { apart } from './lib/apart.mjs';

const skip = apart('network_clients');

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Client } from '../e2e/lib/client.mjs';
import { Bridge, freePort } from '../e2e/lib/bridge.mjs';
import { until, SLOW } from '../e2e/lib/wait.mjs';
import { established, Net } from './lib/apart.mjs';
import { lasting, rounds, seconds } from './lib/random.mjs';
import { held, Scene, unitChannels } from './lib/scene.mjs';

const UNITS = [1, 2, 3];
const HEARTBEAT_S = 4; // this process may stand still for half of it, and its clients with it
const CUT_OFF = rounds(12, 40);
const UNTOUCHED = 6;
const MUTE = 4; // clients that never send anything: only the bridge can find out
// Twice the heartbeat; the rest is for a machine with much else to do.
const DEAD_WITHIN_MS = 2 * HEARTBEAT_S * 1000 + 10_000 * SLOW;
const BACK_WITHIN_MS = 20_000 * SLOW;
const PATIENCE_MS = 2000 * SLOW; // of those who are cut off: they look for another connection soon

describe('the network between a bridge and its clients', { skip }, () => {
  let scene;
  let bridge;
  let wires;

  before(async () => {
    const net = await Net.make();
    await net.room('bridge');
    wires = [await net.wire('here', 'bridge'), await net.wire('here', 'bridge')];
    scene = await Scene.start('network, clients', {
      bridges: [],
      async prepare({ db, bridges }) {
        const port = await freePort();
        bridge = await Bridge.start(db, ['--heartbeat', `${HEARTBEAT_S}s`, '--listen', wires.map(({ far }) => `${far}:${port}`).join(',')],
          { port, host: wires[1].far, wrapper: net.inside('bridge') });
        bridges.push(bridge);
      },
    });
  });
  after(async () => {
    await scene?.end();
    await scene?.remove();
  });

  it('is cut: dead peers go, nobody else notices, nothing is lost', async () => {
    await scene.begin();
    const connections = () => established(bridge.process.pid, bridge.port);
    const [far, near] = wires.map(({ far: host }) => ({ origin: `http://${host}:${bridge.port}` }));
    const cutOff = [];
    const untouched = [];
    for (let n = 0; n < CUT_OFF; n++) cutOff.push(await scene.session(`cut${n}`, { unit: UNITS[n % 3], stay: Infinity, patience: PATIENCE_MS, bridges: [far] }));
    for (let n = 0; n < UNTOUCHED; n++) untouched.push(await scene.session(`near${n}`, { unit: UNITS[n % 3], stay: Infinity, bridges: [near] }));
    await scene.reached();
    await until('all sessions to be there', async () => await connections() === CUT_OFF + UNTOUCHED);
    // Its connections to the database, which come and go with what there is to ask, are not meant.
    const descriptors = async () => (await held(bridge.process.pid)).descriptors - (await scene.backends()).length;
    const before = await descriptors();
    scene.write(3, { units: UNITS });
    const mute = [];

    try {
      const chaos = scene.random.child('flaps');
      for (let n = rounds(5, 20); n > 0; n--) {
        await wires[0].cut(chaos.pick([['in'], ['out'], ['in', 'out']]));
        await lasting(chaos.int(50, 500)); // a hiccup of that length
        await wires[0].heal();
        await lasting(chaos.int(0, 200));
      }
      await scene.reached();
      await until('all to be there after short cuts, and nobody twice', async () => await connections() === CUT_OFF + UNTOUCHED, BACK_WITHIN_MS);
      for (let n = 0; n < MUTE; n++) { // only now: a short cut may have ended them, and they do not come back
        const client = await Client.open(far, { token: await scene.db.token(`mute${n}`, { units: [7] }) });
        mute.push(client);
        await client.subscribe(unitChannels(7)[0]);
      }
      await until('them, too', async () => await connections() === CUT_OFF + UNTOUCHED + MUTE, BACK_WITHIN_MS);

      const cutAt = performance.now();
      await wires[0].cut();
      await until('the bridge to be rid of its dead peers', async () => await connections() === UNTOUCHED, DEAD_WITHIN_MS)
        .catch(async (error) => { error.message += `: it has ${await connections()} connections, ${UNTOUCHED} are alive`; throw error; });
      const deadAfter = performance.now() - cutAt;
      await lasting(Math.max(0, seconds(8) * 1000 - deadAfter)); // the cut
      assert.equal(await connections(), UNTOUCHED, 'nothing piles up behind a cut');
      const cutFor = performance.now() - cutAt;

      const healed = performance.now();
      await wires[0].heal();
      await until('those who were cut off to be back', async () => await connections() === CUT_OFF + UNTOUCHED, BACK_WITHIN_MS);
      const backAfter = performance.now() - healed;
      await scene.calm();
      for (const { stream, name } of untouched) assert.equal(stream.closes.size, 0, `${name} was closed: ${JSON.stringify([...stream.closes])}`);
      let now;
      await until('the descriptors to be as before', async () => (now = await descriptors()) <= before + 1)
        .catch((error) => { error.message += `: ${before} before, ${now} now`; throw error; });
      await scene.verdict({ cutSeconds: Math.round(cutFor / 1000), deadAfterMs: Math.round(deadAfter), backAfterMs: Math.round(backAfter), descriptors: [before, now] });
    } finally {
      await wires[0].heal();
      for (const client of mute) client.socket.terminate();
      await scene.end();
    }
  });
});
