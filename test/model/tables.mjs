// Tables of all shapes, each twice: in schema w, watched, and in schema u, its twin without a watch. In the statements, @ stands
// for the schema. What a table looks like at any time is read from the catalog.

import { KEY_TYPES, PAYLOAD_TYPES } from './values.mjs';

export const SCHEMAS = ['u', 'w']; // the twin goes first
export const inSchema = (sql, schema) => sql.replaceAll('@', schema);

export const SETUP = `
  CREATE SCHEMA u; CREATE SCHEMA w; CREATE SCHEMA kinds;
  CREATE TYPE kinds.mood AS ENUM ('sad "x"', 'ok', 'In Progress');
  CREATE DOMAIN kinds.posint AS integer CHECK (value > 0);
  CREATE DOMAIN kinds.labels AS text[];
  CREATE DOMAIN kinds.id AS text CHECK (value <> 'nobody');
  DO $$ BEGIN CREATE ROLE model_app; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
  GRANT USAGE ON SCHEMA u, w, kinds TO model_app;
  ALTER DEFAULT PRIVILEGES IN SCHEMA u GRANT ALL ON TABLES TO model_app;
  ALTER DEFAULT PRIVILEGES IN SCHEMA w GRANT ALL ON TABLES TO model_app;

  -- An application's triggers: one changes the row on its way in, one updates other rows of the same table.
  CREATE FUNCTION kinds.stamp() RETURNS trigger LANGUAGE plpgsql AS $$
  BEGIN
    IF NEW.n % 5 = 0 THEN NEW.status := coalesce(NEW.status, '') || '!'; END IF;
    IF NEW.n % 7 = 6 THEN RETURN NULL; END IF;
    RETURN NEW;
  END $$;
  -- One that makes room for a row on its way in.
  CREATE FUNCTION kinds.replace_row() RETURNS trigger LANGUAGE plpgsql AS $$
  BEGIN
    EXECUTE format('DELETE FROM %I.%I WHERE k0 = $1', TG_TABLE_SCHEMA, TG_TABLE_NAME) USING NEW.k0;
    RETURN NEW;
  END $$;
  CREATE FUNCTION kinds.touch_others() RETURNS trigger LANGUAGE plpgsql AS $$
  BEGIN
    IF pg_trigger_depth() > 2 THEN RETURN NULL; END IF;
    EXECUTE format('UPDATE %I.%I SET owner = $1, n = n + 1 WHERE n BETWEEN $2 AND $2 + 3 AND status IS DISTINCT FROM $3', TG_TABLE_SCHEMA, TG_TABLE_NAME)
      USING 'touched', NEW.n % 50, 'quiet';
    RETURN NULL;
  END $$;`;

const BASE = `n integer, unit_id integer, owner text, watchers text[], status text`;
const payload = (random, count) => Array.from({ length: count }, (_, i) => `c${i} ${random.pick(PAYLOAD_TYPES)}`);

function plain(random, name, shape) {
  const keys = Array.from({ length: shape.keys }, (_, i) => `k${i} ${shape.deferrable ? 'integer' : random.pick(KEY_TYPES)}`);
  const columns = [...keys, ...payload(random, 6), BASE];
  if (shape.generated) columns.push('twice integer GENERATED ALWAYS AS (n * 2) STORED', "name text GENERATED ALWAYS AS (coalesce(owner, '?') || '/' || coalesce(status, '')) STORED");
  const deferrable = shape.deferrable ? 'DEFERRABLE INITIALLY IMMEDIATE' : '';
  return [`CREATE TABLE @.${name} (${columns.join(', ')}, PRIMARY KEY (${keys.map((key) => key.split(' ')[0]).join(', ')}) ${deferrable})`];
}

// Leaves of which one has its columns in another order, and had one more.
function partitioned(random, name) {
  const columns = ['k0 integer', ...payload(random, 4), BASE.replace('n integer', 'n integer NOT NULL')].join(', ');
  const turned = columns.split(/, (?![^(]*\))/).reverse().join(', ');
  return [
    `CREATE TABLE @.${name} (${columns}, PRIMARY KEY (k0, n)) PARTITION BY RANGE (n)`,
    `CREATE TABLE @.${name}_low PARTITION OF @.${name} FOR VALUES FROM (MINVALUE) TO (100)`,
    `CREATE TABLE @.${name}_mid (gone text, ${turned}, PRIMARY KEY (k0, n))`,
    `ALTER TABLE @.${name}_mid DROP COLUMN gone`,
    `ALTER TABLE @.${name} ATTACH PARTITION @.${name}_mid FOR VALUES FROM (100) TO (500)`,
    `CREATE TABLE @.${name}_rest PARTITION OF @.${name} DEFAULT`,
  ];
}

function security(name) {
  return [
    `ALTER TABLE @.${name} ENABLE ROW LEVEL SECURITY`,
    `CREATE POLICY visible ON @.${name} USING (unit_id IS NULL OR unit_id < 9) WITH CHECK (unit_id IS NULL OR unit_id < 8)`,
  ];
}

function functions(name) {
  return [
    `CREATE FUNCTION @.unit_${name}(@.${name}) RETURNS text STABLE LANGUAGE plpgsql AS $$
     BEGIN RETURN CASE WHEN $1.n = 66 THEN (1 / ($1.n - 66))::text WHEN $1.unit_id IS NOT NULL THEN 'unit ' || $1.unit_id / 2 END; END $$`,
    `CREATE FUNCTION @.users_${name}(@.${name}) RETURNS text[] STABLE LANGUAGE sql AS $$ SELECT array_append($1.watchers, $1.owner) $$`,
    // The same, for asking: the scope of a row for which they raise is not told.
    `CREATE FUNCTION @.ask_users_${name}(@.${name}) RETURNS text[] LANGUAGE plpgsql AS $$
     BEGIN RETURN @.users_${name}($1); EXCEPTION WHEN OTHERS THEN RETURN NULL; END $$`,
    `CREATE FUNCTION @.ask_unit_${name}(@.${name}) RETURNS text LANGUAGE plpgsql AS $$
     BEGIN RETURN @.unit_${name}($1); EXCEPTION WHEN OTHERS THEN RETURN NULL; END $$`,
  ];
}

/** The statements that make the tables: [{name, owner (which of the writers), statements}]. */
export function makeTables(random) {
  const shapes = [
    { keys: 1, triggers: false },
    { keys: 2, generated: true },
    { keys: 1, deferrable: true, generated: true },
    { keys: 1, triggers: true },
    { keys: 2, rls: true, triggers: true },
    { partitioned: true },
    { partitioned: true, triggers: true },
    { keys: 1, rls: true },
    { keys: 1, replaces: true },
    { keys: 1, replaces: true, triggers: true },
  ];
  return shapes.map((shape, i) => {
    const name = `t${i}`;
    const statements = shape.partitioned ? partitioned(random, name) : plain(random, name, shape);
    if (shape.triggers) {
      statements.push(`CREATE TRIGGER stamp BEFORE INSERT OR UPDATE ON @.${name} FOR EACH ROW EXECUTE FUNCTION kinds.stamp()`);
      statements.push(`CREATE TRIGGER touch AFTER INSERT OR UPDATE ON @.${name} FOR EACH ROW WHEN (NEW.n % 3 = 0) EXECUTE FUNCTION kinds.touch_others()`);
    }
    if (shape.replaces) statements.push(`CREATE TRIGGER replaces BEFORE INSERT OR UPDATE OF k0 ON @.${name} FOR EACH ROW WHEN (NEW.k0 IS NOT NULL) EXECUTE FUNCTION kinds.replace_row()`);
    if (shape.rls) statements.push(...security(name));
    statements.push(...functions(name));
    return { name, original: name, writer: i % 2, shape, statements, watched: false, columns: [] };
  });
}

/** Reads what the table looks like now. */
export async function describe(client, table) {
  const { rows } = await client.query(
    `SELECT a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type, a.attgenerated AS generated,
            format_type(coalesce((WITH RECURSIVE d AS (SELECT t.oid, t.typbasetype FROM pg_type t WHERE t.oid = a.atttypid
              UNION ALL SELECT t.oid, t.typbasetype FROM d JOIN pg_type t ON t.oid = d.typbasetype) SELECT oid FROM d WHERE typbasetype = 0), a.atttypid),
              CASE WHEN a.atttypid = 1042 THEN a.atttypmod END) AS base,
            coalesce(array_position((SELECT i.indkey::int2[] FROM pg_index i WHERE i.indrelid = a.attrelid AND (i.indisprimary OR i.indisreplident)
              ORDER BY i.indisprimary DESC LIMIT 1), a.attnum) + 1, 0) AS key
     FROM pg_attribute a WHERE a.attrelid = $1::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum`,
    [`w.${table.name}`],
  );
  table.columns = rows.map((row) => ({ ...row, key: Number(row.key) }));
  table.keys = table.columns.filter((column) => column.key > 0).sort((a, b) => a.key - b.key);
  table.leaves = (await client.query(
    `SELECT c.relname AS name, t.isleaf FROM pg_partition_tree($1::regclass) t JOIN pg_class c ON c.oid = t.relid WHERE t.level > 0 ORDER BY c.oid`, [`w.${table.name}`])).rows.map((row) => row.name);
}
