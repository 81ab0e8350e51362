// /metrics: that a parser of others reads it, that what happens is counted, and who may read it. Not here: each limit's
// counter (limits_*.test.mjs), and the names of reasons and the form of each line (test/unit/test_metrics.c).

import assert from 'node:assert/strict';
import http from 'node:http';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { mkdtemp, rm } from 'node:fs/promises';
import { after, before, describe, it } from 'node:test';
import { Cluster } from './lib/cluster.mjs';
import { Bridge, bridgeRun, freePort } from './lib/bridge.mjs';
import { certify } from './lib/certificate.mjs';
import { Client, isEvent } from './lib/client.mjs';
import { families, metric } from './lib/metrics.mjs';
import { Raw } from './lib/raw.mjs';
import { SCHEMA } from './lib/schema.mjs';
import { until } from './lib/wait.mjs';

let cluster;
let db;
let folder;

before(async () => {
  cluster = await Cluster.start();
  db = await cluster.database(SCHEMA);
  folder = await mkdtemp(path.join(os.tmpdir(), 'livefeed-metrics-'));
});
after(async () => {
  await cluster?.remove();
  if (folder) await rm(folder, { recursive: true });
});

/** A request as one likes it; { status, headers, body }. */
function ask(target, options = {}) {
  return new Promise((resolve, reject) => {
    const request = http.request({ path: target, agent: false, ...options }, (response) => {
      let body = '';
      response.on('data', (data) => { body += data; });
      response.on('end', () => resolve({ status: response.statusCode, headers: response.headers, body }));
    });
    request.on('upgrade', (response, socket) => { socket.destroy(); resolve({ status: response.statusCode }); });
    request.on('error', reject);
    request.end();
  });
}

describe('the page', () => {
  let bridge;
  before(async () => { bridge = await Bridge.start(db, ['--history', '64KiB', '--max-queue', '1MiB']); });
  after(async () => { await bridge?.stop(); });

  it('is read by a parser of others', async () => {
    const { status, headers, body } = await bridge.get('/metrics');
    assert.equal(status, 200);
    assert.equal(headers['content-type'], 'text/plain; version=0.0.4; charset=utf-8');
    assert.equal(headers['cache-control'], 'no-store');
    assert.ok(body.length > 8192, `a page of ${body.length} bytes shows that long answers arrive`);
    const all = await families(body);
    assert.ok(all.length > 30, `${all.length} families`);
    assert.equal(new Set(all.map(({ name }) => name)).size, all.length, 'each family once');
    for (const { name, type, help, samples } of all) {
      assert.match(name, /^(livefeed|process)_[a-z_]+$/);
      assert.match(type, /^(counter|gauge|histogram)$/, name);
      assert.ok(help.length > 5, name);
      assert.ok(samples.length > 0, name);
      for (const sample of samples) {
        assert.ok(Number.isFinite(sample.value), `${sample.name} ${sample.value}`);
        if (type === 'counter') assert.match(sample.name, /_total$/);
      }
      const seen = samples.map((sample) => sample.name + JSON.stringify(Object.entries(sample.labels).sort()));
      assert.equal(new Set(seen).size, seen.length, `${name}: each sample once`);
    }
  });

  it('would not be, were it spoilt', async () => {
    const { body } = await bridge.get('/metrics');
    await assert.rejects(families(body.replace('} 1\n', '} one\n')), /ValueError/);
    await assert.rejects(families(body.replace('transport="websocket"', 'transport="web')), /ValueError/);
  });

  it('has histograms whose buckets add up', async () => {
    const histograms = (await families((await bridge.get('/metrics')).body)).filter(({ type }) => type === 'histogram');
    assert.deepEqual(histograms.map(({ name }) => name).sort(), ['livefeed_command_seconds', 'livefeed_delivery_seconds', 'livefeed_query_seconds', 'livefeed_query_wait_seconds']);
    for (const { name, samples } of histograms) {
      const sets = Map.groupBy ? Map.groupBy(samples, (s) => s.labels.query ?? '') : samples.reduce((map, s) => map.set(s.labels.query ?? '', [...(map.get(s.labels.query ?? '') ?? []), s]), new Map());
      for (const [set, own] of sets) {
        const buckets = own.filter((s) => s.name === `${name}_bucket`);
        const bounds = buckets.map((s) => (s.labels.le === '+Inf' ? Infinity : Number(s.labels.le)));
        assert.deepEqual(bounds, [...bounds].sort((a, b) => a - b), set);
        assert.equal(bounds.at(-1), Infinity);
        for (let i = 1; i < buckets.length; i++) assert.ok(buckets[i].value >= buckets[i - 1].value, `${name} ${set}`);
        assert.equal(own.find((s) => s.name === `${name}_count`).value, buckets.at(-1).value);
        assert.ok(own.find((s) => s.name === `${name}_sum`).value >= 0);
      }
    }
  });

  it('has a counter for each limit, named as its setting', async () => {
    const { stdout } = await bridgeRun(['--help']);
    const limits = (await families((await bridge.get('/metrics')).body)).find(({ name }) => name === 'livefeed_limit').samples.map((s) => s.labels.limit);
    for (const limit of limits) assert.match(stdout, new RegExp(`--${limit} `), limit);
    for (const [, setting] of stdout.matchAll(/--(max-[a-z-]+|rate|handshake-timeout|idle-auth) /g)) assert.ok(limits.includes(setting), setting);
  });

  it('counts sessions, subscriptions, messages, events and frames', async () => {
    const at = async (name) => metric(bridge, name);
    const websocket = '{transport="websocket"}';
    const opened = await at(`livefeed_sessions_opened_total${websocket}`);
    const left = await at('livefeed_sessions_closed_total{code="client"}');
    const read = await at('livefeed_events_read_total');
    const delivered = await at('livefeed_delivery_seconds_count');
    const client = await Client.open(bridge, { token: await db.token('42', { units: [7] }) });
    await client.subscribe('requests:unit:7');
    assert.equal(await at(`livefeed_sessions${websocket}`), 1);
    assert.equal(await at(`livefeed_sessions_opened_total${websocket}`), opened + 1);
    assert.equal(await at('livefeed_subscriptions'), 1);
    await db.write(`INSERT INTO requests (unit_id, title) VALUES (7, 'mine'), (7, 'mine'), (8, 'of others')`);
    await client.next(isEvent);
    await client.next(isEvent);
    await client.caughtUp(db);
    assert.equal(await at('livefeed_events_read_total'), read + 3);
    await until('the deliveries', async () => await at('livefeed_delivery_seconds_count') === delivered + 2);
    assert.ok(await at('livefeed_delivery_seconds_sum') < 60);
    assert.equal(await at('livefeed_frames_sent_total'), client.frames.length);
    assert.equal(await at('livefeed_tail_lag_ids'), 0);
    assert.equal(await at('livefeed_tail_id'), await at('livefeed_database_id'));
    assert.ok(await at('livefeed_bytes_sent_total') >= client.texts.join('').length);
    await client.leave();
    await until('the session to be counted out', async () => await at(`livefeed_sessions${websocket}`) === 0);
    assert.equal(await at('livefeed_sessions_closed_total{code="client"}'), left + 1);
    assert.equal(await at('livefeed_subscriptions'), 0);
  });

  it('counts resumes by where the past came from', async () => {
    const token = await db.token('42', { units: [7] });
    const counts = async () => Promise.all(['memory', 'log', 'resync'].map((each) => metric(bridge, `livefeed_resumes_total{outcome="${each}"}`)));
    const client = await Client.open(bridge, { token });
    const { cursor } = await client.subscribe('requests:unit:7');
    const [memory, log, resync] = await counts();
    await client.subscribe('requests:unit:7', { since: cursor });
    assert.deepEqual(await counts(), [memory + 1, log, resync]);
    await client.subscribe('requests:unit:7', { since: 'ffffffff-1' });
    assert.deepEqual(await counts(), [memory + 1, log, resync + 1]);
    // More than the history keeps.
    await db.write(`INSERT INTO requests (unit_id, title) SELECT 8, repeat('x', 500) FROM generate_series(1, 300)`);
    await client.caughtUp(db);
    const pages = await metric(bridge, 'livefeed_query_seconds_count{query="page"}');
    await client.subscribe('requests:unit:7', { since: cursor });
    await client.caughtUp(db);
    assert.deepEqual(await counts(), [memory + 1, log + 1, resync + 1]);
    assert.ok(await metric(bridge, 'livefeed_query_seconds_count{query="page"}') > pages);
    assert.ok(await metric(bridge, 'livefeed_query_wait_seconds_count') > 0);
    assert.ok(await metric(bridge, 'livefeed_history_bytes') <= 65536);
    assert.ok(await metric(bridge, 'livefeed_history_events') > 0);
    await client.leave();
  });

  it('counts refused tokens by reason, and close codes', async () => {
    const refused = (reason) => metric(bridge, `livefeed_auth_failures_total{reason="${reason}"}`);
    const closed = await metric(bridge, 'livefeed_sessions_closed_total{code="4401"}');
    const [malformed, signature] = [await refused('malformed'), await refused('signature')];
    const [one, two] = [await db.token('42'), await db.token('43')];
    for (const token of ['x', [...one.split('.').slice(0, 2), two.split('.')[2]].join('.')]) {
      const client = await Client.open(bridge, { token, welcome: false });
      await client.close(4401);
    }
    await until('both', async () => await metric(bridge, 'livefeed_sessions_closed_total{code="4401"}') === closed + 2);
    assert.deepEqual([await refused('malformed'), await refused('signature')], [malformed + 1, signature + 1]);
  });

  it('tells of the process', async () => {
    assert.ok(await metric(bridge, 'process_resident_memory_bytes') > 1_000_000);
    assert.ok(await metric(bridge, 'process_cpu_seconds_total') > 0);
    const files = await metric(bridge, 'process_open_fds');
    assert.ok(files > 5 && files < await metric(bridge, 'process_max_fds'), files);
    assert.ok(Math.abs(await metric(bridge, 'process_start_time_seconds') - Date.now() / 1000) < 3600);
  });

  it('arrives whole, again and again, on one connection, and by HEAD without its body', async () => {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    const one = { host: '127.0.0.1', port: bridge.port, agent };
    for (let i = 0; i < 20; i++) {
      const { status, body, headers } = await ask('/metrics', one);
      assert.equal(status, 200);
      assert.equal(body.length, Number(headers['content-length']));
    }
    const { body, headers } = await ask('/metrics', { ...one, method: 'HEAD' });
    assert.equal(body, '');
    assert.ok(Number(headers['content-length']) > 8192);
    agent.destroy();
  });
});

describe('without the database', () => {
  it('the lag grows, and is gone when it is back', async () => {
    const bridge = await Bridge.start(db);
    assert.equal(await metric(bridge, 'livefeed_database_up'), 1);
    const reconnects = await metric(bridge, 'livefeed_database_reconnects_total');
    await db.close();
    await cluster.stop('fast');
    await until('it to be noticed', async () => await metric(bridge, 'livefeed_database_up') === 0);
    const lag = await metric(bridge, 'livefeed_tail_lag_seconds');
    await until('the lag to grow', async () => await metric(bridge, 'livefeed_tail_lag_seconds') > lag);
    await cluster.again();
    await until('it to be there again', async () => await metric(bridge, 'livefeed_database_up') === 1);
    await until('the lag to go', async () => await metric(bridge, 'livefeed_tail_lag_seconds') === 0);
    assert.equal(await metric(bridge, 'livefeed_database_reconnects_total'), reconnects + 1);
    await bridge.stop();
  });
});

describe('at the main listener', () => {
  let bridge;
  const socket = () => path.join(folder, 'main.sock');
  before(async () => {
    const port = await freePort();
    bridge = await Bridge.start(db, ['--listen', `0.0.0.0:${port},[::1]:${port},unix:${socket()}`, '--trusted-proxies', '127.0.0.1,unix', '--base-path', '/live'], { port, ready: false });
    await until('the bridge', async () => (await bridge.get('/live/readyz')).status === 200);
  });
  after(async () => { await bridge?.stop(); });

  it('peers on loopback may read it', async () => {
    for (const [host, name] of [['127.0.0.1', '127.0.0.1'], ['127.0.0.1', 'localhost'], ['127.0.0.1', 'localhost:8090'], ['::1', '[::1]']]) {
      assert.equal((await ask('/live/metrics', { host, port: bridge.port, headers: { Host: name } })).status, 200, `${host} ${name}`);
    }
    assert.equal((await ask('/metrics', { host: '127.0.0.1', port: bridge.port })).status, 404, 'it is below the base path');
  });

  it('nobody whose request a proxy passed on may, though the proxy is on loopback', async () => {
    for (const headers of [{ 'X-Forwarded-For': '203.0.113.9' }, { 'X-Forwarded-For': '127.0.0.1' }, { 'X-Forwarded-For': '203.0.113.9, 127.0.0.1' },
      { Forwarded: 'for=203.0.113.9' }, { Via: '1.1 proxy' }, { 'X-Real-IP': '203.0.113.9' }, { 'X-Forwarded-Host': 'example.org' }, { 'X-Forwarded-Proto': 'https' },
      { 'X-Forwarded-Port': '443' }, { 'X-Forwarded-Server': 'example.org' }, { 'X-Client-IP': '203.0.113.9' }, { 'CF-Connecting-IP': '203.0.113.9' },
      { 'True-Client-IP': '203.0.113.9' }, { 'x-forwarded-host': '127.0.0.1' },
      { Host: 'example.org' }, { Host: 'localhost.example.org' }, { Host: '127.0.0.1.example.org' }]) {
      const { status, body } = await ask('/live/metrics', { host: '127.0.0.1', port: bridge.port, headers });
      assert.equal(status, 403, JSON.stringify(headers));
      assert.equal(JSON.parse(body).error.code, 'forbidden');
      assert.ok(!body.includes('livefeed_'));
    }
  });

  it('peers on a Unix socket may not', async () => {
    assert.equal((await ask('/live/metrics', { socketPath: socket() })).status, 403);
    assert.equal((await ask('/live/metrics', { socketPath: socket(), headers: { 'X-Forwarded-For': '127.0.0.1' } })).status, 403);
    assert.equal((await ask('/live/readyz', { socketPath: socket() })).status, 200);
  });

  it('peers by another address of this machine may not', async () => {
    const others = Object.values(os.networkInterfaces()).flat().filter(({ internal, family }) => !internal && family === 'IPv4');
    for (const { address } of others) {
      assert.equal((await ask('/live/metrics', { host: address, port: bridge.port, headers: { Host: 'localhost' } })).status, 403, address);
      assert.equal((await ask('/live/readyz', { host: address, port: bridge.port })).status, 200, address);
    }
  });

  it('pages of other origins may not', async () => {
    assert.equal((await ask('/live/metrics', { host: '127.0.0.1', port: bridge.port, headers: { Origin: 'http://127.0.0.1:1' } })).status, 403);
  });
});

describe('at a listener of its own', () => {
  let bridge;
  let port;
  const own = (target, options = {}) => ask(target, { host: '127.0.0.1', port, ...options });
  before(async () => {
    port = await freePort();
    const { cert, key } = await certify(folder, 1);
    bridge = await Bridge.start(db, ['--metrics-listen', `127.0.0.1:${port}`, '--base-path', '/live', '--static', folder, '--tls-cert', cert, '--tls-key', key, '--drain', '4s'], { ready: false });
    await until('the bridge', async () => (await own('/readyz').catch(() => null))?.status === 200);
  });
  after(async () => { await bridge?.stop(); });

  it('it is served to all who reach it, in plain HTTP and without the base path', async () => {
    for (const headers of [{}, { Host: 'metrics.example.org' }, { 'X-Forwarded-For': '203.0.113.9' }]) {
      const { status, body } = await own('/metrics', { headers });
      assert.equal(status, 200, JSON.stringify(headers));
      assert.match(body, /^livefeed_build_info\{version="[0-9.]+"\} 1$/m);
    }
    assert.equal(JSON.parse((await own('/healthz')).body).status, 'alive');
  });

  it('nothing else is', async () => {
    for (const target of ['/', '/ws', '/live/metrics', '/live/ws', '/cert.pem', '/metrics/', '/metricsx', '/events?channel=x']) {
      assert.equal((await own(target)).status, 404, target);
    }
    const upgrade = { Connection: 'Upgrade', Upgrade: 'websocket', 'Sec-WebSocket-Version': '13', 'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==' };
    for (const target of ['/ws', '/live/ws', '/metrics']) assert.equal((await own(target, { headers: upgrade })).status, 404, target);
    assert.equal((await own('/metrics', { headers: { Origin: 'https://evil.example' } })).status, 403);
    assert.equal((await own('/metrics', { method: 'POST' })).status, 405);
  });

  it('and not at the main one', async () => {
    const tls = { host: '127.0.0.1', port: bridge.port, protocol: 'https:', rejectUnauthorized: false };
    const { default: https } = await import('node:https');
    const status = await new Promise((resolve, reject) => {
      https.get({ ...tls, path: '/live/metrics', agent: false }, (response) => { response.resume(); resolve(response.statusCode); }).on('error', reject);
    });
    assert.equal(status, 404);
  });

  it('serves only so many at one time, and goes on', async () => {
    const sockets = [];
    for (let i = 0; i < 70; i++) {
      const one = net.connect(port, '127.0.0.1');
      one.on('error', () => {});
      one.closed_ = new Promise((resolve) => { one.once('close', resolve); });
      sockets.push(one);
    }
    await until('those beyond the bound to be closed', () => sockets.filter((one) => one.destroyed || one.readableEnded).length >= 6);
    for (const one of sockets) one.destroy();
    await until('it to be served again', async () => (await own('/metrics').catch(() => null))?.status === 200);
  });

  it('tells to the end', async () => {
    const before_ = await own('/metrics');
    assert.equal(before_.status, 200);
    const token = await db.token('42');
    const client = await Client.open({ origin: `https://127.0.0.1:${bridge.port}` }, { path: '/live/ws', token, options: { rejectUnauthorized: false } });
    // One that does not answer the close frame keeps the bridge until we have looked.
    const mute = await Raw.websocket(bridge, token, { path: '/live/ws', secure: { rejectUnauthorized: false } });
    bridge.process.kill('SIGTERM');
    await until('readyz to say so', async () => (await own('/readyz')).status === 503);
    assert.equal((await own('/metrics')).status, 200);
    mute.leave();
    await client.close(1001);
  });
});

describe('on a Unix socket of its own', () => {
  it('is served', async () => {
    const socketPath = path.join(folder, 'metrics.sock');
    const bridge = await Bridge.start(db, ['--metrics-listen', `unix:${socketPath}`]);
    assert.equal((await ask('/metrics', { socketPath })).status, 200);
    assert.equal((await bridge.get('/metrics')).status, 404);
    await bridge.stop();
  });
});
