// Everything at once: writers with late commits, rollbacks, savepoints and prepared
// transactions; sessions of units, users, rows and whole feeds that break off and come back, at
// either of two bridges; a bridge killed (kill -9) again and again, now the one, now the other, 20 times
// in the long form; PostgreSQL crashed once. At the end every session has every event of
// its channels, once, in order, and nothing else.
// Not here: PostgreSQL crashed again and again (crash), clients that do not read (slow).

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { SLOW } from '../e2e/lib/wait.mjs';
import { lasting, repeatedly, rounds, seconds } from './lib/random.mjs';
import { Scene, unitChannels } from './lib/scene.mjs';
import { FEEDS } from './lib/writer.mjs';

const WRITERS = 6;
const UNITS = [1, 2, 3, 4];
const USERS = ['u1', 'u2', null];
const ROWS = ['w1-1', 'w2-2', 'w3-3'];
const KILL_EVERY_MS = 2500;
const AGAIN_WITHIN_MS = 60_000 * SLOW; // PostgreSQL may be coming back, too, and recover first

describe('storm', () => {
  let scene;

  before(async () => {
    scene = await Scene.start('storm', { cluster: { fsync: true }, bridges: [[], []] });
  });
  after(async () => {
    await scene?.end();
    await scene?.remove();
  });

  it('ends with every event of its channels, once, in order, for every session', async () => {
    await scene.begin();
    const [one] = scene.bridges;
    for (const unit of UNITS) {
      await scene.session(`hops${unit}`, { unit });
      await scene.session(`stays${unit}`, { unit, channels: unitChannels(unit, FEEDS.slice(0, 1)), bridges: [one] });
    }
    for (const user of ['u1', 'u2']) await scene.session(`user ${user}`, { user, who: {}, channels: FEEDS.map((feed) => `${feed}:user:${user}`) });
    await scene.session('admin', { who: { roles: ['admin'] }, channels: ['items', ...ROWS.flatMap((key) => [`items:row:${key}`, `marks:row:${key}`])] });
    scene.write(WRITERS, { units: [...UNITS, null], users: USERS });

    const least = rounds(4, 20);
    const end = performance.now() + seconds(10) * 1000;
    const chaos = scene.random.child('chaos');
    let kills = 0;
    let crashed = false;
    try {
      const killing = scene.beside((signal) => {
        const enough = new AbortController();
        return repeatedly(AbortSignal.any([signal, enough.signal]), () => KILL_EVERY_MS * (0.5 + chaos.next()), async () => {
          const bridge = chaos.pick(scene.bridges);
          await bridge.kill();
          kills++;
          await bridge.again(AGAIN_WITHIN_MS);
          if (kills >= least && performance.now() > end) enough.abort();
        });
      });
      const crashing = scene.beside(async (signal) => {
        await lasting((end - performance.now()) * (0.4 + 0.2 * chaos.next()), signal);
        await scene.cluster.stop('immediate');
        await scene.cluster.again();
        crashed = true;
      });
      await Promise.all([killing, crashing]);
      assert.ok(crashed && kills >= least);
      await scene.calm();

      // Whoever comes now reads it all from the log, and it is the same.
      for (const unit of UNITS) await scene.session(`late${unit}`, { unit, stay: Infinity });
      await scene.settle();
      await scene.verdict({ bridgesKilled: kills, crashes: 1, head: scene.head });
    } finally {
      await scene.end();
    }
  });
});
