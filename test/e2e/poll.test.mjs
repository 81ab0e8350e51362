// GET and POST /poll: at once when there is something, else after `wait`; several channels under one cursor; `more`; what is refused.
// Not here: under load and faults (fault/transports), proxies (nginx).

import assert from 'node:assert/strict';
import http from 'node:http';
import { after, afterEach, before, describe, it } from 'node:test';
import { Bridge } from './lib/bridge.mjs';
import { Cluster, idOf } from './lib/cluster.mjs';
import { calm, metric, settled } from './lib/metrics.mjs';
import { Raw } from './lib/raw.mjs';
import { SCHEMA } from './lib/schema.mjs';
import { query } from './lib/stream.mjs';
import { until } from './lib/wait.mjs';

const UNIT = 'requests:unit:7';
const MANY = 4000;

const MORE = `
  CREATE FUNCTION n_requests(unit text) RETURNS jsonb LANGUAGE sql STABLE SET search_path = public, pg_temp AS
    $$ SELECT to_jsonb(count(*)) FROM requests WHERE unit_id::text = $1 $$;
  SELECT livefeed.expose_query('n_requests', 'n_requests(text)', 'unit', '{requests}');
`;

describe('long poll', () => {
  let cluster;
  let db;
  let bridge;
  let token;

  before(async () => {
    cluster = await Cluster.start();
    db = await cluster.database(`${SCHEMA} ${MORE}`);
    bridge = await Bridge.start(db, ['--jwt-leeway', '0s', '--allowed-origins', 'https://app.test', '--rate', '200']);
    token = await db.token('1', { units: [7] });
  });
  afterEach(async () => {
    await until('no session to be left', async () => await metric(bridge, 'livefeed_sessions{transport="poll"}') === 0);
    await calm(bridge);
  });
  after(async () => {
    await bridge?.stop();
    await cluster?.remove();
  });

  const authorization = (own) => (own === null ? {} : { authorization: `Bearer ${own ?? token}` });

  async function get({ own, headers = {}, at = bridge, ...asked }) {
    const answer = await at.get(`/poll?${query(asked)}`, { headers: { ...authorization(own), ...headers } });
    assert.equal(answer.headers['content-type'], 'application/json');
    assert.equal(answer.headers['cache-control'], 'no-store');
    return { status: answer.status, headers: answer.headers, ...JSON.parse(answer.body) };
  }

  async function post(body, { own } = {}) {
    const answer = await bridge.get('/poll', { method: 'POST', headers: authorization(own), body: typeof body === 'string' ? body : JSON.stringify(body) });
    return { status: answer.status, ...JSON.parse(answer.body) };
  }

  let number = 0;
  async function insert(into = 'requests') {
    const id = ++number;
    if (into === 'requests') await db.write(`INSERT INTO requests (id, unit_id, title) VALUES ($1, 7, 'x')`, [id]);
    else await db.write(`INSERT INTO orders (id, customer_id) VALUES ($1, 1)`, [id]);
    return `${id}`;
  }

  const now = async (channels = [UNIT], more = {}) => (await get({ channels, wait: 0, ...more })).cursor;
  const keys = ({ frames }) => frames.map(({ key }) => key);

  it('without since it waits from the head; nothing comes: an empty answer when wait is over', async () => {
    const answer = await get({ channels: [UNIT], wait: 0 });
    assert.deepEqual([answer.status, answer.frames, answer.more], [200, [], false]);
    assert.match(answer.cursor, /^[0-9a-f]+-\d+$/);
    const began = Date.now();
    const later = await get({ channels: [UNIT], since: answer.cursor, wait: 2 });
    assert.ok(Date.now() - began >= 1500, 'it waited');
    assert.deepEqual(later.frames, []);
    assert.deepEqual(Object.keys(later).sort(), ['cursor', 'frames', 'headers', 'more', 'status']);
  });

  it('what is there already is answered at once; what comes while it waits, when it comes', async () => {
    const cursor = await now();
    const first = await insert();
    await until('the event to be there', async () => (await get({ channels: [UNIT], since: cursor, wait: 0 })).frames.length === 1);
    const began = Date.now();
    const answer = await get({ channels: [UNIT], since: cursor });
    assert.deepEqual(keys(answer), [first]);
    assert.equal(idOf(answer.cursor) >= answer.frames[0].id, true);
    assert.deepEqual(answer.frames[0].channels, [UNIT]);
    const waiting = get({ channels: [UNIT], since: answer.cursor });
    await until('it to wait', async () => await metric(bridge, 'livefeed_sessions{transport="poll"}') === 1);
    const second = await insert();
    assert.deepEqual(keys(await waiting), [second]);
    assert.ok(Date.now() - began < 20_000, 'long before wait is over');
  });

  it('POST with a JSON body is the same', async () => {
    const begun = await post({ channel: [UNIT, 'orders:user:1'], wait: 0 });
    assert.deepEqual([begun.status, begun.frames], [200, []]);
    const waiting = post({ channel: [UNIT, 'orders:user:1'], since: begun.cursor, wait: 20 });
    await until('it to wait', async () => await metric(bridge, 'livefeed_sessions{transport="poll"}') === 1);
    const key = await insert('orders');
    const answer = await waiting;
    assert.deepEqual(keys(answer), [key]);
    assert.deepEqual(answer.frames[0].channels, ['orders:user:1']);
    assert.deepEqual(keys(await post({ channel: UNIT, since: begun.cursor, wait: 0.1, snapshot: false })), []);
    const many = Array.from({ length: 90 }, (_, n) => `requests:row:${1_000_000 + n}`);
    const wide = await post({ channel: [...many, UNIT], wait: 0 });
    assert.equal(wide.status, 200, 'more channels than fit into a head');
    assert.equal(wide.frames.length, 90);
  });

  it('one connection for request after request, of either kind', async () => {
    const raw = await Raw.connect(bridge);
    let from = 0;
    for (let n = 0; n < 6; n++) {
      const body = JSON.stringify({ channel: UNIT, wait: 0 });
      await raw.send(n % 2 ? `GET /poll?${query({ channels: [UNIT], wait: 0 })} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${token}\r\n\r\n`
        : `POST /poll HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${token}\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
      const answer = await raw.response(from);
      assert.equal(answer?.status, 200, `request ${n}`);
      from = answer.end;
    }
    raw.leave();
  });

  it('several channels: one order, one cursor, an event for two of them once', async () => {
    const own = await db.token('1', { units: [7], roles: ['admin'] });
    const channels = ['orders', UNIT, 'orders:user:1', 'requests'];
    let cursor = await now(channels, { own });
    const wanted = [];
    const got = [];
    for (let n = 0; n < 40; n++) wanted.push(await insert(n % 3 ? 'orders' : 'requests'));
    await until('all of them', async () => {
      const answer = await get({ own, channels, since: cursor, wait: 0 });
      cursor = answer.cursor;
      got.push(...answer.frames);
      return got.length >= wanted.length;
    });
    assert.deepEqual(got.map(({ key }) => key), wanted);
    for (const { feed, channels: named } of got) assert.deepEqual(named, feed === 'orders' ? ['orders:user:1', 'orders'] : [UNIT, 'requests']);
  });

  it('much is given in parts that are bounded, with more: true until the last', async () => {
    const first = await now();
    const from = number;
    await db.write(`INSERT INTO requests (id, unit_id, title) SELECT n, 7, repeat('x', 500) FROM generate_series($1::int, $2::int) n`, [from + 1, from + MANY]);
    number += MANY;
    await settled(bridge, db); // else a part may be what it has read by then
    let cursor = first;
    const got = [];
    const mores = [];
    let largest = 0;
    await until('all of it', async () => {
      const answer = await get({ channels: [UNIT], since: cursor, wait: 0 });
      cursor = answer.cursor;
      got.push(...answer.frames.map(({ key }) => Number(key)));
      mores.push(answer.more);
      largest = Math.max(largest, JSON.stringify(answer.frames).length);
      return got.length >= MANY;
    });
    assert.deepEqual(got, Array.from({ length: MANY }, (_, n) => from + 1 + n));
    assert.ok(largest < 600 * 1024, `${largest} bytes at most`);
    assert.ok(mores.filter(Boolean).length >= 3, `${mores}`);
    assert.deepEqual((await get({ channels: [UNIT], since: cursor, wait: 0 })).more, false);
  });

  it('snapshot=1: the snapshot first, and a cursor from which events follow', async () => {
    const answer = await get({ channels: [UNIT], snapshot: 1 });
    assert.equal(answer.status, 200, JSON.stringify(answer));
    assert.deepEqual(answer.frames.map(({ type }) => type), ['snapshot']);
    const key = await insert();
    const next = await get({ channels: [UNIT], since: answer.cursor, snapshot: 1 });
    assert.deepEqual(keys(next), [key], 'recovered: no snapshot');
    const lost = await get({ channels: [UNIT], since: '00000000-1', snapshot: 1 });
    assert.deepEqual([...new Set(lost.frames.map(({ type }) => type))].sort(), lost.frames.length > 1 ? ['resync', 'snapshot'] : ['resync']);
    assert.equal(lost.frames[0].reason, 'epoch');
  });

  it('values: the first at once, then not round and round, but soon when it changes', async () => {
    const channels = ['n_requests:unit:7'];
    const first = await get({ channels });
    assert.equal(first.frames[0].type, 'value');
    const began = Date.now();
    const same = await get({ channels, since: first.cursor, wait: 2 });
    assert.ok(Date.now() - began > 500, 'not at once');
    assert.equal(same.frames[0].data, first.frames[0].data);
    await insert();
    await until('the new value', async () => (await get({ channels, since: same.cursor })).frames[0].data === first.frames[0].data + 1);
  });

  it('a refused channel among others is an error frame; none left is a status, as is what cannot be asked', async () => {
    const answer = await get({ channels: ['requests:unit:8', UNIT] });
    assert.deepEqual(answer.frames.map(({ type, code, channel, ref }) => [type, code, channel, ref]), [['error', 'forbidden', 'requests:unit:8', undefined]]);
    for (const [asked, status, code] of [
      [{ channels: ['requests:unit:8'] }, 403, 'forbidden'], [{ channels: ['nothing'] }, 404, 'unknown_channel'],
      [{ channels: ['requests:unit:8', 'nothing'] }, 403, 'forbidden'], [{ channels: [] }, 400, 'bad_message'],
      [{ channels: [UNIT], wait: 'long' }, 400, 'bad_message'], [{ channels: [UNIT], own: null }, 401, 'bad_token'],
      [{ channels: [UNIT], own: `${token}x` }, 401, 'bad_token'], [{ channels: ['a\x00b'] }, 400, 'bad_message'],
    ]) {
      const { status: found, error } = await get(asked);
      assert.deepEqual([found, error.code], [status, code], JSON.stringify(asked));
    }
    for (const [body, status] of [['', 400], ['[]', 400], ['{', 400], ['{"channel":7}', 400], ['{"channel":["requests:unit:7"],"wait":-1}', 400], [{ channel: UNIT, wait: 0 }, 200]]) {
      assert.equal((await post(body)).status, status, JSON.stringify(body));
    }
    assert.equal((await post({ channel: UNIT }, { own: null })).status, 401);
  });

  it('pages of allowed origins may read it; preflight says so', async () => {
    assert.equal((await get({ channels: [UNIT], wait: 0, headers: { Origin: 'https://app.test' } })).headers['access-control-allow-origin'], 'https://app.test');
    assert.equal((await get({ channels: [UNIT], wait: 0, headers: { Origin: 'https://evil.test' } })).status, 403);
    const { status, headers } = await bridge.get('/poll', { method: 'OPTIONS', headers: { Origin: 'https://app.test', 'Access-Control-Request-Method': 'POST' } });
    assert.deepEqual([status, headers['access-control-allow-methods']], [204, 'GET, POST']);
  });

  it('who leaves while it waits is let go of, whichever way it asked', async () => {
    for (const method of ['GET', 'POST']) {
      const body = method === 'POST' ? JSON.stringify({ channel: UNIT }) : undefined;
      const request = http.request({ host: '127.0.0.1', port: bridge.port, method, path: method === 'GET' ? `/poll?${query({ channels: [UNIT] })}` : '/poll', headers: { ...authorization(), ...(body ? { 'Content-Length': body.length } : {}) }, agent: false });
      request.on('error', () => {});
      request.end(body);
      await until('it to wait', async () => await metric(bridge, 'livefeed_sessions{transport="poll"}') === 1);
      request.destroy();
      await until('it to be gone', async () => await metric(bridge, 'livefeed_sessions{transport="poll"}') === 0); // long before `wait` is over
    }
  });

  it('the end of the token and a disconnect end the wait; a drain sends it elsewhere', async () => {
    const short = await get({ channels: [UNIT], own: await db.token('2', { units: [7], ttl: '2 s' }) });
    assert.deepEqual([short.status, short.error.code], [401, 'bad_token']);
    const waiting = get({ channels: [UNIT], own: await db.token('3', { units: [7] }) });
    await until('it to wait', async () => await metric(bridge, 'livefeed_sessions{transport="poll"}') === 1);
    await db.query(`SELECT livefeed.disconnect('3')`);
    assert.equal((await waiting).status, 403);
    const other = await Bridge.start(db);
    const drained = get({ channels: [UNIT], at: other });
    await until('it to wait', async () => await metric(other, 'livefeed_sessions{transport="poll"}') === 1);
    const ended = other.end('SIGTERM');
    assert.deepEqual([(await drained).status, await ended], [503, 0]);
  });

  it('more than --rate a second are too many, as with /call', async () => {
    const [RATE, SUBSCRIPTIONS] = [1, 20]; // so few that however long a hundred of them take, they are too many
    const strict = await Bridge.start(db, ['--rate', `${RATE}/s`, '--max-subscriptions', String(SUBSCRIPTIONS)]);
    try {
      const own = await db.token('77', { units: [7] });
      const began = Date.now();
      const statuses = await Promise.all(Array.from({ length: 100 }, async () => (await get({ own, channels: [UNIT], wait: 0, at: strict })).status));
      const most = RATE + SUBSCRIPTIONS + RATE * Math.ceil((Date.now() - began) / 1000);
      assert.deepEqual([...new Set(statuses)].sort(), [200, 429]);
      const taken = statuses.filter((status) => status === 200).length;
      assert.ok(taken >= RATE + SUBSCRIPTIONS && taken <= most, `${taken}, at most ${most}`);
    } finally {
      await strict.stop();
    }
  });
});
