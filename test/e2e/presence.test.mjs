// Who is online: livefeed.sessions as the bridges tell it, and queries that follow it; the bridges themselves, in
// livefeed.bridges. Not here: what a report does in SQL (sql/presence.sql), when there is one (test/unit/test_presence.c).

import assert from 'node:assert/strict';
import os from 'node:os';
import { after, before, describe, it } from 'node:test';
import { io } from 'socket.io-client';
import { Bridge, bridgeRun } from './lib/bridge.mjs';
import { Client } from './lib/client.mjs';
import { Cluster, idOf } from './lib/cluster.mjs';
import { value } from './lib/example.mjs';
import { SCHEMA } from './lib/schema.mjs';
import { Stream } from './lib/stream.mjs';
import { until } from './lib/wait.mjs';

const LONG = Number(process.env.FAULT_SECONDS ?? 0) >= 60;

const ONLINE = `
  CREATE FUNCTION online(unit text) RETURNS jsonb STABLE LANGUAGE sql AS $$
    SELECT coalesce(jsonb_agg(DISTINCT user_id ORDER BY user_id), '[]') FROM livefeed.sessions WHERE units @> ARRAY[unit] $$;
  SELECT livefeed.expose_query('online', 'online(text)', 'unit', '{livefeed_sessions}');
`;

describe('who is online', () => {
  let cluster;
  let db;
  let bridge;
  const clients = [];

  before(async () => {
    cluster = await Cluster.start();
    db = await cluster.database(SCHEMA + ONLINE);
    bridge = await Bridge.start(db);
  });
  after(async () => {
    await Promise.all(clients.map((client) => client.leave()));
    await bridge?.stop();
    await cluster?.remove();
  });

  async function enter(user, units, { at = bridge, via } = {}) {
    const client = await Client.open(at, { token: await db.token(user, { units }), via });
    clients.push(client);
    return client;
  }
  const rows = (user) => db.query(`SELECT bridge, session, units, transport, host(address) AS address, connected_at, channels
    FROM livefeed.sessions WHERE user_id = $1 ORDER BY cardinality(units) DESC`, [user]); // connected_at is in whole seconds
  const told = (what, user, fits) => until(what, async () => { const found = await rows(user); return fits(found) && found; });

  it('a session is a row: who, where, since when, with which channels', async () => {
    const began = Date.now();
    const [one] = [await enter('ann', [7, 9]), await enter('ann', [7], { via: 'message' })];
    await one.subscribe('requests:unit:7');
    await one.subscribe('requests:unit:9');
    const [first, second] = await told('both of her sessions', 'ann', (found) => found.length === 2 && found[0].channels.length === 2);
    assert.deepEqual([first.units, first.transport, first.address, first.channels.sort()],
      [['7', '9'], 'websocket', '127.0.0.1', ['requests:unit:7', 'requests:unit:9']]);
    assert.deepEqual([second.units, second.channels], [['7'], []]);
    assert.notEqual(first.session, second.session);
    assert.ok(Math.abs(first.connected_at - began) < 30_000, `${first.connected_at}`);
    assert.equal((await db.query('SELECT bridge FROM livefeed.bridges'))[0].bridge, first.bridge);
    assert.equal((await rows('nobody')).length, 0, 'who has no token is nobody');
    await one.ask({ type: 'unsubscribe', channel: 'requests:unit:7' });
    await told('one channel less', 'ann', ([row]) => row.channels.length === 1);
    await one.leave();
    await told('one session less', 'ann', (found) => found.length === 1);
  });

  it('whatever the transport', async () => {
    const token = await db.token('hal', { units: [7] });
    const stream = await Stream.open(bridge, { token, channels: ['requests:unit:7'] });
    const socket = io(bridge.origin, { auth: { token }, forceNew: true });
    try {
      assert.equal((await socket.emitWithAck('subscribe', { channel: 'requests:unit:7' })).type, 'subscribed');
      const state = await bridge.get('/state?channel=requests:unit:7', { headers: { Authorization: `Bearer ${token}` } });
      assert.equal(state.status, 200);
      const found = await told('both', 'hal', (all) => all.length === 2 && all.every(({ channels }) => channels.length === 1));
      assert.deepEqual(found.map(({ transport }) => transport).sort(), ['socketio', 'sse'], 'and a single request is no session');
      assert.deepEqual(found.find(({ transport }) => transport === 'sse').channels, ['requests:unit:7']);
    } finally {
      socket.close();
      stream.leave();
    }
    await told('both to be gone', 'hal', (all) => all.length === 0);
  });

  it('a query per unit follows who comes and goes', async () => {
    const watcher = await enter('watcher', [8]);
    await watcher.subscribe('online:unit:8');
    await value(watcher, 'online:unit:8', ['watcher']);
    const [bea, other] = [await enter('bea', [8]), await enter('cyd', [5])];
    await value(watcher, 'online:unit:8', ['bea', 'watcher']);
    await bea.leave();
    await value(watcher, 'online:unit:8', ['watcher']);
    assert.ok(!watcher.texts.some((text) => text.includes('cyd')), 'another unit does not show');
    await db.query(`SELECT livefeed.disconnect('cyd', 'logged out')`);
    await other.close(4403);
    await told('who was logged out to be gone', 'cyd', (found) => found.length === 0);
  });

  it('sessions of a bridge that died vanish, of one that stops at once', async (t) => {
    const other = await Bridge.start(db);
    const dying = await Bridge.start(db);
    const [watcher] = [await enter('watcher', [6]), await enter('dan', [6], { at: other }), await enter('eve', [6], { at: dying })];
    await watcher.subscribe('online:unit:6');
    await value(watcher, 'online:unit:6', ['dan', 'eve', 'watcher']);
    await other.stop();
    await value(watcher, 'online:unit:6', ['eve', 'watcher']);
    watcher.forget();
    const died = Date.now();
    await dying.kill();
    // 20 s pass for the dead one; our bridge looks at such every second. In the long form they pass.
    if (!LONG) await db.query(`UPDATE livefeed.bridge b SET seen_at = seen_at - interval '20 s' FROM livefeed.session s WHERE s.bridge = b.bridge AND s.user_id = 'eve'`);
    await value(watcher, 'online:unit:6', ['watcher'], 60_000);
    t.diagnostic(`${Date.now() - died} ms after its bridge was killed`);
    await until('its row to be gone', async () => (await db.query(`SELECT FROM livefeed.session WHERE user_id = 'eve'`)).length === 0);
  });

  it('livefeed.bridges: who each bridge is, how far it has read, who ticks, how many it serves; one that ended is no longer there', async () => {
    const [early, late] = [await Bridge.start(db), await Bridge.start(db)];
    const seen = (fits) => until('what the bridges say of themselves', async () => {
      const all = await db.query('SELECT bridge, host, pid, version, started_at, seen_at, last_id, ticker, sessions, clock_timestamp() AS now FROM livefeed.bridges');
      const found = [bridge, early, late].map(({ process: { pid } }) => all.find((each) => each.pid === pid));
      return fits(...found) && found;
    });
    const all = await seen((...three) => three.every(Boolean));
    const [, version] = /^livefeed-bridge (\S+)\n$/.exec((await bridgeRun(['--version'])).stdout);
    assert.equal(new Set(all.map((each) => each.bridge)).size, 3);
    for (const each of all) {
      assert.deepEqual([each.host, each.version], [os.hostname(), version]);
      assert.ok(each.started_at <= each.seen_at && each.seen_at <= each.now, JSON.stringify(each));
      assert.ok(each.now - each.seen_at < 30_000, JSON.stringify(each));
    }
    assert.ok(all[1].started_at < all[2].started_at);

    assert.deepEqual(all.slice(1).map((each) => each.sessions), [0, 0]);
    const [ian] = [await enter('ian', [7], { at: late }), await enter('ida', [7], { at: late }), await enter('ilse', [7], { at: early })];
    await db.write(`INSERT INTO requests (unit_id, title) VALUES (7, 'to be read')`);
    const head = idOf(await db.head());
    await seen((...three) => three.every((each, n) => each.last_id >= head && each.seen_at > all[n].seen_at)
      && three.filter(({ ticker }) => ticker).length === 1 && three[1].sessions === 1 && three[2].sessions === 2);
    await ian.leave();
    await seen((one, two, three) => three.sessions === 1);

    await early.stop();
    await seen((one, two, three) => one && !two && three);
    await late.kill();
    // 30 s pass for the dead one; in the long form they do.
    if (!LONG) await db.query(`UPDATE livefeed.bridge SET seen_at = seen_at - interval '30 s' WHERE pid = $1`, [late.process.pid]);
    await until('the dead one to be gone', async () => (await db.query('SELECT FROM livefeed.bridges WHERE pid = $1', [late.process.pid])).length === 0, 60_000);
  });

  it('a bridge that was taken for dead, or whose database crashed, tells of its sessions again', async () => {
    await enter('fay', [7]);
    await told('her session', 'fay', (found) => found.length === 1);
    const [{ bridge: name }] = await rows('fay');
    await db.query('DELETE FROM livefeed.session');
    await enter('gus', [7]);
    await told('her session again', 'fay', (found) => found.length === 1);
    await cluster.stop('immediate'); // the table is unlogged
    await cluster.again();
    await bridge.ready();
    for (const user of ['fay', 'gus']) await told('the sessions after the crash', user, (found) => found.length === 1 && found[0].bridge === name);
  });
});
