// Kills and crashes. Writers with late commits, rollbacks and savepoints; sessions
// that break off and resume at random; bridges killed or stopped; PostgreSQL
// restarted -m immediate. In the end every session has every event, once, in order.
//
//   LIVEFEED_FAULT_SECONDS=20   how long each storm lasts
//
// Not here: what a power cut does to the disk.

import assert from 'node:assert/strict';
import { setTimeout as pause } from 'node:timers/promises';
import { describe, it } from 'node:test';
import { Cluster, idOf } from '../e2e/lib/cluster.mjs';
import { Bridge } from '../e2e/lib/bridge.mjs';
import { Client } from '../e2e/lib/client.mjs';
import { Follower, TRUTH, Writer, assertComplete } from '../e2e/lib/follower.mjs';
import { until } from '../e2e/lib/wait.mjs';

const STORM_MS = 1000 * Number(process.env.LIVEFEED_FAULT_SECONDS ?? 20);
const UNITS = [1, 2, 3, 4];

async function scene(work) {
  const cluster = await Cluster.start({ fsync: true });
  const bridges = [];
  try {
    const database = await cluster.database(TRUTH);
    await work({ cluster, database, bridges });
    for (const bridge of bridges) await bridge.stop();
  } finally {
    for (const bridge of bridges) if (bridge.ended === null) await bridge.kill();
    await cluster.remove();
  }
}

async function headOf(database) {
  return idOf(await database.head());
}

describe('faults', () => {
  it('loses nothing while the bridge is killed every 4 s and PostgreSQL crashes', async () => {
    await scene(async ({ cluster, database, bridges }) => {
      const bridge = await Bridge.start(database);
      bridges.push(bridge);
      const writers = Array.from({ length: 6 }, (_, n) => new Writer(database, n + 1, UNITS));
      const followers = [];
      for (let n = 0; n < 8; n++) {
        const unit = UNITS[n % 4];
        followers.push(new Follower([() => bridge], await database.token(`u${n}`, { units: [unit], ttl: '1 hour' }), `items:unit:${unit}`, { breakOffMs: 3000 }));
      }
      const end = Date.now() + STORM_MS;
      let crashed = false;
      for (let round = 1; Date.now() < end; round++) {
        await pause(Math.min(4000, end - Date.now()));
        await bridge.kill();
        if (!crashed && Date.now() > end - STORM_MS / 2) {
          crashed = true;
          await cluster.stop('immediate');
          await cluster.again();
        }
        await bridge.again();
      }
      assert.ok(crashed);
      await Promise.all(writers.map((writer) => writer.stop()));
      assert.ok(writers.every((writer) => writer.commits > 10));
      const head = await until('the head', () => headOf(database));
      await Promise.all(followers.map((follower) => follower.finish(head)));
      assert.ok(followers.every((follower) => follower.resumes > 2));
      await assertComplete(database, followers);
    });
  });

  it('loses nothing for sessions that hop between two bridges, one of them stopped now and then', async () => {
    await scene(async ({ database, bridges }) => {
      bridges.push(await Bridge.start(database), await Bridge.start(database));
      const writers = Array.from({ length: 4 }, (_, n) => new Writer(database, n + 1, UNITS));
      const followers = [];
      for (let n = 0; n < 6; n++) {
        const unit = UNITS[n % 4];
        followers.push(new Follower(bridges.map((bridge) => () => bridge), await database.token(`u${n}`, { units: [unit], ttl: '1 hour' }), `items:unit:${unit}`, { breakOffMs: 2000 }));
      }
      const end = Date.now() + STORM_MS;
      for (let round = 0; Date.now() < end; round++) {
        const { process } = bridges[round % 2];
        await pause(500 + Math.random() * 1500);
        process.kill('SIGSTOP');
        await pause(500 + Math.random() * 2500);
        process.kill('SIGCONT');
      }
      await Promise.all(writers.map((writer) => writer.stop()));
      const head = await headOf(database);
      await Promise.all(followers.map((follower) => follower.finish(head)));
      await assertComplete(database, followers);
    });
  });

  it('lets nobody wait for a transaction that is open all the while', async () => {
    await scene(async ({ database, bridges }) => {
      const bridge = await Bridge.start(database);
      bridges.push(bridge);
      const client = await Client.open(bridge, { token: await database.token('u', { units: [1] }) });
      await client.subscribe('items:unit:1');
      const holder = await database.connect();
      await holder.query('BEGIN; INSERT INTO items VALUES (1, 1, 1); INSERT INTO truth VALUES (1, 1, 1)');
      const delays = [];
      const end = Date.now() + STORM_MS;
      for (let id = 2; Date.now() < end; id++) {
        const began = performance.now();
        await database.write(`INSERT INTO items VALUES ($1, 1, 1)`, [id]);
        await client.next({ key: String(id) });
        delays.push(performance.now() - began);
        await pause(20);
      }
      delays.sort((a, b) => a - b);
      assert.ok(delays[delays.length >> 1] < 100, `half of all took over ${delays[delays.length >> 1]} ms`);
      assert.ok(!client.events().some((event) => event.key === '1'));
      await holder.query('COMMIT');
      await client.next({ key: '1' });
      await client.leave();
    });
  });
});
