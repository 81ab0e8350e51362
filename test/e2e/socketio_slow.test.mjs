// Socket.IO clients that poll, while more than --max-queue piles up for them. Who does not fetch: 4408, told when it fetches again, nothing
// lost when it comes back. Who fetches late goes on at its own pace. A bounded cost, nobody else disturbed. One that has a WebSocket and
// does not read it is in socketio.test.mjs.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { Cluster } from './lib/cluster.mjs';
import { Bridge, PROGRAM } from './lib/bridge.mjs';
import { metric } from './lib/metrics.mjs';
import { Proxy } from './lib/proxy.mjs';
import { SCHEMA } from './lib/schema.mjs';
import { Io } from './lib/socketio.mjs';
import { DEADLINE_MS, until } from './lib/wait.mjs';

const POLLING = '/socket.io/?EIO=4&transport=polling';
const QUEUE_BYTES = 256 * 1024;
const ROW_BYTES = 200_000;
const ROWS = 120; // 24 MB, at the least
const LATE_MS = 300; // each fetch of one that is slow
const MEMORY_BYTES = 15e6; // what those may cost for five clients, three of them slow
const SANITIZED = PROGRAM.includes('sanitize'); // keeps what was freed
const OVERFLOWS = 'livefeed_queue_overflows_total';
const CLOSED = 'livefeed_sessions_closed_total{code="4408"}';

describe('socket.io clients that poll too slowly', () => {
  let cluster;
  let db;
  let token;
  const clients = [];

  before(async () => {
    cluster = await Cluster.start();
    db = await cluster.database(`${SCHEMA} SELECT livefeed.socketio_namespace('/requests', ARRAY['requests:unit:{unit}'])`);
    token = await db.token('42', { units: [7] });
  });
  after(async () => {
    for (const client of clients) client.leave();
    await cluster?.remove();
  });

  async function open(origin, way) {
    const client = await Io.open(origin, '/requests', { way, auth: { token } });
    clients.push(client);
    return client;
  }

  /** One by hand: connected to the namespace; gives where it polls. It fetches when it is told to. */
  async function byHand(bridge) {
    const { sid } = JSON.parse((await bridge.get(POLLING)).body.slice(1));
    const target = `${POLLING}&sid=${sid}`;
    const join = `40/requests,${JSON.stringify({ token })}`;
    assert.equal((await bridge.get(target, { method: 'POST', body: join, headers: { 'Content-Length': Buffer.byteLength(join) } })).body, 'ok');
    await until('its namespace', async () => (await bridge.get(target)).body.includes('"subscribed"'));
    return target;
  }

  let row = 0;
  const insert = () => db.write(`INSERT INTO requests (id, unit_id, title) VALUES ($1, 7, repeat('x', $2))`, [++row, ROW_BYTES]);
  const isLast = (last) => ({ key }) => key === String(last);

  it('4408 for who does not fetch, which comes back and has everything, as has who fetches late; the others have it at once', async (t) => {
    const bridge = await Bridge.start(db, ['--max-queue', `${QUEUE_BYTES}`, '--history', '1 MiB', '--heartbeat', '10min']);
    const proxies = [await Proxy.start(bridge.port), await Proxy.start(bridge.port)];
    try {
      const quick = [await open(bridge.origin, 'polling'), await open(bridge.origin, 'websocket')];
      const held = await open(proxies[0].origin, 'polling');
      const late = await open(proxies[1].origin, 'polling');
      const target = await byHand(bridge);
      let release;
      const released = new Promise((resolve) => { release = resolve; });
      proxies[0].hold = () => released;
      proxies[1].hold = ({ method }) => (method === 'GET' ? pause(LATE_MS) : null);
      const memory = () => metric(bridge, 'process_resident_memory_bytes');
      const before = await memory();
      let most = before;
      // Those of which it is known, and are still there: they have not fetched what says so.
      const known = async () => await metric(bridge, OVERFLOWS) - await metric(bridge, CLOSED);
      for (const began = Date.now(); row < ROWS || await known() < 2;) {
        assert.ok(Date.now() - began < 6 * DEADLINE_MS, `${await known()} known`);
        await insert();
        for (const client of quick) await client.next('request.created', isLast(row));
        most = Math.max(most, await memory());
      }
      t.diagnostic(`${row} rows of ${ROW_BYTES} bytes; ${Math.round((most - before) / 1e6)} MB of memory; the late one has ${late.ids().length} of them, and ${late.ends.length} ends`);
      if (!SANITIZED) assert.ok(most - before < MEMORY_BYTES, `${most - before} bytes`);
      for (const client of quick) assert.deepEqual([client.ends, client.connects], [[], 1], 'who fetches is not disturbed');

      // Who polls again is given what had its place before the bound, then the reason, then the end.
      const bodies = [];
      for (let n = 0; n < 10 && !bodies.at(-1)?.endsWith('1'); n++) bodies.push((await bridge.get(target)).body);
      const packets = bodies.join('\x1e').split('\x1e');
      assert.deepEqual(packets.slice(-1), ['1']);
      assert.match(packets.at(-2), /^42\/requests,\["closing",\{"type":"closing","code":4408,"reason":"too slow"\}/);
      assert.ok(bodies.join('').length < 2 * QUEUE_BYTES, `${bodies.join('').length} bytes`);
      assert.equal((await bridge.get(target)).status, 400);

      proxies[0].hold = proxies[1].hold = null;
      release();
      await insert();
      await held.connected(2);
      for (const client of [...quick, held, late]) {
        await client.next('request.created', isLast(row));
        assert.deepEqual(client.ids(), quick[0].ids(), 'each once, in order');
        assert.ok(client.recovered.slice(1).every(Boolean), `${client.recovered}`);
      }
      assert.deepEqual(held.named('closing').map(([, { code }]) => code), [4408]);
      // On a busy machine it may have been later than half a second.
      assert.deepEqual(late.named('closing').map(([, { code }]) => code), late.ends.map(() => 4408));
      assert.equal(await known(), 0, 'each is counted when it is too slow, and by its code when it has gone');
      assert.deepEqual(quick.map(({ ends }) => ends), [[], []]);
    } finally {
      for (const client of clients) client.leave();
      for (const proxy of proxies) await proxy.stop();
      await bridge.stop();
    }
  });

  it('one that never comes back is let go of with its heartbeat, and what waited for it', async () => {
    const bridge = await Bridge.start(db, ['--max-queue', `${QUEUE_BYTES}`, '--heartbeat', '4s']);
    try {
      const target = await byHand(bridge);
      await until('it to be too slow', async () => { await insert(); return await metric(bridge, OVERFLOWS) === 1; });
      await until('it to be gone', async () => await metric(bridge, 'livefeed_sessions{transport="socketio"}') === 0);
      assert.deepEqual([await metric(bridge, CLOSED), await metric(bridge, 'livefeed_peers_lost_total'), await metric(bridge, 'livefeed_subscriptions')], [1, 1, 0]);
      assert.equal((await bridge.get(target)).status, 400);
    } finally {
      await bridge.stop();
    }
  });
});
