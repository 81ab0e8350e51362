// A short walk through most of what the bridge does, for valgrind: it looks for
// leaks and bad accesses, and leaves detail to the other files.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Cluster } from './lib/cluster.mjs';
import { Bridge } from './lib/bridge.mjs';
import { Client, isEvent } from './lib/client.mjs';
import { SCHEMA } from './lib/schema.mjs';

describe('a short walk', () => {
  let cluster;
  let db;

  before(async () => {
    cluster = await Cluster.start();
    db = await cluster.database(SCHEMA);
    await db.write(`SELECT livefeed.expose_path('/ws/requests/{1}/', ARRAY['requests:unit:{1}'])`);
  });
  after(async () => { await cluster?.remove(); });

  it('opens, subscribes, receives, resumes, is refused, refreshes and leaves', async () => {
    const bridge = await Bridge.start(db, ['--drain', '1s']);
    const token = await db.token('42', { units: [7], roles: ['admin'] });
    const sessions = [];
    for (const via of ['query', 'header', 'protocol', 'message']) sessions.push(await Client.open(bridge, { token, via }));
    const [one, two, three, four] = sessions;
    for (const session of sessions) await session.subscribe('requests:unit:7');
    await two.subscribe('requests');
    await db.write(`INSERT INTO requests (id, unit_id, title) VALUES (1, 7, 'a'), (2, 9, 'b')`);
    await one.subscribe('requests:row:1');
    await db.write(`UPDATE requests SET unit_id = 9 WHERE id = 1`);
    await db.write(`INSERT INTO orders (id, customer_id, partner_id) VALUES (1, 42, 43)`);
    const customer = await Client.open(bridge, { token: await db.token('42') });
    await customer.subscribe('orders:row:1');
    await db.write(`UPDATE orders SET customer_id = 44 WHERE id = 1`);
    await customer.next('unsubscribed');
    assert.equal(await customer.refusedSubscribe('orders:row:1'), 'forbidden');
    await customer.leave();
    for (const session of sessions) await session.caughtUp(db);
    const first = one.events()[0];
    await one.subscribe('requests:unit:7', { since: `${one.welcome.epoch}-${first.id}` });
    await one.subscribe('requests:unit:7', { since: 'ffffffff-1' });
    assert.equal(await one.refusedSubscribe('nothing:unit:7'), 'unknown_channel');
    four.send('nonsense');
    await four.next('error');
    four.send({ type: 'auth', token: await db.token('42', { units: [8] }) });
    await four.next('unsubscribed');
    await two.ask({ type: 'unsubscribe', channel: 'requests' });
    const bad = await Client.open(bridge, { token: 'x.y.z', welcome: false });
    await bad.close(4401);
    const path = await Client.open(bridge, { token, path: '/ws/requests/7/' });
    await path.next('subscribed');
    path.socket.terminate();
    await db.query(`BEGIN; SET LOCAL livefeed.max_events_per_transaction = 5;
      INSERT INTO requests (id, unit_id, title) SELECT 100 + n, 7, 'many' FROM generate_series(1, 10) n; COMMIT`);
    await one.next('resync');
    await bridge.get('/healthz');
    await bridge.get('/nothing');
    await two.leave();
    const closes = [one, three].map((session) => session.close(1001));
    await bridge.stop();
    await Promise.all(closes);
  });

  it('lives through a restart of PostgreSQL', async () => {
    const bridge = await Bridge.start(db);
    const client = await Client.open(bridge, { token: await db.token('42', { units: [7] }) });
    await client.subscribe('requests:unit:7');
    await db.close();
    await cluster.stop('fast');
    await client.next('status');
    await cluster.again();
    await db.write(`INSERT INTO requests (id, unit_id, title) VALUES (900, 7, 'after')`);
    await client.next(isEvent);
    await client.leave();
    await bridge.stop();
  });
});
