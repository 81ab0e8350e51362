// Random statements on a table, as SQL with @ for the schema: what an application does (change), and what its
// migrations do (migrate).

import { ALTERATIONS, PAYLOAD_TYPES, value } from './values.mjs';

const USERS = ['alice', 'bob', 'a:b', 'ü', '42', ''];
const BASE = {
  n: (random) => String(random.chance(5) ? 66 : random.below(random.chance(30) ? 600 : 60)),
  unit_id: (random) => (random.chance(15) ? 'NULL' : String(random.below(10))),
  owner: (random) => (random.chance(15) ? 'NULL' : `'${random.pick(USERS)}'`),
  watchers: (random) => (random.chance(20) ? 'NULL' : `'{${random.some(USERS.slice(0, 5), 40).map((user) => `"${user}"`).join(',')}}'`),
  status: (random) => random.pick(['NULL', "'new'", "'In Progress'", "'sent back'", "'quiet'", "'Ärger!'", "''"]),
};

function valueOf(random, column) {
  if (column.key > 0 && !(column.name in BASE)) return value(random, column.type, true);
  if (column.name in BASE && column.type === { n: 'integer', unit_id: 'integer', watchers: 'text[]' }[column.name]) return BASE[column.name](random);
  if ((column.name === 'owner' || column.name === 'status') && column.type === 'text') return BASE[column.name](random);
  return value(random, column.type);
}

const writable = (table) => table.columns.filter((column) => column.generated === '');
const keyed = (random, table) => table.keys.map((key) => `${key.name} = ${valueOf(random, key)}`).join(' AND ');
const partly = (random, table) => (table.columns.some((column) => column.name === 'n') ? `n % 4 = ${random.below(4)}` : keyed(random, table));
const names = (columns) => columns.map((column) => column.name).join(', ');

function assignments(random, columns) {
  return columns.map((column) => `${column.name} = ${random.chance(10) ? column.name : random.chance(5) ? 'DEFAULT' : valueOf(random, column)}`).join(', ');
}

function someColumns(random, table, percent) {
  const columns = writable(table).filter((column) => column.key === 0);
  const found = random.some(columns, percent);
  return found.length > 0 ? found : [random.pick(columns.length > 0 ? columns : writable(table))];
}

const tuple = (random, columns) => `(${columns.map((column) => valueOf(random, column)).join(', ')})`;
const tuples = (random, columns, n) => Array.from({ length: n }, () => tuple(random, columns)).join(', ');

function insert(random, table) {
  const columns = writable(table);
  const to = table.leaves.length > 0 && random.chance(10) ? random.pick(table.leaves) : table.name;
  return `INSERT INTO @.${to} (${names(columns)}) VALUES ${tuples(random, columns, 1 + random.below(3))}`;
}

function upsert(random, table) {
  const update = someColumns(random, table, 30);
  const what = random.chance(25) ? 'NOTHING' : `UPDATE SET ${update.map((column) => `${column.name} = ${random.chance(60) ? `excluded.${column.name}` : valueOf(random, column)}`).join(', ')}`;
  const columns = writable(table);
  return `INSERT INTO @.${table.name} (${names(columns)}) VALUES ${tuples(random, columns, 1 + random.below(4))}
    ON CONFLICT ${what === 'NOTHING' ? '' : `(${names(table.keys)})`} DO ${what}`;
}

function merge(random, table) {
  const columns = writable(table);
  const payload = columns.filter((column) => column.key === 0);
  const typed = columns.map((column) => `CAST(${valueOf(random, column)} AS ${column.type}) AS ${column.name}`).join(', ');
  const change = random.pick(payload);
  return `MERGE INTO @.${table.name} t USING (SELECT ${typed}) s ON (${table.keys.map((key) => `t.${key.name} = s.${key.name}`).join(' AND ')})
    ${random.chance(30) ? 'WHEN MATCHED AND t.n % 2 = 0 THEN DELETE' : ''}
    WHEN MATCHED THEN UPDATE SET ${change.name} = s.${change.name}
    WHEN NOT MATCHED THEN INSERT (${names(columns)}) VALUES (${columns.map((column) => `s.${column.name}`).join(', ')})`;
}

function recycle(random, table) { // rows go and come in one statement
  const columns = writable(table);
  const free = columns.filter((column) => column.key === 0 && column.name !== 'n');
  const change = random.pick(free.length > 0 ? free : columns);
  return `WITH gone AS (DELETE FROM @.${table.name} WHERE ${partly(random, table)} RETURNING *)
    INSERT INTO @.${table.name} (${names(columns)}) SELECT ${columns.map((column) => (column === change ? valueOf(random, column) : `gone.${column.name}`)).join(', ')} FROM gone`;
}

function shift(random, table) { // keys that pass through each other, where it does not matter in which order
  const key = table.keys[0];
  if (!table.shape.deferrable || !/^(integer|bigint|numeric)$/.test(key.type)) return moveKey(random, table);
  return `UPDATE @.${table.name} SET ${key.name} = ${key.name} + ${random.pick(['1', '-1', '2'])}${random.chance(50) ? '' : ` WHERE ${partly(random, table)}`}`;
}

function moveKey(random, table) {
  const key = random.pick(table.keys);
  return `UPDATE @.${table.name} SET ${key.name} = ${valueOf(random, key)}${random.chance(40) ? `, ${assignments(random, [someColumns(random, table, 10)[0]])}` : ''} WHERE ${keyed(random, table)}`;
}

/** {name: [weight, make]}; `copy` is the path of a file that the server may write. */
const CHANGES = {
  insert: [24, insert],
  upsert: [12, upsert],
  update: [20, (random, table) => `UPDATE @.${table.name} SET ${assignments(random, someColumns(random, table, 25))} WHERE ${keyed(random, table)}`],
  updateMany: [10, (random, table) => `UPDATE @.${table.name} SET ${assignments(random, someColumns(random, table, 20))} WHERE ${partly(random, table)}`],
  moveKey: [5, moveKey],
  shift: [3, shift],
  delete: [8, (random, table) => `DELETE FROM @.${table.name} WHERE ${keyed(random, table)}`],
  deleteMany: [2, (random, table) => `DELETE FROM @.${table.name} WHERE ${partly(random, table)}`],
  recycle: [3, recycle],
  merge: [5, merge],
  copy: [3, (random, table, copy) => [`COPY (VALUES ${tuples(random, writable(table), 2)}) TO '${copy}'`, `COPY @.${table.name} (${names(writable(table))}) FROM '${copy}'`]],
  truncate: [1, (random, table) => `TRUNCATE @.${table.leaves.length > 0 && random.chance(50) ? random.pick(table.leaves) : table.name}`],
};
const CHANGE_WEIGHTS = Object.fromEntries(Object.entries(CHANGES).map(([name, [weight]]) => [name, weight]));

/** {kind, before: SQL run once or null, sql} */
export function change(random, table, copy, version) {
  let kind = random.weighted(CHANGE_WEIGHTS);
  if (kind === 'merge' && version < 150000) kind = 'upsert';
  const made = CHANGES[kind][1](random, table, copy);
  return Array.isArray(made) ? { kind, before: made[0], sql: made[1] } : { kind, before: null, sql: made };
}

// ---- migrations

let fresh = 0;
const free = (table) => table.columns.filter((column) => column.key === 0 && !(column.name in BASE));

function alterType(random, table) {
  const columns = free(table).filter((column) => column.generated === '' && ALTERATIONS[column.type]);
  if (columns.length === 0) return addColumn(random, table);
  const column = random.pick(columns);
  const type = random.pick(ALTERATIONS[column.type]);
  return `ALTER TABLE @.${table.name} ALTER COLUMN ${column.name} TYPE ${type} USING ${column.name}::text::${type}`;
}

function addColumn(random, table) {
  const type = random.pick(PAYLOAD_TYPES);
  return `ALTER TABLE @.${table.name} ADD COLUMN c${100 + fresh++} ${type}${random.chance(40) ? ` DEFAULT ${value(random, type)}` : ''}`;
}

function changeKey(random, table) {
  if (table.leaves.length > 0) return addColumn(random, table);
  const kept = random.chance(50) && table.keys.length > 1 ? table.keys.slice(1) : table.keys;
  return `ALTER TABLE @.${table.name} DROP CONSTRAINT IF EXISTS ${table.original}_pkey, ADD CONSTRAINT ${table.original}_pkey PRIMARY KEY (${names([...kept].reverse())})`;
}

function partitions(random, table) {
  if (table.leaves.length === 0) return renameTable(random, table);
  const leaf = `${table.original}_mid`;
  return table.leaves.includes(leaf)
    ? `ALTER TABLE @.${table.name} DETACH PARTITION @.${leaf}`
    : `ALTER TABLE @.${table.name} ATTACH PARTITION @.${leaf} FOR VALUES FROM (100) TO (500)`;
}

const renameTable = (random, table) => ({ sql: `ALTER TABLE @.${table.name} RENAME TO ${table.original}_${++fresh}`, name: `${table.original}_${fresh}` });

// The columns that say whom a row concerns: the watch goes by their names.
function changeScope(random, table) {
  const renamed = table.columns.find((column) => /^(unit_id|owner|watchers)_/.test(column.name));
  if (renamed && random.chance(70)) return `ALTER TABLE @.${table.name} RENAME COLUMN ${renamed.name} TO ${renamed.name.replace(/_x$/, '')}`;
  const columns = table.columns.filter((column) => ['unit_id', 'owner', 'watchers'].includes(column.name));
  if (columns.length === 0) return addColumn(random, table);
  const column = random.pick(columns);
  if (random.chance(50)) return `ALTER TABLE @.${table.name} RENAME COLUMN ${column.name} TO ${column.name}_x`;
  const type = { integer: 'bigint', bigint: 'text', text: 'character varying', 'text[]': 'character varying[]' }[column.type];
  return type ? `ALTER TABLE @.${table.name} ALTER COLUMN ${column.name} TYPE ${type} USING ${column.name}::${type}` : addColumn(random, table);
}

const MIGRATIONS = {
  addColumn: [8, addColumn],
  dropColumn: [5, (random, table) => (free(table).length > 2 ? `ALTER TABLE @.${table.name} DROP COLUMN ${random.pick(free(table)).name}` : addColumn(random, table))],
  renameColumn: [4, (random, table) => (free(table).length > 0 ? `ALTER TABLE @.${table.name} RENAME COLUMN ${random.pick(free(table)).name} TO c${100 + fresh++}` : addColumn(random, table))],
  alterType: [5, alterType],
  changeScope: [3, changeScope],
  renameTable: [2, renameTable],
  changeKey: [2, changeKey],
  partitions: [4, partitions],
  index: [1, (random, table) => `CREATE INDEX ON @.${table.name} (${random.pick(table.columns.filter((column) => /int|text$/.test(column.type))).name})`],
};
const MIGRATION_WEIGHTS = Object.fromEntries(Object.entries(MIGRATIONS).map(([name, [weight]]) => [name, weight]));

/** {kind, sql, name: the table's new name, if it has one} */
export function migrate(random, table) {
  const kind = random.weighted(MIGRATION_WEIGHTS);
  const made = MIGRATIONS[kind][1](random, table);
  return typeof made === 'string' ? { kind, sql: made } : { kind, ...made };
}

/** A watch with random options: {sql, options}. */
export function watch(random, table) {
  const has = (name) => table.columns.some((column) => column.name === name);
  const options = { feed: random.chance(30) ? undefined : `feed_${table.original}`, keys: table.keys.map((key) => key.name) };
  options.feed ??= table.name;
  const args = [`'w.${table.name}'`, `feed => '${options.feed}'`];
  const scope = random.below(4);
  if (scope === 0) options.unitFunction = `unit_${table.original}`;
  else if (scope < 3 && has('unit_id')) options.unit = 'unit_id';
  if (random.chance(20)) options.usersFunction = `users_${table.original}`;
  options.users = random.some(['owner', 'watchers'].filter(has), 50);
  const names = table.columns.map((column) => column.name);
  if (random.chance(25)) options.columns = random.some(names, 60);
  if (random.chance(25)) options.except = random.some(names, 20);
  if (random.chance(50) && has('status')) options.action = 'status';
  const list = (items) => `'{${items.join(',')}}'`;
  if (options.unit) args.push(`"unit" => '${options.unit}'`);
  if (options.unitFunction) args.push(`unit_function => 'w.${options.unitFunction}(w.${table.name})'`);
  if (options.usersFunction) args.push(`users_function => 'w.${options.usersFunction}(w.${table.name})'`);
  if (options.users.length > 0) args.push(`users => ${list(options.users)}`);
  if (options.columns) args.push(`columns => ${list(options.columns)}`);
  if (options.except) args.push(`except_columns => ${list(options.except)}`);
  if (options.action) args.push(`action => '${options.action}'`);
  return { sql: `SELECT livefeed.watch(${args.join(', ')})`, options };
}
