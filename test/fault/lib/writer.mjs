// Writers that know what they did: transactions of random shape, with late commits,
// rollbacks, savepoints, rows that move between units, several rows in a statement and
// prepared transactions, all recorded with the checker.

import { setTimeout as pause } from 'node:timers/promises';
import { until, SLOW } from '../../e2e/lib/wait.mjs';
import { seconds } from './random.mjs';

export const FEEDS = ['items', 'marks'];

export const SCHEMA = `
  CREATE TABLE ledger (tx text PRIMARY KEY);
  ${FEEDS.map((feed) => `
  CREATE TABLE ${feed} (
    id text PRIMARY KEY, unit_id integer, version integer NOT NULL, tx text NOT NULL, step integer NOT NULL, body text, user_id text);
  SELECT livefeed.watch('${feed}', unit => 'unit_id', users => '{user_id}');`).join('')}
`;

const LOCK_TIMEOUT_MS = 400 * SLOW;
// PostgreSQL may be away for as long as the faults last, and has to recover then.
const CONNECT_WITHIN_MS = 60_000 * SLOW + seconds(0) * 1000;
// Waiting for each other, and what a restart of PostgreSQL does to a connection.
const EXPECTED_ERRORS = new Set(['55P03', '40P01', '57P01', '57P02', '57P03']);

const text = (unit) => (unit === null ? null : String(unit));

/** Rows that writers share; only a row of a committed transaction stands here. */
export class Pool {
  #rows = [];

  add(rows) {
    this.#rows.push(...rows);
  }

  pick(random) {
    return this.#rows.length ? random.pick(this.#rows) : undefined;
  }

  drop(row) {
    const at = this.#rows.indexOf(row);
    if (at >= 0) this.#rows.splice(at, 1);
  }
}

export class Writer {
  #count = 0;
  #stopped = false;
  #client;
  #alive = false;
  #row = 0;

  /**
   * `units`, `users`: where rows go (null: nobody's); `async`: COMMIT does not wait for the disk, so that a crash may take
   * back what was answered, and every transaction counts either way; `pace`: the longest pause between two
   * transactions in ms; `late`: the longest a transaction stays open; `body`: bytes of each row; `refused`: an object that counts, by SQLSTATE, errors that would
   * else be defects.
   */
  constructor({ name, db, checker, pool, random, units, users = [null], async = false, pace = 30, late = 250, body = 40, prepared = true, refused }) {
    Object.assign(this, { name, db, checker, pool, random, units, users, async, pace, late, body, prepared, refused });
  }

  stop() {
    this.#stopped = true;
  }

  /** Writes until stop(). */
  async run() {
    while (!this.#stopped) {
      if (!this.#alive) await this.#connect();
      await this.#transaction();
      await pause(this.random.int(0, this.pace)); // a writer's own rhythm
    }
    if (!this.#alive) await this.#connect(); // what was prepared must not stay so
    await this.#client.end();
  }

  async #connect() {
    await until('a connection for the writer', async () => {
      this.#client = await this.db.connect();
      this.#alive = true;
      this.#client.once('end', () => { this.#alive = false; });
      this.#client.once('error', () => { this.#alive = false; });
      await this.#client.query(`SET lock_timeout = ${LOCK_TIMEOUT_MS}`);
      if (this.async) await this.#client.query('SET synchronous_commit = off');
      const left = await this.#client.query('SELECT gid FROM pg_prepared_xacts WHERE database = current_database() AND starts_with(gid, $1)', [`${this.name}.`]);
      for (const { gid } of left.rows) await this.#client.query(`COMMIT PREPARED '${gid}'`);
      return this.#alive;
    }, CONNECT_WITHIN_MS);
  }

  async #transaction() {
    const tx = this.checker.transaction(`${this.name}.${++this.#count}`);
    const made = [];
    const gone = [];
    const how = this.random.next();
    const state = { tx, made, gone, ending: false, prepared: false };
    try {
      await this.#client.query('BEGIN');
      await this.#client.query('INSERT INTO ledger VALUES ($1)', [tx.name]);
      for (let n = this.random.int(1, 5); n > 0; n--) {
        if (this.random.chance(0.25)) await this.#savepoint(state);
        else await this.#change(state);
      }
      // A late commit: the time it stays open is the fault.
      if (this.random.chance(0.3)) await pause(this.random.int(1, this.late));
      await this.#end(state, how);
    } catch (error) {
      await this.#failed(state, error);
      return;
    }
    if (tx.outcome === 'committed' && this.async) tx.outcome = 'lost';
    if (tx.outcome !== 'rolled back') {
      this.pool.add(made);
      for (const row of gone) this.pool.drop(row);
    }
  }

  async #end(state, how) {
    const { tx } = state;
    if (how < 0.12) {
      await this.#client.query('ROLLBACK');
      tx.end('rolled back');
      return;
    }
    if (this.prepared && how < 0.18) {
      state.ending = true;
      await this.#client.query(`PREPARE TRANSACTION '${tx.name}'`);
      state.prepared = true; // from here on it can only commit, by whoever comes back
      await pause(this.random.int(0, this.late)); // prepared for that long: the fault
      await this.#client.query(`COMMIT PREPARED '${tx.name}'`);
      tx.end('committed');
      return;
    }
    state.ending = true;
    const answer = await this.#client.query('COMMIT');
    tx.end(answer.command === 'COMMIT' ? 'committed' : 'rolled back');
  }

  /** The connection is gone, or the transaction is. */
  async #failed({ tx, ending, prepared }, error) {
    let dead = !this.#alive || error.severity !== 'ERROR' || prepared;
    if (error.severity && !EXPECTED_ERRORS.has(error.code)) {
      if (this.refused) this.refused[error.code] = (this.refused[error.code] ?? 0) + 1;
      else this.checker.defect('write', `${tx.name}: ${error.code} ${error.message}`);
    }
    tx.end(dead && ending ? 'lost' : 'rolled back');
    if (!dead) await this.#client.query('ROLLBACK').catch(() => { dead = true; }); // a cancel that came late, say
    if (dead) {
      this.#alive = false;
      await this.#client.end().catch(() => {});
    }
  }

  async #savepoint(state) {
    const mark = state.tx.mark();
    const made = state.made.length;
    const gone = state.gone.length;
    await this.#client.query('SAVEPOINT s');
    for (let n = this.random.int(1, 3); n > 0; n--) await this.#change(state);
    if (this.random.chance(0.6)) {
      await this.#client.query('ROLLBACK TO SAVEPOINT s');
      state.tx.back(mark);
      state.made.length = made;
      state.gone.length = gone;
    } else {
      await this.#client.query('RELEASE SAVEPOINT s');
    }
  }

  async #change(state) {
    const kind = this.random.next();
    const row = this.random.chance(0.3) && state.made.length ? this.random.pick(state.made) : this.pool.pick(this.random);
    if (!row || kind < 0.3) return this.#insert(state, 1);
    if (kind < 0.38) return this.#insert(state, this.random.int(2, 6));
    if (kind < 0.78) return this.#update(state, row);
    if (kind < 0.87) return this.#move(state, row);
    if (kind < 0.9) return this.#hand(state, row);
    return this.#delete(state, row);
  }

  #text() {
    return 'x'.repeat(this.random.int(0, this.body));
  }

  async #insert({ tx, made }, rows) {
    const feed = this.random.pick(FEEDS);
    const values = [];
    const steps = [];
    for (let n = 0; n < rows; n++) {
      const step = {
        step: tx.number(), feed, key: `${this.name}-${++this.#row}`, kind: 'created', unit: this.random.pick(this.units), user: this.random.pick(this.users), version: 1, body: this.#text(),
      };
      steps.push(step);
      values.push(step.key, step.unit, 1, tx.name, step.step, step.body, step.user);
    }
    const places = steps.map((_, n) => `(${Array.from({ length: 7 }, (__, column) => `$${7 * n + column + 1}`).join(', ')})`);
    const sent = performance.now();
    await this.#client.query(`INSERT INTO ${feed} VALUES ${places.join(', ')}`, values);
    for (const step of steps) {
      tx.add({ ...step, unit: text(step.unit) }, sent);
      made.push({ feed, key: step.key });
    }
  }

  async #update({ tx }, row) {
    const step = tx.number();
    const body = this.#text();
    const sent = performance.now();
    const { rows: [now] } = await this.#client.query(
      `UPDATE ${row.feed} SET version = version + 1, tx = $2, step = $3, body = $4 WHERE id = $1 RETURNING unit_id, user_id, version`,
      [row.key, tx.name, step, body]);
    if (!now) return this.pool.drop(row);
    return tx.add({ step, feed: row.feed, key: row.key, kind: 'updated', unit: text(now.unit_id), user: now.user_id, version: now.version, body }, sent);
  }

  async #move({ tx }, row) {
    const { rows: [was] } = await this.#client.query(`SELECT unit_id FROM ${row.feed} WHERE id = $1 FOR UPDATE`, [row.key]);
    if (!was) return this.pool.drop(row);
    const there = this.random.pick(this.units.filter((unit) => unit !== was.unit_id));
    if (there === undefined) return undefined;
    const step = tx.number();
    const sent = performance.now();
    const { rows: [now] } = await this.#client.query(
      `UPDATE ${row.feed} SET version = version + 1, tx = $2, step = $3, unit_id = $4 WHERE id = $1 RETURNING user_id, version, body`,
      [row.key, tx.name, step, there]);
    return tx.add({ step, feed: row.feed, key: row.key, kind: 'moved', was: text(was.unit_id), unit: text(there), user: now.user_id, version: now.version, body: now.body }, sent);
  }

  /** To another user. */
  async #hand({ tx }, row) {
    const { rows: [was] } = await this.#client.query(`SELECT user_id FROM ${row.feed} WHERE id = $1 FOR UPDATE`, [row.key]);
    if (!was) return this.pool.drop(row);
    const there = this.random.pick(this.users.filter((user) => user !== was.user_id));
    if (there === undefined) return undefined;
    const step = tx.number();
    const sent = performance.now();
    const { rows: [now] } = await this.#client.query(
      `UPDATE ${row.feed} SET version = version + 1, tx = $2, step = $3, user_id = $4 WHERE id = $1 RETURNING unit_id, version, body`,
      [row.key, tx.name, step, there]);
    return tx.add({ step, feed: row.feed, key: row.key, kind: 'handed', unit: text(now.unit_id), wasUser: was.user_id, user: there, version: now.version, body: now.body }, sent);
  }

  async #delete({ tx, gone }, row) {
    const step = tx.number();
    const sent = performance.now();
    const { rows: [was] } = await this.#client.query(`DELETE FROM ${row.feed} WHERE id = $1 RETURNING unit_id, user_id, version`, [row.key]);
    if (!was) return this.pool.drop(row);
    gone.push(row);
    return tx.add({ step, feed: row.feed, key: row.key, kind: 'deleted', unit: text(was.unit_id), user: was.user_id, version: was.version + 1 }, sent);
  }
}

/** Some writers on one pool, started. `stop()` lets each finish its transaction. */
export function startWriters(count, { db, checker, random, prefix = 'w', ...options }) {
  const pool = new Pool();
  const writers = Array.from({ length: count }, (_, n) => {
    const name = `${prefix}${n + 1}`;
    return new Writer({ name, db, checker, pool, random: random.child(name), ...options });
  });
  const all = Promise.all(writers.map((writer) => writer.run()));
  all.catch(() => {}); // seen by stop()
  return {
    done: all, // ends early with what no writer may meet
    async stop() {
      for (const writer of writers) writer.stop();
      await all;
    },
  };
}
