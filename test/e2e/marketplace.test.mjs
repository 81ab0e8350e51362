// The marketplace example: each point of its list, on its own schema, over real connections;
// its page in Chromium is marketplace_page.test.mjs.

import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import http from 'node:http';
import { once } from 'node:events';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { Bridge } from './lib/bridge.mjs';
import { Client } from './lib/client.mjs';
import { Example, call, refusedCall, value } from './lib/example.mjs';
import { mint, now } from './lib/token.mjs';

const [CORA, COLE, PAUL, PIA, ADA] = [1, 2, 11, 12, 21];

describe('marketplace', () => {
  let app;
  let db;

  before(async () => {
    app = await Example.start('marketplace', { probe: ADA });
    ({ db } = app);
  });
  after(() => app?.stop());

  const as = (...who) => app.as(...who);
  const bell = (user) => as(user, '/ws/notifications/', 2);
  const orderPage = (user, id, query) => as(user, `/ws/orders/${id}/`, 3, query);
  const notify = (user, body) => db.write('SELECT notify_user($1, $2) AS id', [user, body]).then(([{ id }]) => id);
  /** An order of Cora's; with a partner, assigned to him. */
  async function order(partner) {
    await db.write('SELECT top_up($1, 20)', [CORA]);
    const [{ id }] = await db.write(`SELECT place_order($1, 'Pizza') AS id`, [CORA]);
    if (partner) await db.write('SELECT assign($1, $2)', [id, partner]);
    await app.settled();
    return id;
  }
  const move = (id, lat) => db.write('SELECT set_location($1, $2, 0.5)', [id, lat]);
  const events = (client, feed) => client.events().filter((event) => event.feed === feed);
  const refusedPage = async (user, id) => {
    const client = await as(user, `/ws/orders/${id}/`);
    return [(await client.next('error')).code, (await client.next('error')).code, (await client.next('error')).code];
  };

  it('bell: the unread count on connect, at /ws/notifications/', async () => {
    await db.write('SELECT notify_user($1, $2), notify_user($1, $3)', [PIA, 'one', 'two']);
    const pia = await bell(PIA);
    assert.equal(await value(pia, `unread_count:user:${PIA}`), 2);
    const cole = await bell(COLE);
    assert.equal(await value(cole, `unread_count:user:${COLE}`), 0);
  });

  it('bell: each new notification live, to its user alone', async () => {
    const [cora, cole] = [await bell(CORA), await bell(COLE)];
    const unread = await value(cora, `unread_count:user:${CORA}`);
    const id = await notify(CORA, 'Your table is ready');
    const event = await cora.next('notification.created');
    assert.deepEqual([event.key, event.data.body, event.data.read], [String(id), 'Your table is ready', false]);
    assert.equal(await value(cora, `unread_count:user:${CORA}`, unread + 1), unread + 1);
    await cole.caughtUp(db);
    assert.deepEqual(cole.events(), []);
    assert.equal(await (await as(COLE)).refusedSubscribe(`notifications:user:${CORA}`), 'forbidden');
    assert.equal(await cole.refusedSubscribe(`unread_count:user:${CORA}`), 'forbidden');
  });

  it('bell: mark_read in one tab, and the count follows in all of the user\'s tabs', async () => {
    const tabs = [await bell(CORA), await bell(CORA)];
    const channel = `unread_count:user:${CORA}`;
    const id = await notify(CORA, 'Read me');
    const [{ unread }] = await db.write('SELECT unread_count($1) AS unread', [CORA]);
    for (const tab of tabs) await value(tab, channel, unread);
    await call(tabs[0], 'mark_read', { id });
    for (const tab of tabs) {
      await value(tab, channel, unread - 1);
      const event = await tab.next({ type: 'notification.updated', key: String(id) });
      assert.deepEqual([event.action, event.changed, event.updated_by], ['read', ['read'], String(CORA)]);
    }
    const cole = await bell(COLE);
    assert.match(await refusedCall(cole, 'mark_read', { id }), /you have no such notification/);
  });

  it('bell: mark_all_read, and the count is nought in all of the user\'s tabs', async () => {
    await notify(CORA, 'One more');
    const others = await notify(COLE, 'Not hers');
    const tabs = [await bell(CORA), await bell(CORA)];
    const { marked } = await call(tabs[1], 'mark_all_read');
    assert.ok(marked >= 1);
    for (const tab of tabs) await value(tab, `unread_count:user:${CORA}`, 0);
    assert.deepEqual(await call(tabs[0], 'mark_all_read'), { marked: 0 });
    assert.equal((await db.write('SELECT read FROM notifications WHERE id = $1', [others]))[0].read, false);
  });

  it('order page: its present status on connect, then status and ETA live, at /ws/orders/{order_id}/', async () => {
    const id = await order();
    const cora = await orderPage(CORA, id, { snapshot: 1 });
    const { data: [row] } = await cora.next('snapshot');
    assert.deepEqual([row.id, row.status, row.eta, row.total], [id, 'Placed', null, 11.5]);
    await db.write('SELECT assign($1, $2)', [id, PAUL]);
    const accepted = await cora.next('order.updated');
    assert.deepEqual([accepted.action, accepted.data.status, accepted.data.partner_id], ['accepted', 'Accepted', PAUL]);
    await db.write(`UPDATE orders SET eta = '2030-01-01 12:00+00' WHERE id = $1`, [id]);
    const later = await cora.next('order.updated');
    assert.deepEqual([later.action, later.changed, later.data.eta], ['eta_changed', ['eta'], '2030-01-01T12:00:00Z']);
    const paul = await as(PAUL);
    for (const status of ['Picked Up', 'Delivered']) {
      await call(paul, 'order_status', { order: id, status });
      const event = await cora.next('order.updated');
      assert.deepEqual([event.action, event.updated_by], [status.toLowerCase().replace(' ', '_'), String(PAUL)]);
    }
    assert.match(await refusedCall(await as(PIA), 'order_status', { order: id, status: 'Delivered' }), /not yours to deliver/);
  });

  it('order page: the partner\'s position comes on the order\'s own channel, and the last one on connect', async () => {
    const id = await order(PAUL);
    const other = await order(PAUL);
    await move(id, 0.25);
    await app.settled();
    const cora = await orderPage(CORA, id);
    assert.deepEqual(await value(cora, `order_location:row:${id}`), { lat: 0.25, lng: 0.5 });
    for (const lat of [0.3, 0.35, 0.4]) {
      await move(other, lat);
      await move(id, lat);
      const event = await cora.next('location.updated');
      assert.deepEqual([event.data.lat, event.channels, event.key], [lat, [`orders:row:${id}`], String(id)]);
    }
    assert.deepEqual(events(cora, 'order_locations').map(({ key }) => key), Array(3).fill(String(id)), 'no other order\'s');
  });

  it('order page: positions leave no lasting rows in the log', async () => {
    const id = await order(PAUL);
    const cora = await orderPage(CORA, id);
    await move(id, 0);
    await cora.caughtUp(db);
    const kept = () => db.value('SELECT count(*) FROM livefeed.log').then(Number);
    const before_ = await kept();
    cora.forget();
    const STEPS = 100;
    for (let n = 1; n <= STEPS; n++) await move(id, n / STEPS);
    await cora.next((frame) => frame.feed === 'order_locations' && frame.data.lat === 1);
    assert.equal(await kept(), before_, 'of the positions nothing stands in the durable log');
    const [durable] = await db.query(`SELECT count(*) FROM livefeed.log WHERE feed = 'order_locations'`);
    assert.equal(Number(durable.count), 0);
    const [table] = await db.query(`SELECT DISTINCT relpersistence FROM pg_class WHERE oid IN (SELECT tableoid FROM livefeed.transient WHERE feed = 'order_locations')`);
    assert.equal(table.relpersistence, 'u', 'they pass through tables that are not even logged');
    // Minutes later they are gone from these, too: whenever the log is pruned, the oldest minute goes.
    for (let minute = 0; minute < 4; minute++) {
      await db.query(`UPDATE livefeed.state SET transient_rotated_at = transient_rotated_at - interval '1 min'`);
      await db.query('SELECT livefeed.prune()');
      await move(id, minute);
      await cora.caughtUp(db);
    }
    const [left] = await db.query(`SELECT count(*) FROM livefeed.transient WHERE feed = 'order_locations'`);
    assert.ok(Number(left.count) < 10, `${left.count} are left`);
  });

  it('order page: only the order\'s customer, its partner and admins', async () => {
    const id = await order(PAUL);
    for (const user of [CORA, PAUL, ADA]) await orderPage(user, id);
    for (const user of [COLE, PIA]) assert.deepEqual(await refusedPage(user, id), ['forbidden', 'forbidden', 'forbidden']);
    assert.deepEqual(await refusedPage(COLE, 999999), ['forbidden', 'forbidden', 'forbidden'], 'one that is not there looks the same');
  });

  it('order page: when the order is reassigned, the former partner stops seeing it at once', async () => {
    const id = await order(PAUL);
    const [cora, paul, ada] = [await orderPage(CORA, id), await orderPage(PAUL, id), await as(ADA)];
    await move(id, 0.1);
    await paul.next('location.created');
    await call(ada, 'assign_order', { order: id, partner: PIA });
    for (const channel of [`orders:row:${id}`, `order_chat:row:${id}`, `order_location:row:${id}`]) {
      const lost = await paul.next({ type: 'unsubscribed', channel });
      assert.equal(lost.reason, 'forbidden');
    }
    const pia = await orderPage(PIA, id);
    await call(pia, 'send_message', { order: id, body: 'I have it now' });
    await move(id, 0.2);
    for (const client of [cora, pia]) await client.next('location.updated');
    await paul.caughtUp(db);
    assert.ok(!paul.texts.some((text) => text.includes('I have it now')));
    assert.deepEqual(events(paul, 'orders'), [], 'not even the event that took it away');
    assert.deepEqual(events(paul, 'order_locations').map(({ data }) => data.lat), [0.1]);
    assert.deepEqual(await refusedPage(PAUL, id), ['forbidden', 'forbidden', 'forbidden']);
  });

  it('order page: the former partner stops seeing it in the middle of a stream of positions, too', async () => {
    const id = await order(PAUL);
    await move(id, 0);
    const [cora, paul] = [await orderPage(CORA, id), await orderPage(PAUL, id)];
    const STEPS = 300;
    const AT = 150;
    // In one session, as fast as it can: the order of commits is that of the steps.
    const mover = await db.connect();
    for (let n = 1; n <= STEPS; n++) {
      if (n === AT) await mover.query('SELECT assign($1, $2)', [id, PIA]);
      await mover.query('SELECT set_location($1, $2, 0)', [id, n]);
      if (n === 1) await paul.next((frame) => frame.feed === 'order_locations'); // of later ones only the latest need come
    }
    await cora.next((frame) => frame.feed === 'order_locations' && frame.data.lat === STEPS);
    await paul.caughtUp(db);
    const seen = events(paul, 'order_locations').map(({ data }) => data.lat);
    assert.ok(seen.length > 0 && Math.max(...seen) < AT, `the former partner saw steps up to ${Math.max(...seen)} of ${STEPS}`);
    assert.ok(paul.frames.some((frame) => frame.type === 'unsubscribed' && frame.channel === `orders:row:${id}`));
    assert.ok(!paul.frames.some((frame) => frame.type === 'value' && frame.channel === `order_location:row:${id}` && frame.data.lat >= AT));
  });

  it('chat between customer and partner of an order, on the order\'s own channel', async () => {
    const id = await order(PAUL);
    const [cora, paul] = [await orderPage(CORA, id), await orderPage(PAUL, id)];
    for (const client of [cora, paul]) assert.deepEqual(await value(client, `order_chat:row:${id}`), []);
    await call(cora, 'send_message', { order: id, body: 'The bell is broken' });
    await call(paul, 'send_message', { order: id, body: 'I will knock' });
    for (const client of [cora, paul]) {
      const said = [await client.next('message.created'), await client.next('message.created')];
      assert.deepEqual(said.map(({ data, updated_by: by, channels }) => [data.sender, data.body, by, channels]), [
        [CORA, 'The bell is broken', String(CORA), [`orders:row:${id}`]], [PAUL, 'I will knock', String(PAUL), [`orders:row:${id}`]]]);
      await value(client, `order_chat:row:${id}`, (chat) => chat.length === 2 && chat[1].name === 'Paul Partner');
    }
    for (const stranger of [COLE, PIA]) assert.match(await refusedCall(await as(stranger), 'send_message', { order: id, body: 'Hello?' }), /this order is not yours/);
    // Who comes later finds all of it.
    assert.deepEqual((await value(await orderPage(CORA, id), `order_chat:row:${id}`)).map(({ body }) => body), ['The bell is broken', 'I will knock']);
  });

  it('partner: new assignments and queue', async () => {
    await db.write(`UPDATE orders SET status = 'Cancelled' WHERE partner_id = $1 AND status <> 'Delivered'`, [PIA]);
    await app.settled();
    const pia = await as(PIA, '/ws/partner/', 3);
    const channel = `partner_queue:user:${PIA}`;
    assert.deepEqual(await value(pia, channel), []);
    const id = await order(PIA);
    const assigned = await pia.next('order.created');
    assert.deepEqual([assigned.action, assigned.key, assigned.channels], ['moved_in', String(id), [`orders:user:${PIA}`]]);
    await value(pia, channel, [{ id, what: 'Pizza', status: 'Accepted' }]);
    await call(pia, 'order_status', { order: id, status: 'Picked Up' });
    await value(pia, channel, [{ id, what: 'Pizza', status: 'Picked Up' }]);
    await call(await as(ADA), 'assign_order', { order: id, partner: PAUL });
    await value(pia, channel, []);
    assert.equal((await pia.next('order.deleted')).action, 'moved_out');
  });

  it('partner: earnings', async () => {
    const pia = await as(PIA, '/ws/partner/', 3);
    const channel = `partner_earnings:user:${PIA}`;
    const { deliveries, earned } = await value(pia, channel);
    const id = await order(PIA);
    await call(pia, 'order_status', { order: id, status: 'Delivered' });
    await value(pia, channel, { deliveries: deliveries + 1, earned: earned + 5 });
    assert.equal(await (await as(PAUL)).refusedSubscribe(channel), 'forbidden');
  });

  it('customer: wallet', async () => {
    const cole = await as(COLE);
    const channel = `wallet:user:${COLE}`;
    await cole.subscribe(channel);
    const balance = await value(cole, channel);
    await call(cole, 'place_order', { what: 'Curry' });
    await value(cole, channel, balance - 12.5);
    await db.write('SELECT top_up($1, 12.5)', [COLE]);
    await value(cole, channel, balance);
    await db.write('UPDATE wallets SET balance = 1 WHERE user_id = $1', [COLE]);
    assert.match(await refusedCall(cole, 'place_order', { what: 'Curry' }), /not enough money/);
    assert.equal(await (await as(CORA)).refusedSubscribe(channel), 'forbidden');
    await value(cole, channel, 1);
  });

  it('admin dashboard: new orders and payments', async () => {
    const ada = await as(ADA, '/ws/admin/', 4);
    const first = await value(ada, 'admin_dashboard');
    const cora = await as(CORA);
    await db.write('SELECT top_up($1, 20)', [CORA]);
    const { order: id } = await call(cora, 'place_order', { what: 'Pizza' });
    assert.equal((await ada.next((frame) => frame.type === 'order.created' && frame.key === String(id))).data.customer_id, CORA);
    assert.equal((await ada.next((frame) => frame.type === 'payment.created' && frame.data.order_id === id)).data.amount, 11.5);
    await value(ada, 'admin_dashboard', { ...first, new_orders: first.new_orders + 1, paid: first.paid + 31.5 });
    await call(ada, 'assign_order', { order: id, partner: PIA });
    await value(ada, 'admin_dashboard', { ...first, under_way: first.under_way + 1, paid: first.paid + 31.5 });
    for (const channel of ['admin_dashboard', 'online', 'orders', 'payments']) assert.equal(await cora.refusedSubscribe(channel), 'forbidden');
    await refusedCall(cora, 'assign_order', { order: id, partner: PAUL }, 'forbidden');
  });

  it('admin dashboard: who is online', async () => {
    const quiet = await Bridge.start(db); // nobody is here but those who come now
    const enter = async (user) => Client.open(quiet, { token: await app.tokenOf(user) });
    const ada = await enter(ADA);
    const clients = [ada];
    try {
      await ada.subscribe('online');
      const here = (user) => (people) => people.some(({ id }) => id === user);
      const gone = (user) => (people) => !people.some(({ id }) => id === user);
      await db.write(`INSERT INTO users VALUES (3, 'Nils Newcomer', 'customer') ON CONFLICT DO NOTHING`);
      await value(ada, 'online', gone(3));
      const tabs = [await enter(3), await enter(3)];
      clients.push(...tabs);
      const people = await value(ada, 'online', here(3));
      assert.deepEqual(people.filter(({ id }) => id === 3), [{ id: 3, name: 'Nils Newcomer', role: 'customer' }], 'once, with two tabs');
      await tabs[0].leave();
      await tabs[1].leave();
      await value(ada, 'online', gone(3));
    } finally {
      for (const client of clients) await client.leave();
      await quiet.stop();
    }
  });

  it('token from an endpoint of the application (livefeed.issue_token)', async () => {
    // The application: knows who is logged in, here by a cookie.
    const server = http.createServer(async (request, response) => {
      const user = /session=(\d+)/.exec(request.headers.cookie)?.[1];
      if (!user) return response.writeHead(403).end();
      const [{ token }] = await db.write('SELECT live_token($1) AS token', [user]);
      return response.writeHead(200, { 'Content-Type': 'application/json', 'Cache-Control': 'no-store' }).end(JSON.stringify({ token }));
    }).listen(0, '127.0.0.1');
    server.keepAliveTimeout = 0; // whose end might meet the next request
    await once(server, 'listening');
    const endpoint = `http://127.0.0.1:${server.address().port}/live-token`;
    try {
      assert.equal((await fetch(endpoint)).status, 403);
      const { token } = await (await fetch(endpoint, { headers: { Cookie: `session=${CORA}` } })).json();
      const client = await Client.open(app.bridge, { token, via: 'message', path: '/ws/notifications/' });
      assert.equal(client.welcome.user, String(CORA));
      const minutes = (Date.parse(client.welcome.expires_at) - Date.now()) / 60_000;
      assert.ok(minutes > 3 && minutes < 6, `it lasts for ${minutes} minutes`);
      await value(client, `unread_count:user:${CORA}`);
      // A page sends a fresh one over the open socket.
      const again = await (await fetch(endpoint, { headers: { Cookie: `session=${CORA}` } })).json();
      assert.equal((await client.ask({ type: 'auth', token: again.token })).type, 'welcome');
      await client.leave();
    } finally {
      server.closeAllConnections();
      server.close();
    }
  });

  it('the application\'s own simplejwt tokens, which carry only user_id, through the authorizer', async () => {
    const SECRET = 'django-insecure-a-key-of-the-application-itself';
    const folder = await mkdtemp(path.join(os.tmpdir(), 'livefeed-secret-'));
    await writeFile(path.join(folder, 'secret'), SECRET, { mode: 0o600 });
    const bridge = await Bridge.start(db, ['--jwt-secret-file', path.join(folder, 'secret'), '--claim-user', 'user_id']);
    const simplejwt = (user, more = {}) => mint('HS256', SECRET, { token_type: 'access', exp: now() + 300, iat: now(), jti: '2d1f6c', user_id: user, ...more });
    const clients = [];
    const enter = async (token, options = {}) => { const client = await Client.open(bridge, { token, ...options }); clients.push(client); return client; };
    try {
      const cora = await enter(simplejwt(CORA), { path: '/ws/notifications/' });
      assert.equal(cora.welcome.user, String(CORA));
      await value(cora, `unread_count:user:${CORA}`);
      assert.equal(await cora.refusedSubscribe('admin_dashboard'), 'forbidden');
      const ada = await enter(simplejwt(String(ADA))); // newer versions of simplejwt write it as a string
      await ada.subscribe('admin_dashboard'); // the role comes from the table of users
      await ada.subscribe('orders');
      // Not a user's, not the application's, over: refused, and told so.
      for (const token of [simplejwt(4711), mint('HS256', `${SECRET}!`, { user_id: CORA }), simplejwt(CORA, { exp: now() - 300 })]) {
        const client = await enter(token, { welcome: false });
        assert.equal((await client.next('error')).code, 'bad_token');
        await client.close(4401);
      }
      // The database's own tokens go on to work beside them.
      assert.equal((await enter(await app.tokenOf(PAUL))).welcome.user, String(PAUL));
      // Whoever is no admin any more, is none at once.
      await db.write(`UPDATE users SET role = 'customer' WHERE id = $1`, [ADA]);
      assert.equal((await ada.next({ type: 'unsubscribed', channel: 'admin_dashboard' })).reason, 'forbidden');
      assert.equal((await ada.next({ type: 'unsubscribed', channel: 'orders' })).reason, 'forbidden');
    } finally {
      for (const client of clients) await client.leave();
      await bridge.stop();
      await rm(folder, { recursive: true });
      await db.write(`UPDATE users SET role = 'admin' WHERE id = $1`, [ADA]);
    }
  });
});
