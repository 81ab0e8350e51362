// A bridge, a proxy in front of it, and the browser library behind that: what has to hold over each way.

import assert from 'node:assert/strict';
import { after, afterEach, before, it } from 'node:test';
import { Cluster } from './cluster.mjs';
import { Bridge } from './bridge.mjs';
import { COMMANDS } from './commands.mjs';
import { follow, gone, liveClient } from './livefeed.mjs';
import { metric, settled } from './metrics.mjs';
import { Proxy } from './proxy.mjs';
import { DEADLINE_MS, until } from './wait.mjs';

export const LONG_MS = 3 * DEADLINE_MS; // streams are given up after a while, WebSockets tried now and then

const TABLES = `${COMMANDS}
  CREATE FUNCTION open_requests(unit text) RETURNS jsonb LANGUAGE sql STABLE AS
    $$ SELECT to_jsonb(count(*)) FROM requests WHERE unit_id::text = unit AND status = 'Pending' $$;
  SELECT livefeed.expose_query('open_requests', 'open_requests(text)', 'unit', '{requests}');

  CREATE TABLE slow (id integer PRIMARY KEY, unit_id integer, n integer);
  SELECT livefeed.watch('slow', unit => 'unit_id');
  CREATE FUNCTION slow_rows(scope text, value text) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
  BEGIN
    PERFORM pg_sleep(1);
    RETURN (SELECT coalesce(jsonb_agg(to_jsonb(s)), '[]') FROM public.slow s WHERE CASE scope WHEN 'row' THEN id::text ELSE unit_id::text END = value);
  END $$;
  SELECT livefeed.expose_snapshot('slow', 'slow_rows(text,text)');
  CREATE TABLE remarks (id integer PRIMARY KEY, slow_id integer, unit_id integer, body text);
  SELECT livefeed.watch('remarks', unit => 'unit_id', parent_feed => 'slow', parent => 'slow_id');
`;

export const keys = ({ events }) => events.map(({ key }) => Number(key));
export const numbers = (from, to) => Array.from({ length: to - from + 1 }, (_, n) => from + n);

/** Sets up what the tests of one file need; to be called inside describe(). */
export function scene() {
  const here = { clients: [] };
  before(async () => {
    here.cluster = await Cluster.start();
    here.db = await here.cluster.database(TABLES);
    here.bridge = await Bridge.start(here.db, ['--heartbeat', '2s', '--jwt-leeway', '0s']);
    here.proxy = await Proxy.start(here.bridge.port);
  });
  afterEach(async () => {
    for (const client of here.clients) client.close();
    here.clients = [];
    await gone(here.bridge);
    Object.assign(here.proxy, { upgrades: true, streams: true, requests: [] });
    await here.db.write('DELETE FROM requests; DELETE FROM orders');
    await settled(here.bridge, here.db);
  });
  after(async () => {
    await here.proxy?.stop();
    await here.bridge?.stop();
    await here.cluster?.remove();
  });
  /** A client of that user behind the proxy, or at `origin`. */
  here.as = (user, { origin = here.proxy.origin, ttl, ...more } = {}) => {
    let tokens = 0;
    const client = liveClient(origin, { token: () => { tokens++; return here.db.token(user, { units: [7, 8], ttl }); }, ...more });
    here.clients.push(client);
    here.tokens = () => tokens; // that the last of them has asked for
    return client;
  };
  here.insert = (from, to, unit = 7) => here.db.write('INSERT INTO requests (id, unit_id) SELECT n, $3 FROM generate_series($1::int, $2::int) n', [from, to, unit]);
  return here;
}

/** The tests of one way; `settings` of the proxy leave no other. */
export function waysHold(here, kind, settings) {
  it(`over ${kind}: rows, events, values and commands; polling, then live when WebSockets get through`, { timeout: 3 * LONG_MS }, async () => {
    Object.assign(here.proxy, settings);
    await here.insert(1, 3);
    await settled(here.bridge, here.db); // these are in the rows, and are not told as events
    const client = here.as('ann');
    const rows = client.collection('requests:unit:7');
    const told = follow(client, 'requests:unit:7');
    const count = follow(client, 'open_requests:unit:7');
    await until('polling', () => client.status === 'polling' && client.transport === kind && rows.loaded, LONG_MS);
    assert.deepEqual([...rows.rows.keys()].sort(), ['1', '2', '3']);
    await until('the value', () => count.values.at(-1) === 3);
    await here.insert(4, 10);
    await until('the rows', () => rows.rows.size === 10);
    await until('the new value', () => count.values.at(-1) === 10);
    assert.deepEqual(await client.call('rename', { id: 1, title: 'over HTTP' }), { id: 1, by: 'ann' });
    await until('its row', () => rows.rows.get('1').title === 'over HTTP');
    await assert.rejects(client.call('raise', { message: 'no', state: 'P0001' }), { code: 'command_failed', message: 'no' });
    // Who comes later, with rows and without.
    const late = client.collection('requests:unit:8');
    const events = follow(client, 'requests:unit:8');
    await until('the rows of the other unit', () => late.loaded);
    await here.insert(11, 12, 8);
    await until('its events', () => late.rows.size === 2 && events.events.length === 2);
    assert.equal(client.status, 'polling');
    here.proxy.upgrades = true;
    await until('live', () => client.status === 'live', LONG_MS);
    await here.insert(13, 15);
    await until('the last rows', () => rows.rows.size === 13);
    assert.deepEqual(keys(told), [...numbers(4, 10), 1, ...numbers(13, 15)]);
    assert.deepEqual(keys(events), [11, 12]);
    assert.deepEqual([told.resyncs, told.errors, events.errors], [[], [], []]);
    await until('one session', async () => await metric(here.bridge, 'livefeed_subscriptions') === 3);
  });

  it(`over ${kind}: refused channels, rows that are lost, resyncs, tokens that end, logout`, { timeout: 3 * LONG_MS }, async () => {
    Object.assign(here.proxy, settings);
    await here.db.write('INSERT INTO orders (id, customer_id) VALUES (1, 5)');
    const client = here.as('5', { ttl: '6 s', WebSocket: null });
    const mine = client.collection('orders:row:1');
    const foreign = follow(client, 'requests:unit:9', { snapshot: true });
    const unit = client.collection('requests:unit:7');
    const told = follow(client, 'requests:unit:7');
    await until('polling', () => client.transport === kind && mine.loaded && unit.loaded, LONG_MS);
    await until('a refusal', () => foreign.errors.length === 1);
    assert.deepEqual([foreign.errors[0].code, foreign.errors[0].ended], ['forbidden', true]);
    await here.db.write('UPDATE orders SET customer_id = 6 WHERE id = 1');
    await until('the loss', () => mine.error?.code === 'forbidden' && mine.rows.size === 0);
    await here.insert(1, 3);
    await until('rows', () => unit.rows.size === 3);
    await here.db.write('TRUNCATE requests; INSERT INTO requests (id, unit_id) VALUES (10, 7)');
    await until('a resync', () => told.resyncs.length >= 1);
    await until('the rows as they are', () => unit.rows.size === 1 && unit.rows.has('10'));
    const before = here.tokens();
    await until('tokens to have ended', () => here.tokens() >= before + 2, LONG_MS);
    await here.insert(11, 11);
    await until('the row', () => unit.rows.size === 2);
    assert.equal(client.closed, null);
  });
}
