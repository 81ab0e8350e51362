// The clock is moved by an hour, forward and back, under load: the bridge's, then the database server's (libfaketime;
// the monotonic clock is left alone, as it is when somebody sets a machine's time). Waits and time-outs go on evenly.
// By the bridge's clock tokens expire, and by nothing else that a session would notice. By the server's clock the log is
// kept: nothing that is to be kept goes.
// Not here: a clock that runs at another speed.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, describe, it } from 'node:test';
import { Bridge } from '../e2e/lib/bridge.mjs';
import { Client } from '../e2e/lib/client.mjs';
import { until, SLOW } from '../e2e/lib/wait.mjs';
import { Clock } from './lib/clock.mjs';
import { lasting, repeatedly, seconds } from './lib/random.mjs';
import { Scene } from './lib/scene.mjs';

const UNITS = [1, 2, 3];
const HOUR = 3600;
const MOVES = [HOUR, 0, -HOUR, 0];
const PHASE_MS = seconds(6) / MOVES.length * 1000;
// Who goes by the wrong clock waits for an hour; a lost wake costs a second, a hung ticker five; the rest is for a busy machine.
const EXPIRED_WITHIN_MS = 20_000 * SLOW;
const GAP_LIMIT_MS = 20_000 * SLOW;
const NOT_STUCK_MS = 30_000 * SLOW;
const LOOK_EVERY_MS = 200;
const CANCELLED = '57014';
const TICKS_PER_SECOND = 100; // of /proc/PID/stat
const BUSY = 0.7; // of a core: what a loop without a pause would take

/** Seconds of CPU time that a process has used. */
async function used(pid) {
  const words = (await readFile(`/proc/${pid}/stat`, 'utf8')).replace(/^.*\) /s, '').split(' ');
  return (Number(words[11]) + Number(words[12])) / TICKS_PER_SECOND;
}

/** Sessions, writers, and the longest time in which no session of unit 1 heard anything. */
async function load(scene, prefix, options) {
  const gap = { at: performance.now(), longest: 0 };
  const onEvent = () => {
    gap.longest = Math.max(gap.longest, performance.now() - gap.at);
    gap.at = performance.now();
  };
  const staying = [];
  for (let n = 0; n < 6; n++) staying.push(await scene.session(`stays${n}`, { unit: UNITS[n % 3], stay: Infinity, ...(n === 0 ? { onEvent } : {}) }));
  for (let n = 0; n < 3; n++) await scene.session(`goes${n}`, { unit: UNITS[n % 3], stay: 700 });
  scene.write(4, { units: UNITS, prefix, late: 50, ...options });
  await until('the first event', () => staying[0].heard);
  gap.longest = 0;
  return { staying, gap };
}

function undisturbed(staying) {
  for (const { stream, name } of staying) assert.equal(stream.closes.size, 0, `${name} was closed: ${JSON.stringify([...stream.closes])}`);
}

describe('the clock of the bridge', () => {
  let scene;
  let clock;
  let bridge;

  before(async () => {
    clock = await Clock.make({ threads: true });
    scene = await Scene.start('clock, bridge', {
      bridges: [],
      async prepare({ db, bridges }) {
        bridge = await Bridge.start(db, [], { env: clock.env });
        bridges.push(bridge);
      },
    });
  });
  after(async () => {
    await clock?.set(0);
    await scene?.end();
    await scene?.remove();
    await clock?.remove();
  });

  it('is moved by an hour: tokens expire by it, and nothing else notices', async () => {
    await scene.begin();
    const { staying, gap } = await load(scene, 'w');
    const token = () => scene.db.token('passing', { units: [7], ttl: '15 min' });
    let expired = 0;
    let busiest = 0;
    for (const offset of MOVES) {
      const passing = await Client.open(bridge, { token: await token(), welcome: false });
      const wasOpen = !(await refused(passing));
      const cpu = await used(bridge.process.pid);
      const at = performance.now();
      await clock.set(offset);
      if (offset > 0) {
        assert.ok(wasOpen);
        await passing.close(4401, EXPIRED_WITHIN_MS);
        const late = await Client.open(bridge, { token: await token(), welcome: false });
        await late.close(4401);
        expired += 2;
      } else {
        const fresh = await Client.open(bridge, { token: await token() });
        assert.equal(fresh.welcome.user, 'passing');
        await fresh.leave();
      }
      await lasting(PHASE_MS - (performance.now() - at)); // the wrong time
      busiest = Math.max(busiest, (await used(bridge.process.pid) - cpu) / (performance.now() - at) * 1000);
      await passing.leave();
    }
    await scene.calm();
    undisturbed(staying);
    assert.ok(busiest < BUSY, `the bridge used ${busiest} of a core`);
    assert.ok(gap.longest < GAP_LIMIT_MS, `nothing was heard for ${gap.longest} ms`);
    await scene.verdict({ moves: MOVES.length, expired, longestGapMs: Math.round(gap.longest), busiest: Math.round(busiest * 100) / 100 });
  });

  async function refused(client) {
    const frame = await client.next((one) => ['welcome', 'error'].includes(one.type));
    return frame.type === 'error';
  }
});

describe('the clock of the database server', () => {
  let scene;
  let clock;

  before(async () => {
    clock = await Clock.make();
    scene = await Scene.start('clock, database', { bridges: [[], []], cluster: { env: clock.env, settings: [`livefeed.retention = '2 h'`] } });
  });
  after(async () => {
    await scene?.end();
    await scene?.remove();
    await clock?.remove();
  });

  const state = async () => (await scene.db.query('SELECT current, kept, greatest(rotated_at, transient_rotated_at) > clock_timestamp() AS ahead FROM livefeed.state'))[0];
  const epoch = () => scene.db.value('SELECT epoch FROM livefeed.status');

  /**
   * PostgreSQL's own time-outs go by the clock as it was when they began: who waits for a lock while the clock is set
   * back finds no deadlock, and no lock_timeout, for an hour more. So those are cancelled, as an operator would.
   */
  const release = (signal) => repeatedly(signal, () => LOOK_EVERY_MS, () => scene.db.query(
    `SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE usename = 'app' AND wait_event_type = 'Lock' AND query_start > clock_timestamp()`));

  it('is moved by an hour: the log rotates and keeps what it has to, ticks go on', async () => {
    await scene.begin();
    const before = { ...await state(), epoch: await epoch() };
    const refused = {};
    const { staying, gap } = await load(scene, 'w', { refused });
    scene.beside(release);
    const right = Date.now();
    for (const offset of MOVES) {
      await clock.set(offset + Math.sign(offset) * 60);
      const shown = await scene.db.value('SELECT extract(epoch FROM clock_timestamp())::bigint');
      assert.ok(Math.abs(shown - Date.now() / 1000 - offset) < 100, `the server's clock shows ${shown} at offset ${offset}`);
      if (offset > 0) await until('the log to rotate', async () => (await state()).current !== before.current);
      await lasting(PHASE_MS); // the wrong time
    }
    assert.ok(Date.now() > right);
    await scene.calm();
    undisturbed(staying);
    const now = await state();
    assert.equal(now.kept, before.kept, 'nothing was pruned');
    assert.equal(await epoch(), before.epoch);
    assert.ok(gap.longest < GAP_LIMIT_MS, `nothing was heard for ${gap.longest} ms`);
    // Whoever comes now reads it all from the log.
    for (const unit of UNITS) await scene.session(`late${unit}`, { unit, stay: Infinity });
    await scene.settle();
    for (const code of Object.keys(refused)) assert.equal(code, CANCELLED);
    await scene.verdict({ moves: MOVES.length, longestGapMs: Math.round(gap.longest), refused });
  });

  it('was years ahead and is set right: the log will rotate before that', async () => {
    await scene.db.query(`UPDATE livefeed.state SET rotated_at = clock_timestamp() + interval '10 years', transient_rotated_at = clock_timestamp() + interval '10 years'`);
    await until('the bridge that prunes to see it', async () => !(await state()).ahead);
  });

  it('is moved back while the ticker waits: it does not wait for longer', async () => {
    await scene.begin();
    const asked = () => scene.db.value('SELECT query_start FROM pg_stat_activity WHERE pid = (SELECT ticker_pid FROM livefeed.status)');
    const began = await until('a ticker', asked);
    try {
      await clock.set(-HOUR);
      await until('its call to end, and the next to begin', async () => began - await asked() > 1000 * HOUR / 2, NOT_STUCK_MS);
    } finally {
      await clock.set(0);
    }
  });

  it('is moved back while the ticker hangs: another takes over', async () => {
    const watcher = await Client.open(scene.bridges[0], { token: await scene.db.token('watcher', { units: [1] }) });
    await watcher.subscribe('items:unit:1');
    const pid = await until('a ticker', () => scene.db.value('SELECT ticker_pid FROM livefeed.status'));
    process.kill(pid, 'SIGSTOP');
    try {
      await scene.db.write(`INSERT INTO items VALUES ('waits', 1, 1, 'none', 1, '')`);
      await scene.db.query('SELECT stale FROM livefeed.look()'); // since now they are known to wait
      await clock.set(-HOUR);
      await watcher.next({ key: 'waits' }, NOT_STUCK_MS);
    } finally {
      process.kill(pid, 'SIGCONT');
      await clock.set(0);
    }
    await watcher.leave();
  });
});
