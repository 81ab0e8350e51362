// The browser library on a walk: subscriptions to events, rows and values come and go, rows are asked for again, while a
// slow proxy cuts connections and closes and opens ways, at any moment. After each few steps all that is subscribed to is
// as the tables have it, and every event was told once, in order.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { seconds, seeded } from '../fault/lib/random.mjs';
import { Client } from './lib/client.mjs';
import { follow } from './lib/livefeed.mjs';
import { until } from './lib/wait.mjs';
import { LONG_MS, scene } from './lib/ways.mjs';

const SECONDS = seconds(6);
const KEYS = 12;
const ROWS = {
  'requests:unit:7': 'SELECT id, title, status FROM requests WHERE unit_id = 7',
  'requests:unit:8': 'SELECT id, title, status FROM requests WHERE unit_id = 8',
  'slow:unit:7': 'SELECT id, unit_id, n FROM slow WHERE unit_id = 7',
};
const VALUES = ['open_requests:unit:7', 'open_requests:unit:8'];

const leave = ({ rows, told }) => (rows ? rows.close() : told.subscription.unsubscribe());

/** What a page does and what happens to it, each as likely as it is often there; `open` holds what is subscribed to. */
function stepsOf(random, client, proxy, open, onError) {
  const add = (kind, channel, more) => open.push({ kind, channel, ...more });
  return [
    () => { const channel = random.pick(Object.keys(ROWS)); const told = {}; add('rows', channel, { told, rows: client.collection(channel, { onStart: () => { told.started = true; }, onError }) }); },
    () => { const channel = `requests:unit:${random.pick([7, 8])}`; add('events', channel, { told: follow(client, channel, { onError }) }); },
    () => { const channel = random.pick(VALUES); add('value', channel, { told: follow(client, channel, { onError }) }); },
    () => open.splice(0).forEach(leave),
    ...Array(3).fill(() => open.splice(random.int(0, open.length - 1), 1).forEach(leave)),
    () => { const one = open.find(({ kind }) => kind === 'events'); one?.told.subscription.refetch(); },
    () => proxy.cut(),
    () => { proxy.upgrades = random.chance(0.5); },
    () => { Object.assign(proxy, { upgrades: false, streams: random.chance(0.5) }); proxy.cut(); },
    () => { proxy.upgrades = true; proxy.cut(); },
  ];
}

async function write(db, random) {
  const id = random.int(1, KEYS);
  const unit = random.pick([7, 8, 9]);
  await db.write(random.pick([
    `INSERT INTO requests (id, unit_id, title) VALUES (${id}, ${unit}, 't') ON CONFLICT (id) DO UPDATE SET title = requests.title || 'x'`,
    `UPDATE requests SET unit_id = ${unit} WHERE id = ${id}`,
    `DELETE FROM requests WHERE id = ${id}`,
    `INSERT INTO slow VALUES (${id}, 7, 0) ON CONFLICT (id) DO UPDATE SET n = slow.n + 1`,
    `DELETE FROM slow WHERE id = ${id}`,
  ]));
}

describe('livefeed-client', () => {
  const here = scene();

  /** A few steps while others write, then rest: all that is open has to be what the tables are, whichever way is open. */
  async function round(random, { db, proxy }, witness, open, choices) {
    let on = true;
    const writing = (async () => { while (on) { await write(db, random); await pause(random.int(0, 20)); } })();
    const taken = random.int(1, 8);
    for (let step = 0; step < taken; step++) {
      random.pick(choices)();
      await pause(random.int(0, random.pick([5, 50, 150])));
    }
    on = false;
    await writing;
    await until('all that is open to be live', () => open.every(({ told }) => told.started), LONG_MS);
    await db.write(`UPDATE requests SET title = title || '.' WHERE id >= 1000; UPDATE slow SET n = n + 1 WHERE id >= 1000`);
    await witness.caughtUp(db);
    for (const one of open) await asIs(db, witness, one);
    return taken;
  }

  it('is as the tables are, wherever it was cut, whoever came and went', { timeout: 20 * LONG_MS + SECONDS * 2000 }, async (t) => {
    const random = seeded('client on a walk');
    const { proxy, db } = here;
    await db.write(`INSERT INTO requests (id, unit_id, title) VALUES (1000, 7, ''), (1001, 8, ''); INSERT INTO slow VALUES (1000, 7, 0)`);
    const witness = await Client.open(here.bridge, { token: await db.token('zoe', { units: [7, 8] }) });
    for (const unit of [7, 8]) await witness.subscribe(`requests:unit:${unit}`);
    proxy.latency = () => random.int(0, 100);
    const fair = Math.random;
    Math.random = () => fair() / 10; // it waits for less, so that more happens
    let clients = 0;
    let steps = 0;
    try {
      for (const end = Date.now() + SECONDS * 1000; Date.now() < end; clients++) {
        const client = here.as('ann');
        const open = [];
        const troubles = [];
        const choices = stepsOf(random, client, proxy, open, (trouble) => troubles.push(trouble));
        for (let rounds = random.int(1, 3); rounds; rounds--) steps += await round(random, here, witness, open, choices);
        assert.deepEqual(troubles.filter(({ ended }) => ended), []);
        client.close();
      }
      t.diagnostic(`${clients} clients, ${steps} steps, ${witness.frames.length} frames for who was never cut`);
    } finally {
      Math.random = fair;
      proxy.latency = null;
      await witness.leave();
      await db.write('DELETE FROM slow');
    }
  });

  async function asIs(db, witness, { kind, channel, rows, told }) {
    if (kind === 'rows') {
      const keyed = Object.fromEntries((await db.query(ROWS[channel])).map((row) => [String(row.id), row]));
      await until(`rows of ${channel} to be what the table holds`, () => assert.deepEqual(Object.fromEntries(rows.rows), keyed) ?? true, LONG_MS);
    } else if (kind === 'value') {
      const [{ count }] = await db.query(`SELECT count(*)::int FROM requests WHERE unit_id = $1 AND status = 'Pending'`, [channel.split(':')[2]]);
      await until(`${channel} to be what the query gives`, () => assert.equal(told.values.at(-1), count) ?? true, LONG_MS);
    } else {
      const ids = witness.events(channel).map(({ id }) => id);
      await until(`the last event of ${channel}`, () => told.events.at(-1)?.id === ids.at(-1), LONG_MS);
      const got = told.events.map(({ id }) => id);
      assert.deepEqual(got, ids.slice(ids.indexOf(got[0])), `the events of ${channel}`);
      assert.deepEqual(told.resyncs, []);
    }
  }
});
