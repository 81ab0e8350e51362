// Two bridges at one database, one of them stopped (SIGSTOP) now and then: sessions
// that hop between them with their cursor lose nothing, and events go on flowing while
// the bridge that ticks stands still, however much is on its way to it.
// Not here: bridges that die (storm).

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { Client } from '../e2e/lib/client.mjs';
import { SLOW } from '../e2e/lib/wait.mjs';
import { lasting, repeatedly, seconds } from './lib/random.mjs';
import { Scene, stopped } from './lib/scene.mjs';

const WRITERS = 4;
const SESSIONS = 8;
const UNITS = [1, 2, 3, 4];
// A bridge that looks once a second ticks what has waited for over a second.
const TAKEOVER_MS = 30_000 * SLOW;
const QUICK_MS = 900 * SLOW;

describe('two bridges', () => {
  let scene;
  let db;

  before(async () => {
    // How slow a client may be is not the question here.
    scene = await Scene.start('hop', { bridges: [['--max-queue', '32MiB'], ['--max-queue', '32MiB']] });
    db = scene.db;
  });
  after(async () => {
    await scene?.end();
    await scene?.remove();
  });

  const insert = (id, body) => db.write(`INSERT INTO items VALUES ($1, 1, 1, 't', 1, $2)`, [id, body]);

  it('goes on ticking while the ticker is stopped', async () => {
    const [ticks, awake] = await scene.ticker();
    const client = await Client.open(awake, { token: await db.token('a', { units: [1] }) });
    await client.subscribe('items:unit:1');
    await stopped([ticks.process.pid], async () => {
      // Its backend still makes one tick; what comes then has to wait for another bridge to take over.
      const took = [];
      for (let n = 1; n <= 20; n++) {
        const began = performance.now();
        await insert(`frozen-${n}`, 'x');
        await client.next({ key: `frozen-${n}` }, TAKEOVER_MS);
        took.push(Math.round(performance.now() - began));
      }
      console.log(`hop: ms for each event without the ticker: ${took.join(' ')}`);
      // Half of them: a busy machine may hold up any one for as long.
      const half = took.slice(2).sort((a, b) => a - b)[took.length >> 1];
      assert.ok(half < QUICK_MS, `once another bridge ticks it is as ever: ${half} ms`);
    });
    await client.leave();
  });

  it('goes on ticking while the ticker is stopped with a batch that fits no socket buffer', async () => {
    const [ticks, awake] = await scene.ticker();
    const client = await Client.open(awake, { token: await db.token('a', { units: [1] }) });
    await client.subscribe('items:unit:1');
    await stopped([ticks.process.pid], async () => {
      // Its backend is in tick_wait and will send this to a process that does not read.
      await db.write(`INSERT INTO items SELECT 'large-' || n, 1, 1, 't', n, repeat('x', 100000) FROM generate_series(1, 60) n`);
      await client.next({ key: 'large-60' }, 2 * TAKEOVER_MS);
      await insert('after-large', 'x');
      await client.next({ key: 'after-large' }, TAKEOVER_MS);
    });
    await client.leave();
  });

  it('loses nothing for sessions that hop between them', async () => {
    await db.query('TRUNCATE items, marks, ledger');
    await scene.begin();
    for (let n = 0; n < SESSIONS; n++) await scene.session(`h${n + 1}`, { unit: UNITS[n % UNITS.length], stay: 800 });
    scene.write(WRITERS, { units: UNITS });
    const chaos = scene.random.child('stops');
    let stops = 0;
    try {
      scene.beside((signal) => repeatedly(signal, () => chaos.int(300, 1500), async () => {
        const bridge = chaos.chance(0.6) ? (await scene.ticker())[0] : chaos.pick(scene.bridges);
        stops++;
        await stopped([bridge.process.pid], () => lasting(chaos.int(200, 3000), signal));
      }));
      await Promise.race([lasting(seconds(8) * 1000, scene.signal), scene.faulty]); // the hopping
      await scene.calm();
      await scene.verdict({ stops });
    } finally {
      await scene.end();
    }
  });
});
