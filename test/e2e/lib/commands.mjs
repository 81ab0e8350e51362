// The usual tables, commands of each kind, and a gate at which they wait for as long as a test wants.

import { SCHEMA } from './schema.mjs';
import { until } from './wait.mjs';

const command = (name, body, { language = 'plpgsql', roles = '{}', declare = '' } = {}) => `
  CREATE FUNCTION ${name}(args jsonb) RETURNS jsonb LANGUAGE ${language} AS $$ ${language === 'sql' ? body : `${declare} BEGIN ${body} END`} $$;
  SELECT livefeed.expose_command('${name}', '${name}(jsonb)', '${roles}');`;

export const COMMANDS = `${SCHEMA}
  CREATE TABLE notes (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, text text);
  CREATE TABLE counters (id integer PRIMARY KEY, n integer NOT NULL);
  INSERT INTO counters VALUES (1, 0), (10, 0), (11, 0);
  CREATE TABLE parents (id integer PRIMARY KEY);
  CREATE TABLE children (id integer PRIMARY KEY, parent integer REFERENCES parents DEFERRABLE INITIALLY DEFERRED);
  CREATE SEQUENCE tries;
  ${command('whoami', `SELECT jsonb_build_object('user', livefeed.current_user_id(), 'units', livefeed.current_units(),
    'tenant', livefeed.claims() -> 'tenant', 'has_unit', livefeed.has_unit(args ->> 'unit'),
    'has_role', livefeed.has_role(args ->> 'role', args ->> 'unit'))`, { language: 'sql' })}
  ${command('nothing', 'SELECT NULL::jsonb', { language: 'sql' })}
  ${command('note', `INSERT INTO notes (text) VALUES (args ->> 'text'); RETURN '{}';`)}
  ${command('rename', `UPDATE requests SET title = args ->> 'title' WHERE id = (args ->> 'id')::integer;
    RETURN jsonb_build_object('id', args -> 'id', 'by', livefeed.current_user_id());`)}
  ${command('rename_slowly', `PERFORM pg_sleep(0.03); UPDATE requests SET title = args ->> 'title' WHERE id = (args ->> 'id')::integer; RETURN '{}';`)}
  ${command('rename_all', `UPDATE requests SET title = args ->> 'title' || clock_timestamp(); RETURN '{}';`)}
  ${command('rename_and_raise', `UPDATE requests SET title = 'oh' WHERE id = (args ->> 'id')::integer; RAISE 'changed my mind';`)}
  ${command('rename_and_hang', `UPDATE requests SET title = 'hangs' WHERE id = (args ->> 'id')::integer; PERFORM pg_sleep(60); RETURN '{}';`)}
  ${command('time_out', `SELECT to_jsonb(current_setting('statement_timeout'))`, { language: 'sql' })}
  ${command('approve', `
    SELECT unit_id INTO STRICT unit FROM requests WHERE id = (args ->> 'id')::integer FOR UPDATE;
    IF NOT livefeed.has_role('approver', unit) THEN RAISE 'you are no approver of unit %', unit; END IF;
    UPDATE requests SET status = 'Approved' WHERE id = (args ->> 'id')::integer;
    RETURN '{}';`, { roles: '{approver}', declare: 'DECLARE unit text;' })}
  ${command('raise', `RAISE EXCEPTION '%', args ->> 'message' USING ERRCODE = args ->> 'state';`)}
  ${command('divide', 'SELECT to_jsonb(1 / (random() * 0)::integer)', { language: 'sql' })}
  ${command('orphan', `INSERT INTO children VALUES (1, 99); RETURN '{}';`)}
  ${command('wait', `PERFORM pg_advisory_xact_lock_shared((args ->> 'gate')::bigint); RETURN '{}';`)}
  ${command('lock_two', `UPDATE counters SET n = n + 1 WHERE id = (args ->> 'first')::integer;
    PERFORM pg_advisory_xact_lock_shared((args ->> 'gate')::bigint);
    UPDATE counters SET n = n + 1 WHERE id = (args ->> 'second')::integer; RETURN 'true';`)}
  ${command('serialize', `IF nextval('tries') < 3 THEN RAISE EXCEPTION 'could not serialize' USING ERRCODE = '40001'; END IF;
    RETURN to_jsonb(currval('tries'));`)}
  ${command('count_up', `UPDATE counters SET n = n + 1 WHERE id = 1;
    IF args ? 'slow' THEN PERFORM pg_sleep(1); END IF;
    IF args ? 'gate' THEN PERFORM pg_advisory_xact_lock_shared((args ->> 'gate')::bigint); END IF;
    RETURN (SELECT to_jsonb(n) FROM counters WHERE id = 1);`)}
`;

/** Commands with an argument `gate` of its number wait at it until it is opened: less than the 30 s that a command may take. */
export class Gate {
  static #count = 0;

  static async shut(db) {
    const gate = new Gate();
    gate.number = ++Gate.#count;
    gate.db = db;
    gate.holder = await db.connect();
    await gate.holder.query('SELECT pg_advisory_lock($1)', [gate.number]);
    return gate;
  }

  /** How many wait at it. */
  async waiting() {
    return this.db.value(`SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND classid = 0 AND objid = $1
      AND objsubid = 1 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`, [this.number]);
  }

  /** Waits until that many stand at it. */
  async come(n = 1) {
    await until(`${n} at the gate`, async () => await this.waiting() === n);
  }

  async open() {
    await this.holder.end();
  }
}

/** Waits until the server is through with every command, whoever waits for it. */
export async function allDone(db) {
  await until('the commands to end', async () =>
    await db.value(`SELECT count(*) FROM pg_stat_activity WHERE state <> 'idle' AND query LIKE '%livefeed.call%' AND pid <> pg_backend_pid()`) === 0);
}
