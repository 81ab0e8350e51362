// An order that is reassigned stops reaching its former partner with that very event:
// under load, live, in a replay from memory and in one from the log. Every version of an
// order carries a word for the partner who had it then ("for:p2:"); no partner may
// ever receive another's word. On the channel of the user each partner gets exactly
// what was his: entered, changed, left; and the customer gets it all.
// Not here: units (leak), who may subscribe at rest (test/e2e).

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { Cluster, idOf } from '../e2e/lib/cluster.mjs';
import { Bridge } from '../e2e/lib/bridge.mjs';
import { Client } from '../e2e/lib/client.mjs';
import { until, SLOW } from '../e2e/lib/wait.mjs';
import { lasting, seconds, seeded } from './lib/random.mjs';
import { tearDown } from './lib/scene.mjs';

const PARTNERS = ['p1', 'p2', 'p3', 'p4'];
const ORDERS = ['o1', 'o2', 'o3', 'o4', 'o5', 'o6'];
const WRITERS = 3;
const STAY_MS = 700;
const SETTLE_MS = 30_000 * SLOW;

const SCHEMA = `
  CREATE TABLE orders (id text PRIMARY KEY, customer text NOT NULL, partner text, version integer NOT NULL, note text);
  SELECT livefeed.watch('orders', entity => 'order', users => '{customer,partner}');
  CREATE TABLE history (id text, version integer, partner text, PRIMARY KEY (id, version)); -- the truth, watched by nobody
`;

/** A partner (or the customer) at random bridges: his own channel always, row channels whenever he is let in. */
class Partner {
  received = []; // on the user channel, in order
  rowEvents = 0;
  refused = 0;
  lost = 0; // row channels that ended
  wrong = [];
  #cursor;
  #done = new AbortController();

  constructor({ user, token, bridges, since, random }) {
    Object.assign(this, { user, token, bridges, random, since, channel: `orders:user:${user}` });
    this.#cursor = idOf(since);
    this.epoch = since.split('-')[0];
  }

  async run() {
    while (!this.#done.signal.aborted) {
      const client = await Client.open(this.random.pick(this.bridges), { token: this.token });
      client.socket.on('message', () => this.#frame(client, client.frames.at(-1), client.texts.at(-1)));
      client.send({ type: 'subscribe', ref: 'user', channel: this.channel, since: `${this.epoch}-${this.#cursor}` });
      this.client = client;
      const leave = performance.now() + this.random.int(0, STAY_MS);
      while (!client.closed && !this.#done.signal.aborted && (this.calm || performance.now() < leave)) {
        // Again and again, also with cursors from long ago: whatever he is let in for now.
        const key = this.random.pick(ORDERS);
        const since = this.random.chance(0.5) ? this.since : `${this.epoch}-${this.#cursor}`;
        if (!this.calm) client.send({ type: 'subscribe', ref: `row ${key}`, channel: `orders:row:${key}`, ...(this.random.chance(0.7) ? { since } : {}) });
        client.send({ type: 'ping', ref: 'p' });
        await pause(this.random.int(5, 60), undefined, { signal: this.#done.signal }).catch(() => {}); // his own rhythm
      }
      client.socket.terminate();
      await until('the socket to close', () => client.closed);
      if (![1005, 1006].includes(client.closed.code)) this.wrong.push(`closed with ${client.closed.code}`);
    }
  }

  #frame(client, frame, text) {
    if (!this.isCustomer && new RegExp(`for:(?!${this.user}:)`).test(text)) this.wrong.push(`${this.user} received ${text}`);
    if (frame.type === 'subscribed' && frame.channel === this.channel) client.covers = true;
    if (frame.type === 'pong' && client.covers) this.pong = idOf(frame.cursor); // it speaks of subscriptions that were answered
    if (frame.type === 'error' && frame.code === 'forbidden') this.refused++;
    else if (frame.type === 'error') this.wrong.push(text);
    if (frame.type === 'subscribed' && frame.recovered === false) this.wrong.push(text);
    if (frame.type === 'unsubscribed') this.lost++;
    if (frame.type === 'resync') this.wrong.push(text);
    if (typeof frame.id !== 'number') return;
    if (frame.channels.some((channel) => channel.startsWith('orders:row:'))) this.rowEvents++;
    if (!frame.channels.includes(this.channel)) return;
    if (frame.id <= this.#cursor) this.wrong.push(`again or out of order: ${text}`);
    this.#cursor = frame.id;
    this.received.push(frame);
    if (client.frames.length > 500) client.forget();
  }

  async reach(id) {
    this.calm = true;
    await until(`${this.user} to reach ${id}`, () => this.pong >= id && !this.client.closed, SETTLE_MS);
  }

  end() {
    this.#done.abort();
  }
}

describe('an order that is reassigned', () => {
  let cluster;
  let db;
  const bridges = [];

  before(async () => {
    cluster = await Cluster.start();
    db = await cluster.database(SCHEMA);
    const freely = ['--rate', '100000'];
    for (const more of [[], ['--history', '64KiB']]) bridges.push(await Bridge.start(db, [...freely, ...more]));
  });
  after(async () => {
    await tearDown(bridges, cluster);
  });

  const WRITE = `
    WITH changed AS (
      UPDATE orders SET version = version + 1, partner = $2, note = 'for:' || coalesce($2, 'nobody') || ':' || (version + 1) WHERE id = $1
      RETURNING id, version, partner)
    INSERT INTO history SELECT * FROM changed`;

  async function write(random, stop) {
    const writer = await db.connect();
    await writer.query(`SET lock_timeout = '60s'`);
    let reassigned = 0;
    while (!stop.aborted) {
      // One order after the other, so that writers do not lock each other out.
      const keys = ORDERS.filter(() => random.chance(0.3));
      await writer.query('BEGIN');
      for (const key of keys) {
        const { rows: [{ partner }] } = await writer.query('SELECT partner FROM orders WHERE id = $1 FOR UPDATE', [key]);
        for (let n = random.int(1, 3); n > 0; n--) {
          const other = random.chance(0.4) ? random.pick([...PARTNERS, null]) : partner;
          if (other !== partner) reassigned++;
          await writer.query(WRITE, [key, other]);
        }
      }
      await writer.query(random.chance(0.9) ? 'COMMIT' : 'ROLLBACK');
      await pause(random.int(0, 10)); // the rhythm of the load
    }
    await writer.end();
    return reassigned;
  }

  /** What the user's own channel must have had of one order. */
  function expected(history, user) {
    const list = [];
    let had = false;
    for (const { version, partner } of history) {
      const has = partner === user;
      if (has && had) list.push(`updated ${version}`);
      if (has && !had) list.push(version === 1 ? `created ${version}` : `moved_in ${version}`);
      if (!has && had) list.push('moved_out');
      had = has;
    }
    return list;
  }

  it('stops reaching its former partner with that very event', async () => {
    const random = seeded('reassign');
    const since = await db.head();
    for (const key of ORDERS) {
      await db.write(`WITH made AS (INSERT INTO orders VALUES ($1, 'c', 'p1', 1, 'for:p1:1') RETURNING id, version, partner) INSERT INTO history SELECT * FROM made`, [key]);
    }
    const people = [];
    for (const user of [...PARTNERS, ...PARTNERS, 'c']) {
      people.push(new Partner({ user, since, bridges, random: random.child(`${user}${people.length}`), token: await db.token(user, { ttl: '1 day' }) }));
    }
    people.at(-1).isCustomer = true;
    const running = Promise.all(people.map((person) => person.run()));
    running.catch(() => {});
    const stop = new AbortController();
    const writing = Promise.all(Array.from({ length: WRITERS }, (_, n) => write(random.child(`w${n}`), stop.signal)));
    writing.catch(() => {});
    try {
      const sum = (what) => people.reduce((total, person) => total + what(person), 0);
      await lasting(seconds(5) * 1000, stop.signal); // the load
      await until('something of everything', () => sum(({ lost }) => lost) > 0 && sum(({ rowEvents }) => rowEvents) > 0 && sum(({ refused }) => refused) > 0, SETTLE_MS);
      stop.abort();
      const reassigned = (await writing).reduce((sum, n) => sum + n, 0);
      const head = idOf(await db.head());
      await Promise.race([Promise.all(people.map((person) => person.reach(head))), running]);
      for (const person of people) person.end();
      await running;

      console.log('reassign:', JSON.stringify({ reassigned, events: sum(({ received }) => received.length), rowEvents: sum(({ rowEvents }) => rowEvents), refused: sum(({ refused }) => refused),
        rowChannelsEnded: sum(({ lost }) => lost), head }));
      assert.deepEqual(people.flatMap(({ wrong }) => wrong).slice(0, 10), []);
      assert.ok(reassigned > 10, `${reassigned} were`);
      const history = await db.query('SELECT * FROM history ORDER BY id, version');
      for (const { user, received, isCustomer } of people) {
        for (const key of ORDERS) {
          const truth = history.filter(({ id }) => id === key);
          const got = received.filter((frame) => frame.key === key).map(({ action, data }) => (data ? `${action} ${data.version}` : action));
          const should = isCustomer ? truth.map(({ version }) => (version === 1 ? 'created 1' : `updated ${version}`)) : expected(truth, user);
          assert.deepEqual(got, should, `${user}, ${key}`);
        }
      }
    } finally {
      stop.abort();
      for (const person of people) person.end();
      await Promise.allSettled([writing, running]);
    }
  });
});
