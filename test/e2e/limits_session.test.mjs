// Limits of what a session does: subscriptions, size and number of messages, bad messages, bytes that wait for it, its
// length; and of an HTTP request's head and body. Below each all is well, at it there is one answer, and its metric rises by
// just that. And that a client as it should be trips none of them, however often it comes back.
// Not here: limits of connections (limits_connections), frames that break the rules (abuse), queues under load (slow).

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Bridge } from './lib/bridge.mjs';
import { Client, isEvent } from './lib/client.mjs';
import { Cluster, epochOf } from './lib/cluster.mjs';
import { limits, rises } from './lib/limits.mjs';
import { settled } from './lib/metrics.mjs';
import { frame, Raw, TEXT } from './lib/raw.mjs';
import { SCHEMA } from './lib/schema.mjs';
import { until } from './lib/wait.mjs';

const CONTINUATION = 0;

describe('limits of a session', () => {
  let cluster;
  let db;
  let bridge;
  let clients = [];
  const bridges = [];

  before(async () => {
    cluster = await Cluster.start();
    db = await cluster.database(SCHEMA);
    await db.write(`INSERT INTO requests (id, unit_id, title) SELECT n, n, 'row' FROM generate_series(1, 100) n`);
    await db.head(); // so that these events are no test's
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

  const units = Array.from({ length: 100 }, (_, n) => n + 1);

  async function enter(user = 'x') {
    const client = await Client.open(bridge, { token: await db.token(user, { units }) });
    clients.push(client);
    return client;
  }

  const alive = async (client) => assert.equal((await client.ask({ type: 'ping' })).type, 'pong');

  it('--max-subscriptions', async () => {
    await start('--max-subscriptions', '3');
    const client = await enter();
    await rises(bridge, {}, async () => {
      for (const n of [1, 2, 3]) await client.subscribe(`requests:unit:${n}`);
      await client.subscribe('requests:unit:2'); // again: that is no fourth
    });
    await rises(bridge, { 'max-subscriptions': 2 }, async () => {
      for (let n = 0; n < 2; n++) assert.equal(await client.refusedSubscribe('requests:unit:4'), 'too_many_subscriptions');
    });
    await rises(bridge, {}, async () => {
      assert.equal((await client.ask({ type: 'unsubscribe', channel: 'requests:unit:2' })).type, 'unsubscribed');
      await client.subscribe('requests:unit:4');
      await db.write(`UPDATE requests SET title = title || '.' WHERE id IN (2, 4)`);
      await client.caughtUp(db);
    });
    assert.deepEqual(client.events().map(({ key }) => key), ['4']);
    // Also while they are under way: row channels wait for the database.
    const other = await enter();
    await rises(bridge, { 'max-subscriptions': 2 }, async () => {
      for (let n = 1; n <= 5; n++) other.send({ type: 'subscribe', ref: n, channel: `requests:row:${n}` });
      const answers = [];
      for (let n = 1; n <= 5; n++) answers.push(await other.take());
      assert.deepEqual(answers.filter(({ type }) => type === 'error').map(({ ref, code }) => [ref, code]), [[4, 'too_many_subscriptions'], [5, 'too_many_subscriptions']]);
      assert.equal(answers.filter(({ type }) => type === 'subscribed').length, 3);
    });
  });

  it('--max-message: alone, and fragments summed', async () => {
    const MAX = 2048;
    await start('--max-message', String(MAX));
    const message = (bytes) => { const text = JSON.stringify({ type: 'ping', ref: 1, pad: '' }); return text.replace('"pad":""', `"pad":"${'x'.repeat(bytes - text.length)}"`); };
    const pieces = (text, size) => Array.from({ length: Math.ceil(text.length / size) }, (_, n) => text.slice(n * size, (n + 1) * size));
    const fragments = (text, size) => Buffer.concat(pieces(text, size).map((piece, n, all) => frame(n === 0 ? TEXT : CONTINUATION, piece, { fin: n === all.length - 1 })));
    const send = async (bytes) => {
      const raw = await Raw.websocket(bridge, await db.token('x'));
      await raw.message({ type: 'welcome' });
      await raw.send(bytes);
      return raw;
    };
    const good = [frame(TEXT, message(MAX)), fragments(message(MAX), 500), fragments(message(MAX), MAX - 1)];
    await rises(bridge, {}, async () => {
      for (const bytes of good) {
        const raw = await send(bytes);
        await raw.message({ type: 'pong' });
        raw.leave();
      }
    });
    const bad = [frame(TEXT, message(MAX + 1)), fragments(message(MAX + 1), 500), fragments(message(MAX + 1), MAX), frame(TEXT, message(60_000)), frame(TEXT, 'x', { length: MAX + 1 }),
      Buffer.concat([frame(TEXT, 'x'.repeat(MAX), { fin: false }), frame(CONTINUATION, '', { fin: false }), frame(CONTINUATION, 'y', { fin: false })])];
    await rises(bridge, { 'max-message': bad.length }, async () => {
      for (const [n, bytes] of bad.entries()) {
        const raw = await send(bytes);
        assert.equal((await raw.close())?.code, 1009, `${n}`);
        assert.ok(raw.messages().some(({ type, code }) => type === 'error' && code === 'too_large'), `${n}`);
        assert.ok(!raw.messages().some(({ type }) => type === 'pong'), `${n}`);
        raw.leave();
      }
    });
  });

  it('--rate: a bucket of rate and max-subscriptions', async () => {
    const [RATE, SUBSCRIPTIONS, BAD] = [1, 9, 20];
    await start('--rate', `${RATE}/s`, '--max-subscriptions', String(SUBSCRIPTIONS), '--max-bad-messages', String(BAD));
    const ping = frame(TEXT, '{"type":"ping","ref":1}');
    const burst = async (n) => {
      const raw = await Raw.websocket(bridge, await db.token('x'));
      await raw.message({ type: 'welcome' });
      await raw.send(Buffer.concat(Array(n).fill(ping)));
      return raw;
    };
    const count = (raw, match) => raw.messages().filter(match).length;
    const pong = ({ type }) => type === 'pong';
    const limited = ({ type, code, ref }) => type === 'error' && code === 'rate_limited' && ref === 1;
    // A whole bucket at once, and then what the seconds bring.
    await rises(bridge, {}, async () => {
      const raw = await burst(RATE + SUBSCRIPTIONS);
      await until('all answers', () => count(raw, pong) === RATE + SUBSCRIPTIONS);
      const from = Date.now();
      await until('the bucket to fill', () => Date.now() - from > 1000 * RATE + 200);
      await raw.send(Buffer.concat(Array(RATE).fill(ping)));
      await until('two more', () => count(raw, pong) === 2 * RATE + SUBSCRIPTIONS);
      assert.equal(raw.ended, false);
      raw.leave();
    });
    // Some too many are told, and the session goes on.
    const before_ = await limits(bridge);
    const over = await burst(RATE + SUBSCRIPTIONS + BAD);
    await until('an answer to each', () => count(over, pong) + count(over, limited) === RATE + SUBSCRIPTIONS + BAD);
    assert.ok(count(over, limited) >= 1);
    assert.equal((await limits(bridge)).rate - before_.rate, count(over, limited));
    assert.equal(over.ended, false);
    over.leave();
    // Who goes on all the same is closed.
    const flood = await burst(10 * (RATE + SUBSCRIPTIONS));
    assert.equal((await flood.close()).code, 4429);
    assert.equal(count(flood, limited), BAD + 1);
    const now = await limits(bridge);
    assert.equal(now.rate - before_.rate, count(over, limited) + BAD + 1);
    assert.equal(now['max-bad-messages'], before_['max-bad-messages']);
    flood.leave();
  });

  it('--max-bad-messages', async () => {
    await start('--max-bad-messages', '4');
    const client = await enter();
    const bad = ['nonsense', '[]', { type: 'dance' }, { type: 'subscribe' }];
    await rises(bridge, {}, async () => {
      for (const message of bad) {
        client.send(message);
        assert.equal((await client.next('error')).code, 'bad_message');
        await alive(client);
      }
      assert.equal(await client.refusedSubscribe('requests:unit:999'), 'forbidden'); // a refusal is no bad message
      await alive(client);
    });
    await rises(bridge, { 'max-bad-messages': 1 }, async () => {
      client.send('one more');
      assert.equal((await client.next('error')).code, 'bad_message');
      await client.close(4400);
    });
  });

  it('--max-session', async () => {
    await start('--max-session', '6s');
    const began = Date.now();
    await rises(bridge, { 'max-session': 1 }, async () => {
      await (await enter()).close(4409);
    });
    assert.ok(Date.now() - began >= 5000, 'not before');
    const [client] = clients;
    // It comes back and has lost nothing.
    const since = client.welcome.cursor;
    await db.write(`UPDATE requests SET title = 'while away' WHERE id = 9`);
    const again = await enter();
    await again.subscribe('requests:unit:9', { since });
    assert.equal((await again.next(isEvent)).key, '9');
  });

  it('--max-queue: bytes that wait for who does not read', async () => {
    await start('--max-queue', '64KiB');
    const [reads, never] = [await enter(), await enter()];
    for (const client of [reads, never]) await client.subscribe('requests:unit:50');
    const large = (n, bytes) => db.write(`UPDATE requests SET title = $1 || repeat('x', $2) WHERE id = 50`, [`${n}-`, bytes]);
    // As many bytes as the bound at once, and many times that to one that reads.
    await rises(bridge, {}, async () => {
      for (let n = 0; n < 20; n++) {
        await large(n, 60_000);
        for (const client of [reads, never]) await client.caughtUp(db);
      }
    });
    assert.equal(reads.events().length, 20);
    never.socket.pause();
    // The kernels' buffers take some megabytes first.
    await rises(bridge, { 'max-queue': 1 }, async () => {
      for (let n = 0; n < 400 && (await limits(bridge))['max-queue'] === 0; n++) {
        await db.write(`UPDATE requests SET title = $1 || repeat('x', 200000) WHERE id = 50`, [`b${n}-`]);
        await reads.caughtUp(db);
      }
      never.socket.resume(); // it has seconds to take the close frame
    });
    await reads.caughtUp(db);
    const have = reads.events().length;
    await never.close(4408);
    // What it has is the beginning, without a gap; with its cursor it gets the rest.
    const got = never.events();
    assert.deepEqual(got.map(({ id }) => id), reads.events().slice(0, got.length).map(({ id }) => id));
    const again = await enter();
    await again.subscribe('requests:unit:50', { since: `${epochOf(again.welcome.cursor)}-${got.at(-1).id}` });
    await again.caughtUp(db);
    assert.equal(got.length + again.events().length, have);
    assert.equal(reads.closed, null);
  });

  it('--max-header and --max-body', async () => {
    const HEADER = 2048;
    await start('--max-header', String(HEADER), '--max-body', '4096');
    const exchange = async (head, bytes, body = '') => {
      const request = `${head}\r\nHost: x\r\nX: `;
      const raw = await Raw.connect(bridge);
      await raw.send(`${request}${'x'.repeat(bytes - request.length - 4)}\r\n\r\n${body}`);
      const answer = await raw.response();
      raw.leave();
      return answer;
    };
    await rises(bridge, {}, async () => {
      assert.equal((await exchange('GET /healthz HTTP/1.1', HEADER)).status, 200);
    });
    await rises(bridge, { 'max-header': 3 }, async () => {
      for (const bytes of [HEADER + 1, HEADER + 100, 60_000]) {
        const answer = await exchange('GET /healthz HTTP/1.1', bytes);
        assert.equal(answer.status, 431);
        assert.equal(JSON.parse(answer.body).error.code, 'too_large');
      }
    });
    // A body is not taken anywhere yet; one that would be too large anyway says so.
    await rises(bridge, {}, async () => {
      assert.equal((await exchange('POST /healthz HTTP/1.1\r\nContent-Length: 4', 200, 'abcd')).status, 405);
      assert.equal((await exchange('GET /healthz HTTP/1.1\r\nContent-Length: 4096', 200, 'x'.repeat(4096))).status, 400);
    });
    await rises(bridge, { 'max-body': 2 }, async () => {
      for (const length of [4097, 4_000_000_000]) {
        const answer = await exchange(`POST /healthz HTTP/1.1\r\nContent-Length: ${length}`, 200);
        assert.equal(answer.status, 413);
        assert.equal(JSON.parse(answer.body).error.code, 'too_large');
      }
    });
  });

  describe('a session of 100 subscriptions', () => {
    const TIMES = 15;
    for (const [name, channel] of [['unit channels', (n) => `requests:unit:${n}`], ['row channels', (n) => `requests:row:${n}`], ['row and unit channels', (n) => (n % 2 ? `requests:row:${n}` : `requests:unit:${n}`)]]) {
      it(`reconnects many times in a row and trips no limit: ${name}`, async () => {
        await start();
        await settled(bridge, db); // what the last one wrote is no event of this one
        const token = await db.token('x', { units });
        const seen = new Map(units.map((n) => [channel(n), []]));
        const cursors = new Map(units.map((n) => [channel(n), undefined]));
        await rises(bridge, {}, async () => {
          for (let time = 0; time < TIMES; time++) {
            const client = await Client.open(bridge, { token });
            // All at once, as a client does on coming back; each from its own cursor.
            let ref = 0;
            for (const [each, since] of cursors) client.send({ type: 'subscribe', ref: `s${++ref}`, channel: each, ...(since ? { since } : {}) });
            await until('all to be subscribed', () => client.closed || client.frames.filter(({ type }) => type === 'subscribed').length === 100);
            assert.equal(client.closed, null);
            assert.deepEqual(client.frames.filter(({ type, recovered }) => type === 'error' || recovered === false), []);
            await db.write('UPDATE requests SET title = $1', [`live ${time}`]);
            await client.caughtUp(db);
            for (const event of client.events()) for (const each of event.channels) {
              seen.get(each).push(event.data.title);
              cursors.set(each, `${epochOf(client.welcome.cursor)}-${event.id}`);
            }
            client.socket.terminate();
            await db.write('UPDATE requests SET title = $1', [`away ${time}`]);
          }
        });
        const wanted = Array.from({ length: TIMES }, (_, time) => [`live ${time}`, `away ${time}`]).flat().slice(0, -1);
        for (const [each, titles] of seen) assert.deepEqual(titles, wanted, each);
      });
    }
  });
});
