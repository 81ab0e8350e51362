// One of the applications under examples/, loaded as its README says, with a bridge; and its people.

import assert from 'node:assert/strict';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { Cluster, ROOT } from './cluster.mjs';
import { Bridge } from './bridge.mjs';
import { Client } from './client.mjs';
import { until } from './wait.mjs';

export class Example {
  #clients = [];
  #probe;

  #pages;

  /** `probe`: one of the people, for settled(). `page`: the bridge also serves the application's page, at `/NAME/`. */
  static async start(name, { probe, page = false }) {
    const example = new Example();
    example.probe = probe;
    example.folder = path.join(ROOT, 'examples', name);
    example.cluster = await Cluster.start();
    try {
      const db = await example.cluster.database();
      example.db = db;
      for (const file of ['schema.sql', 'seed.sql', 'writer.sql']) await db.write(await readFile(path.join(example.folder, file), 'utf8'));
      await db.query(`SELECT livefeed.set_authorizer('rights(jsonb)')`);
      example.bridge = await Bridge.start(db, page ? ['--static', await example.#publish(name)] : []);
      await example.settled(); // the seed
    } catch (error) {
      await example.stop();
      throw error;
    }
    return example;
  }

  // As the demo does it: the page, what pages share, the browser library, and tokens for the people on it.
  async #publish(name) {
    this.#pages = await mkdtemp(path.join(os.tmpdir(), 'livefeed-pages-'));
    for (const [from, to] of [[path.join(this.folder, '../shared'), 'shared'], [path.join(ROOT, 'client'), 'client']]) {
      await cp(from, path.join(this.#pages, to), { recursive: true });
    }
    await cp(path.join(this.folder, 'page'), path.join(this.#pages, name), { recursive: true });
    const [people] = await this.db.query(await readFile(path.join(this.folder, 'people.sql'), 'utf8'));
    await writeFile(path.join(this.#pages, name, 'session.json'), JSON.stringify(Object.values(people)[0]));
    return this.#pages;
  }

  async stop() {
    await Promise.all(this.#clients.map((client) => client.leave()));
    await this.bridge?.stop();
    await this.cluster?.remove();
    if (this.#pages) await rm(this.#pages, { recursive: true });
  }

  /** Everything committed until now is behind whoever subscribes next: his bridge has read it. */
  async settled() {
    this.#probe ??= await this.as(this.probe);
    await this.#probe.caughtUp(this.db);
  }

  /** A token that says who it is and no more: rights come from the application's tables. */
  tokenOf(user) {
    return this.db.value('SELECT livefeed.issue_token($1, NULL)', [String(user)]);
  }

  /** One of the people, on a path of the application, token in the query; `subscriptions` is how many the path makes. */
  async as(user, where = '/ws', subscriptions = 0, query = {}) {
    const client = await Client.open(this.bridge, { token: await this.tokenOf(user), path: where, query });
    this.#clients.push(client);
    for (let n = 0; n < subscriptions; n++) await client.next('subscribed');
    return client;
  }

  /** GET of an endpoint as that user: { status, body } with the JSON. */
  async get(user, target, { method = 'GET', headers = {}, body } = {}) {
    const answer = await this.bridge.get(target, { method, headers: { Authorization: `Bearer ${await this.tokenOf(user)}`, ...headers }, body });
    return { status: answer.status, body: JSON.parse(answer.body) };
  }
}

const DAY_MS = 24 * 3600 * 1000;

/**
 * For a test that is about today: not begun in the last two minutes before midnight (UTC, as the seeds have it); and what the
 * workshop's seeds have for another day, since they were loaded before midnight, is moved to this one.
 */
export async function dayWithTime(example) {
  await until('the next day', () => Date.now() % DAY_MS < DAY_MS - 120_000, 150_000);
  await example.db.write(`UPDATE appointments SET starts_at = starts_at + late.days * interval '1 day'
    FROM (SELECT (now() AT TIME ZONE 'UTC')::date - (starts_at AT TIME ZONE 'UTC')::date AS days FROM appointments WHERE customer = 'Ada Lund') AS late
    WHERE late.days <> 0`);
  await example.settled();
}

/** The query's value, once it is that (or fits, for a function). */
export async function value(client, channel, wanted = () => true, ms) {
  const fits = typeof wanted === 'function' ? wanted : (data) => isDeepStrictEqual(data, wanted);
  const frame = await client.next((each) => each.type === 'value' && each.channel === channel && fits(each.data), ms);
  return frame.data;
}

/** Runs a command; gives its result's data. */
export async function call(client, name, args = {}) {
  const answer = await client.ask({ type: 'call', name, args });
  assert.equal(answer.type, 'result', JSON.stringify(answer));
  return answer.data;
}

/** Runs a command that must be refused; gives the error's message. */
export async function refusedCall(client, name, args = {}, code = 'command_failed') {
  const answer = await client.ask({ type: 'call', name, args });
  assert.equal(answer.type, 'error', `${name} was not refused: ${JSON.stringify(answer)}`);
  assert.equal(answer.code, code, answer.message);
  return answer.message;
}
