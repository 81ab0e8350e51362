// PostgreSQL is killed (-m immediate, fsync on) while durable and transient events are written together: durable events
// come under the same ids to who reads them again, before and after, at a bridge that knew them and at one that did
// not; who may have missed transient ones is told, once it is known and on resuming; what comes after is whole again.
// Not here: everything else about crashes (crash.test.mjs).

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Cluster, idOf } from '../e2e/lib/cluster.mjs';
import { Bridge } from '../e2e/lib/bridge.mjs';
import { Client, isEvent } from '../e2e/lib/client.mjs';
import { until, SLOW } from '../e2e/lib/wait.mjs';
import { lasting, rounds } from './lib/random.mjs';
import { tearDown } from './lib/scene.mjs';

const WRITERS = 3;
const UP_MS = 1200;
const BACK_WITHIN_MS = 45_000 * SLOW;

const SCHEMA = `
  CREATE TABLE jobs (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, n integer);
  CREATE TABLE spots (id integer PRIMARY KEY, n integer);
  INSERT INTO spots SELECT g, 0 FROM generate_series(1, ${WRITERS}) g;
  SELECT livefeed.watch('jobs', roles => '{*}');
  SELECT livefeed.watch('spots', roles => '{*}', durable => false);
`;

describe('a crash and events that need not last', () => {
  let cluster;
  let db;
  let bridge;
  const clients = [];

  before(async () => {
    cluster = await Cluster.start({ fsync: true });
    db = await cluster.database(SCHEMA);
    bridge = await Bridge.start(db);
  });
  after(async () => {
    await Promise.all(clients.map((client) => client.leave()));
    await tearDown([bridge], cluster);
  });

  async function page(at, user) {
    const client = await Client.open(at, { token: await db.token(user, { ttl: '1 day' }) });
    clients.push(client);
    return client;
  }
  const jobs = (client) => client.events('jobs').map(({ id, key, data }) => `${id} ${key} ${data.n}`);

  /** Writes until the server is gone; how many commits were answered. */
  async function write(spot, done) {
    const client = await db.connect();
    let committed = 0;
    try {
      for (let n = 1; ; n++) {
        await client.query(`BEGIN; UPDATE spots SET n = ${n} WHERE id = ${spot}; INSERT INTO jobs (n) VALUES (${n}); COMMIT`);
        await client.query(`UPDATE spots SET n = -${n} WHERE id = ${spot}`);
        committed++;
        done();
      }
    } catch {
      return committed;
    }
  }

  it('leave the durable ones where they were, and are told as lost', async (t) => {
    const stays = await page(bridge, 'stays');
    await stays.subscribe('jobs');
    await stays.subscribe('spots');
    const first = await db.head();
    for (let round = 1; round <= rounds(2, 8); round++) {
      const told = () => stays.frames.filter(({ type, reason }) => type === 'resync' && reason === 'transient_lost').length;
      const earlier = told();
      const since = await db.head();
      let answered = 0;
      const written = Promise.all(Array.from({ length: WRITERS }, (_, i) => write(i + 1, () => { answered++; })));
      await lasting(UP_MS);
      await until('commits to be answered, and events of both kinds to come', () => answered > 10 && ['jobs', 'spots'].every((channel) => stays.events(channel).at(-1)?.id > idOf(since)));
      await cluster.stop('immediate');
      const committed = (await written).reduce((a, b) => a + b, 0);
      const cursor = stays.events('spots').at(-1); // the last it was sent, of before the crash
      await cluster.again();
      await bridge.ready(BACK_WITHIN_MS);
      await until('the crash to be told', () => told() > earlier, BACK_WITHIN_MS);
      await stays.caughtUp(db);
      t.diagnostic(`round ${round}: ${committed} transactions, ${stays.events('spots').length} transient events so far`);
      assert.ok(stays.events('jobs').filter(({ id }) => id > idOf(since)).length >= committed, 'every durable event that was answered came');
      assert.ok(cursor.id > idOf(since), 'transient ones came, too');
      assert.equal(stays.closed, null);
      assert.deepEqual(stays.frames.filter(({ type, channel }) => type === 'resync' && channel === 'jobs'), [], 'the durable feed is not concerned');

      // Once more, from the beginning: here, and at a bridge that has nothing in memory.
      const cold = await Bridge.start(db);
      try {
        for (const [at, name] of [[bridge, 'warm'], [cold, 'cold']]) {
          const again = await page(at, `${name}${round}`);
          assert.equal((await again.subscribe('jobs', { since: first })).recovered, true, name);
          await again.caughtUp(db);
          assert.deepEqual(jobs(again), jobs(stays), `the same events under the same ids: ${name}`);
        }
        const late = await page(cold, `late${round}`);
        const answer = await late.subscribe('spots', { since });
        assert.deepEqual([answer.recovered, answer.reason], [false, 'transient_lost']);
        // From now on all is there.
        const now = await db.head();
        await db.write(`UPDATE spots SET n = ${round} * 1000000 WHERE id = 1`);
        const resumed = await page(cold, `resumed${round}`);
        assert.equal((await resumed.subscribe('spots', { since: now })).recovered, true);
        for (const client of [late, resumed, stays]) assert.equal((await client.next((frame) => isEvent(frame) && frame.feed === 'spots' && frame.data.n === round * 1000000)).key, '1');
      } finally {
        await cold.stop();
      }
    }
    const ids = stays.events().map(({ id }) => id);
    assert.ok(ids.every((id, i) => i === 0 || id > ids[i - 1]), 'no id came twice');
  });
});
