// Commands: a row of a watched table changed by each, through the bridge's four connections.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Caller, openPages, userTokens } from '../lib/caller.mjs';
import { startCluster } from '../lib/cluster.mjs';
import { cpuNs, quiet } from '../lib/process.mjs';
import { startBridge } from '../lib/programs.mjs';
import { bridgeDatabase } from '../lib/schema.mjs';
import { atLeast, median, quantile, ratios, show, spread } from '../lib/table.mjs';

export const title = 'Commands: a second, through 4 connections';
export const how = `A command that changes a row of a watched table, called by 200 pages, each again as soon as it has its result; and 1,000 a second, each answered
once its event has been sent. The limit is pgbench, which calls livefeed.call() over 4 connections (prepared) beside the idle bridge, and waits for
the commit alone: it is what four connections can do at all. Every call was answered, and the rows say that each was done once. "Slow disk": 1 ms is added to every fdatasync of the server.`;

const RATE = 1000;

/** CPU of PostgreSQL's processes that are there now. */
async function databaseCpu(cluster, db) {
    const pids = (await cluster.sql(db, "SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND application_name <> 'pgbench'")).split('\n').map(Number);
    return new Map(pids.map((pid) => [pid, cpuNs(pid)]));
}
const rise = (before, after) => [...after].reduce((sum, [pid, ns]) => sum + ns - (before.get(pid) ?? 0), 0);
const claims = '{"user":"1","units":{"1":[]},"roles":[],"claims":{}}';

async function setUp(cluster) {
    const db = await bridgeDatabase(cluster, 'commands');
    await cluster.sql(db, `CREATE FUNCTION bump(args jsonb) RETURNS jsonb LANGUAGE plpgsql AS
            'BEGIN UPDATE public.items SET n = n + 1 WHERE id = (args ->> ''id'')::integer; RETURN args; END';
        SELECT livefeed.expose_command('bump', 'bump(jsonb)')`);
    return db;
}

async function oneDisk(name, { slowSyncUs, rounds, pages, ms, folder, options }) {
    const cluster = await startCluster({ slowSyncUs });
    const db = await setUp(cluster);
    const bridge = await startBridge(cluster, db, ['--rate', '100000']);
    const opened = await openPages(bridge, await userTokens(cluster, db, pages));
    const caller = new Caller(opened, 'bump', (n) => ({ id: 1 + (n % 500) }));
    const file = join(folder, 'call.sql');
    writeFileSync(file, `\\set id random(1, 500)\nSELECT * FROM livefeed.call('bump', jsonb_build_object('id', :id::integer), '${claims}');\n`);
    const done = () => cluster.sql(db, 'SELECT sum(n) FROM items').then(Number);
    const found = [];
    for (let round = 0; round < rounds; round++) {
        await quiet(bridge.pid);
        const out = await cluster.pgbench(db, ['-M', 'prepared', '-c', '4', '-T', String(ms / 1000), '-f', file]);
        await quiet(bridge.pid);
        const before = await done(), server = await databaseCpu(cluster, db), cpu = cpuNs(bridge.pid);
        const fast = await caller.asFastAsItGoes(ms);
        const fastCalls = caller.times.length, used = cpuNs(bridge.pid) - cpu, serverUsed = rise(server, await databaseCpu(cluster, db));
        await quiet(bridge.pid);
        const times = await caller.atRate(RATE, ms);
        const did = (await done()) - before;
        if (did !== fastCalls + times.length) throw new Error(`${fastCalls + times.length} commands were answered, ${did} done`);
        found.push({ limit: Number(out.match(/tps = ([\d.]+)/)[1]), fast, cpu: used / 1e3 / fastCalls, server: serverUsed / 1e3 / fastCalls, p50: quantile(times, 0.5), p99: quantile(times, 0.99) });
        if (options.verbose) console.error(name, found.at(-1));
    }
    await Promise.all(opened.map((page) => page.leave()));
    await bridge.stop();
    await cluster.stop();
    const of = (key) => found.map((round) => round[key]);
    const rate = median(of('fast'));
    return [name, spread(of('fast')), spread(of('limit')), spread(ratios(of('fast'), of('limit'))), show(median(of('cpu'))), show(median(of('server'))), spread(of('p50')), spread(of('p99')), `${atLeast(RATE, rate)}; to the limit ${atLeast(0.8, median(ratios(of('fast'), of('limit'))))}`];
}

export async function measureAll(options) {
    const folder = mkdtempSync(join(tmpdir(), 'livefeed-bench-'));
    const size = options.quick ? { rounds: 1, pages: 50, ms: 1000 } : { rounds: 3, pages: 200, ms: 5000 };
    const rows = [];
    for (const [name, slowSyncUs] of [['this disk', 0], ['slow disk', 1000]]) rows.push(await oneDisk(name, { ...size, slowSyncUs, folder, options }));
    rmSync(folder, { recursive: true });
    return { columns: ['disk', 'bridge', 'limit', 'bridge / limit', "bridge's CPU µs a command", "PostgreSQL's", `ms at ${RATE.toLocaleString('en-US')}/s, p50`, 'p99', 'aim'], rows };
}
