// The browser library where WebSockets do not get through: over a stream, and back to a WebSocket when one gets through
// again; nothing lost or told twice on the way.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import WebSocket from 'ws';
import { follow } from './lib/livefeed.mjs';
import { settled } from './lib/metrics.mjs';
import { LONG_MS, keys, numbers, scene, waysHold } from './lib/ways.mjs';
import { until } from './lib/wait.mjs';

describe('livefeed-client', () => {
  const here = scene();

  waysHold(here, 'sse', { upgrades: false });

  it('from a WebSocket to HTTP and back, with what happened while there was nothing', { timeout: 3 * LONG_MS }, async () => {
    const client = here.as('ann');
    const statuses = [];
    client.onStatus((status) => statuses.push(status));
    const told = follow(client, 'requests:unit:7');
    const rows = client.collection('requests:unit:7');
    await until('live', () => client.status === 'live' && rows.loaded);
    await here.insert(1, 5);
    await until('them', () => told.events.length === 5);
    here.proxy.upgrades = false;
    here.proxy.cut();
    await until('offline', () => statuses.includes('offline'));
    await here.insert(6, 10);
    await until('polling', () => client.status === 'polling', LONG_MS);
    await until('them', () => told.events.length === 10);
    await here.insert(11, 20);
    here.proxy.cut();
    await here.insert(21, 30);
    await until('them', () => rows.rows.size === 30);
    here.proxy.upgrades = true;
    await until('live', () => client.status === 'live', LONG_MS);
    await here.insert(31, 31);
    await until('the last', () => rows.rows.size === 31);
    assert.deepEqual(keys(told), numbers(1, 31));
    assert.deepEqual(told.resyncs, []);
  });

  for (const type of ['subscribed', 'snapshot', 'value']) {
    it(`from a WebSocket that breaks when its first ${type} is on the way, to HTTP`, { timeout: 3 * LONG_MS }, async () => {
      const breaks = class extends WebSocket {
        emit(name, ...what) {
          if (name !== 'message' || JSON.parse(what[0]).type !== type) return super.emit(name, ...what);
          here.proxy.upgrades = false;
          this.terminate();
          return true;
        }
      };
      await here.insert(1, 1);
      const client = here.as('ann', { WebSocket: breaks });
      const rows = client.collection('requests:unit:7');
      const count = follow(client, 'open_requests:unit:7');
      await until('the row', () => rows.rows.size === 1, LONG_MS);
      await until('the value', () => count.values.at(-1) === 1);
      await until('polling', () => client.status === 'polling', LONG_MS);
      await here.insert(2, 2);
      await until('the next row', () => rows.rows.size === 2);
      await until('the next value', () => count.values.at(-1) === 2);
    });
  }

  for (const [kind, options] of [['a stream', { WebSocket: null }], ['a WebSocket', {}]]) {
    it(`rows that take their time, fetched apart from ${kind}: what happens meanwhile is in them afterwards`, async () => {
      await here.db.write('DELETE FROM slow; INSERT INTO slow VALUES (1, 7, 0)');
      await settled(here.bridge, here.db);
      const client = here.as('ann', { origin: here.bridge.origin, ...options });
      let started = false;
      const told = follow(client, 'slow:unit:7', { onStart: () => { started = true; } });
      await until('it to be live', () => started);
      await here.db.write('UPDATE slow SET n = 1');
      await until('the first event', () => told.events.at(-1)?.data.n === 1);
      const rows = client.collection('slow:unit:7');
      for (let n = 2; n <= 20; n++) await here.db.write('UPDATE slow SET n = $1 WHERE id = 1', [n]);
      await here.db.write('INSERT INTO slow VALUES (2, 7, 0)');
      await until('the rows', () => rows.loaded);
      await until('what happened meanwhile', () => rows.rows.get('1').n === 20 && rows.rows.size === 2);
      await here.db.write('UPDATE slow SET n = 21 WHERE id = 1; DELETE FROM slow WHERE id = 2');
      await until('what happens then', () => rows.rows.get('1').n === 21 && rows.rows.size === 1);
      await until('all events', () => told.events.at(-1).type === 'slow.deleted');
      const since = told.events.findIndex(({ data }) => data.n === 1);
      assert.deepEqual(told.events.slice(since).map(({ key, data }) => (key === '1' ? data.n : key)), [...numbers(1, 20), '2', 21, '2']);
    });
  }

  for (const [kind, options] of [['a stream', { WebSocket: null }], ['a WebSocket', {}]]) {
    it(`children of a row that come while its snapshot is made are told once, over ${kind}`, async () => {
      await here.db.write('DELETE FROM slow; DELETE FROM remarks; INSERT INTO slow VALUES (1, 7, 0)');
      await settled(here.bridge, here.db);
      const client = here.as('ann', { origin: here.bridge.origin, ...options });
      const told = follow(client, 'slow:row:1', { snapshot: true });
      await until('the snapshot to be under way', () => here.db.value(`SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep'`));
      for (let id = 1; id <= 5; id++) await here.db.write('INSERT INTO remarks VALUES ($1, 1, 7)', [id]);
      await here.db.write('UPDATE slow SET n = 1');
      await until('the snapshot', () => told.snapshots.length === 1);
      for (let id = 6; id <= 8; id++) await here.db.write('INSERT INTO remarks VALUES ($1, 1, 7)', [id]);
      await here.db.write('UPDATE slow SET n = 2');
      await until('the last', () => told.events.at(-1)?.data.n === 2);
      assert.deepEqual(keys({ events: told.events.filter(({ feed }) => feed === 'remarks') }), numbers(1, 8));
    });
  }

  it('stays closed after a logout, over a stream too', async () => {
    const client = here.as('carl', { WebSocket: null, origin: here.bridge.origin });
    follow(client, 'requests:unit:7');
    await until('polling', () => client.status === 'polling');
    await here.db.query(`SELECT livefeed.disconnect('carl', 'signed out')`);
    await until('the end', () => client.closed);
    assert.equal(client.closed.code, 4403);
    assert.equal(client.status, 'offline');
  });
});
