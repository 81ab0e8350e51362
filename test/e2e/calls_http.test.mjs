// Commands over HTTP: POST /call/NAME. What it answers, what stays of the connection afterwards, and that nobody who waits,
// leaves or sends too much keeps the bridge busy. Not here: what commands do and who may (commands), and what pages of other
// origins may call (origin).

import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { Bridge } from './lib/bridge.mjs';
import { Client } from './lib/client.mjs';
import { Cluster, idOf } from './lib/cluster.mjs';
import { allDone, COMMANDS, Gate } from './lib/commands.mjs';
import { calm, metric } from './lib/metrics.mjs';
import { Raw } from './lib/raw.mjs';
import { SLOW, until } from './lib/wait.mjs';

const AT_ONCE = 100;

describe('commands over HTTP', () => {
  let cluster;
  let db;
  let bridge;
  const open = [];

  before(async () => {
    cluster = await Cluster.start();
    db = await cluster.database(COMMANDS);
    await db.write(`INSERT INTO requests (id, unit_id, title) SELECT n, 7, 'row' FROM generate_series(1, 5) n`);
    bridge = await Bridge.start(db);
  });
  afterEach(async () => {
    for (const each of open.splice(0)) await each.leave();
    await until('no session to be left', async () => await metric(bridge, 'livefeed_sessions{transport="http"}') === 0);
    await calm(bridge);
  });
  after(async () => {
    await bridge?.stop();
    await cluster?.remove();
  });

  async function post(name, args = {}, { user = '1', who = { units: [7] }, token, key, at = bridge } = {}) {
    const authorization = `Bearer ${token ?? await db.token(user, who)}`;
    const { status, headers, body } = await at.get(`/call/${name}`, {
      method: 'POST', body: typeof args === 'string' ? args : JSON.stringify(args),
      headers: { authorization, ...(key === undefined ? {} : { 'Idempotency-Key': key }) },
    });
    assert.equal(headers['content-type'], 'application/json');
    assert.equal(headers['cache-control'], 'no-store');
    return { status, headers, ...JSON.parse(body) };
  }

  async function fails(status, code, message, name, args, more) {
    const answer = await post(name, args, more);
    assert.deepEqual([answer.status, answer.error.code, answer.error.message], [status, code, message]);
    return answer;
  }

  async function connect(at = bridge) {
    const raw = await Raw.connect(at);
    open.push({ leave: () => raw.leave() });
    raw.from = 0;
    return raw;
  }

  const request = (name, token, body = '{}', headers = [`Content-Length: ${Buffer.byteLength(body)}`]) =>
    [`POST /call/${name} HTTP/1.1`, 'Host: x', ...(token ? [`Authorization: Bearer ${token}`] : []), ...headers, '', body].join('\r\n');

  /** The next answer on that connection. */
  async function next(raw) {
    const answer = await raw.response(raw.from);
    raw.from = answer?.end ?? raw.from;
    return answer;
  }

  const counter = () => db.value('SELECT n FROM counters WHERE id = 1');

  it('200 with the data, and the cursor at which its effects are visible', async () => {
    const watcher = await Client.open(bridge, { token: await db.token('2', { units: [7] }) });
    open.push(watcher);
    await watcher.subscribe('requests:unit:7');
    await watcher.caughtUp(db);
    watcher.forget();
    for (let n = 1; n <= 5; n++) {
      const answer = await post('rename', { id: n, title: `http ${n}` });
      assert.equal(answer.status, 200);
      assert.deepEqual(answer.data, { id: n, by: '1' });
      const event = await watcher.next({ type: 'request.updated', key: `${n}` });
      assert.ok(event.id <= idOf(answer.cursor), `${event.id} is covered by ${answer.cursor}`);
      assert.equal(event.updated_by, '1');
    }
    const { data, cursor } = await post('whoami', '', { user: '9', who: { units: { 7: ['reader'] } } });
    assert.equal(data.user, '9', 'a body of nothing is {}');
    assert.match(cursor, /^[0-9a-f]{8}-\d+$/);
    assert.equal((await post('nothing', ' {}\r\n')).data, null);
  });

  it('400, 401, 403, 404 and 405: the reason, in JSON', async () => {
    await fails(400, 'command_failed', 'no crate', 'raise', { state: 'P0001', message: 'no crate' });
    await fails(400, 'command_failed', 'no', 'raise', { state: 'LF101', message: 'no' });
    await fails(400, 'command_failed', 'the command failed', 'raise', { state: '23505', message: 'secret' });
    await fails(400, 'bad_message', 'the body must be a JSON object', 'whoami', '[]');
    for (const body of ['{', '{"a":1}}', '{"a":1,"a":2}', "{'a':1}", '{"a":NaN}', '{"a":"\u0000"}']) {
      const answer = await post('whoami', body);
      assert.deepEqual([answer.status, answer.error.code], [400, 'bad_message'], body);
      assert.match(answer.error.message, /^the body is not valid JSON: /);
    }
    await fails(400, 'bad_message', 'idempotency_key must have 1 to 255 bytes', 'whoami', {}, { key: 'k'.repeat(256) });
    await fails(401, 'bad_token', 'token is empty', 'whoami', {}, { token: '' });
    assert.equal((await bridge.get('/call/whoami', { method: 'POST', body: '{}' })).status, 401);
    for (const token of ['x', `${await db.token('1')}x`]) {
      const answer = await post('whoami', {}, { token });
      assert.deepEqual([answer.status, answer.error.code, answer.headers['www-authenticate']], [401, 'bad_token', 'Bearer']);
    }
    await fails(403, 'forbidden', 'this command asks for a role that you do not have', 'approve', { id: 1 });
    for (const name of ['no_such', 'requests', 'Whoami', '', 'whoami/', 'x'.repeat(100), '%77hoami%00']) {
      const answer = await post(name);
      assert.ok(answer.status === 404 || answer.status === 400 && name.includes('%00'), `${name}: ${answer.status}`);
    }
    const get = await bridge.get('/call/whoami', { headers: { authorization: `Bearer ${await db.token('1')}` } });
    assert.deepEqual([get.status, get.headers.allow], [405, 'POST, OPTIONS']);
  });

  it('411 without a length, 413 over --max-body: the answer, and the end of the connection', async () => {
    const token = await db.token('1');
    const chunked = await connect();
    await chunked.send(request('count_up', token, '2\r\n{}\r\n0\r\n\r\n', ['Transfer-Encoding: chunked']));
    const large = await connect();
    await large.send(request('count_up', token, '{', ['Content-Length: 65537']));
    const before = await counter();
    for (const [raw, status, code] of [[chunked, 411, 'bad_message'], [large, 413, 'too_large']]) {
      const answer = await next(raw);
      assert.deepEqual([answer.status, JSON.parse(answer.body).error.code, answer.headers.connection], [status, code, 'close']);
      await raw.gone();
    }
    assert.equal(await counter(), before, 'neither was done');
    const args = JSON.stringify({ text: 'x'.repeat(65536 - '{"text":""}'.length) });
    assert.equal((await post('note', args)).status, 200, 'as large as may be');
  });

  it('Idempotency-Key: done once, and the first answer again', async () => {
    const first = await post('count_up', { x: 1 }, { key: 'http 1' });
    assert.deepEqual((await post('count_up', { x: 1 }, { key: 'http 1' })).data, first.data);
    const client = await Client.open(bridge, { token: await db.token('1') });
    open.push(client);
    const there = await client.ask({ type: 'call', name: 'count_up', args: { x: 1 }, idempotency_key: 'http 1' });
    assert.equal(there.data, first.data, 'the socket asks for the same');
    assert.equal(await counter(), first.data);
    assert.notEqual((await post('count_up', { x: 1 }, { key: 'http 2' })).data, first.data);
    await fails(400, 'command_failed', 'idempotency key "http 1" was used for another command, or with other arguments', 'count_up', { x: 2 }, { key: 'http 1' });
    const both = await Promise.all([1, 2].map(() => post('count_up', { slow: true }, { key: 'http 3' })));
    assert.equal(both[0].data, both[1].data, 'at the same time, too');
  });

  it('the connection serves the next request after each answer, good or bad', async () => {
    const token = await db.token('1', { units: [7] });
    let raw = await connect();
    for (const [text, status] of [
      [request('whoami', token), 200],
      [request('raise', token, '{"state":"P0001","message":"m"}'), 400],
      [request('whoami', token, '{"a":'), 400],
      [request('whoami', token, '[1]'), 400],
      [request('whoami', token, ''), 200],
      [request('whoami', null), 401],
      [request('whoami', 'x'), 401],
      [request('approve', token, '{"id":1}'), 403],
      [request('no_such', token), 404],
      [request('rename', token, '{"id":1,"title":"again"}'), 200],
      ['GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n', 200],
      [request('note', token, JSON.stringify({ text: 'x'.repeat(60_000) })), 200],
      [`GET /state?channel=requests:unit:7 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${token}\r\n\r\n`, 200],
      [`GET /state?channel=requests:unit:8 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${token}\r\n\r\n`, 403],
      [request('whoami', token), 200],
    ]) {
      await raw.send(text);
      const answer = await next(raw);
      assert.equal(answer?.status, status, text.slice(0, 200));
      if (answer.headers.connection === 'close') { // an answer that says so: its request had an unread body, or no token
        assert.ok(status === 401, `${status} of ${text.slice(0, 60)}`);
        await raw.gone();
        raw = await connect();
      }
    }
  });

  it('a body in pieces, and one that comes with its head', async () => {
    const token = await db.token('1');
    const raw = await connect();
    for (const size of [1, 7, 100, Infinity]) {
      const bytes = Buffer.from(request('whoami', token, `{"pad":"${'y'.repeat(300)}"}`));
      for (let at = 0; at < bytes.length; at += size) {
        await raw.send(bytes.subarray(at, at + Math.min(size, bytes.length)));
        if (size < bytes.length) await new Promise(setImmediate);
      }
      assert.equal((await next(raw)).status, 200, `pieces of ${size}`);
    }
  });

  it('a second request behind one that waits is never taken for part of it, and never lost in silence', async () => {
    const token = await db.token('1');
    const before = await counter();
    const together = await connect();
    await together.send(request('count_up', token, '{"slow":true}') + request('count_up', token)); // waits for a second
    assert.equal((await next(together)).status, 200);
    await together.gone(); // who sends both at once asks again for the second
    assert.equal(together.received.toString().match(/HTTP\/1\.1 \d/g).length, 1);
    assert.equal(await counter(), before + 1);
    const later = await connect();
    const gate = await Gate.shut(db);
    await later.send(request('count_up', token, `{"gate":${gate.number}}`));
    await gate.come();
    await later.send(request('count_up', token));
    await calm(bridge);
    await gate.open();
    assert.equal(JSON.parse((await next(later)).body).data, before + 2);
    await until('the second answer, or the end', () => later.ended || later.received.length > later.from);
    if (!later.ended) assert.equal((await next(later)).status, 200);
    assert.equal(await counter(), later.from > 0 && later.received.toString().match(/HTTP\/1\.1 \d/g).length + before + 1, 'as many as were answered');
  });

  it('who waits costs nothing', async () => {
    const token = await db.token('1');
    const waiting = await Promise.all(Array.from({ length: 3 }, () => connect()));
    const gate = await Gate.shut(db);
    for (const raw of waiting) await raw.send(request('wait', token, `{"gate":${gate.number}}`));
    await gate.come(3);
    await calm(bridge);
    assert.equal(await gate.waiting(), 3, 'while they wait');
    await gate.open();
    for (const raw of waiting) assert.equal((await next(raw)).status, 200);
  });

  it('a client that leaves while it waits: its command is done, and nothing is left of it', async () => {
    const token = await db.token('1');
    const before = await counter();
    for (const leave of ['destroy', 'end', 'resetAndDestroy']) {
      const raw = await connect();
      const gate = await Gate.shut(db);
      await raw.send(request('count_up', token, `{"gate":${gate.number}}`));
      await gate.come();
      raw.socket[leave]();
      await calm(bridge);
      await gate.open();
      await allDone(db);
    }
    assert.equal(await counter(), before + 3);
    const half = await connect();
    await half.send(request('count_up', token, '{"sl', ['Content-Length: 100']));
    half.leave();
  });

  it(`${AT_ONCE} at once, each on a connection of its own: each is done once, and answered`, async () => {
    const before = await counter();
    const tokens = await Promise.all(Array.from({ length: 10 }, (_, n) => db.token(`u${n}`)));
    const answers = await Promise.all(Array.from({ length: AT_ONCE }, (_, n) => post('count_up', {}, { token: tokens[n % 10] })));
    assert.deepEqual(answers.map(({ status }) => status), Array(AT_ONCE).fill(200));
    const seen = answers.map(({ data }) => data).sort((a, b) => a - b);
    assert.deepEqual(seen, Array.from({ length: AT_ONCE }, (_, n) => before + 1 + n), 'each with an answer of its own');
  });

  it('an answer larger than the socket takes, read slowly, comes whole', async () => {
    await db.write(`CREATE FUNCTION bulky(args jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT to_jsonb(repeat(''z'', 6000000))';
      SELECT livefeed.expose_command('bulky', 'bulky(jsonb)')`);
    const token = await db.token('1');
    const raw = await connect();
    const done = () => metric(bridge, 'livefeed_commands_total{outcome="ok"}');
    const before = await done();
    raw.socket.pause();
    await raw.send(request('bulky', token));
    await until('the answer', async () => await done() === before + 1);
    await calm(bridge);
    raw.socket.resume();
    await until('all of it', () => raw.received.length > 6_000_000, 30_000 * SLOW);
    const answer = await next(raw);
    assert.equal(JSON.parse(answer.body).data.length, 6_000_000);
    await raw.send(request('whoami', token));
    assert.equal((await next(raw)).status, 200);
  });

  it('429 beyond --rate of a user, over all connections; others go on', async () => {
    const strict = await Bridge.start(db, ['--rate', '1', '--max-subscriptions', '4']);
    try {
      // All at once: five may, and one more for each second that it takes.
      const token = await db.token('1');
      const answers = await Promise.all(Array.from({ length: 40 }, () => post('whoami', {}, { at: strict, token })));
      const refused = answers.filter(({ status }) => status === 429);
      assert.ok(refused.length >= 3 && answers.filter(({ status }) => status === 200).length >= 5, answers.map(({ status }) => status).join());
      assert.equal(refused[0].error.code, 'rate_limited');
      assert.ok(Number(refused[0].headers['retry-after']) > 0);
      assert.equal((await post('whoami', {}, { at: strict, user: '2' })).status, 200);
    } finally {
      await strict.stop();
    }
  });

  it('on SIGTERM what waits is answered before the bridge is gone', async () => {
    const leaving = await Bridge.start(db, ['--drain', '15s']);
    const before = await counter();
    const gate = await Gate.shut(db);
    const waits = post('count_up', { gate: gate.number }, { at: leaving });
    await gate.come();
    const end = leaving.end('SIGTERM');
    await until('it to begin', () => /SIGTERM: closing/.test(leaving.log));
    await gate.open();
    const answer = await waits;
    assert.deepEqual([answer.status, answer.data], [200, before + 1]);
    assert.equal(await end, 0);
  });

  it('503 while the database is away; what was not done is said so, and the connection serves on', async () => {
    const token = await db.token('1');
    await cluster.stop();
    const raw = await connect();
    try {
      await raw.send(request('count_up', token));
      await calm(bridge);
      const answer = await next(raw);
      assert.equal(answer.status, 503);
      const { code, message } = JSON.parse(answer.body).error;
      assert.deepEqual([code, message], ['unavailable', 'the database cannot be asked at present: the command was not done']);
    } finally {
      await cluster.again();
    }
    await until('the command', async () => {
      await raw.send(request('whoami', token));
      return (await next(raw)).status === 200;
    });
  });
});
