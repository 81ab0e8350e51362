// The records example: each point of its README, on its own schema; and the demo
// itself, started and stopped as a user does.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { Cluster, ROOT } from './lib/cluster.mjs';
import { Bridge, freePort } from './lib/bridge.mjs';
import { Client, isEvent } from './lib/client.mjs';
import { SLOW, until, within } from './lib/wait.mjs';

const EXAMPLE = path.join(ROOT, 'examples/records');

describe('records', () => {
  let cluster;
  let db;
  let bridge;
  const clients = [];

  before(async () => {
    cluster = await Cluster.start();
    db = await cluster.database();
    for (const file of ['schema.sql', 'seed.sql', 'writer.sql']) await db.write(await readFile(path.join(EXAMPLE, file), 'utf8'));
    await db.query(`SELECT livefeed.set_authorizer('rights(jsonb)')`);
    bridge = await Bridge.start(db);
    // What the seed wrote has to be behind the bridge's head: it might come to who subscribes before.
    await (await as('alice')).caughtUp(db);
  });
  after(async () => {
    await Promise.all(clients.map((client) => client.leave()));
    await bridge?.stop();
    await cluster?.remove();
  });

  /** A token that says who it is and no more: rights come from the memberships. */
  const tokenOf = (user) => db.value('SELECT livefeed.issue_token($1, NULL)', [user]);

  /** One of the people, on a path of the application, token in the query. */
  async function as(user, where = '/ws', subscriptions = 0) {
    const client = await Client.open(bridge, { token: await tokenOf(user), path: where });
    clients.push(client);
    for (let n = 0; n < subscriptions; n++) await client.next('subscribed');
    return client;
  }

  const request = (unit, who) => db.write(`SELECT create_request($1, $2, 'Storage', 'A test') AS id`, [unit, who]).then((rows) => rows[0].id);

  it('shows each step of a request to the whole unit, with its name and who did it', async () => {
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
      assert.deepEqual(client.events('audit_trail:unit:7').map((event) => event.data.what.split(' request')[0]),
        ['made', 'approved', 'issued', 'returned', 'rejected', 'allocated storage to']);
      assert.ok(!client.texts.join().includes('for the file only'));
    }
    assert.deepEqual(carol.events(), [], 'another unit sees nothing');
  });

  it('tells the requester and the approvers personally when a request is sent back', async () => {
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

  it('shows crates to the unit and storage to unit admins alone', async () => {
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

  it('keeps a session no longer than --max-session when that is wanted', async () => {
    const strict = await Bridge.start(db, ['--max-session', '1s']);
    try {
      const client = await Client.open(strict, { token: await tokenOf('alice') });
      await client.close(4409);
    } finally {
      await strict.stop();
    }
  });

  it('reaches 100 connections within 200 ms, all of it delivered', async () => {
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
      const p95 = delays[Math.floor(delays.length * 0.95)];
      assert.ok(p95 < 200 * SLOW, `p95 is ${p95} ms`);
    } finally {
      await Promise.all(crowd.map((client) => client.leave()));
    }
  });

  it('ends the channels of a department with the membership, and gives them with it', async () => {
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

  it('logs out: disconnect ends the connections and the tokens', async () => {
    const token = await tokenOf('bob');
    const bob = await Client.open(bridge, { token, path: '/ws/requests/7/' });
    clients.push(bob);
    await db.write(`SELECT livefeed.disconnect('bob', 'logged out')`);
    assert.equal((await bob.close(4403)).reason, 'logged out');
    await (await Client.open(bridge, { token, welcome: false })).close(4401);
    const second = Math.floor(Date.now() / 1000);
    await until('the next second', () => Math.floor(Date.now() / 1000) > second);
    await as('bob', '/ws/requests/7/', 2);
  });

  it('survives its own writer', async () => {
    const watcher = await as('carol', '/ws/requests/9/', 2);
    for (let n = 0; n < 200; n++) await db.write('SELECT make_a_change()');
    await watcher.caughtUp(db);
    assert.ok(watcher.events('requests:unit:9').length > 20);
    assert.ok(watcher.events().every((event) => event.unit === '9'));
  });
});

describe('the demo', () => {
  const leftovers = () => readdirSync(os.tmpdir()).filter((name) => /^livefeed-(demo-)?[A-Za-z0-9]{6}$/.test(name));
  const listening = (port) => new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1', () => { socket.destroy(); resolve(true); });
    socket.on('error', () => resolve(false));
  });

  for (const signal of ['SIGINT', 'SIGTERM']) {
    it(`runs, shows two units apart, and leaves nothing after ${signal}`, async () => {
      const before_ = new Set(leftovers());
      const env = { ...process.env, LIVEFEED_DEMO_PORT: String(await freePort()) };
      const demo = spawn(path.join(EXAMPLE, 'demo'), [], { stdio: ['ignore', 'pipe', 'pipe'], env });
      let said = '';
      demo.stdout.on('data', (data) => { said += data; });
      demo.stderr.on('data', (data) => { said += data; });
      let status;
      const ended = new Promise((resolve) => demo.once('close', (code, by) => { status = code ?? by; resolve(status); }));
      try {
        const url = await until('the demo to print its URL', () => {
          if (status !== undefined) throw new Error(said);
          return said.match(/http:\/\/127\.0\.0\.1:(\d+)\//);
        }, 60_000 * SLOW);
        const port = Number(url[1]);
        const bridge = Object.assign(Object.create(Bridge.prototype), { port, origin: `http://127.0.0.1:${port}` });
        const page = await bridge.get('/');
        assert.equal(page.status, 200);
        assert.match(page.body, /<title>/);
        const sessions = JSON.parse((await bridge.get('/session.json')).body);
        assert.equal(sessions.length, 2);
        for (const { unit, token } of sessions) {
          // as the page does: same origin, the token as first message, from the beginning of the log
          const client = await Client.open(bridge, { token, via: 'message', headers: { Origin: bridge.origin } });
          const subscribed = await client.subscribe(`requests:unit:${unit}`, { since: `${client.welcome.epoch}-0` });
          assert.equal(subscribed.recovered, true);
          for (let n = 0; n < 4; n++) assert.equal((await client.next(isEvent)).unit, unit);
          const last = client.events().at(-1).id;
          await client.next((frame) => frame.id > last, 60_000 * SLOW); // the writer is at work
          await client.leave();
        }
        const dirs = leftovers().filter((name) => !before_.has(name));
        assert.ok(dirs.length >= 2, 'the cluster and the page');
        const cluster = said.match(/-h (\S+) -p (\d+)/);
        demo.kill(signal);
        assert.equal(await within('the demo to end', ended, 60_000 * SLOW), 0, said);
        assert.equal(existsSync(cluster[1]), false, 'the cluster\'s folder is gone');
        assert.equal(await listening(port), false, 'the bridge is gone');
        assert.equal(await listening(Number(cluster[2])), false, 'PostgreSQL is gone');
        const own = said.match(/livefeed-demo-\w+/);
        assert.ok(!own || !existsSync(path.join(os.tmpdir(), own[0])));
        assert.deepEqual(leftovers().filter((name) => name.startsWith('livefeed-demo-') && !before_.has(name)), []);
      } finally {
        if (status === undefined) demo.kill('SIGTERM');
        await within('the demo to end', ended, 60_000 * SLOW);
      }
    });
  }
});
