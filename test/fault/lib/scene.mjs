// What most fault tests have in common: a cluster, bridges, writers and sessions at
// the beginning; the one checker at the end; and whatever went wrong, nothing stays behind.

import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { Cluster, idOf } from '../../e2e/lib/cluster.mjs';
import { Bridge } from '../../e2e/lib/bridge.mjs';
import { until } from '../../e2e/lib/wait.mjs';
import { Checker } from './checker.mjs';
import { seeded } from './random.mjs';
import { Session, startSessions } from './session.mjs';
import { FEEDS, SCHEMA, startWriters } from './writer.mjs';

/** Stops the bridges (each has to end well), then removes the cluster; then says what was wrong. */
export async function tearDown(bridges, cluster) {
  const ends = await Promise.allSettled(bridges.filter(Boolean).map((bridge) => bridge.stop()));
  await cluster?.remove();
  const bad = ends.find(({ status }) => status === 'rejected');
  if (bad) throw bad.reason;
}

/** What a process holds: { rss, anonymous (both kB; the latter without files and shared memory), descriptors }. */
export async function held(pid) {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  const kb = (name) => Number(new RegExp(`${name}:\\s+(\\d+) kB`).exec(status)[1]);
  return { rss: kb('VmRSS'), anonymous: kb('RssAnon'), descriptors: (await readdir(`/proc/${pid}/fd`)).length };
}

/** Signals a process that may be gone. */
function signal(pid, name) {
  try {
    process.kill(pid, name);
  } catch (error) {
    if (error.code !== 'ESRCH') throw error;
  }
}

/** Stops processes (SIGSTOP) while the work is done. */
export async function stopped(pids, work) {
  for (const pid of pids) signal(pid, 'SIGSTOP');
  try {
    return await work();
  } finally {
    for (const pid of pids) signal(pid, 'SIGCONT');
  }
}

/** The units' channels of all feeds. */
export const unitChannels = (unit, feeds = FEEDS) => feeds.map((feed) => `${feed}:unit:${unit}`);

/** Names that bridges' connections have in pg_stat_activity. */
export const LISTENER = 'livefeed-bridge';
export const TICKER = 'livefeed-bridge ticker';
export const KEEPER = 'livefeed-bridge keeper';

export class Scene {
  bridges = [];
  sessions = [];
  checker = new Checker();
  #probes = 0;
  #houses = [];
  #writers = [];
  #stop = new AbortController();
  #faults = [];

  /** `bridges`: a list of arguments for each; `cluster`: settings of the cluster; `prepare`: what is done before bridges start. */
  static async start(name, { cluster = {}, bridges = [[]], prepare = () => {} } = {}) {
    const scene = new Scene();
    scene.name = name;
    try {
      scene.cluster = await Cluster.start(cluster);
      scene.db = await scene.cluster.database(SCHEMA);
      await prepare(scene);
      for (const args of bridges) scene.bridges.push(await Bridge.start(scene.db, args));
    } catch (error) {
      await scene.remove().catch(() => {});
      throw error;
    }
    return scene;
  }

  /** A new story: a checker and sessions of its own, from the present head on. */
  async begin() {
    this.random = seeded(this.name);
    this.checker = new Checker();
    this.sessions = [];
    this.since = await this.db.head();
  }

  /** A session of one unit (or with `who` and `channels` of its own), started. */
  async session(name, { unit, who = { units: [unit] }, user = name, ...options }) {
    const session = new Session({
      name, since: this.since, checker: this.checker, bridges: this.bridges, random: this.random.child(name), channels: unitChannels(unit),
      token: options.token ?? await this.db.token(user, { ttl: '1 day', ...who }), ...options,
    });
    return this.add(session);
  }

  /** One that was made elsewhere (a Stray), started. */
  add(session) {
    this.sessions.push(session);
    this.#houses.push(startSessions([session]));
    return session;
  }

  write(count, options) {
    const writers = startWriters(count, { db: this.db, checker: this.checker, random: this.random, ...options });
    this.#writers.push(writers);
    return writers;
  }

  /** A fault that goes on beside everything else until `signal` aborts, which calm() does. */
  beside(work) {
    const fault = work(this.#stop.signal);
    fault.catch(() => {}); // seen by calm()
    this.#faults.push(fault);
    return fault;
  }

  /** Ends early, with an error, when a fault or a writer does. */
  get faulty() {
    const never = new Promise(() => {});
    return Promise.race([...this.#faults, ...this.#writers.map(({ done }) => done)].map((work) => work.then(() => never)));
  }

  /** The bridges, the one that ticks first. */
  async ticker() {
    const pid = await until('one of the bridges to tick', async () => {
      // One that was stopped may still say so of itself: the latest word counts.
      const [last] = await this.db.query('SELECT pid FROM livefeed.bridges WHERE ticker ORDER BY seen_at DESC LIMIT 1');
      return this.bridges.some((bridge) => bridge.process.pid === last?.pid) ? last.pid : null;
    });
    return [...this.bridges].sort((a, b) => Number(b.process.pid === pid) - Number(a.process.pid === pid));
  }

  /** The bridges' connections to the database: [{ pid, name }]; `names`: only those. */
  backends(...names) {
    return this.db.query(`SELECT pid, application_name AS name FROM pg_stat_activity
      WHERE usename = 'bridge' AND datname = current_database() AND ($1::text[] = '{}' OR application_name = ANY ($1)) ORDER BY backend_start`, [names]);
  }

  get signal() {
    return this.#stop.signal;
  }

  /** All sessions of the story have what is committed by now; they go on as before. */
  async reached(ms) {
    const head = idOf(await this.db.head());
    await Promise.all(this.sessions.map((session) => session.reach(head, ms)));
  }

  /** One recorded transaction: a new row of that unit; gives its key. */
  async probe({ unit = 1, feed = 'items', body = 'probe', rows = 1 } = {}) {
    const tx = this.checker.transaction(`probe${++this.#probes}`);
    const client = await this.db.app();
    const steps = Array.from({ length: rows }, (_, n) => ({
      step: tx.number(), feed, key: `${tx.name}-${n + 1}`, kind: 'created', unit: String(unit), user: null, version: 1, body,
    }));
    await client.query('BEGIN');
    await client.query('INSERT INTO ledger VALUES ($1)', [tx.name]);
    const sent = performance.now();
    await client.query(`INSERT INTO ${feed} SELECT $1 || '-' || n, $2, 1, $1, n, $3 FROM generate_series(1, $4::integer) n`, [tx.name, unit, body, rows]);
    for (const step of steps) tx.add(step, sent);
    await client.query('COMMIT');
    tx.end('committed');
    return steps.at(-1).key;
  }

  /** All these sessions were sent the event of that key, without any help (reached() makes a tick); gives the ms it took. */
  async heard(key, ms, sessions = this.sessions) {
    const began = performance.now();
    const has = ({ stream }) => [...stream.channels.values()].some(({ events }) => events.findLast((event) => event.key === key));
    for (const session of sessions) await until(`${session.name} to hear of ${key}`, () => has(session), ms);
    return Math.round(performance.now() - began);
  }

  /** The faults end, then the writers; every session reaches the head. */
  async calm() {
    this.#stop.abort();
    await Promise.all(this.#faults);
    await Promise.all(this.#writers.map((writers) => writers.stop()));
    this.head = idOf(await this.db.head());
    await this.settle();
  }

  async settle() {
    await Promise.all(this.#houses.map((house) => house.settle(this.head)));
  }

  /** The verdict: ends the sessions, prints the figures, fails on any defect. */
  async verdict(more = {}) {
    await Promise.all(this.#houses.map((house) => house.end()));
    await this.checker.settle(this.db);
    const defects = this.checker.defects();
    const lost = defects.length === 0 ? { lost: 0, leaked: 0, repeated: 0 } : {};
    console.log(`${this.name}:`, JSON.stringify({ ...this.checker.figures(), breaks: this.sum('breaks'), ...more, ...lost }));
    assert.deepEqual(defects, []);
  }

  sum(what) {
    return this.sessions.reduce((sum, session) => sum + (session[what] ?? 0), 0);
  }

  /** Ends a story in any state; after a verdict it does nothing. */
  async end() {
    this.#stop.abort();
    await Promise.allSettled(this.#faults);
    await Promise.allSettled(this.#writers.map((writers) => writers.stop()));
    await Promise.allSettled(this.#houses.map((house) => house.end()));
    this.#stop = new AbortController();
    this.#faults = [];
    this.#writers = [];
    this.#houses = [];
  }

  async remove() {
    for (const bridge of this.bridges) if (bridge.ended === null) bridge.process.kill('SIGCONT');
    await tearDown(this.bridges, this.cluster);
  }
}
