// Clients that are gone without a word: asked after a heartbeat, given up after two. Those that answer live on, however quiet.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { after, before, describe, it } from 'node:test';
import { Cluster } from './lib/cluster.mjs';
import { Bridge } from './lib/bridge.mjs';
import { Client, isEvent } from './lib/client.mjs';
import { PING, PONG, Raw, TEXT, frame } from './lib/raw.mjs';
import { SCHEMA } from './lib/schema.mjs';
import { until, within } from './lib/wait.mjs';

const HEARTBEAT_MS = 1000;

describe('dead peers', () => {
  let cluster;
  let db;
  let bridge;
  let token;

  before(async () => {
    cluster = await Cluster.start();
    db = await cluster.database(SCHEMA);
    bridge = await Bridge.start(db, ['--heartbeat', `${HEARTBEAT_MS}ms`]);
    token = await db.token('42', { units: [7] });
  });
  after(async () => {
    await bridge?.stop();
    await cluster?.remove();
  });

  async function metric(name) {
    const { body } = await bridge.get('/metrics');
    const line = body.split('\n').find((each) => each.startsWith(`${name} `));
    assert.ok(line, `${name} is in\n${body}`);
    return Number(line.split(' ')[1]);
  }

  it('who never answers gets one ping, and is closed after two heartbeats; it is counted', async () => {
    const lost = await metric('livefeed_peers_lost_total');
    const raw = await Raw.websocket(bridge, token);
    await raw.message({ type: 'welcome' });
    const began = Date.now();
    await raw.gone();
    const lasted = Date.now() - began;
    assert.ok(lasted >= 1.8 * HEARTBEAT_MS, `closed after ${lasted} ms: not before its time`);
    assert.equal(raw.frames().filter((each) => each.opcode === PING).length, 1);
    assert.equal(await metric('livefeed_peers_lost_total'), lost + 1);
  });

  it('events sent to it do not keep it', async () => {
    const raw = await Raw.websocket(bridge, token);
    await raw.send(frame(TEXT, JSON.stringify({ type: 'subscribe', ref: 1, channel: 'requests:unit:7' })));
    await raw.message({ type: 'subscribed' });
    for (let id = 1; !raw.ended && id < 1000; id++) {
      await db.write(`INSERT INTO requests (id, unit_id, title) VALUES ($1, 7, 'x')`, [id]);
      await until('the event', () => raw.ended || raw.messages().some((each) => each.key === `${id}`));
    }
    assert.ok(raw.ended, 'closed though it was sent events all the while');
  });

  it('who answers pings and says nothing else lives on; so does who speaks and answers none', async () => {
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
      if (Date.now() - spoke > HEARTBEAT_MS / 4) {
        spoke = Date.now();
        await talking.send(frame(TEXT, '{"type":"ping"}'));
      }
      return pings >= 3 && answered >= 3;
    });
    assert.equal(client.closed, null);
    assert.equal(answering.ended, false);
    assert.equal(talking.ended, false);
    assert.equal(talking.frames().filter((each) => each.opcode === PING).length, 0, 'who is heard is not asked');
    await client.leave();
    answering.leave();
    talking.leave();
  });

  it('a client process that is stopped is closed; when it goes on, it learns so, and another gets every event', async () => {
    const script = `
      import WebSocket from 'ws';
      const socket = new WebSocket('ws://127.0.0.1:${bridge.port}/ws?token=${token}');
      socket.on('message', (data) => process.stdout.write(JSON.parse(data).type + '\\n'));
      socket.on('close', (code) => process.stdout.write('closed ' + code + '\\n'));`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', script], { cwd: new URL('..', import.meta.url).pathname, stdio: ['ignore', 'pipe', 'inherit'] });
    let said = '';
    child.stdout.on('data', (data) => { said += data; });
    try {
      await until('its welcome', () => /welcome/.test(said));
      const sessions = await metric('livefeed_sessions{transport="websocket"}');
      child.kill('SIGSTOP');
      await until('its session to be gone', async () => await metric('livefeed_sessions{transport="websocket"}') < sessions);
      const client = await Client.open(bridge, { token });
      await client.subscribe('requests:unit:7');
      await db.write(`INSERT INTO requests (id, unit_id, title) VALUES (5000, 7, 'x')`);
      assert.equal((await client.next(isEvent)).key, '5000');
      await client.leave();
      child.kill('SIGCONT');
      await until('it to learn', () => /closed 1006/.test(said));
    } finally {
      child.kill('SIGKILL');
    }
    await within('its end', new Promise((resolve) => { if (child.exitCode !== null || child.signalCode) resolve(); else child.once('exit', resolve); }));
  });
});
