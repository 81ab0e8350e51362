// A standby of a throwaway cluster, by pg_basebackup, in that cluster's folder: it goes
// when the cluster does. It can take
// the cluster's place in a Database, which knows connection(), dsn(), stop() and again().

import { execFile } from 'node:child_process';
import { appendFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';
import { ROOT } from '../../e2e/lib/cluster.mjs';
import { until, SLOW } from '../../e2e/lib/wait.mjs';

const TOOL = path.join(ROOT, 'dev/cluster');
const IN_PLACE_MS = 45_000 * SLOW;
const run = promisify(execFile);

/** PostgreSQL's programs refuse to run as root. */
async function asPostgres(...command) {
  const words = process.getuid() === 0 ? ['runuser', '-u', 'postgres', '--', ...command] : command;
  return run(words[0], words.slice(1), { cwd: '/' });
}

export class Standby {
  /** Of a cluster, or of a standby that was promoted; `port` names its Unix socket. Started, and streaming. `made` is told of it before that: it has to be stopped. */
  static async of(primary, port, made = () => {}) {
    const standby = new Standby();
    standby.host = primary.host;
    standby.port = port;
    standby.primary = primary;
    standby.dir = path.join(primary.host, `standby-${port}`);
    const bin = (await run(process.env.PG_CONFIG ?? 'pg_config', ['--bindir'])).stdout.trim();
    await asPostgres('mkdir', standby.dir);
    await writeFile(path.join(standby.dir, 'port'), `${port}\n`);
    await asPostgres(path.join(bin, 'pg_basebackup'), '-h', primary.host, '-p', String(primary.port), '-U', 'postgres', '-D', path.join(standby.dir, 'data'),
      '--write-recovery-conf', '--wal-method=stream', '--checkpoint=fast', '--no-sync');
    // No port of TCP: another process may have taken it by now.
    await appendFile(path.join(standby.dir, 'data/postgresql.conf'), 'listen_addresses = \'\'\n');
    made(standby);
    await standby.again();
    await until('the standby to stream', async () => (await ask(primary, 'SELECT 1 FROM pg_stat_replication WHERE state = \'streaming\'')).length > 0, IN_PLACE_MS);
    return standby;
  }

  connection(database, user = 'postgres') {
    return { host: this.host, port: this.port, user, database };
  }

  dsn(database, user = 'postgres') {
    return `host=${this.host} port=${this.port} user=${user} dbname=${database}`;
  }

  /** From here on the primary's commits wait until they are on this standby's disk. */
  async synchronous() {
    await ask(this.primary, 'ALTER SYSTEM SET synchronous_standby_names = \'*\'');
    await ask(this.primary, 'SELECT pg_reload_conf()');
    await until('commits to wait for the standby', async () => (await ask(this.primary, 'SELECT 1 FROM pg_stat_replication WHERE sync_state = \'sync\'')).length > 0, IN_PLACE_MS);
    await ask(this.primary, 'CHECKPOINT'); // who makes them wait is the checkpointer: it has read the setting, too
  }

  async promote() {
    await ask(this, 'SELECT pg_promote()');
    await ask(this, 'ALTER SYSTEM RESET primary_conninfo');
  }

  async stop(mode = 'fast') {
    await run(TOOL, ['stop', this.dir, mode]);
  }

  async again() {
    await run(TOOL, ['again', this.dir]);
  }
}

/** A query as superuser, over a connection of its own. */
export async function ask(server, sql) {
  const client = new pg.Client(server.connection('postgres'));
  await client.connect();
  try {
    return (await client.query(sql)).rows;
  } finally {
    await client.end();
  }
}
