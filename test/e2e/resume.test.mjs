// Coming back with a cursor: from the bridge's memory, from the log, and with
// cursors that cannot be honoured. Not here: crashes (test/fault).

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Cluster, epochOf, idOf } from './lib/cluster.mjs';
import { Bridge } from './lib/bridge.mjs';
import { Client, isEvent } from './lib/client.mjs';
import { SCHEMA } from './lib/schema.mjs';
import { until } from './lib/wait.mjs';

describe('resume', () => {
  let cluster;
  let db;
  let bridge; // with history in memory
  let forgetful; // with hardly any: what came before the last 64 KiB is resumed from the log
  const clients = [];

  before(async () => {
    cluster = await Cluster.start();
    db = await cluster.database(SCHEMA);
    bridge = await Bridge.start(db);
    forgetful = await Bridge.start(db, ['--history', '64 KiB']);
  });
  after(async () => {
    await Promise.all(clients.map((client) => client.leave()));
    await Promise.all([bridge?.stop(), forgetful?.stop()]);
    await cluster?.remove();
  });

  async function as(where, who = { units: [7] }) {
    const client = await Client.open(where, { token: await db.token('alice', who) });
    clients.push(client);
    return client;
  }

  // Long titles, so that a few events are more than the forgetful bridge keeps.
  const insert = (id, unit = 7) => db.write(`INSERT INTO requests (id, unit_id, title) VALUES ($1, $2, repeat('r', 3000) || $1::int)`, [id, unit]);

  for (const [name, which] of [['memory', () => bridge], ['the log', () => forgetful]]) {
    it(`replays from ${name} exactly what came after the cursor, then goes on live`, async () => {
      const base = name === 'memory' ? 1000 : 2000;
      const first = await as(which());
      await first.subscribe('requests:unit:7');
      await insert(base);
      const seen = await first.next({ key: String(base) });
      const cursor = `${first.welcome.epoch}-${seen.id}`;
      await first.leave();

      for (let n = 1; n <= 40; n++) await insert(base + n, n % 2 ? 7 : 9);
      await db.write(`UPDATE requests SET title = title || '!' WHERE id BETWEEN $1 AND $2`, [base, base + 40]);
      await db.head();

      const second = await as(which());
      const subscribed = await second.subscribe('requests:unit:7', { since: cursor });
      assert.equal(subscribed.recovered, true);
      assert.equal(subscribed.cursor, cursor);
      await insert(base + 50);
      await second.caughtUp(db);
      const keys = second.events().map((event) => Number(event.key) - base);
      const odd = Array.from({ length: 20 }, (_, n) => 2 * n + 1);
      assert.deepEqual(keys, [...odd, 0, ...odd, 50]);
      const ids = second.events().map((event) => event.id);
      assert.deepEqual(ids, [...new Set(ids)].sort((a, b) => a - b), 'once each, growing');
      assert.ok(second.events().every((event) => event.unit === '7'));
    });

    it(`replays row and whole-feed channels from ${name}, and user channels`, async () => {
      const id = name === 'memory' ? 3000 : 4000;
      const start = await db.head();
      await insert(id);
      await db.write(`UPDATE requests SET title = 'changed' WHERE id = $1`, [id]);
      await insert(id + 1);
      await db.write(`INSERT INTO orders (id, customer_id) VALUES ($1, 77)`, [id]);
      await db.head();
      const admin = await Client.open(which(), { token: await db.token('77', { roles: ['admin'] }) });
      clients.push(admin);
      await admin.subscribe(`requests:row:${id}`, { since: start });
      await admin.caughtUp(db);
      assert.deepEqual(admin.events().map((event) => event.type), ['request.created', 'request.updated']);
      admin.forget();
      await admin.subscribe('requests', { since: start });
      await admin.subscribe('orders:user:77', { since: start });
      await admin.caughtUp(db);
      assert.deepEqual(admin.events('requests').map((event) => Number(event.key) - id), [0, 0, 1]);
      assert.deepEqual(admin.events('orders:user:77').map((event) => event.key), [String(id)]);
    });
  }

  it('resumes at another bridge with the same cursor', async () => {
    const one = await as(bridge);
    await one.subscribe('requests:unit:7');
    await insert(5000);
    const event = await one.next({ key: '5000' });
    await insert(5001);
    const two = await as(forgetful);
    const answer = await two.subscribe('requests:unit:7', { since: `${one.welcome.epoch}-${event.id}` });
    assert.equal(answer.recovered, true);
    assert.equal((await two.next(isEvent)).key, '5001');
    const [a, b] = [await one.next({ key: '5001' }), two.events()[0]];
    assert.equal(a.id, b.id, 'the same id at every bridge');
  });

  it('resumes at the head with nothing to replay', async () => {
    const head = await db.head();
    const who = await as(bridge);
    const answer = await who.subscribe('requests:unit:7', { since: head });
    assert.equal(answer.recovered, true);
    assert.equal(answer.cursor, head);
    await who.caughtUp(db);
    assert.deepEqual(who.events(), []);
  });

  it('takes the cursor of a pong, which covers what was sent', async () => {
    const who = await as(bridge);
    await who.subscribe('requests:unit:7');
    await insert(5100);
    await who.caughtUp(db);
    const pong = await who.ask({ type: 'ping' });
    assert.equal(pong.type, 'pong');
    assert.equal(pong.live, true);
    const answer = await who.subscribe('requests:unit:7', { since: pong.cursor });
    assert.equal(answer.recovered, true);
    await insert(5101);
    await who.caughtUp(db);
    assert.deepEqual(who.events().map((event) => event.key), ['5100', '5101'], 'no repeat');
  });

  it('answers a cursor of another epoch, or of the future, with epoch', async () => {
    const head = await db.head();
    const who = await as(bridge);
    const wrong = `${epochOf(head) === 'ffffffff' ? '00000000' : 'ffffffff'}-${idOf(head)}`;
    for (const since of [wrong, `${epochOf(head)}-${idOf(head) + 1_000_000}`, `${epochOf(head)}-9007199254740991`]) {
      const answer = await who.subscribe('requests:unit:7', { since });
      assert.equal(answer.recovered, false, since);
      assert.equal(answer.reason, 'epoch', since);
      assert.equal(answer.cursor, head, 'the following events start at the head');
    }
    await insert(5200);
    assert.equal((await who.next(isEvent)).key, '5200', 'the stream is live');
  });

  it('answers a cursor that is none, without breaking', async () => {
    const who = await as(bridge);
    const epoch = who.welcome.epoch;
    for (const since of ['', 'x', '-', `${epoch}`, `${epoch}-`, `${epoch}--1`, `${epoch}-1x`, `${epoch}-99999999999999999999`, `${epoch.toUpperCase()}G-1`,
      `${epoch}-1 `, `${epoch}-0x1`, `${epoch}-1-1`]) {
      const answer = await who.ask({ type: 'subscribe', channel: 'requests:unit:7', since });
      if (answer.type === 'error') {
        assert.equal(answer.code, 'bad_message', `${JSON.stringify(since)}: ${JSON.stringify(answer)}`);
      } else {
        assert.equal(answer.recovered, false, `${JSON.stringify(since)}: ${JSON.stringify(answer)}`);
        assert.equal(answer.reason, 'epoch');
      }
    }
    assert.equal((await who.ask({ type: 'subscribe', channel: 'requests:unit:7', since: 7 })).code, 'bad_message');
  });

  it('replays only what the asker may see now', async () => {
    await db.write(`INSERT INTO orders (id, customer_id, partner_id) VALUES (6000, 81, 82)`);
    const start = await db.head();
    await db.write(`UPDATE orders SET status = 'Private' WHERE id = 6000`);
    await db.write(`UPDATE orders SET partner_id = 83 WHERE id = 6000`);
    await db.head();
    const former = await Client.open(forgetful, { token: await db.token('82') });
    const next = await Client.open(forgetful, { token: await db.token('83') });
    clients.push(former, next);
    assert.equal(await former.refusedSubscribe('orders:row:6000', { since: start }), 'forbidden');
    await next.subscribe('orders:row:6000', { since: start });
    await next.caughtUp(db);
    assert.ok(!next.events().some((event) => event.action === 'private'), 'not what it might not have seen then');
    assert.ok(next.events().some((event) => event.type === 'order.updated'), 'but the event that gave it the row');
  });

  it('says pruned below what is kept, and epoch after a reset', async () => {
    const own = await cluster.database(SCHEMA);
    const house = await Bridge.start(own);
    try {
      const token = await own.token('alice', { units: [7] });
      const start = await own.head();
      const who = await Client.open(house, { token });
      await who.subscribe('requests:unit:7');
      await own.write(`INSERT INTO requests (unit_id, title) SELECT 7, 'x' FROM generate_series(1, 50)`);
      await who.caughtUp(own);
      await own.head();
      // Rotation, then the rotated table is old enough to go: a few rounds with nothing to keep, as nobody waits for a lock here.
      await until('what came first to be pruned', async () => {
        await own.query(`SELECT livefeed.prune('0 seconds')`);
        await own.write(`INSERT INTO requests (unit_id, title) VALUES (7, 'y')`);
        await who.caughtUp(own);
        return await own.value('SELECT kept FROM livefeed.state') > idOf(start);
      });
      // The old bridge may still have it in memory; a new one cannot.
      const fresh = await Bridge.start(own);
      const late = await Client.open(fresh, { token });
      const answer = await late.subscribe('requests:unit:7', { since: start });
      assert.deepEqual([answer.recovered, answer.reason], [false, 'pruned']);

      const before = await own.head();
      await own.query('SELECT livefeed.reset()');
      const after = await own.head();
      assert.notEqual(epochOf(before), epochOf(after));
      await own.write(`INSERT INTO requests (unit_id, title) VALUES (7, 'after')`);
      await late.next((frame) => frame.data?.title === 'after');
      const reset = await late.subscribe('requests:unit:7', { since: before });
      assert.deepEqual([reset.recovered, reset.reason], [false, 'epoch']);
      await Promise.all([who.leave(), late.leave()]);
      await fresh.stop();
    } finally {
      await house.stop();
    }
  });

  it('loses nothing between subscribed and the next commit, again and again', async () => {
    const who = await as(bridge);
    for (let n = 0; n < 30; n++) {
      await who.subscribe('requests:unit:7');
      await insert(7000 + n);
      await who.next({ key: String(7000 + n) });
    }
  });
});
