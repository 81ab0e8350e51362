// Pages of which origins may talk to the bridge: in a real Chromium, and by hand for what no browser would send. Cookies,
// which browsers send to every port of a host, authenticate nobody. The rules themselves: test/unit/test_origin.c.

import assert from 'node:assert/strict';
import http from 'node:http';
import { after, before, describe, it } from 'node:test';
import { Cluster } from './lib/cluster.mjs';
import { Bridge } from './lib/bridge.mjs';
import { browse, connectFrom, fetchFrom, listenIn, pages } from './lib/browser.mjs';
import { Client } from './lib/client.mjs';
import { metric } from './lib/metrics.mjs';
import { SCHEMA } from './lib/schema.mjs';
import { until } from './lib/wait.mjs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';

const ALLOWED_HEADERS = 'Authorization, Content-Type, Idempotency-Key, Last-Event-ID';
const UPGRADE = { Connection: 'Upgrade', Upgrade: 'websocket', 'Sec-WebSocket-Version': '13', 'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==' };

let cluster;
let db;
let folder;

before(async () => {
  cluster = await Cluster.start();
  db = await cluster.database(SCHEMA);
  folder = await mkdtemp(path.join(os.tmpdir(), 'livefeed-origin-'));
  await writeFile(path.join(folder, 'index.html'), '<!doctype html><title>own page</title>');
});
after(async () => {
  await cluster?.remove();
  if (folder) await rm(folder, { recursive: true });
});

/** A request with these header lines, as they are; { status, headers, body }, 101 for a handshake that passed. */
function ask(bridge, target, lines, method = 'GET') {
  return new Promise((resolve, reject) => {
    const request = http.request({ host: '127.0.0.1', port: bridge.port, path: target, method, agent: false, headers: lines.flat(), setHost: false }, (response) => {
      let body = '';
      response.on('data', (data) => { body += data; });
      response.on('end', () => resolve({ status: response.statusCode, headers: response.headers, body }));
    });
    request.on('upgrade', (response, socket) => { socket.destroy(); resolve({ status: response.statusCode, headers: response.headers }); });
    request.on('error', reject);
    request.end();
  });
}

const handshake = (bridge, lines) => ask(bridge, '/ws', [...lines, ...Object.entries(UPGRADE)]);

describe('by hand', () => {
  let plain;
  let listed;
  let all;
  let proxied;
  before(async () => {
    plain = await Bridge.start(db, ['--static', folder]);
    listed = await Bridge.start(db, ['--allowed-origins', 'https://app.example,http://other.example:8080', '--static', folder]);
    all = await Bridge.start(db, ['--allowed-origins', '*']);
    proxied = await Bridge.start(db, ['--trusted-proxies', '127.0.0.1']);
  });
  after(async () => { for (const bridge of [plain, listed, all, proxied]) await bridge?.stop(); });

  /** The same answer whatever is asked for: WebSocket, endpoint, file, nothing, metrics. */
  async function everywhere(bridge, lines, allowed, what) {
    assert.equal((await handshake(bridge, lines)).status, allowed ? 101 : 403, `handshake: ${what}`);
    for (const target of ['/healthz', '/readyz', '/', '/nothing', '/ws', '/events?channel=x']) {
      const { status, headers, body } = await ask(bridge, target, lines);
      if (allowed) assert.notEqual(status, 403, `${target}: ${what}`);
      else assert.equal(status, 403, `${target}: ${what}`);
      assert.match(headers.vary ?? '', /\bOrigin\b/, target);
      assert.equal(headers['access-control-allow-credentials'], undefined);
      if (!allowed) {
        assert.equal(headers['access-control-allow-origin'], undefined);
        assert.equal(headers['cache-control'], 'no-store');
        assert.equal(JSON.parse(body).error.code, 'forbidden');
      }
    }
  }

  it('without a list: the same host and port', async () => {
    const host = `127.0.0.1:${plain.port}`;
    await everywhere(plain, [['Host', host]], true, 'no Origin');
    await everywhere(plain, [['Host', host], ['Origin', `http://${host}`]], true, 'same host');
    await everywhere(plain, [['Host', 'app.example'], ['Origin', 'https://APP.example']], true, 'whatever the host is called');
    for (const origin of ['https://evil.example', `http://127.0.0.1:${plain.port + 1}`, 'http://127.0.0.1', `http://localhost:${plain.port}`, 'null',
      `http://${host}@evil.example`, `http://user@${host}`, `http://${host}/`, `http://${host},http://${host}`, `http://${host}.evil.example`]) {
      await everywhere(plain, [['Host', host], ['Origin', origin]], false, origin);
    }
  });

  it('doubled Origin headers are refused, even of two that would pass', async () => {
    const host = `127.0.0.1:${plain.port}`;
    for (const other of [`http://${host}`, 'https://evil.example', 'null']) {
      await everywhere(plain, [['Host', host], ['Origin', `http://${host}`], ['Origin', other]], false, `${host} and ${other}`);
      await everywhere(all, [['Host', host], ['Origin', `http://${host}`], ['Origin', other]], false, `${host} and ${other}, * set`);
    }
  });

  it('with a list: those in it alone', async () => {
    const host = `127.0.0.1:${listed.port}`;
    for (const origin of ['https://app.example', 'https://app.example:443', 'http://other.example:8080']) await everywhere(listed, [['Host', host], ['Origin', origin]], true, origin);
    for (const origin of [`http://${host}`, 'http://app.example', 'https://app.example:8443', 'http://other.example', 'https://app.example.evil', 'null', 'https://app.example, https://app.example']) {
      await everywhere(listed, [['Host', host], ['Origin', origin]], false, origin);
    }
  });

  it('with *: all that are one', async () => {
    for (const origin of ['https://app.example', 'http://[2001:db8::1]:81', 'null']) await everywhere(all, [['Host', 'x'], ['Origin', origin]], true, origin);
    for (const origin of ['*', 'https://app.example/x', 'https://a,https://b', 'x'.repeat(600)]) await everywhere(all, [['Host', 'x'], ['Origin', origin]], false, origin);
  });

  it('by X-Forwarded-Host of a trusted proxy, and of nobody else', async () => {
    const origin = ['Origin', 'https://app.example'];
    const host = ['Host', 'bridge.internal:8090'];
    await everywhere(proxied, [host, ['X-Forwarded-Host', 'app.example'], origin], true, 'named by the proxy');
    await everywhere(proxied, [host, ['X-Forwarded-Host', 'evil.example, app.example'], origin], true, 'the nearest proxy counts');
    await everywhere(proxied, [host, ['X-Forwarded-Host', 'app.example, evil.example'], origin], false, 'not what stands before');
    await everywhere(proxied, [['Host', 'app.example'], ['X-Forwarded-Host', 'evil.example'], origin], false, 'Host counts no longer');
    await everywhere(proxied, [['Host', 'app.example'], origin], true, 'a proxy that says nothing');
    await everywhere(plain, [host, ['X-Forwarded-Host', 'app.example'], origin], false, 'nobody is trusted');
  });

  it('answers tell browsers who may read them', async () => {
    const origin = 'https://app.example';
    for (const target of ['/healthz', '/nothing', '/ws', '/index.html']) {
      const { headers } = await ask(listed, target, [['Host', 'x'], ['Origin', origin]]);
      assert.equal(headers['access-control-allow-origin'], origin, target);
      assert.equal(headers.vary, 'Origin', target);
      assert.equal(headers['access-control-allow-credentials'], undefined, target);
    }
    const { headers } = await ask(all, '/healthz', [['Host', 'x'], ['Origin', 'https://one.example']]);
    assert.equal(headers['access-control-allow-origin'], 'https://one.example', 'never *');
    assert.equal((await ask(listed, '/healthz', [['Host', 'x']])).headers['access-control-allow-origin'], undefined);
  });

  it('preflights are answered, for whatever path', async () => {
    const lines = [['Host', 'x'], ['Origin', 'https://app.example'], ['Access-Control-Request-Method', 'POST'], ['Access-Control-Request-Headers', 'authorization']];
    for (const target of ['/call/move_card', '/poll', '/healthz', '/nothing']) {
      const { status, headers, body } = await ask(listed, target, lines, 'OPTIONS');
      assert.equal(status, 204, target);
      assert.equal(body, '');
      assert.equal(headers['access-control-allow-origin'], 'https://app.example');
      assert.equal(headers['access-control-allow-methods'], 'GET, POST');
      assert.equal(headers['access-control-allow-headers'], ALLOWED_HEADERS);
      assert.ok(Number(headers['access-control-max-age']) > 0);
      assert.equal(headers['access-control-allow-credentials'], undefined);
      assert.equal(headers.vary, 'Origin');
    }
    for (const origin of ['https://evil.example', 'null']) {
      const { status, headers } = await ask(listed, '/poll', [['Host', 'x'], ['Origin', origin], ...lines.slice(2)], 'OPTIONS');
      assert.equal(status, 403);
      assert.deepEqual(Object.keys(headers).filter((name) => name.startsWith('access-control')), []);
    }
    assert.equal((await ask(listed, '/', [['Host', 'x']], 'OPTIONS')).headers.allow, 'GET, HEAD, OPTIONS');
  });

  it('refusals are counted, and logged with their origin', async () => {
    const before_ = await metric(plain, 'livefeed_origins_refused_total');
    await ask(plain, '/healthz', [['Host', 'x'], ['Origin', 'https://counted.example']]);
    await handshake(plain, [['Host', 'x'], ['Origin', 'https://counted.example']]);
    assert.equal(await metric(plain, 'livefeed_origins_refused_total'), before_ + 2);
    // Of many in a second not each has a line.
    await until('the log', async () => {
      await handshake(plain, [['Host', 'x'], ['Origin', 'https://counted.example']]);
      return /not in --allowed-origins.*counted/.test(plain.log);
    });
    const line = plain.log.split('\n').find((each) => each.includes('counted.example'));
    assert.match(line, /origin="?https:\/\/counted\.example"?.* path="?\/(ws|healthz)"?.* address="?127\.0\.0\.1/);
  });

  it('a cookie that holds a token authenticates nobody', async () => {
    const token = await db.token('42', { units: [7] });
    const bridge = await Bridge.start(db, ['--idle-auth', '500ms']);
    for (const cookie of [`token=${token}`, `access_token=${token}`, `Authorization=Bearer ${token}`, `bearer=${token}; jwt=${token}`, token, `bearer.${token}`]) {
      const client = await Client.open(bridge, { headers: { Cookie: cookie } });
      await client.close(4401);
      assert.deepEqual(client.frames.map(({ type, code, message }) => [type, code, message]), [['error', 'bad_token', 'no token came in time']], cookie);
    }
    const client = await Client.open(bridge, { token, headers: { Cookie: 'token=x.y.z' } });
    assert.equal(client.welcome.user, '42', 'nor does a bad one hinder');
    await client.leave();
    await bridge.stop();
  });
});

describe('in Chromium', () => {
  let browser;
  let bridge; // without a list
  let ear; // in front of it
  let open; // allows `friend`
  let stranger;
  let friend;
  let token;
  const wire = (one) => one.origin.replace('http', 'ws');
  /** The last handshake that the ear heard; a browser asks for more than one tells it to, for icons, say. */
  const asked = () => ear.requests().filter((head) => head.startsWith('GET /ws')).at(-1);

  before(async () => {
    token = await db.token('42', { units: [7] });
    stranger = await pages({ 'Set-Cookie': `token=${token}; Path=/` });
    friend = await pages();
    bridge = await Bridge.start(db, ['--static', folder, '--idle-auth', '6s']);
    ear = await listenIn(bridge.port);
    open = await Bridge.start(db, ['--allowed-origins', friend.origin]);
    browser = await browse();
  });
  after(async () => {
    await browser?.close();
    for (const one of [ear, stranger, friend]) await one?.close();
    for (const one of [bridge, open]) await one?.stop();
  });

  /** A page in a profile of its own. */
  async function visit(url) {
    const context = await browser.newContext();
    const page = await context.newPage();
    await page.goto(url);
    return page;
  }

  it('a page of another port is refused its WebSocket, with a good token and all', async () => {
    const page = await visit(stranger.origin);
    const opened = await metric(bridge, 'livefeed_sessions_opened_total{transport="websocket"}');
    const refused = await metric(bridge, 'livefeed_origins_refused_total');
    for (const [address, options] of [[`${wire(ear)}/ws`, {}], [`${wire(ear)}/ws?token=${token}`, {}], [`${wire(ear)}/ws`, { protocols: ['livefeed.v1', `bearer.${token}`] }]]) {
      const seen = await connectFrom(page, address, options);
      assert.deepEqual([seen.opened, seen.frames, seen.code], [false, [], 1006], address);
    }
    assert.equal(await metric(bridge, 'livefeed_sessions_opened_total{transport="websocket"}'), opened);
    assert.equal(await metric(bridge, 'livefeed_origins_refused_total'), refused + 3);
    const last = asked();
    assert.ok(last.includes(`\r\nOrigin: ${stranger.origin}\r\n`), last);
    assert.ok(last.includes(`\r\nCookie: token=${token}\r\n`), `Chromium sent the host's cookie: ${last}`);
    await page.context().close();
  });

  it('and whatever it fetches', async () => {
    const page = await visit(stranger.origin);
    const answered = await metric(bridge, 'livefeed_http_answers_total{code="403"}');
    let asked = 0;
    for (const [target, options] of [['/healthz', {}], ['/', {}], ['/nothing', {}], ['/healthz', { headers: { Authorization: `Bearer ${token}` } }],
      ['/healthz', { credentials: 'include' }], ['/poll', { method: 'POST', body: '{}' }]]) {
      assert.deepEqual(await fetchFrom(page, `${ear.origin}${target}`, options), { error: 'TypeError' }, `${target} ${JSON.stringify(options)}`);
      assert.equal(await metric(bridge, 'livefeed_http_answers_total{code="403"}'), answered + ++asked, `${target}: 403, to the preflight or to the request`);
    }
    const opaque = await fetchFrom(page, `${ear.origin}/healthz`, { mode: 'no-cors' });
    assert.deepEqual([opaque.type, opaque.body], ['opaque', ''], 'what is sent without an Origin stays unread');
    await page.context().close();
  });

  it('a page of the same host works', async () => {
    const page = await visit(`${ear.origin}/`);
    assert.equal(await page.title(), 'own page');
    const seen = await connectFrom(page, `${wire(ear)}/ws`, { messages: [{ type: 'auth', token }, { type: 'subscribe', channel: 'requests:unit:7' }], enough: 2 });
    assert.deepEqual(seen.frames.map(({ type }) => type), ['welcome', 'subscribed']);
    const { status, body } = await fetchFrom(page, '/healthz');
    assert.deepEqual([status, JSON.parse(body).status], [200, 'alive']);
    assert.equal((await connectFrom(page, `${wire(ear)}/ws`, { protocols: ['livefeed.v1', `bearer.${token}`], enough: 1 })).frames[0].type, 'welcome');
    await page.context().close();
  });

  it('the same host by another name is another', async () => {
    const page = await visit(`http://localhost:${ear.port}/`);
    assert.equal(await page.title(), 'own page');
    assert.equal((await connectFrom(page, `${wire(ear)}/ws?token=${token}`)).opened, false);
    assert.equal((await connectFrom(page, `ws://localhost:${ear.port}/ws?token=${token}`, { enough: 1 })).frames[0].type, 'welcome');
    await page.context().close();
  });

  it('a cookie with a good token, which Chromium sends, authenticates nobody', async () => {
    const page = await visit(stranger.origin); // sets it, for all ports of the host
    await page.goto(`${ear.origin}/`);
    const seen = await connectFrom(page, `${wire(ear)}/ws`);
    assert.ok(asked().includes(`\r\nCookie: token=${token}\r\n`), asked());
    assert.deepEqual([seen.opened, seen.code, seen.reason], [true, 4401, 'no token came in time']);
    assert.deepEqual(seen.frames.map(({ type, code }) => [type, code]), [['error', 'bad_token']]);
    await page.context().close();
  });

  it('a sandboxed frame, whose origin is null, is refused', async () => {
    const page = await visit(`${ear.origin}/`);
    const code = await page.evaluate((address) => new Promise((resolve) => {
      addEventListener('message', ({ data }) => resolve(data));
      const frame = document.createElement('iframe');
      frame.sandbox = 'allow-scripts';
      frame.srcdoc = `<script>
        const socket = new WebSocket('${address}');
        socket.onopen = () => parent.postMessage('opened', '*');
        socket.onclose = ({ code }) => parent.postMessage(code, '*');
      </script>`;
      document.body.append(frame);
    }), `${wire(ear)}/ws?token=${token}`);
    assert.equal(code, 1006);
    assert.match(asked(), /\r\nOrigin: null\r\n/);
    await page.context().close();
  });

  it('and so is a page out of a data: URL', async () => {
    const page = await visit('data:text/html,<title>nowhere</title>');
    assert.equal((await connectFrom(page, `${wire(ear)}/ws?token=${token}`)).code, 1006);
    assert.match(asked(), /\r\nOrigin: null\r\n/);
    assert.deepEqual(await fetchFrom(page, `${ear.origin}/healthz`), { error: 'TypeError' });
    await page.context().close();
  });

  it('an allowed origin works: WebSocket, fetch, and what needs a preflight', async () => {
    const page = await visit(friend.origin);
    const seen = await connectFrom(page, `${wire(open)}/ws`, { messages: [{ type: 'auth', token }, { type: 'subscribe', channel: 'requests:unit:7' }], enough: 2 });
    assert.deepEqual(seen.frames.map(({ type }) => type), ['welcome', 'subscribed']);
    const plain = await fetchFrom(page, `${open.origin}/healthz`);
    assert.deepEqual([plain.status, plain.type], [200, 'cors']);
    const options = await metric(open, 'livefeed_http_answers_total{code="204"}');
    const headers = { Authorization: `Bearer ${token}`, 'Last-Event-ID': '1', 'Idempotency-Key': 'x', 'Content-Type': 'application/json' };
    assert.equal((await fetchFrom(page, `${open.origin}/healthz`, { headers })).status, 200);
    assert.equal(await metric(open, 'livefeed_http_answers_total{code="204"}'), options + 1, 'Chromium asked first');
    const missing = await fetchFrom(page, `${open.origin}/call/nothing`, { method: 'POST', headers, body: '{}' });
    assert.equal(JSON.parse(missing.body).error.code, 'unknown_command', 'errors can be read, too');
    await page.context().close();
  });

  it('but neither with credentials nor with what the preflight does not allow', async () => {
    const page = await visit(friend.origin);
    for (const options of [{ credentials: 'include' }, { headers: { 'X-Other': '1' } }, { method: 'PUT' }, { method: 'DELETE' }]) {
      assert.deepEqual(await fetchFrom(page, `${open.origin}/healthz`, options), { error: 'TypeError' }, JSON.stringify(options));
    }
    await page.context().close();
  });

  it('a list leaves out the same host', async () => {
    const page = await visit(`${open.origin}/healthz`);
    assert.equal((await connectFrom(page, `${wire(open)}/ws?token=${token}`)).opened, false);
    await page.context().close();
  });
});
