// Snapshots as clients get them: each scope's rows, on the socket, by an exposed path and over GET /state; who shares a
// query; what too much, an error and a database that is away look like. Not here: that snapshot and stream fit
// (test/fault/snapshots), and which rows exactly (sql/snapshot.sql).

import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { Bridge } from './lib/bridge.mjs';
import { Client, isEvent } from './lib/client.mjs';
import { Cluster, idOf } from './lib/cluster.mjs';
import { metric } from './lib/metrics.mjs';
import { SCHEMA } from './lib/schema.mjs';
import { SLOW, until } from './lib/wait.mjs';

const SUBSCRIBERS = 1000;
const MOST = 4; // queries for all of them
const USERS = 20; // each may have 100 connections
const LOCK = 4711;

const TABLES = `
  ${SCHEMA}
  INSERT INTO requests (id, unit_id, title) SELECT n, 7 + n % 2, 'r' || n FROM generate_series(1, 6) n;
  INSERT INTO orders VALUES (5, 42, 43), (6, 44, NULL);
  INSERT INTO notices VALUES (1, 'hello');
  INSERT INTO places VALUES ('north', 'a,b', 'u', 'x'), ('south', 'c', 'v', 'y');
  SELECT livefeed.expose_path('/ws/requests/{1}/', ARRAY['requests:unit:{1}']);

  CREATE TABLE slow (id integer PRIMARY KEY, unit_id integer);
  SELECT livefeed.watch('slow', unit => 'unit_id');
  CREATE TABLE pace (waits boolean NOT NULL, fails boolean NOT NULL); -- waits: while somebody holds the lock
  INSERT INTO pace VALUES (false, false);
  CREATE FUNCTION slow_rows(scope text, value text) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
  BEGIN
    IF (SELECT fails FROM public.pace) THEN RAISE EXCEPTION 'the cupboard of % is locked', value; END IF;
    IF (SELECT waits FROM public.pace) THEN PERFORM pg_advisory_xact_lock_shared(${LOCK}); END IF;
    RETURN (SELECT coalesce(jsonb_agg(to_jsonb(s) || '{"extra":true}'), '[]') FROM public.slow s WHERE unit_id::text = value);
  END $$;
  SELECT livefeed.expose_snapshot('slow', 'slow_rows(text,text)');
  INSERT INTO slow VALUES (1, 7), (2, 8);

  CREATE TABLE documents (id integer PRIMARY KEY, unit_id integer, body text);
  SELECT livefeed.watch('documents', unit => 'unit_id');

  SELECT livefeed.declare_feed('jobs', retain => true);
`;

const ids = (frame) => frame.data.map((row) => row.id);

describe('snapshots', () => {
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
    await Promise.all(clients.map((client) => client.leave()));
    clients = [];
    await db.write('UPDATE pace SET waits = false, fails = false');
  });
  after(async () => {
    await bridge?.stop();
    await cluster?.remove();
  });

  async function as(user, who = {}, more = {}) {
    const client = await Client.open(bridge, { token: await db.token(user, who), ...more });
    clients.push(client);
    return client;
  }

  /** Subscribes and gives the snapshot, which must be the channel's first frame after `subscribed`. */
  async function fetch(client, channel) {
    const subscribed = await client.subscribe(channel, { snapshot: true });
    const snapshot = await client.next({ type: 'snapshot', channel });
    assert.ok(idOf(snapshot.cursor) >= idOf(subscribed.cursor), `${snapshot.cursor} is before ${subscribed.cursor}`);
    return snapshot;
  }

  async function state(channel, user, who) {
    const token = await db.token(user, who);
    const answer = await bridge.get(`/state?channel=${encodeURIComponent(channel)}`, { headers: { authorization: `Bearer ${token}` } });
    return { ...answer, json: JSON.parse(answer.body) };
  }

  const queries = () => metric(bridge, 'livefeed_query_seconds_count{query="snapshot"}');

  it('hold the rows of each scope, newest key first, and the stream goes on from there', async () => {
    const alice = await as('42', { units: [7, 'u'] });
    const unit = await fetch(alice, 'requests:unit:7');
    assert.deepEqual(unit, {
      type: 'snapshot', channel: 'requests:unit:7', cursor: unit.cursor, key_columns: ['id'],
      data: [6, 4, 2].map((id) => ({ id, title: `r${id}`, status: 'Pending' })), truncated: false });
    assert.deepEqual((await fetch(alice, 'orders:user:42')).data, [{ id: 5, customer_id: 42, partner_id: 43, status: 'New' }]);
    assert.deepEqual(ids(await fetch(alice, 'orders:row:5')), [5]);
    assert.deepEqual((await fetch(alice, 'notices')).data, [{ id: 1, body: 'hello' }]);
    const place = await fetch(alice, 'places:row:north,a%2Cb');
    assert.deepEqual(place.key_columns, ['region', 'spot']);
    assert.deepEqual(place.data, [{ region: 'north', spot: 'a,b', unit_name: 'u', note: 'x' }]);
    const admin = await as('1', { roles: ['admin'] });
    assert.deepEqual(ids(await fetch(admin, 'requests')), [6, 5, 4, 3, 2, 1]);
    assert.deepEqual(ids(await fetch(admin, 'requests:unit:99')), []);

    await db.write(`UPDATE requests SET status = 'Approved' WHERE id = 2`);
    const event = await alice.next({ type: 'request.updated', key: '2' });
    assert.ok(event.id > idOf(unit.cursor));
    assert.deepEqual(ids(await fetch(alice, 'requests:unit:7')), [6, 4, 2]);
    await db.write(`UPDATE requests SET status = 'Pending' WHERE id = 2`);
    await alice.next({ type: 'request.updated', key: '2' });
    await alice.caughtUp(db);
    assert.equal(alice.events().length, 2, 'each event once');
  });

  it('come by an exposed path with ?snapshot=1', async () => {
    const client = await as('42', { units: [7] }, { path: '/ws/requests/7/', query: { snapshot: '1' } });
    await client.next({ type: 'subscribed', channel: 'requests:unit:7' });
    assert.deepEqual(ids(await client.next('snapshot')), [6, 4, 2]);
    const without = await as('42', { units: [7] }, { path: '/ws/requests/7/' });
    await without.next('subscribed');
    await without.caughtUp(db);
    assert.ok(!without.frames.some((frame) => frame.type === 'snapshot'));
  });

  it('are sent with since only where the replay is impossible', async () => {
    const client = await as('42', { units: [7] });
    const { cursor } = await fetch(client, 'requests:unit:7');
    await db.write(`INSERT INTO requests (id, unit_id, title) VALUES (20, 7, 'new')`);
    await client.next({ key: '20' });
    client.forget();
    const good = await client.subscribe('requests:unit:7', { since: cursor, snapshot: true });
    assert.equal(good.recovered, true);
    await client.next({ key: '20' });
    await client.caughtUp(db);
    assert.ok(!client.frames.some((frame) => frame.type === 'snapshot'), 'what was missed is sent instead');
    const bad = await client.subscribe('requests:unit:7', { since: `00000000-${idOf(cursor)}`, snapshot: true });
    assert.equal(bad.recovered, false);
    assert.equal(bad.reason, 'epoch');
    assert.deepEqual(ids(await client.next('snapshot')), [20, 6, 4, 2]);
    await db.write('DELETE FROM requests WHERE id = 20');
    await client.next({ type: 'request.deleted', key: '20' });
  });

  it('are given anew when one subscribes again, without holding up other channels', async () => {
    const client = await as('42', { units: [7, 8] });
    const holder = await db.connect();
    await holder.query('SELECT pg_advisory_lock($1)', [LOCK]);
    await db.write('UPDATE pace SET waits = true');
    await client.subscribe('slow:unit:7', { snapshot: true });
    assert.deepEqual(ids(await fetch(client, 'requests:unit:8')), [5, 3, 1]);
    assert.ok(!client.frames.some((frame) => frame.type === 'snapshot' && frame.channel === 'slow:unit:7'), 'while the slow one is under way');
    await client.subscribe('slow:unit:7', { snapshot: true }); // replaces the first, whose snapshot is not sent
    await holder.end();
    assert.deepEqual((await client.next({ type: 'snapshot', channel: 'slow:unit:7' })).data, [{ id: 1, unit_id: 7, extra: true }]);
    await fetch(client, 'slow:unit:7');
    assert.equal(client.frames.filter((frame) => frame.type === 'snapshot' && frame.channel === 'slow:unit:7').length, 2);
  });

  it(`of one channel for ${SUBSCRIBERS} subscribers at once take a handful of queries`, { timeout: 120_000 * SLOW }, async (t) => {
    const tokens = await Promise.all(Array.from({ length: USERS }, (_, n) => db.token(`s${n}`, { units: [7] })));
    const many = [];
    for (let n = 0; n < SUBSCRIBERS; n += 50) {
      many.push(...await Promise.all(Array.from({ length: 50 }, (_, m) => Client.open(bridge, { token: tokens[(n + m) % USERS] }))));
    }
    try {
      await db.write('UPDATE pace SET waits = true');
      for (const [channel, hold] of [['slow:unit:7', `SELECT pg_advisory_xact_lock(${LOCK})`], ['requests:unit:7', 'LOCK TABLE requests IN ACCESS EXCLUSIVE MODE']]) {
        const before = await queries();
        const holder = await db.connect();
        await holder.query(`BEGIN; ${hold}`); // the first query waits until all have asked
        for (const client of many) client.send({ type: 'subscribe', channel, snapshot: true });
        await Promise.all(many.map((client) => client.next({ type: 'subscribed', channel })));
        await holder.end();
        const all = await Promise.all(many.map((client) => client.next({ type: 'snapshot', channel })));
        const asked = await queries() - before;
        t.diagnostic(`${channel}: ${asked} queries for ${SUBSCRIBERS} subscribers`);
        assert.ok(asked <= MOST, `${asked} queries`);
        assert.ok(all.every((frame) => frame.data.length === all[0].data.length));
      }
      await db.write(`INSERT INTO slow VALUES (30, 7)`);
      await Promise.all(many.map((client) => client.next((frame) => isEvent(frame) && frame.key === '30')));
      await db.write('DELETE FROM slow WHERE id = 30');
    } finally {
      await Promise.all(many.map((client) => client.leave()));
    }
  });

  it('say when there is more, by rows and by bytes, and a slow reader gets them whole', async () => {
    await db.write(`INSERT INTO documents SELECT n, 7, repeat(chr(97 + n % 26), 1000000) FROM generate_series(1, 12) n;
                    INSERT INTO documents SELECT n, 8, 'x' FROM generate_series(1001, 2100) n`);
    const client = await as('42', { units: [7, 8] });
    const rows = await fetch(client, 'documents:unit:8');
    assert.equal(rows.truncated, true);
    assert.deepEqual(ids(rows), Array.from({ length: 1000 }, (_, n) => 2100 - n), 'the newest 1,000');

    await client.subscribe('documents:unit:7');
    const sent = await metric(bridge, 'livefeed_snapshots_total{outcome="sent"}');
    client.socket.pause();
    client.send({ type: 'subscribe', channel: 'documents:unit:7', snapshot: true });
    await until('the snapshot to be sent', async () => await metric(bridge, 'livefeed_snapshots_total{outcome="sent"}') > sent);
    await db.write(`INSERT INTO documents VALUES (5000, 8, 'later')`);
    client.socket.resume();
    const bytes = await client.next({ type: 'snapshot', channel: 'documents:unit:7' });
    assert.equal(bytes.truncated, true);
    assert.ok(bytes.data.length >= 6 && bytes.data.length <= 9, `${bytes.data.length} of 12`);
    for (const row of bytes.data) assert.equal(row.body, String.fromCharCode(97 + row.id % 26).repeat(1000000));
    await client.next({ key: '5000' });
    await db.write('DELETE FROM documents');
  });

  it('hold the last event of each key of a feed that retains, with its keys', async () => {
    const publish = (...args) => db.write('SELECT livefeed.publish($1, $2, $3, $4, $5, $6)', args);
    await publish('jobs', 'started', '{"done":1}', '7', [], 'a');
    await publish('jobs', 'started', '{"done":2}', '7', [], 'b');
    await publish('jobs', 'progressed', '{"done":3}', '7', [], 'a');
    await publish('jobs', 'started', '{"done":4}', '8', [], 'c');
    const client = await as('42', { units: [7] });
    const snapshot = await fetch(client, 'jobs:unit:7');
    assert.equal(snapshot.key_columns, null);
    assert.deepEqual(Object.fromEntries(snapshot.keys.map((key, n) => [key, snapshot.data[n]])), { a: { done: 3 }, b: { done: 2 } });
    await publish('jobs', 'deleted', null, '7', [], 'a');
    await client.next({ type: 'jobs.deleted', key: 'a' });
    assert.deepEqual((await fetch(client, 'jobs:unit:7')).keys, ['b']);
  });

  it('that fail say query_failed, the log says why, and the stream is whole', async () => {
    const client = await as('42', { units: [7] });
    await db.write('UPDATE pace SET fails = true');
    await client.subscribe('slow:unit:7', { snapshot: true });
    const error = await client.next('error');
    assert.equal(error.code, 'query_failed');
    assert.equal(error.channel, 'slow:unit:7');
    assert.doesNotMatch(error.message, /cupboard/);
    await until('the cause in the log', () => bridge.log.includes('the cupboard of 7 is locked'));
    await db.write('INSERT INTO slow VALUES (40, 7)');
    await client.next({ key: '40' });
    await db.write('DELETE FROM slow WHERE id = 40');
    const answer = await state('slow:unit:7', '42', { units: [7] });
    assert.equal(answer.status, 503);
    assert.equal(answer.json.error.code, 'query_failed');
  });

  it('are nobody\'s who may not have the channel, and end with a row that is lost', async () => {
    const client = await as('42', { units: [7] });
    assert.equal(await client.refusedSubscribe('requests:unit:8', { snapshot: true }), 'forbidden');
    assert.equal(await client.refusedSubscribe('orders:row:6', { snapshot: true }), 'forbidden');
    assert.equal(await client.refusedSubscribe('requests:unit:', { snapshot: true }), 'unknown_channel');
    await fetch(client, 'orders:row:5');
    await db.write('UPDATE orders SET customer_id = 99 WHERE id = 5');
    await client.next({ type: 'unsubscribed', channel: 'orders:row:5', reason: 'forbidden' });
    assert.equal(await client.refusedSubscribe('orders:row:5', { snapshot: true }), 'forbidden');
    await db.write('UPDATE orders SET customer_id = 42 WHERE id = 5');
  });

  it('are had over GET /state, by the same rules', async () => {
    const { status, headers, json } = await state('requests:unit:7', '42', { units: [7] });
    assert.equal(status, 200);
    assert.equal(headers['cache-control'], 'no-store');
    assert.match(headers['content-type'], /^application\/json/);
    assert.equal(json.type, 'snapshot');
    assert.deepEqual(ids(json), [6, 4, 2]);
    assert.deepEqual(ids((await state('places:row:north,a%2Cb', '42', { units: ['u'] })).json).length, 1);
    const codes = async (channel, user = '42', who = { units: [7] }) => {
      const answer = await state(channel, user, who);
      return [answer.status, answer.json.error.code];
    };
    assert.deepEqual(await codes('requests:unit:8'), [403, 'forbidden']);
    assert.deepEqual(await codes('orders:row:6'), [403, 'forbidden']);
    assert.deepEqual(await codes('nothing:unit:8'), [404, 'unknown_channel']);
    assert.deepEqual(await codes('requests:unit:%'), [404, 'unknown_channel']);
    assert.equal((await bridge.get('/state?channel=requests:unit:7')).status, 401);
    assert.equal((await bridge.get('/state?channel=requests:unit:7&token=x')).status, 401);
    assert.equal((await bridge.get(`/state?token=${await db.token('42')}`)).status, 400);
    const token = await db.token('42', { units: [7] });
    assert.equal((await bridge.get(`/state?channel=requests:unit:7&token=${token}`)).status, 200);
    const head = await bridge.get(`/state?channel=requests:unit:7&token=${token}`, { method: 'HEAD' });
    assert.deepEqual([head.status, head.body], [200, '']);
    assert.equal((await bridge.get(`/state?channel=requests:unit:7&token=${token}`, { method: 'POST' })).status, 405);
    await until('the sessions of /state to be gone', async () => await metric(bridge, 'livefeed_subscriptions') === 0);
  });

  it('are unavailable while the database is away; what was subscribed goes on when it is back', async () => {
    const client = await as('42', { units: [7] });
    await client.subscribe('requests:unit:7');
    await cluster.stop();
    await client.next({ type: 'status', live: false });
    await client.subscribe('requests:unit:7', { snapshot: true });
    const error = await client.next('error');
    assert.equal(error.code, 'unavailable');
    assert.equal(error.channel, 'requests:unit:7');
    await cluster.again();
    await client.next({ type: 'status', live: true });
    await db.write(`UPDATE requests SET status = 'Done' WHERE id = 4`);
    await client.next({ type: 'request.updated', key: '4' });
    assert.deepEqual((await fetch(client, 'requests:unit:7')).data.map((row) => row.status).sort(), ['Done', 'Pending', 'Pending']);
  });
});
