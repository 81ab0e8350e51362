// TLS: sessions through it, its certificate changed under them, and clients that do not play along.

import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import https from 'node:https';
import os from 'node:os';
import path from 'node:path';
import tls from 'node:tls';
import { after, before, describe, it } from 'node:test';
import { Cluster } from './lib/cluster.mjs';
import { Bridge } from './lib/bridge.mjs';
import { certify } from './lib/certificate.mjs';
import { Client, isEvent } from './lib/client.mjs';
import { CLOSE, PING, Raw, TEXT, frame } from './lib/raw.mjs';
import { SCHEMA } from './lib/schema.mjs';
import { until, within } from './lib/wait.mjs';

describe('TLS', () => {
  let cluster;
  let db;
  let folder;
  let files;
  let bridge;
  let token;

  before(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'livefeed-tls-'));
    files = await certify(folder, 1001);
    cluster = await Cluster.start();
    db = await cluster.database(SCHEMA);
    bridge = await Bridge.start(db, ['--tls-cert', files.cert, '--tls-key', files.key, '--handshake-timeout', '5s', '--heartbeat', '4s'], { ready: false });
    bridge.origin = bridge.origin.replace('http:', 'https:');
    await until('the bridge to be ready', async () => (await get('/readyz')).status === 200);
    token = await db.token('42', { units: [7] });
  });
  after(async () => {
    await bridge?.stop();
    await cluster?.remove();
    if (folder) await rm(folder, { recursive: true });
  });

  const trusting = { rejectUnauthorized: false };

  function get(target, { headers = {}, method = 'GET', body } = {}) {
    return new Promise((resolve, reject) => {
      const request = https.request({ host: '127.0.0.1', port: bridge.port, path: target, headers, method, agent: false, ...trusting }, (response) => {
        let text = '';
        response.on('data', (data) => { text += data; });
        response.on('end', () => resolve({ status: response.statusCode, body: text }));
      });
      request.on('error', reject);
      request.end(body);
    });
  }

  const open = (options) => Client.open(bridge, { token, ...options, options: trusting });
  const insert = (id) => db.write(`INSERT INTO requests (id, unit_id, title) VALUES ($1, 7, 'x')`, [id]);

  /** The serial number of the certificate that a new connection sees. */
  async function serial({ port } = bridge) {
    const socket = tls.connect({ host: '127.0.0.1', port, ...trusting });
    await within('the TLS handshake', new Promise((resolve, reject) => { socket.once('secureConnect', resolve); socket.once('error', reject); }));
    const number = parseInt(socket.getPeerCertificate().serialNumber, 16);
    socket.destroy();
    return number;
  }

  it('serves what answers a request, small and large, again and again on one connection', async () => {
    await db.write(`CREATE FUNCTION echo(args jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT to_jsonb(repeat(args ->> ''of'', (args ->> ''n'')::integer))';
      SELECT livefeed.expose_command('echo', 'echo(jsonb)')`);
    const agent = new https.Agent({ keepAlive: true, maxSockets: 1, ...trusting });
    const sockets = new Set();
    const ask = (method, target, body) => within(`${method} ${target}`, new Promise((resolve, reject) => {
      const request = https.request({ host: '127.0.0.1', port: bridge.port, path: target, method, agent, headers: { authorization: `Bearer ${token}` } }, (response) => {
        let text = '';
        response.on('data', (data) => { text += data; });
        response.on('end', () => resolve({ status: response.statusCode, ...JSON.parse(text) }));
      });
      request.on('socket', (socket) => sockets.add(socket));
      request.on('error', reject);
      request.end(body);
    }));
    try {
      for (const n of [1, 20_000, 3_000_000, 1]) {
        const answer = await ask('POST', '/call/echo', JSON.stringify({ of: 'é', n }));
        assert.equal(answer.status, 200);
        assert.equal(answer.data.length, n);
        assert.equal((await ask('GET', '/state?channel=requests:unit:7')).type, 'snapshot');
      }
      assert.equal(sockets.size, 1);
    } finally {
      agent.destroy();
    }
  });

  it('carries sessions, whichever way the token travels', async () => {
    for (const [i, via] of ['query', 'header', 'protocol', 'message'].entries()) {
      const client = await open({ via });
      await client.subscribe('requests:unit:7');
      await insert(100 + i);
      assert.equal((await client.next(isEvent)).key, `${100 + i}`, via);
      await client.leave();
    }
    const long = await db.token('42', { units: Array.from({ length: 800 }, (_, i) => i) });
    assert.ok(long.length > 3000);
    const client = await Client.open(bridge, { token: long, via: 'protocol', options: trusting });
    assert.equal(client.socket.protocol, 'livefeed.v1');
    await client.leave();
  });

  it('carries large messages and many at once', async () => {
    const client = await open();
    const ref = 'x'.repeat(60_000);
    client.send({ type: 'ping', ref });
    assert.equal((await client.next('pong')).ref, ref);
    for (let i = 0; i < 100; i++) client.send({ type: 'ping', ref: i });
    await client.next({ type: 'pong', ref: 99 });
    await client.leave();
  });

  it('judges requests and frames as without TLS', async () => {
    assert.equal((await get('/nothing')).status, 404);
    assert.equal((await get('/healthz', { method: 'POST', body: 'x'.repeat(10) })).status, 405);
    assert.equal((await get('/healthz', { headers: { X: 'y'.repeat(9000) } })).status, 431);
    for (const [request, status] of [['GET / HTTP/1.1\r\n\r\n', 400], ['PRI * HTTP/2.0\r\n\r\n', 505], [`GET /healthz HTTP/1.1\r\nHost: x\r\n${'X: y\r\n'.repeat(3000)}\r\n`, 431]]) {
      const raw = await Raw.connect(bridge, { secure: trusting });
      await raw.send(request);
      assert.equal((await raw.response())?.status, status);
      await raw.gone();
    }
    for (const [code, bytes] of [[1002, frame(TEXT, '{}', { masked: false })], [1002, frame(3, '')], [1009, frame(TEXT, '', { length: 1n << 40n })],
      [1007, frame(TEXT, Buffer.of(0xff))], [4429, Buffer.concat(Array.from({ length: 50_000 }, () => frame(PING, '')))]]) {
      for (const whole of [true, false]) {
        const raw = await Raw.websocket(bridge, token, { secure: trusting });
        await raw.message({ type: 'welcome' });
        if (whole || bytes.length > 100) await raw.send(bytes);
        else for (const byte of bytes) await raw.send(Buffer.of(byte));
        assert.equal((await raw.close())?.code, code);
        await raw.send(frame(CLOSE, ''));
        raw.leave();
      }
    }
  });

  it('HTTP/2 is not offered', async () => {
    const socket = tls.connect({ host: '127.0.0.1', port: bridge.port, ALPNProtocols: ['h2', 'http/1.1'], ...trusting });
    await within('the TLS handshake', new Promise((resolve) => { socket.once('secureConnect', resolve); }));
    assert.equal(socket.alpnProtocol, 'http/1.1');
    socket.destroy();
  });

  it('TLS 1.0 and 1.1 are refused, 1.2 and 1.3 taken', async () => {
    for (const [version, good] of [['TLSv1', false], ['TLSv1.1', false], ['TLSv1.2', true], ['TLSv1.3', true]]) {
      const socket = tls.connect({ host: '127.0.0.1', port: bridge.port, minVersion: version, maxVersion: version, ciphers: 'DEFAULT:@SECLEVEL=0', ...trusting });
      const [done, error] = await within(version, new Promise((resolve) => {
        socket.once('secureConnect', () => resolve([true]));
        socket.once('error', (why) => resolve([false, why]));
      }));
      assert.equal(done, good, `${version}: ${error}`);
      if (!good) assert.match(error.code, /ALERT_PROTOCOL_VERSION|ECONNRESET/, `refused by the server, not by us: ${error}`);
      socket.destroy();
    }
  });

  it('plain HTTP, noise and half a TLS handshake end, at the latest by --handshake-timeout', async () => {
    const began = Date.now();
    const quiet = await Raw.connect(bridge, { secure: trusting }); // its TLS handshake is done, its request never comes
    await Promise.all(['GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n', Buffer.alloc(1000, 7), '', Buffer.of(0x16, 3, 1, 2, 0, 1), Buffer.of(0x16)].map(async (bytes) => {
      const raw = await Raw.connect(bridge);
      if (bytes.length) await raw.send(bytes);
      await raw.gone();
      assert.ok(!/HTTP/.test(raw.received.toString('latin1')), 'no answer in the clear');
    }));
    await quiet.gone();
    assert.ok(Date.now() - began < 30_000);
  });

  it('SIGHUP: new connections see the new certificate, sessions go on', async () => {
    const old = await open();
    await old.subscribe('requests:unit:7');
    assert.equal(await serial(), 1001);
    await certify(folder, 1002);
    assert.equal(await serial(), 1001, 'not before');
    bridge.process.kill('SIGHUP');
    await until('the new certificate', async () => await serial() === 1002);
    const fresh = await open();
    await fresh.subscribe('requests:unit:7');
    await insert(200);
    assert.equal((await old.next(isEvent)).key, '200');
    assert.equal((await fresh.next(isEvent)).key, '200');
    assert.equal(old.closed, null);
    await Promise.all([old.leave(), fresh.leave()]);
  });

  it('SIGHUP: a certificate in another file, with a key of another kind, takes the place of the old one', async () => {
    const ini = path.join(folder, 'livefeed.ini');
    const pairs = [];
    for (const [number, kind] of [[1, 'ec'], [2, 'rsa'], [3, 'ec']]) pairs.push(await certify(await mkdtemp(path.join(folder, 'pair-')), number, kind));
    const name = ({ cert, key }) => writeFile(ini, `[livefeed]\ntls-cert = ${cert}\ntls-key = ${key}\n`);
    await name(pairs[0]);
    const other = await Bridge.start(db, ['--config', ini], { ready: false });
    try {
      await until('the first certificate', async () => await serial(other).catch(() => 0) === 1);
      for (const number of [2, 3, 1]) {
        await name(pairs[number - 1]);
        other.process.kill('SIGHUP');
        await until(`certificate ${number}`, async () => await serial(other) === number);
      }
    } finally {
      await other.stop();
    }
  });

  it('a bad certificate at SIGHUP is refused in a line that names the setting; the old one stays', async () => {
    const client = await open();
    const good = { cert: await readFile(files.cert), key: await readFile(files.key) };
    const other = await mkdtemp(path.join(folder, 'other-'));
    const stranger = await certify(other, 7);
    for (const [file, bytes, name] of [[files.cert, 'no certificate', 'tls-cert'], [files.cert, '', 'tls-cert'], [files.key, 'no key', 'tls-key'], [files.key, await readFile(stranger.key), 'tls-key']]) {
      const said = bridge.log.length;
      await writeFile(file, bytes);
      bridge.process.kill('SIGHUP');
      await until('a line about it', () => /refused.*\n/.test(bridge.log.slice(said)));
      const lines = bridge.log.slice(said).split('\n').filter((line) => /refused/.test(line));
      assert.equal(lines.length, 1);
      assert.match(lines[0], new RegExp(name));
      assert.equal(await serial(), 1002);
      await writeFile(files.cert, good.cert);
      await writeFile(files.key, good.key);
    }
    await client.ask({ type: 'ping' });
    await client.leave();
    bridge.process.kill('SIGHUP');
    await until('the good one to be read', () => /read again/.test(bridge.log.split('refused').at(-1)));
    await (await open()).leave();
  });

  it('silent clients are given up here, too; those that answer pings live', async () => {
    const silent = await Raw.websocket(bridge, token, { secure: trusting });
    const client = await open();
    await silent.gone(60_000);
    assert.equal(client.closed, null);
    await client.leave();
  });
});
