// The database's side hangs without going away: server processes are stopped (SIGSTOP),
// so that connections stay open and nobody answers. The bridge notices by its own
// time-outs; sessions stay open and are told (status live:false, live:true); what
// could flow flows, and nothing is lost.
// Not here: connections that end (terminate), a network that is cut (network_database).

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, it } from 'node:test';
import { lasting, rounds } from './lib/random.mjs';
import { until, SLOW } from '../e2e/lib/wait.mjs';
import { LISTENER, Scene, stopped, TICKER } from './lib/scene.mjs';

const UNITS = [1, 2];
// Without time-outs it would be for as long as the test waits; what is above them is for a loaded machine.
const TICKER_NOTICED_MS = 30_000 * SLOW; // 5 s in the bridge
const NOTICED_MS = 60_000 * SLOW; // 15 s in the bridge, and 10 for each connection of the pool that hangs as well
const FLOWING_MS = 15_000 * SLOW;
const STOPPED_MS = rounds(3000, 30_000);

/** Sessions that stay on the only bridge, and what they are told. */
async function scene(name, work) {
  const set = await Scene.start(name, {});
  try {
    await set.begin();
    const told = new Map();
    for (const unit of UNITS) {
      const session = await set.session(`stays${unit}`, { unit, stay: Infinity, patience: Infinity, onStatus: ({ live }) => told.get(`stays${unit}`).push(live) });
      told.set(session.name, []);
    }
    await set.reached();
    const figures = await work(set, told);
    await set.calm();
    for (const { stream, name: who } of set.sessions) assert.equal(stream.closes.size, 0, `${who} was closed`);
    await set.verdict({ ...figures, told: [...told.values()][0] });
  } finally {
    await set.end();
    await set.remove();
  }
}

/** ms until an event that is committed now has reached everybody of unit 1. */
const flows = async (set, limit) => set.heard(await set.probe(), limit, set.sessions.slice(0, 1));

const all = (told, ...words) => [...told.values()].every((list) => JSON.stringify(list) === JSON.stringify(words));

/** The process that the postmaster calls so. */
async function processOf(set, what) {
  return Number(await set.db.value('SELECT pid FROM pg_stat_activity WHERE backend_type = $1', [what]));
}

describe('PostgreSQL hangs', { concurrency: 3 }, () => {
  it('in all backends of the bridge: told live:false, then live:true, by time-outs alone', () => scene('hung backends', async (set, told) => {
    await until('a ticker', async () => (await set.backends(TICKER)).length > 0);
    const pids = (await set.backends()).map(({ pid }) => pid);
    assert.ok(pids.length >= 2);
    const began = performance.now();
    await stopped(pids, async () => {
      set.write(3, { units: UNITS });
      await until('everybody to be told that the database is back', () => all(told, false, true), NOTICED_MS);
      await flows(set, FLOWING_MS);
    });
    return { backendsStopped: pids.length, msToFlow: Math.round(performance.now() - began) };
  }));

  it('in the backend that listens, while another ticks: events go on, and the listener is replaced', () => scene('hung listener', async (set, told) => {
    await until('a ticker', async () => (await set.backends(TICKER)).length > 0);
    const [{ pid }] = await set.backends(LISTENER);
    const took = [];
    await stopped([pid], async () => {
      set.write(2, { units: UNITS });
      for (let n = 0; n < 5; n++) took.push(await flows(set, FLOWING_MS));
      await until('the listener to be replaced', () => all(told, false, true), NOTICED_MS);
      took.push(await flows(set, FLOWING_MS));
    });
    return { msToFlow: took };
  }));

  it('in the backend that ticks: another is had within seconds, nobody is disturbed', () => scene('hung ticker', async (set, told) => {
    const [{ pid }] = await until('a ticker', async () => { const list = await set.backends(TICKER); return list.length ? list : null; });
    const took = [];
    await stopped([pid], async () => {
      took.push(await flows(set, TICKER_NOTICED_MS));
      set.write(3, { units: UNITS });
      took.push(await flows(set, FLOWING_MS));
    });
    await lasting(1000, set.signal); // the former ticker wakes among the others
    assert.ok(all(told), 'nobody has to be told');
    return { msToFlow: took };
  }));

  it('in the postmaster, while the bridge has to connect anew: told, and back when it goes on', () => scene('hung postmaster', async (set, told) => {
    set.write(3, { units: UNITS });
    const postmaster = Number((await readFile(path.join(set.cluster.dir, 'data/postmaster.pid'), 'utf8')).split('\n')[0]);
    await stopped([postmaster], async () => {
      await until('everybody to be told', async () => {
        // Again and again, as one may have been on its way when the postmaster was stopped.
        for (const { pid } of await set.backends()) await set.db.query('SELECT pg_terminate_backend($1)', [pid]);
        assert.deepEqual([...told.values()], [...told.values()].map(() => [false]));
        return true;
      });
      await lasting(STOPPED_MS, set.signal); // writers go on, connects hang
    });
    await until('everybody to be told that it is back', () => all(told, false, true), NOTICED_MS);
    return { msToFlow: await flows(set, FLOWING_MS) };
  }));

  it('in the WAL writer and the checkpointer: nobody notices', () => scene('hung WAL writer', async (set, told) => {
    set.write(2, { units: UNITS });
    set.write(2, { units: UNITS, prefix: 'a', async: true });
    const took = [];
    await stopped([await processOf(set, 'walwriter'), await processOf(set, 'checkpointer')], async () => {
      const end = performance.now() + STOPPED_MS;
      while (performance.now() < end) took.push(await flows(set, FLOWING_MS));
    });
    assert.ok(all(told), 'nobody has to be told');
    return { probes: took.length, slowestMs: Math.max(...took) };
  }));
});
