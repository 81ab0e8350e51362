// durable => false: a thousand partners' positions, changed again and again, leave no lasting rows; who comes
// back too late is told transient_lost, here or at a bridge that has read nothing of it; durable events of the same
// ticks keep their ids. Not here: a crash (test/fault/transient.test.mjs), rotation as such (sql/transient.sql).

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Cluster, epochOf, idOf } from './lib/cluster.mjs';
import { Bridge } from './lib/bridge.mjs';
import { Client, isEvent } from './lib/client.mjs';
import { until } from './lib/wait.mjs';

const PARTNERS = 1000;
const ROUNDS = 10; // each as many positions as a second brings
const GROUP = 50; // partners in one transaction

const SCHEMA = `
  CREATE TABLE orders (id integer PRIMARY KEY, unit_id integer, status text);
  CREATE UNLOGGED TABLE positions (partner integer PRIMARY KEY, order_id integer, x integer, note text NOT NULL DEFAULT repeat('.', 200));
  SELECT livefeed.watch('orders', entity => 'order', unit => 'unit_id');
  SELECT livefeed.watch('positions', entity => 'position', roles => '{*}', durable => false, parent_feed => 'orders', parent => 'order_id');
  INSERT INTO orders VALUES (1, 7, 'New'), (2, 7, 'New');
  INSERT INTO positions SELECT g, 1 + g % 2, 0 FROM generate_series(1, ${PARTNERS}) g;
`;

describe('events that need not last', () => {
  let cluster;
  let db;
  let bridge;
  let cold;
  let start; // cursor before it all
  let durable; // [id, key, status] of each durable event
  const clients = [];

  before(async () => {
    cluster = await Cluster.start({ settings: ['autovacuum = off'] });
    db = await cluster.database(SCHEMA);
    bridge = await Bridge.start(db);
  });
  after(async () => {
    await Promise.all(clients.map((client) => client.leave()));
    await bridge?.stop();
    await cold?.stop();
    await cluster?.remove();
  });

  async function page(at = bridge) {
    const client = await Client.open(at, { token: await db.token('page', { units: [7] }) });
    clients.push(client);
    await client.caughtUp(db); // what was written before comes to nobody after
    return client;
  }
  const sizes = async () => (await db.query(`
    SELECT pg_table_size('livefeed.log_0') + pg_table_size('livefeed.log_1') + pg_table_size('livefeed.log_2') AS log,
      pg_total_relation_size('livefeed.transient_0') + pg_total_relation_size('livefeed.transient_1') + pg_total_relation_size('livefeed.transient_2') AS transient,
      (SELECT count(*) FROM livefeed.log) AS log_rows, (SELECT count(*) FROM livefeed.transient) AS transient_rows,
      (SELECT count(*) FROM livefeed.ticks) AS ticks`))[0];
  const orders = (client) => client.events().filter(({ feed }) => feed === 'orders').map(({ id, key, data }) => [id, key, data.status]);

  /** A minute passes for the log: the bridge rotates it when it next looks. */
  async function minute() {
    const turn = () => db.value('SELECT transient_current FROM livefeed.state');
    const before_ = await turn();
    await db.query(`UPDATE livefeed.state SET transient_rotated_at = transient_rotated_at - interval '1 min'`);
    await until('the transient log to rotate', async () => {
      await db.write(`UPDATE positions SET x = x + 1 WHERE partner = 1`); // so that there is something to rotate
      return await turn() !== before_;
    });
  }

  it('reach pages, and leave no rows in the log', async (t) => {
    const watcher = await page();
    await watcher.subscribe('positions');
    await watcher.subscribe('orders:row:2');
    await watcher.subscribe('orders:unit:7');
    start = await db.head();
    const empty = await sizes();
    for (let round = 1; round <= ROUNDS; round++) {
      await db.write(`UPDATE orders SET status = 'round ${round}' WHERE id = 1`);
      for (let from = 0; from < PARTNERS; from += GROUP) {
        await db.write('UPDATE positions SET x = $1 WHERE partner BETWEEN $2 AND $3', [round, from + 1, from + GROUP]);
      }
      await watcher.caughtUp(db); // who reads too slowly is another test's
    }
    const all = watcher.events().filter(({ feed }) => feed === 'positions');
    assert.equal(all.length, PARTNERS * ROUNDS, 'every position came');
    assert.equal(all.filter(({ channels }) => channels.includes('orders:row:2')).length, PARTNERS * ROUNDS / 2, 'half of them for the row of order 2');
    durable = orders(watcher);
    assert.equal(durable.length, ROUNDS);
    const full = await sizes();
    t.diagnostic(`after ${PARTNERS * ROUNDS} positions: ${JSON.stringify(full)}, before: ${JSON.stringify(empty)}`);
    assert.equal(full.log_rows - empty.log_rows, ROUNDS, 'in the log there are the durable ones alone');
    assert.equal(full.transient_rows - empty.transient_rows, PARTNERS * ROUNDS);
  });

  it('are resumed within the minute, at any bridge', async () => {
    cold = await Bridge.start(db);
    for (const at of [bridge, cold]) {
      const client = await page(at);
      assert.equal((await client.subscribe('orders:row:2', { since: start })).recovered, true);
      await client.caughtUp(db);
      assert.equal(client.events().length, PARTNERS * ROUNDS / 2);
    }
  });

  it('are gone after it, tables and all', async (t) => {
    const former = await sizes();
    for (let n = 0; n < 4; n++) await minute();
    const now = await sizes();
    t.diagnostic(`transient rows and bytes: ${former.transient_rows}, ${former.transient}; minutes later ${now.transient_rows}, ${now.transient}; ticks ${now.ticks}`);
    assert.ok(now.transient_rows < former.transient_rows / 10, `${now.transient_rows} transient rows are left of ${former.transient_rows}`);
    assert.ok(now.transient < former.transient / 4, `${now.transient} bytes are left of ${former.transient}`);
    assert.equal(now.log, former.log, 'the log did not grow');
  });

  it('are told as lost to who resumes later; durable events come with their ids', async () => {
    await cold.stop();
    cold = await Bridge.start(db); // has nothing in memory
    const client = await page(cold);
    const refused = await client.subscribe('positions', { since: start });
    assert.equal(refused.recovered, false);
    assert.equal(refused.reason, 'transient_lost');
    const child = await client.subscribe('orders:row:2', { since: start });
    assert.equal(child.recovered, false);
    assert.equal(child.reason, 'transient_lost');
    assert.equal((await client.subscribe('orders:unit:7', { since: start })).recovered, true);
    await client.caughtUp(db);
    assert.deepEqual(orders(client), durable, 'the same events under the same ids');
    // From where it is now, nothing is missed.
    await db.write('UPDATE positions SET x = -1 WHERE partner = 3');
    assert.equal((await client.next((frame) => isEvent(frame) && frame.feed === 'positions')).data.x, -1);
  });

  it('that a page of the log misses are told in their place', async () => {
    // A cursor that may be resumed, behind which the log is emptied at once: as if it took the bridge long to read it.
    const since = await db.head();
    await db.write(`UPDATE orders SET status = 'before' WHERE id = 1`);
    await db.head(); // a tick of its own
    await db.write('UPDATE positions SET x = -2 WHERE partner = 4');
    await db.head();
    await db.write(`UPDATE orders SET status = 'after' WHERE id = 1`);
    await db.head();
    await until('nobody to hold the transient log', async () => {
      await db.query('SET lock_timeout = 100');
      await db.query('TRUNCATE livefeed.transient_0, livefeed.transient_1, livefeed.transient_2');
      return true;
    });
    await db.query('RESET lock_timeout');
    const other = await Bridge.start(db);
    try {
      const client = await page(other);
      assert.equal((await client.subscribe('orders:row:1', { since })).recovered, true);
      await client.caughtUp(db);
      const seen = client.frames.filter((frame) => isEvent(frame) || frame.type === 'resync').map((frame) => frame.reason ?? frame.data.status);
      assert.ok(seen.includes('transient_lost') && seen.indexOf('before') < seen.lastIndexOf('transient_lost') && seen.at(-1) === 'after', seen.join());
      const resync = client.frames.find(({ type }) => type === 'resync');
      assert.equal(epochOf(resync.cursor), epochOf(since));
      assert.ok(idOf(resync.cursor) > idOf(since));
      const durableOnly = await page(other);
      assert.equal((await durableOnly.subscribe('orders:unit:7', { since })).recovered, true);
      await durableOnly.caughtUp(db);
      assert.deepEqual(durableOnly.frames.filter(({ type }) => type === 'resync'), []);
    } finally {
      await other.stop();
    }
  });
});
