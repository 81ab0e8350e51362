// One UPDATE of very many rows.
import { fileURLToPath } from 'node:url';
import { startCluster } from '../lib/cluster.mjs';
import { quiet, run } from '../lib/process.mjs';
import { startBare, startBridge } from '../lib/programs.mjs';
import { notifyFunction, notifyTrigger } from '../lib/schema.mjs';
import { atMost, median, ratios, show, spread } from '../lib/table.mjs';

export const title = 'Writer: one UPDATE of 100,000 rows, ms';
export const how = `One statement, one transaction, \`max_events_per_transaction\` raised so that no event is folded; the tables are vacuumed before each
round. Unwatched, watched with the bridge running, and the usual NOTIFY trigger with one listener.`;

const sqltime = fileURLToPath(new URL('../build/sqltime', import.meta.url));

export async function measureAll({ quick }) {
    const count = quick ? 10_000 : 100_000, rounds = quick ? 1 : 5;
    const cluster = await startCluster({ walMib: quick ? 0 : 1600 });
    await cluster.sql('postgres', 'CREATE DATABASE watched;\nCREATE DATABASE notified;');
    const table = (name) => `CREATE TABLE ${name} (id integer PRIMARY KEY, unit integer NOT NULL, n bigint NOT NULL, pad text NOT NULL);
        INSERT INTO ${name} SELECT i, i % 100 + 1, 0, repeat('x', 150) FROM generate_series(1, ${count}) i;`;
    await cluster.sql('watched', `CREATE EXTENSION livefeed; ${table('plain')} ${table('watched')} SELECT livefeed.watch('watched', unit => 'unit');`);
    await cluster.sql('notified', table('notified') + notifyFunction + notifyTrigger('notified'));
    const bridge = await startBridge(cluster, 'watched');
    const bare = await startBare(cluster, 'notified');
    const modes = [{ db: 'watched', table: 'plain' }, { db: 'watched', table: 'watched' }, { db: 'notified', table: 'notified' }];
    const found = { plain: [], watched: [], notified: [] };
    for (let round = -1; round < rounds; round++) {
        for (let i = 0; i < modes.length; i++) {
            const mode = modes[(i + round + 1) % modes.length];
            const logged = async () => Number(await cluster.sql('watched', 'SELECT count(*) FROM livefeed.log'));
            const before = await logged();
            await cluster.sql(mode.db, `VACUUM ${mode.table}; CHECKPOINT;`.replace('; ', ';\n'));
            const settings = mode.table === 'watched' ? ["SET livefeed.max_events_per_transaction = 1000000", "SET livefeed.max_bytes_per_transaction = '1GB'"] : [];
            const out = await run(sqltime, [cluster.conninfo(mode.db), '1', '1', '0', ...settings, `UPDATE ${mode.table} SET n = n + 1`]);
            const [, sent, answered] = out.split(' ').map(Number);
            if (round >= 0) found[mode.table].push((answered - sent) / 1e6); // the first is to warm up
            await quiet(bridge.pid);
            await quiet(bare.pid);
            const events = (await logged()) - before;
            if (events !== (mode.table === 'watched' ? count : 0)) throw new Error(`${mode.table}: ${events} events in the log`);
        }
    }
    await bridge.stop();
    await bare.stop();
    await cluster.stop();
    const { plain, watched, notified } = found;
    const times = ratios(watched, plain);
    return {
        columns: ['rows', 'unwatched', 'watched', 'NOTIFY trigger', 'watched / unwatched', 'NOTIFY / unwatched', 'aim'],
        rows: [[count.toLocaleString('en-US'), spread(plain), spread(watched), spread(notified), spread(times), show(median(ratios(notified, plain))),
            atMost(2.5, median(times))]],
    };
}
