// Socket.IO, spoken to by unmodified socket.io-client 3 and 4: ways to be carried, tokens, namespaces, names of events,
// subscriptions and commands with acks, recovery (over a restart of the bridge too), ends. What is refused at the level of
// requests and packets is in socketio_refused.test.mjs.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Cluster, idOf } from './lib/cluster.mjs';
import { Bridge } from './lib/bridge.mjs';
import { COMMANDS } from './lib/commands.mjs';
import { metric } from './lib/metrics.mjs';
import { Io, WAYS } from './lib/socketio.mjs';
import { until } from './lib/wait.mjs';

const NAMES = `
  CREATE FUNCTION pending(unit text) RETURNS jsonb STABLE LANGUAGE sql AS
    $$ SELECT to_jsonb(count(*)) FROM public.requests WHERE unit_id = unit::integer AND status = 'Pending' $$;
  SELECT livefeed.expose_query('pending', 'pending(text)', 'unit', '{requests}', debounce => '10 ms');
  SELECT livefeed.socketio_namespace('/requests', ARRAY['requests:unit:{unit}']);
  SELECT livefeed.socketio_namespace('/mine', ARRAY['orders:user:{user}']);
  SELECT livefeed.socketio_namespace('/counts', ARRAY['pending:unit:{unit}']);
  SELECT livefeed.socketio_event('requests', 'approved', 'request_approved');
  SELECT livefeed.socketio_event('pending', NULL, 'pending_count');
`;
const CURSOR = /^[0-9a-f]{8}-\d+$/;

describe('socket.io', () => {
  let cluster;
  let db;
  let bridge;
  const clients = [];
  let row = 0;

  before(async () => {
    cluster = await Cluster.start();
    db = await cluster.database(COMMANDS + NAMES);
    bridge = await Bridge.start(db);
  });
  after(async () => {
    for (const client of clients) client.leave();
    await bridge?.stop();
    await cluster?.remove();
  });

  const token = (units = [7], more = {}) => db.token('42', { units, ...more });
  async function open(namespace, { origin = bridge.origin, units = [7], ...options } = {}) {
    const client = await Io.open(origin, namespace, { auth: { token: await token(units) }, ...options });
    clients.push(client);
    return client;
  }
  /** Makes a request in a unit; gives its title. */
  async function insert(unit = 7) {
    const title = `request ${++row}`;
    await db.write('INSERT INTO requests (unit_id, title) VALUES ($1, $2)', [unit, title]);
    return title;
  }
  const titled = (title) => (frame) => frame.data?.title === title;

  for (const version of [4, 3]) {
    for (const way of Object.keys(WAYS)) {
      it(`carries socket.io-client ${version} by ${way}: events with their cursor, acks, a large frame`, async () => {
        const client = await open('/requests', { version, way });
        const title = await insert();
        const [, frame, cursor] = await client.next('request.created', titled(title));
        assert.equal(frame.feed, 'requests');
        assert.deepEqual(frame.channels, ['requests:unit:7']);
        assert.equal(idOf(cursor), frame.id);
        assert.match(cursor, CURSOR);
        const large = 'é"\u2028'.repeat(20_000);
        await db.write(`UPDATE requests SET title = $1, status = 'Approved' WHERE title = $2`, [large, title]);
        const [, approved] = await client.next('request_approved', (each) => each.data.title === large);
        assert.equal(approved.type, 'request.updated');
        assert.equal((await client.ask('whoami', {})).data.user, '42');
        if (way === 'upgrade') await until('the WebSocket to carry it', () => client.transport === 'websocket');
        const last = await insert();
        await client.next('request.created', titled(last));
        assert.equal(client.transport, way === 'polling' ? 'polling' : 'websocket');
        assert.deepEqual(client.ends, []);
        client.leave();
      });
    }
  }

  it('loses and doubles nothing while it moves from polling to a WebSocket', async () => {
    const writer = (async () => { for (let n = 0; n < 60; n++) await insert(); })();
    const client = await open('/requests', { way: 'upgrade' });
    await writer;
    await until('the WebSocket to carry it', () => client.transport === 'websocket');
    const last = await insert();
    await client.next('request.created', titled(last));
    const subscribed = client.named('subscribed')[0][1];
    const events = await db.query(`SELECT id FROM livefeed.events(since => $1, feed => 'requests', unit => '7', max => 1000)`, [subscribed.cursor]);
    assert.deepEqual(client.ids(), events.map(({ id }) => Number(id)));
  });

  it('takes the token from auth, the query and the header, the latter two first', async () => {
    const good = await token();
    const ways = [
      { auth: { token: good } }, { auth: (give) => give({ token: good }) },
      { auth: undefined, query: { token: good } }, { auth: { token: 'bad' }, query: { token: good } },
      { auth: undefined, extraHeaders: { Authorization: `Bearer ${good}` } },
    ];
    for (const way of ['polling', 'websocket']) for (const options of ways) (await open('/requests', { way, ...options })).leave();
  });

  it('refuses a bad token and an unknown namespace with CONNECT_ERROR, and keeps the connection for the others', async () => {
    for (const auth of [{ token: 'x.y.z' }, {}, { token: 7 }, undefined]) {
      const client = await Io.open(bridge.origin, '/requests', { auth, connect: false });
      clients.push(client);
      assert.equal(await client.refused(), 'bad_token');
      assert.equal(client.socket.active, false, 'it does not try again by itself');
    }
    const good = await open('/requests', { reconnection: false });
    for (const namespace of ['/nowhere', '/requests/deeper', '/REQUESTS']) {
      assert.equal(await (await open(namespace, { beside: good, connect: false })).refused(), 'Invalid namespace');
    }
    const title = await insert();
    await good.next('request.created', titled(title));
  });

  it('carries several namespaces on one connection, each with its own channels', async () => {
    const first = await open('/requests', { units: [7, 8] });
    const mine = await open('/mine', { beside: first });
    const root = await open('/', { beside: first });
    assert.equal(root.socket._pid, undefined, 'a namespace without channels has nothing to recover');
    assert.deepEqual(new Set(first.named('subscribed').map(([, { channel }]) => channel)), new Set(['requests:unit:7', 'requests:unit:8']));
    await db.write('INSERT INTO orders VALUES (1, 42), (2, 43)');
    const title = await insert(8);
    await first.next('request.created', titled(title));
    await mine.next('order.created');
    assert.deepEqual(mine.named('order.created').map(([, { key }]) => key), ['1']);
    assert.deepEqual(root.told.filter(([name]) => name !== 'welcome'), [], 'the main namespace has none');
    assert.ok(await metric(bridge, 'livefeed_sessions{transport="socketio"}') >= 3);
    mine.leave();
    await db.write('INSERT INTO orders VALUES (3, 42)');
    await first.next('request.created', titled(await insert(7)));
    assert.equal(mine.named('order.created').length, 1, 'one that was left says no more');
    assert.equal(first.socket.connected, true);
  });

  it('sends a value bare, with its channel, under its name', async () => {
    const client = await open('/counts', { units: [77] });
    const [, none, channel, cursor] = await client.next('pending_count');
    assert.deepEqual([none, channel], [0, 'pending:unit:77']);
    assert.match(cursor, CURSOR);
    await insert(77);
    await client.next('pending_count', (n) => n === 1);
  });

  it('subscribes and unsubscribes for the one who asks, with acks; snapshots and resumes', async () => {
    const client = await open('/', { units: [9] });
    const title = await insert(9);
    const subscribed = await client.ask('subscribe', { channel: 'requests:unit:9', snapshot: true });
    assert.equal(subscribed.type, 'subscribed');
    const [, snapshot] = await client.next('snapshot');
    assert.deepEqual(snapshot.data.map((each) => each.title), [title]);
    const next = await insert(9);
    const [, , cursor] = await client.next('request.created', titled(next));
    const ended = await client.ask('unsubscribe', { channel: 'requests:unit:9' });
    assert.deepEqual([ended.type, ended.channel], ['unsubscribed', 'requests:unit:9']);
    const missed = await insert(9);
    assert.equal((await client.ask('subscribe', { channel: 'requests:unit:9', since: cursor })).recovered, true);
    await client.next('request.created', titled(missed));
    const answers = await Promise.all([client.ask('subscribe', { channel: 'requests:unit:7' }), client.ask('subscribe', {}),
      client.ask('subscribe'), client.ask('unsubscribe', {})]);
    assert.deepEqual(answers.map(({ code }) => code), ['forbidden', 'bad_message', 'bad_message', 'bad_message']);
    client.socket.emit('subscribe', { channel: 'nonsense' });
    const [, error] = await client.next('error');
    assert.deepEqual([error.code, error.channel], ['unknown_channel', 'nonsense']);
  });

  it('calls commands: result, error, a cursor that covers the effect, an idempotency key', async () => {
    const client = await open('/requests');
    const title = await insert();
    const [, { data: { id } }] = await client.next('request.created', titled(title));
    const result = await client.ask('rename', { id, title: 'renamed' });
    assert.deepEqual([result.type, result.data], ['result', { id, by: '42' }]);
    const [, renamed, cursor] = await client.next('request.updated', (frame) => frame.key === String(id));
    assert.equal(renamed.updated_by, '42');
    assert.equal(cursor, result.cursor);
    const refused = await Promise.all([client.ask('no_such', {}), client.ask('approve', { id }), client.ask('raise', { state: 'P0001', message: 'no!' }), client.ask('rename', 7)]);
    assert.deepEqual(refused.map(({ code }) => code), ['unknown_command', 'forbidden', 'command_failed', 'bad_message']);
    assert.equal(refused[2].message, 'no!');
    const counted = await Promise.all([1, 2].map(() => client.ask('count_up', {}, { idempotency_key: 'once' })));
    assert.deepEqual(counted.map(({ data }) => data), [counted[0].data, counted[0].data]);
    client.socket.emit('whoami', {}); // nobody asked for the answer
    assert.equal((await client.next('result'))[1].data.user, '42');
  });

  it('recovers what it missed, when the connection breaks and when the bridge is killed and comes back', async () => {
    const own = await Bridge.start(db);
    try {
      const client = await open('/requests', { origin: own.origin, units: [7, 8] });
      const pid = client.socket._pid;
      const titles = [await insert(7)];
      await client.next('request.created', titled(titles[0]));
      client.socket.io.engine.close(); // the network, say
      titles.push(await insert(8), await insert(7));
      await client.connected(2);
      await client.next('request.created', titled(titles[2]));
      await own.kill();
      titles.push(await insert(7), await insert(8));
      await own.again();
      await client.connected(3);
      titles.push(await insert(7));
      await client.next('request.created', titled(titles[5]));
      assert.deepEqual(client.named('request.created').map(([, { data }]) => data.title), titles, 'in order, each once');
      assert.deepEqual(client.recovered, [false, true, true]);
      assert.equal(client.socket._pid, pid);
      const cursors = client.named('request.created').map(([, , cursor]) => idOf(cursor));
      assert.deepEqual(cursors, client.ids());
      client.leave();
    } finally {
      await own.stop();
    }
  });

  it('recovers from the moment it connected, even where nothing had come; and says so where the past is gone', async () => {
    const own = await Bridge.start(db);
    try {
      const client = await open('/requests', { origin: own.origin });
      client.socket._lastOffset = undefined; // as if no event had come
      await own.kill();
      const title = await insert();
      await own.again();
      await client.connected(2);
      await client.next('request.created', titled(title));
      assert.equal(client.socket.recovered, true);
      client.socket._lastOffset = '00000000-5';
      client.socket.io.engine.close();
      await client.connected(3);
      assert.equal(client.socket.recovered, false);
      await client.next('subscribed', ({ reason }) => reason === 'epoch');
      client.socket.io.engine.close();
      await client.connected(4);
      assert.equal(client.socket.recovered, true, 'and goes on from there');
      client.leave();
    } finally {
      await own.stop();
    }
  });

  it('closes the connection when the token expires: the client comes back with a fresh one and misses nothing', async () => {
    const own = await Bridge.start(db, ['--jwt-leeway', '0']);
    try {
      await Promise.all(['websocket', 'polling'].map(async (way) => {
        let short = true; // until it has been connected
        const client = await open('/requests', {
          origin: own.origin, way, connect: false, auth: (give) => { void token([7], { ttl: short ? '3 s' : '15 min' }).then((fresh) => give({ token: fresh })); },
        });
        client.socket.on('connect', () => { short = false; });
        client.socket.on('connect_error', () => client.socket.connect()); // it was over by then
        await client.connected(2);
        assert.equal((await client.next('error'))[1].code, 'bad_token');
        assert.equal((await client.next('closing'))[1].code, 4401);
        assert.deepEqual(client.ends, ['transport close']);
        assert.equal(client.socket.recovered, true);
        const title = await insert();
        await client.next('request.created', titled(title));
        client.leave();
      }));
    } finally {
      await own.stop();
    }
  });

  it('sends DISCONNECT on livefeed.disconnect, with its reason: the client stays away', async () => {
    for (const way of ['websocket', 'polling']) {
      const client = await Io.open(bridge.origin, '/requests', { way, auth: { token: await db.token(`leaver by ${way}`, { units: [7] }) } });
      clients.push(client);
      await db.query('SELECT livefeed.disconnect($1, $2)', [`leaver by ${way}`, 'bye']);
      await until('the end', () => client.ends.length > 0);
      assert.deepEqual(client.ends, ['io server disconnect']);
      assert.deepEqual(client.named('closing').map(([, { code, reason }]) => [code, reason]), [[4403, 'bye']]);
      assert.equal(client.socket.active, false);
    }
  });

  it('tells everybody to go on a shutdown: each comes back to the next bridge and recovers', async () => {
    const own = await Bridge.start(db, ['--drain', '5s']);
    const all = [];
    for (const way of Object.keys(WAYS)) all.push(await open('/requests', { origin: own.origin, way }));
    const idle = await Io.open(own.origin, '/', { auth: { token: 'bad' }, connect: false });
    clients.push(idle);
    await idle.refused();
    assert.equal(await own.end('SIGTERM'), 0);
    const title = await insert();
    await own.again();
    try {
      for (const client of all) {
        await client.connected(2);
        await client.next('request.created', titled(title));
        assert.equal(client.named('closing')[0][1].code, 1001);
        assert.equal(client.socket.recovered, true);
        client.leave();
      }
    } finally {
      await own.stop();
    }
  });

  it('closes who does not read, 4408; it comes back and has missed nothing', async () => {
    const own = await Bridge.start(db, ['--max-queue', '256 KiB', '--history', '1 MiB']);
    try {
      const client = await open('/requests', { origin: own.origin, units: [70] });
      const quick = await open('/requests', { origin: own.origin, units: [70] });
      client.socket.io.engine.transport.ws.pause();
      for (let n = 0; n < 120; n++) {
        await db.write(`INSERT INTO requests (id, unit_id, title) VALUES ($1, 70, repeat('x', 200000))`, [100_000 + n]);
        await quick.next('request.created', (frame) => frame.key === String(100_000 + n));
      }
      await until('the bridge to close it', async () => await metric(own, 'livefeed_sessions_closed_total{code="4408"}') === 1);
      client.socket.io.engine.transport.ws.resume();
      await client.connected(2);
      await client.next('request.created', (frame) => frame.key === '100119');
      assert.deepEqual(client.ids(), quick.ids());
      assert.equal(await metric(own, 'livefeed_sessions_closed_total{code="4408"}'), 1);
      client.leave();
      quick.leave();
    } finally {
      await own.stop();
    }
  });
});
