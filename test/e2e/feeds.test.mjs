// Exposed paths, declared feeds, and what stands in for events: folding, TRUNCATE,
// resync, broken watches, events too large.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Cluster } from './lib/cluster.mjs';
import { Bridge } from './lib/bridge.mjs';
import { Client, isEvent } from './lib/client.mjs';
import { SCHEMA } from './lib/schema.mjs';
import { until } from './lib/wait.mjs';

describe('feeds', () => {
  let cluster;
  let db;
  let bridge;
  const clients = [];

  before(async () => {
    cluster = await Cluster.start();
    db = await cluster.database(SCHEMA);
    bridge = await Bridge.start(db);
  });
  after(async () => {
    await Promise.all(clients.map((client) => client.leave()));
    await bridge?.stop();
    await cluster?.remove();
  });

  async function as(user, who = {}, options = {}) {
    const client = await Client.open(bridge, { token: await db.token(user, who), ...options });
    clients.push(client);
    return client;
  }

  it('subscribes by path', async () => {
    await db.write(`SELECT livefeed.expose_path('/ws/requests/{1}/', ARRAY['requests:unit:{1}', 'notices']),
      livefeed.expose_path('/ws/mine/', ARRAY['orders:user:{user}', 'requests:unit:{unit}'])`);
    const id = await db.head();
    for (const path of ['/ws/requests/7/', '/ws/requests/7']) {
      const client = await until('the path to be known', async () => {
        const each = await as('42', { units: [7] }, { path, welcome: false });
        return each.refused ? null : each;
      });
      await client.next('welcome');
      const names = [(await client.next('subscribed')).channel, (await client.next('subscribed')).channel];
      assert.deepEqual(names.sort(), ['notices', 'requests:unit:7']);
    }
    const mine = await as('42', { units: [7, 'a/b'] }, { path: '/ws/mine/' });
    const names = [];
    for (let n = 0; n < 3; n++) names.push((await mine.next('subscribed')).channel);
    assert.deepEqual(names.sort(), ['orders:user:42', 'requests:unit:7', 'requests:unit:a%2Fb']);

    const foreign = await as('42', { units: [7] }, { path: '/ws/requests/9/' });
    const error = await foreign.next('error');
    assert.equal(error.code, 'forbidden');
    assert.equal(error.channel, 'requests:unit:9');
    assert.equal((await foreign.next('subscribed')).channel, 'notices', 'the other one goes on');

    const lost = await as('42', { units: [7] }, { path: '/ws/mine/', query: { since: 'x'.repeat(300) } });
    const answer = await lost.next('subscribed');
    assert.deepEqual([answer.recovered, answer.reason], [false, 'epoch'], 'a since that is no cursor, however long');

    await db.write(`INSERT INTO requests (id, unit_id, title) VALUES (1, 7, 'by path'), (2, 9, 'no')`);
    await mine.caughtUp(db);
    assert.deepEqual(mine.events().map((event) => event.key), ['1']);
    await foreign.caughtUp(db);
    assert.deepEqual(foreign.events(), []);

    const resumed = await as('42', { units: [7] }, { path: '/ws/requests/7/', query: { since: id } });
    assert.equal((await resumed.next({ channel: 'requests:unit:7' })).recovered, true);
    assert.equal((await resumed.next(isEvent)).key, '1');
    // the token may come as first message: the subscriptions wait for it
    const late = await as('42', { units: [7] }, { path: '/ws/requests/7/', via: 'message' });
    await late.next({ type: 'subscribed', channel: 'requests:unit:7' });
  });

  it('keeps a path value in its place, however it is written', async () => {
    await db.write(`SELECT livefeed.expose_path('/ws/only/{1}/', ARRAY['requests:unit:{1}'])`);
    await until('the path to be known', async () => (await as('42', { units: [7] }, { path: '/ws/only/7/', welcome: false })).refused === null);
    for (const value of ['7%3Aunit%3A9', '%2A', '7%2F9', '%00', '..%2F9', '9', '%39', '7%2C9', '%', '%zz']) {
      const client = await as('42', { units: [7] }, { path: `/ws/only/${value}/`, welcome: false });
      if (client.refused) {
        assert.ok(client.refused >= 400 && client.refused < 500);
        continue;
      }
      await client.next('welcome');
      const frame = await client.take();
      assert.equal(frame.type, 'error', `${value}: ${JSON.stringify(frame)}`);
    }
  });

  it('folds what is too much of a transaction into one resync', async () => {
    const [member, other] = [await as('m', { units: [7] }), await as('o', { units: [8] })];
    await member.subscribe('requests:unit:7');
    await other.subscribe('requests:unit:8');
    await db.query(`BEGIN; SET LOCAL livefeed.max_events_per_transaction = 10;
      INSERT INTO requests (id, unit_id, title) SELECT 1000 + n, 7, 'many' FROM generate_series(1, 30) n; COMMIT`);
    await member.caughtUp(db);
    const resyncs = member.frames.filter((frame) => frame.type === 'resync');
    assert.equal(resyncs.length, 1);
    assert.deepEqual([resyncs[0].channel, resyncs[0].reason], ['requests:unit:7', 'folded']);
    assert.match(resyncs[0].cursor, /^[0-9a-f]{8}-\d+$/);
    assert.equal(member.events().length, 10);
    assert.equal((await other.next('resync')).channel, 'requests:unit:8');
    await db.write(`INSERT INTO requests (id, unit_id, title) VALUES (1100, 7, 'live again')`);
    assert.equal((await member.next({ key: '1100' })).type, 'request.created');
  });

  it('says resync for TRUNCATE and when asked', async () => {
    await db.write(`CREATE TABLE piles (id int PRIMARY KEY, unit_id int); SELECT livefeed.watch('piles', unit => 'unit_id')`);
    const member = await as('m', { units: [7] });
    await member.subscribe('piles:unit:7');
    await member.subscribe('requests:unit:7');
    await db.write('TRUNCATE piles');
    const first = await member.next('resync');
    assert.deepEqual([first.channel, first.reason], ['piles:unit:7', 'truncated_table']);
    await db.write(`SELECT livefeed.resync('piles')`);
    const second = await member.next('resync');
    assert.deepEqual([second.channel, second.reason], ['piles:unit:7', 'requested']);
    // and a resume across it says so again
    const before = `${member.welcome.epoch}-${Number(first.cursor.split('-')[1]) - 1}`;
    const back = await as('m', { units: [7] });
    await back.subscribe('piles:unit:7', { since: before });
    assert.deepEqual([(await back.next('resync')).reason, (await back.next('resync')).reason], ['truncated_table', 'requested']);
  });

  it('lets the application write when a watch broke, and says resync', async () => {
    await db.write(`CREATE TABLE brittle (id int PRIMARY KEY, unit_id int, note text); SELECT livefeed.watch('brittle', unit => 'unit_id')`);
    const member = await as('m', { units: [7] });
    await member.subscribe('brittle:unit:7');
    await db.write(`ALTER TABLE brittle RENAME unit_id TO team_id`);
    await db.write(`INSERT INTO brittle VALUES (1, 7, 'goes through')`);
    assert.equal((await member.next('resync')).reason, 'broken_watch');
    assert.equal(await db.value('SELECT count(*) FROM brittle'), 1);
  });

  it('sends an event without data where it would be too large', async () => {
    const member = await as('m', { units: [7] });
    await member.subscribe('requests:unit:7');
    await db.write(`INSERT INTO requests (id, unit_id, title) VALUES (1200, 7, repeat('x', 300000))`);
    const event = await member.next(isEvent);
    assert.deepEqual([event.key, event.data, event.too_large], ['1200', null, true]);
    await db.write(`INSERT INTO requests (id, unit_id, title) VALUES (1201, 7, repeat('x', 200000))`);
    assert.equal((await member.next(isEvent)).data.title.length, 200000);
  });

  it('carries what is published to declared feeds', async () => {
    await db.write(`SELECT livefeed.declare_feed('alerts', entity => 'alert', roles => '{guard}')`);
    const [member, user, guard, admin] = [await as('m', { units: [7] }), await as('42'), await as('g', { roles: ['guard'] }), await as('a', { roles: ['admin'] })];
    await guard.subscribe('alerts');
    await admin.subscribe('alerts');
    await user.subscribe('alerts:user:42');
    const keeper = await as('k', { units: { 7: ['guard'] } });
    await keeper.subscribe('alerts:unit:7');
    assert.equal(await member.refusedSubscribe('alerts:unit:7'), 'forbidden');
    assert.equal(await user.refusedSubscribe('alerts'), 'forbidden');
    await db.write(`SELECT livefeed.publish('alerts', 'raised', '{"level":3}', unit => '7', key => 'a1')`);
    await db.write(`SELECT livefeed.publish('alerts', 'raised', '{"level":4}', users => '{42}', key => 'a2')`);
    await db.write(`SELECT livefeed.publish('alerts', 'created', '{"level":5}', key => 'a3')`);
    await db.write(`SELECT livefeed.publish('alerts', 'deleted', '{"level":6}', key => 'a3')`);
    const raised = await keeper.next(isEvent);
    assert.deepEqual([raised.type, raised.action, raised.unit, raised.key, raised.data], ['alert.updated', 'raised', '7', 'a1', { level: 3 }]);
    assert.ok(!('changed' in raised));
    assert.equal((await user.next(isEvent)).key, 'a2');
    await Promise.all([guard, admin, keeper, user].map((client) => client.caughtUp(db)));
    assert.deepEqual(guard.events().map((event) => [event.key, event.type, event.data]),
      [['a3', 'alert.created', { level: 5 }], ['a3', 'alert.deleted', null]], 'only events with neither unit nor users');
    assert.deepEqual(admin.events().map((event) => event.key), ['a1', 'a2', 'a3', 'a3']);
    await user.subscribe('alerts:row:a2');
    await keeper.subscribe('alerts:row:a1');
    assert.equal(await user.refusedSubscribe('alerts:row:a1'), 'forbidden');
    assert.equal(await user.refusedSubscribe('alerts:row:nothing'), 'forbidden');
  });

  it('knows a feed as soon as it is watched, and no longer than that', async () => {
    const admin = await as('a', { units: [7] });
    assert.equal(await admin.refusedSubscribe('shelves:unit:7'), 'unknown_channel');
    await db.write(`CREATE TABLE shelves (id int PRIMARY KEY, unit_id int); SELECT livefeed.watch('shelves', unit => 'unit_id')`);
    await admin.subscribe('shelves:unit:7');
    await db.write('INSERT INTO shelves VALUES (1, 7)');
    assert.equal((await admin.next(isEvent)).feed, 'shelves');
    await db.write(`SELECT livefeed.unwatch('shelves')`);
    await admin.caughtUp(db);
    await until('the feed to be gone', async () => (await admin.ask({ type: 'subscribe', channel: 'shelves:unit:7' })).code === 'unknown_channel');
    await db.write(`SELECT livefeed.watch('shelves', feed => 'racks', unit => 'unit_id')`);
    await admin.subscribe('racks:unit:7');
  });

  it('follows partitions, whatever the leaf\'s columns look like', async () => {
    await db.write(`CREATE TABLE readings (id int, unit_id int, v int, day date, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
      CREATE TABLE readings_a PARTITION OF readings FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
      CREATE TABLE readings_b (junk text, day date NOT NULL, v int, unit_id int, id int NOT NULL, PRIMARY KEY (id, day));
      ALTER TABLE readings_b DROP COLUMN junk;
      ALTER TABLE readings ATTACH PARTITION readings_b FOR VALUES FROM ('2026-02-01') TO ('2026-03-01');
      SELECT livefeed.watch('readings', unit => 'unit_id')`);
    const member = await as('m', { units: [7] });
    await member.subscribe('readings:unit:7');
    await db.write(`INSERT INTO readings VALUES (1, 7, 10, '2026-01-05'), (2, 7, 20, '2026-02-05')`);
    await db.write(`UPDATE readings SET day = '2026-02-06' WHERE id = 1`);
    await member.caughtUp(db);
    assert.deepEqual(member.events().map((event) => [event.type, event.key, event.data?.v]), [
      ['readings.created', '1,2026-01-05', 10], ['readings.created', '2,2026-02-05', 20],
      ['readings.deleted', '1,2026-01-05', undefined], ['readings.created', '1,2026-02-06', 10]]);
  });
});
