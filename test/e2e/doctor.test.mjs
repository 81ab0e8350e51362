// `livefeed-bridge doctor`: real misconfigurations, each found, named, and cured by the very command that it gives.

import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { Clock } from '../fault/lib/clock.mjs';
import { Cluster } from './lib/cluster.mjs';
import { Bridge, bridgeRun } from './lib/bridge.mjs';
import { behindPooler } from './lib/pooler.mjs';
import { SCHEMA } from './lib/schema.mjs';
import { terminalRun } from './lib/terminal.mjs';
import { until, DEADLINE_MS } from './lib/wait.mjs';

const HEALTHY = 0;
const PROBLEMS = 1;
const USAGE = 2;
const WARNINGS = 3;
const PATIENCE_MS = 4 * DEADLINE_MS; // for what takes several pages

/** The page, taken apart: { code, stdout, findings: [{ word, topic, text, cure }] }. */
async function doctor(dsn, args = []) {
  const run = await bridgeRun(['doctor', '--dsn', dsn, ...args]);
  const findings = [];
  for (const line of run.stdout.split('\n')) {
    const head = /^ {2}(ok|note|warning|PROBLEM) +([A-Za-z]+): (.*)$/.exec(line);
    const cure = /^ +cure: (.*)$/.exec(line);
    if (head) findings.push({ word: head[1], topic: head[2], text: head[3], cure: null });
    if (cure) findings.at(-1).cure = cure[1];
  }
  assert.equal(run.stderr, '', run.stderr);
  return { ...run, findings, of: (pattern) => findings.find(({ text }) => pattern.test(text)) };
}

describe('livefeed-bridge doctor', () => {
  let cluster;
  const bridges = [];

  before(async () => {
    cluster = await Cluster.start({ settings: ['max_prepared_transactions=5'] });
  });
  after(async () => {
    await Promise.all(bridges.map((bridge) => bridge.stop()));
    await cluster?.remove();
  });

  async function serve(db) {
    const bridge = await Bridge.start(db);
    bridges.push(bridge);
    return bridge;
  }

  /** Finds `pattern` as `word`, runs its cure as superuser, and finds it no more. */
  async function cures(db, pattern, word, { change = (sql) => sql, args = [], gone = true } = {}) {
    const before = await doctor(db.bridgeDsn, args);
    const found = before.of(pattern);
    assert.ok(found, `${pattern} is found in\n${before.stdout}`);
    assert.equal(found.word, word, before.stdout);
    assert.equal(before.code, before.findings.some((one) => one.word === 'PROBLEM') ? PROBLEMS
      : before.findings.some((one) => one.word === 'warning') ? WARNINGS : HEALTHY, before.stdout);
    assert.ok(found.cure, `a cure of ${found.text}`);
    for (const statement of change(found.cure).split(/(?<=;) /)) await db.query(statement);
    const later = await doctor(db.bridgeDsn, args);
    if (gone) assert.equal(later.of(pattern), undefined, `cured by ${found.cure}:\n${later.stdout}`);
    return { before, later };
  }

  it('finds nothing wrong where nothing is, and ends with 0', async () => {
    const db = await cluster.database(SCHEMA);
    await serve(db);
    const page = await until('a page without a warning', async () => {
      const run = await doctor(db.bridgeDsn);
      return run.code === HEALTHY && run;
    }, PATIENCE_MS);
    assert.deepEqual(page.findings.filter(({ word }) => word !== 'ok' && word !== 'note'), []);
    for (const topic of ['configuration', 'database', 'extension', 'rights', 'LISTEN', 'tokens', 'watches', 'ticker']) {
      assert.ok(page.findings.some((one) => one.topic === topic && one.word === 'ok'), `${topic}:\n${page.stdout}`);
    }
    assert.match(page.stdout, /\n0 problems, 0 warnings, \d+ notes?, \d+ fine\n$/);
    assert.doesNotMatch(page.stdout, /\x1b/, 'no colours where there is no terminal');
  });

  it('warns where nothing is watched and no bridge runs, and ends with 3', async () => {
    const db = await cluster.database();
    const page = await doctor(db.bridgeDsn);
    assert.equal(page.code, WARNINGS, page.stdout);
    assert.equal(page.of(/no table is watched/).word, 'warning');
    assert.match(page.of(/no table is watched/).cure, /livefeed\.watch\('TABLE'/);
    assert.match(page.of(/no bridge serves/).cure, /systemctl start/);
    await db.write('CREATE TABLE things (id integer PRIMARY KEY, team integer)');
    await (await db.app()).query(page.of(/no table is watched/).cure.replace('TABLE', 'things').replace('COLUMN', 'team'));
    assert.equal((await doctor(db.bridgeDsn)).of(/no table is watched/), undefined);
  });

  it('has no extension, then one of an older version, then a role without rights, cured one after the other', async () => {
    const db = await cluster.database('', { extension: false });
    const bare = await doctor(db.bridgeDsn);
    assert.equal(bare.code, PROBLEMS);
    assert.equal(bare.of(/no extension livefeed/).cure, 'CREATE EXTENSION livefeed;');
    await db.query(`CREATE EXTENSION livefeed VERSION '0.1.0'`);
    await cures(db, /is 0\.1\.0, this bridge needs/, 'PROBLEM');
    await cures(db, /grant_bridge\('ROLE'\)/, 'PROBLEM');
    const page = await doctor(db.bridgeDsn);
    assert.equal(page.code, WARNINGS, page.stdout);
  });

  it('says who may not read the log, and gives the statement with the role in it', async () => {
    const db = await cluster.database(SCHEMA);
    const page = await doctor(cluster.dsn(db.name, 'app'));
    assert.equal(page.code, PROBLEMS);
    assert.equal(page.of(/may not use/).cure, `SELECT livefeed.grant_bridge('app');`);
  });

  it('cannot reach the server, or the database', async () => {
    for (const [dsn, words] of [['host=127.0.0.1 port=1 dbname=x', /refused/], [cluster.dsn('nowhere', 'bridge'), /"nowhere" does not exist/]]) {
      const page = await doctor(dsn);
      assert.equal(page.code, PROBLEMS);
      assert.ok(page.of(words), page.stdout);
    }
  });

  it('misses the key for tokens; where there are other issuers, that is a warning', async () => {
    const db = await cluster.database(SCHEMA);
    await db.query('DELETE FROM livefeed.key');
    const folder = await mkdtemp(path.join(os.tmpdir(), 'livefeed-doctor-'));
    try {
      const file = path.join(folder, 'secret');
      await writeFile(file, 'a secret of another issuer, 32 bytes or more', { mode: 0o600 });
      const other = await doctor(db.bridgeDsn, ['--jwt-secret-file', file]);
      assert.equal(other.of(/no key for livefeed\.issue_token/)?.word, 'warning', other.stdout);
    } finally {
      await rm(folder, { recursive: true });
    }
    await cures(db, /no key for livefeed\.issue_token/, 'PROBLEM');
    assert.ok(await db.token('42'), 'tokens are issued again');
  });

  it('finds a watch that does not fit its table, and gives the call with what it said before', async () => {
    const db = await cluster.database(`
      CREATE TABLE jobs (id integer PRIMARY KEY, team integer, state text, boss text, note text);
      SELECT livefeed.watch('jobs', feed => 'work', entity => 'job', unit => 'team', users => '{boss}', roles => '{lead}', columns => '{state,boss}',
        action => 'state', actions => '{"noted": ["note"]}', latest_only => true);
      ALTER TABLE jobs RENAME state TO status;`);
    const was = await db.query('SELECT * FROM livefeed.watches');
    const { before } = await cures(db, /jobs: .*state/, 'PROBLEM', { change: (sql) => sql.replaceAll('new name of state', 'status') });
    assert.match(before.of(/jobs: .*state/).cure, /^SELECT livefeed\.watch\('jobs', .*'new name of state'.*\);$/);
    const [now] = await db.query('SELECT * FROM livefeed.watches');
    for (const name of ['feed', 'entity', 'unit', 'users', 'roles', 'actions', 'latest_only', 'durable']) assert.deepEqual(now[name], was[0][name], name);
    assert.equal(now.action, 'status');
    assert.equal(now.problem, null);
  });

  it('finds triggers that are not as watch() made them', async () => {
    const db = await cluster.database(SCHEMA);
    await db.write('ALTER TABLE requests DISABLE TRIGGER livefeed_row');
    await cures(db, /requests: the trigger is disabled/, 'PROBLEM');
    await db.write('DROP TRIGGER livefeed_truncate ON requests');
    await cures(db, /requests.*no trigger for TRUNCATE/, 'PROBLEM');
  });

  it('finds livefeed.enabled off for a role, for the database', async () => {
    const db = await cluster.database(SCHEMA);
    await db.query(`ALTER ROLE app IN DATABASE ${db.name} SET livefeed.enabled = off`);
    await cures(db, /livefeed\.enabled is off for role app in this database/, 'PROBLEM');
    await db.query(`ALTER DATABASE ${db.name} SET livefeed.enabled = off`);
    await cures(db, /livefeed\.enabled is off in this database/, 'PROBLEM');
  });

  it('finds what is exposed without its function, and a table whose owner is bound by its policies', async () => {
    const db = await cluster.database(`${SCHEMA};
      CREATE FUNCTION total() RETURNS jsonb STABLE LANGUAGE sql AS $$ SELECT to_jsonb(1) $$;
      SELECT livefeed.expose_query('total', 'total()', 'all', '{requests}');
      DROP FUNCTION total();
      ALTER TABLE requests FORCE ROW LEVEL SECURITY;`);
    await cures(db, /query "total": there is no function/, 'PROBLEM');
    await cures(db, /requests has FORCE ROW LEVEL SECURITY/, 'warning');
  });

  it('finds a prepared transaction', async () => {
    const db = await cluster.database(SCHEMA);
    const other = await db.connect();
    await other.query(`BEGIN; INSERT INTO requests (id, unit_id, title) VALUES (1, 7, 'x'); PREPARE TRANSACTION 'left''over'`);
    await cures(db, /'left''over' of 'app' is prepared since|'left''over' of app/, 'note');
  });

  it('finds events that wait, and that there is no ticker among the bridges', async () => {
    const db = await cluster.database(SCHEMA);
    await db.query(`SELECT livefeed.register_bridge('gone:1', 'gone', 1, '9.9.9')`);
    const idle = await doctor(db.bridgeDsn);
    assert.equal(idle.of(/there is no ticker among 1 bridge/).word, 'warning', idle.stdout);
    assert.match(idle.of(/gone:1 is of version 9\.9\.9/).cure, /restart/);
    await db.write(`INSERT INTO requests (id, unit_id, title) VALUES (1, 7, 'x')`);
    await until('the event to have waited for long', async () => (await doctor(db.bridgeDsn)).of(/no tick has ordered \d+ events .*, and there is no ticker/), PATIENCE_MS);
    await cures(db, /no tick has ordered \d+ events/, 'PROBLEM');
  });

  it('finds a log that is kept for longer than livefeed.retention says', async () => {
    const db = await cluster.database(SCHEMA);
    await db.query(`ALTER ROLE bridge IN DATABASE ${db.name} SET livefeed.retention = '1h'`);
    await db.write(`INSERT INTO requests (id, unit_id, title) VALUES (1, 7, 'x')`);
    await db.query('SELECT livefeed.tick()');
    assert.equal((await doctor(db.bridgeDsn)).of(/events are kept since/), undefined);
    await db.query(`UPDATE livefeed.ticks SET at = at - interval '3 days'; UPDATE livefeed.state SET rotated_at = rotated_at - interval '3 days'`);
    const { before } = await cures(db, /events are kept since/, 'warning', { gone: false });
    const { cure } = before.of(/events are kept since/);
    await until('the log to be as short as it should be', async () => {
      await db.query(cure);
      return !(await doctor(db.bridgeDsn)).of(/events are kept since/);
    }, PATIENCE_MS);
  });

  it('finds a table of some size whose snapshots have no index, and an extension that is not the one installed', async () => {
    const db = await cluster.database(SCHEMA);
    await db.query(`UPDATE pg_class SET reltuples = 20000 WHERE oid = 'requests'::regclass`);
    await cures(db, /requests \(some 20000 rows\) has no index on unit_id/, 'note');
    await db.query(`UPDATE pg_extension SET extversion = '9.9.9' WHERE extname = 'livefeed'`);
    const found = (await doctor(db.bridgeDsn)).of(/the extension is 9\.9\.9 here, \d\S+ is installed/);
    assert.deepEqual([found.word, found.cure], ['warning', 'ALTER EXTENSION livefeed UPDATE;']);
  });

  it('finds clocks that differ', async () => {
    const clock = await Clock.make();
    const own = await Cluster.start({ env: clock.env });
    try {
      const db = await own.database(SCHEMA);
      assert.equal((await doctor(db.bridgeDsn)).of(/the clocks/), undefined);
      await clock.set(600);
      assert.equal((await doctor(db.bridgeDsn)).of(/the clocks of this machine and of the server are (59\d|60\d) s apart/)?.word, 'warning');
    } finally {
      await own.remove();
      await clock.remove();
    }
  });

  it('finds a queue of notifications that somebody holds, and lists who', async () => {
    const own = await Cluster.start();
    try {
      const db = await own.database(SCHEMA);
      const holder = await db.connect();
      await holder.query('LISTEN anything');
      await holder.query('BEGIN');
      const { rows: [{ pid }] } = await holder.query('SELECT pg_backend_pid() AS pid');
      await db.query(`SELECT count(pg_notify('anything', n || repeat('x', 7900))) FROM generate_series(1, 12000) n`);
      const found = (await doctor(db.bridgeDsn)).of(/the queue of notifications is filled to/);
      assert.equal(found.word, 'warning');
      assert.deepEqual((await db.query(found.cure)).map((row) => row.pid), [pid]);
      await holder.query('COMMIT');
      await until('the queue to be empty', async () => !(await doctor(db.bridgeDsn)).of(/queue of notifications/), PATIENCE_MS);
    } finally {
      await own.remove();
    }
  });

  it('finds a bridge\'s role that may not open the connections a bridge needs', async () => {
    const db = await cluster.database(SCHEMA);
    await db.query('CREATE ROLE narrow LOGIN CONNECTION LIMIT 4');
    await db.query(`SELECT livefeed.grant_bridge('narrow')`);
    const page = await doctor(cluster.dsn(db.name, 'narrow'));
    assert.equal(page.of(/may have 4 connections/).cure, 'ALTER ROLE narrow CONNECTION LIMIT -1;');
  });

  /** The page that is seen through something that changes what the server says. */
  const through = (db, how) => behindPooler(cluster, how, (port) => doctor(`host=127.0.0.1 port=${port} user=bridge dbname=${db.name} sslmode=disable`));

  it('finds that LISTEN does not work on this way to the server', async () => {
    const db = await cluster.database(SCHEMA);
    const page = await through(db, { lost: 'A' });
    assert.equal(page.code, PROBLEMS);
    assert.equal(page.of(/notification that was sent did not arrive/).word, 'PROBLEM');
    assert.ok(page.findings.some(({ topic }) => topic === 'ticker'), 'the rest is looked at all the same');
  });

  it('finds transaction pooling', async () => {
    const db = await cluster.database(SCHEMA);
    const page = await through(db, { numbered: () => 77777 });
    assert.equal(page.code, PROBLEMS);
    assert.ok(page.of(/two connections meet one server process.*transaction pooling/), page.stdout);
  });

  it('looks at the configuration, too', async () => {
    const db = await cluster.database(SCHEMA);
    const page = await doctor(db.bridgeDsn, ['--listen', '0.0.0.0:8090,127.0.0.1:8091', '--allowed-origins', '*']);
    assert.match(page.of(/0\.0\.0\.0:8090 is open to other machines, without TLS/).cure, /127\.0\.0\.1/);
    assert.equal(page.of(/127\.0\.0\.1:8091/), undefined);
    assert.equal(page.of(/any origin/).word, 'note');
    assert.equal((await bridgeRun(['doctor', '--heartbeat', 'often'])).code, USAGE);
    assert.equal((await bridgeRun(['doctor', 'me'])).code, USAGE);
    assert.equal((await bridgeRun(['doctor', '--json'])).code, USAGE);
  });

  it('is coloured in a terminal, unless NO_COLOR says no; names of the database never speak to it', async () => {
    const db = await cluster.database();
    await db.write(`CREATE TABLE "x\x1b[2Jy\u009b31m" (id integer PRIMARY KEY, s text);
      SELECT livefeed.watch('"x\x1b[2Jy\u009b31m"', feed => 'x', action => 's');
      ALTER TABLE "x\x1b[2Jy\u009b31m" RENAME s TO t`);
    const args = ['doctor', '--dsn', db.bridgeDsn];
    const coloured = await terminalRun(args);
    assert.equal(coloured.code, PROBLEMS, coloured.text);
    assert.match(coloured.text, /\x1b\[31mPROBLEM/);
    const plain = await terminalRun(args, { env: { NO_COLOR: '1' } });
    assert.doesNotMatch(plain.text, /\x1b|\u009b/);
    for (const { text } of [coloured, plain]) assert.match(text, /x\\u001b\[2Jy\\u009b31m/);
  });
});
