// A bridge is stopped (SIGSTOP) for long, 30 seconds in the long form, and goes on: the one that
// ticks, while another takes over; and the only one. Those of its sessions that wait
// catch up, those that do not resume elsewhere; nobody loses anything.
// Not here: many short stops (hop), stopped clients (stopped_clients).

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { lasting, rounds } from './lib/random.mjs';
import { SLOW } from '../e2e/lib/wait.mjs';
import { Scene, stopped } from './lib/scene.mjs';

const UNITS = [1, 2, 3];
const STOPPED_MS = rounds(6000, 30_000);
const TAKEOVER_MS = 15_000 * SLOW; // events wait for over a second, then another bridge ticks
const FLOWING_MS = 10_000 * SLOW;

async function scene(name, bridges, work) {
  const set = await Scene.start(name, { bridges });
  try {
    await set.begin();
    await work(set);
  } finally {
    await set.end();
    await set.remove();
  }
}

describe('a bridge stopped', { concurrency: 2 }, () => {
  it('while it ticks: another takes over, and its sessions lose nothing', () => scene('stopped bridge', [[], []], async (set) => {
    const [one, other] = await set.ticker();
    const waiting = [];
    const elsewhere = [];
    for (const unit of UNITS) {
      waiting.push(await set.session(`waits${unit}`, { unit, stay: Infinity, patience: Infinity, bridges: [one] }));
      elsewhere.push(await set.session(`elsewhere${unit}`, { unit, stay: Infinity, bridges: [other] }));
      await set.session(`hops${unit}`, { unit, stay: 1500 });
    }
    await set.reached();
    set.write(4, { units: UNITS });
    const took = [];
    let missed = 0;
    await stopped([one.process.pid], async () => {
      const end = performance.now() + STOPPED_MS;
      took.push(await set.heard(await set.probe(), TAKEOVER_MS, elsewhere.slice(0, 1)));
      while (performance.now() < end) {
        await lasting(200, set.signal); // an event now and then
        took.push(await set.heard(await set.probe(), took.length < 3 ? TAKEOVER_MS : FLOWING_MS, elsewhere.slice(0, 1)));
      }
      const [{ frame }] = elsewhere.map(({ heard }) => heard);
      missed = frame.id - Math.min(...waiting.map(({ heard }) => heard?.frame.id ?? 0));
    });
    await set.calm();
    for (const { stream, name } of elsewhere) assert.equal(stream.closes.size, 0, `${name} was closed`);
    await set.verdict({ stoppedMs: STOPPED_MS, missedMeanwhile: missed, msToFlow: { first: took[0], median: took.slice(3).sort((a, b) => a - b)[(took.length - 3) >> 1], slowestLater: Math.max(...took.slice(3)) } });
    assert.ok(missed > 0);
  }));

  it('that is the only one: its sessions catch up when it goes on', () => scene('stopped only bridge', [[]], async (set) => {
    const waiting = [];
    for (const unit of UNITS) {
      waiting.push(await set.session(`waits${unit}`, { unit, stay: Infinity, patience: Infinity }));
      await set.session(`comes and goes ${unit}`, { unit, stay: 1500 });
    }
    await set.reached();
    set.write(4, { units: UNITS });
    const [bridge] = set.bridges;
    await stopped([bridge.process.pid], () => lasting(STOPPED_MS, set.signal));
    const key = await set.probe();
    const took = await set.heard(key, TAKEOVER_MS, waiting.slice(0, 1));
    await set.calm();
    const closed = waiting.filter(({ stream }) => stream.closes.size > 0).length;
    await set.verdict({ stoppedMs: STOPPED_MS, msToCatchUp: took, closed });
  }));
});
