// The primary is killed under load and its standby promoted, three times over in the long form. Commits, and so ticks,
// wait for the standby (synchronous replication), so nothing that was answered or delivered may be missing after it. The
// history has another epoch then: every session that stayed is told so, every cursor is answered truly, and
// from there on nothing is lost, repeated or leaked, as compared with the whole log on the new primary.
// One bridge knows all servers by its dsn; another is started anew with the new one's.
// Not here: what an asynchronous standby had not received, which is lost to PostgreSQL itself, and without replication slots.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { epochOf, idOf } from '../e2e/lib/cluster.mjs';
import { Bridge, freePort } from '../e2e/lib/bridge.mjs';
import { Client } from '../e2e/lib/client.mjs';
import { until, SLOW } from '../e2e/lib/wait.mjs';
import { lasting, rounds, seconds } from './lib/random.mjs';
import { Scene, unitChannels } from './lib/scene.mjs';
import { Standby } from './lib/standby.mjs';
import { Witness } from './lib/witness.mjs';

const UNITS = [1, 2, 3];
const PROMOTIONS = rounds(1, 3);
const DOWN_MS = 600; // nobody is primary, at most
const FOUND_WITHIN_MS = 45_000 * SLOW; // 5 s between two tries, at most

describe('a standby promoted under load', () => {
  let scene;
  let ports;
  let primary;
  const standbys = [];

  before(async () => {
    scene = await Scene.start('promotion', { bridges: [] });
    primary = scene.cluster;
    ports = await Promise.all(Array.from({ length: PROMOTIONS }, freePort));
    const all = [primary.port, ...ports];
    const dsn = `host=${all.map(() => primary.host)} port=${all} user=bridge dbname=${scene.db.name} target_session_attrs=read-write`;
    scene.bridges.push(await Bridge.start(scene.db, [], { dsn }), await Bridge.start(scene.db));
  });
  after(async () => {
    await scene?.end();
    for (const standby of standbys) await standby.stop('immediate');
    await scene?.remove();
  });

  /** The standby becomes the primary; the second bridge is started anew for it. */
  async function fail(standby, chaos) {
    const [, second] = scene.bridges;
    await primary.stop('immediate');
    await lasting(chaos.int(0, DOWN_MS));
    await standby.promote();
    primary = standby;
    scene.db.cluster = standby;
    await second.stop();
    second.args[second.args.indexOf('--dsn') + 1] = standby.dsn(scene.db.name, 'bridge');
    await second.again(FOUND_WITHIN_MS);
  }

  it('is told to every client as a new epoch, and loses, repeats and leaks nothing', async () => {
    await scene.begin();
    const [roaming] = scene.bridges;
    const staying = [];
    for (const unit of UNITS) {
      staying.push(await scene.session(`stays${unit}`, { unit, stay: Infinity, bridges: [roaming], epochs: true }));
      await scene.session(`goes${unit}`, { unit, stay: 1200, epochs: true });
      await scene.session(`comes back${unit}`, { unit, stay: Infinity, bridges: [scene.bridges[1]], epochs: true });
    }
    await scene.reached();
    scene.write(4, { units: UNITS });
    const chaos = scene.random.child('promotion');
    const epochs = [epochOf(scene.since)];
    try {
      for (let n = 0; n < PROMOTIONS; n++) {
        const standby = await Standby.of(primary, ports[n], (made) => standbys.push(made));
        await standby.synchronous();
        await lasting((seconds(2) * 1000) / PROMOTIONS); // the load goes on
        await fail(standby, chaos);
        await until('the bridge to find the new primary', async () => (await roaming.get('/readyz')).status === 200, FOUND_WITHIN_MS);
        epochs.push(await scene.db.value('SELECT livefeed.epoch()'));
        await Promise.all(staying.map((session) => until(`${session.name} to be told of promotion ${n + 1}`, () => session.resyncs >= (n + 1) * session.channels.length, FOUND_WITHIN_MS)));
        await lasting(chaos.int(500, 1500));
      }
      assert.equal(new Set(epochs).size, PROMOTIONS + 1, `each promotion has an epoch of its own: ${epochs}`);
      // The first prune() after a promotion says that transient events are gone, in an event of its own.
      await until('bridges to be told of what was not durable', () => scene.db.value('SELECT EXISTS (SELECT FROM livefeed.transient_alive)'), FOUND_WITHIN_MS);
      await scene.calm();
      assert.equal(await scene.db.value('SELECT epoch FROM livefeed.look()'), epochs.at(-1));

      // The log as it is now, and one who comes late with a cursor from before all promotions: that place is in this history too.
      const witness = new Witness({ name: 'log', checker: scene.checker, channels: UNITS.flatMap((unit) => unitChannels(unit)), since: idOf(scene.since) });
      await witness.read(scene.db);
      for (const unit of UNITS) await scene.session(`late${unit}`, { unit, stay: Infinity, epochs: true });
      await scene.settle();
      for (const { stream, name } of staying) assert.equal(stream.closes.size, 0, `${name} was closed: ${JSON.stringify([...stream.closes])}`);
      await scene.verdict({ promotions: PROMOTIONS, toldOfAnEpoch: scene.sum('resyncs'), unavailable: scene.sum('unavailable') });

      await refusesWhatIsNoPlace(epochs);
    } finally {
      await scene.end();
    }
  });

  /** Cursors of a former epoch that are no place of this history: never silence. */
  async function refusesWhatIsNoPlace(epochs) {
    const head = scene.head;
    const token = await scene.db.token('odd', { units: [1] });
    for (const bridge of scene.bridges) {
      const client = await Client.open(bridge, { token });
      assert.equal(client.welcome.epoch, epochs.at(-1));
      for (const since of [`${epochs[0]}-${head}`, `${epochs[0]}-${head + 1000}`, `${epochs.at(-1)}-${head + 1000}`, `${epochs.at(-1)}-${idOf(scene.since)}`]) {
        const answer = await client.subscribe('items:unit:1', { since });
        assert.deepEqual([since, answer.recovered, answer.reason, answer.cursor], [since, false, 'epoch', `${epochs.at(-1)}-${head}`]);
      }
      await client.leave();
    }
  }
});
