// The browser library in Node, on a real bridge: subscriptions, snapshots, values, commands, collections; what it does
// when connections break, tokens end and rights change.

import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { Cluster, idOf } from './lib/cluster.mjs';
import { Bridge } from './lib/bridge.mjs';
import { Client } from './lib/client.mjs';
import { COMMANDS } from './lib/commands.mjs';
import { broken, follow, gone, hearing, liveClient } from './lib/livefeed.mjs';
import { metric, settled } from './lib/metrics.mjs';
import { Proxy } from './lib/proxy.mjs';
import { DEADLINE_MS, until } from './lib/wait.mjs';

const TABLES = `${COMMANDS}
  CREATE FUNCTION open_requests(unit text) RETURNS jsonb LANGUAGE sql STABLE AS
    $$ SELECT to_jsonb(count(*)) FROM requests WHERE unit_id::text = unit AND status = 'Pending' $$;
  SELECT livefeed.expose_query('open_requests', 'open_requests(text)', 'unit', '{requests}');
  SELECT livefeed.declare_feed('jobs', retain => true);
  CREATE TABLE prices (price numeric(6,2), tags int[], unit_id integer, note text, PRIMARY KEY (price, tags));
  SELECT livefeed.watch('prices', unit => 'unit_id');
`;

describe('livefeed-client', () => {
  let cluster;
  let db;
  let bridge;
  let clients = [];

  before(async () => {
    cluster = await Cluster.start();
    db = await cluster.database(TABLES);
    bridge = await Bridge.start(db);
  });
  afterEach(async () => {
    for (const client of clients) client.close();
    clients = [];
    await gone(bridge);
    await db.write('DELETE FROM requests; DELETE FROM places');
    await settled(bridge, db);
  });
  after(async () => {
    await bridge?.stop();
    await cluster?.remove();
  });

  /** A client as that user, a member of units 7 and 8. */
  function as(user, { origin = bridge.origin, ...more } = {}) {
    const client = liveClient(origin, { token: () => db.token(user, { units: [7, 8] }), ...more });
    clients.push(client);
    return client;
  }

  it('tells events, snapshots and values over one connection, and runs commands', async () => {
    await db.write(`INSERT INTO requests (id, unit_id, title) VALUES (1, 7, 'one')`);
    const client = as('alice');
    const statuses = [];
    client.onStatus((status) => statuses.push(status));
    assert.equal(client.status, 'offline');
    const rows = follow(client, 'requests:unit:7', { snapshot: true });
    const count = follow(client, 'open_requests:unit:7');
    const events = follow(client, 'requests:unit:8');
    await until('the snapshot and the value', () => rows.snapshots.length && count.values.length);
    assert.deepEqual(rows.snapshots[0].data, [{ id: 1, title: 'one', status: 'Pending' }]);
    assert.deepEqual(count.values, [1]);
    assert.deepEqual(statuses, ['live']);
    assert.equal(client.transport, 'websocket');
    assert.equal(await metric(bridge, 'livefeed_sessions{transport="websocket"}'), 1);

    assert.deepEqual(await client.call('rename', { id: 1, title: 'uno' }), { id: 1, by: 'alice' });
    await until('the event', () => rows.events.length);
    assert.equal(rows.events[0].data.title, 'uno');
    await assert.rejects(client.call('raise', { message: 'no, thank you', state: 'P0001' }), { code: 'command_failed', message: 'no, thank you' });
    await assert.rejects(client.call('nonsense'), { code: 'unknown_command' });
    await db.write(`INSERT INTO requests (id, unit_id, title) VALUES (2, 8, 'two')`);
    await until('the other unit', () => events.events.length);
    assert.equal(events.snapshots.length, 0);
    assert.equal(rows.events.length, 1);
    await db.write(`UPDATE requests SET status = 'Done' WHERE id = 1`);
    await until('the new value', () => count.values.at(-1) === 0);
  });

  it('serves many subscriptions of one channel with one, and lets go of it with the last', async () => {
    const client = as('alice');
    const first = follow(client, 'open_requests:unit:7');
    const second = follow(client, 'open_requests:unit:7');
    await until('both values', () => first.values.length && second.values.length);
    assert.equal(await metric(bridge, 'livefeed_subscriptions'), 1);
    const late = follow(client, 'open_requests:unit:7');
    await until('the value that is known', () => late.values.length);
    first.subscription.unsubscribe();
    late.subscription.unsubscribe();
    await db.write(`INSERT INTO requests (unit_id) VALUES (7)`);
    await until('the one that is left', () => second.values.at(-1) === 1);
    assert.deepEqual([first.values, late.values], [[0], [0]]);
    second.subscription.unsubscribe();
    await until('none', async () => await metric(bridge, 'livefeed_subscriptions') === 0);
  });

  it('gives a late subscriber the rows without taking events from the others', async () => {
    const client = as('alice');
    const early = follow(client, 'requests:unit:7');
    await until('it to be live', () => early.started);
    const write = (id) => db.write(`INSERT INTO requests (id, unit_id) VALUES ($1, 7)`, [id]);
    for (let id = 1; id <= 20; id++) await write(id);
    const late = follow(client, 'requests:unit:7', { snapshot: true });
    for (let id = 21; id <= 40; id++) await write(id);
    await until('the rows', () => late.snapshots.length);
    await write(41); // those before may all be in the rows
    await until('all events', () => [early, late].every(({ events }) => events.at(-1)?.key === '41'));
    assert.deepEqual(early.events.map(({ key }) => Number(key)), Array.from({ length: 41 }, (_, n) => n + 1));
    const held = late.snapshots[0].data.map(({ id }) => id);
    const all = new Set([...held, ...late.events.map(({ key }) => Number(key))]);
    assert.equal(all.size, 41);
    assert.equal(early.resyncs.length, 0);
  });

  it('keeps rows by key: composite keys, declared feeds, rows that leave', async () => {
    await db.write(`INSERT INTO places VALUES ('north', 'a,b', '7', 'x'), ('süd', 'c', '7', 'y')`);
    await db.write(`SELECT livefeed.publish('jobs', 'started', '{"done":1}', '7', '{}', 'a'), livefeed.publish('jobs', 'started', '{"done":2}', '7', '{}', 'b')`);
    const client = as('alice');
    const places = client.collection('places:unit:7');
    const jobs = client.collection('jobs:unit:7');
    const seen = [];
    places.onChange((event) => seen.push(event?.type ?? null));
    await until('both', () => places.loaded && jobs.loaded);
    assert.deepEqual([...places.rows.keys()].sort(), ['north,a%2Cb', 's%C3%BCd,c']);
    assert.deepEqual(Object.fromEntries(jobs.rows), { a: { done: 1 }, b: { done: 2 } });
    await db.write(`UPDATE places SET note = 'z' WHERE region = 'north'`);
    await db.write(`UPDATE places SET unit_name = '8' WHERE region = 'süd'`);
    await db.write(`SELECT livefeed.publish('jobs', 'deleted', NULL, '7', '{}', 'a'), livefeed.publish('jobs', 'progressed', '{"done":3}', '7', '{}', 'b')`);
    await until('the changes', () => places.rows.size === 1 && jobs.rows.size === 1);
    assert.equal(places.rows.get('north,a%2Cb').note, 'z');
    assert.deepEqual(jobs.rows.get('b'), { done: 3 });
    assert.deepEqual(seen, [null, 'places.updated', 'places.deleted']);
    assert.equal(places.version, 3);
    const others = follow(client, 'places:unit:7');
    places.close();
    await db.write('DELETE FROM places');
    await until('others to hear of it', () => others.events.length === 1);
    assert.equal(places.rows.size, 1);
  });

  it('knows rows whose key reads otherwise in JSON than in events', async () => {
    await db.write(`INSERT INTO prices VALUES (1.50, '{1,2}', 7, 'a'), (2, '{}', 7, 'b')`);
    const client = as('alice');
    const prices = client.collection('prices:unit:7');
    await until('the rows', () => prices.loaded);
    assert.deepEqual([...prices.rows.keys()].sort(), ['1.50,%7B1%2C2%7D', '2.00,%7B%7D']);
    await db.write(`UPDATE prices SET note = 'c' WHERE price = 1.5; DELETE FROM prices WHERE price = 2`);
    await until('the changes', () => prices.rows.size === 1);
    assert.equal([...prices.rows.values()][0].note, 'c');
  });

  it('loses and doubles nothing when the bridge is killed, and comes back by itself', async () => {
    const own = await Bridge.start(db);
    try {
      const client = as('alice', { origin: own.origin });
      const told = follow(client, 'requests:unit:7');
      const rows = client.collection('requests:unit:7');
      await until('live', () => rows.loaded);
      const statuses = [];
      client.onStatus((status) => statuses.push(status));
      await db.write(`INSERT INTO requests (id, unit_id) VALUES (1, 7)`);
      await until('the first', () => told.events.length === 1);
      await own.kill();
      await until('offline', () => client.status === 'offline');
      const waiting = client.call('rename', { id: 2, title: 'called while away' }, { timeout: 4 * DEADLINE_MS });
      await db.write(`INSERT INTO requests (id, unit_id) SELECT n, 7 FROM generate_series(2, 50) n; DELETE FROM requests WHERE id = 1`);
      await own.again();
      await until('live again', () => client.status === 'live', 3 * DEADLINE_MS);
      assert.deepEqual(await waiting, { id: 2, by: 'alice' });
      await until('the rows', () => rows.rows.size === 49 && rows.rows.get('2').title === 'called while away');
      assert.deepEqual(told.events.map(({ key }) => key), ['1', ...Array.from({ length: 49 }, (_, n) => String(n + 2)), '1', '2']);
      assert.deepEqual([statuses.filter((status) => status !== 'polling'), told.resyncs], [['offline', 'live'], []]); // HTTP may find it first
    } finally {
      await own.stop();
    }
  });

  it('goes on where pongs say that all is sent, channel by channel', async () => {
    const own = await Bridge.start(db, ['--heartbeat', '1s', '--history', '64KiB']);
    const proxy = await Proxy.start(own.port);
    try {
      const pongs = [];
      const client = as('alice', { origin: proxy.origin, WebSocket: hearing('pong', pongs) });
      const quiet = follow(client, 'requests:unit:7');
      const busy = follow(client, 'requests:unit:8');
      await until('both to be live', () => quiet.started && busy.started);
      const then = await db.head();
      await db.write(`INSERT INTO requests (unit_id, title) SELECT 8, repeat('long ', 1000) FROM generate_series(1, 30)`);
      await until('all of it', () => busy.events.length === 30);
      const last = busy.events.at(-1).id;
      await until('a pong that covers it', () => pongs.some(({ cursor }) => idOf(cursor) >= last), 3 * DEADLINE_MS); // a ping is not for some 10 s
      await db.query('SELECT livefeed.tick()');
      const witness = await Client.open(own, { token: await db.token('zoe', { units: [7] }) });
      await until('what the quiet channel was last sent to be kept no more', async () => {
        await db.query(`SELECT livefeed.prune('0 s')`); // does nothing while a bridge prunes
        return (await witness.subscribe('requests:unit:7', { since: then })).recovered === false;
      });
      await witness.leave();
      await broken(client, proxy);
      await until('live again', () => client.status === 'live');
      await db.write(`INSERT INTO requests (unit_id) VALUES (7), (8)`);
      await until('the events', () => quiet.events.length === 1 && busy.events.length === 31);
      assert.deepEqual([quiet.resyncs, busy.resyncs], [[], []]);
    } finally {
      await proxy.stop();
      await own.stop();
    }
  });
});
