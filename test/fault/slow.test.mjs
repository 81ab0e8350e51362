// A client that stops reading is closed with 4408, comes back and has everything; the
// others are not disturbed, and one that never reads again costs the bridge nothing
// that grows. The line in between is a fast one. Not here: the sizes of queues as such (test/unit).

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Cluster, idOf } from '../e2e/lib/cluster.mjs';
import { Bridge } from '../e2e/lib/bridge.mjs';
import { Client } from '../e2e/lib/client.mjs';
import { until, within, SLOW } from '../e2e/lib/wait.mjs';
import { Checker } from './lib/checker.mjs';
import { seeded } from './lib/random.mjs';
import { held, tearDown } from './lib/scene.mjs';
import { Session, startSessions } from './lib/session.mjs';
import { SCHEMA } from './lib/writer.mjs';

// The kernel takes 4 to 10 MB for a client that does not read; this is 90 MB, however long FAULT_SECONDS is. The next transaction
// waits until the quick ones have this: less than their queue holds, so that they may stand still as this process may.
const MAX_QUEUE = '256KiB';
const ROW_BYTES = 50_000;
const ROWS = 5;
const TRANSACTIONS = 360;
// A stalled replay is closed after 10 s; who reads again within the 4 s that follow sees the code.
const STALL_MS = 12_500;
const QUICK_LIMIT_MS = 9000 * SLOW; // a stalled client is closed after 10 s
const RID_OF_MS = 40_000 * SLOW;
const MEMORY_LIMIT_KB = 120_000;

describe('slow clients', () => {
  let cluster;
  let db;
  let bridge;

  before(async () => {
    cluster = await Cluster.start();
    db = await cluster.database(SCHEMA);
    bridge = await Bridge.start(db, ['--max-queue', MAX_QUEUE, '--history', '1MiB', '--log-format', 'json']);
  });
  after(async () => {
    await tearDown([bridge], cluster);
  });

  /** One transaction of large rows, recorded. */
  async function write(checker, name) {
    const tx = checker.transaction(name);
    const client = await db.app();
    await client.query('BEGIN');
    await client.query('INSERT INTO ledger VALUES ($1)', [name]);
    const sent = performance.now();
    await client.query(`INSERT INTO items SELECT $1 || '-' || n, 1, 1, $1, n, repeat('x', $2) FROM generate_series(1, ${ROWS}) n`, [name, ROW_BYTES]);
    for (let n = 1; n <= ROWS; n++) tx.add({ step: tx.number(), feed: 'items', key: `${name}-${n}`, kind: 'created', unit: '1', version: 1 }, sent);
    await client.query('COMMIT');
    tx.end('committed');
  }

  it('are closed with 4408 and lose nothing; the others are not disturbed', async () => {
    const random = seeded('slow');
    const checker = new Checker();
    const since = await db.head();
    const session = async (name, more) => new Session({
      name, since, checker, bridges: [bridge], random: random.child(name), token: await db.token(name, { units: [1], ttl: '1 day' }),
      channels: ['items:unit:1'], ...more,
    });
    const slow = [await session('slow1', { stay: 200, stall: STALL_MS }), await session('slow2', { stay: 1500, stall: STALL_MS })];
    const awaited = new Map(); // who waits for an event, and what comes when it is here
    const onEvent = ({ key }, reader) => { if (awaited.get(reader)?.key === key) awaited.get(reader).came(); };
    const quick = [await session('quick1', { stay: Infinity, onEvent }), await session('quick2', { stay: Infinity, onEvent })];
    const coming = (reader, key) => within(`${reader.name} to have ${key}`, new Promise((came) => { awaited.set(reader, { key, came }); }), QUICK_LIMIT_MS);
    const house = startSessions([...slow, ...quick]);
    const never = [];
    for (let n = 0; n < 3; n++) {
      const client = await Client.open(bridge, { token: await db.token(`never${n}`, { units: [1] }) });
      await client.subscribe('items:unit:1');
      client.socket.pause();
      never.push(client);
    }
    const sessionsNow = () => db.value('SELECT sum(sessions)::integer FROM livefeed.bridges');

    try {
      let slowest = 0;
      let peak = 0;
      let last;
      for (let n = 1; n <= TRANSACTIONS; n++) {
        const began = performance.now();
        last = `t${n}-${ROWS}`;
        await Promise.all([write(checker, `t${n}`), ...quick.map((reader) => coming(reader, last))]);
        slowest = Math.max(slowest, performance.now() - began);
        peak = Math.max(peak, (await held(bridge.process.pid)).rss);
      }
      // Who begins to stall when little is left finds all of it in the kernel's buffers, and is not closed.
      // One that begins to read again when the bridge has already hung up on it does not see the code: then the bridge's log has it.
      const told = (name) => bridge.log.split('\n').some((line) => line.includes('"session closed') && line.includes('"code":"4408"') && line.includes(`"user":"${name}"`));
      const closed = ({ stream, name }) => stream.closes.get(4408) > 0 || told(name);
      for (const reader of slow) await until(`${reader.name} to be closed with 4408, or to have all (${[...reader.stream.closes]})`, () => closed(reader) || reader.heard?.frame.key === last, RID_OF_MS);
      assert.ok(slow.some(closed), 'a slow client is closed with 4408');
      await house.settle(idOf(await db.head()));
      await until('the bridge to be rid of who never reads', async () => (await sessionsNow()) === slow.length + quick.length, RID_OF_MS).catch(async (error) => { error.message += `: ${await sessionsNow()}`; throw error; });
      await house.end();
      await checker.settle(db);
      const defects = checker.defects();
      console.log('slow:', JSON.stringify({ ...checker.figures(), slowestMs: Math.round(slowest), peakKb: peak }));
      assert.deepEqual(defects, []);
      for (const { stream, name } of quick) assert.equal(stream.resumes, 1, `${name} was disturbed`);
      assert.ok(peak < MEMORY_LIMIT_KB, `the bridge grew to ${peak} kB`);
      // Who reads at last finds the close.
      for (const client of never) {
        client.socket.resume();
        await until('the close', () => client.closed);
      }
    } finally {
      for (const client of never) client.socket.terminate();
      await house.end();
    }
  });
});
