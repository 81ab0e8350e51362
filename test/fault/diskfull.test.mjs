// The disk of PostgreSQL is full, under load: a writer is told so by PostgreSQL's own error (53100, or that the server
// crashed) and by nothing else; bridges and sessions stay; once there is room, all goes on, nothing is lost and nothing
// comes of what was refused. Two disks, two ways:
//   data  the data directory on a small file system, WAL on another. A file takes all room that is left. PostgreSQL goes on as
//         it can: what fits into the blocks that it has still commits, and may be ticked.
//   WAL   both on one file system, filled by the writers' own rows and their log. When WAL cannot be written
//         PostgreSQL stops with a PANIC, and cannot start again before an operator has made room.
// Small file systems in memory, in a mount namespace of the test's own. Not here: NOTIFY's folder (notifyqueue).

import { apart } from './lib/apart.mjs';

const skip = apart('diskfull');

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, describe, it } from 'node:test';
import { until, SLOW } from '../e2e/lib/wait.mjs';
import { Disk } from './lib/apart.mjs';
import { lasting, repeatedly, rounds, seconds } from './lib/random.mjs';
import { Scene } from './lib/scene.mjs';

const UNITS = [1, 2, 3];
const ROUNDS = rounds(2, 5); // full and free again
const MB = 1024 * 1024;
const DISK_FULL = '53100';
const GIVE_BELOW = 32 * 1024; // no more is given back before that is used up
const GOES_ON_WITHIN_MS = 45_000 * SLOW;
// As small as WAL can be kept.
const SETTINGS = [`max_wal_size = '32MB'`, `min_wal_size = '32MB'`, `wal_recycle = off`, `checkpoint_timeout = '30s'`, 'autovacuum = off', `shared_buffers = '16MB'`];

/** A scene whose cluster stands on disks of that size: { folder of the cluster: megabytes }, outer ones first. */
async function stage(name, sizes) {
  const disks = [];
  const scene = await Scene.start(name, {
    bridges: [['--max-queue', '64MiB'], ['--max-queue', '64MiB']], // how slow a client may be is not the question here
    cluster: { settings: SETTINGS },
    async prepare({ cluster }) {
      await cluster.stop();
      for (const [folder, megabytes] of Object.entries(sizes)) disks.push(await Disk.under(`${cluster.dir}/${folder}`, megabytes));
      await cluster.again();
    },
  });
  return { scene, disks };
}

async function clear({ scene, disks }) {
  await disks[0].free();
  await scene.end();
  const ends = await Promise.allSettled(scene.bridges.map((bridge) => bridge.stop()));
  scene.bridges = [];
  await scene.cluster.stop('immediate').catch(() => {}); // it may be down already
  for (const disk of disks.reverse()) await disk.remove();
  await scene.remove();
  for (const { reason } of ends) if (reason) throw reason;
}

const serverLog = (scene) => readFile(`${scene.cluster.dir}/log`, 'utf8');

async function story(scene, options) {
  await scene.begin();
  const told = new Map();
  const staying = [];
  for (let n = 0; n < 6; n++) {
    staying.push(await scene.session(`stays${n}`, { unit: UNITS[n % 3], stay: Infinity, bridges: [scene.bridges[n % 2]], onStatus: ({ live }, { name }) => { told.set(name, [...told.get(name) ?? [], live]); } }));
  }
  for (let n = 0; n < 3; n++) await scene.session(`goes${n}`, { unit: UNITS[n % 3], stay: 800 });
  const refused = {};
  scene.write(4, { units: UNITS, refused, ...options });
  await until('the first event at each that stays', () => staying.every(({ heard }) => heard));
  return { staying, told, refused };
}

/** Everything is as before: a new event at each session that stayed; nobody was thrown out. */
async function goesOn(scene, staying) {
  const at = performance.now();
  for (const session of staying) {
    const since = session.heard.at;
    // A writer that has ended would be the reason.
    await Promise.race([scene.faulty, until(`${session.name} to hear of something new`, () => session.heard.at > Math.max(since, at), GOES_ON_WITHIN_MS)]);
  }
  const ms = Math.round(performance.now() - at);
  await scene.calm();
  for (const { stream, name } of staying) assert.equal(stream.closes.size, 0, `${name} was closed: ${JSON.stringify([...stream.closes])}`);
  return ms;
}

describe('a full disk', { skip }, () => {
  describe('of the data directory', () => {
    let stood;

    before(async () => {
      stood = await stage('full disk, data', { data: 160, 'data/pg_wal': 200 });
    });
    after(async () => {
      if (stood) await clear(stood);
    });

    it('stops writers only by its own error; all goes on when there is room', async () => {
      const { scene, disks: [data] } = stood;
      const { staying, told, refused } = await story(scene, { body: 2000 });
      const chaos = scene.random.child('disk');
      let full = 0;
      for (let round = ROUNDS; round > 0; round--) {
        const before = refused[DISK_FULL] ?? 0;
        await data.fill();
        const at = performance.now();
        await until('writers to be refused', () => (refused[DISK_FULL] ?? 0) > before + 5, GOES_ON_WITHIN_MS);
        // A few blocks now and then: who gets them, a writer or a tick, is chance.
        const over = AbortSignal.timeout(Math.max(1, Math.round(seconds(5) / ROUNDS * 1000 - (performance.now() - at))));
        await repeatedly(over, () => chaos.int(20, 200), async () => { if (await data.room() < GIVE_BELOW) await data.give(chaos.int(1, 12) * 8192); });
        assert.ok(await data.room() < MB);
        for (const bridge of scene.bridges) assert.equal((await bridge.get('/healthz')).status, 200);
        full += performance.now() - at;
        await data.free();
        const free = performance.now();
        await until('something new', () => staying.every((session) => session.heard.at > free), GOES_ON_WITHIN_MS);
      }
      const goesOnMs = await goesOn(scene, staying);
      assert.deepEqual(Object.keys(refused), [DISK_FULL]);
      const said = scene.bridges.map(({ log }) => log).join('').match(/.*(?:warn|error) .*/g) ?? [];
      assert.doesNotMatch(await serverLog(scene), /PANIC|terminated by signal/);
      await scene.verdict({ fullSeconds: Math.round(full / 1000), refused, goesOnMs, bridgesSaid: said.length, statusFrames: told.size });
    });
  });

  describe('of data and WAL', () => {
    let stood;

    before(async () => {
      stood = await stage('full disk, WAL', { data: 240 });
    });
    after(async () => {
      if (stood) await clear(stood);
    });

    const panics = async () => (await serverLog(stood.scene)).match(/PANIC: .*No space left on device/g)?.length ?? 0;

    async function isUp() {
      const [pid] = (await readFile(`${stood.scene.cluster.dir}/data/postmaster.pid`, 'utf8').catch(() => '')).split('\n');
      try {
        return pid !== '' && process.kill(Number(pid), 0);
      } catch {
        return false;
      }
    }

    it('makes PostgreSQL stop; it recovers when there is room, and all goes on', async () => {
      const { scene, disks: [disk] } = stood;
      const { staying, told, refused } = await story(scene, { body: 20_000 });
      await disk.fill(20 * MB); // the rest is left to the writers
      await until('the disk to be full', async () => refused[DISK_FULL] > 0 || await panics() > 0, 60_000 * SLOW);
      // Segments that are there may last for long where hardly anything commits: an archiver's time-out ends them.
      await until('WAL to find no room', async () => await panics() > 0 || scene.db.query('SELECT pg_switch_wal()').then(() => false), 60_000 * SLOW);
      const at = performance.now();
      await until('all sessions to be told', () => staying.every(({ name }) => told.get(name)?.includes(false)), GOES_ON_WITHIN_MS);
      await lasting(seconds(3) * 1000 - (performance.now() - at)); // the time it is full
      for (const bridge of scene.bridges) assert.equal((await bridge.get('/healthz')).status, 200);
      const wasUp = await isUp();
      const fullSeconds = Math.round((performance.now() - at) / 1000);
      await disk.free();
      await until('PostgreSQL to be up', async () => {
        if (!await isUp()) await scene.cluster.again(); // as an operator would
        return scene.db.value('SELECT 1');
      }, 60_000 * SLOW);
      const goesOnMs = await goesOn(scene, staying);
      for (const code of Object.keys(refused)) assert.equal(code, DISK_FULL);
      await scene.verdict({ fullSeconds, refused, panics: await panics(), wentDown: !wasUp, goesOnMs });
    });
  });
});
