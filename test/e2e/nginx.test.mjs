// Behind Debian's nginx: its block from docs/operations.md, and one that says nothing but where the bridge is (default buffering, HTTP/1.0
// to us). Events pass at once on every way, heartbeats keep what is open over more than proxy_read_timeout, nothing is lost where that cuts one
// off. With FAULT_SECONDS=60 nginx's time-outs and the bridge's heartbeat are the real ones (three minutes), else some seconds.

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
import { Io, WAYS } from './lib/socketio.mjs';
import { Stream, query } from './lib/stream.mjs';
import { until, within } from './lib/wait.mjs';

const UNIT = 'requests:unit:7';
const LONG = Number(process.env.FAULT_SECONDS ?? 0) >= 60;
const HEARTBEAT_S = LONG ? 25 : 4; // who stands still for as long as a heartbeat (Socket.IO: four fifths) is taken for gone
const READ_TIMEOUT = LONG ? '' : 'proxy_read_timeout 9s;'; // nginx's own is 60 s
const SILENCE_MS = LONG ? 85_000 : 12_500; // more than the block's 75 s, and than nginx's own
const CUT_MS = LONG ? 120_000 : 30_000;

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
    await nginx.#run();
    return nginx;
  }

  async #run() {
    this.code = undefined;
    this.process = spawn('nginx', ['-p', this.home, '-c', path.join(this.home, 'nginx.conf')], { stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin` } });
    this.log = '';
    this.process.stderr.on('data', (data) => { this.log += data; });
    this.ended = new Promise((resolve) => { this.process.once('close', (code) => { this.code = code; resolve(); }); });
    for (const { origin } of Object.values(this.ports)) {
      await until('nginx to answer', async () => {
        if (this.code !== undefined) throw new Error(this.log);
        return (await fetch(`${origin}/healthz`)).status === 200;
      }).catch((error) => { this.process.kill('SIGKILL'); error.message += this.log; throw error; });
    }
  }

  async #end() {
    this.process.kill('SIGTERM');
    await within('nginx to end', this.ended);
  }

  /** Ends it with all its connections, does something, and starts it again. */
  async again(meanwhile) {
    await this.#end();
    await meanwhile();
    await this.#run();
  }

  async stop() {
    await this.#end();
    await rm(this.home, { recursive: true });
  }
}

/** What the operations guide says, for this bridge: { map, block }. */
async function documented(bridge) {
  const text = await readFile(path.join(ROOT, 'docs/operations.md'), 'utf8');
  const [map] = /^map \$http_upgrade .*$/m.exec(text);
  const [block] = /^location \/ \{[^}]*^\}$/m.exec(text);
  return { map, block: block.replace('127.0.0.1:8090', `127.0.0.1:${bridge.port}`).replace(/proxy_read_timeout \d+s;/, LONG ? '$&' : READ_TIMEOUT) };
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
    db = await cluster.database(`${SCHEMA} SELECT livefeed.socketio_namespace('/requests', ARRAY['requests:unit:{unit}'])`);
    bridge = await Bridge.start(db, ['--heartbeat', `${HEARTBEAT_S}s`, '--trusted-proxies', '127.0.0.1', '--max-connections-per-address', '1000', '--max-queue', '64MiB']);
    bridge.quiet = await Bridge.start(db, ['--heartbeat', '120s']);
    token = await db.token('1', { units: [7] });
    const plain = (to) => `location / { proxy_pass http://127.0.0.1:${to.port}; ${READ_TIMEOUT} }`;
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

  async function socketio(name, way) {
    const client = await Io.open(nginx.ports[name].origin, '/requests', { way, auth: { token }, connect: false });
    open.push(client);
    client.socket.io.engine.on('upgradeError', () => { client.upgradeFailed = true; });
    return client.connected();
  }
  const created = (client) => client.named('request.created').map(([, { key }]) => key);

  for (const name of ['documented', 'plain']) {
    it(`${name}: the stream begins at once, each event passes by itself`, async () => {
      const one = await stream(nginx.ports[name]);
      for (let n = 0; n < 5; n++) await one.next({ key: await insert() }); // the next is made when the last has passed
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

  it('documented: WebSockets pass', async () => {
    const client = await Client.open(nginx.ports.documented, { token });
    await client.subscribe(UNIT);
    for (let n = 0; n < 5; n++) await client.next({ key: await insert() });
    await client.leave();
  });

  for (const [name, way] of [...Object.keys(WAYS).map((each) => ['documented', each]), ['plain', 'polling'], ['plain', 'upgrade']]) {
    const ends = name === 'documented' && way !== 'polling' ? 'websocket' : 'polling'; // the bare block passes no upgrade on
    it(`${name}: Socket.IO by ${way}: each event at once, acks, frames larger than nginx's buffers; it ends up with ${ends}`, async () => {
      const client = await socketio(name, way);
      const made = [];
      const next = async () => { made.push(await insert()); await client.next('request.created', ({ key }) => key === made.at(-1)); };
      for (let n = 0; n < 5; n++) await next();
      assert.equal((await client.ask('subscribe', { channel: 'requests:unit:8' })).code, 'forbidden');
      await db.write(`UPDATE requests SET title = repeat('x', 200000) WHERE id = $1`, [number]);
      await client.next('request.updated', ({ data }) => data.title.length === 200_000);
      if (way === 'upgrade') await until('the upgrade', () => client.transport === 'websocket' || client.upgradeFailed);
      for (let n = 0; n < 3; n++) await next();
      assert.deepEqual([client.transport, created(client), client.ends, client.errors], [ends, made, [], []]);
      client.leave();
      await until('the bridge to see it leave', async () => await metric(bridge, 'livefeed_sessions{transport="socketio"}') === 0);
    });
  }

  it('documented: a page of the same host and port gets in, one of another port does not', async () => {
    const { origin } = nginx.ports.documented;
    const same = await Client.open(nginx.ports.documented, { token, headers: { Origin: origin } });
    assert.equal(same.welcome.user, '1');
    await same.leave();
    const other = await Client.open(nginx.ports.documented, { token, headers: { Origin: nginx.ports.plain.origin } });
    assert.equal(other.refused, 403);
  });

  it('documented: Socket.IO moves from polling to a WebSocket, and is cut off by nginx\'s end, without a loss', async () => {
    const writer = (async () => { for (let n = 0; n < 40; n++) await insert(); })();
    const client = await socketio('documented', 'upgrade');
    const [, { cursor }] = client.named('subscribed')[0];
    await writer;
    await until('the WebSocket to carry it', () => client.transport === 'websocket');
    await nginx.again(() => insert());
    await client.connected(2);
    const last = await insert();
    await client.next('request.created', ({ key }) => key === last);
    const events = await db.query(`SELECT id FROM livefeed.events(since => $1, feed => 'requests', unit => '7', max => 1000)`, [cursor]);
    assert.deepEqual(client.ids(), events.map(({ id }) => Number(id)));
    assert.deepEqual(client.recovered, [false, true]);
    client.leave();
  });

  it('what is silent stays, for longer than nginx waits for a word: streams, WebSockets, Socket.IO', { timeout: 3 * SILENCE_MS + 60_000 }, async (t) => {
    const streams = [await stream(nginx.ports.documented), await stream(nginx.ports.plain)];
    const socket = await Client.open(nginx.ports.documented, { token });
    await socket.subscribe(UNIT);
    const clients = [];
    for (const [name, way] of [['documented', 'polling'], ['documented', 'websocket'], ['plain', 'polling']]) clients.push(await socketio(name, way));
    const began = performance.now();
    const beats = streams.map(({ ids }) => ids.length);
    const heard = clients.map(({ told }) => told.length);
    await until('longer than nginx waits', () => performance.now() - began > SILENCE_MS, 2 * SILENCE_MS);
    for (const [n, { ids, ended }] of streams.entries()) {
      assert.ok(ids.length >= beats[n] + 2, `${ids.length - beats[n]} heartbeats`);
      assert.equal(ended, false);
    }
    assert.deepEqual(clients.map(({ told }) => told.length), heard, 'nothing but pings');
    const key = await insert();
    for (const each of streams) await each.next({ key });
    await socket.next({ key });
    for (const client of clients) {
      await client.next('request.created', (frame) => frame.key === key);
      assert.deepEqual([client.connects, client.ends], [1, []]);
      client.leave();
    }
    assert.equal(socket.closed, null);
    t.diagnostic(`silent for ${Math.round((performance.now() - began) / 1000)} s, heartbeat ${HEARTBEAT_S} s, ${READ_TIMEOUT || 'time-outs of the block and of nginx'}`);
    await socket.leave();
    for (const each of streams) each.leave();
  });

  it('where nothing is heard for proxy_read_timeout nginx cuts it off, and EventSource goes on with its cursor', { timeout: 2 * CUT_MS }, async () => {
    const source = new EventSource(`${nginx.ports.quiet.origin}/events?${query({ channels: [UNIT], token })}`);
    const keys = [];
    const made = [];
    let opened = 0;
    source.onopen = () => { opened++; };
    source.onmessage = ({ data }) => keys.push(JSON.parse(data).key);
    try {
      await until('it to be open', () => opened >= 1);
      made.push(await insert());
      await until('the event', () => keys.includes(made[0]));
      const openedTimes = opened;
      await until('it to be cut off and to come back', async () => {
        if (opened === openedTimes && source.readyState === EventSource.CONNECTING) made.push(await insert());
        return opened > openedTimes;
      }, CUT_MS);
      made.push(await insert());
      await until('the last', () => keys.includes(made.at(-1)));
      assert.deepEqual(keys.slice(keys.indexOf(made[0])), made); // this bridge may only now have read of the last test's
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
    // Those of the test before may still have been on their way.
    assert.deepEqual(one.frames.map(({ frame }) => Number(frame.key)).filter((key) => key > from), Array.from({ length: 3000 }, (_, n) => from + 1 + n));
  });
});
