// Five client processes among fifty sessions are stopped (SIGSTOP) for long: the other
// forty-five are not delayed; the five are closed with 4408 or catch up when they go on,
// and lose nothing; the bridge's memory stays bounded meanwhile.
// Not here: clients that read slowly (slow).

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { lasting, rounds, seconds } from './lib/random.mjs';
import { SLOW } from '../e2e/lib/wait.mjs';
import { held, Scene, stopped } from './lib/scene.mjs';
import { Stray } from './lib/stray.mjs';

const OTHERS = 45;
const STRAYS = 5;
const STOPPED_MS = rounds(6000, 30_000);
// What the five have a feed of their own for: more than kernel and outbox take. Each transaction is 2 MB.
const FAT_BYTES = 50_000;
const FAT_ROWS = 40;
const FAT_TRANSACTIONS = 7;
const DELAY_MAX_MS = 10_000 * SLOW; // those who are stopped go on only when this is over
const GROWTH_MAX_KB = 40_000;

describe('five clients stopped among fifty', () => {
  let scene;

  before(async () => {
    scene = await Scene.start('stopped clients', { bridges: [['--max-queue', '256KiB', '--history', '4MiB']] });
  });
  after(async () => {
    await scene?.end();
    await scene?.remove();
  });

  it('delay nobody, cost the bridge little, and lose nothing', async () => {
    await scene.begin();
    const others = [];
    for (let n = 1; n <= OTHERS; n++) others.push(await scene.session(`other${n}`, { unit: 1, stay: Infinity, channels: ['items:unit:1'] }));
    const strays = [];
    for (let n = 1; n <= STRAYS; n++) {
      strays.push(scene.add(new Stray({
        name: `stray${n}`, since: scene.since, checker: scene.checker, bridges: scene.bridges.map(({ origin }) => origin), random: scene.random.child(`stray${n}`),
        channels: ['items:unit:1', 'marks:unit:9'], stay: Infinity, patience: 10_000 * SLOW, token: await scene.db.token(`stray${n}`, { units: [1, 9], ttl: '1 day' }),
      })));
    }
    await scene.reached();

    /** Probes for that long; the slowest, in ms. */
    const probing = async (ms, meanwhile = async () => {}) => {
      const took = [];
      const end = performance.now() + ms;
      for (let n = 0; performance.now() < end || n < FAT_TRANSACTIONS; n++) {
        await meanwhile(n);
        took.push(await scene.heard(await scene.probe(), DELAY_MAX_MS, others));
        await lasting(100, scene.signal);
      }
      took.sort((a, b) => a - b);
      return { probes: took.length, median: took[took.length >> 1], slowest: took.at(-1) };
    };
    const [bridge] = scene.bridges;
    try {
      const calm = await probing(seconds(2) * 500);
      const before = (await held(bridge.process.pid)).rss;
      let peak = 0;
      const faulty = await stopped(strays.map(({ pid }) => pid), () => probing(STOPPED_MS, async (n) => {
        if (n < FAT_TRANSACTIONS) await scene.probe({ unit: 9, feed: 'marks', body: 'x'.repeat(FAT_BYTES), rows: FAT_ROWS });
        peak = Math.max(peak, (await held(bridge.process.pid)).rss);
      }));
      await scene.calm();
      for (const { stream, name } of others) assert.equal(stream.closes.size, 0, `${name} was closed`);
      await scene.verdict({ stoppedMs: STOPPED_MS, fatMb: Math.round(FAT_BYTES * FAT_ROWS * FAT_TRANSACTIONS / 1e6), delays: { calm, faulty }, rssKb: { before, peak } });
      assert.ok(peak - before < GROWTH_MAX_KB, `the bridge grew from ${before} to ${peak} kB`);
      assert.ok(strays.every(({ stream }) => stream.channels.get('marks:unit:9').events.length === FAT_ROWS * FAT_TRANSACTIONS));
    } finally {
      await scene.end();
    }
  });
});
