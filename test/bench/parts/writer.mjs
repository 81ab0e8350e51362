// What a watched table costs its writers: one-row UPDATE transactions by pgbench.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startCluster } from '../lib/cluster.mjs';
import { quiet } from '../lib/process.mjs';
import { startBare, startBridge } from '../lib/programs.mjs';
import { notifyFunction, notifyTrigger } from '../lib/schema.mjs';
import { atLeast, median, ratios, show, spread } from '../lib/table.mjs';

export const title = 'Writer: transactions a second, one-row UPDATE';
export const how = `pgbench, prepared, 10,000 rows of 200 bytes, fsync on. Unwatched, watched with the bridge running, and the usual
PL/pgSQL trigger, \`pg_notify('bench', row_to_json(NEW)::text)\`, with one listener. "Slow disk": 1 ms is added to every fdatasync of the server.
Ratios are medians of the rounds' ratios.`;

const ROWS = 10_000;
const table = (name) => `
    CREATE TABLE ${name} (id integer PRIMARY KEY, unit integer NOT NULL, n bigint NOT NULL, pad text NOT NULL) WITH (fillfactor = 50);
    INSERT INTO ${name} SELECT i, i % 100 + 1, 0, repeat('x', 150) FROM generate_series(1, ${ROWS}) i;
    VACUUM ANALYZE ${name};`;

async function measure(cluster, folder, mode, clients, seconds) {
    const out = await cluster.pgbench(mode.db, ['-M', 'prepared', '-c', clients, '-j', Math.min(clients, 2), '-T', seconds,
        '-f', join(folder, `${mode.table}.sql`)].map(String));
    return Number(out.match(/tps = ([\d.]+)/)[1]);
}

async function oneDisk(slowSyncUs, { rounds, seconds, clientCounts }) {
    const cluster = await startCluster({ slowSyncUs, walMib: rounds > 1 ? 1600 : 0 });
    const folder = mkdtempSync(join(tmpdir(), 'livefeed-bench-'));
    await cluster.sql('postgres', 'CREATE DATABASE watched; CREATE DATABASE notified;'.replace('; ', ';\n'));
    await cluster.sql('watched', `CREATE EXTENSION livefeed; ${table('plain')} ${table('watched')} SELECT livefeed.watch('watched', unit => 'unit');`);
    await cluster.sql('notified', table('notified') + notifyFunction + notifyTrigger('notified'));
    for (const name of ['plain', 'watched', 'notified']) {
        writeFileSync(join(folder, `${name}.sql`), `\\set id random(1, ${ROWS})\nUPDATE ${name} SET n = n + 1 WHERE id = :id;\n`);
    }
    const bridge = await startBridge(cluster, 'watched');
    const bare = await startBare(cluster, 'notified');
    const modes = [{ db: 'watched', table: 'plain' }, { db: 'watched', table: 'watched' }, { db: 'notified', table: 'notified' }];
    const found = new Map(clientCounts.map((clients) => [clients, { plain: [], watched: [], notified: [] }]));
    for (const mode of modes) await measure(cluster, folder, mode, 2, 1); // caches, and room for HOT
    for (let round = 0; round < rounds; round++) {
        for (const clients of clientCounts) {
            for (let i = 0; i < modes.length; i++) {
                const mode = modes[(i + round) % modes.length];
                found.get(clients)[mode.table].push(await measure(cluster, folder, mode, clients, seconds));
                await quiet(bridge.pid);
                await quiet(bare.pid);
            }
        }
    }
    await bridge.stop();
    await bare.stop();
    await cluster.stop();
    rmSync(folder, { recursive: true });
    return found;
}

export async function measureAll({ quick }) {
    const size = quick ? { rounds: 1, seconds: 1, clientCounts: [8] } : { rounds: 5, seconds: 2, clientCounts: [1, 8, 32] };
    const rows = [];
    for (const [disk, slowSyncUs] of quick ? [['slow disk', 1000]] : [['this disk', 0], ['slow disk', 1000]]) {
        for (const [clients, { plain, watched, notified }] of await oneDisk(slowSyncUs, size)) {
            const share = ratios(watched, plain), times = ratios(watched, notified);
            const aims = [];
            if (clients > 1) aims.push(`to unwatched ${atLeast(0.9, median(share))}`);
            if (clients === 32) aims.push(`to NOTIFY ${atLeast(slowSyncUs ? 10 : 3, median(times))}`);
            rows.push([`${disk}, ${clients} client${clients > 1 ? 's' : ''}`, show(median(plain)), show(median(watched)), show(median(notified)),
                spread(share), spread(times), aims.join('; ') || '-']);
        }
    }
    return { columns: ['disk, clients', 'unwatched', 'watched', 'NOTIFY trigger', 'watched / unwatched', 'watched / NOTIFY', 'aim'], rows };
}
