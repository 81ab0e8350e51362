// Who gets which event: unit, user, row and whole-feed channels, roles, rows that
// change scope, and what a session of one unit can never get of another's.
// Not here: how tokens are checked (auth), resuming (resume).

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Cluster, idOf } from './lib/cluster.mjs';
import { Bridge } from './lib/bridge.mjs';
import { Client, isEvent } from './lib/client.mjs';
import { SCHEMA } from './lib/schema.mjs';

describe('channels', () => {
  let cluster;
  let db;
  let bridge;
  const clients = [];

  before(async () => {
    cluster = await Cluster.start();
    db = await cluster.database(SCHEMA);
    bridge = await Bridge.start(db);
  });
  after(async () => {
    await Promise.all(clients.map((client) => client.leave()));
    await bridge?.stop();
    await cluster?.remove();
  });

  async function as(user, who = {}) {
    const client = await Client.open(bridge, { token: await db.token(user, who) });
    clients.push(client);
    return client;
  }

  it('sends an event of a unit to its members, with all fields in their order', async () => {
    const alice = await as('alice', { units: [7] });
    const subscribed = await alice.subscribe('requests:unit:7');
    assert.match(subscribed.cursor, /^[0-9a-f]{8}-\d+$/);
    assert.ok(!('recovered' in subscribed), 'no recovered without since');
    await db.write(`INSERT INTO requests (id, unit_id, title, secret) VALUES (1, 7, 'Box "12" \u00fc \\ \n', 'hidden')`);
    const created = await alice.next(isEvent);
    assert.deepEqual(Object.keys(created),
      ['type', 'feed', 'action', 'unit', 'key', 'updated_at', 'updated_by', 'data', 'id', 'channels']);
    assert.match(created.updated_at, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/);
    const { updated_at: _, id, ...rest } = created;
    assert.ok(id > idOf(subscribed.cursor));
    assert.deepEqual(rest, {
      type: 'request.created', feed: 'requests', action: 'created', unit: '7', key: '1', updated_by: null,
      data: { id: 1, title: 'Box "12" \u00fc \\ \n', status: 'Pending' }, channels: ['requests:unit:7'],
    });

    await db.write(`BEGIN; SET LOCAL livefeed.actor = 'boss'; UPDATE requests SET status = 'Sent Back' WHERE id = 1; COMMIT`);
    const updated = await alice.next(isEvent);
    assert.equal(updated.type, 'request.updated');
    assert.equal(updated.action, 'sent_back');
    assert.equal(updated.updated_by, 'boss');
    assert.deepEqual(updated.changed, ['status']);

    await db.write(`UPDATE requests SET secret = 'other' WHERE id = 1`); // nothing published changed
    await db.write('DELETE FROM requests WHERE id = 1');
    const deleted = await alice.next(isEvent);
    assert.equal(deleted.type, 'request.deleted');
    assert.equal(deleted.action, 'deleted');
    assert.equal(deleted.data, null);
    assert.ok(!alice.texts.join().includes('hidden'));
  });

  it('names the channels of each session, and shares the event among members', async () => {
    const [one, two] = [await as('one', { units: [7] }), await as('two', { units: ['7'] })];
    await one.subscribe('requests:unit:7');
    await two.subscribe('requests:unit:7');
    await db.write(`INSERT INTO requests (id, unit_id, title) VALUES (2, 7, 'x')`);
    await two.subscribe('requests:row:2');
    await db.write(`UPDATE requests SET title = 'y' WHERE id = 2`);
    const [a, b] = [await one.next({ type: 'request.updated' }), await two.next({ type: 'request.updated' })];
    assert.equal(a.id, b.id);
    assert.deepEqual(a.channels, ['requests:unit:7']);
    assert.deepEqual([...b.channels].sort(), ['requests:row:2', 'requests:unit:7']);
    await two.caughtUp(db);
    assert.equal(two.events().filter((event) => event.id === b.id).length, 1, 'once, however many channels match');
  });

  it('sends user channels to the users the row concerns', async () => {
    const [customer, partner, other] = [await as('42'), await as('43'), await as('44')];
    for (const [client, user] of [[customer, 42], [partner, 43], [other, 44]]) await client.subscribe(`orders:user:${user}`);
    assert.equal(await other.refusedSubscribe('orders:user:42'), 'forbidden');
    await db.write(`INSERT INTO orders (id, customer_id, partner_id) VALUES (1, 42, 43)`);
    assert.equal((await customer.next('order.created')).key, '1');
    assert.deepEqual((await partner.next('order.created')).channels, ['orders:user:43']);
    await other.caughtUp(db);
    assert.deepEqual(other.events(), []);
  });

  it('gives a row channel to whoever may see the row now', async () => {
    await db.write(`INSERT INTO orders (id, customer_id, partner_id) VALUES (10, 52, 53)`);
    const [customer, stranger] = [await as('52'), await as('54')];
    await customer.subscribe('orders:row:10');
    assert.equal(await stranger.refusedSubscribe('orders:row:10'), 'forbidden');
    assert.equal(await stranger.refusedSubscribe('orders:row:999'), 'forbidden', 'no such row: the same answer');
    for (const spelling of ['orders:row:010', 'orders:row:+10', 'orders:row:%31%30', 'orders:row: 10', 'orders:row:abc', 'orders:row:']) {
      assert.equal(await customer.refusedSubscribe(spelling), 'unknown_channel', spelling);
    }
    await db.write(`UPDATE orders SET status = 'Shipped' WHERE id = 10`);
    const event = await customer.next('order.updated');
    assert.equal(event.action, 'shipped');
    assert.deepEqual(event.channels, ['orders:row:10']);
    const member = await as('m', { units: [7] });
    await db.write(`INSERT INTO requests (id, unit_id, title) VALUES (100, 7, 'r'), (101, 8, 'r')`);
    await member.subscribe('requests:row:100');
    assert.equal(await member.refusedSubscribe('requests:row:101'), 'forbidden');
  });

  it('takes a row channel away with the very event that reassigns the row', async () => {
    await db.write(`INSERT INTO orders (id, customer_id, partner_id) VALUES (20, 62, 63)`);
    const [customer, former, next] = [await as('62'), await as('63'), await as('64')];
    for (const client of [customer, former]) await client.subscribe('orders:row:20');
    await former.subscribe('orders:user:63');
    await next.subscribe('orders:user:64');
    await db.write(`UPDATE orders SET partner_id = 64, status = 'Reassigned' WHERE id = 20`);

    const gone = await former.next('unsubscribed');
    assert.deepEqual(gone, { type: 'unsubscribed', channel: 'orders:row:20', reason: 'forbidden' });
    const out = await former.next('order.deleted');
    assert.equal(out.action, 'moved_out');
    assert.equal(out.data, null);
    assert.deepEqual(out.channels, ['orders:user:63']);
    const entered = await next.next('order.created');
    assert.equal(entered.action, 'moved_in');
    assert.equal(entered.data.status, 'Reassigned');
    const updated = await customer.next('order.updated');
    assert.deepEqual(updated.channels, ['orders:row:20']);
    assert.ok(out.id < updated.id || entered.id > out.id, 'events of their own');

    await db.write(`UPDATE orders SET status = 'Later' WHERE id = 20`);
    await former.caughtUp(db);
    assert.ok(!former.texts.some((text) => /Reassigned|Later/i.test(text)), former.tell());
    assert.equal(await former.refusedSubscribe('orders:row:20'), 'forbidden');
  });

  it('tells a unit that a row left it and another that it came', async () => {
    await db.write(`INSERT INTO requests (id, unit_id, title) VALUES (200, 7, 'wanders')`);
    const [seven, eight, admin] = [await as('s', { units: [7] }), await as('e', { units: [8] }), await as('a', { roles: ['admin'] })];
    await seven.caughtUp(db); // the insert is not to come live
    await seven.subscribe('requests:unit:7');
    await eight.subscribe('requests:unit:8');
    await admin.subscribe('requests');
    await db.write(`UPDATE requests SET unit_id = 8, title = 'wandered' WHERE id = 200`);
    const out = await seven.next(isEvent);
    assert.deepEqual([out.type, out.action, out.unit, out.data], ['request.deleted', 'moved_out', '7', null]);
    const into = await eight.next(isEvent);
    assert.deepEqual([into.type, into.action, into.unit, into.data.title], ['request.created', 'moved_in', '8', 'wandered']);
    const whole = await admin.next(isEvent);
    assert.deepEqual([whole.type, whole.channels], ['request.updated', ['requests']]);
    await Promise.all([seven, eight, admin].map((client) => client.caughtUp(db)));
    for (const client of [seven, eight, admin]) assert.equal(client.events().length, 1, client.tell());
    assert.ok(!seven.texts.join().includes('wandered'));
    assert.ok(new Set([out.id, into.id, whole.id]).size === 3);
  });

  it('asks for the roles of a feed in that very unit', async () => {
    const chief = await as('chief', { units: { 7: ['unit_admin'], 8: ['viewer'] } });
    await chief.subscribe('storage:unit:7');
    assert.equal(await chief.refusedSubscribe('storage:unit:8'), 'forbidden');
    const both = await as('both', { units: [7, 8], roles: ['unit_admin'] });
    await both.subscribe('storage:unit:8');
    const plain = await as('plain', { units: [7] });
    assert.equal(await plain.refusedSubscribe('storage:unit:7'), 'forbidden');
    await db.write(`INSERT INTO storage VALUES (1, 7, 'hall'), (2, 8, 'cellar')`);
    assert.equal((await chief.next(isEvent)).data.place, 'hall');
    assert.equal((await both.next(isEvent)).data.place, 'cellar');
  });

  it('gives a whole feed to firehose roles, and feeds without unit to their roles', async () => {
    const admin = await as('root', { roles: ['admin'] });
    for (const channel of ['requests', 'requests:unit:9', 'storage:unit:9', 'orders', 'notices', 'rates']) await admin.subscribe(channel);
    assert.equal(await admin.refusedSubscribe('orders:user:42'), 'forbidden', 'no user channel of others');
    const treasurer = await as('t', { roles: ['treasurer'] });
    await treasurer.subscribe('rates');
    const unitTreasurer = await as('ut', { units: { 7: ['treasurer', 'admin'] } });
    for (const channel of ['rates', 'requests', 'orders']) {
      assert.equal(await unitTreasurer.refusedSubscribe(channel), 'forbidden', `${channel}: roles of a unit do not count`);
    }
    const anyone = await as('anyone');
    await anyone.subscribe('notices');
    for (const channel of ['requests', 'orders', 'rates', 'storage']) assert.equal(await anyone.refusedSubscribe(channel), 'forbidden', channel);
    await db.write(`INSERT INTO notices VALUES (1, 'hello'); INSERT INTO rates VALUES (1, 'NaN'); INSERT INTO requests (id, unit_id, title) VALUES (300, NULL, 'nobody')`);
    assert.equal((await anyone.next(isEvent)).data.body, 'hello');
    assert.equal((await treasurer.next(isEvent)).data.rate, 'NaN');
    const nobody = await admin.next({ key: '300' });
    assert.equal(nobody.unit, null);
    await treasurer.subscribe('rates:row:1');
  });

  it('names composite keys and strange values by their encoding', async () => {
    const unit = 'a/b:c,d %\u00fc*\'é';
    const channel = `places:unit:${encodeURIComponent(unit)}`;
    const who = await as('p', { units: [unit] });
    await who.subscribe(channel);
    await db.write(`INSERT INTO places VALUES ('north,south', 'p:1', $1, 'here')`, [unit]);
    const event = await who.next(isEvent);
    assert.equal(event.unit, unit);
    assert.equal(event.key, 'north%2Csouth,p%3A1');
    assert.deepEqual(event.channels, [channel], 'as the client wrote it');
    await who.subscribe('places:row:north%2Csouth,p%3A1');
    for (const wrong of ['places:row:north,south,p%3A1', 'places:row:north%2csouth,p%3A1', `places:unit:${unit}`]) {
      assert.equal(await who.refusedSubscribe(wrong), 'unknown_channel', wrong);
    }
  });

  it('refuses unknown feeds and scopes that a feed does not have', async () => {
    const who = await as('u', { units: [7], roles: ['admin'] });
    for (const channel of ['nothing', 'nothing:unit:7', 'requests:user:u', 'orders:unit:7', 'notices:unit:7', 'requests:', 'requests:unit',
      'requests:unit:', 'requests:team:7', ':unit:7', '', 'Requests:unit:7', 'requests:UNIT:7', 'requests:unit:7:', 'requests:unit:7:x',
      'requests ', ' requests', 'requests:unit:7%00', 'pg_class', 'livefeed.log']) {
      assert.equal(await who.refusedSubscribe(channel), 'unknown_channel', JSON.stringify(channel));
    }
  });

  it('never sends unit 7 a byte of unit 9, whatever it asks for', async () => {
    const seven = await as('seven', { units: [7] });
    await seven.subscribe('requests:unit:7');
    const tries = ['requests', 'requests:unit:9', 'requests:unit:%39', 'requests:unit:7%2C9', 'requests:unit:7,9', 'requests:unit:*', 'requests:*',
      '*', '*:*:*', 'requests:unit:', 'requests:unit:%', 'requests:unit:%3', 'requests:unit:7/9', 'requests:unit:7:unit:9', 'requests:unit:7\u00009',
      'requests:unit:9\u0000', 'requests\u0000:unit:9', 'requests:unit:%00', 'requests:unit:9%00', 'requests:unit:09', 'requests:unit: 9', 'requests:unit:9 ',
      'REQUESTS:unit:9', 'requests:Unit:9', 'requests:unit:\u0669', 'requests:unit:\uff19', 'requests:unit:7&unit=9', 'requests:unit:7?9', 'requests:unit:7#9',
      "requests:unit:7' OR '9", 'requests:unit:null', 'requests:unit:undefined', 'requests:row:900', 'requests:row:%2A', 'requests:row:*', 'requests:user:9',
      'storage:unit:9', 'storage:unit:7', 'requests:unit:..%2F9', 'requests:unit:7/../9', 'requests:unit:$9', 'requests:unit:9e0', 'requests:unit:0x9'];
    for (const channel of tries) {
      const answer = await seven.ask({ type: 'subscribe', channel });
      assert.equal(answer.type, 'error', `${JSON.stringify(channel)}: ${JSON.stringify(answer)}`);
      assert.ok(['forbidden', 'unknown_channel', 'bad_message'].includes(answer.code), `${JSON.stringify(channel)}: ${answer.code}`);
      const again = await seven.ask({ type: 'subscribe', channel, since: `${answer.epoch ?? '00000000'}-0`, snapshot: true });
      assert.equal(again.type, 'error');
    }
    for (const channel of [9, null, ['requests:unit:9'], { unit: 9 }, true]) {
      assert.equal((await seven.ask({ type: 'subscribe', channel })).code, 'bad_message', JSON.stringify(channel));
    }
    assert.equal((await seven.ask({ type: 'subscribe' })).code, 'bad_message');
    await db.write(`INSERT INTO requests (id, unit_id, title) VALUES (900, 9, 'of-nine'), (901, 7, 'of-seven');
      UPDATE requests SET title = 'of-nine too' WHERE id = 900; INSERT INTO storage VALUES (90, 9, 'of-nine'); DELETE FROM requests WHERE id = 900`);
    await seven.caughtUp(db);
    assert.equal(seven.events().length, 1);
    assert.ok(!seven.texts.slice(1).some((text) => text.includes('of-nine')), 'a byte of unit 9');
  });

  it('ends a subscription on unsubscribe', async () => {
    const who = await as('leaver', { units: [7] });
    await who.subscribe('requests:unit:7');
    const answer = await who.ask({ type: 'unsubscribe', channel: 'requests:unit:7' });
    assert.equal(answer.type, 'unsubscribed');
    assert.equal(answer.channel, 'requests:unit:7');
    await db.write(`INSERT INTO requests (id, unit_id, title) VALUES (400, 7, 'x')`);
    await who.caughtUp(db);
    assert.deepEqual(who.events(), []);
    await who.subscribe('requests:unit:7');
    await db.write(`INSERT INTO requests (id, unit_id, title) VALUES (401, 7, 'x')`);
    assert.equal((await who.next(isEvent)).key, '401');
  });

  it('keeps the order: of a transaction, of a row, of ids', async () => {
    const who = await as('order', { units: [7] });
    await who.subscribe('requests:unit:7');
    await db.write(`BEGIN; INSERT INTO requests (id, unit_id, title) VALUES (500, 7, 'a');
      SAVEPOINT s; UPDATE requests SET title = 'undone' WHERE id = 500; ROLLBACK TO s;
      UPDATE requests SET title = 'b' WHERE id = 500; DELETE FROM requests WHERE id = 500; COMMIT;
      BEGIN; INSERT INTO requests (id, unit_id, title) VALUES (501, 7, 'rolled back'); ROLLBACK;
      INSERT INTO requests (id, unit_id, title) VALUES (502, 7, 'c')`);
    await who.caughtUp(db);
    assert.deepEqual(who.events().map((event) => [event.key, event.type, event.data?.title]),
      [['500', 'request.created', 'a'], ['500', 'request.updated', 'b'], ['500', 'request.deleted', undefined], ['502', 'request.created', 'c']]);
    const ids = who.events().map((event) => event.id);
    assert.deepEqual(ids, [...ids].sort((a, b) => a - b));
  });
});
