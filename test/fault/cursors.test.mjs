// Cursors that cannot be honoured, under load, at two bridges: from before what is kept, from the
// future, from another epoch, from another database, and garbage of many kinds. Each is answered as the
// protocol says, `recovered: false` with its reason or `bad_message`, and from
// there on the stream is live and loses nothing: the checker compares each with a session that had it all.
// Not here: one cursor at a time at rest (test/e2e/resume.test.mjs).

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Bridge } from '../e2e/lib/bridge.mjs';
import { Client } from '../e2e/lib/client.mjs';
import { epochOf, idOf } from '../e2e/lib/cluster.mjs';
import { until, SLOW } from '../e2e/lib/wait.mjs';
import { lasting, seconds } from './lib/random.mjs';
import { Scene, unitChannels } from './lib/scene.mjs';

const UNITS = [1, 2];
const GARBAGE_A_SECOND = 200;
const PRUNED_MS = 60_000 * SLOW; // it asks for a lock that no writer may hold just then, and does not wait

describe('cursors that cannot be honoured', () => {
  let scene;

  before(async () => {
    scene = await Scene.start('cursors', { bridges: [['--rate', '1000000', '--max-bad-messages', '1000000'], ['--history', '64KiB']] });
  });
  after(async () => {
    await scene?.end();
    await scene?.remove();
  });

  /** Cursors of other shapes than EPOCH-ID; some happen to be well-formed and of no epoch of ours. */
  function garbage(random, cursor) {
    const bytes = () => Array.from({ length: random.int(0, 40) }, () => String.fromCodePoint(random.pick([random.int(1, 127), random.int(48, 57), random.int(0x80, 0xd7ff)]))).join('');
    const [epoch, id] = [epochOf(cursor), idOf(cursor)];
    const bend = () => {
      const at = random.int(0, cursor.length);
      return cursor.slice(0, at) + random.pick(['', '-', '0', 'g', ' ', '\t', '\n', '%', '٣', '"', '\\', '.', '+', 'e9']) + cursor.slice(at + random.int(0, 1));
    };
    return random.pick([
      bytes, bend, bend, bend, () => `${epoch}-${bytes()}`, () => `${bytes()}-${id}`, () => `${epoch}-${id}${'0'.repeat(random.int(5, 400))}`, () => `${epoch}-0${id}`, () => `${epoch}--${id}`,
      () => `${epoch.toUpperCase()}x-${id}`, () => `${id}-${epoch}`, () => `${epoch}-${2n ** 63n - BigInt(random.int(0, 2))}`, () => `${epoch}-${2n ** 64n + BigInt(id)}`, () => `${epoch}-${id}.0`,
      () => `${epoch}-1e3`, () => `${epoch}-0x1`, () => `${epoch.repeat(random.int(2, 500))}-${id}`, () => 7, () => null, () => true, () => ({}), () => [cursor], () => -1, () => 1e300,
    ])();
  }

  /** Retention passes over the start while the stream goes on; gives a cursor from before it. */
  async function pruned(old) {
    await until('the start to be pruned', async () => {
      await scene.db.query(`SELECT livefeed.prune('0 seconds')`);
      await scene.probe();
      await scene.db.head();
      return await scene.db.value('SELECT livefeed.check_cursor($1, $2)', [epochOf(old), idOf(old)]) === 'pruned';
    }, PRUNED_MS);
    return old;
  }

  it('are answered with their reason, and what follows is live and whole', async () => {
    const old = await scene.db.head();
    const other = await scene.cluster.database();
    await other.query(`SELECT livefeed.declare_feed('alerts'); SELECT livefeed.publish('alerts', 'raised', '1') FROM generate_series(1, 5)`);
    const foreign = await other.head();
    const before = await scene.db.head();
    await scene.db.query('SELECT livefeed.reset()');
    await until('both bridges to have the new epoch', async () => {
      const epoch = epochOf(await scene.db.head());
      const welcomes = await Promise.all(scene.bridges.map(async (bridge) => {
        const client = await Client.open(bridge, { token: await scene.db.token('x') });
        await client.leave();
        return client.welcome.epoch;
      }));
      return welcomes.every((one) => one === epoch);
    });
    await scene.begin();
    assert.notEqual(epochOf(foreign), epochOf(scene.since));
    assert.notEqual(epochOf(before), epochOf(scene.since));
    for (const unit of UNITS) await scene.session(`whole${unit}`, { unit, stay: Infinity });
    scene.write(3, { units: UNITS });
    await until('more events than the other database has', async () => idOf(await scene.db.head()) > idOf(foreign));
    await scene.reached();
    const pruning = await scene.db.head();
    await pruned(pruning);
    // The second bridge holds little in memory, a third has none of it.
    scene.bridges.push(await Bridge.start(scene.db));

    const bad = [
      ['from the future', 'epoch', (at) => `${epochOf(at)}-${idOf(at) + 1_000_000}`], ['from the far future', 'epoch', (at) => `${epochOf(at)}-9007199254740991`],
      ['before a reset', 'epoch', (at) => `${epochOf(before)}-${idOf(at)}`], ['of another database', 'epoch', (at) => `${epochOf(foreign)}-${idOf(at)}`],
      ['of no epoch', 'epoch', (at) => `00000000-${idOf(at)}`], ['pruned', 'pruned', () => pruning],
      // An id below what is kept is pruned, whatever the epoch.
      ['before a reset, as it was', 'pruned', () => before], ['of another database, as it was', 'pruned', () => foreign],
    ];
    const figures = { badCursors: 0, garbage: 0, refused: 0, answeredEpoch: 0 };
    const here = [];
    const chaos = scene.random.child('garbage');
    const client = await Client.open(scene.bridges[0], { token: await scene.db.token('garbage', { units: UNITS, ttl: '1 day' }) });
    try {
      const end = performance.now() + seconds(6) * 1000;
      for (let n = 0; n < 2 * bad.length || performance.now() < end; n++) {
        const [name, reason, cursor] = bad[n % bad.length];
        const unit = UNITS[n % UNITS.length];
        // Memory of the first bridges may still have what the log has not: then it is no bad cursor.
        const bridges = reason === 'pruned' ? scene.bridges.slice(-1) : scene.bridges;
        const session = await scene.session(`${name} ${n}`, {
          unit, bridges, channels: unitChannels(unit, [chaos.pick(['items', 'marks'])]), since: cursor(await scene.db.head()), answer: { recovered: false, reason }, stay: 1500,
        });
        figures.badCursors++;
        here.push(session);
        if (here.length > 4 * bad.length) here.shift().leave();
        const at = await scene.db.value('SELECT livefeed.cursor()');
        for (let m = 0; m < GARBAGE_A_SECOND / 10; m++) {
          const since = garbage(chaos, at);
          const answer = await client.ask({ type: 'subscribe', channel: `items:unit:${unit}`, since });
          figures.garbage++;
          const good = /^[0-9a-f]{8}-(0|[1-9][0-9]{0,17})$/.test(since) && epochOf(since) === epochOf(at);
          if (answer.type === 'error') {
            assert.equal(answer.code, 'bad_message', `${JSON.stringify(since)}: ${JSON.stringify(answer)}`);
            figures.refused++;
          } else if (!good) {
            assert.deepEqual([answer.type, answer.recovered, answer.reason], ['subscribed', since === null ? undefined : false, since === null ? undefined : 'epoch'], `${JSON.stringify(since)}: ${JSON.stringify(answer)}`);
            figures.answeredEpoch++;
          }
        }
        client.forget();
        await lasting(100, scene.signal);
      }
      assert.equal(client.closed, null);
      await client.leave();
      await scene.calm();
      await scene.verdict(figures);
    } finally {
      client.socket.terminate();
      await scene.end();
    }
  });
});
