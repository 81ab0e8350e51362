// The browser library where WebSockets do not get through: over a stream,
// and back to a WebSocket when one gets through again; nothing lost or told twice on the way.

import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { Cluster } from './lib/cluster.mjs';
import { Bridge } from './lib/bridge.mjs';
import { COMMANDS } from './lib/commands.mjs';
import { follow, liveClient } from './lib/livefeed.mjs';
import { metric } from './lib/metrics.mjs';
import { Proxy } from './lib/proxy.mjs';
import { DEADLINE_MS, until } from './lib/wait.mjs';

const LONG_MS = 3 * DEADLINE_MS; // streams are given up after a while, WebSockets tried now and then

const TABLES = `${COMMANDS}
  CREATE FUNCTION open_requests(unit text) RETURNS jsonb LANGUAGE sql STABLE AS
    $$ SELECT to_jsonb(count(*)) FROM requests WHERE unit_id::text = unit AND status = 'Pending' $$;
  SELECT livefeed.expose_query('open_requests', 'open_requests(text)', 'unit', '{requests}');
`;

const WAYS = [['sse', { upgrades: false }]];

describe('livefeed-client', () => {
  let cluster;
  let db;
  let bridge;
  let proxy;
  let clients = [];

  before(async () => {
    cluster = await Cluster.start();
    db = await cluster.database(TABLES);
    bridge = await Bridge.start(db, ['--heartbeat', '2s', '--jwt-leeway', '0s']);
    proxy = await Proxy.start(bridge.port);
  });
  afterEach(async () => {
    for (const client of clients) client.close();
    clients = [];
    Object.assign(proxy, { upgrades: true, streams: true, requests: [] });
    await db.write('DELETE FROM requests; DELETE FROM orders');
  });
  after(async () => {
    await proxy?.stop();
    await bridge?.stop();
    await cluster?.remove();
  });

  function as(user, { origin = proxy.origin, ttl, ...more } = {}) {
    const client = liveClient(origin, { token: () => db.token(user, { units: [7, 8], ttl }), ...more });
    clients.push(client);
    return client;
  }

  const insert = (from, to, unit = 7) => db.write('INSERT INTO requests (id, unit_id) SELECT n, $3 FROM generate_series($1::int, $2::int) n', [from, to, unit]);
  const keys = ({ events }) => events.map(({ key }) => Number(key));
  const numbers = (from, to) => Array.from({ length: to - from + 1 }, (_, n) => from + n);

  for (const [kind, settings] of WAYS) {
    it(`over ${kind}: rows, events, values and commands; polling, then live when WebSockets get through`, { timeout: 3 * LONG_MS }, async () => {
      Object.assign(proxy, settings);
      await insert(1, 3);
      const client = as('ann');
      const rows = client.collection('requests:unit:7');
      const told = follow(client, 'requests:unit:7');
      const count = follow(client, 'open_requests:unit:7');
      await until('polling', () => client.status === 'polling' && client.transport === kind && rows.loaded, LONG_MS);
      assert.deepEqual([...rows.rows.keys()].sort(), ['1', '2', '3']);
      await until('the value', () => count.values.at(-1) === 3);
      await insert(4, 10);
      await until('the rows', () => rows.rows.size === 10);
      await until('the new value', () => count.values.at(-1) === 10);
      assert.deepEqual(await client.call('rename', { id: 1, title: 'over HTTP' }), { id: 1, by: 'ann' });
      await until('its row', () => rows.rows.get('1').title === 'over HTTP');
      await assert.rejects(client.call('raise', { message: 'no', state: 'P0001' }), { code: 'command_failed', message: 'no' });
      // Who comes later, with rows and without.
      const late = client.collection('requests:unit:8');
      const events = follow(client, 'requests:unit:8');
      await until('the rows of the other unit', () => late.loaded);
      await insert(11, 12, 8);
      await until('its events', () => late.rows.size === 2 && events.events.length === 2);
      assert.equal(client.status, 'polling');
      proxy.upgrades = true;
      await until('live', () => client.status === 'live', LONG_MS);
      await insert(13, 15);
      await until('the last rows', () => rows.rows.size === 13);
      assert.deepEqual(keys(told), [...numbers(4, 10), 1, ...numbers(13, 15)]);
      assert.deepEqual(keys(events), [11, 12]);
      assert.deepEqual([told.resyncs, told.errors, events.errors], [[], [], []]);
      await until('one session', async () => await metric(bridge, 'livefeed_subscriptions') === 3);
    });
  }

  it('from a WebSocket to HTTP and back, with what happened while there was nothing', { timeout: 3 * LONG_MS }, async () => {
    const client = as('ann');
    const statuses = [];
    client.onStatus((status) => statuses.push(status));
    const told = follow(client, 'requests:unit:7');
    const rows = client.collection('requests:unit:7');
    await until('live', () => client.status === 'live' && rows.loaded);
    await insert(1, 5);
    await until('them', () => told.events.length === 5);
    proxy.upgrades = false;
    proxy.cut();
    await until('offline', () => statuses.includes('offline'));
    await insert(6, 10);
    await until('polling', () => client.status === 'polling', LONG_MS);
    await until('them', () => told.events.length === 10);
    await insert(11, 20);
    proxy.cut();
    await insert(21, 30);
    await until('them', () => rows.rows.size === 30);
    proxy.upgrades = true;
    await until('live', () => client.status === 'live', LONG_MS);
    await insert(31, 31);
    await until('the last', () => rows.rows.size === 31);
    assert.deepEqual(keys(told), numbers(1, 31));
    assert.deepEqual(told.resyncs, []);
  });

  for (const [kind, settings] of WAYS) {
    it(`over ${kind}: refused channels, rows that are lost, resyncs, tokens that end, logout`, { timeout: 3 * LONG_MS }, async () => {
      Object.assign(proxy, settings);
      await db.write('INSERT INTO orders (id, customer_id) VALUES (1, 5)');
      const client = as('5', { ttl: '3 s', WebSocket: null });
      const mine = client.collection('orders:row:1');
      const foreign = follow(client, 'requests:unit:9', { snapshot: true });
      const unit = client.collection('requests:unit:7');
      const told = follow(client, 'requests:unit:7');
      await until('polling', () => client.transport === kind && mine.loaded && unit.loaded, LONG_MS);
      await until('a refusal', () => foreign.errors.length === 1);
      assert.deepEqual([foreign.errors[0].code, foreign.errors[0].ended], ['forbidden', true]);
      await db.write('UPDATE orders SET customer_id = 6 WHERE id = 1');
      await until('the loss', () => mine.error?.code === 'forbidden' && mine.rows.size === 0);
      await insert(1, 3);
      await until('rows', () => unit.rows.size === 3);
      await db.write('TRUNCATE requests; INSERT INTO requests (id, unit_id) VALUES (10, 7)');
      await until('a resync', () => told.resyncs.length >= 1);
      await until('the rows as they are', () => unit.rows.size === 1 && unit.rows.has('10'));
      const began = Date.now();
      await until('tokens to have ended', () => Date.now() - began > 4000);
      await insert(11, 11);
      await until('the row', () => unit.rows.size === 2);
      assert.equal(client.closed, null);
    });
  }

  it('stays closed after a logout, over a stream too', async () => {
    const client = as('carl', { WebSocket: null, origin: bridge.origin });
    follow(client, 'requests:unit:7');
    await until('polling', () => client.status === 'polling');
    await db.query(`SELECT livefeed.disconnect('carl', 'signed out')`);
    await until('the end', () => client.closed);
    assert.equal(client.closed.code, 4403);
    assert.equal(client.status, 'offline');
  });
});
