// Behind Debian's nginx: its block from docs/operations.md, and one that says nothing but where the bridge is (default buffering, HTTP/1.0
// to us). Events pass at once on every way, heartbeats keep streams over more than proxy_read_timeout, nothing is lost where that cuts one off.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtemp, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { EventSource } from 'eventsource';
import { Bridge, freePort } from './lib/bridge.mjs';
import { Client } from './lib/client.mjs';
import { Cluster, ROOT, idOf } from './lib/cluster.mjs';
import { metric } from './lib/metrics.mjs';
import { SCHEMA } from './lib/schema.mjs';
import { Stream, query } from './lib/stream.mjs';
import { until, within } from './lib/wait.mjs';

const UNIT = 'requests:unit:7';
const HEARTBEAT_MS = 1000;
const READ_TIMEOUT_S = 3; // 60 s by default, with 25 s of heartbeat

class Nginx {
  /** `servers`: { name: (bridge) => the body of its server block }; gives each a port. */
  static async start(map, servers) {
    const nginx = new Nginx();
    nginx.home = await mkdtemp(path.join(tmpdir(), 'livefeed-nginx-'));
    nginx.ports = {};
    const blocks = [];
    for (const [name, body] of Object.entries(servers)) {
      const port = await freePort();
      nginx.ports[name] = { host: '127.0.0.1', port, origin: `http://127.0.0.1:${port}` };
      blocks.push(`server { listen 127.0.0.1:${port}; ${body} }`);
    }
    await mkdir(path.join(nginx.home, 'temp'));
    const temp = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((each) => `${each}_temp_path ${nginx.home}/temp/${each};`).join(' ');
    await writeFile(path.join(nginx.home, 'nginx.conf'), `
      ${process.getuid() === 0 ? 'user root;' : ''} worker_processes 1; daemon off; pid ${nginx.home}/nginx.pid; error_log stderr notice;
      events { worker_connections 256; }
      http { access_log off; ${temp} ${map} ${blocks.join('\n')} }`);
    nginx.process = spawn('nginx', ['-p', nginx.home, '-c', path.join(nginx.home, 'nginx.conf')], { stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin` } });
    nginx.log = '';
    nginx.process.stderr.on('data', (data) => { nginx.log += data; });
    nginx.ended = new Promise((resolve) => { nginx.process.once('close', (code) => { nginx.code = code; resolve(); }); });
    for (const { origin } of Object.values(nginx.ports)) {
      await until('nginx to answer', async () => {
        if (nginx.code !== undefined) throw new Error(nginx.log);
        return (await fetch(`${origin}/healthz`)).status === 200;
      }).catch((error) => { nginx.process.kill('SIGKILL'); error.message += nginx.log; throw error; });
    }
    return nginx;
  }

  async stop() {
    this.process.kill('SIGTERM');
    await within('nginx to end', this.ended);
    await rm(this.home, { recursive: true });
  }
}

/** What the operations guide says, for this bridge: { map, block }. */
async function documented(bridge) {
  const text = await readFile(path.join(ROOT, 'docs/operations.md'), 'utf8');
  const [map] = /^map \$http_upgrade .*$/m.exec(text);
  const [block] = /^location \/ \{[^}]*^\}$/m.exec(text);
  return { map, block: block.replace('127.0.0.1:8090', `127.0.0.1:${bridge.port}`).replace(/proxy_read_timeout \d+s/, `proxy_read_timeout ${READ_TIMEOUT_S}s`) };
}

describe('behind nginx', () => {
  let cluster;
  let db;
  let bridge;
  let nginx;
  let token;
  const open = [];

  before(async () => {
    cluster = await Cluster.start();
    db = await cluster.database(SCHEMA);
    bridge = await Bridge.start(db, ['--heartbeat', `${HEARTBEAT_MS}ms`, '--trusted-proxies', '127.0.0.1', '--max-connections-per-address', '1000']);
    bridge.quiet = await Bridge.start(db, ['--heartbeat', '60s']);
    token = await db.token('1', { units: [7] });
    const plain = (to) => `location / { proxy_pass http://127.0.0.1:${to.port}; proxy_read_timeout ${READ_TIMEOUT_S}s; }`;
    const { map, block } = await documented(bridge);
    nginx = await Nginx.start(map, {
      documented: block,
      plain: plain(bridge),
      quiet: plain(bridge.quiet),
    });
  });
  after(async () => {
    for (const each of open) each.leave();
    await nginx?.stop();
    await bridge?.quiet?.stop();
    await bridge?.stop();
    await cluster?.remove();
  });

  let number = 0;
  async function insert() {
    const id = ++number;
    await db.write(`INSERT INTO requests (id, unit_id, title) VALUES ($1, 7, 'x')`, [id]);
    return `${id}`;
  }

  async function stream(at, asked = {}) {
    const made = await Stream.open(at, { token, channels: [UNIT], ...asked });
    open.push(made);
    assert.equal(made.status, 200);
    await until('the cursor', () => made.lastId);
    return made;
  }

  for (const name of ['documented', 'plain']) {
    it(`${name}: the stream begins at once, each event passes by itself, heartbeats keep it beyond proxy_read_timeout`, async () => {
      const one = await stream(nginx.ports[name]);
      const began = performance.now();
      for (let n = 0; n < 5; n++) await one.next({ key: await insert() }); // the next is made when the last has passed
      const beats = one.ids.length;
      await until('heartbeats for longer than nginx waits', () => performance.now() - began > READ_TIMEOUT_S * 1500);
      assert.ok(one.ids.length >= beats + 3, `${one.ids.length - beats} heartbeats`);
      assert.equal(one.ended, false);
      await one.next({ key: await insert() });
      assert.equal(one.headers['x-accel-buffering'], undefined, 'which is for nginx');
      one.leave();
      await until('the bridge to see it leave', async () => await metric(bridge, 'livefeed_sessions{transport="sse"}') === 0);
    });

    it(`${name}: long poll, by GET and POST`, async () => {
      const { origin } = nginx.ports[name];
      const headers = { Authorization: `Bearer ${token}` };
      let { cursor } = await (await fetch(`${origin}/poll?${query({ channels: [UNIT], wait: 0 })}`, { headers })).json();
      for (const method of ['GET', 'POST', 'GET']) {
        const waiting = method === 'GET' ? fetch(`${origin}/poll?${query({ channels: [UNIT], since: cursor })}`, { headers })
          : fetch(`${origin}/poll`, { method, headers, body: JSON.stringify({ channel: UNIT, since: cursor }) });
        await until('it to wait', async () => await metric(bridge, 'livefeed_sessions{transport="poll"}') === 1);
        const key = await insert();
        const answer = await (await waiting).json();
        assert.deepEqual(answer.frames.map((frame) => frame.key), [key]);
        ({ cursor } = answer);
      }
    });
  }

  it('documented: WebSockets pass, and are kept by pings', async () => {
    const client = await Client.open(nginx.ports.documented, { token });
    await client.subscribe(UNIT);
    const began = performance.now();
    for (let n = 0; n < 5; n++) await client.next({ key: await insert() });
    await until('longer than nginx waits', () => performance.now() - began > READ_TIMEOUT_S * 1500);
    await client.next({ key: await insert() });
    assert.equal(client.closed, null);
    await client.leave();
  });

  it('where nothing is heard for proxy_read_timeout nginx cuts it off, and EventSource goes on with its cursor', async () => {
    const source = new EventSource(`${nginx.ports.quiet.origin}/events?${query({ channels: [UNIT], token })}`);
    const keys = [];
    const made = [];
    let opened = 0;
    source.onopen = () => { opened++; };
    source.onmessage = ({ data }) => keys.push(JSON.parse(data).key);
    try {
      await until('it to be open', () => opened === 1);
      made.push(await insert());
      await until('the event', () => keys.length === 1);
      await until('it to be cut off and to come back', async () => {
        if (opened === 1 && source.readyState === EventSource.CONNECTING) made.push(await insert());
        return opened >= 2;
      }, 30_000);
      made.push(await insert());
      await until('the last', () => keys.includes(made.at(-1)));
      assert.deepEqual(keys, made);
    } finally {
      source.close();
    }
  });

  it('much at once, to a reader that is slow: all of it, in order', async () => {
    const one = await stream(nginx.ports.plain);
    const from = number;
    one.response.pause();
    await db.write(`INSERT INTO requests (id, unit_id, title) SELECT n, 7, repeat('x', 2000) FROM generate_series($1::int, $2::int) n`, [from + 1, from + 3000]);
    number += 3000;
    const head = idOf(await db.head());
    const two = await stream(nginx.ports.documented);
    await two.covered(head);
    one.response.resume();
    await one.next({ key: `${number}` }, 30_000);
    assert.deepEqual(one.frames.map(({ frame }) => Number(frame.key)), Array.from({ length: 3000 }, (_, n) => from + 1 + n));
  });
});
