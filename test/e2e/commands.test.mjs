// Commands by WebSocket, as clients see them: results and their cursors, who may, what errors say, roles of the database, retries
// and idempotency. Commands over HTTP are in calls_http, many of them at once in test/bench.

import assert from 'node:assert/strict';
import net from 'node:net';
import { after, before, describe, it } from 'node:test';
import { Bridge } from './lib/bridge.mjs';
import { Client, isEvent } from './lib/client.mjs';
import { Cluster, idOf } from './lib/cluster.mjs';
import { allDone, COMMANDS, Gate } from './lib/commands.mjs';
import { calm, metric } from './lib/metrics.mjs';
import { SLOW, until } from './lib/wait.mjs';

const LONG = Number(process.env.FAULT_SECONDS ?? 0) >= 60; // time-outs as long as they are

describe('commands', () => {
  let cluster;
  let db;
  let bridge;
  const clients = [];
  const bridges = [];

  before(async () => {
    cluster = await Cluster.start();
    db = await cluster.database(COMMANDS);
    await db.write(`INSERT INTO requests (id, unit_id, title) SELECT n, 7, 'row' FROM generate_series(1, 20) n`);
    bridge = await start();
  });
  after(async () => {
    await Promise.all(clients.map((client) => client.leave()));
    await calm(bridge);
    const ends = await Promise.allSettled(bridges.map((each) => each.stop()));
    await cluster?.remove();
    for (const { status, reason } of ends) if (status === 'rejected') throw reason;
  });

  async function start(args = [], options = {}) {
    const one = await Bridge.start(db, args, options);
    bridges.push(one);
    return one;
  }

  async function enter(user, { units = [], roles = [], claims = {}, at = bridge } = {}) {
    const client = await Client.open(at, { token: await db.token(user, { units, roles, claims }) });
    clients.push(client);
    return client;
  }

  const call = (client, name, args, more = {}) => client.ask({ type: 'call', name, args, ...more });

  async function does(client, name, args, more) {
    const answer = await call(client, name, args, more);
    assert.equal(answer.type, 'result', JSON.stringify(answer));
    return answer;
  }

  async function fails(client, name, args, code, message, more) {
    const answer = await call(client, name, args, more);
    assert.equal(answer.type, 'error', JSON.stringify(answer));
    assert.deepEqual({ code: answer.code, message: answer.message }, { code, message });
  }

  const title = (id) => db.value('SELECT title FROM requests WHERE id = $1', [id]);

  it('a result, and its cursor: at or above the events of the command, which have been sent by then or come right after', async () => {
    const client = await enter('1', { units: [7] });
    await client.subscribe('requests:unit:7');
    await client.caughtUp(db); // the rows of the beginning
    let first = 0;
    for (let n = 1; n <= 10; n++) {
      client.forget();
      const { data, cursor } = await does(client, 'rename', { id: n, title: `new ${n}` });
      assert.deepEqual(data, { id: n, by: '1' });
      await until('the stream to have reached it', async () => idOf((await client.ask({ type: 'ping' })).cursor) >= idOf(cursor));
      const [event, ...others] = client.events();
      assert.equal(others.length, 0);
      assert.equal(event.key, `${n}`);
      assert.ok(event.id <= idOf(cursor), `${event.id} is covered by ${cursor}`);
      assert.equal(event.updated_by, '1', 'the command\'s user is who did it');
      if (client.frames.findIndex(isEvent) < client.frames.findIndex(({ type }) => type === 'result')) first++;
    }
    assert.ok(first >= 8, `the event came first: a result waits for it, if not for ever (${first} of 10)`);
    assert.equal(await title(3), 'new 3');
  });

  it('another session resumes from the cursor of a result and is not sent the command\'s events', async () => {
    const client = await enter('1', { units: [7] });
    const { cursor } = await does(client, 'rename_all', { title: 'all' });
    const other = await enter('2', { units: [7] });
    await other.subscribe('requests:unit:7', { since: cursor });
    await other.caughtUp(db);
    assert.deepEqual(other.events(), []);
    const former = await enter('2', { units: [7] });
    await former.subscribe('requests:unit:7', { since: `${cursor.split('-')[0]}-${idOf(cursor) - 1}` });
    await former.caughtUp(db);
    assert.equal(former.events().length, 1, 'the last of them has just that id');
  });

  it('a command that writes nothing, or nothing that is watched, has the head as its cursor, at once', async () => {
    const client = await enter('1');
    const took = [];
    for (const name of Array(5).fill(['whoami', 'note']).flat()) {
      const began = performance.now();
      const { cursor } = await does(client, name, { text: 'x' });
      assert.ok(idOf(cursor) > 0);
      took.push(performance.now() - began);
    }
    // Who waits for events that do not come does so for 2 s; a machine may stand still once or twice.
    took.sort((a, b) => a - b);
    assert.ok(took[5] < 1500 * SLOW, `${took.map(Math.round)} ms`);
    assert.equal((await does(client, 'nothing', {})).data, null);
  });

  it('who is asking: user, units, roles and claims, in the command alone', async () => {
    const client = await enter('42', { units: { 7: ['approver'], 9: [] }, roles: ['auditor'], claims: { tenant: { id: 5 } } });
    const { data } = await does(client, 'whoami', { role: 'approver', unit: '7' });
    assert.equal(data.user, '42');
    assert.deepEqual(data.units.sort(), ['7', '9']);
    assert.deepEqual(data.tenant, { id: 5 });
    assert.deepEqual([data.has_unit, data.has_role], [true, true]);
    assert.equal((await does(client, 'whoami', { role: 'approver', unit: '9' })).data.has_role, false);
    assert.equal((await does(client, 'whoami', { role: 'auditor', unit: '9' })).data.has_role, true);
    assert.equal((await does(client, 'whoami', { role: 'approver', unit: '8' })).data.has_unit, false);
    assert.equal(await db.value('SELECT livefeed.current_user_id()'), null);
    const other = await enter('43');
    assert.equal((await does(other, 'whoami', {})).data.user, '43', 'the next one is somebody else, on the same connections');
  });

  it('roles: held in any unit will do, and the command asks for the unit itself', async () => {
    const approver = await enter('1', { units: { 7: ['approver'] } });
    const elsewhere = await enter('2', { units: { 8: ['approver'] } });
    const everywhere = await enter('3', { units: [7], roles: ['approver'] });
    const member = await enter('4', { units: { 7: ['reader'] }, roles: ['admin'] });
    await does(approver, 'approve', { id: 1 });
    await does(everywhere, 'approve', { id: 2 });
    await fails(elsewhere, 'approve', { id: 3 }, 'command_failed', 'you are no approver of unit 7');
    await fails(member, 'approve', { id: 3 }, 'forbidden', 'this command asks for a role that you do not have');
    assert.equal(await db.value('SELECT status FROM requests WHERE id = 3'), 'Pending');
  });

  it('errors: what the function raises is passed on; of anything else, the client hears nothing and our log the cause', async () => {
    const client = await enter('1');
    await fails(client, 'raise', { state: 'P0001', message: 'the "crate" is täken' }, 'command_failed', 'the "crate" is täken');
    await fails(client, 'raise', { state: 'LF123', message: 'no' }, 'command_failed', 'no');
    for (const state of ['23505', 'P0002', 'XX000', '42501', '22012', '57014', '28000']) {
      await fails(client, 'raise', { state, message: `secret of ${state}` }, 'command_failed', 'the command failed');
    }
    await until('the log', () => bridge.log.includes('secret of 28000'));
    for (const state of ['23505', 'P0002', 'XX000', '42501', '22012', '57014', '28000']) {
      assert.match(bridge.log, new RegExp(`a command failed command="raise" user="1" sqlstate="${state}" error="secret of ${state}"`));
    }
    assert.ok(!bridge.log.includes('crate'), 'what is meant for the user is no error of ours');
    await fails(client, 'divide', {}, 'command_failed', 'the command failed');
    await until('the log', () => bridge.log.includes('division by zero'));
    assert.equal((await client.ask({ type: 'ping' })).type, 'pong', 'the session goes on');
  });

  it('a failed command has done nothing; a deferred constraint is one of its errors', async () => {
    const client = await enter('1', { units: [7] });
    await client.subscribe('requests:unit:7');
    await fails(client, 'rename_and_raise', { id: 5 }, 'command_failed', 'changed my mind');
    await fails(client, 'orphan', {}, 'command_failed', 'the command failed');
    assert.equal(await db.value('SELECT count(*) FROM children'), 0);
    await client.caughtUp(db);
    assert.deepEqual(client.events(), []);
  });

  it('unknown commands, a feed\'s name, bad args: the session is told, and goes on', async () => {
    const client = await enter('1');
    for (const name of ['no_such', 'requests', 'Rename', '', 'rename; DROP TABLE requests', 'x'.repeat(1000)]) {
      await fails(client, name, {}, 'unknown_command', 'there is no such command');
    }
    for (const args of [[], 'x', 7, true]) await fails(client, 'whoami', args, 'bad_message', 'args must be an object');
    await fails(client, 7, {}, 'bad_message', 'name must be a string');
    for (const key of ['', 'k'.repeat(256)]) await fails(client, 'whoami', {}, 'bad_message', 'idempotency_key must have 1 to 255 bytes', { idempotency_key: key });
    assert.equal((await does(client, 'whoami', undefined)).data.user, '1', 'args may be left out');
  });

  it('a command exposed a moment ago is known, one that is hidden is not', async () => {
    const client = await enter('1');
    await fails(client, 'fresh', {}, 'unknown_command', 'there is no such command');
    await db.write(`CREATE FUNCTION fresh(args jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT ''"fresh"''::jsonb';
      SELECT livefeed.expose_command('fresh', 'fresh(jsonb)')`);
    assert.equal((await does(client, 'fresh', {})).data, 'fresh');
    await db.write(`SELECT livefeed.hide('fresh')`);
    await client.caughtUp(db);
    await fails(client, 'fresh', {}, 'unknown_command', 'there is no such command');
  });

  it('the commands of a session are done in the order in which it sent them', async () => {
    const client = await enter('1', { units: [7] });
    for (let n = 0; n < 20; n++) client.send({ type: 'call', ref: `o${n}`, name: n % 3 === 0 ? 'rename_slowly' : 'rename', args: { id: 6, title: `${n}` } });
    for (let n = 0; n < 20; n++) assert.equal((await client.next(({ ref }) => `${ref}`.startsWith('o'))).ref, `o${n}`);
    assert.equal(await title(6), '19');
  });

  it('a slow command keeps nobody else waiting', async () => {
    const slow = await enter('1', { units: [7] });
    const quick = await enter('2');
    const gate = await Gate.shut(db);
    slow.send({ type: 'call', ref: 'slow', name: 'wait', args: { gate: gate.number } });
    await gate.come();
    for (let n = 0; n < 10; n++) await does(quick, 'whoami', {});
    assert.equal((await slow.ask({ type: 'ping' })).type, 'pong');
    assert.ok(!slow.frames.some(({ ref }) => ref === 'slow'), 'ten were done meanwhile');
    await gate.open();
    assert.equal((await slow.next({ ref: 'slow' })).type, 'result');
  });

  it('commands that wait for a lock, as many as there are connections, keep nobody from subscribing and resuming', async () => {
    const holder = await db.connect();
    await holder.query('BEGIN; LOCK TABLE notes IN ACCESS EXCLUSIVE MODE');
    const slow = await Promise.all(Array.from({ length: 6 }, (_, n) => enter(`${n}`)));
    for (const client of slow) client.send({ type: 'call', ref: 'waits', name: 'note', args: { text: 'late' } });
    await until('them to wait', () => db.value(`SELECT count(*) = 4 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%livefeed.call%'`));
    const other = await enter('9', { units: [7] });
    await other.subscribe('requests:row:9');
    const { epoch } = other.welcome;
    assert.equal((await other.subscribe('requests:unit:7', { since: `${epoch}-0` })).recovered, true);
    await other.caughtUp(db);
    assert.ok(slow.every(({ frames }) => !frames.some(({ ref }) => ref === 'waits')), 'while they all wait');
    await holder.query('COMMIT');
    for (const client of slow) assert.equal((await client.next({ ref: 'waits' })).type, 'result');
  });

  it('deadlocks and serialization failures are tried again, and nobody sees them', async () => {
    const before = await metric(bridge, 'livefeed_command_retries_total');
    const [a, b] = [await enter('1'), await enter('2')];
    const gate = await Gate.shut(db);
    const both = Promise.all([does(a, 'lock_two', { first: 10, second: 11, gate: gate.number }), does(b, 'lock_two', { first: 11, second: 10, gate: gate.number })]);
    await gate.come(2); // each has its first lock
    await gate.open();
    const [one, other] = await both;
    assert.deepEqual([one.data, other.data], [true, true]);
    assert.ok(await metric(bridge, 'livefeed_command_retries_total') > before, 'one of them was');
    assert.equal((await does(a, 'serialize', {})).data, 3, 'it failed twice');
  });

  it('an idempotency key: done once, and the first answer for a repeat, at once, at whichever bridge', async () => {
    const client = await enter('1', { units: [7] });
    const first = await does(client, 'count_up', { x: 1 }, { idempotency_key: 'key 1' });
    const second = await does(client, 'count_up', { x: 1 }, { idempotency_key: 'key 1' });
    assert.deepEqual(second.data, first.data);
    const other = await start();
    const elsewhere = await enter('1', { at: other });
    assert.deepEqual((await does(elsewhere, 'count_up', { x: 1 }, { idempotency_key: 'key 1' })).data, first.data);
    await fails(client, 'count_up', { x: 2 }, 'command_failed', 'idempotency key "key 1" was used for another command, or with other arguments', { idempotency_key: 'key 1' });
    const somebody = await enter('2');
    assert.notDeepEqual((await does(somebody, 'count_up', { x: 1 }, { idempotency_key: 'key 1' })).data, first.data, 'another user\'s key is another');
    // At the same time, from two sessions.
    const again = await enter('1');
    const [one, two] = await Promise.all([client, again].map((each) => does(each, 'count_up', { slow: true }, { idempotency_key: 'key 2' })));
    assert.deepEqual(one.data, two.data);
    await fails(client, 'raise', { state: 'P0001', message: 'not yet' }, 'command_failed', 'not yet', { idempotency_key: 'key 3' });
    await does(client, 'whoami', {}, { idempotency_key: 'key 3' }); // what failed was not answered
  });

  it('an answer that is lost with the client\'s connection, or with the bridge: a repeat with the key brings it, wherever', async () => {
    for (const [key, lose] of [
      ['lost 1', async (client) => client.socket.terminate()],
      ['lost 2', async (client, at) => at.kill()],
    ]) {
      const at = await Bridge.start(db);
      const client = await Client.open(at, { token: await db.token('8') });
      const before = await db.value('SELECT n FROM counters WHERE id = 1');
      const gate = await Gate.shut(db);
      const args = { gate: gate.number };
      client.send({ type: 'call', ref: 1, name: 'count_up', args, idempotency_key: key });
      await gate.come();
      await lose(client, at);
      const again = await enter('8');
      // At once: it waits for the first, which PostgreSQL brings to its end.
      again.send({ type: 'call', ref: 'repeat', name: 'count_up', args, idempotency_key: key });
      await until('the repeat to wait', () => db.value(`SELECT count(*) = 2 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%livefeed.call%'`));
      await gate.open();
      assert.equal((await again.next({ ref: 'repeat' })).data, before + 1);
      assert.equal((await does(again, 'count_up', args, { idempotency_key: key })).data, before + 1);
      assert.equal(await db.value('SELECT n FROM counters WHERE id = 1'), before + 1, 'done once');
      if (at.ended === null) await at.stop();
    }
  });

  it('a connection that breaks under a command: with a key it is done again, once; without one nobody knows', async () => {
    const open = new Set();
    const relay = net.createServer((socket) => {
      const upstream = net.connect(`${cluster.host}/.s.PGSQL.${cluster.port}`);
      for (const [one, two] of [[socket, upstream], [upstream, socket]]) {
        open.add(one);
        one.on('error', () => {});
        one.on('close', () => { open.delete(one); two.destroy(); });
        one.pipe(two);
      }
    });
    const cut = () => { for (const socket of open) socket.destroy(); };
    await new Promise((resolve) => { relay.listen(0, '127.0.0.1', resolve); });
    try {
      const frail = await start([], { dsn: `host=127.0.0.1 port=${relay.address().port} user=bridge dbname=${db.name}` });
      const client = await enter('7', { at: frail });
      const before = await db.value('SELECT n FROM counters WHERE id = 1');
      const first = await Gate.shut(db);
      client.send({ type: 'call', ref: 'keyed', name: 'count_up', args: { gate: first.number }, idempotency_key: 'frail' });
      await first.come();
      cut();
      await first.open();
      const { type, data } = await client.next({ ref: 'keyed' }, 30_000);
      assert.equal(type, 'result');
      assert.equal(data, before + 1, 'once');
      assert.equal(await db.value('SELECT n FROM counters WHERE id = 1'), before + 1);
      await allDone(db);
      await frail.ready();
      const second = await Gate.shut(db);
      client.send({ type: 'call', ref: 'bare', name: 'count_up', args: { gate: second.number } });
      await second.come();
      cut();
      const lost = await client.next({ ref: 'bare' }, 30_000);
      assert.deepEqual([lost.code, lost.message], ['unavailable', 'the database did not answer: the command may have been done, or not']);
      await second.open();
      await allDone(db);
    } finally {
      relay.close();
    }
  });

  it('a command that takes too long is ended, and undone', async () => {
    const client = await enter('1', { units: [7] });
    assert.equal((await does(client, 'time_out', {})).data, '30s', 'which is when the server ends it');
    client.send({ type: 'call', ref: 'hangs', name: 'rename_and_hang', args: { id: 8 } });
    const running = await until('it to run', () => db.value(`SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND query LIKE '%livefeed.call%'`));
    if (!LONG) await db.query('SELECT pg_cancel_backend($1)', [running]); // else it takes its half minute
    const { code, message } = await client.next({ ref: 'hangs' }, 45_000);
    assert.deepEqual([code, message], ['command_failed', 'the command failed']);
    assert.notEqual(await title(8), 'hangs');
    await until('the log', () => /command="rename_and_hang"[^\n]*sqlstate="57014"/.test(bridge.log));
    if (LONG) assert.match(bridge.log, /sqlstate="57014"[^\n]*statement timeout/);
  });

  it('--claim-db-role: row-level security applies, and the command cannot get out of it', async () => {
    await db.query(`
      CREATE ROLE clerk; CREATE ROLE chief; CREATE ROLE stranger;
      GRANT clerk, chief TO bridge;
      GRANT USAGE ON SCHEMA public TO clerk, chief`);
    await db.write(`
      CREATE TABLE ledger (id integer PRIMARY KEY, clerk text);
      INSERT INTO ledger VALUES (1, 'ann'), (2, 'bob');
      ALTER TABLE ledger ENABLE ROW LEVEL SECURITY;
      CREATE POLICY own ON ledger TO clerk USING (clerk = livefeed.current_user_id());
      CREATE POLICY every ON ledger TO chief USING (true);
      GRANT SELECT, UPDATE ON ledger TO clerk, chief;
      CREATE FUNCTION read_ledger(args jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT jsonb_build_object(''rows'', (SELECT count(*) FROM ledger), ''as'', current_user)';
      SELECT livefeed.expose_command('read_ledger', 'read_ledger(jsonb)');
      CREATE FUNCTION get_out(args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN EXECUTE args ->> 'sql'; RETURN to_jsonb(current_user::text); END $$;
      SELECT livefeed.expose_command('get_out', 'get_out(jsonb)')`);
    const guarded = await start(['--claim-db-role', '/db/role']);
    const as = (user, role) => enter(user, { claims: { db: { role } }, at: guarded });
    assert.deepEqual((await does(await as('ann', 'clerk'), 'read_ledger', {})).data, { rows: 1, as: 'clerk' });
    assert.deepEqual((await does(await as('eve', 'clerk'), 'read_ledger', {})).data, { rows: 0, as: 'clerk' });
    assert.deepEqual((await does(await as('ann', 'chief'), 'read_ledger', {})).data, { rows: 2, as: 'chief' });
    const ann = await as('ann', 'clerk');
    for (const sql of ['SET ROLE chief', 'RESET ROLE', 'SET LOCAL ROLE NONE', 'SET SESSION AUTHORIZATION bridge', 'RESET SESSION AUTHORIZATION', `SELECT set_config('role', 'chief', true)`]) {
      await fails(ann, 'get_out', { sql }, 'command_failed', 'the command failed');
      assert.deepEqual((await does(ann, 'read_ledger', {})).data, { rows: 1, as: 'clerk' }, sql);
    }
    for (const role of ['stranger', 'postgres', 'bridge', 'nobody']) {
      await fails(await as('ann', role), 'read_ledger', {}, 'command_failed', 'the command failed');
      await until('the log', () => guarded.log.includes(`role \\"${role}\\"`));
    }
    await fails(await as('ann', undefined), 'read_ledger', {}, 'forbidden', 'the token names no database role');
    await fails(await as('ann', 7), 'read_ledger', {}, 'forbidden', 'the token names no database role');
    assert.deepEqual((await does(await enter('ann'), 'read_ledger', {})).data.as, 'app', 'without the setting, the owner\'s rights');
  });

  it('metrics: how many, what became of them, and how long they took', async () => {
    for (const outcome of ['ok', 'refused', 'error', 'forbidden', 'unknown']) {
      assert.ok(await metric(bridge, `livefeed_commands_total{outcome="${outcome}"}`) > 0, outcome);
    }
    assert.ok(await metric(bridge, 'livefeed_command_seconds_count') > 0);
    assert.ok(await metric(bridge, 'livefeed_query_seconds_count{query="command"}') > 0);
  });
});
