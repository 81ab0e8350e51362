// Who may still come in, and with which rights: disconnect, reauthorize and the
// authorizer, at two bridges of one database. Not here: the SQL of it (sql/), and
// what becomes of revocations over a dump or a promotion (test/dump, test/fault).

import assert from 'node:assert/strict';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { Cluster, idOf } from './lib/cluster.mjs';
import { Bridge } from './lib/bridge.mjs';
import { Client } from './lib/client.mjs';
import { SCHEMA } from './lib/schema.mjs';
import { mint, now } from './lib/token.mjs';
import { SLOW, until } from './lib/wait.mjs';

const SECRET = 'a secret of another issuer, 32 bytes or more';
// What the promise says is a second; a shared machine may be late.
const SOON_MS = 10_000 * SLOW;

// Rights by membership, and a count of the questions for each user. What a user's row in
// `behaviour` says is done instead.
const AUTHORIZER = `
  CREATE TABLE memberships (user_id integer, unit_id integer, roles text[] NOT NULL DEFAULT '{}', PRIMARY KEY (user_id, unit_id));
  CREATE TABLE behaviour (user_id integer PRIMARY KEY, what text NOT NULL);
  CREATE FUNCTION rights(claims jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
  DECLARE
    who integer := (claims->>'user_id')::integer;
    what text := (SELECT b.what FROM behaviour b WHERE b.user_id = who);
  BEGIN
    PERFORM nextval(to_regclass('asked_' || who)); -- also where it raises; NULL for who has none
    CASE coalesce(what, 'rights')
      WHEN 'null' THEN RETURN NULL;
      WHEN 'raise' THEN RAISE EXCEPTION 'no rights for anybody today' USING ERRCODE = 'LF001';
      WHEN 'malformed' THEN RETURN '{"units": "7"}';
      WHEN 'array' THEN RETURN '[7]';
      WHEN 'slow' THEN PERFORM pg_sleep(60);
      WHEN 'lame' THEN PERFORM pg_sleep(0.5);
      WHEN 'named' THEN RETURN jsonb_build_object('user', 'alias-' || who, 'units', '[7]'::jsonb);
      ELSE NULL;
    END CASE;
    RETURN jsonb_build_object('units', (SELECT jsonb_object_agg(m.unit_id, m.roles) FROM memberships m WHERE m.user_id = who));
  END $$;
  CREATE FUNCTION no_rights(claims jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT '{}'::jsonb $$;
`;

describe('authority', () => {
  let cluster;
  let db;
  let folder;
  let args;
  let a; // two bridges
  let b;
  const clients = [];
  const bridges = [];

  before(async () => {
    cluster = await Cluster.start();
    db = await cluster.database(SCHEMA);
    await db.write(AUTHORIZER);
    folder = await mkdtemp(path.join(os.tmpdir(), 'livefeed-authority-'));
    const file = path.join(folder, 'secret');
    await writeFile(file, SECRET);
    await chmod(file, 0o600);
    args = ['--jwt-secret-file', file, '--claim-user', 'user_id'];
    a = await start();
    b = await start();
  });
  after(async () => {
    await Promise.all(clients.map((client) => client.leave()));
    await Promise.all(bridges.map((bridge) => bridge.stop()));
    await cluster?.remove();
    if (folder) await rm(folder, { recursive: true });
  });

  async function start(more = []) {
    const bridge = await Bridge.start(db, [...args, ...more]);
    bridges.push(bridge);
    return bridge;
  }

  async function open(bridge, token, more = {}) {
    const client = await Client.open(bridge, { token, ...more });
    clients.push(client);
    return client;
  }

  async function refused(bridge, token, code = 4401, error = 'bad_token') {
    const client = await open(bridge, token, { welcome: false });
    assert.equal((await client.next('error')).code, error);
    await client.close(code);
    assert.equal(client.frames.length, 1, client.tell());
    return client.closed.reason;
  }

  /** The second in which it was asked has passed: what is issued now is later than what was revoked. */
  const nextSecond = (second = now()) => until('the next second', () => now() > second);

  /** A token as simplejwt makes them. */
  let serial = 0;
  const foreign = (user, claims = {}) => mint('HS256', SECRET, { user_id: user, iat: now(), jti: `t${++serial}`, ...claims });

  /** How many questions there were about that user: those about others may still be asked while a test counts. */
  const asked = async (id) => Number(await db.value(`SELECT last_value + is_called::integer FROM asked_${id}`));
  /** New memberships, no behaviour. The user's number is used in one test only. */
  async function user(id, units, what) {
    await db.write(`CREATE SEQUENCE asked_${id} MINVALUE 0`);
    for (const unit of units) await db.write('INSERT INTO memberships VALUES ($1, $2)', [id, unit]);
    if (what) await db.write('INSERT INTO behaviour VALUES ($1, $2)', [id, what]);
    return id;
  }

  async function authorizer(name = 'rights') {
    await db.query(`SELECT livefeed.set_authorizer(${name === null ? 'NULL' : `'${name}(jsonb)'`})`);
    await reached();
  }

  /** Both bridges have read all that is committed. */
  async function reached(where = [a, b]) {
    for (const bridge of where) {
      const client = await open(bridge, await db.token('reader'));
      await client.caughtUp(db);
      await client.leave();
    }
  }

  describe('disconnect', () => {
    it('ends all sessions of a user at every bridge, and their tokens', async () => {
      const token = await db.token('42', { units: [7] });
      const other = await db.token('43', { units: [7] });
      const [atA, atB, otherA] = [await open(a, token), await open(b, token), await open(a, other)];
      await atA.subscribe('requests:unit:7');
      await otherA.subscribe('requests:unit:7');
      const began = performance.now();
      await db.write(`SELECT livefeed.disconnect('42', 'logged out: bye')`);
      await Promise.all([atA.close(4403, SOON_MS), atB.close(4403, SOON_MS)]);
      const took = performance.now() - began;
      assert.ok(took < SOON_MS, `${took} ms`);
      assert.equal(atA.closed.reason, 'logged out: bye');
      for (const bridge of [a, b]) assert.match(await refused(bridge, token), /revoked/);
      await reached();
      assert.equal(otherA.closed, null, 'nobody else\'s');
      await nextSecond();
      const fresh = await db.token('42', { units: [7] });
      for (const bridge of [a, b]) assert.equal((await open(bridge, fresh)).welcome.user, '42');
    });

    it('closes at every bridge soon after the commit: told how soon', async (t) => {
      const took = [];
      for (let n = 0; n < 10; n++) {
        const user = `${420 + n}`;
        const token = await db.token(user, { units: [7] });
        const both = [await open(a, token), await open(b, token)];
        const began = performance.now(); // before the statement, and so before its commit
        await db.write('SELECT livefeed.disconnect($1)', [user]);
        took.push(...await Promise.all(both.map(async (client) => {
          await client.close(4403, SOON_MS);
          return performance.now() - began;
        })));
      }
      took.sort((one, other) => one - other);
      t.diagnostic(`from disconnect to the close at two bridges: median ${took[took.length / 2].toFixed(1)} ms, slowest ${took.at(-1).toFixed(1)} ms of ${took.length}`);
      assert.ok(took.at(-1) < SOON_MS, `${took}`);
    });

    it('ends one login session, and no other', async () => {
      const phone = await db.token('44', { units: [7], claims: { sid: 'phone' } });
      const desk = await db.token('44', { units: [7], claims: { sid: 'desk' } });
      const [phoneA, phoneB, deskA] = [await open(a, phone), await open(b, phone), await open(a, desk)];
      await db.write(`SELECT livefeed.disconnect('44', session => 'phone')`);
      await Promise.all([phoneA.close(4403, SOON_MS), phoneB.close(4403, SOON_MS)]);
      for (const bridge of [a, b]) await refused(bridge, phone);
      assert.equal((await open(b, desk)).welcome.user, '44');
      await deskA.subscribe('requests:unit:7');
    });

    it('does nothing if it is rolled back', async () => {
      const token = await db.token('45');
      const client = await open(a, token);
      const tx = await db.connect();
      await tx.query('BEGIN');
      await tx.query(`SELECT livefeed.disconnect('45')`);
      await tx.query('ROLLBACK');
      await reached();
      await client.ask({ type: 'ping' });
      await open(b, token);
    });

    it('counts a token without iat as older', async () => {
      const token = mint('HS256', SECRET, { user_id: '46', units: [7] });
      const client = await open(a, token);
      await db.write(`SELECT livefeed.disconnect('46')`);
      await client.close(4403, SOON_MS);
      await reached(); // the other bridge, too
      await nextSecond();
      for (const bridge of [a, b]) await refused(bridge, mint('HS256', SECRET, { user_id: '46', units: [7] }));
      await open(a, mint('HS256', SECRET, { user_id: '46', units: [7], iat: now() }));
    });

    it('counts at bridges that were away, and at new ones, with the log of it gone', async () => {
      const token = await db.token('47', { units: [7] });
      const away = await start();
      const stopped = await start();
      const open47 = await open(stopped, token);
      await open47.subscribe('requests:unit:7');
      await away.kill();
      stopped.process.kill('SIGSTOP');
      const at = await db.head();
      await db.write(`SELECT livefeed.disconnect('47', 'while you were away')`);
      await until('the log of it to be pruned', async () => {
        await db.query(`SELECT livefeed.prune('0 seconds')`);
        await db.write(`INSERT INTO requests (unit_id, title) VALUES (9, 'on it goes')`);
        await db.head();
        return await db.value('SELECT livefeed.check_cursor($1, $2 + 1)', [at.split('-')[0], idOf(at)]) === 'pruned';
      });
      await away.again();
      await refused(away, token);
      await refused(await start(), token);
      stopped.process.kill('SIGCONT');
      await open47.close(4403);
      await refused(stopped, token);
    });
  });

  describe('reauthorize, without an authorizer', () => {
    it('closes 4401 for a fresh token, and refuses older ones', async () => {
      const token = await db.token('50', { units: [7] });
      const [atA, atB] = [await open(a, token), await open(b, token)];
      await atA.subscribe('requests:unit:7');
      await db.write(`SELECT livefeed.reauthorize('50')`);
      for (const client of [atA, atB]) {
        assert.equal((await client.next('error', SOON_MS)).code, 'bad_token');
        await client.close(4401, SOON_MS);
      }
      for (const bridge of [a, b]) await refused(bridge, token);
      await nextSecond();
      await open(b, await db.token('50', { units: [] }));
    });
  });

  describe('the authorizer', () => {
    before(() => authorizer());
    after(() => authorizer(null));

    it('gives tokens without units their rights, asked once for all that say the same', async () => {
      const id = await user(60, [7]);
      const before_ = await asked(id);
      const crowd = await Promise.all(Array.from({ length: 20 }, () => open(a, foreign(id))));
      assert.equal(await asked(id) - before_, 1, 'one question for twenty tokens');
      for (const client of crowd.slice(0, 3)) {
        await client.subscribe('requests:unit:7');
        assert.equal(await client.refusedSubscribe('requests:unit:9'), 'forbidden');
      }
      await open(b, foreign(id));
      assert.equal(await asked(id) - before_, 2, 'one more at the other bridge');
      await open(a, foreign(id));
      await open(b, foreign(id, { exp: now() + 99 }));
      assert.equal(await asked(id) - before_, 2, 'then it is known');
      await open(a, foreign(id, { team: 'x' }));
      assert.equal(await asked(id) - before_, 3, 'a token that says more is another');
      await open(a, foreign(id, { units: [] }));
      assert.equal(await asked(id) - before_, 3, 'one with units, even none, is not asked about');
    });

    it('lets a client send all it wants behind its token', async () => {
      const client = await open(a, undefined);
      client.send({ type: 'auth', token: foreign(await user(61, [7, 9], 'lame')) });
      const refs = Array.from({ length: 99 }, (_, n) => n + 1);
      for (const ref of refs) client.send({ type: 'subscribe', ref, channel: ref === 1 ? 'requests:unit:9' : `orders:row:${ref}` });
      assert.equal((await client.take()).type, 'welcome');
      assert.equal((await client.next({ ref: 1 })).type, 'subscribed');
      for (const ref of refs) if (ref > 1) assert.equal((await client.next({ ref })).code, 'forbidden');
      assert.equal(client.closed, null);
    });

    it('may name another user', async () => {
      const id = await user(62, [], 'named');
      const client = await open(a, foreign(id));
      assert.equal(client.welcome.user, 'alias-62');
      const token = foreign(id);
      await db.write(`SELECT livefeed.disconnect('alias-62')`);
      await client.close(4403, SOON_MS);
      await reached();
      await refused(a, token);
      await refused(b, token);
    });

    it('refuses by NULL; what raises, is malformed or slow is unavailable, and the log says why', async () => {
      const began = b.log.length;
      assert.equal(await refused(b, foreign(await user(63, [], 'null'))), 'refused by the authorizer');
      await refused(b, foreign(await user(64, [], 'raise'), { secretclaim: 'cl41m' }), 1013, 'unavailable');
      await until('the error in the log', () => b.log.slice(began).includes('LF001') && b.log.slice(began).includes('no rights for anybody today'));
      await refused(b, foreign(await user(65, [], 'malformed')), 1013, 'unavailable');
      await refused(b, foreign(await user(66, [], 'array')), 1013, 'unavailable');
      for (const words of ['its units', 'it is not a JSON object']) {
        await until(`a word of ${words} in the log`, () => b.log.slice(began).includes(`what the authorizer returned cannot be used: ${words}`));
      }
      // while more slow ones are being asked than there are connections, others go on
      await user(67, [], 'slow');
      const slow = await Promise.all(Array.from({ length: 6 }, (_, n) => open(b, foreign(67, { n }), { welcome: false })));
      const quick = await open(b, await db.token('quick', { units: [7] }));
      assert.equal(await quick.refusedSubscribe('orders:row:12345'), 'forbidden', 'the database answers others meanwhile');
      assert.ok(slow.every((client) => client.frames.length === 0));
      assert.equal((await slow[0].next('error', 20_000 * SLOW)).code, 'unavailable');
      await slow[0].close(1013);
      await db.write('DELETE FROM behaviour WHERE user_id = 67');
      assert.ok(!b.log.includes('cl41m'), 'never the claims');
    });

    it('is asked anew when another is set, or the same is replaced', async () => {
      const id = await user(70, [7, 9]);
      const client = await open(a, foreign(id));
      await client.subscribe('requests:unit:7');
      await client.subscribe('requests:unit:9');
      await authorizer('no_rights');
      for (const unit of [7, 9]) assert.equal((await client.next({ type: 'unsubscribed', channel: `requests:unit:${unit}` })).reason, 'forbidden');
      await authorizer();
      await client.subscribe('requests:unit:7');
      await db.write('CREATE OR REPLACE FUNCTION no_rights(claims jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT NULL::jsonb $$');
      await authorizer(null);
      assert.equal((await client.next({ type: 'unsubscribed', channel: 'requests:unit:7' })).reason, 'forbidden');
      await authorizer('no_rights');
      await client.close(4401);
      await refused(b, foreign(id));
      await authorizer();
    });

    it('ends lost channels by reauthorize: kept ones lose nothing, lost ones get nothing of what comes after', async () => {
      const id = await user(80, [7, 9]);
      const token = foreign(id);
      const row = await db.write(`INSERT INTO requests (unit_id, title) VALUES (9, 'a row') RETURNING id`);
      const crowd = [];
      for (const bridge of [a, b, a, b]) crowd.push(await open(bridge, token));
      for (const client of crowd) {
        await client.caughtUp(db); // with the row, which is not among what is counted
        await client.subscribe('requests:unit:7');
        await client.subscribe('requests:unit:9');
        await client.subscribe(`requests:row:${row[0].id}`);
      }
      const from = await db.head();
      let writing = true;
      const writers = [7, 9].map(async (unit) => {
        const writer = await db.connect();
        for (let n = 0; writing; n++) {
          await writer.query('INSERT INTO requests (unit_id, title) VALUES ($1, $2)', [unit, `load ${n}`]);
          if (unit === 9) await writer.query('UPDATE requests SET title = $2 WHERE id = $1', [row[0].id, `row ${n}`]);
        }
      });
      const made = (n) => until('some load', async () => crowd[0].events('requests:unit:7').length >= n);
      await made(30);
      const before_ = await asked(id);
      const tx = await db.connect();
      await tx.query('BEGIN');
      await tx.query('DELETE FROM memberships WHERE user_id = $1 AND unit_id = 9', [id]);
      await tx.query('SELECT livefeed.reauthorize($1)', [String(id)]);
      await tx.query('COMMIT');
      for (const client of crowd) {
        assert.equal((await client.next({ type: 'unsubscribed', channel: 'requests:unit:9' })).reason, 'forbidden');
        assert.equal((await client.next({ type: 'unsubscribed', channel: `requests:row:${row[0].id}` })).reason, 'forbidden');
      }
      await made(crowd[0].events('requests:unit:7').length + 30);
      writing = false;
      await Promise.all(writers);
      for (const client of crowd) await client.caughtUp(db);
      assert.equal(await asked(id) - before_, 2, 'one question at each bridge');

      const [control] = await db.query(`SELECT id FROM livefeed.read($1, 1000000) WHERE flags & 32 <> 0 AND feed = 'reauthorize'`, [idOf(from)]);
      const ids = async (unit) => (await db.query('SELECT id FROM livefeed.events($1, \'requests\', $2, 1000000) ORDER BY id', [from, String(unit)])).map((event) => event.id);
      const [kept, lost] = [await ids(7), await ids(9)];
      assert.ok(kept.some((each) => each > control.id) && lost.some((each) => each > control.id), 'there was load behind it');
      for (const client of crowd) {
        assert.deepEqual(client.events('requests:unit:7').map((event) => event.id), kept, 'each once, in order');
        const got = client.events().filter((event) => event.unit === '9').map((event) => event.id);
        assert.deepEqual(got.filter((each) => each > control.id), [], 'nothing behind the reauthorize');
        assert.deepEqual(got, lost.slice(0, got.length), 'and no gap before');
        assert.equal(client.closed, null);
        assert.equal(await client.refusedSubscribe('requests:unit:9'), 'forbidden');
      }
    });

    it('gives new channels by reauthorize, and does not close', async () => {
      const id = await user(81, [7]);
      const client = await open(a, foreign(id));
      assert.equal(await client.refusedSubscribe('requests:unit:9'), 'forbidden');
      await db.write('INSERT INTO memberships VALUES (81, 9)');
      await db.write(`SELECT livefeed.reauthorize('81')`);
      await reached();
      await client.subscribe('requests:unit:9');
      const token = foreign(id, { exp: now() + 300 });
      await open(b, token);
    });

    it('goes on when the database restarts in between', async () => {
      const id = await user(82, [7]);
      const client = await open(a, foreign(id));
      await client.subscribe('requests:unit:7');
      await cluster.stop('immediate');
      await client.next({ type: 'status', live: false });
      await cluster.again();
      await db.write(`DELETE FROM memberships WHERE user_id = 82`);
      await db.write(`SELECT livefeed.reauthorize('82')`);
      assert.equal((await client.next('unsubscribed')).reason, 'forbidden');
      assert.equal(client.closed, null);
    });

    it('no longer takes tokens with a sid that are older than livefeed.token_max_age', async () => {
      await db.query(`ALTER DATABASE ${db.name} SET livefeed.token_max_age = '1h'`);
      const bridge = await start();
      await refused(bridge, foreign(83, { units: [], sid: 's', iat: now() - 3700 }));
      await open(bridge, foreign(83, { units: [], sid: 's', iat: now() - 3500 }));
      await open(bridge, foreign(83, { units: [], iat: now() - 99_999 }));
      await db.query(`ALTER DATABASE ${db.name} RESET livefeed.token_max_age`);
    });
  });

  describe('feeds', () => {
    it('that were watched a moment ago are found, however many ask for unknown ones', async () => {
      const client = await open(a, await db.token('90', { units: [7] }));
      const stranger = await open(a, await db.token('91', { units: [7] }));
      for (let n = 0; n < 8; n++) {
        for (let m = 0; m < 3; m++) stranger.send({ type: 'subscribe', ref: `x${n}${m}`, channel: `nothing${n}${m}:unit:7` });
        await db.write(`CREATE TABLE fresh${n} (id integer PRIMARY KEY, unit_id integer); SELECT livefeed.watch('fresh${n}', unit => 'unit_id')`);
        await client.subscribe(`fresh${n}:unit:7`);
      }
      for (let n = 0; n < 8; n++) for (let m = 0; m < 3; m++) assert.equal((await stranger.next({ ref: `x${n}${m}` })).code, 'unknown_channel');
    });
  });
});
