// Commands with an idempotency key, over WebSocket and HTTP, repeated until there is an answer, while bridges are killed,
// their connections terminated, PostgreSQL crashes and clients hang up: each is done once, and each repeat gets the first answer.
// Not here: commands without a key, of which nobody can know (test/e2e/commands.test.mjs).

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { after, before, describe, it } from 'node:test';
import { Bridge } from '../e2e/lib/bridge.mjs';
import { Client } from '../e2e/lib/client.mjs';
import { Cluster } from '../e2e/lib/cluster.mjs';
import { SLOW, within } from '../e2e/lib/wait.mjs';
import { repeatedly, seconds, seeded } from './lib/random.mjs';
import { tearDown } from './lib/scene.mjs';

const CALLERS = 8;
const PATIENCE_MS = 5000; // then a caller gives an attempt up, and comes again
const AGAIN_WITHIN_MS = 60_000 * SLOW;
const FAULTS_MS = 60_000 * SLOW; // a slow machine has so long to have had each fault once
const LAST_MS = 60_000 * SLOW; // for what is not answered when the faults are over

// ids: which command took which number.
const SCHEMA = `
  CREATE TABLE counter (id integer PRIMARY KEY, n integer NOT NULL);
  INSERT INTO counter SELECT n, 0 FROM generate_series(1, 4) n;
  SELECT livefeed.watch('counter', roles => '{*}');
  CREATE TABLE taken (command text NOT NULL, counter integer NOT NULL, n integer NOT NULL);
  CREATE FUNCTION take(args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
  DECLARE got integer;
  BEGIN
    UPDATE counter SET n = n + 1 WHERE id = (args ->> 'counter')::integer RETURNING n INTO got;
    PERFORM pg_sleep((args ->> 'sleep')::float);
    INSERT INTO taken VALUES (args ->> 'command', (args ->> 'counter')::integer, got);
    RETURN to_jsonb(got);
  END $$;
  SELECT livefeed.expose_command('take', 'take(jsonb)');
`;

describe('commands with a key', () => {
  const random = seeded('commands');
  let cluster;
  let db;
  let bridges = [];

  before(async () => {
    cluster = await Cluster.start();
    db = await cluster.database(SCHEMA);
    bridges = await Promise.all([1, 2].map(() => Bridge.start(db)));
  });
  after(async () => {
    await tearDown(bridges, cluster);
  });

  /** One attempt over HTTP: the data; undefined: no answer. */
  async function post(bridge, token, key, args) {
    const { status, body } = await bridge.get('/call/take', {
      method: 'POST', body: JSON.stringify(args), headers: { authorization: `Bearer ${token}`, 'Idempotency-Key': key },
    });
    if (status === 503 || status === 429) return undefined;
    assert.equal(status, 200, body);
    return JSON.parse(body).data;
  }

  /** The same over a WebSocket, which may hang up before the answer. */
  async function call(bridge, token, key, args, hangUp) {
    const client = await Client.open(bridge, { token });
    try {
      client.send({ type: 'call', ref: 1, name: 'take', args, idempotency_key: key });
      if (hangUp) {
        await pause(random.int(0, 30));
        return undefined;
      }
      const answer = await client.next({ ref: 1 });
      if (answer.code === 'unavailable' || answer.code === 'rate_limited') return undefined;
      assert.equal(answer.type, 'result', JSON.stringify(answer));
      return answer.data;
    } finally {
      client.socket?.terminate();
    }
  }

  it('are done once each, whatever breaks', { timeout: (seconds(10) + 240) * 1000 * SLOW }, async (t) => {
    const tokens = await Promise.all(Array.from({ length: CALLERS }, (_, n) => db.token(`caller${n}`, { ttl: '2 h' })));
    const answers = new Map(); // command: [counter, n]
    const counts = { attempts: 0, repeats: 0, kills: 0, terminations: 0, crashes: 0 };
    const over = new AbortController();
    const end = Date.now() + seconds(10) * 1000;
    let wrong;
    const enough = () => Date.now() > end && counts.kills * counts.terminations * counts.crashes > 0;
    const tooLate = () => Date.now() > end + FAULTS_MS;

    async function caller(n) {
      const choice = random.child(`caller ${n}`);
      while (!enough() && !tooLate() && !wrong) {
        const command = randomUUID();
        const args = { command, counter: choice.int(1, 4), sleep: choice.chance(0.2) ? 0.05 : 0 };
        for (let attempt = 0; !answers.has(command) && !wrong; attempt++) {
          if (Date.now() > end + FAULTS_MS + LAST_MS) throw new Error(`${command} has no answer after ${attempt} attempts`);
          counts.attempts++;
          const bridge = choice.pick(bridges);
          const ask = choice.chance(0.5) ? post(bridge, tokens[n], command, args) : call(bridge, tokens[n], command, args, choice.chance(0.1));
          try {
            const got = await within('an answer', ask, PATIENCE_MS);
            if (got !== undefined) answers.set(command, [args.counter, got]);
          } catch (error) {
            if (error.code === 'ERR_ASSERTION') throw error;
            await pause(choice.int(10, 100)); // it broke off
          }
        }
        if (answers.has(command) && choice.chance(0.1)) { // as if the answer had been lost
          counts.repeats++;
          const again = await post(choice.pick(bridges), tokens[n], command, args).catch((error) => { if (error.code === 'ERR_ASSERTION') throw error; });
          if (again !== undefined) assert.equal(again, answers.get(command)[1], 'the first answer again');
        }
      }
    }

    const chaos = random.child('chaos');
    const faults = [
      async () => { // a bridge
        const victim = chaos.pick(bridges);
        await victim.kill();
        await victim.again(AGAIN_WITHIN_MS);
        counts.kills++;
      },
      async () => { // connections of bridges
        const there = (await db.query(`SELECT pid FROM pg_stat_activity WHERE usename = 'bridge' ORDER BY pid`)).map(({ pid }) => pid);
        const some = there.filter(() => chaos.chance(0.6));
        counts.terminations += (await db.query('SELECT pg_terminate_backend(pid) AS gone FROM unnest($1::integer[]) pid', [some])).filter(({ gone }) => gone).length;
      },
      async () => { // PostgreSQL
        await cluster.stop('immediate');
        await cluster.again();
        counts.crashes++;
      },
    ];
    let turn = 0;
    const breaking = repeatedly(over.signal, () => chaos.int(300, 1200), async () => {
      await faults[turn++ % faults.length]();
    });
    breaking.catch((error) => { wrong ??= error; });
    try {
      await Promise.all(Array.from({ length: CALLERS }, (_, n) => caller(n).catch((error) => { wrong ??= error; })));
    } finally {
      over.abort();
      await breaking;
    }
    if (wrong) throw wrong;

    await Promise.all(bridges.map((bridge) => bridge.ready(AGAIN_WITHIN_MS)));
    const taken = await db.query('SELECT command, counter, n FROM taken ORDER BY counter, n');
    assert.deepEqual(new Set(taken.map(({ command }) => command)), new Set(answers.keys()), 'those done are those answered');
    assert.equal(taken.length, answers.size, 'once each');
    for (const { command, counter, n } of taken) assert.deepEqual(answers.get(command), [counter, n], command);
    for (const { id, n } of await db.query('SELECT id, n FROM counter')) assert.equal(n, taken.filter(({ counter }) => counter === id).length);
    assert.ok(counts.kills > 0 && counts.terminations > 0 && counts.crashes > 0, JSON.stringify(counts));
    t.diagnostic(`${answers.size} commands, ${JSON.stringify(counts)}`);
  });
});
