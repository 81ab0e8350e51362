// The bridges' connections to PostgreSQL are terminated again and again: the one that
// listens and the one that ticks, 50 times and more in the long form, and those for look-ups. Sessions stay
// open, all of them; nothing is lost.
// Not here: PostgreSQL itself going away (crash), connections that hang (hung).

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { repeatedly, rounds, seconds } from './lib/random.mjs';
import { LISTENER, Scene, TICKER } from './lib/scene.mjs';

const UNITS = [1, 2, 3];

describe('terminated backends', () => {
  let scene;

  before(async () => {
    scene = await Scene.start('terminate', { bridges: [[], []] });
  });
  after(async () => {
    await scene?.end();
    await scene?.remove();
  });

  it('close no session and lose no event', async () => {
    await scene.begin();
    let told = 0;
    const staying = [];
    for (let n = 0; n < 6; n++) {
      staying.push(await scene.session(`stays${n}`, { unit: UNITS[n % 3], stay: Infinity, bridges: [scene.bridges[n % 2]], onStatus: () => { told++; } }));
    }
    for (let n = 0; n < 3; n++) await scene.session(`goes${n}`, { unit: UNITS[n % 3], stay: 1000 });
    await scene.reached(); // who subscribes while the database is away is refused, and comes back
    scene.write(4, { units: UNITS });

    const least = rounds(8, 50);
    const end = performance.now() + seconds(6) * 1000;
    const chaos = scene.random.child('terminate');
    const terminated = { [LISTENER]: 0, [TICKER]: 0, others: 0 };
    const terminate = async (pid, what) => { terminated[what] += Number(await scene.db.value('SELECT pg_terminate_backend($1)', [pid])); };
    try {
      await scene.beside((signal) => {
        const enough = new AbortController();
        return repeatedly(AbortSignal.any([signal, enough.signal]), () => chaos.int(50, 900), async () => {
          const victim = chaos.pick([LISTENER, TICKER, 'others', 'all']);
          for (const { pid, name } of await scene.backends()) {
            const what = name in terminated ? name : 'others';
            if (victim === 'all' ? chaos.chance(0.8) : victim === what) await terminate(pid, what);
          }
          if (terminated[LISTENER] >= least && terminated[TICKER] >= least && performance.now() > end) enough.abort();
        });
      });
      await scene.calm();
      for (const { stream, name } of staying) assert.equal(stream.closes.size, 0, `${name} was closed: ${JSON.stringify([...stream.closes])}`);
      assert.ok(told > 0);
      await scene.verdict({ terminated, statusFrames: told, unavailable: scene.sum('unavailable') });
    } finally {
      await scene.end();
    }
  });
});
