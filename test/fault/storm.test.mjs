// Everything at once: writers with late commits, rollbacks, savepoints and prepared
// transactions; sessions that break off and come back; the bridge killed every four
// seconds; PostgreSQL crashed once. At the end every session has every event of its
// unit, once, in order, and nothing else.
// Not here: more than one bridge (hop), clients that do not read (slow).

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Cluster, idOf } from '../e2e/lib/cluster.mjs';
import { Bridge } from '../e2e/lib/bridge.mjs';
import { Checker } from './lib/checker.mjs';
import { lasting, repeatedly, seconds, seeded } from './lib/random.mjs';
import { tearDown } from './lib/scene.mjs';
import { Session, startSessions } from './lib/session.mjs';
import { FEEDS, SCHEMA, startWriters } from './lib/writer.mjs';

const WRITERS = 6;
const SESSIONS = 8;
const UNITS = [1, 2, 3, 4];
const KILL_EVERY_MS = 4000;

describe('storm', () => {
  let cluster;
  let db;
  let bridge;

  before(async () => {
    cluster = await Cluster.start({ fsync: true });
    db = await cluster.database(SCHEMA);
    bridge = await Bridge.start(db);
  });
  after(async () => {
    await tearDown([bridge], cluster);
  });

  it('ends with every event of its unit, once, in order, for every session', async () => {
    const random = seeded('storm');
    const checker = new Checker();
    const since = await db.head();
    const sessions = [];
    for (let n = 0; n < SESSIONS; n++) {
      const unit = UNITS[n % UNITS.length];
      const name = `s${n + 1}`;
      sessions.push(new Session({
        name, since, checker, bridges: [bridge], random: random.child(name), token: await db.token(name, { units: [unit], ttl: '1 day' }),
        channels: (n < UNITS.length ? FEEDS : FEEDS.slice(0, 1)).map((feed) => `${feed}:unit:${unit}`),
      }));
    }
    const house = startSessions(sessions);
    const writers = startWriters(WRITERS, { db, checker, random, units: [...UNITS, null] });

    const ms = seconds(13) * 1000;
    const stop = new AbortController();
    let kills = 0;
    let up = true;
    const killing = repeatedly(stop.signal, () => KILL_EVERY_MS, async () => {
      await bridge.kill();
      kills++;
      await bridge.again();
    });
    const chaos = random.child('crash');
    const crashing = lasting(ms * (0.4 + 0.2 * chaos.next()), stop.signal).then(async () => {
      await cluster.stop('immediate');
      up = false;
      await cluster.again();
      up = true;
    });
    try {
      await lasting(ms, stop.signal); // the storm
      stop.abort();
      await Promise.all([killing, crashing]);
      assert.ok(up && kills > 0);
      await writers.stop();
      const head = idOf(await db.head());
      await house.settle(head);

      // Whoever comes now reads it all from the log, and it is the same.
      for (const unit of UNITS) {
        sessions.push(new Session({
          name: `late${unit}`, since, checker, bridges: [bridge], random: random.child(`late${unit}`), stay: Infinity,
          token: await db.token('late', { units: [unit] }), channels: FEEDS.map((feed) => `${feed}:unit:${unit}`),
        }));
      }
      const late = startSessions(sessions.slice(SESSIONS));
      await late.settle(head);
      await late.end();
      await house.end();

      await checker.settle(db);
      const defects = checker.defects();
      console.log('storm:', JSON.stringify({ ...checker.figures(), kills, head, breaks: sessions.reduce((sum, { breaks }) => sum + breaks, 0) }));
      assert.deepEqual(defects, []);
    } finally {
      stop.abort();
      await Promise.allSettled([killing, crashing]);
      await writers.stop().catch(() => {});
      await house.end();
    }
  });
});
