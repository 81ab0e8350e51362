// A throwaway PostgreSQL with settings that keep checkpoints and vacuum out of the measurement.
// WAL segments are made beforehand and recycled, as on a server that has run for a while: else
// whoever writes more WAL would pay for zero-filling new files as well.
import { execFileSync } from 'node:child_process';
import { chmodSync, copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Daemon, run } from './process.mjs';

const root = fileURLToPath(new URL('../../../', import.meta.url));
const bindir = execFileSync(process.env.PG_CONFIG ?? 'pg_config', ['--bindir'], { encoding: 'utf8' }).trim();
export const postgresVersion = execFileSync(join(bindir, 'postgres'), ['--version'], { encoding: 'utf8' }).match(/\d+(\.\d+)?/)[0];

const settings = [
    'shared_buffers = 512MB', 'max_wal_size = 8GB', 'min_wal_size = 4GB', 'checkpoint_timeout = 1h', 'autovacuum = off',
];
const WAL_SEGMENT_MIB = 16;

/** A cluster; slowSyncUs: every fdatasync of it lasts that much longer; walMib: so much of recycled WAL. */
export async function startCluster({ slowSyncUs = 0, walMib = 0 } = {}) {
    const env = {};
    let folder;
    if (slowSyncUs) {
        // The server's user may not be able to read the source tree.
        folder = mkdtempSync(join(tmpdir(), 'livefeed-bench-'));
        chmodSync(folder, 0o755);
        copyFileSync(join(root, 'test/bench/build/slowsync.so'), join(folder, 'slowsync.so'));
        chmodSync(join(folder, 'slowsync.so'), 0o755);
        env.LD_PRELOAD = join(folder, 'slowsync.so');
        env.SLOWSYNC_US = String(slowSyncUs);
    }
    // It goes when our end of the pipe does.
    const daemon = new Daemon('cluster', join(root, 'dev/cluster'), ['hold', ...settings.flatMap((s) => ['--set', s])], { env, endsWithStdin: true });
    const found = {};
    for (let line; (line = await daemon.line()) !== 'ready'; ) {
        const [, name, value] = line.match(/^(\w+)=(.*)$/) ?? [];
        if (name) found[name] = value;
    }
    const pgenv = { PGHOST: found.PGHOST, PGPORT: found.PGPORT, PGUSER: found.PGUSER, PGOPTIONS: '' };
    const cluster = {
        env: pgenv,
        conninfo: (db) => `host=${found.PGHOST} port=${found.PGPORT} user=${found.PGUSER} dbname=${db}`,
        sql: async (db, text) => (await run(join(bindir, 'psql'), ['-XqAt', '-v', 'ON_ERROR_STOP=1', '-d', db, '-f', '-'], { env: pgenv, input: text })).trim(),
        pgbench: (db, args) => run(join(bindir, 'pgbench'), ['-n', ...args, db], { env: pgenv }),
        async stop() {
            daemon.child.stdin.end();
            await daemon.closed;
            if (folder) rmSync(folder, { recursive: true });
        },
    };
    if (walMib) {
        await cluster.sql('postgres', `
            SET synchronous_commit = off;
            DO $$ BEGIN FOR i IN 1..${Math.ceil(walMib / WAL_SEGMENT_MIB)} LOOP
                PERFORM pg_logical_emit_message(false, 'bench', ''); PERFORM pg_switch_wal();
            END LOOP; END $$;
            CHECKPOINT;`);
    }
    return cluster;
}
