// A soak: steady load for SOAK_SECONDS (600 in the long form) while sessions come and go, change their
// subscriptions, stop reading, break off and resume. The bridges' and the database backends'
// memory and descriptors stay flat: sampled after a warm-up, the median of the last quarter is compared with that of
// the first. At the end the one checker, as everywhere.
// Not here: faults (everything).

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { lasting, repeatedly, rounds } from './lib/random.mjs';
import { held, KEEPER, LISTENER, Scene, TICKER, unitChannels } from './lib/scene.mjs';

const SECONDS = Number(process.env.SOAK_SECONDS ?? rounds(12, 600));
const UNITS = [1, 2, 3, 4, 5, 6, 7, 8];
const USERS = ['u1', 'u2', 'u3', null];
// Histories of events fill up to their bound in the warm-up; the log's tables rotate all the time.
const HISTORY = '256KiB';
const WARM_UP_SHARE = 0.2;
const GUESTS_EVERY = SECONDS > 60 ? 4 : 1;
const SAMPLES = 200;
// Median of the last quarter against that of the first. A short form is still warming up: it shows that the figures are taken.
const GROWTH_MAX_KB = SECONDS > 60 ? 2048 : 8192;
const DESCRIPTORS_GROWTH_MAX = 16; // connections to the database that were not needed before, files of the log's tables

const median = (list) => [...list].sort((a, b) => a - b)[list.length >> 1];

describe('a soak', () => {
  let scene;
  const samples = [];

  before(async () => {
    scene = await Scene.start('soak', { bridges: [['--history', HISTORY], ['--history', HISTORY]] });
  });
  after(async () => {
    await scene?.end();
    await scene?.remove();
  });

  /** What bridges and their backends hold now. */
  async function sample() {
    const now = {};
    let descriptors = 0; // sessions choose their bridge by chance: only together their connections stay the same
    for (const [n, bridge] of scene.bridges.entries()) {
      const has = await held(bridge.process.pid);
      now[`bridge ${n + 1}`] = { rss: has.rss };
      descriptors += has.descriptors;
    }
    now.bridges = { descriptors };
    for (const { pid, name } of await scene.backends(LISTENER, TICKER, KEEPER)) {
      const has = await held(pid).catch(() => null); // it may just have gone: another bridge ticks
      if (has) now[`${name} backend ${pid}`] = { rss: has.anonymous, descriptors: has.descriptors }; // its share of PostgreSQL's buffers says nothing
    }
    samples.push(now);
  }

  /** First and last quarter of each figure that is in both: [{ who, what, first, last }]. */
  function quarters() {
    const warm = samples.slice(Math.floor(samples.length * WARM_UP_SHARE));
    const quarter = Math.max(1, Math.floor(warm.length / 4));
    const of = (list, who, what) => median(list.map((one) => one[who]?.[what]).filter((value) => value !== undefined));
    return [...new Set(warm.flatMap(Object.keys))].flatMap((who) => ['rss', 'descriptors'].map((what) => (
      { who, what, first: of(warm.slice(0, quarter), who, what), last: of(warm.slice(-quarter), who, what) })))
      .filter(({ first, last }) => first !== undefined && last !== undefined);
  }

  it('leaves memory and descriptors flat, and loses nothing', async () => {
    await scene.begin();
    const chaos = scene.random.child('guests');
    for (const unit of UNITS) await scene.session(`stays${unit}`, { unit, stay: Infinity });
    for (const unit of UNITS) await scene.session(`goes${unit}`, { unit, stay: 4000, forgets: 0.5 });
    for (const unit of UNITS.slice(0, 2)) await scene.session(`slow${unit}`, { unit, stay: 3000, stall: 2000 });
    for (const user of USERS.slice(0, 3)) await scene.session(`user ${user}`, { user, who: {}, channels: [`items:user:${user}`], stay: 5000 });
    scene.write(4, { units: [...UNITS, null], users: USERS, pace: 100, late: 100, body: 400 });

    let guests = 0;
    const here = [];
    try {
      // Guests come without a cursor, stay a while and never return.
      scene.beside((signal) => repeatedly(signal, () => chaos.int(50, 400) * GUESTS_EVERY, async () => {
        const unit = chaos.pick(UNITS);
        here.push(await scene.session(`guest${++guests}`, { unit, since: null, stay: 2000, forgets: 0.5, channels: unitChannels(unit, [chaos.pick(['items', 'marks'])]) }));
        if (here.length > 6) here.shift().leave();
      }));
      scene.beside((signal) => repeatedly(signal, () => (SECONDS * 1000) / SAMPLES, sample));
      await Promise.race([lasting(SECONDS * 1000, scene.signal), scene.faulty]);
      await scene.calm();
      const figures = quarters();
      for (const { who, what, first, last } of figures) console.log(`soak: ${who}: ${what} ${first} -> ${last}`);
      await scene.verdict({ seconds: SECONDS, guests, samples: samples.length });
      for (const { who, what, first, last } of figures) {
        const most = { rss: GROWTH_MAX_KB, descriptors: DESCRIPTORS_GROWTH_MAX }[what];
        assert.ok(last - first <= most, `${who}: ${what} grew from ${first} to ${last}`);
      }
      for (const who of ['bridge 1', 'bridge 2', 'bridges', LISTENER]) assert.ok(figures.some((each) => each.who.startsWith(who)), `${who} was looked at`);
      assert.ok(samples.some((one) => Object.keys(one).some((who) => who.startsWith(TICKER))), 'the ticker was looked at');
    } finally {
      await scene.end();
    }
  });
});
