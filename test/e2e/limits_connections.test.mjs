// Limits of connections: how many in all, of a user, of an address (also behind proxies), and how long one may take to say
// what it wants and who it is. Below each all is well, at it there is one answer, and its metric rises by just that.
// Not here: limits of what a session does (limits_session), floods of half requests (abuse).

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Bridge, freePort } from './lib/bridge.mjs';
import { Client } from './lib/client.mjs';
import { Cluster } from './lib/cluster.mjs';
import { limits, rises } from './lib/limits.mjs';
import { Raw } from './lib/raw.mjs';
import { SCHEMA } from './lib/schema.mjs';
import { until } from './lib/wait.mjs';

describe('limits of connections', () => {
  let cluster;
  let db;
  let bridge;
  let clients = [];
  const bridges = [];

  before(async () => {
    cluster = await Cluster.start();
    db = await cluster.database(SCHEMA);
  });
  after(async () => {
    await leave();
    const ends = await Promise.allSettled(bridges.map((each) => each.stop()));
    await cluster?.remove();
    for (const { status, reason } of ends) if (status === 'rejected') throw reason;
  });

  async function start(...args) {
    await leave();
    bridge = await Bridge.start(db, args);
    bridges.push(bridge);
  }

  async function leave() {
    await Promise.all(clients.map((client) => client.leave()));
    clients = [];
  }

  /** One that is let in; { from: a loopback address, forwarded: what a proxy says }. */
  async function enter(user = 'x', { from, forwarded, headers = {} } = {}) {
    const client = await Client.open(bridge, { token: await db.token(user, { units: [7] }), options: { localAddress: from }, headers: { ...(forwarded === undefined ? {} : { 'X-Forwarded-For': forwarded }), ...headers } });
    clients.push(client);
    assert.equal((await client.ask({ type: 'ping' })).type, 'pong');
    return client;
  }

  /** One that is told to go: the frames it got, the close. */
  async function refused(user = 'x', { from, forwarded } = {}) {
    const client = await Client.open(bridge, { token: await db.token(user), welcome: false, options: { localAddress: from }, headers: forwarded === undefined ? {} : { 'X-Forwarded-For': forwarded } });
    assert.equal(client.refused, null, 'a page cannot read the status of a refused handshake');
    await client.close(4429);
    assert.ok(!client.frames.some(({ type }) => type === 'welcome'));
    return client;
  }

  /** The bridge has noticed that they are gone. */
  const gone = (n) => until('the bridge to know who is left', async () => {
    const { body } = await bridge.get('/metrics');
    return [...body.matchAll(/^livefeed_sessions\{transport="[a-z]+"\} (\d+)$/gm)].reduce((sum, [, each]) => sum + Number(each), 0) === n;
  });

  it('--max-connections: in all', async () => {
    await start('--max-connections', '3');
    await rises(bridge, {}, async () => {
      for (const user of ['a', 'b', 'c']) await enter(user);
    });
    await rises(bridge, { 'max-connections': 2 }, async () => {
      assert.match((await refused('d')).closed.reason, /too many connections/);
      await refused('d');
    });
    assert.equal((await bridge.get('/healthz')).status, 200, 'health can still be asked');
    await clients.pop().leave();
    await gone(2);
    await rises(bridge, {}, () => enter('d'));
    for (const client of clients) assert.equal(client.closed, null);
  });

  it('--max-connections-per-user: of one user, who has more than one token', async () => {
    await start('--max-connections-per-user', '2');
    await rises(bridge, {}, async () => { await enter('a'); await enter('a'); await enter('b'); });
    await rises(bridge, { 'max-connections-per-user': 1 }, async () => {
      const { frames, closed } = await refused('a');
      assert.deepEqual(frames.map(({ type, code }) => [type, code]), [['error', 'rate_limited']]);
      assert.match(closed.reason, /too many connections of this user/);
    });
    // Who was refused does not count; one that leaves makes room.
    await clients.shift().leave();
    await gone(2);
    await rises(bridge, {}, () => enter('a'));
    await rises(bridge, { 'max-connections-per-user': 1 }, () => refused('a'));
    // A session without a token is nobody's.
    const nobody = await Client.open(bridge, {});
    clients.push(nobody);
    await rises(bridge, { 'max-connections-per-user': 1 }, async () => {
      nobody.send({ type: 'auth', token: await db.token('a') });
      await nobody.close(4429);
    });
  });

  describe('--max-connections-per-address', () => {
    const PER = '--max-connections-per-address';
    /** Two come from there, the third is refused. */
    async function two(how, again = how) {
      await rises(bridge, {}, async () => { await enter('a', how); await enter('b', how); });
      await rises(bridge, { 'max-connections-per-address': 1 }, async () => {
        assert.match((await refused('c', again)).closed.reason, /too many connections from this address/);
      });
    }

    it('counts each address for itself', async () => {
      await start(PER, '2');
      await two({ from: '127.0.0.1' });
      await two({ from: '127.0.0.2' });
      await clients.shift().leave();
      await gone(3);
      await rises(bridge, {}, () => enter('a', { from: '127.0.0.1' }));
      await rises(bridge, { 'max-connections-per-address': 1 }, () => refused('a', { from: '127.0.0.1' }));
    });

    it('does not look at what a peer says that is no trusted proxy', async () => {
      await start(PER, '2', '--trusted-proxies', '127.0.0.9');
      await two({ from: '127.0.0.1', forwarded: '10.0.0.1' }, { from: '127.0.0.1', forwarded: '10.0.0.2' });
      assert.equal((await limits(bridge))['max-connections-per-address'], 1);
      await start(PER, '2'); // none is trusted
      await two({ forwarded: '10.0.0.1' }, { forwarded: '127.0.0.1' });
    });

    it('counts whom a trusted proxy names', async () => {
      await start(PER, '2', '--trusted-proxies', '127.0.0.1');
      await two({ forwarded: '10.0.0.1' });
      await two({ forwarded: '10.0.0.2' });
      await two({}); // the proxy for itself: its health check, say
      await two({ from: '127.0.0.2', forwarded: '10.0.0.3' }, { from: '127.0.0.2' });
    });

    it('takes the last that is no proxy of ours: what stands before it was written by anybody', async () => {
      await start(PER, '2', '--trusted-proxies', '127.0.0.1,192.168.0.0/16,fd00::/8');
      await rises(bridge, {}, async () => {
        await enter('a', { forwarded: '1.1.1.1, 10.0.0.1' });
        await enter('b', { forwarded: '2.2.2.2,3.3.3.3 ,10.0.0.1' });
      });
      await rises(bridge, { 'max-connections-per-address': 3 }, async () => {
        await refused('c', { forwarded: '4.4.4.4, 10.0.0.1' });
        await refused('c', { forwarded: '10.0.0.1, 192.168.3.4' }); // a chain of our proxies
        await refused('c', { forwarded: '127.0.0.1, 10.0.0.1, 192.168.3.4, fd00::5, 192.168.9.9' });
      });
      // One that would pass for a proxy of ours is not believed behind an address that is none.
      await two({ forwarded: '192.168.0.1, 10.0.0.7' }, { forwarded: '192.168.0.2, 10.0.0.7' });
    });

    it('takes several headers for one', async () => {
      await start(PER, '2', '--trusted-proxies', '127.0.0.1');
      const handshake = async (...addresses) => {
        const raw = await Raw.websocket(bridge, await db.token('x'), { headers: addresses.map((address) => `X-Forwarded-For: ${address}`) });
        await until('an answer', () => raw.frames().length > 0 || raw.ended);
        return raw;
      };
      const raws = [await handshake('1.1.1.1', '10.0.0.1'), await handshake('2.2.2.2', '10.0.0.1'), await handshake('3.3.3.3', '10.0.0.1')];
      const last = raws.pop();
      // Either they are read as one list, or not at all: never only the first, which is the client's own.
      if (raws.every((raw) => raw.answer.status === 101)) assert.equal((await last.close()).code, 4429);
      else assert.ok(raws.every((raw) => raw.answer.status === 400));
      for (const raw of [...raws, last]) raw.leave();
    });

    it('knows an address however it is written', async () => {
      await start(PER, '2', '--trusted-proxies', '127.0.0.1');
      for (const [one, other, third] of [
        ['2001:db8::1', '2001:DB8:0:0:0:0:0:1', '[2001:db8::1]:4711'],
        ['10.1.0.1', '10.1.0.1:5555', '::ffff:10.1.0.1'],
      ]) {
        await rises(bridge, {}, async () => { await enter('a', { forwarded: one }); await enter('b', { forwarded: other }); });
        await rises(bridge, { 'max-connections-per-address': 1 }, () => refused('c', { forwarded: third }));
      }
      await rises(bridge, {}, () => enter('a', { forwarded: '2001:db8::2' }));
    });

    it('counts the proxy where what it says is no address', async () => {
      await start(PER, '2', '--trusted-proxies', '127.0.0.1');
      await rises(bridge, {}, async () => { await enter('a', { forwarded: 'unknown' }); await enter('b', { forwarded: '10.0.0.1, _hidden' }); });
      await rises(bridge, { 'max-connections-per-address': 4 }, async () => {
        for (const forwarded of ['', '10.0.0.1.', '999.0.0.1', 'x'.repeat(300)]) await refused('c', { forwarded });
      });
      const chain = Array(100).fill('127.0.0.1').join(', ');
      await rises(bridge, { 'max-connections-per-address': 1 }, () => refused('c', { forwarded: `10.0.0.1, ${chain}` }));
    });

    it('counts IPv6 peers', async () => {
      await leave();
      const port = await freePort();
      bridge = await Bridge.start(db, ['--listen', `127.0.0.1:${port},[::1]:${port}`, PER, '2'], { port });
      bridges.push(bridge);
      const six = new URL(bridge.origin);
      six.hostname = '[::1]';
      const come = async () => Client.open({ origin: six.origin }, { token: await db.token('x'), welcome: false });
      clients.push(await come(), await come());
      for (const client of clients) await client.next('welcome');
      await rises(bridge, { 'max-connections-per-address': 1 }, async () => (await come()).close(4429));
      await rises(bridge, {}, () => enter());
    });
  });

  it('--handshake-timeout: a request that is not complete in time', async () => {
    await start('--handshake-timeout', '5s'); // none of the others here takes as long
    const client = await enter();
    const halves = ['', 'G', 'GET /ws HTTP/1.1\r\nHost: x\r\n', 'GET /ws HTTP/1.1\r\nHost: x\r\nX: y\r\n\r'];
    await rises(bridge, { 'handshake-timeout': halves.length + 1 }, async () => {
      const raws = await Promise.all(halves.map(async (half) => {
        const raw = await Raw.connect(bridge);
        await raw.send(half);
        return raw;
      }));
      // One byte after the other does not make it longer.
      const slow = await Raw.connect(bridge);
      await until('the end of a slow one', async () => { await slow.send('G'); return slow.ended; });
      await Promise.all(raws.map((raw) => raw.gone()));
      for (const raw of [...raws, slow]) assert.equal(raw.received.length, 0);
    });
    // A session that is there stays, also over the time.
    assert.equal((await client.ask({ type: 'ping' })).type, 'pong');
  });

  it('--idle-auth: no token in time', async () => {
    await start('--idle-auth', '500ms');
    await rises(bridge, { 'idle-auth': 1 }, async () => {
      const client = await Client.open(bridge, {});
      const error = await client.next('error');
      assert.equal(error.code, 'bad_token');
      await client.close(4401);
    });
    const client = await enter();
    await rises(bridge, { 'idle-auth': 1 }, async () => {
      const other = await Client.open(bridge, {});
      await other.close(4401);
    });
    assert.equal((await client.ask({ type: 'ping' })).type, 'pong', 'who has brought one stays');
  });
});
