// A transaction that stays open delays nobody; its own events arrive when it commits.
// Open at the same time: one that wrote, one that only holds a snapshot, one that is
// prepared. Not here: rotation of the log under such a transaction (specs/).

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { Cluster, idOf } from '../e2e/lib/cluster.mjs';
import { Bridge } from '../e2e/lib/bridge.mjs';
import { Client } from '../e2e/lib/client.mjs';
import { SLOW } from '../e2e/lib/wait.mjs';
import { Checker } from './lib/checker.mjs';
import { seconds, seeded } from './lib/random.mjs';
import { tearDown } from './lib/scene.mjs';
import { Session, startSessions } from './lib/session.mjs';
import { FEEDS, SCHEMA, startWriters } from './lib/writer.mjs';

// Waiting for the oldest transaction would cost its whole length; a lost wake costs a second.
const LIMIT_MEDIAN_MS = 200 * SLOW;
const LIMIT_MAX_MS = 15_000 * SLOW; // it is held until the last of them was there: who waits for it waits for ever
const OWN_EVENTS_MS = 15_000 * SLOW;

describe('a long transaction', () => {
  let cluster;
  let db;
  let bridge;

  before(async () => {
    cluster = await Cluster.start();
    db = await cluster.database(SCHEMA);
    bridge = await Bridge.start(db);
  });
  after(async () => {
    await tearDown([bridge], cluster);
  });

  it('delays nobody, and its own events arrive when it commits', async () => {
    const random = seeded('longtx');
    const checker = new Checker();
    const since = await db.head();
    const sessions = [];
    for (const unit of [1, 2]) {
      for (const [name, stay] of [['stays', Infinity], ['comes and goes', 700]]) {
        sessions.push(new Session({
          name: `${name} ${unit}`, since, checker, bridges: [bridge], random: random.child(name + unit), stay,
          token: await db.token(name, { units: [unit], ttl: '1 day' }), channels: FEEDS.map((feed) => `${feed}:unit:${unit}`),
        }));
      }
    }
    const house = startSessions(sessions);

    // Recorded with the checker like every other.
    const held = async (name) => {
      const client = await db.connect();
      const tx = checker.transaction(name);
      const change = async (key, unit) => {
        const step = tx.number();
        const sent = performance.now();
        await client.query(`INSERT INTO items VALUES ($1, $2, 1, $3, $4, 'held')`, [key, unit, name, step]);
        tx.add({ step, feed: 'items', key, kind: 'created', unit: String(unit), version: 1 }, sent);
      };
      await client.query('BEGIN');
      await client.query('INSERT INTO ledger VALUES ($1)', [name]);
      await change(`${name}-first`, 1);
      await change(`${name}-second`, 2);
      return { client, tx, change };
    };
    const open = await held('open');
    const prepared = await held('prepared');
    await prepared.client.query(`PREPARE TRANSACTION 'held'`);
    const reader = await db.connect();
    await reader.query('BEGIN ISOLATION LEVEL REPEATABLE READ');
    await reader.query('SELECT count(*) FROM items');

    const watcher = await Client.open(bridge, { token: await db.token('watcher', { units: [7] }) });
    await watcher.subscribe('items:unit:7');
    const writers = startWriters(3, { db, checker, random, units: [1, 2] });
    const writer = await db.connect();
    const latencies = [];
    const end = performance.now() + seconds(5) * 1000;
    try {
      while (performance.now() < end) {
        const key = `probe-${latencies.length}`;
        await writer.query(`INSERT INTO items VALUES ($1, 7, 1, 'probe', 1, '')`, [key]);
        const committed = performance.now();
        await watcher.next({ key }, LIMIT_MAX_MS);
        latencies.push(performance.now() - committed);
        await pause(20); // a change every 20 ms or so, for as long as the transaction is held
      }
      latencies.sort((a, b) => a - b);
      const [median, max] = [latencies[latencies.length >> 1], latencies.at(-1)].map((ms) => Math.round(ms * 10) / 10);
      console.log(`longtx: ${latencies.length} events beside it: median ${median} ms, slowest ${max} ms`);
      assert.ok(median < LIMIT_MEDIAN_MS, `median ${median} ms`);

      // Ids so far say nothing of those that are still open.
      const head = idOf(await db.head());
      await open.change('open-last', 1);
      const own = await Client.open(bridge, { token: await db.token('own', { units: [1, 2] }) });
      await own.subscribe('items:unit:1');
      await own.subscribe('items:unit:2');
      await open.client.query('COMMIT');
      open.tx.end('committed');
      const arrived = await own.next({ key: 'open-last' }, OWN_EVENTS_MS);
      const events = own.events().filter(({ key }) => key.startsWith('open-'));
      assert.deepEqual(events.map(({ key }) => key), ['open-first', 'open-second', 'open-last']);
      assert.ok(events[0].id > head, 'they come when it commits, after the others');
      assert.equal(arrived.id - events[0].id, 2, 'together');
      await writer.query(`COMMIT PREPARED 'held'`);
      prepared.tx.end('committed');
      await own.next({ key: 'prepared-second' }, OWN_EVENTS_MS);
      await own.leave();
      await watcher.leave();

      await writers.stop();
      await house.settle(idOf(await db.head()));
      await house.end();
      await checker.settle(db);
      const defects = checker.defects();
      console.log('longtx:', JSON.stringify(checker.figures()));
      assert.deepEqual(defects, []);
    } finally {
      await writers.stop().catch(() => {});
      await house.end();
    }
  });
});
