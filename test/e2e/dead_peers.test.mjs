// Clients that are gone without a word: asked after a heartbeat, given up after two. Those that answer live on, however quiet.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { after, before, describe, it } from 'node:test';
import { Cluster } from './lib/cluster.mjs';
import { Bridge } from './lib/bridge.mjs';
import { Client, isEvent } from './lib/client.mjs';
import { metric } from './lib/metrics.mjs';
import { PING, PONG, Raw, TEXT, frame } from './lib/raw.mjs';
import { SCHEMA } from './lib/schema.mjs';
import { until, within, DEADLINE_MS, SLOW } from './lib/wait.mjs';

// For an answer, or to be told something before the end: as long as a machine may stand still.
const HEARTBEAT_MS = 4000 * SLOW;
const LONG_WAIT_MS = DEADLINE_MS + 4 * HEARTBEAT_MS;

// At the same time, each with a bridge of its own: most of it is waiting.
describe('dead peers', { concurrency: true }, () => {
  let cluster;
  let db;
  let token;

  before(async () => {
    cluster = await Cluster.start();
    db = await cluster.database(SCHEMA);
    token = await db.token('42', { units: [7] });
  });
  after(async () => {
    await cluster?.remove();
  });

  async function serve(heartbeat, work) {
    const bridge = await Bridge.start(db, ['--heartbeat', `${heartbeat}ms`]);
    try {
      await work(bridge);
    } finally {
      await bridge.stop();
    }
  }

  const sessions = (bridge) => metric(bridge, 'livefeed_sessions{transport="websocket"}');

  it('who never answers gets one ping, and is closed after two heartbeats; it is counted', () => serve(HEARTBEAT_MS, async (bridge) => {
    assert.equal(await metric(bridge, 'livefeed_peers_lost_total'), 0);
    const began = Date.now();
    const raw = await Raw.websocket(bridge, token);
    await raw.message({ type: 'welcome' });
    await raw.gone(LONG_WAIT_MS);
    const lasted = Date.now() - began;
    assert.ok(lasted >= 1.8 * HEARTBEAT_MS, `closed after ${lasted} ms: not before its time`);
    assert.equal(raw.frames().filter((each) => each.opcode === PING).length, 1);
    assert.equal(await metric(bridge, 'livefeed_peers_lost_total'), 1);
  }));

  it('events sent to it do not keep it', () => serve(HEARTBEAT_MS, async (bridge) => {
    const raw = await Raw.websocket(bridge, token);
    await raw.send(frame(TEXT, JSON.stringify({ type: 'subscribe', ref: 1, channel: 'requests:unit:7' })));
    await raw.message({ type: 'subscribed' });
    let id = 0;
    await until('it to be closed', async () => {
      await db.write(`INSERT INTO requests (id, unit_id, title) VALUES ($1, 7, 'x')`, [++id]);
      await until('the event', () => raw.ended || raw.messages().some((each) => each.key === `${id}`));
      return raw.ended;
    }, LONG_WAIT_MS);
    assert.ok(raw.messages().some((each) => each.key === '1'), 'it was sent events all the while');
  }));

  it('who answers pings and says nothing else lives on; so does who speaks and answers none', () => serve(HEARTBEAT_MS, async (bridge) => {
    const client = await Client.open(bridge, { token }); // a library that answers by itself
    const answering = await Raw.websocket(bridge, token);
    const talking = await Raw.websocket(bridge, token);
    let answered = 0;
    let pings = 0;
    let spoke = 0;
    client.socket.on('ping', () => { pings++; });
    await until('some heartbeats', async () => {
      const asked = answering.frames().filter((each) => each.opcode === PING).length;
      for (; answered < asked; answered++) await answering.send(frame(PONG, ''));
      if (Date.now() - spoke > HEARTBEAT_MS / 8) {
        spoke = Date.now();
        await talking.send(frame(TEXT, '{"type":"ping"}'));
      }
      return pings >= 2 && answered >= 2;
    }, LONG_WAIT_MS);
    assert.equal(client.closed, null);
    assert.equal(answering.ended, false);
    assert.equal(talking.ended, false);
    assert.ok(talking.frames().filter((each) => each.opcode === PING).length < 2, 'who is heard is not asked');
    await client.leave();
    answering.leave();
    talking.leave();
  }));

  it('a client process that is stopped is closed; when it goes on, it learns so, and another gets every event', () => serve(HEARTBEAT_MS, async (bridge) => {
    const script = `
      import WebSocket from 'ws';
      const socket = new WebSocket('ws://127.0.0.1:${bridge.port}/ws?token=${token}');
      socket.on('message', (data) => process.stdout.write(JSON.parse(data).type + '\\n'));
      socket.on('close', (code) => process.stdout.write('closed ' + code + '\\n'));`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', script], { cwd: new URL('..', import.meta.url).pathname, stdio: ['ignore', 'pipe', 'inherit'] });
    let said = '';
    child.stdout.on('data', (data) => { said += data; });
    try {
      await until('its welcome', () => /welcome/.test(said), 2 * DEADLINE_MS);
      assert.equal(await sessions(bridge), 1);
      child.kill('SIGSTOP');
      await until('its session to be gone', async () => await sessions(bridge) === 0, LONG_WAIT_MS);
      const client = await Client.open(bridge, { token });
      await client.subscribe('requests:unit:7');
      await db.write(`INSERT INTO requests (id, unit_id, title) VALUES (50000, 7, 'x')`);
      await client.next((frame) => isEvent(frame) && frame.key === '50000');
      await client.leave();
      child.kill('SIGCONT');
      await until('it to learn', () => /closed 1006/.test(said));
    } finally {
      child.kill('SIGKILL');
    }
    await within('its end', new Promise((resolve) => { if (child.exitCode !== null || child.signalCode) resolve(); else child.once('exit', resolve); }));
  }));
});
