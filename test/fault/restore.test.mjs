// A database is dumped under load and restored into a new one, while sessions hold cursors of the old one. The bridge of
// the new database answers each of them `recovered: false`, `epoch`, whatever their number; watches, feeds, rights and
// revocations are there, and from there on all holds as ever. Then the restored one takes the old
// one's place and name under a running bridge: each session that stayed is told.
// Not here: what a dump holds (test/dump/run.sh), WAL archives and point-in-time recovery, which are promotions.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { after, before, describe, it } from 'node:test';
import path from 'node:path';
import { promisify } from 'node:util';
import { epochOf, idOf } from '../e2e/lib/cluster.mjs';
import { Bridge } from '../e2e/lib/bridge.mjs';
import { Client } from '../e2e/lib/client.mjs';
import { until, SLOW } from '../e2e/lib/wait.mjs';
import { lasting, seconds } from './lib/random.mjs';
import { Scene } from './lib/scene.mjs';

const UNITS = [1, 2, 3];
const RENAMED_WITHIN_MS = 60_000 * SLOW; // PostgreSQL waits 5 s for connections to go, and then refuses
const TOLD_WITHIN_MS = 45_000 * SLOW; // the bridge tries every 5 s at most
const run = promisify(execFile);

describe('a dump, restored', () => {
  let scene;
  let old; // the database it was dumped from, and what its clients hold
  let held;

  before(async () => {
    scene = await Scene.start('restore');
  });
  after(async () => {
    await scene?.end();
    await scene?.remove();
  });

  const server = () => ['-h', scene.cluster.host, '-p', String(scene.cluster.port), '-U', 'postgres'];
  const rows = (db) => db.query('SELECT \'items\' AS feed, t::text AS row FROM items t UNION ALL SELECT \'marks\', t::text FROM marks t ORDER BY 1, 2');

  it('is taken under load, without harm to it', async () => {
    old = scene.db;
    await old.query('SELECT livefeed.disconnect(\'gone\')');
    await scene.begin();
    for (const unit of UNITS) await scene.session(`s${unit}`, { unit });
    scene.write(4, { units: UNITS, prepared: false });
    try {
      await lasting(seconds(3) * 500);
      const file = path.join(scene.cluster.dir, 'dump');
      await run('pg_dump', [...server(), '-Fc', '-f', file, old.name]);
      await lasting(seconds(3) * 500);
      await scene.calm();
      await scene.verdict();
      held = { from: scene.since, head: await old.head(), token: await old.token('member', { units: [1] }) };

      scene.db = await scene.cluster.database('', { extension: false });
      await run('pg_restore', [...server(), '--exit-on-error', '-d', scene.db.name, file]);
    } finally {
      await scene.end();
    }
  });

  it('answers each cursor of the old database with epoch', async () => {
    const { db } = scene;
    const bridge = await Bridge.start(db);
    scene.bridges.push(bridge);
    const epoch = await db.value('SELECT livefeed.epoch()');
    assert.notEqual(epoch, epochOf(held.head));
    // As many events as to have ids that the old database used too.
    await db.query('INSERT INTO items SELECT \'again-\' || n, 1, 1, \'restored\', n, \'\', NULL FROM generate_series(1, 500) n');
    await db.query('INSERT INTO ledger VALUES (\'restored\')');
    const head = await db.head();

    const stranger = await Client.open(bridge, { token: held.token, welcome: false });
    await stranger.close(4401); // the key is another
    const client = await Client.open(bridge, { token: await db.token('member', { units: [1] }) });
    assert.equal(client.welcome.epoch, epoch);
    await client.caughtUp(db);
    const ids = [0, 1, idOf(held.from), Math.floor(idOf(head) / 2), idOf(head), idOf(head) + 1, idOf(held.head), idOf(held.head) + 1, 2 ** 52];
    for (const id of ids) {
      for (const channel of ['items:unit:1', 'marks:unit:1', 'items:row:again-1']) {
        const answer = await client.subscribe(channel, { since: `${epochOf(held.head)}-${id}` });
        assert.deepEqual([id, answer.recovered, answer.reason, answer.cursor], [id, false, 'epoch', head]);
      }
    }
    assert.deepEqual(client.events(), [], 'nothing of what such a cursor means elsewhere');
    // An own cursor, of an id that the old database used too.
    const own = await client.subscribe('items:unit:1', { since: `${epoch}-${idOf(head) - 3}` });
    assert.equal(own.recovered, true);
    await client.caughtUp(db);
    assert.deepEqual(client.events('items:unit:1').map(({ id }) => id), [2, 1, 0].map((n) => idOf(head) - n));
    await client.leave();
    const gone = await db.query('SELECT user_id, session, kind FROM livefeed.revocations');
    assert.deepEqual(gone, [{ user_id: 'gone', session: null, kind: 'disconnect' }]);
  });

  it('has watches, rights and a history of its own', async () => {
    const { db } = scene;
    const bridge = scene.bridges.at(-1);
    const client = await Client.open(bridge, { token: await db.token('member', { units: UNITS }) });
    for (const unit of UNITS) await client.subscribe(`items:unit:${unit}`);
    // Rows that came with the dump are watched as before.
    const changed = await db.write('UPDATE items SET version = version + 1 WHERE unit_id = ANY ($1) AND tx <> \'restored\' RETURNING id, unit_id', [UNITS]);
    await client.caughtUp(db);
    const seen = client.events().map((frame) => `${frame.type} ${frame.unit} ${frame.key}`);
    assert.ok(changed.length > 0);
    assert.deepEqual(seen.sort(), changed.map(({ id, unit_id: unit }) => `items.updated ${unit} ${id}`).sort());
    await client.leave();
    await db.write('DELETE FROM items');
    await db.write('DELETE FROM marks');
    await db.write('DELETE FROM ledger');

    const [former] = scene.bridges.splice(0, 1); // the story is the new database's
    await former.stop();
    await scene.begin();
    for (const unit of UNITS) {
      await scene.session(`stays${unit}`, { unit, stay: Infinity });
      await scene.session(`goes${unit}`, { unit });
    }
    scene.write(4, { units: UNITS });
    try {
      await lasting(seconds(2) * 1000);
      await scene.calm();
      await scene.verdict();
    } finally {
      await scene.end();
    }
  });

  it('takes the place of the old one under a running bridge: each session is told', async () => {
    const { db } = scene;
    const [restoredBridge] = scene.bridges.splice(0, 1);
    await restoredBridge.stop();
    await db.head();
    const bridge = await Bridge.start(old);
    scene.bridges.push(bridge);
    const token = await old.token('member', { units: UNITS, ttl: '1 day' });
    const clients = [];
    for (const unit of UNITS) {
      const client = await Client.open(bridge, { token });
      await client.subscribe(`items:unit:${unit}`);
      await client.caughtUp(old);
      clients.push(client);
    }
    const before = await rows(old);

    await Promise.all([old.close(), db.close()]);
    const admin = await scene.cluster.database('', { extension: false });
    // The bridge would come back in between, again and again: nobody is let in meanwhile.
    const rename = async (from, to) => {
      await admin.query(`ALTER DATABASE ${from} WITH ALLOW_CONNECTIONS false`);
      await until(`${from} to be called ${to}`, async () => {
        await admin.query('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1', [from]);
        await admin.query(`ALTER DATABASE ${from} RENAME TO ${to}`);
        return true;
      }, RENAMED_WITHIN_MS);
    };
    await rename(old.name, 'former');
    await rename(db.name, old.name);
    await admin.query(`ALTER DATABASE ${old.name} WITH ALLOW_CONNECTIONS true`);
    assert.notDeepEqual(await rows(old), before);

    const epoch = await old.value('SELECT livefeed.epoch()');
    for (const [n, client] of clients.entries()) {
      const frame = await client.next('resync', TOLD_WITHIN_MS);
      assert.deepEqual([frame.channel, frame.reason, epochOf(frame.cursor)], [`items:unit:${UNITS[n]}`, 'epoch', epoch]);
      await old.write('INSERT INTO items VALUES ($1, $2, 1, \'after\', 1, \'\', NULL)', [`after-${n}`, UNITS[n]]);
      await client.caughtUp(old);
      const log = await old.query('SELECT id, key FROM livefeed.read($1, 1000000, \'items\', 1000000000) WHERE flags & 1 <> 0 AND unit = $2', [idOf(frame.cursor), String(UNITS[n])]);
      assert.equal(log.at(-1).key, `after-${n}`);
      assert.deepEqual(client.events().map(({ id, key }) => ({ id, key })), log, 'what this history has after that place');
      assert.equal(client.closed, null);
      await client.leave();
    }
  });
});
