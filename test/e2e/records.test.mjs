// The records example on its own schema, over real connections: what an archive wants of
// live updates. A test's name is the point that it shows.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Bridge } from './lib/bridge.mjs';
import { Client, isEvent } from './lib/client.mjs';
import { Example, call, refusedCall, value } from './lib/example.mjs';
import { SLOW, until } from './lib/wait.mjs';

describe('records', () => {
  let app;
  let db;
  let bridge;

  before(async () => {
    app = await Example.start('records', { probe: 'dave' });
    ({ db, bridge } = app);
  });
  after(() => app?.stop());

  const tokenOf = (user) => app.tokenOf(user);
  const as = (...who) => app.as(...who);
  const request = (unit, who) => db.write(`SELECT create_request($1, $2, 'Storage', 'A test') AS id`, [unit, who]).then((rows) => rows[0].id);

  it('approve, reject, issue, return, allocate storage, edit: everyone in the unit sees it, with the action named and who did it; users of other units do not', async () => {
    const alice = await as('alice', '/ws/requests/7/', 2);
    const bob = await as('bob', '/ws/requests/7/', 2);
    const carol = await as('carol', '/ws/requests/9/', 2);
    const id = await request(7, 'alice');
    for (const status of ['Approved', 'Issued', 'Returned', 'Rejected']) await db.write('SELECT set_status($1, $2, $3)', [id, 'bob', status]);
    await db.write('SELECT allocate_storage($1, $2, 1)', [id, 'bob']);
    await db.write(`UPDATE requests SET title = 'Edited' WHERE id = $1`, [id]);
    await db.write(`UPDATE requests SET remarks = 'for the file only' WHERE id = $1`, [id]);
    for (const client of [alice, bob, carol]) await client.caughtUp(db);
    for (const client of [alice, bob]) {
      assert.deepEqual(client.events('requests:unit:7').map((event) => [event.type, event.action, event.updated_by]), [
        ['request.created', 'created', 'alice'], ['request.updated', 'approved', 'bob'], ['request.updated', 'issued', 'bob'],
        ['request.updated', 'returned', 'bob'], ['request.updated', 'rejected', 'bob'], ['request.updated', 'allocated', 'bob'],
        ['request.updated', 'edited', null]]);
      assert.ok(!client.texts.join().includes('for the file only'));
    }
    assert.deepEqual(carol.events(), [], 'another unit sees nothing');
  });

  it('send back: the requester and the approvers get a personal notification, others do not', async () => {
    const [alice, bob, carol] = [await as('alice', '/ws/notifications/alice/', 1), await as('bob', '/ws/notifications/bob/', 1), await as('carol', '/ws/notifications/carol/', 1)];
    const watcher = await as('alice', '/ws/requests/7/', 2);
    const id = await request(7, 'alice');
    await db.write(`SELECT send_back($1, 'bob', 'which box?')`, [id]);
    for (const client of [alice, bob]) {
      const event = await client.next(isEvent);
      assert.equal(event.type, 'notification.created');
      assert.match(event.data.body, /which box\?/);
    }
    await carol.caughtUp(db);
    assert.deepEqual(carol.events(), []);
    await watcher.caughtUp(db);
    assert.deepEqual(watcher.events('requests:unit:7').map((event) => event.action), ['created', 'sent_back']);
    const foreign = await as('carol', '/ws/notifications/alice/');
    assert.equal((await foreign.next('error')).code, 'forbidden');
  });

  it('crate created, updated, relocated: the unit; storage created, updated: unit admins only', async () => {
    const alice = await as('alice', '/ws/crates/7/', 1);
    const bob = await as('bob');
    await bob.subscribe('storage:unit:7');
    assert.equal(await alice.refusedSubscribe('storage:unit:7'), 'forbidden');
    assert.equal(await bob.refusedSubscribe('storage:unit:9'), 'forbidden');
    await db.write(`INSERT INTO crates (id, unit_id, label, storage_id) VALUES (900, 7, 'New', 1)`);
    await db.write(`SELECT relocate(900, 'bob', 2)`);
    await db.write(`UPDATE crates SET label = 'Newer' WHERE id = 900`);
    await db.write(`INSERT INTO storage (id, unit_id, code) VALUES (900, 7, 'F-90'); UPDATE storage SET capacity = 50 WHERE id = 900`);
    await alice.caughtUp(db);
    assert.deepEqual(alice.events().map((event) => [event.type, event.action, event.updated_by]),
      [['crate.created', 'created', null], ['crate.updated', 'relocated', 'bob'], ['crate.updated', 'updated', null]]);
    assert.deepEqual([(await bob.next(isEvent)).type, (await bob.next(isEvent)).type], ['storage.created', 'storage.updated']);
  });

  it('an audit trail that grows live', async () => {
    const [alice, carol] = [await as('alice', '/ws/requests/7/', 2, { snapshot: 1 }), await as('carol', '/ws/requests/9/', 2)];
    const channel = 'audit_trail:unit:7';
    const trail = (await alice.next({ type: 'snapshot', channel })).data;
    const id = await request(7, 'alice');
    for (const status of ['Approved', 'Issued']) await db.write('SELECT set_status($1, $2, $3)', [id, 'bob', status]);
    for (const client of [alice, carol]) await client.caughtUp(db);
    const grown = alice.events(channel).map((event) => event.data);
    assert.deepEqual(grown.map(({ who, what }) => [who, what]),
      [['alice', `made request ${id}`], ['bob', `approved request ${id}`], ['bob', `issued request ${id}`]]);
    assert.deepEqual([...trail, ...grown].map((entry) => entry.id).sort((a, b) => a - b),
      (await db.write('SELECT id FROM audit_trail WHERE unit_id = 7 ORDER BY id')).map((entry) => entry.id), 'what was there and what came is all of it');
    assert.deepEqual(carol.events(), []);
  });

  it('dashboard figures (counts by status) follow', async () => {
    const [alice, bob] = [await as('alice'), await as('bob')];
    const channel = 'request_counts:unit:7';
    const counted = () => db.write('SELECT request_counts($1) AS counts', ['7']).then(([row]) => row.counts);
    const first = await counted();
    for (const client of [alice, bob]) {
      await client.subscribe(channel);
      assert.deepEqual(await value(client, channel), first, 'at once');
    }
    const id = await request(7, 'alice');
    for (const status of ['Approved', 'Issued', 'Returned']) await db.write('SELECT set_status($1, $2, $3)', [id, 'bob', status]);
    const figures = await counted();
    assert.notDeepEqual(figures, first);
    for (const client of [alice, bob]) await value(client, channel, figures);
    await db.write('DELETE FROM requests WHERE id = $1', [id]);
    for (const client of [alice, bob]) await value(client, channel, first);
    assert.equal(await (await as('carol')).refusedSubscribe(channel), 'forbidden');
  });

  it('a page begins with what is there (snapshot), then follows', async () => {
    const alice = await as('alice', '/ws/requests/7/', 2, { snapshot: 1 });
    const rows = new Map((await alice.next({ type: 'snapshot', channel: 'requests:unit:7' })).data.map((row) => [String(row.id), row]));
    for (let n = 0; n < 30; n++) await db.write('SELECT make_a_change()');
    await alice.caughtUp(db);
    for (const event of alice.events('requests:unit:7')) {
      if (event.type === 'request.deleted') rows.delete(event.key);
      else rows.set(event.key, event.data);
    }
    const now = await db.write('SELECT id, unit_id, requester, request_type, title, status, storage_id FROM requests WHERE unit_id = 7 ORDER BY id');
    assert.deepEqual([...rows.values()].sort((a, b) => a.id - b.id), now);
  });

  it('what the page may do: ask, and decide as an approver of that department', async () => {
    const [alice, bob, dave] = [await as('alice', '/ws/requests/7/', 2), await as('bob'), await as('dave')];
    const { request: id } = await call(alice, 'ask', { unit: 7, type: 'Storage', title: 'By command' });
    await call(bob, 'decide', { request: id, what: 'approve' });
    await call(bob, 'decide', { request: id, what: 'allocate' });
    await call(bob, 'decide', { request: id, what: 'issue' });
    await call(bob, 'decide', { request: id, what: 'return' });
    await alice.caughtUp(db);
    assert.deepEqual(alice.events('requests:unit:7').map((event) => [event.action, event.updated_by]),
      [['created', 'alice'], ['approved', 'bob'], ['allocated', 'bob'], ['issued', 'bob'], ['returned', 'bob']]);
    assert.match(await refusedCall(dave, 'decide', { request: id, what: 'reject' }), /only an approver of the department/);
    assert.match(await refusedCall(dave, 'ask', { unit: 7, type: 'Storage', title: 'No' }), /not in that department/);
    await refusedCall(alice, 'decide', { request: id, what: 'approve' }, 'forbidden');
  });

  it('URLs of its own (/ws/requests/7/, /ws/crates/7/, /ws/notifications/alice/), token in the query', async () => {
    for (const [where, channels] of [['/ws/requests/7/', ['requests:unit:7', 'audit_trail:unit:7']], ['/ws/crates/7/', ['crates:unit:7']],
      ['/ws/crates/7', ['crates:unit:7']], ['/ws/notifications/alice/', ['notifications:user:alice']]]) {
      const alice = await as('alice', where);
      assert.deepEqual([(await alice.next('subscribed')).channel, ...(channels[1] ? [(await alice.next('subscribed')).channel] : [])].sort(), [...channels].sort(), where);
    }
    for (const where of ['/ws/requests/9/', '/ws/crates/9/', '/ws/notifications/bob/']) {
      assert.equal((await (await as('alice', where)).next('error')).code, 'forbidden', where);
    }
    const nobody = await Client.open(bridge, { token: `${await tokenOf('alice')}x`, path: '/ws/requests/7/', welcome: false });
    await nobody.close(4401);
  });

  it('a session limit when wanted (--max-session)', async () => {
    const strict = await Bridge.start(db, ['--max-session', '1s']);
    try {
      const client = await Client.open(strict, { token: await tokenOf('alice') });
      await client.close(4409);
    } finally {
      await strict.stop();
    }
  });

  it('100 connections: all of it delivered, soon', async (t) => {
    const CONNECTIONS = 100;
    const CHANGES = 20;
    const tokens = [await tokenOf('alice'), await tokenOf('bob')];
    const crowd = [];
    for (let n = 0; n < CONNECTIONS; n++) crowd.push(await Client.open(bridge, { token: tokens[n % 2], path: '/ws/requests/7/' }));
    try {
      for (const client of crowd) { await client.next('subscribed'); await client.next('subscribed'); client.forget(); }
      const delays = [];
      for (let n = 0; n < CHANGES; n++) {
        const began = performance.now();
        const id = await request(7, 'alice');
        await Promise.all(crowd.map((client) => client.next({ feed: 'requests', key: String(id) }).then(() => delays.push(performance.now() - began))));
      }
      assert.equal(delays.length, CONNECTIONS * CHANGES);
      delays.sort((a, b) => a - b);
      const [p50, p95] = [0.5, 0.95].map((part) => delays[Math.floor(delays.length * part)]);
      t.diagnostic(`p50 ${Math.round(p50)} ms, p95 ${Math.round(p95)} ms`); // how soon on a quiet machine is for the benchmarks to say
      assert.ok(p50 < 2000 * SLOW, `half of them took more than ${p50} ms`); // one change in twenty may meet a standstill
    } finally {
      await Promise.all(crowd.map((client) => client.leave()));
    }
  });

  it('a membership that ends takes the channels of its department along, one that begins gives them', async () => {
    const [alice, bob] = [await as('alice', '/ws/requests/7/', 2), await as('bob', '/ws/requests/7/', 2)];
    await db.write(`DELETE FROM memberships WHERE user_id = 'alice'`);
    await alice.close(4401); // a member of nothing: refused by the authorizer
    const refused = await Client.open(bridge, { token: await tokenOf('alice'), welcome: false });
    await refused.close(4401);
    await db.write(`INSERT INTO memberships VALUES ('alice', 7, '{}')`);

    // From one department to two, and back to the other: what is kept goes on.
    const carol = await as('carol', '/ws/requests/9/', 2);
    assert.equal(await carol.refusedSubscribe('requests:unit:7'), 'forbidden');
    await db.write(`INSERT INTO memberships VALUES ('carol', 7, '{unit_admin}')`);
    await until('carol to be a member', async () => (await carol.ask({ type: 'subscribe', channel: 'requests:unit:7' })).type === 'subscribed');
    await carol.subscribe('storage:unit:7');
    await db.write(`UPDATE memberships SET roles = '{}' WHERE user_id = 'carol' AND unit_id = 7`);
    assert.equal((await carol.next('unsubscribed')).channel, 'storage:unit:7', 'the role alone');
    await db.write(`DELETE FROM memberships WHERE user_id = 'carol' AND unit_id = 9`);
    for (const channel of ['audit_trail:unit:9', 'requests:unit:9']) assert.equal((await carol.next({ type: 'unsubscribed', channel })).reason, 'forbidden');
    await request(9, 'dave');
    const id = await request(7, 'bob');
    await carol.next({ feed: 'requests', key: String(id) });
    await carol.caughtUp(db);
    assert.ok(carol.events().every((event) => event.unit === '7'), 'nothing of the department she left');
    await bob.next({ feed: 'requests', key: String(id) });
    await db.write(`UPDATE memberships SET unit_id = 9 WHERE user_id = 'carol'`);
    assert.equal((await carol.next({ type: 'unsubscribed', channel: 'requests:unit:7' })).reason, 'forbidden');
  });

  it('logout closes the connection, and ends the tokens', async () => {
    const token = await tokenOf('bob');
    const bob = await Client.open(bridge, { token, path: '/ws/requests/7/' });
    await db.write(`SELECT livefeed.disconnect('bob', 'logged out')`);
    assert.equal((await bob.close(4403)).reason, 'logged out');
    await (await Client.open(bridge, { token, welcome: false })).close(4401);
    const second = Math.floor(Date.now() / 1000);
    await until('the next second', () => Math.floor(Date.now() / 1000) > second);
    await as('bob', '/ws/requests/7/', 2);
  });

  it('no leak between units while people work at random', async () => {
    const watcher = await as('carol', '/ws/requests/9/', 2);
    for (let n = 0; n < 200; n++) await db.write('SELECT make_a_change()');
    await watcher.caughtUp(db);
    assert.ok(watcher.events('requests:unit:9').length > 20);
    assert.ok(watcher.events().every((event) => event.unit === '9'));
  });
});
