// Everything together: faults drawn from a seeded list, for FAULT_SECONDS. Two lanes go on
// beside each other: what befalls the two bridges and the clients, and what befalls
// PostgreSQL; under writers with late commits, rollbacks, savepoints, prepared transactions and commits that do not
// wait for the disk, rows that move between units and users; with sessions of all kinds of
// channels that break off, stall, forget, hop. Then the one checker.
// Not here: TRUNCATE, resync, folding and pruning, which end a stream by a word of their own.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { SLOW } from '../e2e/lib/wait.mjs';
import { lasting, repeatedly, seconds } from './lib/random.mjs';
import { Scene, stopped, unitChannels } from './lib/scene.mjs';
import { FEEDS } from './lib/writer.mjs';

const UNITS = [1, 2, 3];
const USERS = ['u1', 'u2', null];
const ROWS = ['w1-1', 'w2-1', 'w3-2', 'a1-1'];
const PAUSE_MS = 1200; // between two faults of a lane, at most
const DOWN_MS = 800;
const STOPPED_MS = 3000;
const AGAIN_WITHIN_MS = 60_000 * SLOW; // the other lane may have PostgreSQL down again and again, or recovering

describe('everything', () => {
  let scene;

  before(async () => {
    scene = await Scene.start('everything', { cluster: { fsync: true }, bridges: [[], ['--history', '64KiB', '--max-queue', '256KiB']] });
  });
  after(async () => {
    await scene?.end();
    await scene?.remove();
  });

  function faults(random, signal) {
    const bridge = () => random.pick(scene.bridges);
    const some = (list) => list.filter(() => random.chance(0.5));
    const definition = (feed) => `SELECT livefeed.watch('${feed}', unit => 'unit_id', users => '{user_id}')`;
    return {
      bridges: {
        'bridge killed': async () => { const one = bridge(); await one.kill(); await one.again(AGAIN_WITHIN_MS); },
        'bridge ended and started': async () => { const one = bridge(); await one.stop(); await one.again(AGAIN_WITHIN_MS); },
        'bridge stopped': () => stopped([bridge().process.pid], () => lasting(random.int(100, STOPPED_MS), signal)),
        'both bridges stopped': () => stopped(scene.bridges.map(({ process: { pid } }) => pid), () => lasting(random.int(100, DOWN_MS), signal)),
        'bridge reloaded': async () => bridge().process.kill('SIGHUP'),
        'all clients cut off': async () => { for (const { client } of scene.sessions) client?.socket.terminate(); },
      },
      database: {
        'PostgreSQL killed': async () => {
          await scene.cluster.stop('immediate');
          await lasting(random.int(0, DOWN_MS), signal);
          await scene.cluster.again();
        },
        'PostgreSQL restarted': async () => { await scene.cluster.stop('fast'); await scene.cluster.again(); },
        'backends terminated': async () => { for (const { pid } of some(await scene.backends())) await scene.db.query('SELECT pg_terminate_backend($1)', [pid]); },
        'backends stopped': async () => stopped(some(await scene.backends()).map(({ pid }) => pid), () => lasting(random.int(100, STOPPED_MS), signal)),
        'feed watched anew': async () => scene.db.write(`SET lock_timeout = '2s'; ${definition(random.pick(FEEDS))}`)
          .catch((error) => { if (!['55P03', '40P01'].includes(error.code)) throw error; }), // writers were in the way
        'foreign bells': async () => { for (let n = 0; n < 50; n++) await scene.db.query(`SELECT pg_notify('livefeed', $1)`, [random.pick(['', 'x', '{"v":1,"many":true,"first":1,"last":99999999}', '{'.repeat(3000)]) + n]); },
        'rotation and ticks by hand': async () => { await scene.db.query('SELECT livefeed.prune()'); await scene.db.head(); },
        checkpoint: async () => scene.db.query('CHECKPOINT'),
      },
    };
  }

  it('that a seeded list of faults can do: nothing is lost, leaked or repeated', async () => {
    await scene.begin();
    for (const unit of UNITS) {
      await scene.session(`hops${unit}`, { unit });
      await scene.session(`stays${unit}`, { unit, stay: Infinity, bridges: scene.bridges.slice(0, 1) });
      await scene.session(`waits${unit}`, { unit, stay: Infinity, patience: Infinity, bridges: scene.bridges.slice(1) });
      await scene.session(`forgets${unit}`, { unit, forgets: 0.7 });
      await scene.session(`stalls${unit}`, { unit, stall: 1500, channels: unitChannels(unit, FEEDS.slice(0, 1)) });
    }
    for (const user of ['u1', 'u2']) await scene.session(`user ${user}`, { user, who: {}, channels: FEEDS.map((feed) => `${feed}:user:${user}`) });
    await scene.session('admin', { who: { roles: ['admin'] }, channels: [...FEEDS, ...ROWS.flatMap((key) => FEEDS.map((feed) => `${feed}:row:${key}`))] });
    scene.write(4, { units: [...UNITS, null], users: USERS });
    scene.write(2, { units: [...UNITS, null], users: USERS, prefix: 'a', async: true, body: 3000 });
    const done = {};
    try {
      for (const lane of ['bridges', 'database']) {
        const random = scene.random.child(lane);
        scene.beside((signal) => {
          const list = Object.entries(faults(random, signal)[lane]);
          return repeatedly(signal, () => random.int(50, PAUSE_MS), async () => {
            const [name, fault] = random.pick(list);
            await fault().catch((error) => { error.message = `${name}: ${error.message}`; throw error; });
            done[name] = (done[name] ?? 0) + 1;
          });
        });
      }
      await Promise.race([lasting(seconds(12) * 1000, scene.signal), scene.faulty]);
      await scene.calm();
      for (const unit of UNITS) await scene.session(`late${unit}`, { unit, stay: Infinity });
      await scene.settle();
      await scene.verdict({ faults: Object.values(done).reduce((sum, n) => sum + n, 0), ...done });
      assert.ok(Object.keys(done).length > 1);
    } finally {
      await scene.end();
    }
  });
});
