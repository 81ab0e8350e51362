// ALTER EXTENSION livefeed UPDATE under load, from every released version: writers write before, meanwhile and after,
// and meet nothing but PostgreSQL's own waiting; whoever reads as bridges of the former version do, goes on reading; the
// bridge, which is newer than what it finds, says in one line what would help, and serves
// when it is done, from cursors that are older than the update. Nothing is lost.
// Not here: whether all is there after an update (test/dump/upgrade.sh).

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Cluster, idOf } from '../e2e/lib/cluster.mjs';
import { Bridge, bridgeRun } from '../e2e/lib/bridge.mjs';
import { until, SLOW } from '../e2e/lib/wait.mjs';
import { lasting, rounds, seconds } from './lib/random.mjs';
import { Scene, unitChannels } from './lib/scene.mjs';
import { SCHEMA } from './lib/writer.mjs';
import { Witness } from './lib/witness.mjs';

const UNITS = [1, 2, 3];
const UPDATES = rounds(1, 5); // of each version, each in a database of its own
const PAGE = 500;
const READY_WITHIN_MS = 45_000 * SLOW;
const CURE = /ALTER EXTENSION livefeed UPDATE/;

/** The newest version, and the released ones that lead to it. */
async function versions(cluster) {
  const db = await cluster.database('', { extension: false });
  const newest = await db.value(`SELECT default_version FROM pg_available_extensions WHERE name = 'livefeed'`);
  const rows = await db.query('SELECT source FROM pg_extension_update_paths(\'livefeed\') WHERE target = $1 AND source <> target AND path IS NOT NULL', [newest]);
  return { newest, released: rows.map(({ source }) => source) };
}

/** As a bridge of that version: ticks, reads and prunes until the signal. */
async function readAlong(db, witness, signal) {
  const client = await db.connect('bridge');
  for (let n = 0; !signal.aborted; n++) {
    const { rows } = await client.query('SELECT id, flags, feed, unit, frame FROM livefeed.tick_wait($1, $2, 5, true)', [witness.after, PAGE]);
    witness.take(rows);
    if (n % 20 === 0) await client.query('SELECT livefeed.prune()');
  }
  await client.end();
}

describe('ALTER EXTENSION livefeed UPDATE under load', () => {
  let cluster;
  let all;

  before(async () => {
    cluster = await Cluster.start();
    all = await versions(cluster);
  });
  after(async () => {
    await cluster?.remove();
  });

  it('starts from a released version', () => assert.notEqual(all.released.length, 0));

  async function story(version) {
    const scene = new Scene();
    scene.name = `upgrade from ${version}`;
    scene.cluster = cluster;
    scene.db = await cluster.database('', { extension: false });
    const { db } = scene;
    await db.query(`CREATE EXTENSION livefeed VERSION '${version}'`);
    await db.query(`SELECT livefeed.grant_bridge('bridge'), livefeed.grant_application('app')`);
    await (await db.app()).query(SCHEMA);
    const bridge = await Bridge.start(db, [], { ready: false });
    scene.bridges.push(bridge);
    try {
      await until('the bridge to say what would help', () => CURE.test(bridge.log));
      const checked = await bridgeRun(['--check', '--dsn', db.bridgeDsn]);
      assert.equal(checked.code, 1);
      assert.match(checked.stdout + checked.stderr, CURE);
      assert.equal((await bridge.get('/readyz')).status, 503);

      await scene.begin();
      const channels = UNITS.flatMap((unit) => unitChannels(unit));
      const witness = new Witness({ name: 'as a former bridge', checker: scene.checker, channels, since: idOf(scene.since) });
      scene.beside((signal) => readAlong(db, witness, signal));
      scene.write(5, { units: UNITS });
      for (const unit of UNITS) {
        await scene.session(`waits${unit}`, { unit, stay: Infinity });
        await scene.session(`goes${unit}`, { unit, stay: 1200 });
      }
      const half = (seconds(4) * 500) / UPDATES;
      await lasting(half); // the old version under load
      const began = performance.now();
      await db.query('ALTER EXTENSION livefeed UPDATE');
      const updateMs = Math.round(performance.now() - began);
      await bridge.ready(READY_WITHIN_MS);
      await lasting(half); // and the new one
      assert.equal(await db.value(`SELECT extversion FROM pg_extension WHERE extname = 'livefeed'`), all.newest);

      await scene.calm();
      await witness.read(db);
      const lines = bridge.log.split('\n').filter((line) => CURE.test(line));
      assert.equal(lines.length, 1, `said once:\n${lines.join('\n')}`);
      assert.ok(lines[0].includes(`"${db.name}"`) && lines[0].includes(version), lines[0]);
      await scene.verdict({ updateMs, unavailable: scene.sum('unavailable') });
    } finally {
      await scene.end();
      await bridge.stop();
    }
  }

  it(`loses nothing, ${UPDATES} times`, async () => {
    for (const version of all.released) {
      for (let n = 0; n < UPDATES; n++) await story(version);
    }
  });
});
