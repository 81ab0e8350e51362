// The browser library and who is asking: fresh tokens before the old one ends and after 4401, logout, rights that are
// lost, channels that are refused; and what it does where something was missed.

import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { Cluster } from './lib/cluster.mjs';
import { Bridge } from './lib/bridge.mjs';
import { COMMANDS } from './lib/commands.mjs';
import { broken, follow, gone, liveClient } from './lib/livefeed.mjs';
import { metric, settled } from './lib/metrics.mjs';
import { Proxy } from './lib/proxy.mjs';
import { DEADLINE_MS, until } from './lib/wait.mjs';

describe('livefeed-client', () => {
  let cluster;
  let db;
  let bridge;
  let clients = [];

  before(async () => {
    cluster = await Cluster.start();
    db = await cluster.database(COMMANDS);
    bridge = await Bridge.start(db, ['--jwt-leeway', '0s']);
  });
  afterEach(async () => {
    for (const client of clients) client.close();
    clients = [];
    await gone(bridge);
    await db.write('DELETE FROM requests; DELETE FROM orders');
    await settled(bridge, db);
  });
  after(async () => {
    await bridge?.stop();
    await cluster?.remove();
  });

  function open(token, { origin = bridge.origin, ...more } = {}) {
    const client = liveClient(origin, { token, ...more });
    clients.push(client);
    return client;
  }

  const live = (client) => until('live', () => client.status === 'live', 3 * DEADLINE_MS);

  it('asks for a fresh token before the old one ends, and stays connected', async () => {
    let asked = 0;
    const client = open(async () => { asked++; return db.token('ann', { units: [7], ttl: '12 s' }); }); // fresh ones with half of it to go
    const told = follow(client, 'requests:unit:7');
    await live(client);
    const statuses = [];
    client.onStatus((status) => statuses.push(status));
    await until('two more tokens', () => asked >= 3, 3 * DEADLINE_MS);
    await db.write('INSERT INTO requests (unit_id) VALUES (7)');
    await until('the event', () => told.events.length === 1);
    assert.deepEqual(statuses, []);
    assert.deepEqual(told.errors, []);
  });

  it('comes back with a fresh token after 4401, at once, and goes on where it was', async () => {
    let asked = 0;
    const client = open(() => { asked++; return db.token('bob', { units: [7] }); });
    const rows = client.collection('requests:unit:7');
    await until('the rows', () => rows.loaded);
    const statuses = [];
    client.onStatus((status) => statuses.push(status));
    await db.query(`SELECT livefeed.reauthorize('bob')`); // without an authorizer this closes with 4401
    await until('a break', () => statuses.length > 0);
    await db.write('INSERT INTO requests (id, unit_id) VALUES (1, 7)');
    await until('live again', () => statuses.at(-1) === 'live');
    await until('the row', () => rows.rows.size === 1);
    assert.equal(client.closed, null);
    assert.ok(asked >= 2, 'with a fresh one'); // one of the same second is older than the word
  });

  it('stays closed where a fixed token is refused, a function gives none, or somebody was sent away', async () => {
    const refused = open('not.a.token');
    const waiting = refused.call('whoami');
    await assert.rejects(waiting, { code: 'closed' });
    assert.equal(refused.closed.code, 4401);
    assert.equal(refused.status, 'offline');

    const nobody = open(() => null);
    await until('an end', () => nobody.closed);
    assert.deepEqual(nobody.closed, { code: 4401, reason: 'no token' });

    let asked = 0;
    const client = open(() => { asked++; return db.token('carl', { units: [7] }); });
    const told = follow(client, 'requests:unit:7');
    await live(client);
    await db.query(`SELECT livefeed.disconnect('carl', 'you have signed out')`);
    await until('the end', () => client.closed);
    assert.deepEqual(client.closed, { code: 4403, reason: 'you have signed out' });
    assert.equal(client.status, 'offline');
    const before = asked;
    await assert.rejects(client.call('whoami'), { code: 'closed' });
    await until('no session', async () => await metric(bridge, 'livefeed_sessions{transport="websocket"}') === 0);
    assert.equal(asked, before);
    assert.deepEqual(told.errors, []);
  });

  it('tries again where the token function fails, and where a token is refused', async () => {
    const answers = [() => { throw new Error('the application is away'); }, () => 'x.y.z', () => 'x.y.z', () => db.token('dora', { units: [7] })];
    const client = open(async () => (answers.length > 1 ? answers.shift() : answers[0])());
    await live(client);
    assert.equal(answers.length, 1);
  });

  it('says which channels are refused or lost, and takes their rows away', async () => {
    await db.write('INSERT INTO orders (id, customer_id) VALUES (1, 5), (2, 6)');
    const client = open(() => db.token('5', { units: [7] }));
    const other = follow(client, 'requests:unit:8', { snapshot: true });
    const nothing = follow(client, 'nonsense:unit:8');
    const mine = client.collection('orders:row:1');
    const foreign = client.collection('orders:row:2');
    await until('the answers', () => other.errors.length && nothing.errors.length && mine.loaded && foreign.error);
    assert.deepEqual([other.errors[0].code, other.errors[0].ended, other.errors[0].channel], ['forbidden', true, 'requests:unit:8']);
    assert.equal(nothing.errors[0].code, 'unknown_channel');
    assert.equal(foreign.error.code, 'forbidden');
    assert.equal(mine.rows.size, 1);
    await db.write('UPDATE orders SET customer_id = 6 WHERE id = 1');
    await until('the loss', () => mine.error);
    assert.deepEqual([mine.rows.size, mine.loaded, mine.error.code], [0, false, 'forbidden']);
    other.subscription.unsubscribe(); // of what is over: nothing happens
    assert.equal(client.status, 'live');
  });

  it('fetches anew what was missed: a resync, a pruned cursor, another epoch', async () => {
    await db.write('INSERT INTO requests (id, unit_id) SELECT n, 7 FROM generate_series(1, 3) n');
    const proxy = await Proxy.start(bridge.port);
    try {
      const client = open(() => db.token('eve', { units: [7] }), { origin: proxy.origin });
      const rows = client.collection('requests:unit:7');
      const told = follow(client, 'requests:unit:7');
      await until('the rows', () => rows.loaded);
      const equal = (n) => until(`${n} rows`, () => rows.rows.size === n);
      await equal(3);
      await db.write('TRUNCATE requests; INSERT INTO requests (id, unit_id) VALUES (10, 7)');
      await until('the resync', () => told.resyncs.length === 1);
      await until('the rows as they are', () => rows.rows.size === 1 && rows.rows.has('10'));
      assert.deepEqual(told.resyncs, [{ channel: 'requests:unit:7', reason: 'truncated_table' }]);
      await broken(client, proxy);
      await db.query('SELECT livefeed.reset()');
      await db.write('DELETE FROM requests; INSERT INTO requests (id, unit_id) SELECT n, 7 FROM generate_series(20, 24) n');
      await live(client);
      await equal(5);
      await until('word of it', () => told.resyncs.some(({ reason }) => reason === 'epoch'));
      await db.write('DELETE FROM requests WHERE id = 20');
      await equal(4);
    } finally {
      await proxy.stop();
    }
  });

  it('says stale while the bridge has no database, and live when it is back', async () => {
    const client = open(() => token);
    const token = await db.token('gina', { units: [7] });
    const rows = client.collection('requests:unit:7');
    await until('the rows', () => rows.loaded);
    await cluster.stop();
    await until('stale', () => client.status === 'stale');
    await cluster.again();
    await live(client);
    await db.write('INSERT INTO requests (id, unit_id) VALUES (1, 7)');
    await until('the row', () => rows.rows.size === 1);
  });
});
