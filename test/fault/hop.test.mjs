// Two bridges at one database, one of them stopped (SIGSTOP) now and then: sessions
// that hop between them with their cursor lose nothing, and events go on flowing while
// the bridge that ticks stands still, however much is on its way to it.
// Not here: bridges that die (storm).

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { Cluster, idOf } from '../e2e/lib/cluster.mjs';
import { Bridge } from '../e2e/lib/bridge.mjs';
import { Client } from '../e2e/lib/client.mjs';
import { until, SLOW } from '../e2e/lib/wait.mjs';
import { Checker } from './lib/checker.mjs';
import { lasting, repeatedly, seconds, seeded } from './lib/random.mjs';
import { tearDown } from './lib/scene.mjs';
import { Session, startSessions } from './lib/session.mjs';
import { FEEDS, SCHEMA, startWriters } from './lib/writer.mjs';

const WRITERS = 4;
const SESSIONS = 8;
const UNITS = [1, 2, 3, 4];
// A bridge that looks once a second ticks what has waited for over a second.
const TAKEOVER_MS = 5000 * SLOW;
const QUICK_MS = 900 * SLOW;

describe('two bridges', () => {
  let cluster;
  let db;
  const bridges = [];

  before(async () => {
    cluster = await Cluster.start();
    db = await cluster.database(SCHEMA);
    for (let n = 0; n < 2; n++) bridges.push(await Bridge.start(db));
  });
  after(async () => {
    for (const bridge of bridges) bridge.process.kill('SIGCONT');
    await tearDown(bridges, cluster);
  });

  /** The bridge that ticks, and the other. */
  async function ticker() {
    const pid = await until('one of the bridges to tick', async () => {
      // One that was stopped may still say so of itself: the latest word counts.
      const [last] = await db.query('SELECT pid FROM livefeed.bridges WHERE ticker ORDER BY seen_at DESC LIMIT 1');
      return bridges.some((bridge) => bridge.process.pid === last?.pid) ? last.pid : null;
    });
    return bridges[0].process.pid === pid ? bridges : [...bridges].reverse();
  }

  async function freeze(bridge, work) {
    bridge.process.kill('SIGSTOP');
    try {
      return await work();
    } finally {
      bridge.process.kill('SIGCONT');
    }
  }

  const insert = (id, body) => db.write(`INSERT INTO items VALUES ($1, 1, 1, 't', 1, $2)`, [id, body]);

  it('goes on ticking while the ticker is stopped', async () => {
    const [stopped, awake] = await ticker();
    const client = await Client.open(awake, { token: await db.token('a', { units: [1] }) });
    await client.subscribe('items:unit:1');
    await freeze(stopped, async () => {
      // Its backend still makes one tick; what comes then has to wait for another bridge to take over.
      const took = [];
      for (let n = 1; n <= 20; n++) {
        const began = performance.now();
        await insert(`frozen-${n}`, 'x');
        await client.next({ key: `frozen-${n}` }, TAKEOVER_MS);
        took.push(Math.round(performance.now() - began));
      }
      console.log(`hop: ms for each event without the ticker: ${took.join(' ')}`);
      assert.ok(took.slice(2).every((ms) => ms < QUICK_MS), 'once another bridge ticks it is as ever');
    });
    await client.leave();
  });

  it('goes on ticking while the ticker is stopped with a batch that fits no socket buffer', async () => {
    const [stopped, awake] = await ticker();
    const client = await Client.open(awake, { token: await db.token('a', { units: [1] }) });
    await client.subscribe('items:unit:1');
    await freeze(stopped, async () => {
      // Its backend is in tick_wait and will send this to a process that does not read.
      await db.write(`INSERT INTO items SELECT 'large-' || n, 1, 1, 't', n, repeat('x', 100000) FROM generate_series(1, 60) n`);
      await client.next({ key: 'large-60' }, 2 * TAKEOVER_MS);
      await insert('after-large', 'x');
      await client.next({ key: 'after-large' }, TAKEOVER_MS);
    });
    await client.leave();
  });

  it('loses nothing for sessions that hop between them', async () => {
    const random = seeded('hop');
    const checker = new Checker();
    await db.query('TRUNCATE items, marks, ledger');
    const since = await db.head();
    const sessions = [];
    for (let n = 0; n < SESSIONS; n++) {
      const unit = UNITS[n % UNITS.length];
      const name = `h${n + 1}`;
      sessions.push(new Session({
        name, since, checker, bridges, random: random.child(name), stay: 800, token: await db.token(name, { units: [unit], ttl: '1 day' }),
        channels: FEEDS.map((feed) => `${feed}:unit:${unit}`),
      }));
    }
    const house = startSessions(sessions);
    const writers = startWriters(WRITERS, { db, checker, random, units: UNITS });
    const stop = new AbortController();
    const chaos = random.child('stops');
    let stops = 0;
    const stopping = repeatedly(stop.signal, () => chaos.int(300, 1500), async () => {
      const bridge = chaos.chance(0.6) ? (await ticker())[0] : chaos.pick(bridges);
      stops++;
      await freeze(bridge, () => pause(chaos.int(200, 3000))); // stopped for that long: the fault
    });
    try {
      await lasting(seconds(8) * 1000, stop.signal); // the hopping
      stop.abort();
      await stopping;
      await writers.stop();
      await house.settle(idOf(await db.head()));
      await house.end();
      await checker.settle(db);
      const defects = checker.defects();
      console.log('hop:', JSON.stringify({ ...checker.figures(), stops, breaks: sessions.reduce((sum, { breaks }) => sum + breaks, 0) }));
      assert.deepEqual(defects, []);
    } finally {
      stop.abort();
      await Promise.allSettled([stopping]);
      await writers.stop().catch(() => {});
      await house.end();
    }
  });
});
