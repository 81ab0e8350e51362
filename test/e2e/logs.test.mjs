// The log, as text and as JSON: an event is one line, whatever strangers put into it. Control bytes, what turns the reading
// direction round and what is no UTF-8 come to the terminal escaped, in every field that others write: user, close reason,
// origin, path, and what the application's functions raise. What is logged reads back as it was sent.
// Not here: tokens, which are in no log, metric, error or list of processes (tokens.test.mjs); each escape (test/unit/test_log.c).

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Cluster } from './lib/cluster.mjs';
import { Bridge } from './lib/bridge.mjs';
import { Client } from './lib/client.mjs';
import { Raw } from './lib/raw.mjs';
import { SCHEMA } from './lib/schema.mjs';
import { until } from './lib/wait.mjs';

const FORGED = '2026-01-01T00:00:00.000Z info  all is well';
const NASTY = `eve\n${FORGED}\r\t\u001b[2J\u0007\u0008\u007f\u0085\u009b31m\u2028\u202e\ufeff"\\" user="root" {"level":"info"} é 💥`;
const UNSEEN = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u2028-\u202e\ufeff]/u;
const TEXT_LINE = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (debug|info |warn |error) (.*?)((?: [a-z]+="(?:[^"\\]|\\.)*")*)$/;

/** A line of either format: { level, message, fields as they were before they were escaped }; throws where it is none. */
function read(line) {
  if (line.startsWith('{')) {
    const { at, level, message, ...fields } = JSON.parse(line);
    assert.match(at, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    return { level, message, ...fields };
  }
  const [, level, message, fields] = TEXT_LINE.exec(line) ?? assert.fail(`no line of the log: ${JSON.stringify(line)}`);
  const pairs = [...fields.matchAll(/ ([a-z]+)=("(?:[^"\\]|\\.)*")/g)].map(([, name, value]) => [name, JSON.parse(value)]);
  return { level: level.trim(), message, ...Object.fromEntries(pairs) };
}

describe('the log', () => {
  let cluster;
  let db;
  before(async () => {
    cluster = await Cluster.start();
    db = await cluster.database(`${SCHEMA}
      CREATE TABLE words (said text);
      CREATE FUNCTION ask(claims jsonb) RETURNS jsonb STABLE LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION '%', (SELECT said FROM public.words); END $$;`);
    await db.query('INSERT INTO words VALUES ($1)', [NASTY]);
    await db.query('ALTER FUNCTION ask(jsonb) OWNER TO postgres');
    await db.query(`SELECT livefeed.set_authorizer('ask(jsonb)')`);
  });
  after(async () => { await cluster?.remove(); });

  for (const format of ['text', 'json']) {
    describe(`as ${format}`, () => {
      let bridge;
      before(async () => {
        bridge = await Bridge.start(db, ['--log-format', format, '--log-level', 'debug', '--trusted-proxies', '127.0.0.1']);
      });
      after(async () => { await bridge?.stop(); });

      /** The lines since `from`, whole ones. */
      const lines = (from = 0) => bridge.log.slice(from, bridge.log.lastIndexOf('\n') + 1).split('\n').slice(0, -1);
      /** Waits for lines with that message, and gives them. */
      const said = (message, from) => until(`a line "${message}"`, () => {
        const found = lines(from).map(read).filter((line) => line.message.startsWith(message));
        return found.length > 0 && found;
      });

      it('has a user and a close reason as they are', async () => {
        const from = bridge.log.length;
        const user = `${format} ${NASTY}`;
        const client = await Client.open(bridge, { token: await db.token(user, { units: [7] }) });
        assert.equal(client.welcome.user, user);
        await db.query('SELECT livefeed.disconnect($1, $2)', [user, 'good\nbye \u001b[1m']);
        await client.close(4403);
        const [closed, ...more] = await said('session closed', from);
        assert.deepEqual(more, [], 'one line');
        assert.equal(closed.user, user);
        assert.equal(closed.code, '4403');
        assert.equal(closed.address, '127.0.0.1');
        const [ended] = await said('session ended', from);
        assert.equal(ended.user, user);
      });

      it('has origins and paths escaped, also those that are no UTF-8', async () => {
        for (const [origin, shown] of [['https://ev\u009b31mil.example', 'https://ev\u009b31mil.example'], ['https://\u202eelpmaxe', 'https://\u202eelpmaxe'], ['a" user="root', 'a" user="root']]) {
          const from = bridge.log.length;
          await until('a line about it', async () => { // of many in a second not each has one
            const raw = await Raw.connect(bridge);
            await raw.send(Buffer.from(`GET /ws/%0a${encodeURIComponent(FORGED)}%1b HTTP/1.1\r\nHost: x\r\nOrigin: ${origin}\r\n\r\n`));
            assert.equal((await raw.response()).status, 403);
            raw.leave();
            return lines(from).map(read).find((line) => line.origin === shown);
          });
        }
        const raw = await Raw.connect(bridge);
        await raw.send(Buffer.from('GET / HTTP/1.1\r\nHost: x\r\nOrigin: https://\xff\xfe\x9b.example\r\n\r\n', 'latin1'));
        assert.equal((await raw.response()).status, 403);
        raw.leave();
      });

      it('has no address that is none', async () => {
        const from = bridge.log.length;
        const client = await Client.open(bridge, { token: 'a.b.c', welcome: false, headers: { 'X-Forwarded-For': `1.2.3.4" user="root, ${'x'.repeat(100)}` } });
        await client.close(4401);
        const [refused] = await said('token refused', from);
        assert.equal(refused.address, '127.0.0.1');
        assert.equal(refused.user, undefined);
      });

      it('has in one line what the application raised', async () => {
        const from = bridge.log.length;
        const client = await Client.open(bridge, { token: await db.value(`SELECT livefeed.issue_token('asked', NULL)`), welcome: false });
        const [line] = await said('the authorizer failed', from);
        assert.match(line.message, /eve/);
        client.socket.terminate();
      });

      it('is whole lines of that format, each with a time and a level, without a byte that a terminal obeys', async () => {
        const all = lines();
        assert.ok(all.length > 10, `${all.length} lines`);
        for (const line of all) {
          const { level } = read(line);
          assert.ok(['debug', 'info', 'warn', 'error'].includes(level), line);
          assert.ok(!UNSEEN.test(line), JSON.stringify(line));
          assert.equal(line.startsWith('{'), format === 'json');
          assert.notEqual(line, FORGED);
          assert.ok(!line.startsWith('2026-01-01'), 'a forged line');
        }
      });
    });
  }
});
