// A session that follows one channel through anything: it breaks off and resumes,
// at any bridge, and keeps all it was sent. And writers whose every committed
// change stands in a table of its own, so that what should have arrived is known.

import assert from 'node:assert/strict';
import { setTimeout as pause } from 'node:timers/promises';
import WebSocket from 'ws';
import { idOf } from './cluster.mjs';
import { DEADLINE_MS } from './wait.mjs';

export const TRUTH = `
  CREATE TABLE items (id bigint PRIMARY KEY, unit_id integer NOT NULL, n integer NOT NULL);
  CREATE TABLE truth (unit_id integer, id bigint, n integer);
  SELECT livefeed.watch('items', unit => 'unit_id');
`;

const ANSWER_MS = 3000; // of a bridge that may be stopped: then another one

export class Follower {
  events = []; // { id, key, n }
  trouble = [];
  resumes = 0;
  #stopping = false;

  /** bridges: functions that give { port }. pick: which one next. */
  constructor(bridges, token, channel, { breakOffMs = null } = {}) {
    Object.assign(this, { bridges, token, channel, breakOffMs });
    this.cursor = null;
    this.done = this.#run();
  }

  async #run() {
    while (!this.#stopping) {
      const { port } = this.bridges[Math.floor(Math.random() * this.bridges.length)]();
      await this.#session(port);
      await pause(Math.random() * 100);
    }
  }

  /** One connection, until it breaks. */
  #session(port) {
    return new Promise((resolve) => {
      const socket = new WebSocket(`ws://127.0.0.1:${port}/ws`, 'livefeed.v1', { perMessageDeflate: false, handshakeTimeout: ANSWER_MS });
      this.socket = socket;
      let silence = setTimeout(() => socket.terminate(), ANSWER_MS);
      const heard = () => { clearTimeout(silence); silence = setTimeout(() => socket.terminate(), ANSWER_MS); };
      const pings = setInterval(() => { if (socket.readyState === WebSocket.OPEN) socket.send('{"type":"ping"}'); }, ANSWER_MS / 4);
      const breaks = this.breakOffMs ? setTimeout(() => socket.terminate(), Math.random() * this.breakOffMs) : null;
      let subscribed = false;
      socket.on('open', () => socket.send(JSON.stringify({ type: 'auth', token: this.token })));
      socket.on('message', (data) => {
        heard();
        const frame = JSON.parse(data);
        if (typeof frame.id === 'number') {
          this.events.push({ id: frame.id, key: frame.key, n: frame.data?.n });
          this.cursor = `${this.epoch}-${frame.id}`;
        } else if (frame.type === 'welcome') {
          if (this.epoch && this.epoch !== frame.epoch) this.trouble.push(`epoch ${this.epoch} became ${frame.epoch}`);
          this.epoch = frame.epoch;
          socket.send(JSON.stringify({ type: 'subscribe', ref: 1, channel: this.channel, since: this.cursor ?? `${frame.epoch}-0` }));
        } else if (frame.type === 'subscribed') {
          if (frame.recovered !== true) this.trouble.push(JSON.stringify(frame));
          subscribed = true;
          this.resumes++;
          this.cursor ??= frame.cursor;
        } else if (frame.type === 'pong') {
          // Only while subscribed does it say anything about this channel.
          if (subscribed && idOf(frame.cursor) > idOf(this.cursor)) this.cursor = frame.cursor;
        } else if (frame.type === 'error' && frame.code === 'unavailable') {
          socket.terminate(); // the database is away: again
        } else if (frame.type !== 'status') {
          this.trouble.push(JSON.stringify(frame));
        }
      });
      socket.on('error', () => {});
      socket.on('close', (code) => {
        clearTimeout(silence);
        clearInterval(pings);
        if (breaks) clearTimeout(breaks);
        if ([4400, 4401, 4403].includes(code)) this.trouble.push(`closed with ${code}`);
        resolve();
      });
    });
  }

  /** Goes on until the cursor covers the head, then leaves. */
  async finish(head, ms = 4 * DEADLINE_MS) {
    this.breakOffMs = null;
    const deadline = Date.now() + ms;
    while (!this.cursor || idOf(this.cursor) < head) {
      if (Date.now() > deadline) { this.trouble.push(`came to ${this.cursor}, not to ${head}`); break; }
      await pause(50);
    }
    this.#stopping = true;
    this.socket.terminate();
    await this.done;
  }
}

/** Writes until told to stop: late commits, rollbacks, savepoints; connections may die under it. */
export class Writer {
  commits = 0;
  #stopping = false;

  constructor(database, number, units) {
    Object.assign(this, { database, number, units });
    this.next = number * 1_000_000;
    this.done = this.#run();
  }

  async #run() {
    let client = null;
    while (!this.#stopping) {
      try {
        client ??= await this.database.connect();
        await this.#transaction(client);
      } catch {
        client?.end().catch(() => {});
        client = null;
        await pause(50); // the server is away
      }
    }
    await client?.end().catch(() => {});
  }

  async #transaction(client) {
    const unit = this.units[Math.floor(Math.random() * this.units.length)];
    const id = ++this.next;
    const insert = (key) => client.query('WITH i AS (INSERT INTO items VALUES ($2, $1, 1) RETURNING *) INSERT INTO truth SELECT unit_id, id, n FROM i', [unit, key]);
    const update = (key) => client.query('WITH u AS (UPDATE items SET n = n + 1 WHERE id = $1 RETURNING *) INSERT INTO truth SELECT unit_id, id, n FROM u', [key]);
    await client.query('BEGIN');
    await insert(id);
    if (Math.random() < 0.5) {
      await client.query('SAVEPOINT s');
      await update(id);
      await client.query(Math.random() < 0.5 ? 'ROLLBACK TO s' : 'RELEASE s');
    }
    await update(id);
    // some other row of this writer's, so that a row has versions from several transactions
    if (Math.random() < 0.7) await update(this.number * 1_000_000 + 1 + Math.floor(Math.random() * (this.next - this.number * 1_000_000)));
    if (Math.random() < 0.2) await pause(Math.random() * 300); // a late commit
    if (Math.random() < 0.15) {
      await client.query('ROLLBACK');
    } else {
      await client.query('COMMIT');
      this.commits++;
    }
  }

  async stop() {
    this.#stopping = true;
    await this.done;
  }
}

/** Every follower of a unit has every event of it, once, in one order that follows the rows' versions. */
export async function assertComplete(database, followers) {
  const orders = new Map();
  for (const follower of followers) {
    const unit = follower.channel.split(':')[2];
    assert.deepEqual(follower.trouble, [], `trouble on ${follower.channel}`);
    const rows = await database.query('SELECT id, n FROM truth WHERE unit_id = $1', [unit]);
    const expected = rows.map((row) => `${row.id} ${row.n}`).sort();
    const got = follower.events.map((event) => `${event.key} ${event.n}`);
    assert.equal(new Set(got).size, got.length, `${follower.channel}: an event came twice`);
    const have = new Set(got);
    const missing = expected.filter((each) => !have.has(each));
    assert.deepEqual(missing.slice(0, 10), [], `${follower.channel}: ${missing.length} of ${expected.length} are missing`);
    assert.equal(got.length, expected.length, `${follower.channel}: more than was committed`);
    const ids = follower.events.map((event) => event.id);
    for (let n = 1; n < ids.length; n++) assert.ok(ids[n] > ids[n - 1], `${follower.channel}: ${ids[n]} after ${ids[n - 1]}`);
    const versions = new Map();
    for (const { key, n } of follower.events) {
      assert.ok(n > (versions.get(key) ?? 0), `${follower.channel}: row ${key} went back to ${n}`);
      versions.set(key, n);
    }
    const order = ids.join();
    assert.equal(orders.get(unit) ?? order, order, `${follower.channel}: another order`);
    orders.set(unit, order);
  }
}
