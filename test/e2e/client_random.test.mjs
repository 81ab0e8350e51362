// The browser library under random writers while connections break and ways are blocked and opened: what it keeps is
// what the tables hold, and of every event it tells once, in order.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { seconds, seeded } from '../fault/lib/random.mjs';
import { Cluster } from './lib/cluster.mjs';
import { Bridge } from './lib/bridge.mjs';
import { Client } from './lib/client.mjs';
import { follow, liveClient } from './lib/livefeed.mjs';
import { Proxy } from './lib/proxy.mjs';
import { SCHEMA } from './lib/schema.mjs';
import { DEADLINE_MS, until } from './lib/wait.mjs';

const SECONDS = seconds(4);
const KEYS = 30;

const UNITS = [7, 8, 9]; // the client is in the first two

/** One change, or a few in one transaction; some are taken back. */
async function change(db, random) {
  const id = random.int(0, KEYS - 1);
  const unit = random.pick(UNITS);
  const title = `t${random.int(0, 999)}`;
  const one = () => random.pick([
    `INSERT INTO requests (id, unit_id, title) VALUES (${id}, ${unit}, '${title}') ON CONFLICT (id) DO UPDATE SET title = excluded.title`,
    `UPDATE requests SET title = '${title}' WHERE id = ${id}`,
    `UPDATE requests SET unit_id = ${unit} WHERE id = ${id}`,
    `DELETE FROM requests WHERE id = ${id}`,
    `INSERT INTO places VALUES ('r,${id % 3}', 's ${id}', '${unit}', '${title}') ON CONFLICT (region, spot) DO UPDATE SET note = excluded.note, unit_name = excluded.unit_name`,
    `DELETE FROM places WHERE spot = 's ${id}'`,
  ]);
  const end = random.chance(0.1) ? 'ROLLBACK' : 'COMMIT';
  await db.write(`BEGIN; ${Array.from({ length: random.int(1, 4) }, one).join('; ')}; ${end}`);
}

describe('livefeed-client', () => {
  let cluster;
  let db;
  let bridge;
  let calm; // never broken
  let proxy;

  before(async () => {
    cluster = await Cluster.start();
    db = await cluster.database(SCHEMA);
    bridge = await Bridge.start(db, ['--heartbeat', '2s']);
    calm = await Bridge.start(db);
    proxy = await Proxy.start(bridge.port);
  });
  after(async () => {
    await proxy?.stop();
    await bridge?.stop();
    await calm?.stop();
    await cluster?.remove();
  });

  /** Runs writers for a while, and the faults one after the other; lets all come to rest, and compares. */
  async function compare(t, name, faults) {
    const random = seeded(name);
    await db.write('DELETE FROM requests; DELETE FROM places');
    const witness = await Client.open(calm, { token: await db.token('zoe', { units: [7, 8] }) });
    for (const unit of [7, 8]) await witness.subscribe(`requests:unit:${unit}`);
    const client = liveClient(proxy.origin, { token: () => db.token('ann', { units: [7, 8] }) });
    try {
      const told = [7, 8].map((unit) => follow(client, `requests:unit:${unit}`));
      await until('a connection', () => client.transport);
      const counts = {};
      client.onStatus((status) => { counts[status] = (counts[status] ?? 0) + 1; });
      const collections = new Map();
      const keep = (channel) => collections.set(channel, client.collection(channel));
      keep('requests:unit:7');
      keep('places:unit:7');
      await until('the first rows', () => [...collections.values()].every(({ loaded }) => loaded));
      const end = Date.now() + SECONDS * 1000;
      let broken = 0;
      const breaking = (async () => {
        for (; Date.now() < end || broken < faults.length; broken++) {
          await pause(random.int(100, 500));
          await faults[broken % faults.length](client);
        }
      })().finally(() => { broken = Infinity; });
      const enough = () => told.every(({ events }) => events.length > 20) || Date.now() > end + DEADLINE_MS;
      const writing = (async () => {
        while (Date.now() < end || broken < faults.length || !enough()) {
          await change(db, random);
          await pause(random.int(0, 9));
        }
      })();
      await pause(SECONDS * 300);
      keep('requests:unit:8'); // late
      keep('places:unit:8');
      await Promise.all([writing, breaking]);
      Object.assign(proxy, { upgrades: true, streams: true });
      proxy.cut();
      await db.write(`INSERT INTO requests (id, unit_id) VALUES (1000, 7), (1001, 8)`);
      await witness.caughtUp(db);
      await until('the last events', () => told.every(({ events }, at) => events.at(-1)?.key === String(1000 + at)), 3 * DEADLINE_MS); // it waits for up to 30 s between two tries
      for (const [channel, { rows }] of collections) {
        const [feed, , unit] = channel.split(':');
        const stored = await db.query(feed === 'requests' ? 'SELECT id, title, status FROM requests WHERE unit_id::text = $1' : 'SELECT * FROM places WHERE unit_name = $1', [unit]);
        const keyed = Object.fromEntries(stored.map((row) => [feed === 'requests' ? String(row.id) : `${encodeURIComponent(row.region)},${encodeURIComponent(row.spot)}`, row]));
        await until(`${channel} to be what the table holds`, () => assert.deepEqual(Object.fromEntries(rows), keyed) ?? true);
      }
      for (const [at, unit] of ['7', '8'].entries()) {
        const { events, resyncs } = told[at];
        const ids = witness.events(`requests:unit:${unit}`).map(({ id }) => id);
        const got = events.map(({ id }) => id);
        assert.deepEqual(got, ids.slice(ids.indexOf(got[0])), `the events of unit ${unit}`);
        assert.ok(got.length > 20, `${got.length} events`);
        assert.deepEqual(resyncs, []);
      }
      t.diagnostic(`${told[0].events.length} and ${told[1].events.length} events; ${JSON.stringify(counts)}`);
    } finally {
      client.close();
      await witness.leave();
    }
  }

  const cut = () => proxy.cut();
  const kill = async () => { await bridge.kill(); await bridge.again(); };
  const other = (client) => client.subscribe('storage:unit:7').unsubscribe();
  const allow = (upgrades, streams = true) => () => { Object.assign(proxy, { upgrades, streams }); };
  const carries = (transport) => (client) => until(transport, () => client.transport === transport, 5 * DEADLINE_MS);

  it('keeps what the tables hold, and tells every event once, over broken connections and killed bridges', async (t) => {
    await compare(t, 'client over WebSocket', [cut, carries('websocket'), cut, other, kill, carries('websocket'), cut]);
  });

  it('the same from way to way: a proxy that refuses WebSockets, holds streams back, and lets them through again', async (t) => {
    await compare(t, 'client from way to way', [allow(false), cut, carries('sse'), other, cut, carries('sse'), allow(true), carries('websocket'),
      allow(false, false), kill, carries('poll'), cut, carries('poll'), other, allow(true), carries('websocket'), cut]);
  });
});
