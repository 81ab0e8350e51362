// What no HTTP client may send: each request has an answer, in JSON, and never a second one for what stood behind it.

import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { after, before, describe, it } from 'node:test';
import { Cluster } from './lib/cluster.mjs';
import { Bridge } from './lib/bridge.mjs';
import { Client } from './lib/client.mjs';
import { Raw } from './lib/raw.mjs';
import { SCHEMA } from './lib/schema.mjs';
import { until } from './lib/wait.mjs';

const HOST = 'Host: x\r\n';
const UPGRADE = 'Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n';

describe('requests that break the rules', () => {
  let cluster;
  let db;
  let bridge;
  let folder;

  before(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'livefeed-abuse-'));
    const site = path.join(folder, 'site');
    await mkdir(site);
    await writeFile(path.join(site, 'index.html'), 'hello');
    await writeFile(path.join(site, 'a b.txt'), 'a space');
    await writeFile(path.join(site, '.hidden'), 'secret');
    await writeFile(path.join(folder, 'outside.txt'), 'secret');
    await symlink(path.join(folder, 'outside.txt'), path.join(site, 'link.txt'));
    cluster = await Cluster.start();
    db = await cluster.database(SCHEMA);
    bridge = await Bridge.start(db, ['--static', site, '--max-header', '8KiB', '--allowed-origins', 'https://good.example']);
  });
  after(async () => {
    await bridge?.stop();
    await cluster?.remove();
    if (folder) await rm(folder, { recursive: true });
  });

  /** Sends it, at once and in pieces; gives the answer, which must be the only one, if `status` says that it is refused. */
  async function ask(request, status) {
    const bytes = Buffer.from(request, 'latin1');
    for (const size of [Infinity, Math.max(7, Math.ceil(bytes.length / 100))]) {
      const raw = await Raw.connect(bridge);
      // Who writes on to one that has answered and closed may be reset before he reads; who reads first is told.
      for (let at = 0; at < bytes.length && raw.received.length === 0; at += size) {
        await raw.send(bytes.subarray(at, at + Math.min(size, bytes.length)));
        if (size < bytes.length) await new Promise(setImmediate);
      }
      const answer = await raw.response();
      const name = `${JSON.stringify(request.slice(0, 200))}: ${answer?.status}`;
      assert.equal(answer?.status, status, name);
      if (status >= 400) {
        await raw.gone();
        assert.equal(raw.received.toString().match(/^HTTP\/1\.1 \d/gm).length, 1, `${name}: one answer`);
        assert.equal(answer.headers['content-type'], 'application/json', name);
        assert.equal(typeof JSON.parse(answer.body).error.code, 'string', name);
        assert.equal(answer.headers['cache-control'], 'no-store', name);
      }
      raw.leave();
    }
  }

  const get = (target, headers = '') => `GET ${target} HTTP/1.1\r\n${HOST}${headers}\r\n`;

  it('what is no HTTP/1.1: 400 or 505', async () => {
    await ask('GET /healthz\r\n', 400);
    await ask('\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', 400);
    await ask('hello\r\n\r\n', 400);
    await ask('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 505);
    await ask('GET / HTTP/3.0\r\n\r\n', 505);
    await ask('GET /healthz HTTP/1.0\r\n\r\n', 200);
  });

  it('methods: TRACE, CONNECT and made-up ones 405; those that are not served 405', async () => {
    for (const method of ['TRACE', 'CONNECT', 'PROPFIND', 'get', 'GETT']) await ask(`${method} /healthz HTTP/1.1\r\n${HOST}\r\n`, 405);
    await ask('CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n', 405);
    for (const method of ['POST', 'PUT', 'DELETE', 'PATCH']) await ask(`${method} /healthz HTTP/1.1\r\n${HOST}\r\n`, 405);
  });

  it('upgrades to anything else, by anything else: 400; other versions 426', async () => {
    await ask(get('/ws', 'Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n'), 400);
    await ask(get('/ws', 'Connection: Upgrade\r\nUpgrade: TLS/1.0\r\n'), 400);
    await ask(`POST /ws HTTP/1.1\r\n${HOST}${UPGRADE}\r\n`, 400);
    await ask(`GET /ws HTTP/1.0\r\n${HOST}${UPGRADE}\r\n`, 400);
    await ask(get('/ws', `${UPGRADE}Content-Length: 5\r\n`), 400);
    await ask(get('/ws', UPGRADE.replace('Connection: Upgrade', 'Connection: close')), 400);
    await ask(get('/ws', UPGRADE.replace('dGhlIHNhbXBsZSBub25jZQ==', 'x'.repeat(500))), 400);
    const raw = await Raw.connect(bridge);
    await raw.send(get('/ws', UPGRADE.replace('13', '8')));
    const answer = await raw.response();
    assert.equal(answer.status, 426);
    assert.equal(answer.headers['sec-websocket-version'], '13');
    raw.leave();
  });

  it('bodies: chunked 411, doubled, negative and made-up lengths 400, both 400, too large 413', async () => {
    const post = (headers, body = '') => `POST /poll HTTP/1.1\r\n${HOST}${headers}\r\n${body}`;
    const hidden = get('/healthz');
    await ask(post('Transfer-Encoding: chunked\r\n', `0\r\n\r\n${hidden}`), 411);
    await ask(post('Transfer-Encoding: chunked\r\nContent-Length: 4\r\n', `0\r\n\r\n${hidden}`), 400);
    await ask(post('Content-Length: 4\r\nTransfer-Encoding: identity\r\n', `abcd${hidden}`), 400);
    await ask(post('Content-Length: 4\r\nContent-Length: 4\r\n', `abcd${hidden}`), 400);
    await ask(post('Content-Length: 0\r\nContent-Length: 40\r\n', hidden), 400);
    for (const length of ['-1', '+4', '4,4', '0x4', '4 4', '', '99999999999999999999']) await ask(post(`Content-Length: ${length}\r\n`, `abcd${hidden}`), 400);
    await ask(post('Content-Length: 1000000\r\n', 'abcd'), 413);
    await ask(`GET /healthz HTTP/1.1\r\n${HOST}Content-Length: ${hidden.length}\r\n\r\n${hidden}`, 400);
  });

  it('bytes behind a request are never its successor: one answer, and the end', async () => {
    const raw = await Raw.connect(bridge);
    await raw.send(get('/healthz') + get('/readyz'));
    assert.equal((await raw.response()).status, 200);
    await raw.gone();
    assert.equal(raw.received.toString().match(/HTTP\/1\.1 \d/g).length, 1);
    const patient = await Raw.connect(bridge);
    for (let at = 0, i = 0; i < 3; i++) {
      await patient.send(get('/healthz'));
      const answer = await patient.response(at);
      assert.equal(answer.status, 200);
      at = answer.end;
    }
    assert.equal(patient.ended, false, 'who waits may ask again');
    patient.leave();
  });

  it('paths that lead out: 400 or 404, and never a byte of what is there', async () => {
    for (const target of ['/../outside.txt', '/%2e%2e/outside.txt', '/..%2foutside.txt', '/a/../../outside.txt', '/%2e%2e%2foutside.txt', '/./../outside.txt',
      '/x/%2E./outside.txt', '/\x00/../outside.txt', '/index.html%00.txt', '/..%5coutside.txt/../x', '/%zz', '/%', '/#x', '//../outside.txt']) await ask(get(target), 400);
    for (const target of ['/%252e%252e/outside.txt', '/..%5coutside.txt', '/..\\outside.txt', '/.hidden', '/%2ehidden', '/link.txt', '/...', '//etc/passwd', '/%2fetc%2fpasswd',
      `/${'a/'.repeat(2000)}`, '/..;/outside.txt', '/%c0%ae%c0%ae/outside.txt']) {
      const raw = await Raw.connect(bridge);
      await raw.send(get(target));
      const answer = await raw.response();
      assert.equal(answer?.status, 404, `${target}: ${answer?.status} ${answer?.body}`);
      raw.leave();
    }
    assert.equal((await bridge.get('/a%20b.txt')).body, 'a space');
    assert.equal((await bridge.get('/')).body, 'hello');
  });

  it('headers: too many or too large 431; control bytes, folded lines, odd names and doubled ones 400', async () => {
    await ask(get('/healthz', 'X: y\r\n'.repeat(1200)), 431);
    await ask(get('/healthz', 'X: y\r\n'.repeat(3000)), 431);
    await ask(get('/healthz', `X: ${'y'.repeat(9000)}\r\n`), 431);
    await ask(get('/healthz', `${'x'.repeat(9000)}: y\r\n`), 431);
    await ask(get(`/healthz?${'a&'.repeat(200)}`), 431);
    await ask(get(`/${'a'.repeat(9000)}`), 431);
    await ask(get('/healthz', `X: ${'y'.repeat(100_000)}\r\n`), 431);
    for (const headers of ['X: a\x00b\r\n', 'X: \x1b[31m\r\n', 'X\x01: y\r\n', 'X : y\r\n', ' X: y\r\n', 'X: y\r\n folded\r\n', ': y\r\n', 'X\r\n', 'X: y\n', 'X: y\rZ: z\r\n',
      'Host: y\r\n', 'Authorization: Bearer a\r\nAuthorization: Bearer b\r\n']) await ask(get('/healthz', headers), 400);
    await ask(get('/healthz', 'Origin: https://good.example\r\nOrigin: https://good.example\r\n'), 403);
    await ask('GET /healthz HTTP/1.1\r\n\r\n', 400);
    await ask(get('/healthz', 'X: y\r\n'.repeat(80)), 200);
    await ask(get('/healthz', `X: ${'y'.repeat(8000)}\r\n`), 200);
  });

  it('a target in absolute form is a path, if its host is that of Host', async () => {
    await ask('GET http://x/healthz HTTP/1.1\r\nHost: x\r\n\r\n', 200);
    await ask('GET https://X/healthz?a HTTP/1.1\r\nHost: x\r\n\r\n', 200);
    await ask('GET http://y/healthz HTTP/1.1\r\nHost: x\r\n\r\n', 400);
    await ask('GET http://x HTTP/1.1\r\nHost: x\r\n\r\n', 400);
    await ask('GET file:///etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n', 400);
    await ask('OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n', 400);
  });

  it('half a request is closed after --handshake-timeout, at whatever place it stops', async () => {
    const impatient = await Bridge.start(db, ['--handshake-timeout', '1s']);
    try {
      const request = get('/ws', UPGRADE);
      const began = Date.now();
      await Promise.all([0, 1, 10, 30, 60, request.length - 1].map(async (n) => {
        const raw = await Raw.connect(impatient);
        await raw.send(request.slice(0, n));
        await raw.gone();
        assert.equal(raw.received.length, 0);
      }));
      assert.ok(Date.now() - began > 900, 'not before');
      const drip = await Raw.connect(impatient);
      const long = get('/ws', `X: ${'y'.repeat(1000)}\r\n`); // for 20 s and more
      let at = 0;
      for (; !drip.ended && at < long.length - 1; at++) { // a byte now and then does not put it off
        await drip.send(long[at]);
        await pause(20);
      }
      assert.ok(at < long.length - 1, 'closed meanwhile');
      assert.equal(drip.received.length, 0);
    } finally {
      await impatient.stop();
    }
  });

  it('an encoded slash in an exposed path is part of the value', async () => {
    await db.query(`SELECT livefeed.expose_path('/ws/places/{1}/', ARRAY['places:unit:{1}'])`);
    const token = await db.token('1', { units: ['a/b', 'a'] });
    const client = await until('the path', async () => {
      const opened = await Client.open(bridge, { token, path: '/ws/places/a%2Fb/', welcome: false });
      return opened.refused === null ? opened : null;
    });
    assert.equal((await client.next('subscribed')).channel, 'places:unit:a%2Fb');
    await client.leave();
    for (const [target, status] of [['/ws/places/a/b/', 404], ['/ws/places/', 404]]) {
      assert.equal((await Client.open(bridge, { token, path: target, welcome: false })).refused, status);
    }
    const other = await Client.open(bridge, { token, path: '/ws/places/%61', welcome: false });
    assert.equal((await other.next('subscribed')).channel, 'places:unit:a');
    await other.leave();
  });

  it('over --max-connections a page is told so: 4429', async () => {
    const small = await Bridge.start(db, ['--max-connections', '2']);
    const token = await db.token('42');
    const first = await Client.open(small, { token });
    const second = await Client.open(small, { token });
    for (let i = 0; i < 5; i++) await (await Client.open(small, { token, welcome: false })).close(4429);
    assert.equal((await small.get('/healthz')).status, 200);
    assert.equal((await first.ask({ type: 'ping' })).type, 'pong');
    await second.leave();
    await until('a place', async () => {
      const third = await Client.open(small, { token, welcome: false });
      await Promise.race([third.next('welcome').catch(() => {}), third.close().catch(() => {})]);
      return third.closed === null ? third.leave().then(() => true) : false;
    });
    await first.leave();
    await small.stop();
  });

  it('and the bridge lives', async () => {
    assert.equal((await bridge.get('/healthz')).status, 200);
    assert.equal(bridge.ended, null);
  });
});
