// Socket.IO under breaks and behind other set-ups: clients whose connection breaks at random moments, by each way, while bridges are
// killed and rows move between units, get each event once, in order; through TLS, below a base path; livefeed.sessions knows them;
// who left all namespaces is let go.

import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { Cluster } from './lib/cluster.mjs';
import { Bridge } from './lib/bridge.mjs';
import { certify } from './lib/certificate.mjs';
import { Proxy } from './lib/proxy.mjs';
import { SCHEMA } from './lib/schema.mjs';
import { Io, WAYS } from './lib/socketio.mjs';
import { until } from './lib/wait.mjs';

const ROUNDS = 25;

describe('socket.io and breaks', () => {
  let cluster;
  let db;
  let token;
  const clients = [];

  before(async () => {
    cluster = await Cluster.start();
    db = await cluster.database(`${SCHEMA}
      SELECT livefeed.socketio_namespace('/all', ARRAY['requests:unit:{unit}', 'orders:user:{user}', 'notices'])`);
    token = await db.token('42', { units: [7, 8] });
  });
  after(async () => {
    for (const client of clients) client.leave();
    await cluster?.remove();
  });

  async function open(origin, options) {
    const client = await Io.open(origin, '/all', { auth: { token }, ...options });
    clients.push(client);
    return client;
  }

  it('whatever breaks, each event comes once and in order', async () => {
    let seed = Number(process.env.SEED ?? Date.now() % 1e6);
    const first = seed;
    const random = (n) => { seed = (seed * 1103515245 + 12345) % 2147483648; return Math.floor((seed / 2147483648) * n); };
    const bridge = await Bridge.start(db, ['--history', '16 KiB']); // most comes from the log
    const proxies = [];
    try {
      const all = [];
      for (const way of Object.keys(WAYS)) {
        proxies.push(await Proxy.start(bridge.port));
        all.push(await open(proxies.at(-1).origin, { way }));
      }
      const from = [];
      for (const client of all) from.push((await client.next('welcome'))[1].cursor);
      let changes = 0;
      const change = () => db.write([
        `INSERT INTO requests (unit_id, title) SELECT 7 + n % 2, 'r' FROM generate_series(0, ${random(4)}) n`,
        `UPDATE requests SET unit_id = 15 - unit_id WHERE id = (SELECT max(id) FROM requests)`,
        `BEGIN; INSERT INTO orders VALUES (${++changes}, 42); INSERT INTO requests (unit_id, title) VALUES (7, 'with it'), (9, 'of others'); COMMIT`,
        `INSERT INTO orders VALUES (${++changes}, 43)`,
        `DELETE FROM requests WHERE id = (SELECT min(id) FROM requests)`,
      ][random(5)]);
      for (let round = 0; round < ROUNDS; round++) {
        for (let n = random(3); n >= 0; n--) await change();
        if (random(2)) proxies[random(proxies.length)].cut();
        if (round % 10 === 5) {
          await bridge.kill();
          await change();
          await bridge.again();
        }
        if (random(3) === 0) await until('somebody to be connected', () => all.some((client) => client.socket.connected));
      }
      const [{ last }] = await db.query(`INSERT INTO requests (unit_id, title) VALUES (7, 'last') RETURNING id AS last`);
      for (const [n, client] of all.entries()) {
        await client.next('request.created', (frame) => frame.key === String(last)).catch((error) => { error.message += ` (SEED=${first})`; throw error; });
        const logged = await db.query(`SELECT id FROM livefeed.events(since => $1, max => 10000)
          WHERE feed = 'requests' AND unit IN ('7', '8') AND type <> 'request.updated' -- of a row that moves: not for the units
            OR feed = 'orders' AND '42' = ANY (users)`, [from[n]]);
        assert.deepEqual(client.ids(), logged.map(({ id }) => Number(id)), `${Object.keys(WAYS)[n]}, SEED=${first}`);
        assert.ok(client.recovered.slice(1).every(Boolean), `recovered each time: ${client.recovered}, SEED=${first}`);
        client.leave();
      }
    } finally {
      for (const proxy of proxies) await proxy.stop();
      await bridge.stop();
    }
  });

  it('through TLS and below a base path', async () => {
    const folder = await mkdtemp(path.join(os.tmpdir(), 'livefeed-socketio-'));
    const { cert, key } = await certify(folder, 1);
    const bridge = await Bridge.start(db, ['--tls-cert', cert, '--tls-key', key, '--base-path', '/live'], { ready: false });
    try {
      for (const way of Object.keys(WAYS)) {
        const client = await open(bridge.origin.replace('http:', 'https:'), { way, path: '/live/socket.io/', rejectUnauthorized: false });
        client.ends.length = 0; // before the bridge was ready
        const text = 'x'.repeat(150_000) + way;
        await db.write(`INSERT INTO requests (unit_id, title) VALUES (7, $1)`, [text]);
        await client.next('request.created', ({ data }) => data.title === text);
        if (way === 'upgrade') await until('the WebSocket to carry it', () => client.transport === 'websocket');
        assert.deepEqual(client.ends, []);
        client.leave();
      }
    } finally {
      await bridge.stop();
      await rm(folder, { recursive: true });
    }
  });

  it('is among livefeed.sessions, by namespace, until it leaves; who has left all is let go', async () => {
    const bridge = await Bridge.start(db, ['--heartbeat', '1s', '--idle-auth', '1s']);
    try {
      const client = await open(bridge.origin, { way: 'polling' });
      const sessions = () => db.query(`SELECT user_id FROM livefeed.sessions WHERE transport = 'socketio'`);
      await until('its session', async () => (await sessions()).length === 1);
      assert.equal((await sessions())[0].user_id, '42');
      client.socket.io.reconnection(false); // it would come back when it is let go of
      client.socket.io.engine.write('1/all,'); // leaves the namespace, and stays connected
      await until('its session to end', async () => (await sessions()).length === 0);
      await until('its connection to be closed', () => client.ends.length > 0);
      client.leave();
    } finally {
      await bridge.stop();
    }
  });
});
