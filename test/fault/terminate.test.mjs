// The bridge's connections to PostgreSQL are terminated again and again: the one that
// listens, the one that ticks, those for look-ups. Sessions stay open, nothing is lost.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Cluster, idOf } from '../e2e/lib/cluster.mjs';
import { Bridge } from '../e2e/lib/bridge.mjs';
import { Checker } from './lib/checker.mjs';
import { lasting, repeatedly, seconds, seeded } from './lib/random.mjs';
import { tearDown } from './lib/scene.mjs';
import { Session, startSessions } from './lib/session.mjs';
import { FEEDS, SCHEMA, startWriters } from './lib/writer.mjs';

const UNITS = [1, 2, 3];

describe('terminated backends', () => {
  let cluster;
  let db;
  const bridges = [];

  before(async () => {
    cluster = await Cluster.start();
    db = await cluster.database(SCHEMA);
    for (let n = 0; n < 2; n++) bridges.push(await Bridge.start(db));
  });
  after(async () => {
    await tearDown(bridges, cluster);
  });

  it('close no session and lose no event', async () => {
    const random = seeded('terminate');
    const checker = new Checker();
    const since = await db.head();
    let told = 0;
    const make = async (name, n, stay) => new Session({
      name, since, checker, bridges: [bridges[n % bridges.length]], random: random.child(name), stay,
      token: await db.token(name, { units: [UNITS[n % UNITS.length]], ttl: '1 day' }),
      channels: FEEDS.map((feed) => `${feed}:unit:${UNITS[n % UNITS.length]}`),
      onStatus: () => { told++; },
    });
    const staying = [];
    const going = [];
    for (let n = 0; n < 6; n++) staying.push(await make(`stays${n}`, n, Infinity));
    for (let n = 0; n < 3; n++) going.push(await make(`goes${n}`, n, 1000));
    const house = startSessions([...staying, ...going]);
    const writers = startWriters(4, { db, checker, random, units: UNITS });
    const stop = new AbortController();
    const chaos = random.child('terminate');
    let terminated = 0;
    const terminating = repeatedly(stop.signal, () => chaos.int(50, 900), async () => {
      const backends = await db.query(`SELECT pid FROM pg_stat_activity WHERE usename = 'bridge' AND datname = current_database() ORDER BY pid`);
      const chosen = chaos.chance(0.4) ? backends : backends.filter(() => chaos.chance(0.4));
      for (const { pid } of chosen) terminated += Number(await db.value('SELECT pg_terminate_backend($1)', [pid]));
    });
    try {
      await lasting(seconds(6) * 1000, stop.signal); // the terminating
      stop.abort();
      await terminating;
      await writers.stop();
      await house.settle(idOf(await db.head()));
      for (const { stream, name } of staying) {
        assert.equal(stream.closes.size, 0, `${name} was closed: ${JSON.stringify([...stream.closes])}`);
      }
      const unavailable = [...staying, ...going].reduce((sum, session) => sum + session.unavailable, 0);
      await house.end();
      await checker.settle(db);
      const defects = checker.defects();
      console.log('terminate:', JSON.stringify({ ...checker.figures(), terminated, statusFrames: told, unavailable }));
      assert.ok(terminated > 0 && told > 0);
      assert.deepEqual(defects, []);
    } finally {
      stop.abort();
      await Promise.allSettled([terminating]);
      await writers.stop().catch(() => {});
      await house.end();
    }
  });
});
