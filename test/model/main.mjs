// Random changes and migrations of watched tables, against a model: a client that knows only the events, in their order,
// has what the table has; in the whole feed, and in the channels of rows, units and users. And the application's writes
// do not fail because of us: each statement runs on a twin without a watch too, in the same transaction, and ends alike.
//
//   MODEL_SECONDS (default 20; a slow machine takes longer, till enough was tried), MODEL_SEED (default: from the clock; it is printed), MODEL_TRANSACTIONS (end after so many:
//   a seed takes the same way each time, as far as time allows)
//
// Wants a running server in PG* with the extension installed. Prints TAP. Not here: delivery by a bridge, limits and folding
// (sql/limits.sql), several writers of the same rows (order.sh, specs/).

import pg from 'pg';
import { Random } from './random.mjs';
import { apply, EventError, FLAG, readView, watchedKey } from './client.mjs';
import { describe, inSchema, makeTables, SCHEMAS, SETUP } from './tables.mjs';
import { change, migrate, watch } from './statements.mjs';

const MORE_SECONDS = 300; // at most, where SECONDS were not enough to try much
const SECONDS = Number(process.env.MODEL_SECONDS ?? 20);
const SEED = Number(process.env.MODEL_SEED ?? Date.now() % 1000000000);
const TRANSACTIONS = Number(process.env.MODEL_TRANSACTIONS ?? Infinity);
const DATABASE = `livefeed_model_${process.pid}`;
const TRACE_MAX = 60;

const random = new Random(SEED);
const counts = { transactions: 0, statements: 0, refused: 0, migrations: 0, events: 0, applied: 0, resyncs: 0, comparisons: 0, strict: 0 };
const worked = () => counts.strict > 0 && counts.applied > 100 && counts.migrations > 0 && counts.resyncs > 0;
const trace = [];
const note = (line) => {
  trace.push(line);
  if (trace.length > TRACE_MAX) trace.shift();
};

const raw = { getTypeParser: () => (text) => text };
const connect = async (options = {}) => {
  const client = new pg.Client({ database: DATABASE, ...options });
  await client.connect();
  await client.query("SET statement_timeout = '2 min'"); // nothing waits for another here
  client.on('error', () => {}); // of a failed run's connections, when the database is dropped
  return client;
};

async function connectReader() {
  const reader = await connect({ types: raw });
  await reader.query("SET timezone = 'UTC'; SET datestyle = 'ISO'");
  return reader;
}

class Failure extends Error {}

// ---- one writer

const STATE = ['name', 'watched', 'options', 'columns', 'keys', 'leaves', 'touched'];
const saved = (table) => Object.fromEntries(STATE.map((name) => [name, table[name]]));

async function guarded(writer, sql) {
  await writer.query('SAVEPOINT one');
  try {
    const result = await writer.query(sql);
    await writer.query('RELEASE one');
    return { code: null, text: String(result.rowCount ?? result.command) };
  } catch (error) {
    if (error.code === undefined) throw error;
    await writer.query('ROLLBACK TO one; RELEASE one');
    return { code: error.code, text: error.message };
  }
}

/** Runs it on the twin, then on the watched table; true if it was done. */
async function both(writer, sql, before) {
  const outcomes = [];
  if (before && (await guarded(writer, before)).code !== null) return false;
  for (const schema of SCHEMAS) outcomes.push(await guarded(writer, inSchema(sql, schema)));
  const [twin, watched] = outcomes;
  counts.statements++;
  if (watched.code !== null) counts.refused++;
  note(`${watched.code === null ? '' : `-- ${watched.code} ${watched.text}\n`}${inSchema(sql, 'w')};`);
  // Which of several rows is refused first, and for what, depends on where they lie.
  const bothRefused = twin.code !== null && watched.code !== null && [twin, watched].every(({ code }) => code === '42501' || code.startsWith('23'));
  if ((twin.code !== watched.code && !bothRefused) || (twin.code === null && twin.text !== watched.text)) {
    throw new Failure(`the watched table and its twin end differently:\n  twin    ${twin.code} ${twin.text}\n  watched ${watched.code} ${watched.text}`);
  }
  return watched.code === null;
}

async function doMigration(writer, table) {
  const made = migrate(random, table);
  if (!(await both(writer, made.sql))) return;
  counts.migrations++;
  if (made.name) table.name = made.name;
  table.touched = true;
  await describe(writer, table);
  if (random.chance(60)) await doWatch(writer, table);
}

async function doWatch(writer, table) {
  const made = random.chance(10) ? { sql: `SELECT livefeed.unwatch('w.${table.name}')`, options: null } : watch(random, table);
  const outcome = await guarded(writer, made.sql);
  note(`${outcome.code === null ? '' : `-- ${outcome.code} ${outcome.text}\n`}${made.sql};`);
  if (outcome.code?.startsWith('XX')) throw new Failure(`watch() failed from inside: ${outcome.text}`);
  if (outcome.code !== null) return;
  table.watched = made.options !== null;
  table.options = made.options ?? table.options;
  table.touched = true;
}

const SETTINGS = {
  timezone: ['UTC', 'Asia/Tokyo', 'America/St_Johns'], datestyle: ['ISO', 'SQL, DMY', 'German'], intervalstyle: ['postgres', 'iso_8601', 'sql_standard'],
  bytea_output: ['hex', 'escape'], extra_float_digits: ['1', '-3', '3'], search_path: ['w', 'u, w', 'pg_catalog'], 'livefeed.notify': ['auto', 'always', 'never'],
};

async function steps(writer, tables, n, migrating, depth) {
  for (let i = 0; i < n; i++) {
    const table = random.pick(tables);
    if (depth < 3 && random.chance(8)) {
      const before = tables.map(saved);
      await writer.query(`SAVEPOINT s${depth}`);
      note(`SAVEPOINT s${depth};`);
      await steps(writer, tables, 1 + random.below(3), migrating, depth + 1);
      if (random.chance(50)) {
        await writer.query(`ROLLBACK TO s${depth}`);
        note(`ROLLBACK TO s${depth};`);
        tables.forEach((one, at) => Object.assign(one, before[at]));
      }
    } else if (migrating && random.chance(25)) {
      if (random.chance(80)) await doMigration(writer, table);
      else await doWatch(writer, table);
    } else {
      const made = change(random, table, writer.copy, writer.version);
      await both(writer, made.sql, made.before);
    }
  }
}

/** Begins and works; the end is another step, so that transactions overlap. */
async function begin(writer, others, settle) {
  // One at a time: who defines a watch waits for another who does.
  const migrating = random.chance(6) && !others.some((other) => other.open && other.migrating);
  writer.migrating = migrating;
  if (migrating) await settle(); // what was told so far is of the tables as they are
  writer.before = writer.tables.map(saved);
  await writer.query('BEGIN');
  note(`-- writer ${writer.number}\nBEGIN;`);
  for (const [name, values] of Object.entries(SETTINGS)) {
    if (random.chance(25)) await writer.query(`SET LOCAL ${name} = ${name === 'search_path' ? random.pick(values) : `'${random.pick(values)}'`}`);
  }
  if (!migrating && random.chance(40)) await writer.query('SET LOCAL ROLE model_app');
  if (random.chance(30)) await writer.query('SET CONSTRAINTS ALL DEFERRED');
  await steps(writer, writer.tables, 1 + random.below(6), migrating, 0);
  writer.open = true;
}

async function end(writer) {
  const how = random.weighted({ COMMIT: 80, ROLLBACK: 12, PREPARE: 8 });
  let done = how !== 'ROLLBACK';
  note(`-- writer ${writer.number}\n${how};`);
  try {
    if (how === 'PREPARE') {
      await writer.query(`PREPARE TRANSACTION 'w${writer.number}'`);
      await writer.query(`COMMIT PREPARED 'w${writer.number}'`);
    } else {
      const result = await writer.query(how);
      done = result.command !== 'ROLLBACK';
    }
  } catch (error) { // what was deferred till now
    if (!['23505', '55000'].includes(error.code)) throw error;
    done = false;
    await writer.query('ROLLBACK');
  }
  writer.open = false;
  counts.transactions++;
  if (!done) writer.tables.forEach((one, at) => Object.assign(one, writer.before[at]));
  return writer.tables.some((table) => table.touched);
}

// ---- the client

/** All events that are new to the client, in their order. */
async function readEvents(reader, state) {
  const events = [];
  await reader.query('SELECT livefeed.tick()');
  for (;;) {
    const { rows } = await reader.query(
      `SELECT id, xid::text, flags, feed, unit, to_json(users) AS users, to_json(to_users) AS to_users, key, convert_from(frame, 'UTF8') AS frame FROM livefeed.read($1, 500)`, [state.after]);
    const mark = rows.pop();
    if (!(mark.flags & FLAG.mark)) throw new Failure('read() ended without its mark');
    state.after = mark.id;
    if (rows.length === 0) return events;
    for (const row of rows) {
      const event = { ...row, users: row.users && JSON.parse(row.users), to_users: row.to_users && JSON.parse(row.to_users), flags: Number(row.flags) };
      if (!(event.flags & FLAG.control)) events.push(event);
    }
  }
}

function applyStrictly(table, event) {
  if (!table.watched || event.feed !== table.options.feed) throw new Failure(`an event of ${event.feed}, which is not watched`);
  try {
    counts.applied += apply(table.view, table, event);
  } catch (error) {
    if (!(error instanceof EventError)) throw error;
    throw new Failure(`event ${event.id} of ${event.feed}: ${error.message}\n  ${event.frame}`);
  }
}

async function drain(reader, state, tables) {
  const tableOf = (event) => tables.find((one) => one.original === /t\d+/.exec(event.feed)[0]);
  const events = await readEvents(reader, state);
  // A resync stands at the end of its transaction: of the feed's other events in there, some may be missing.
  const resynced = new Set(events.filter((event) => event.flags & FLAG.resync).map((event) => `${event.xid} ${tableOf(event).original}`));
  // What was migrated, or told to fetch anew, is read from the table when it is compared next.
  for (const table of tables) table.reload ||= table.touched && !state.open(table);
  for (const event of events) {
    const table = tableOf(event);
    counts.events++;
    if (event.flags & FLAG.resync) counts.resyncs++;
    else if (!table.reload && !resynced.has(`${event.xid} ${table.original}`)) applyStrictly(table, event);
    else JSON.parse(event.frame);
    table.reload ||= resynced.has(`${event.xid} ${table.original}`);
  }
  for (const table of tables) table.touched &&= state.open(table);
}

async function compare(reader, state, tables) {
  for (const table of tables) {
    if (!table.watched || state.open(table) || !watchedKey(table)) continue;
    // A session's cached plans may not survive that a row type changed; a new one has none.
    const fresh = table.reload ? await connectReader() : reader;
    const want = await readView(fresh, table);
    if (table.reload) await fresh.end();
    if (table.reload) table.view = want;
    else counts.strict++;
    table.reload = false;
    counts.comparisons++;
    const difference = table.view.difference(want);
    if (difference !== null) throw new Failure(`the client of ${table.options.feed} has not what the table has: ${difference}`);
    const twins = await reader.query(`SELECT count(*) AS n FROM ((SELECT t::text FROM w.${table.name} t EXCEPT ALL SELECT t::text FROM u.${table.name} t)
      UNION ALL (SELECT t::text FROM u.${table.name} t EXCEPT ALL SELECT t::text FROM w.${table.name} t)) x`);
    if (twins.rows[0].n !== '0') throw new Failure(`w.${table.name} and its twin differ`);
  }
}

// ---- the run

async function setUp(reader) {
  await reader.query('CREATE EXTENSION livefeed');
  await reader.query(SETUP);
  if (random.chance(50)) await reader.query(`SELECT livefeed.register_bridge('model', 'here', 1, '0')`);
  const tables = makeTables(random);
  for (const table of tables) {
    for (const schema of SCHEMAS) for (const sql of table.statements) await reader.query(inSchema(sql, schema));
    await describe(reader, table);
    const made = watch(random, table);
    await reader.query(made.sql);
    note(`${made.sql};`);
    Object.assign(table, { watched: true, options: made.options, reload: true, touched: true });
  }
  return tables;
}

/** A writer's session anew: a function that an older one has planned goes on with a column that was renamed since. */
async function reconnected(writer) {
  const { number, version, open, tables, copy } = writer;
  await writer.end();
  return Object.assign(await connect(), { number, version, open, tables, copy });
}

async function run() {
  let reader = await connectReader();
  const version = Number((await reader.query('SHOW server_version_num')).rows[0].server_version_num);
  const folder = (await reader.query('SHOW data_directory')).rows[0].data_directory; // goes with the cluster
  const tables = await setUp(reader);
  const writers = [];
  for (const number of [0, 1]) {
    const writer = await connect();
    Object.assign(writer, { number, version, open: false, tables: tables.filter((table) => table.writer === number), copy: `${folder}/model_${number}.copy` });
    writers.push(writer);
  }
  const state = { after: '0', open: (table) => writers[table.writer].open };
  await drain(reader, state, tables);
  await compare(reader, state, tables);
  const until = Date.now() + SECONDS * 1000, last = until + MORE_SECONDS * 1000;
  while (Date.now() < (worked() ? until : last) && counts.transactions < TRANSACTIONS) {
    const writer = random.pick(writers);
    if (!writer.open) {
      await begin(writer, writers, () => drain(reader, state, tables));
      continue;
    }
    const migrated = await end(writer);
    if (migrated) {
      await reader.end();
      reader = await connectReader();
      writers[writer.number] = await reconnected(writer);
    }
    if (migrated || random.chance(30)) {
      await drain(reader, state, tables);
      if (migrated || random.chance(40)) await compare(reader, state, tables);
    }
  }
  for (const writer of writers) if (writer.open) await end(writer);
  await drain(reader, state, tables);
  await compare(reader, state, tables);
  for (const client of [reader, ...writers]) await client.end();
}

async function administer(sql) {
  const client = new pg.Client();
  await client.connect();
  await client.query(sql);
  await client.end();
}

console.log(`# seed ${SEED}: MODEL_SEED=${SEED} repeats it`);
let status = 0;
await administer(`CREATE DATABASE ${DATABASE}`);
try {
  await run();
} catch (error) {
  status = 1;
  for (const line of (error instanceof Failure ? error.message : error.stack).split('\n')) console.log(`# ${line}`);
  console.log('# --- what came before:');
  for (const line of trace.join('\n').split('\n')) console.log(`# ${line.slice(0, 600)}`);
}
console.log(`# ${Object.entries(counts).map(([name, n]) => `${n} ${name}`).join(', ')}`);
const result = (good, name, n) => console.log(`${good ? 'ok' : 'not ok'} ${n} - ${name}`);
result(status === 0, 'a client that applies the events has what the tables have, and writes end as on a table without a watch', 1);
result(worked(), 'much was tried', 2);
console.log('1..2');
await administer(`DROP DATABASE ${DATABASE} WITH (FORCE)`);
process.exit(status === 0 && worked() ? 0 : 1);
