// Snapshots fit the stream exactly: clients that apply a snapshot and the events after it hold, at the end of each tick
// from the second after the snapshot on, what SQL held then. Random writers insert, update, move rows between units,
// change keys, delete, truncate, roll back to savepoints and hold transactions open, while the clients refetch at
// random. What SQL held is not taken from livefeed's log: a trigger of the test's own writes each row's versions, and
// the tick's remembered snapshot tells which of them it saw. Not here: what a bridge does that loses its database.

import assert from 'node:assert/strict';
import { setTimeout as pause } from 'node:timers/promises';
import { after, before, describe, it } from 'node:test';
import { Cluster, idOf } from '../e2e/lib/cluster.mjs';
import { Bridge } from '../e2e/lib/bridge.mjs';
import { Client, isEvent } from '../e2e/lib/client.mjs';
import { SLOW } from '../e2e/lib/wait.mjs';
import { seconds, seeded } from './lib/random.mjs';

const SECONDS = seconds(6);
const random = seeded('snapshots');
// Where the machine is slow, it goes on until there is enough to compare.
const TICKS_MIN = 200;
const SNAPSHOTS_MIN = 5; // of each client
const KEYS = 40;
const UNITS = [7, 8];

const TABLES = `
  CREATE TABLE items (id integer PRIMARY KEY, unit_id integer, n integer NOT NULL, note text);
  SELECT livefeed.watch('items', unit => 'unit_id');
  -- Each version of each row, in the order that its lock gives.
  CREATE TABLE versions (seq bigserial, xid xid8 NOT NULL DEFAULT pg_current_xact_id(), id integer, item jsonb);
  CREATE FUNCTION note_version() RETURNS trigger LANGUAGE plpgsql AS $$
  BEGIN
    IF TG_OP = 'TRUNCATE' THEN
      INSERT INTO versions (id, item) VALUES (NULL, NULL);
      RETURN NULL;
    END IF;
    IF TG_OP <> 'INSERT' AND (TG_OP = 'DELETE' OR OLD.id <> NEW.id) THEN
      INSERT INTO versions (id, item) VALUES (OLD.id, NULL);
    END IF;
    IF TG_OP <> 'DELETE' THEN
      INSERT INTO versions (id, item) VALUES (NEW.id, to_jsonb(NEW));
    END IF;
    RETURN NULL;
  END $$;
  CREATE TRIGGER note_rows AFTER INSERT OR UPDATE OR DELETE ON items FOR EACH ROW EXECUTE FUNCTION note_version();
  CREATE TRIGGER note_truncate AFTER TRUNCATE ON items FOR EACH STATEMENT EXECUTE FUNCTION note_version();
`;


/** Statements that fail harmlessly: a key that is taken, a row that another writer holds, a deadlock. */
const EXPECTED = new Set(['23505', '40P01', '55P03']);

function anyStatement(chance) {
  const below = (n) => chance.int(0, n - 1);
  const anyKey = () => chance.int(1, KEYS);
  const anyUnit = () => chance.pick([...UNITS, ...UNITS, 9, null]);
  switch (below(12)) {
    case 0: case 1: case 2: case 3:
      return ['INSERT INTO items VALUES ($1, $2, $3) ON CONFLICT (id) DO UPDATE SET n = items.n + 1, note = NULL', [anyKey(), anyUnit(), below(100)]];
    case 4: case 5:
      return ['UPDATE items SET n = n + 1 WHERE id = $1', [anyKey()]];
    case 6: case 7:
      return ['UPDATE items SET unit_id = $2 WHERE id = $1', [anyKey(), anyUnit()]];
    case 8:
      return ['UPDATE items SET id = $2 WHERE id = $1', [anyKey(), anyKey()]];
    case 9:
      return ['UPDATE items SET note = repeat($2, 20), unit_id = CASE WHEN id % 2 = 0 THEN 7 ELSE unit_id END WHERE id % 5 = $1', [below(5), String(below(9))]];
    default:
      return ['DELETE FROM items WHERE id = $1', [anyKey()]];
  }
}

async function write(connection, chance, over) {
  const below = (n) => chance.int(0, n - 1);
  let transactions = 0;
  while (!over()) {
    await connection.query('BEGIN');
    await connection.query(`SET LOCAL lock_timeout = '200ms'`);
    try {
      for (let n = 1 + below(4); n > 0; n--) {
        const back = below(5) === 0;
        if (back) await connection.query('SAVEPOINT s');
        await connection.query(...anyStatement(chance));
        if (back) await connection.query('ROLLBACK TO s');
        if (below(6) === 0) await pause(below(30));
      }
      if (below(300) === 0) await connection.query('TRUNCATE items');
      await connection.query(below(8) === 0 ? 'ROLLBACK' : 'COMMIT');
      transactions++;
    } catch (error) {
      await connection.query('ROLLBACK');
      if (!EXPECTED.has(error.code)) throw error;
    }
  }
  return transactions;
}

/** A client that refetches, at random and when it is told to. */
async function follow(client, channel, chance, over) {
  let seen = 0;
  while (!over()) {
    const told = client.frames.slice(seen).some((frame) => frame.type === 'resync' && frame.channel === channel);
    seen = client.frames.length;
    if (told || chance.int(0, 39) === 0) await client.subscribe(channel, { snapshot: true });
    await pause(10);
  }
}

/** Which xids a pg_snapshot saw, as a function. */
function visibility(snapshot) {
  const [xmin, xmax, running] = snapshot.split(':');
  const open = new Set((running || '').split(',').map(Number));
  return (xid) => xid < Number(xmin) || (xid < Number(xmax) && !open.has(xid));
}

/** What each tick saw of each unit: a map from tick to { unit: { id: row } }. What one tick saw, all later ones do. */
function statesOf(ticks, versions) {
  const states = new Map();
  const latest = new Map(); // of each id, the last version seen
  let truncated = 0; // the last TRUNCATE seen
  let unseen = versions;
  for (const { tick, snapshot } of ticks) {
    const saw = visibility(snapshot);
    const next = [];
    for (const version of unseen) {
      if (!saw(version.xid)) next.push(version);
      else if (version.id === null) truncated = Math.max(truncated, version.seq);
      else if (!(latest.get(version.id)?.seq > version.seq)) latest.set(version.id, version);
    }
    unseen = next;
    const state = Object.fromEntries(UNITS.map((unit) => [unit, {}]));
    for (const { id, seq, item } of latest.values()) {
      if (item && seq > truncated && state[item.unit_id]) state[item.unit_id][id] = item;
    }
    states.set(tick, state);
  }
  return states;
}

/** Compares what the client held at the end of each tick; returns how many were compared, and of how many snapshots. */
function compare(client, channel, unit, ticks, states) {
  let held = null; // null: not known, since a refetch is under way
  let base = 0; // the snapshot's tick
  let next = 0; // in ticks
  let compared = 0;
  let snapshots = 0;
  const reach = (id) => { // all up to id has been applied
    for (; next < ticks.length && ticks[next].last <= id; next++) {
      if (held && ticks[next].tick >= base + 2) {
        assert.deepEqual(Object.fromEntries(held), states.get(ticks[next].tick)[unit], `${channel} at tick ${ticks[next].tick}, from the snapshot of ${base}`);
        compared++;
      }
    }
  };
  for (const frame of client.frames) {
    if (isEvent(frame)) {
      reach(frame.id - 1);
      if (!held) continue;
      assert.ok(frame.type !== 'items.created' || !held.has(Number(frame.key)), `${channel}: ${frame.key} is created twice: ${JSON.stringify(frame)}`);
      assert.ok(frame.type === 'items.created' || held.has(Number(frame.key)), `${channel}: ${frame.key} is not there: ${JSON.stringify(frame)}`);
      if (frame.type === 'items.deleted') held.delete(Number(frame.key));
      else held.set(Number(frame.key), frame.data);
    } else if (frame.type === 'snapshot') {
      assert.equal(frame.truncated, false);
      held = new Map(frame.data.map((row) => [row.id, row]));
      base = ticks.findLast((tick) => tick.last <= idOf(frame.cursor)).tick;
      next = ticks.findIndex((tick) => tick.tick > base);
      if (next < 0) next = ticks.length;
      snapshots++;
    } else if (frame.type === 'subscribed' || frame.type === 'resync') {
      if (frame.type === 'resync') reach(idOf(frame.cursor) - 1);
      held = null;
    } else {
      assert.notEqual(frame.type, 'error', JSON.stringify(frame));
    }
  }
  reach(ticks.at(-1).last);
  return { compared, snapshots, held: held && Object.fromEntries(held) };
}

describe('snapshots and the stream', () => {
  let cluster;
  let db;
  let bridge;

  before(async () => {
    cluster = await Cluster.start({ fsync: true }); // ticks that take a while: snapshots fall between their seeing and their showing
    db = await cluster.database(TABLES);
    bridge = await Bridge.start(db);
  });
  after(async () => {
    await bridge?.stop();
    await cluster?.remove();
  });

  it('give what SQL held at the end of each tick, under random writers', { timeout: (SECONDS + 150) * 1000 * SLOW }, async (t) => {
    const clients = [];
    for (const unit of UNITS) {
      for (let n = 0; n < 2; n++) {
        const client = await Client.open(bridge, { token: await db.token(`u${unit}`, { units: [unit] }) });
        await client.subscribe(`items:unit:${unit}`, { snapshot: true });
        clients.push({ client, unit, channel: `items:unit:${unit}` });
      }
    }
    const writers = await Promise.all(Array.from({ length: 4 }, () => db.connect()));
    const end = performance.now() + SECONDS * 1000;
    const taken = ({ client }) => client.frames.filter(({ type }) => type === 'snapshot').length;
    let made = 0; // ticks
    const over = () => performance.now() > end && made >= TICKS_MIN && clients.every((each) => taken(each) >= SNAPSHOTS_MIN);
    const count = async () => {
      while (!over()) {
        made = await db.value('SELECT count(*) FROM livefeed.ticks');
        await pause(200);
      }
    };
    const [counts] = await Promise.all([
      Promise.all(writers.map((connection, n) => write(connection, random.child(`writer ${n}`), over))),
      count(),
      ...clients.map(({ client, channel }, n) => follow(client, channel, random.child(`client ${n}`), over)),
    ]);
    for (const { client, channel } of clients) {
      await client.subscribe(channel, { snapshot: true });
      await client.next((frame) => frame.type === 'snapshot' && client.frames.indexOf(frame) > client.frames.findLastIndex((each) => each.type === 'subscribed'));
    }
    for (let n = 0; n < 3; n++) { // a few ticks more, so that the last snapshot is compared as well
      await db.write('UPDATE items SET n = n + 1 WHERE id % 3 = $1', [n]);
      await db.write('INSERT INTO items VALUES ($1, 7, 1), ($2, 8, 1)', [1000 + n, 2000 + n]);
      await db.head();
    }
    for (const { client } of clients) await client.caughtUp(db);

    const versions = await db.query('SELECT seq, xid::text::bigint AS xid, id, item FROM versions ORDER BY seq');
    const ticks = await db.query('SELECT tick, id_last AS last, snapshot::text FROM livefeed.ticks ORDER BY tick');
    const states = statesOf(ticks, versions);
    let compared = 0;
    let snapshots = 0;
    for (const { client, unit, channel } of clients) {
      const told = compare(client, channel, unit, ticks, states);
      compared += told.compared;
      snapshots += told.snapshots;
      const rows = await db.query('SELECT * FROM items WHERE unit_id = $1', [unit]);
      assert.deepEqual(told.held, Object.fromEntries(rows.map((row) => [row.id, row])), `${channel} at the end`);
      await client.leave();
    }
    const events = clients.reduce((sum, { client }) => sum + client.events().length, 0);
    t.diagnostic(`${counts.reduce((sum, n) => sum + n, 0)} transactions, ${ticks.length} ticks; ${clients.length} clients: ${snapshots} snapshots, ${events} events, ${compared} ticks compared`);
    assert.ok(snapshots > clients.length * 3, `only ${snapshots} snapshots`);
    assert.ok(compared > 200, `only ${compared} ticks were compared`);
  });
});
