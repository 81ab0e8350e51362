// Socket.IO at the level of requests, packets and limits: what is refused, and how; polls that break; bytes by hand. What works
// is in socketio.test.mjs.

import assert from 'node:assert/strict';
import http from 'node:http';
import { after, before, describe, it } from 'node:test';
import WebSocket from 'ws';
import { Cluster } from './lib/cluster.mjs';
import { Bridge } from './lib/bridge.mjs';
import { SCHEMA } from './lib/schema.mjs';
import { metric } from './lib/metrics.mjs';
import { Io } from './lib/socketio.mjs';
import { until, within } from './lib/wait.mjs';

const POLLING = '/socket.io/?EIO=4&transport=polling';
const SESSIONS = 'livefeed_sessions{transport="socketio"}';

describe('socket.io refused', () => {
  let cluster;
  let db;
  let bridge;
  let token;
  const clients = [];

  before(async () => {
    cluster = await Cluster.start();
    db = await cluster.database(`${SCHEMA} SELECT livefeed.socketio_namespace('/requests', ARRAY['requests:unit:{unit}'])`);
    bridge = await Bridge.start(db);
    token = await db.token('42', { units: [7] });
  });
  after(async () => {
    for (const client of clients) if (client.terminate) client.terminate(); else client.leave();
    await bridge?.stop();
    await cluster?.remove();
  });

  /** Opens a polling connection by hand: where its polls and packets go. */
  async function polling(origin = bridge) {
    const { status, headers, body } = await origin.get(POLLING);
    assert.equal(status, 200);
    assert.equal(headers['content-type'], 'text/plain; charset=UTF-8');
    assert.equal(headers['cache-control'], 'no-store');
    const open = JSON.parse(body.slice(1));
    assert.deepEqual(Object.keys(open), ['sid', 'upgrades', 'pingInterval', 'pingTimeout', 'maxPayload']);
    return `${POLLING}&sid=${open.sid}`;
  }
  const post = (target, body) => bridge.get(target, { method: 'POST', body, headers: { 'Content-Type': 'text/plain;charset=UTF-8', 'Content-Length': Buffer.byteLength(body) } });

  /** A WebSocket by hand: its messages, and the code that it is closed with. */
  async function socket(target = '/socket.io/?EIO=4&transport=websocket') {
    const ws = new WebSocket(bridge.origin.replace('http', 'ws') + target);
    clients.push(ws);
    ws.heard = [];
    ws.on('message', (data) => ws.heard.push(String(data)));
    ws.on('error', (error) => { ws.trouble = error.message; });
    ws.ended = new Promise((resolve) => { ws.on('close', (code, reason) => resolve([code, String(reason)])); });
    await within('the WebSocket to open', new Promise((resolve) => { ws.on('open', resolve); ws.on('close', resolve); }));
    return ws;
  }
  const hears = (ws, what) => until(`${what} among ${ws.heard}`, () => ws.heard.find((each) => what.test(each)));

  it('answers 400 to requests that are none of the protocol, and 404 beside its path', async () => {
    for (const target of ['/socket.io/', '/socket.io/?transport=polling', '/socket.io/?EIO=3&transport=polling', '/socket.io/?EIO=4',
      '/socket.io/?EIO=4&transport=websocket', '/socket.io/?EIO=4&transport=carrier-pigeon', `${POLLING}&sid=nobody`, `${POLLING}&sid=${'x'.repeat(5000)}`]) {
      const { status, body } = await bridge.get(target);
      assert.equal(status, 400, target);
      assert.equal(JSON.parse(body).error.code, 'bad_message');
    }
    assert.match((await bridge.get('/socket.io/?EIO=3&transport=polling')).body, /socket\.io-client 3 and 4/);
    for (const method of ['POST', 'PUT', 'DELETE', 'HEAD']) assert.equal((await bridge.get(POLLING, { method })).status, 400, method);
    assert.equal((await bridge.get('/socket.io/requests?EIO=4&transport=polling')).status, 404);
    for (const target of ['/socket.io/?EIO=4&transport=polling', '/socket.io/?EIO=3&transport=websocket', '/socket.io/requests',
      '/socket.io/?EIO=4&transport=websocket&sid=nobody']) assert.match((await socket(target)).trouble, /40[04]/, target);
  });

  it('answers a foreign origin 403, and says to an allowed one what it may post', async () => {
    assert.equal((await bridge.get(POLLING, { headers: { Origin: 'https://evil.example' } })).status, 403);
    const { status, headers } = await bridge.get(POLLING, { method: 'OPTIONS', headers: { Origin: bridge.origin, 'Access-Control-Request-Method': 'POST' } });
    assert.equal(status, 204);
    assert.match(headers['access-control-allow-methods'], /POST/);
  });

  it('closes a polling connection for what is no packet, and for two polls at a time', async () => {
    const broken = await polling();
    assert.equal((await post(broken, 'abc')).status, 400);
    assert.equal((await bridge.get(broken)).status, 400);
    const doubled = await polling();
    const first = bridge.get(doubled);
    await until('a second poll to be refused', async () => (await bridge.get(doubled)).status === 400);
    assert.equal((await first).body, '1');
    assert.equal((await bridge.get(doubled)).status, 400);
    const left = await polling();
    const waits = bridge.get(left);
    assert.equal((await post(left, '40\x1e1')).body, 'ok');
    assert.match((await waits).body, /^44\{"message":"bad_token"\}|^6$/);
  });

  it('lets go of who leaves in the midst of a poll', async () => {
    const before = await metric(bridge, SESSIONS);
    const target = await polling();
    assert.equal((await post(target, `40/requests,{"token":"${token}"}`)).status, 200);
    assert.match((await bridge.get(target)).body, /^40\/requests,\{"sid":"[\w-]{20}","pid":"[0-9a-f]{8}-\d+\.[\w-]{20}"\}\x1e42\/requests,\["welcome"/);
    assert.equal(await metric(bridge, SESSIONS), before + 1);
    const poll = http.get(bridge.origin + target);
    poll.on('error', () => {});
    await until('the poll to wait', () => poll.socket?.bytesWritten > 0);
    poll.destroy();
    await until('its session to end', async () => await metric(bridge, SESSIONS) === before);
  });

  it('closes a WebSocket for what is no packet, and says why', async () => {
    for (const text of ['abc', '', '2', '4abc', '42', '42{}', '42abc["x"]', '42["x"', '40[]', '4'.repeat(3), '42/x[1]']) {
      const ws = await socket();
      await hears(ws, /^0\{/);
      ws.send(text);
      const [code, reason] = await within(`the end after ${text}`, ws.ended);
      assert.equal(code, 4400, text);
      assert.ok(reason.length > 0);
    }
    const large = await socket();
    large.send(`42["x","${'x'.repeat(70_000)}"]`);
    assert.equal((await within('the end', large.ended))[0], 1009);
    const invalid = await socket();
    invalid.send(Buffer.from([0x34, 0xff, 0xfe]), { binary: false });
    assert.equal((await within('the end', invalid.ended))[0], 1007);
    const leaver = await socket();
    leaver.send('1');
    assert.equal((await within('the end', leaver.ended))[0], 1000);
  });

  it('refuses binary with an error and goes on', async () => {
    for (const way of ['websocket', 'polling']) {
      const client = await Io.open(bridge.origin, '/requests', { way, auth: { token } });
      clients.push(client);
      const answer = await client.ask('anything', Buffer.from([1, 2, 3]));
      assert.deepEqual([answer.type, answer.code], ['error', 'bad_message']);
      client.socket.emit('anything', Buffer.from([1]), { more: Buffer.from([2]) });
      await client.next('error', ({ message }) => /binary/.test(message));
      assert.equal((await client.ask('subscribe', { channel: 'requests:unit:7' })).type, 'subscribed');
      assert.deepEqual(client.ends, []);
    }
  });

  it('refuses a second WebSocket, and packets by polling after the upgrade', async () => {
    const target = await polling();
    const upgrade = target.replace('polling', 'websocket');
    const hasty = await socket(upgrade);
    hasty.send('42["x"]'); // no probe
    await within('the end', hasty.ended);
    const waits = bridge.get(target);
    const ws = await socket(upgrade);
    ws.send('2probe');
    await hears(ws, /^3probe$/);
    assert.equal((await waits).body, '6');
    await within('the end of a second one', (await socket(upgrade)).ended);
    ws.send('5');
    ws.send('40');
    await hears(ws, /^44\{"message":"bad_token"\}$/);
    assert.equal((await bridge.get(target)).status, 400);
    assert.equal((await post(target, '40')).status, 400);
  });

  it('holds to its limits: connections of an address, the rate, time for a token and for a pong', async () => {
    const own = await Bridge.start(db, ['--max-connections-per-address', '2', '--rate', '5', '--max-subscriptions', '10',
      '--idle-auth', '5s', '--heartbeat', '1s', '--max-bad-messages', '3']);
    try {
      const one = await Io.open(own.origin, '/requests', { auth: { token }, reconnection: false });
      const two = await Io.open(own.origin, '/requests', { way: 'polling', auth: { token }, reconnection: false });
      assert.equal((await own.get(POLLING)).status, 429);
      for (let n = 0; n < 40; n++) one.socket.emit('none', {});
      await until('the rate to be refused', () => one.ends.length > 0);
      assert.equal(one.named('closing').at(-1)[1].code, 4429);
      assert.ok(one.named('error').some(([, { code }]) => code === 'rate_limited'));
      two.leave();
      await until('both to be gone', async () => await metric(own, SESSIONS) === 0);
      const silent = await own.get(POLLING);
      assert.equal(silent.status, 200);
      const target = `${POLLING}&sid=${JSON.parse(silent.body.slice(1)).sid}`;
      let body;
      await until('it to be closed', async () => { body = await own.get(target); return body.status === 400 || /(^|\x1e)1$/.test(body.body); });
      await until('its address to be free', async () => (await own.get(POLLING)).status === 200);
    } finally {
      await own.stop();
    }
  });
});
