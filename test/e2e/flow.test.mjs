// How events flow: slow clients, several bridges, transactions held open.
// Not here: kills and crashes (test/fault), speed (test/bench).

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Cluster, idOf } from './lib/cluster.mjs';
import { Bridge } from './lib/bridge.mjs';
import { Client, isEvent } from './lib/client.mjs';
import { metric } from './lib/metrics.mjs';
import { SCHEMA } from './lib/schema.mjs';
import { until, SLOW } from './lib/wait.mjs';

describe('flow', () => {
  let cluster;
  let db;
  const bridges = [];
  const clients = [];

  before(async () => {
    cluster = await Cluster.start();
    db = await cluster.database(SCHEMA);
  });
  after(async () => {
    await Promise.all(clients.map((client) => client.leave()));
    await Promise.all(bridges.map((bridge) => bridge.stop()));
    await cluster?.remove();
  });

  async function start(args = []) {
    const bridge = await Bridge.start(db, args);
    bridges.push(bridge);
    return bridge;
  }

  async function as(bridge, who = { units: [7] }) {
    const client = await Client.open(bridge, { token: await db.token('alice', who) });
    clients.push(client);
    return client;
  }

  it('closes a client that reads too slowly with 4408; it resumes at once and lost nothing', async () => {
    const bridge = await start(['--max-queue', '256 KiB', '--history', '1 MiB']);
    const [slow, quick] = [await as(bridge), await as(bridge)];
    await slow.subscribe('requests:unit:7');
    await quick.subscribe('requests:unit:7');
    await db.write(`INSERT INTO requests (id, unit_id, title) VALUES (1, 7, 'first')`);
    const seen = await slow.next(isEvent);
    slow.socket.pause();
    const count = 300;
    const tooSlow = async () => await metric(bridge, 'livefeed_queue_overflows_total') > 0;
    // It has some seconds to read the close, then the bridge hangs up.
    const resumed = until('it to be too slow', tooSlow, 60_000 * SLOW).then(() => slow.socket.resume());
    for (let n = 1; n <= count; n++) {
      await db.write(`INSERT INTO requests (id, unit_id, title) VALUES ($1, 7, repeat('x', 100000))`, [100 + n]);
      await quick.next({ key: String(100 + n) });
    }
    assert.equal(quick.closed, null, 'who reads is not closed');
    await resumed;
    await slow.close(4408);
    const got = slow.events().map((event) => Number(event.key));
    assert.ok(got.length < count + 1, 'something was left out');

    const since = `${slow.welcome.epoch}-${(slow.events().at(-1) ?? seen).id}`;
    const rest = [];
    // However large the rest: a replay goes at the client's pace, so that one resume is enough.
    const back = await as(bridge);
    const answer = await back.subscribe('requests:unit:7', { since });
    assert.equal(answer.recovered, true);
    await back.next({ key: String(100 + count) }, 60_000 * SLOW);
    rest.push(...back.events().map((event) => Number(event.key)));
    assert.deepEqual([...got, ...rest], [1, ...Array.from({ length: count }, (_, n) => 101 + n)]);
    assert.equal(back.closed, null);
  });

  it('passes one frame of any size through an empty outbox', async () => {
    const bridge = await start(['--max-queue', '16 KiB']);
    const client = await as(bridge);
    await client.subscribe('requests:unit:7');
    for (let n = 0; n < 5; n++) {
      await db.write(`INSERT INTO requests (id, unit_id, title) VALUES ($1, 7, repeat('y', 200000))`, [1000 + n]);
      assert.equal((await client.next(isEvent)).data.title.length, 200000);
    }
  });

  it('gives every session at every bridge the same events with the same ids', async () => {
    const [one, two] = [await start(), await start()];
    const sessions = [await as(one), await as(two), await as(two)];
    for (const session of sessions) await session.subscribe('requests:unit:7');
    const writers = await Promise.all([0, 1, 2, 3].map(() => db.connect()));
    await Promise.all(writers.map(async (writer, w) => {
      for (let n = 0; n < 40; n++) {
        await writer.query('BEGIN');
        await writer.query(`INSERT INTO requests (id, unit_id, title) VALUES ($1, 7, 'w')`, [10_000 + w * 1000 + n]);
        await writer.query(`UPDATE requests SET title = 'v' WHERE id = $1`, [10_000 + w * 1000 + n]);
        await writer.query(n % 5 === 4 ? 'ROLLBACK' : 'COMMIT');
      }
    }));
    for (const session of sessions) await session.caughtUp(db);
    const lists = sessions.map((session) => session.events().map((event) => `${event.id} ${event.type} ${event.key}`));
    assert.equal(lists[0].length, 4 * 32 * 2);
    assert.deepEqual(lists[1], lists[0]);
    assert.deepEqual(lists[2], lists[0]);
    // the two events of a transaction stand together
    for (let n = 0; n < lists[0].length; n += 2) assert.equal(lists[0][n].split(' ')[2], lists[0][n + 1].split(' ')[2]);
  });

  it('goes on when the bridge that ticks is gone', async () => {
    const [one, two] = [await Bridge.start(db), await Bridge.start(db)];
    const names = async () => db.query('SELECT pid, ticker FROM livefeed.bridges ORDER BY pid');
    await until('both to be registered', async () => (await names()).filter(({ pid }) => [one.process.pid, two.process.pid].includes(pid)).length === 2);
    for (const bridge of bridges.splice(0)) await bridge.stop();
    const ticker = await until('one of them to tick', async () => (await names()).find((row) => row.ticker && [one.process.pid, two.process.pid].includes(row.pid)));
    const [gone, stays] = ticker.pid === one.process.pid ? [one, two] : [two, one];
    bridges.push(stays);
    const client = await as(stays);
    await client.subscribe('requests:unit:7');
    await gone.kill();
    await db.write(`INSERT INTO requests (id, unit_id, title) VALUES (20000, 7, 'after the ticker')`);
    assert.equal((await client.next(isEvent)).key, '20000');
  });

  it('lets no one wait for a transaction that is held open', async () => {
    const bridge = await start();
    const client = await as(bridge);
    await client.subscribe('requests:unit:7');
    const holder = await db.connect();
    await holder.query('BEGIN');
    await holder.query(`INSERT INTO requests (id, unit_id, title) VALUES (30000, 7, 'held')`);
    const took = [];
    for (let n = 1; n <= 20; n++) {
      const began = performance.now();
      await db.write(`INSERT INTO requests (id, unit_id, title) VALUES ($1, 7, 'quick')`, [30_000 + n]);
      await client.next({ key: String(30_000 + n) });
      took.push(performance.now() - began);
    }
    // A machine may stand still now and then; events that are found by the look once a second are late each time.
    took.sort((a, b) => a - b);
    assert.ok(took[took.length / 2] < 900 * SLOW, `events took ${took.map(Math.round)} ms`);
    assert.ok(!client.events().some((event) => event.key === '30000'));
    const head = idOf(await db.head());
    await holder.query('COMMIT');
    const held = await client.next({ key: '30000' });
    assert.ok(held.id > head, 'it comes when it commits, after the others');
  });

  it('delivers prepared transactions when they are committed', async () => {
    const bridge = await start();
    const client = await as(bridge);
    await client.subscribe('requests:unit:7');
    const writer = await db.connect();
    await writer.query(`BEGIN`);
    await writer.query(`INSERT INTO requests (id, unit_id, title) VALUES (40000, 7, 'prepared')`);
    await writer.query(`PREPARE TRANSACTION 'later'`);
    await db.write(`INSERT INTO requests (id, unit_id, title) VALUES (40001, 7, 'meanwhile')`);
    assert.equal((await client.next(isEvent)).key, '40001');
    await writer.query(`COMMIT PREPARED 'later'`);
    assert.equal((await client.next(isEvent)).key, '40000');
  });

  it('follows a writer with other settings: time zone, replica role, savepoints', async () => {
    const bridge = await start();
    const client = await as(bridge);
    await db.write(`CREATE TABLE clocks (id int PRIMARY KEY, unit_id int, at timestamptz, local timestamp, took interval, raw bytea, big bigint, f float8);
      SELECT livefeed.watch('clocks', unit => 'unit_id')`);
    await client.subscribe('clocks:unit:7');
    const writer = await db.connect('postgres');
    await writer.query(`SET timezone = 'Asia/Kolkata'; SET datestyle = 'German'; SET intervalstyle = 'sql_standard'; SET bytea_output = 'escape'; SET extra_float_digits = -5`);
    await writer.query(`INSERT INTO clocks VALUES (1, 7, '01.02.2026 10:00:00', '01.02.2026 10:00:00', '1 day 02:00', '\\x00ff', 9007199254740993, 0.1)`);
    await writer.query(`SET session_replication_role = replica; INSERT INTO clocks VALUES (2, 7); RESET session_replication_role`);
    await client.caughtUp(db);
    assert.equal(client.events().length, 1, 'a replica role skips triggers');
    const { data } = client.events()[0];
    assert.equal(data.at, '2026-02-01T04:30:00Z');
    assert.equal(data.local, '2026-02-01T10:00:00');
    assert.equal(data.raw, 'AP8=');
    assert.equal(data.big, '9007199254740993');
    assert.equal(data.f, 0.1);
  });

  it('sends a large transaction in order, paged', async () => {
    const bridge = await start(['--max-queue', '4 MiB']);
    const client = await as(bridge);
    await client.subscribe('requests:unit:7');
    await db.write(`INSERT INTO requests (id, unit_id, title) SELECT 100000 + n, 7, 'bulk' FROM generate_series(1, 9000) n`);
    await client.next({ key: '109000' }, 30_000 * SLOW);
    assert.deepEqual(client.events().map((event) => Number(event.key)), Array.from({ length: 9000 }, (_, n) => 100001 + n));
  });
});
