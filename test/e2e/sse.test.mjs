// GET /events with the eventsource package and with a stream read by hand: what it carries and with which ids, how it goes on after a
// break, what is refused and with which status, and how it ends. Not here: under load and faults (fault/transports), proxies (nginx).

import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import https from 'node:https';
import os from 'node:os';
import path from 'node:path';
import { after, afterEach, before, describe, it } from 'node:test';
import { EventSource } from 'eventsource';
import { Bridge } from './lib/bridge.mjs';
import { certify } from './lib/certificate.mjs';
import { Client, isEvent } from './lib/client.mjs';
import { Cluster, idOf } from './lib/cluster.mjs';
import { calm, metric } from './lib/metrics.mjs';
import { Raw } from './lib/raw.mjs';
import { SCHEMA } from './lib/schema.mjs';
import { Stream, query } from './lib/stream.mjs';
import { DEADLINE_MS, until } from './lib/wait.mjs';

const HEARTBEAT_MS = 1000;
const UNIT = 'requests:unit:7';
const MANY = 3000;

const MORE = `
  CREATE FUNCTION n_requests(unit text) RETURNS jsonb LANGUAGE sql STABLE SET search_path = public, pg_temp AS
    $$ SELECT jsonb_build_object('n', count(*), 'text', E'a\\nb') FROM requests WHERE unit_id::text = $1 $$;
  SELECT livefeed.expose_query('n_requests', 'n_requests(text)', 'unit', '{requests}');
`;

describe('server-sent events', () => {
  let cluster;
  let db;
  let bridge;
  let token;
  const open = [];

  before(async () => {
    cluster = await Cluster.start();
    db = await cluster.database(`${SCHEMA} ${MORE}`);
    bridge = await Bridge.start(db, ['--heartbeat', `${HEARTBEAT_MS}ms`, '--jwt-leeway', '0s', '--allowed-origins', 'https://app.test']);
    token = await db.token('1', { units: [7] });
  });
  afterEach(async () => {
    for (const each of open.splice(0)) each.leave();
    await until('no session to be left', async () => await metric(bridge, 'livefeed_sessions{transport="sse"}') === 0);
  });
  after(async () => {
    await bridge?.stop();
    await cluster?.remove();
  });

  async function stream(asked, at = bridge) {
    const made = await Stream.open(at, { token, ...asked });
    open.push(made);
    return made;
  }

  let number = 0;
  async function insert(unit = 7, into = 'requests') {
    const id = ++number;
    if (into === 'requests') await db.write(`INSERT INTO requests (id, unit_id, title) VALUES ($1, $2, 'x')`, [id, unit]);
    else await db.write(`INSERT INTO orders (id, customer_id) VALUES ($1, 1)`, [id]);
    return `${id}`;
  }

  async function burst(bytes) {
    await db.write(`INSERT INTO requests (id, unit_id, title) SELECT n, 7, repeat('x', $3) FROM generate_series($1::int, $2::int) n`, [number + 1, number + MANY, bytes]);
    number += MANY;
  }

  it('an answer that proxies pass on; the cursor at once, then each frame with the cursor that covers it', async () => {
    const one = await stream({ channels: [UNIT] });
    assert.equal(one.status, 200);
    assert.equal(one.headers['content-type'], 'text/event-stream');
    assert.equal(one.headers['cache-control'], 'no-store');
    assert.equal(one.headers['x-accel-buffering'], 'no');
    await until('the cursor', () => one.lastId);
    assert.match(one.text, /^retry: \d+\n\n(id: [0-9a-f]+-\d+\n\n)+$/); // the first, and a heartbeat if it is time for one
    const key = await insert();
    const frame = await one.next({ key });
    assert.equal(frame.type, 'request.created');
    assert.deepEqual(frame.channels, [UNIT]);
    assert.equal(idOf(one.frames[0].id), frame.id);
    assert.match(one.text, /\n\nid: [0-9a-f]+-\d+\ndata: \{"type":"request.created",.*\}\n\n(id: [0-9a-f]+-\d+\n\n)*$/);
  });

  it('EventSource: events come as messages; after a break it goes on by itself, nothing lost or doubled', async () => {
    const mine = await Bridge.start(db);
    const source = new EventSource(`${mine.origin}/events?${query({ channels: [UNIT, 'orders:user:1'], token })}`);
    const frames = [];
    let opened = 0;
    source.onmessage = ({ data }) => frames.push(JSON.parse(data));
    source.onopen = () => { opened++; };
    try {
      await until('it to be open', () => opened === 1);
      const keys = [await insert(), await insert(7, 'orders')];
      await until('two events', () => frames.length === 2);
      await mine.kill();
      for (let n = 0; n < 10; n++) keys.push(await insert(7, n % 2 ? 'orders' : 'requests'));
      await mine.again();
      await until('it to come back', () => opened >= 2, 30_000);
      keys.push(await insert());
      await until('all events', () => frames.length >= keys.length);
      assert.deepEqual(frames.map(({ key }) => key), keys);
      assert.deepEqual(frames.map(({ id }) => id), frames.map(({ id }) => id).sort((a, b) => a - b));
    } finally {
      source.close();
      await mine.stop();
    }
  });

  it('a stream read by fetch, the token in a header', async () => {
    const response = await fetch(`${bridge.origin}/events?${query({ channels: [UNIT] })}`, { headers: { Authorization: `Bearer ${token}` } });
    assert.equal(response.status, 200);
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    const key = await insert();
    let text = '';
    await until('the event', async () => {
      text += (await reader.read()).value;
      return text.includes(`"key":"${key}"`);
    });
    await reader.cancel();
  });

  it('begins however much comes on one channel before another is answered', async () => {
    const order = await insert(7, 'orders');
    const holder = await db.connect();
    await holder.query('BEGIN; LOCK TABLE orders IN ACCESS EXCLUSIVE MODE'); // whose row it is, cannot be told
    const opening = stream({ channels: [UNIT, `orders:row:${order}`] });
    await until('the first channel to be live', async () => await metric(bridge, 'livefeed_subscriptions') === 1);
    await db.write(`INSERT INTO requests (id, unit_id, title) SELECT n, 7, 'x' FROM generate_series($1::int, $2::int) n`, [number + 1, number + 1000]);
    number += 1000;
    const last = idOf(await db.head());
    await until('all to be read', async () => await metric(bridge, 'livefeed_tail_id') >= last);
    await holder.query('COMMIT');
    const one = await opening;
    assert.equal(one.status, 200);
    await one.next({ key: `${number}` });
    assert.equal(one.frames.filter(({ frame }) => isEvent(frame)).length, 1000);
  });

  it('several channels are one stream in one order; an event for two of them comes once and names both', async () => {
    const admin = await db.token('1', { units: [7], roles: ['admin'] });
    const begin = await stream({ channels: [UNIT], token: admin });
    await until('a cursor', () => begin.lastId);
    const from = begin.lastId;
    const keys = [];
    for (let n = 0; n < 60; n++) keys.push(await insert(7, n % 3 ? 'orders' : 'requests'));
    const one = await stream({ token: admin, channels: ['requests', 'orders:user:1', 'orders', UNIT], since: from });
    for (let n = 0; n < 10; n++) keys.push(await insert(7, n % 2 ? 'orders' : 'requests'));
    await one.next({ key: keys.at(-1) });
    const events = one.frames.map(({ frame }) => frame);
    assert.deepEqual(events.map(({ key }) => key), keys);
    for (const { feed, channels } of events) assert.deepEqual(channels, feed === 'orders' ? ['orders:user:1', 'orders'] : [UNIT, 'requests']);
    for (const { frame, id, own } of one.frames) assert.ok(own && idOf(id) === frame.id, 'each with its own id as cursor');
  });

  it('goes on after the cursor: of since, of Last-Event-ID, of the later of both', async () => {
    const begin = await stream({ channels: [UNIT] });
    await until('a cursor', () => begin.lastId);
    const early = begin.lastId;
    const first = await insert();
    await begin.next({ key: first });
    const late = begin.lastId;
    const second = await insert();
    await begin.next({ key: second });
    for (const [asked, keys] of [
      [{ since: early }, [first, second]], [{ lastEventId: early }, [first, second]], [{ since: late, lastEventId: early }, [second]],
      [{ since: early, lastEventId: late }, [second]], [{ since: 'what', lastEventId: late }, [second]], [{ since: late, lastEventId: 'what' }, [second]],
    ]) {
      const one = await stream({ channels: [UNIT], ...asked });
      await one.covered(idOf(begin.lastId));
      assert.deepEqual(one.frames.map(({ frame }) => frame.key), keys, JSON.stringify(asked));
    }
  });

  it('a cursor that cannot be resumed gets resync with the reason, and the stream goes on', async () => {
    const one = await stream({ channels: [UNIT, 'orders:user:1'], since: '00000000-5' });
    const told = [await one.next('resync'), await one.next('resync')];
    assert.deepEqual(told.map(({ channel, reason }) => [channel, reason]).sort(), [['orders:user:1', 'epoch'], [UNIT, 'epoch']]);
    assert.deepEqual(Object.keys(told[0]), ['type', 'channel', 'cursor', 'reason']);
    await one.next({ key: await insert() });
  });

  it('snapshots come first, without a cursor before them', async () => {
    const one = await stream({ channels: [UNIT, 'orders:user:1'], snapshot: 1 });
    const rows = [await one.next('snapshot'), await one.next('snapshot')];
    assert.deepEqual(rows.map(({ channel }) => channel).sort(), ['orders:user:1', UNIT]);
    const key = await insert();
    await one.next({ key });
    assert.ok(one.frames.filter(({ frame }) => frame.type === 'snapshot').slice(0, 1).every(({ id }) => id === undefined), one.text);
    assert.equal(one.frames.filter(({ frame }) => isEvent(frame)).length, 1);
  });

  it('values, too, are one line each', async () => {
    const one = await stream({ channels: ['n_requests:unit:7'] });
    const { data } = await one.next('value');
    await insert();
    assert.equal((await one.next('value')).data.n, data.n + 1);
    assert.ok(one.text.split('\n').every((line) => /^(data|id|retry): |^$/.test(line)), one.text);
    await until('a cursor', () => one.lastId);
  });

  it('a heartbeat is an id: line alone, and moves on while other feeds are busy', async () => {
    const one = await stream({ channels: [UNIT] });
    await until('a cursor', () => one.lastId);
    const { lastId } = one;
    const before = one.ids.length;
    for (let n = 0; n < 3; n++) await insert(8);
    await until('three heartbeats', () => one.ids.length >= before + 3);
    await one.covered(idOf(lastId) + 3);
    assert.equal(one.frames.length, 0);
    const again = await stream({ channels: [UNIT], since: one.lastId });
    await again.next({ key: await insert() });
    assert.equal(again.frames.length, 1);
  });

  it('a refused channel among others is an error frame; none left is a status', async () => {
    const one = await stream({ channels: ['requests:unit:8', UNIT, 'nothing:unit:7'] });
    const errors = [await one.next('error'), await one.next('error')];
    assert.deepEqual(errors.map(({ type, code, channel }) => [type, code, channel]).sort(), [
      ['error', 'forbidden', 'requests:unit:8'], ['error', 'unknown_channel', 'nothing:unit:7']]);
    assert.ok(errors.every((error) => !('ref' in error)));
    await one.next({ key: await insert() });
    for (const [asked, status, code] of [
      [{ channels: ['requests:unit:8'] }, 403, 'forbidden'], [{ channels: ['nothing:unit:7'] }, 404, 'unknown_channel'],
      [{ channels: ['requests:unit:8', 'nothing:unit:7'] }, 403, 'forbidden'], [{ channels: [] }, 400, 'bad_message'],
      [{ channels: [UNIT], token: undefined }, 401, 'bad_token'], [{ channels: [UNIT], token: `${token}x` }, 401, 'bad_token'],
    ]) {
      const { refusal, headers } = await stream(asked);
      assert.deepEqual([refusal.status, refusal.code], [status, code], JSON.stringify(asked));
      assert.equal(headers['cache-control'], 'no-store');
    }
    const { status } = await bridge.get(`/events?${query({ channels: [UNIT], token })}`, { method: 'POST' });
    assert.equal(status, 405);
  });

  it('pages of allowed origins may read it, of others not', async () => {
    const allowed = await stream({ channels: [UNIT], headers: { Origin: 'https://app.test' } });
    assert.equal(allowed.headers['access-control-allow-origin'], 'https://app.test');
    const foreign = await stream({ channels: [UNIT], headers: { Origin: 'https://evil.test' } });
    assert.equal(foreign.status, 403);
    const denied = await stream({ channels: ['requests:unit:8'], headers: { Origin: 'https://app.test' } });
    assert.equal(denied.headers['access-control-allow-origin'], 'https://app.test', 'errors can be read, too');
  });

  it('the end of the token ends it, with 4401; disconnect with 4403; a revoked right with unsubscribed', async () => {
    const short = await stream({ channels: [UNIT], token: await db.token('2', { units: [7], ttl: '6 s' }) });
    assert.equal(short.status, 200, 'it has not ended yet');
    const gone = await stream({ channels: [UNIT], token: await db.token('3', { units: [7] }) });
    await until('a cursor', () => gone.lastId);
    await db.query(`SELECT livefeed.disconnect('3', 'bye')`);
    assert.deepEqual(await gone.end(), { type: 'closing', code: 4403, reason: 'bye' });
    const closing = await short.end(60_000);
    assert.equal(closing.code, 4401);
    const again = await stream({ channels: [UNIT], token: await db.token('4', { units: [7] }) });
    await db.query(`SELECT livefeed.disconnect('4')`);
    await again.end();
  });

  it('a row that leaves: unsubscribed, and nothing of it', async () => {
    const key = await insert();
    const one = await stream({ channels: [`requests:row:${key}`, UNIT] });
    await one.covered(idOf(await db.head())); // has what was before
    const from = one.frames.length;
    await db.write('UPDATE requests SET unit_id = 8 WHERE id = $1', [key]);
    assert.deepEqual(await one.next('unsubscribed'), { type: 'unsubscribed', channel: `requests:row:${key}`, reason: 'forbidden' });
    const last = await insert();
    await one.next({ key: last });
    assert.deepEqual(one.frames.slice(from).map(({ frame }) => [frame.action, frame.channels]).filter(([action]) => action), [['moved_out', [UNIT]], ['created', [UNIT]]]);
  });

  it('SIGTERM ends it with 1001; elsewhere it goes on with its cursor', async () => {
    const other = await Bridge.start(db);
    const one = await stream({ channels: [UNIT] }, other);
    const first = await insert();
    await one.next({ key: first });
    const ended = other.end('SIGTERM');
    assert.deepEqual(await one.end(), { type: 'closing', code: 1001, reason: 'shutting down' });
    assert.equal(await ended, 0);
    const second = await insert();
    const two = await stream({ channels: [UNIT], since: one.lastId });
    await two.next({ key: second });
    assert.equal(two.frames.length, 1);
  });

  it('who reads slowly gets all there is; who does not read is closed, and the memory stays', async () => {
    const few = await Bridge.start(db, ['--max-queue', '256KiB']);
    try {
      const slow = await stream({ channels: [UNIT] }, few);
      await until('a cursor', () => slow.lastId);
      slow.response.pause();
      const from = number;
      await burst(2000);
      slow.response.resume();
      const got = [];
      for (let one = slow; ; one = await stream({ channels: [UNIT], since: one.lastId }, few)) { // a busy machine may have it closed
        const whole = () => one.frames.some(({ frame }) => frame.key === `${number}`);
        await until('all of it', () => one.ended || whole(), 60_000);
        got.push(...one.frames.map(({ frame }) => frame).filter(isEvent));
        if (whole()) break;
      }
      assert.deepEqual(got.map(({ key }) => Number(key)), Array.from({ length: MANY }, (_, n) => from + 1 + n));
      for (const each of open.splice(0)) each.leave();

      const stuck = await Raw.connect(few);
      await stuck.send(`GET /events?${query({ channels: [UNIT], token })} HTTP/1.1\r\nHost: x\r\n\r\n`);
      await until('the answer', () => stuck.received.length > 0);
      stuck.socket.pause();
      await burst(4000);
      await until('it to be closed as too slow', async () => await metric(few, 'livefeed_sessions_closed_total{code="4408"}') >= 1, 30_000);
      await until('its session to be gone', async () => await metric(few, 'livefeed_sessions{transport="sse"}') === 0, 30_000);
      stuck.leave();
    } finally {
      for (const each of open.splice(0)) each.leave();
      await few.stop();
    }
  });

  it('who sends on while the answer is under way is closed, and costs nothing', async () => {
    for (const path of [`/events?${query({ channels: [UNIT], token })}`, `/poll?${query({ channels: [UNIT], token })}`, '/socket.io/?EIO=4&transport=polling']) {
      for (const more of ['\r\n', 'GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n', 'x'.repeat(100_000)]) {
        const raw = await Raw.connect(bridge);
        const ask = (target) => raw.send(`GET ${target} HTTP/1.1\r\nHost: x\r\n\r\n`);
        await ask(path);
        if (path.startsWith('/socket.io')) await ask(`${path}&sid=${JSON.parse((await raw.response()).body.slice(1)).sid}`);
        // What comes with the request itself is thrown away; what comes later is too much.
        await until('it to be closed', async () => raw.ended || void await raw.send(more));
        await calm(bridge);
        assert.equal((await bridge.get('/healthz')).status, 200, `${path} ${more.length}`);
      }
    }
  });

  it('who leaves is let go of at once; limits of connections are those of WebSockets', async () => {
    const tight = await Bridge.start(db, ['--max-connections-per-user', '2', '--max-connections-per-address', '3', '--max-subscriptions', '2']);
    try {
      const kept = [await stream({ channels: [UNIT] }, tight), await stream({ channels: [UNIT] }, tight)];
      assert.deepEqual([await stream({ channels: [UNIT] }, tight)].map(({ refusal }) => [refusal.status, refusal.code]), [[429, 'rate_limited']]);
      const other = await db.token('9', { units: [7] });
      const third = await Client.open(tight, { token: other });
      assert.deepEqual([await stream({ channels: [UNIT], token: other }, tight)].map(({ refusal }) => [refusal.status, refusal.code]), [[429, 'rate_limited']]);
      assert.equal((await Client.open(tight, { token: other, welcome: false })).closed?.code ?? 4429, 4429);
      kept[0].leave();
      await until('it to be let go of', async () => await metric(tight, 'livefeed_sessions{transport="sse"}') === 1);
      assert.equal((await stream({ channels: [UNIT], token: other }, tight)).status, 200);
      await third.leave();
      await until('it to be let go of', async () => await metric(tight, 'livefeed_sessions{transport="websocket"}') === 0);
      const wide = await stream({ channels: [UNIT, 'requests:row:1', 'orders:user:9'], token: other }, tight);
      assert.deepEqual(await wide.next('error'), { type: 'error', code: 'too_many_subscriptions', message: 'this session has all it may have', channel: 'orders:user:9' });
      wide.leave();
      await until('it to be let go of', async () => await metric(tight, 'livefeed_sessions{transport="sse"}') === 2);
      const most = await stream({ channels: Array.from({ length: 120 }, (_, n) => `requests:row:${n}`), token: other }, tight);
      assert.equal(most.status, 431, 'more than fit into a head');
    } finally {
      for (const each of open.splice(0)) each.leave();
      await tight.stop();
    }
  });

  it('through TLS: streams and polls, much at once, and clients that leave', async () => {
    const folder = await mkdtemp(path.join(os.tmpdir(), 'livefeed-sse-'));
    const files = await certify(folder, 2001);
    const mine = await Bridge.start(db, ['--tls-cert', files.cert, '--tls-key', files.key, '--max-queue', '64MiB'], { ready: false }); // who is slow is another test's
    mine.origin = mine.origin.replace('http:', 'https:');
    const idle = async (transport) => (await Stream.open(mine, { path: '/metrics' })).text.includes(`livefeed_sessions{transport="${transport}"} 0\n`);
    try {
      await until('it to be ready', async () => (await Stream.open(mine, { path: '/readyz' })).status === 200);
      const one = await stream({ channels: [UNIT] }, mine);
      await until('a cursor', () => one.lastId);
      const from = number;
      await burst(2000);
      await one.next({ key: `${number}` }, 30_000);
      assert.deepEqual(one.frames.map(({ frame }) => Number(frame.key)), Array.from({ length: MANY }, (_, n) => from + 1 + n));
      one.leave();
      await until('it to be let go of', () => idle('sse'));
      const polled = await Stream.open(mine, { path: '/poll', token, channels: [UNIT], since: one.ids.at(-2), wait: 0 });
      assert.equal(polled.status, 200);
      const body = JSON.stringify({ channel: UNIT });
      const waiting = https.request({ host: '127.0.0.1', port: mine.port, path: '/poll', method: 'POST', headers: { Authorization: `Bearer ${token}`, 'Content-Length': body.length }, agent: false, rejectUnauthorized: false });
      waiting.on('error', () => {});
      waiting.end(body);
      await until('it to wait', async () => !await idle('poll'));
      waiting.destroy();
      await until('it to be let go of', () => idle('poll'));
    } finally {
      await mine.stop();
      await rm(folder, { recursive: true });
    }
  });

  it('without the database: streams stay, are told, and go on', async () => {
    const alone = await cluster.database(SCHEMA);
    const mine = await Bridge.start(alone);
    const own = await alone.token('1', { units: [7] });
    try {
      const one = await stream({ channels: [UNIT], token: own }, mine);
      await until('a cursor', () => one.lastId);
      await alone.query(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'livefeed%' AND datname = current_database()`);
      await one.next({ type: 'status', live: true }, 30_000);
      await alone.write(`INSERT INTO requests (id, unit_id, title) VALUES (1, 7, 'x')`);
      await one.next({ key: '1' });
    } finally {
      for (const each of open.splice(0)) each.leave();
      await mine.stop();
    }
  });

  it('a stream that is asked for before the database has been reached begins when it is: EventSource takes an error for the last word', async () => {
    await cluster.stop();
    const early = await Bridge.start(db, [], { ready: false });
    try {
      await until('it to listen', async () => (await early.get('/healthz')).status === 200);
      assert.equal((await early.get(`/state?${query({ channels: [UNIT], token })}`)).status, 503, 'who wants one answer is not to wait');
      const opening = stream({ channels: [UNIT], ms: 2 * DEADLINE_MS }, early);
      await until('the stream to wait', async () => await metric(early, 'livefeed_sessions{transport="sse"}') === 1);
      await cluster.again();
      const one = await opening;
      assert.equal(one.status, 200, one.text);
      await one.next({ key: await insert() });
    } finally {
      for (const each of open.splice(0)) each.leave();
      await early.stop();
    }
  });
});
