// A throwaway PostgreSQL of a test file's own, and databases in it.

import { spawn, execFile } from 'node:child_process';
import { promisify } from 'node:util';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { within, DEADLINE_MS } from './wait.mjs';

export const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../..');
const TOOL = path.join(ROOT, 'dev/cluster');
const run = promisify(execFile);
const START_MS = 12 * DEADLINE_MS; // as dev/cluster gives it

// Ids are bigint; all in tests fit a number.
pg.types.setTypeParser(20, Number);

export class Cluster {
  #holder;
  #tool;
  #env;
  #databases = [];
  #count = 0;

  /**
   * Starts a cluster; it lives as long as this process holds the pipe to dev/cluster. `wrapper`: a command in front
   * of it (nsenter, say); `env`: more for its environment.
   */
  static async start({ fsync = false, settings = [], wrapper = [], env = {} } = {}) {
    const cluster = new Cluster();
    cluster.#tool = [...wrapper, TOOL];
    cluster.#env = { ...process.env, ...env };
    const args = ['hold', ...(fsync ? [] : ['--no-fsync']), ...settings.flatMap((setting) => ['--set', setting])];
    const holder = spawn(cluster.#tool[0], [...cluster.#tool.slice(1), ...args], { stdio: ['pipe', 'pipe', 'pipe'], env: cluster.#env });
    cluster.#holder = holder;
    let out = '';
    let err = '';
    holder.stderr.on('data', (data) => { err += data; });
    await within('the cluster to start', new Promise((resolve, reject) => {
      holder.stdout.on('data', (data) => { out += data; if (/^ready$/m.test(out)) resolve(); });
      holder.once('exit', (code) => reject(new Error(`dev/cluster ended with ${code}: ${err}`)));
    }), START_MS);
    const named = Object.fromEntries(out.trim().split('\n').filter((line) => line.includes('=')).map((line) => line.split(/=(.*)/s, 2)));
    cluster.dir = named.LIVEFEED_CLUSTER;
    cluster.host = named.PGHOST;
    cluster.port = Number(named.PGPORT);
    return cluster;
  }

  connection(database, user = 'postgres') {
    return { host: this.host, port: this.port, user, database };
  }

  dsn(database, user = 'postgres') {
    return `host=${this.host} port=${this.port} user=${user} dbname=${database}`;
  }

  /** A new database with the extension and the two roles: `bridge`, and `app` that owns the tables. */
  async database(sql = '', { extension = true } = {}) {
    const name = `feed${++this.#count}`;
    const admin = new pg.Client(this.connection('postgres'));
    await admin.connect();
    await admin.query(`
      DO $$ BEGIN
        IF to_regrole('app') IS NULL THEN CREATE ROLE app LOGIN; CREATE ROLE bridge LOGIN; END IF;
      END $$`);
    await admin.query(`CREATE DATABASE ${name} OWNER app`);
    await admin.end();
    const database = new Database(this, name);
    this.#databases.push(database);
    if (extension) {
      await database.query('CREATE EXTENSION livefeed');
      await database.query(`SELECT livefeed.grant_bridge('bridge'), livefeed.grant_application('app')`);
    }
    if (sql) await (await database.app()).query(sql);
    return database;
  }

  async stop(mode = 'fast') {
    await this.#run('stop', this.dir, mode);
  }

  async again() {
    await this.#run('again', this.dir);
  }

  async #run(...args) {
    await run(this.#tool[0], [...this.#tool.slice(1), ...args], { env: this.#env });
  }

  async remove() {
    await Promise.all(this.#databases.map((database) => database.close()));
    const gone = new Promise((resolve) => { this.#holder.once('exit', resolve); });
    this.#holder.stdin.end();
    await within('the cluster to go', gone, START_MS);
  }
}

export class Database {
  #super;
  #app;
  #clients = new Set();

  constructor(cluster, name) {
    this.cluster = cluster;
    this.name = name;
    this.bridgeDsn = cluster.dsn(name, 'bridge');
  }

  /** A connection of its own, closed with the database at the latest. */
  async connect(user = 'app') {
    const client = new pg.Client(this.cluster.connection(this.name, user));
    client.on('error', () => {}); // the server went away: the next query says so
    await client.connect();
    this.#clients.add(client);
    client.once('end', () => this.#clients.delete(client));
    return client;
  }

  /** As superuser. */
  async query(sql, values) {
    this.#super = await this.#alive(this.#super, 'postgres');
    return (await this.#super.query(sql, values)).rows ?? [];
  }

  /** As the owner of the application's tables: an ordinary writer. */
  async write(sql, values) {
    return (await (await this.app()).query(sql, values)).rows ?? [];
  }

  async app() {
    this.#app = await this.#alive(this.#app, 'app');
    return this.#app;
  }

  async #alive(client, user) {
    if (client && this.#clients.has(client)) return client;
    return this.connect(user);
  }

  async value(sql, values) {
    const [row] = await this.query(sql, values);
    return row && Object.values(row)[0];
  }

  /** Makes a tick, so that everything committed until now has its id; the cursor of the last one. */
  async head() {
    await this.query('SELECT livefeed.tick()');
    await this.query('SELECT livefeed.ring()'); // bridges that did not make this tick hear of it at once
    return this.value('SELECT livefeed.cursor()');
  }

  token(user, { units = [], roles = [], ttl = '15 min', claims = {} } = {}) {
    return this.value('SELECT livefeed.issue_token($1, $2::jsonb, $3::text[], $4::interval, $5::jsonb)',
      [user, JSON.stringify(units), roles, ttl, JSON.stringify(claims)]);
  }

  async close() {
    await Promise.all([...this.#clients].map((client) => client.end().catch(() => {})));
  }
}

/** The number in a cursor. */
export function idOf(cursor) {
  return Number(cursor.slice(cursor.lastIndexOf('-') + 1));
}

export function epochOf(cursor) {
  return cursor.slice(0, cursor.lastIndexOf('-'));
}
