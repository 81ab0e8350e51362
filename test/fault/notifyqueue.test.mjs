// The NOTIFY queue of the whole cluster is pinned by a session that LISTENs, in another database, and sits in a
// transaction; bells fail. Ticks go on and events arrive: bridges find by their look once a second what no bell told
// them, and a bell that cannot ring is a line in the log, not one for each tick. No writer fails. livefeed.status shows
// the queue. When the listener is gone, all is as before.
//
// On PostgreSQL 15 the queue is full at 8 GB, however it is set (from 17 on, max_notify_queue_pages):
//   short form  some MB are pinned, and ring() fails because the bridges' right to call it is taken away.
//   long form   the real thing, 8 GB of other sessions' payloads: NOTIFY fails for everybody (54000), and ring() leaves its
//               bells out from nine tenths on. It wants 9 GB in the folder for temporary files.
// Not here: pg_notify on a disk of its own that is full. Then PostgreSQL ends every connection that LISTENs.

import assert from 'node:assert/strict';
import { readFile, statfs } from 'node:fs/promises';
import { after, before, describe, it } from 'node:test';
import { until, SLOW } from '../e2e/lib/wait.mjs';
import { lasting, rounds, seconds } from './lib/random.mjs';
import { Scene } from './lib/scene.mjs';

const LONG = rounds(false, true);
const UNITS = [1, 2, 3];
const FULL = '54000'; // "too many notifications in the NOTIFY queue"
const QUEUE_PAGES = 2 ** 20;
const PAGES = LONG ? QUEUE_PAGES + 1000 : 5000;
const PAYLOAD_BYTES = 4100; // two do not fit into a page of the queue
const PAYLOADS = 5000; // a transaction
const NEEDED_BYTES = 9 * 2 ** 30;
const EMPTY_WITHIN_MS = (LONG ? 120_000 : 20_000) * SLOW;
const GAP_LIMIT_MS = 12_000 * SLOW; // a look a second; the rest is for a busy machine
const LINES_MAX = 4; // one a minute

describe('a NOTIFY queue that somebody pins', () => {
  let scene;
  let elsewhere;

  before(async () => {
    scene = await Scene.start('NOTIFY queue', { bridges: [[], []] });
    elsewhere = await scene.cluster.database('', { extension: false });
    if (!LONG) return;
    const { bavail, bsize } = await statfs(scene.cluster.dir);
    assert.ok(bavail * bsize > NEEDED_BYTES, `${scene.cluster.dir} has ${bavail * bsize} bytes left, the queue wants ${NEEDED_BYTES}`);
  });
  after(async () => {
    await scene?.end();
    await scene?.remove();
  });

  const queue = () => scene.db.value('SELECT notify_queue FROM livefeed.status');
  const lastTick = () => scene.db.value('SELECT max(tick) FROM livefeed.ticks');

  async function pin() {
    const listener = await elsewhere.connect('postgres');
    await listener.query('LISTEN theirs');
    await listener.query('BEGIN');
    await listener.query('SELECT 1');
    return listener;
  }

  /** Notifies until the queue is full, or that many pages are; the error's SQLSTATE, if any. */
  async function fill() {
    const filler = await elsewhere.connect('postgres');
    try {
      for (let pages = 0; pages < PAGES; pages += PAYLOADS) {
        await filler.query(`SELECT count(pg_notify('theirs', (SELECT repeat('x', ${PAYLOAD_BYTES})) || i)) FROM generate_series(1, ${PAYLOADS}) i`);
      }
      return undefined;
    } catch (error) {
      return error.code;
    } finally {
      await filler.end();
    }
  }

  /** Bells fail, and do not. */
  async function stopBells() {
    if (LONG) assert.equal(await fill(), FULL);
    else await scene.db.query('REVOKE EXECUTE ON FUNCTION livefeed.ring() FROM bridge');
  }

  async function hearBells() {
    const listener = await scene.db.connect('postgres');
    const heard = [];
    listener.on('notification', ({ channel }) => heard.push(channel));
    await listener.query('LISTEN livefeed');
    return { heard, end: () => listener.end() };
  }

  it('stops bells and nothing else', async () => {
    await scene.begin();
    const gaps = scene.bridges.map(() => ({ at: 0, longest: 0 }));
    // At each bridge: the one that ticks needs no bell, the other has none.
    for (let n = 0; n < 6; n++) {
      const gap = gaps[n % 2];
      const onEvent = () => {
        gap.longest = Math.max(gap.longest, performance.now() - gap.at);
        gap.at = performance.now();
      };
      await scene.session(`stays${n}`, { unit: UNITS[n % 3], stay: Infinity, bridges: [scene.bridges[n % 2]], onEvent });
    }
    const staying = [...scene.sessions];
    for (let n = 0; n < 3; n++) await scene.session(`goes${n}`, { unit: UNITS[n % 3], stay: 700 });
    scene.write(3, { units: UNITS });
    const calm = await queue();

    const stuck = await pin();
    const began = performance.now();
    if (!LONG) assert.equal(await fill(), undefined);
    await stopBells();
    const fillSeconds = Math.round((performance.now() - began) / 1000);
    const full = await queue();
    assert.ok(full > calm + 0.9 * Math.min(1, PAGES / QUEUE_PAGES), `livefeed.status shows ${full}`);

    if (!LONG) await until('ring() to fail', () => scene.bridges.some(({ log }) => log.includes('livefeed.ring failed'))); // the last that rang is through
    const bells = await hearBells();
    const from = await lastTick();
    const at = performance.now();
    for (const gap of gaps) Object.assign(gap, { at, longest: 0 });
    await lasting(seconds(5) * 1000); // without bells
    await scene.heard(await scene.probe({ unit: UNITS[0] }), GAP_LIMIT_MS, staying.filter(({ channels }) => channels.includes(`items:unit:${UNITS[0]}`))); // at either bridge
    const ticks = await lastTick() - from;
    const longest = gaps.map((gap) => Math.round(Math.max(gap.longest, performance.now() - gap.at)));
    const pinnedSeconds = Math.round((performance.now() - at) / 1000);
    assert.ok(ticks > 5, `${ticks} ticks`);
    assert.ok(Math.max(...longest) < GAP_LIMIT_MS, `nothing was heard for ${longest} ms`);
    assert.deepEqual(bells.heard, []);
    await bells.end();
    if (LONG) await assert.rejects(scene.db.query(`SELECT pg_notify('theirs', repeat('x', ${PAYLOAD_BYTES}) || i) FROM generate_series(1, 100) i`), { code: FULL });

    await stuck.end();
    if (!LONG) await scene.db.query('GRANT EXECUTE ON FUNCTION livefeed.ring() TO bridge');
    await until('the queue to be empty again', async () => await queue() <= calm + 0.001, EMPTY_WITHIN_MS);
    const again = await hearBells();
    await until('a bell', () => again.heard.includes('livefeed'));
    await again.end();

    await scene.calm();
    for (const { stream, name } of staying) assert.equal(stream.closes.size, 0, `${name} was closed: ${JSON.stringify([...stream.closes])}`);
    const server = await readFile(`${scene.cluster.dir}/log`, 'utf8');
    const lines = (server + scene.bridges.map(({ log }) => log).join('')).match(/livefeed\.ring failed|bells are left out/g)?.length ?? 0;
    assert.ok(lines > 0 && lines <= LINES_MAX + fillSeconds / 60, `${lines} lines about it in the logs`);
    await scene.verdict({ queue: Math.round(full * 1000) / 1000, fillSeconds, pinnedSeconds, ticks, longestGapMs: longest, lines });
  });
});
