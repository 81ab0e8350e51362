// Hostile tokens, each by each carrier over a socket of its own: refused with `bad_token` and 4401, the reason in the log,
// nothing fetched for it; and no token, good or bad, is ever seen anywhere else: no log, answer, metric or list of
// processes. Good tokens of each kind of key go the same ways, so that this can fail.
// The same over HTTP and in the auth of Socket.IO. Not here: what a good token may then have (channels), the authorizer (authority).

import assert from 'node:assert/strict';
import { chmod, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import http from 'node:http';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { Bridge } from './lib/bridge.mjs';
import { Client } from './lib/client.mjs';
import { Cluster } from './lib/cluster.mjs';
import { CARRIERS, carry } from './lib/handshake.mjs';
import { hostileTokens, Issuer } from './lib/hostile.mjs';
import { SCHEMA } from './lib/schema.mjs';
import { now, signRaw } from './lib/token.mjs';
import { until } from './lib/wait.mjs';

const AT_ONCE = 8; // tokens on their way at the same time
const LEAST = 70;
const PIECE_CHARS = 16; // of a token that nobody may show

describe('hostile tokens', () => {
  const issuer = new Issuer();
  const sent = []; // every token that went anywhere
  const answers = []; // every byte that came back
  let cluster;
  let db;
  let folder;
  let lure; // counts who asks it
  let text; // a bridge that logs text
  let json; // ... JSON
  let own;
  let hostile;

  before(async () => {
    cluster = await Cluster.start();
    db = await cluster.database(SCHEMA);
    [own] = await db.query('SELECT * FROM livefeed.keys');
    folder = await mkdtemp(path.join(os.tmpdir(), 'livefeed-tokens-'));
    lure = http.createServer((request, response) => { lure.asked = (lure.asked ?? 0) + 1; response.end(issuer.jwks); });
    await new Promise((resolve) => { lure.listen(0, '127.0.0.1', resolve); });
    const keys = ['--jwt-secret-file', await file('secret', issuer.secret), '--jwt-public-key', await file('key.pem', issuer.pem), '--jwks', await file('set.json', issuer.jwks),
      '--jwt-issuer', issuer.issuer, '--jwt-audience', issuer.audience, '--log-level', 'debug'];
    text = await Bridge.start(db, keys);
    json = await Bridge.start(db, [...keys, '--log-format', 'json']);
    hostile = hostileTokens(issuer, own, `http://127.0.0.1:${lure.address().port}`);
  });
  after(async () => {
    const ends = await Promise.allSettled([text, json].filter(Boolean).map((bridge) => bridge.stop()));
    lure?.close();
    await cluster?.remove();
    if (folder) await rm(folder, { recursive: true });
    for (const { status, reason } of ends) if (status === 'rejected') throw reason;
  });

  async function file(name, content) {
    const full = path.join(folder, name);
    await writeFile(full, content);
    await chmod(full, 0o600);
    return full;
  }

  async function send(bridge, via, token, options) {
    sent.push(token);
    const answer = await carry(bridge.port, via, token, options);
    answers.push(answer.text);
    return answer;
  }

  /** Runs `each` over the list, AT_ONCE of them at a time. */
  async function all(list, each) {
    const rest = [...list];
    await Promise.all(Array.from({ length: AT_ONCE }, async () => {
      for (let item; (item = rest.shift()) !== undefined;) await each(item);
    }));
  }

  /** One token by one carrier: refused as it has to be. */
  async function refused(bridge, name, token, via, reason) {
    const { status, frames, code, reason: closed } = await send(bridge, via, token);
    const what = `${name} by ${via}: ${status} ${JSON.stringify(frames)} ${code}`;
    assert.equal(status, 101, what);
    assert.deepEqual(frames.map(({ type, code: error }) => [type, error]), [['error', 'bad_token']], what);
    assert.match(frames[0].message, reason, what);
    assert.equal(code, 4401, what);
    assert.equal(closed, frames[0].message, what);
    return frames[0].message;
  }

  /** How often the log gives each reason. */
  const reasons = (bridge) => bridge.log.split('\n').reduce((counts, line) => {
    const said = line.startsWith('{') ? JSON.parse(line).message : line.replace(/( [a-z_]+="(\\.|[^"\\])*")+$/, '');
    const reason = /token refused: (.*)$/.exec(said)?.[1];
    return reason ? counts.set(reason, (counts.get(reason) ?? 0) + 1) : counts;
  }, new Map());

  it('are enough, and each is another', () => {
    const tokens = hostile.map(([, token]) => (typeof token === 'function' ? token() : token));
    assert.ok(hostile.length >= LEAST, `${hostile.length} tokens`);
    assert.equal(new Set(tokens).size, tokens.length);
    assert.equal(new Set(hostile.map(([name]) => name)).size, hostile.length);
  });

  it('good ones of each kind of key pass, by each carrier', async () => {
    await all(Object.entries(issuer.good(own)).flatMap(([name, token]) => CARRIERS.map((via) => [name, token, via])), async ([name, token, via]) => {
      const { status, frames } = await send(text, via, token, { stay: true });
      assert.equal(status, 101, `${name} by ${via}`);
      assert.equal(frames[0]?.type, 'welcome', `${name} by ${via}: ${JSON.stringify(frames)}`);
      assert.equal(frames[0].user, '42');
    });
  });

  for (const [name, bridge] of [['text', () => text], ['JSON', () => json]]) {
    it(`are refused by each carrier, and the ${name} log says why, once for each`, async () => {
      const given = new Map();
      await all(hostile.flatMap(([what, token, reason]) => CARRIERS.map((via) => [what, token, via, reason])), async ([what, token, via, reason]) => {
        const message = await refused(bridge(), what, typeof token === 'function' ? token() : token, via, reason);
        given.set(message, (given.get(message) ?? 0) + 1);
      });
      await until('the log to have it all', () => [...reasons(bridge()).values()].reduce((sum, n) => sum + n, 0) >= hostile.length * CARRIERS.length).catch(() => {});
      assert.deepEqual(Object.fromEntries([...reasons(bridge())].sort()), Object.fromEntries([...given].sort()));
    });
  }

  it('are refused where they are no text at all, or empty', async () => {
    for (const token of [null, 5, true, [], {}, ['a.b.c']]) {
      const { frames, code } = await carry(text.port, 'message', { type: 'auth', token });
      assert.deepEqual([frames.length, frames[0].code, code], [1, 'bad_token', 4401], JSON.stringify(token));
    }
    for (const via of ['header', 'query', 'message']) await refused(text, 'empty', '', via, /./);
  });

  it('are refused over HTTP, too: streams, polls, state, commands', async () => {
    const targets = [['/events?channel=requests:unit:7'], ['/poll?channel=requests:unit:7'], ['/state?channel=requests:unit:7'], ['/call/nothing?', { method: 'POST', body: '{}' }]];
    await all(hostile.flatMap(([what, token]) => targets.map(([target, options]) => [what, token, target, options])), async ([what, made, target, options]) => {
      const token = typeof made === 'function' ? made() : made;
      sent.push(token);
      const { status, body } = await text.get(`${target}&token=${encodeURIComponent(token)}`, options);
      answers.push(body);
      assert.deepEqual([what, target, status, JSON.parse(body).error.code], [what, target, 401, 'bad_token']);
    });
    const good = signRaw('HS256', issuer.secret, { alg: 'HS256' }, issuer.claims());
    const { status } = await text.get(`/poll?channel=requests:unit:7&wait=0&token=${good}`);
    assert.equal(status, 200, 'a good one passes');
  });

  it('are refused in the auth of Socket.IO', async () => {
    const connect = async (token) => {
      sent.push(token);
      const opened = await text.get('/socket.io/?EIO=4&transport=polling');
      const { sid } = JSON.parse(opened.body.slice(1));
      await text.get(`/socket.io/?EIO=4&transport=polling&sid=${sid}`, { method: 'POST', headers: { 'Content-Type': 'text/plain;charset=UTF-8' }, body: `40${JSON.stringify({ token })}` });
      const { body } = await text.get(`/socket.io/?EIO=4&transport=polling&sid=${sid}`);
      answers.push(body);
      return body;
    };
    await all(hostile, async ([what, token]) => assert.match(await connect(typeof token === 'function' ? token() : token), /^44\{/, what));
    assert.match(await connect(signRaw('HS256', issuer.secret, { alg: 'HS256' }, issuer.claims())), /^40\{"sid"/);
  });

  it('have nobody fetch a key', () => {
    assert.equal(lure.asked ?? 0, 0);
  });

  it('never read a key from a file that they name', async () => {
    // A key that is there, readable, and known: were it read, the signature would be right.
    const secret = await file('named', 'a secret that lies about');
    await all([secret, `file://${secret}`, path.relative('/', secret), `../../../../../../..${secret}`], async (kid) => {
      const token = signRaw('HS256', 'a secret that lies about', { alg: 'HS256', kid }, issuer.claims());
      await all(CARRIERS, (via) => refused(text, kid, token, via, /signature is wrong/));
    });
  });

  it('end a session that has one already, and keep it from the new user', async () => {
    for (const [what, token, reason] of hostile.slice(0, 12)) {
      const client = await Client.open(text, { token: signRaw('HS256', issuer.secret, { alg: 'HS256' }, issuer.claims()) });
      client.send({ type: 'auth', token });
      sent.push(token);
      const error = await client.next('error');
      assert.equal(error.code, 'bad_token', what);
      assert.match(error.message, reason, what);
      await client.close(4401);
      answers.push(...client.texts);
    }
  });

  describe('of 64 kB', () => {
    const large = (bytes) => signRaw('HS256', issuer.secret, { alg: 'HS256' }, issuer.claims({ padding: 'x'.repeat(bytes) }));

    it('are beyond --max-header: nothing of them is read', async () => {
      for (const via of ['header', 'protocol', 'query']) {
        const { status, frames } = await send(text, via, large(48_000));
        assert.notEqual(status, 101, via);
        assert.deepEqual(frames, [], via);
      }
    });

    it('are beyond --max-message: 1009', async () => {
      const { frames, code } = await send(text, 'message', large(60_000));
      assert.deepEqual(frames.map(({ type, code: error }) => [type, error]), [['error', 'too_large']]);
      assert.equal(code, 1009);
    });

    it('are too long where a message may be longer', async () => {
      const wide = await Bridge.start(db, ['--jwt-secret-file', path.join(folder, 'secret'), '--max-message', '256KiB', '--max-header', '60KiB']);
      try {
        await refused(wide, 'beyond 64 KiB', large(60_000), 'message', /^token is too long$/);
        // What fits is judged like any other, by each carrier.
        for (const via of CARRIERS) {
          const { frames } = await send(wide, via, large(30_000), { stay: true });
          assert.equal(frames[0]?.type, 'welcome', via);
          await refused(wide, 'large', `${large(30_000).slice(0, -43)}${'A'.repeat(43)}`, via, /^token's signature is wrong$/);
        }
      } finally {
        await wide.stop();
      }
      assertUnseen('the log of the wide bridge', wide.log);
    });
  });

  // ---- nowhere else

  /** Pieces that are a token's own: its payload and signature, in any part; and the jti inside. */
  function piecesOf(token) {
    const pieces = [];
    const [, payload = '', signature = ''] = token.split('.');
    for (const part of [payload, signature]) {
      for (let at = 0; at + PIECE_CHARS <= part.length && at < 2000; at += PIECE_CHARS) pieces.push(part.slice(at, at + PIECE_CHARS));
    }
    const jti = /"jti":"([^"]+)"/.exec(Buffer.from(payload, 'base64url').toString('latin1'))?.[1];
    return jti ? [...pieces, jti] : pieces;
  }

  /** What all tokens say alike is no secret. */
  let secretPieces;
  function assertUnseen(what, haystack) {
    if (!secretPieces) {
      const common = /^(A+|x+|eHh4.*|.*eHh4eHh4.*|eyJ.*)$/;
      secretPieces = [...new Set(sent.flatMap((token) => piecesOf(token)))].filter((piece) => !common.test(piece));
      assert.ok(secretPieces.length > 1000, `${secretPieces.length} pieces`);
    }
    for (const piece of secretPieces) assert.ok(!haystack.includes(piece), `${what} shows ${piece} of a token: ${haystack.slice(Math.max(0, haystack.indexOf(piece) - 200), haystack.indexOf(piece) + 50)}`);
  }

  it('stand in no log, text or JSON, at debug level', async () => {
    // Other ways to be in a URL: where nothing is, where nothing may be had, and where the request itself is bad.
    const token = signRaw('HS256', issuer.secret, { alg: 'HS256' }, issuer.claims());
    sent.push(token);
    for (const bridge of [text, json]) {
      for (const target of ['/nothing', '/healthz', '/readyz', '/metrics', '/ws', '/ws/nothing/here']) {
        const headers = { Authorization: `Bearer ${token}`, Origin: 'https://evil.example', 'Sec-WebSocket-Protocol': `bearer.${token}` };
        const { body } = await bridge.get(`${target}?token=${token}`, { headers });
        answers.push(body);
      }
      for (const path_ of ['/nothing', '/ws/nothing']) answers.push((await send(bridge, 'query', token, { path: path_, stay: true })).text);
      answers.push((await send(bridge, 'protocol', token, { headers: ['Origin: https://evil.example'], stay: true })).text);
      answers.push((await send(bridge, 'header', token, { headers: ['Transfer-Encoding: chunked'], stay: true })).text);
      answers.push((await send(bridge, 'query', `${token}\r\nX: y`, { stay: true })).text);
    }
    secretPieces = undefined;
    assertUnseen('the text log', text.log);
    assertUnseen('the JSON log', json.log);
    for (const line of json.log.trim().split('\n')) JSON.parse(line);
    // The log says much at this level, and shows what it may: the search is not in vain.
    assert.match(text.log, /token refused: token is expired/);
    for (const secret of [issuer.secret, own.secret.toString('hex'), own.secret.toString('base64')]) assert.ok(!text.log.includes(secret));
  });

  it('stand in no answer', () => {
    assert.ok(answers.length > hostile.length * CARRIERS.length);
    assertUnseen('an answer', answers.join('\n'));
  });

  it('stand in no metric', async () => {
    for (const bridge of [text, json]) {
      const { body } = await bridge.get('/metrics');
      assertUnseen('/metrics', body);
    }
  });

  it('stand in no list of processes: not in arguments, environment, titles, nor in what the database shows', async () => {
    const clients = [];
    for (const bridge of [text, json]) { // while they are in use, with a row asked for
      const token = signRaw('HS256', issuer.secret, { alg: 'HS256' }, issuer.claims({ exp: now() + 300 }));
      sent.push(token);
      const client = await Client.open(bridge, { token, via: 'protocol' });
      await client.subscribe('requests:unit:7');
      await client.refusedSubscribe('requests:row:1');
      clients.push(client);
    }
    secretPieces = undefined;
    const mine = String(process.pid); // what this test holds in its own memory is its own
    let looked = 0;
    for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name) && name !== mine)) {
      for (const name of ['cmdline', 'environ', 'comm']) {
        const content = await readFile(`/proc/${pid}/${name}`, 'latin1').catch(() => '');
        looked += content.length;
        assertUnseen(`/proc/${pid}/${name}`, content);
      }
    }
    assert.ok(looked > 1000);
    const activity = JSON.stringify(await db.query('SELECT * FROM pg_catalog.pg_stat_activity'));
    assert.match(activity, /livefeed-bridge/);
    assertUnseen('pg_stat_activity', activity);
    assertUnseen('the views', JSON.stringify([await db.query('SELECT * FROM livefeed.bridges'), await db.query('SELECT * FROM livefeed.feeds')]));
    await Promise.all(clients.map((client) => client.leave()));
  });
});
