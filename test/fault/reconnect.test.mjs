// A reconnect storm: all sessions lose their connections at once and come back at once, each with a cursor of its own a
// hundred events back. They come live in time, each with exactly the events after its cursor, in order, once; the
// database sees no more connections of the bridge than it may; the bridge's memory is bounded. Once with the
// events in memory, once all from the log, once at a bridge that was killed meanwhile and knows nothing.
//
// 1,000 sessions; FAULT_SECONDS of 60 or more: 10,000. Not here: clients that read slowly (slow), what a resume may show (leak).

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import path from 'node:path';
import { after, afterEach, before, describe, it } from 'node:test';
import { promisify } from 'node:util';
import { Load } from '../bench/lib/load.mjs';
import { peakKib, cpuNs } from '../bench/lib/process.mjs';
import { Bridge } from '../e2e/lib/bridge.mjs';
import { Client } from '../e2e/lib/client.mjs';
import { Cluster, epochOf, idOf, ROOT } from '../e2e/lib/cluster.mjs';
import { until, SLOW } from '../e2e/lib/wait.mjs';
import { seconds } from './lib/random.mjs';
import { tearDown } from './lib/scene.mjs';

const LONG = seconds(10) >= 60;
const SESSIONS = LONG ? 10_000 : 1000;
const UNITS = 100;
const BEHIND = 100;
const DB_CONNECTIONS = 4;
const ADDRESSES = 25; // a thousand sessions may come from one
const LIVE_WITHIN_MS = 30_000 * SLOW;
const SAMPLE_EVERY_MS = 20;
const ROWS_AT_ONCE = 1000; // in a transaction, which keeps 10,000 events
// More than a bridge has somebody wait for a database that does not answer (8 s).
const LOOK_UPS = 95;
const LOOK_UP_S = 0.09;
const MEMORY_LIMIT_KB = (LONG ? 600_000 : 200_000) * SLOW;

const SCHEMA = `
  CREATE TABLE storm (n bigint PRIMARY KEY, unit integer NOT NULL, pad text NOT NULL DEFAULT repeat('x', 150));
  SELECT livefeed.watch('storm', unit => 'unit');
  CREATE TABLE board (id integer PRIMARY KEY, unit integer NOT NULL, n bigint NOT NULL DEFAULT 0);
  INSERT INTO board SELECT n, n FROM generate_series(1, ${UNITS}) n;
  CREATE TABLE slow (id integer PRIMARY KEY, unit integer NOT NULL);
  CREATE FUNCTION slow_unit(slow) RETURNS text LANGUAGE plpgsql STABLE AS $$
    BEGIN
      IF session_user = 'bridge' THEN PERFORM pg_sleep(${LOOK_UP_S}); END IF;
      RETURN $1.unit;
    END $$;
  INSERT INTO slow SELECT n, 1 FROM generate_series(1, ${LOOK_UPS}) n;
  SELECT livefeed.watch('slow', unit_function => 'slow_unit(slow)');
  SELECT livefeed.watch('board', unit => 'unit', columns => '{n}');
`;

// What is subscribed to, and how events N from $1 to $2 are made, N for unit, or row, (N - 1) mod UNITS + 1.
const UNIT_CHANNELS = { channel: 'storm:unit:', sql: (from, to) => `INSERT INTO storm SELECT n, (n - 1) % ${UNITS} + 1 FROM generate_series(${from}, ${to}) n ORDER BY n` };
const ROW_CHANNELS = { channel: 'board:row:', sql: (from, to) => `DO $$ BEGIN FOR i IN ${from}..${to} LOOP UPDATE board SET n = i WHERE id = (i - 1) % ${UNITS} + 1; END LOOP; END $$` };

describe('a reconnect storm', () => {
  let cluster;
  let db;
  let bridge;
  let load;
  let kind;
  let last = 0; // the greatest n that was written

  before(async () => {
    await promisify(execFile)('make', ['-s', '-C', path.join(ROOT, 'test/bench'), 'build/wsload']);
    cluster = await Cluster.start({ settings: ['track_functions=all'] });
    db = await cluster.database(SCHEMA);
  });
  afterEach(async () => { // also of a test that failed
    const [each, client] = [bridge, load];
    [bridge, load] = [];
    await client?.close();
    await each?.stop();
  });
  after(async () => {
    await tearDown([], cluster);
  });

  /** n events more, event N to unit (N - 1) mod UNITS + 1; they have their ids when it returns. */
  async function write(n) {
    for (const to = last + n; last < to;) {
      const next = Math.min(to, last + ROWS_AT_ONCE);
      await db.write(kind.sql(last + 1, next));
      last = next;
    }
    return db.head();
  }

  /** Where each session was when it was lost, so that BEHIND of the events that follow are its own: no two units at the same place. */
  function cursors(head, first) {
    return Array.from({ length: SESSIONS }, (_, i) => {
      const unit = i % UNITS + 1;
      const passed = unit + (Math.floor(i / UNITS) % (UNITS - unit + 1)); // it has had the first of its own
      return [`${epochOf(head)}-${idOf(head) + passed}`, first + passed];
    });
  }

  const connected = () => db.value(`SELECT count(*)::integer FROM pg_catalog.pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'livefeed-bridge%'`);

  /** Looks at the database's view of the bridge until stopped; the most it has seen. */
  function watchConnections() {
    const looks = [];
    const look = () => {
      looks.push(connected());
      looks.at(-1).catch(() => {}); // seen when it is stopped
    };
    const timer = setInterval(look, SAMPLE_EVERY_MS);
    look();
    return async () => {
      clearInterval(timer);
      return Math.max(...await Promise.all(looks));
    };
  }

  const calls = async () => Object.fromEntries((await db.query(`SELECT funcname, calls FROM pg_catalog.pg_stat_user_functions WHERE schemaname = 'livefeed' AND funcname IN ('read', 'check_cursor')`)).map(({ funcname, calls: n }) => [funcname, n]));

  async function start(args, how = UNIT_CHANNELS) {
    kind = how;
    bridge = await Bridge.start(db, ['--db-connections', String(DB_CONNECTIONS), ...args]);
    const tokens = (await db.query(`SELECT livefeed.issue_token('user' || i, jsonb_build_array(i % ${UNITS} + 1), ttl => '2 h') AS token FROM generate_series(0, ${SESSIONS - 1}) i`)).map(({ token }) => token);
    load = new Load({ name: 'storm', port: bridge.port, protocol: 'livefeed', path: '/ws?token={token}' }, { sessions: SESSIONS, units: UNITS, channel: kind.channel, tokens, addresses: ADDRESSES, atOnce: SESSIONS });
    await load.expect(last + 1, last);
    await load.open();
  }

  /** All are cut off, miss their events (what `meanwhile` does comes first), and come back at once. */
  async function storm(name, meanwhile = async () => {}) {
    const head = await db.head();
    const first = last + 1;
    await load.hangUp(cursors(head, first));
    await meanwhile('before');
    const end = await write(UNITS * (BEHIND + 1));
    assert.equal(idOf(end) - idOf(head), UNITS * (BEHIND + 1), 'ids follow n');
    await meanwhile('after');
    assert.equal(await load.expect(first, last), SESSIONS * BEHIND);
    const asked = await calls();
    const cpu = cpuNs(bridge.process.pid);
    const connections = watchConnections();
    await load.open();
    const result = await load.wait(LIVE_WITHIN_MS);
    const most = await connections();
    const liveMs = Math.round((result.last_ns - load.beganNs) / 1e6);
    // And live: one more for each, and nothing that came before comes again.
    const since = last + 1;
    assert.equal(await load.expect(since, last + UNITS), SESSIONS);
    await write(UNITS);
    const live = await load.wait(LIVE_WITHIN_MS);
    assert.equal(live.stray, 0);
    const after_ = await calls();
    const figures = { sessions: SESSIONS, liveMs, subscribedMs: Math.round((load.readyNs - load.beganNs) / 1e6), connections: most, peakKb: peakKib(bridge.process.pid),
      cpuMs: Math.round((cpuNs(bridge.process.pid) - cpu) / 1e6), pages: (after_.read ?? 0) - (asked.read ?? 0), cursors: (after_.check_cursor ?? 0) - (asked.check_cursor ?? 0) };
    console.log(`reconnect ${name}:`, JSON.stringify(figures));
    assert.equal(result.disorder, 0);
    assert.ok(liveMs <= LIVE_WITHIN_MS, `all live after ${liveMs} ms`);
    assert.ok(most <= DB_CONNECTIONS + 3, `${most} connections`);
    assert.ok(figures.peakKb < MEMORY_LIMIT_KB, `the bridge grew to ${figures.peakKb} kB`);
    return figures;
  }

  it('with all in memory asks the database for nothing', async () => {
    await start([]);
    await storm('from memory');
  });

  it('with nothing in memory shares what it reads from the log', async () => {
    await start(['--history', '0']);
    const { cursors: asked, pages } = await storm('from the log');
    assert.ok(asked < SESSIONS / 2, `${asked} cursors were asked for`);
    assert.ok(pages < SESSIONS, `${pages} pages were read`);
  });

  it('of row channels, each of which has to be asked for, with nothing in memory', async () => {
    await start(['--history', '0'], ROW_CHANNELS);
    await storm('of row channels');
  });

  it('leaves nobody without an answer who waits for his turn while others have theirs', async () => {
    bridge = await Bridge.start(db, ['--db-connections', '1']);
    const client = await Client.open(bridge, { token: await db.token('slow', { units: [1] }) });
    const began = performance.now();
    const channels = Array.from({ length: LOOK_UPS }, (_, n) => `slow:row:${n + 1}`);
    for (const channel of channels) client.send({ type: 'subscribe', ref: channel, channel });
    for (const channel of channels) assert.equal((await client.next({ ref: channel }, LIVE_WITHIN_MS)).type, 'subscribed');
    assert.ok(performance.now() - began > LOOK_UPS * LOOK_UP_S * 1000, 'they were looked up one after the other');
    await client.leave();
  });

  it('at a bridge that was killed meanwhile', async () => {
    await start([]);
    await storm('after a kill', async (when) => {
      if (when === 'after') return bridge.again();
      await bridge.kill();
      return until('the connections of the killed one to go', async () => await connected() === 0);
    });
  });
});
