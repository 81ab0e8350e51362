// What grows and what does not: a long log, many units, a long absence.
import { fileURLToPath } from 'node:url';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startCluster } from '../lib/cluster.mjs';
import { Load, memberTokens } from '../lib/load.mjs';
import { cpuNs, nowNs, peakKib, quiet, rssKib, run, sleep } from '../lib/process.mjs';
import { startBridge } from '../lib/programs.mjs';
import { bridgeDatabase } from '../lib/schema.mjs';
import { median, show, spread } from '../lib/table.mjs';

export const title = 'Growth: cost with little and with much';
export const how = `Log: medians of single calls over one connection, no bridge running, a transaction open throughout. Units: the bridge's CPU for
2,000 one-row transactions, each for one session of 100, or of 1,000 with 100 subscriptions each. Absence: events made while no bridge
ran, in transactions of 10,000; then the bridge starts, and 10 sessions resume from before them, each owed a tenth; from the bridge's start to the last event.`;

const sqltime = fileURLToPath(new URL('../build/sqltime', import.meta.url));
const BATCH = 10_000;

/** Median ms of the last statement. */
async function timed(cluster, db, count, from, ...statements) {
    const out = await run(sqltime, [cluster.conninfo(db), String(count), String(from), '0', ...statements]);
    return median(out.trim().split('\n').map((line) => {
        const [, sent, answered] = line.split(' ').map(Number);
        return (answered - sent) / 1e6;
    }));
}

async function makeEvents(cluster, db, from, count) {
    for (let n = from; n < from + count; n += BATCH) {
        await cluster.sql(db, `UPDATE many SET n = ${n - 1} + id, unit = (${n - 2} + id) % 100 + 1 WHERE id <= ${Math.min(BATCH, from + count - n)}`);
    }
}

async function manyTable(cluster, db) {
    await cluster.sql(db, `
        CREATE TABLE many (id integer PRIMARY KEY, unit integer NOT NULL, n bigint NOT NULL, pad text NOT NULL) WITH (fillfactor = 50);
        INSERT INTO many SELECT i, (i - 1) % 100 + 1, 0, repeat('x', 52) FROM generate_series(1, ${BATCH}) i;
        SELECT livefeed.watch('many', unit => 'unit');`);
}

async function longLog(cluster, { rounds, calls, long }) {
    const db = await bridgeDatabase(cluster, 'log');
    await manyTable(cluster, db);
    const change = 'UPDATE items SET n = n + 1 WHERE id = {n} % 500 + 1';
    const open = run(sqltime, [cluster.conninfo(db), '1', '1', '0', 'BEGIN', 'SELECT pg_current_xact_id()', `SELECT pg_sleep(${rounds > 1 ? 60 : 10})`]);
    open.catch(() => {});
    const found = { tick: [], read: [] };
    const measure = async (at) => {
        const tick = [], read = [];
        for (let round = 0; round < rounds; round++) {
            tick.push(await timed(cluster, db, calls, 1, change, 'SELECT livefeed.tick()'));
            const head = Number(await cluster.sql(db, 'SELECT head FROM livefeed.look()'));
            read.push(await timed(cluster, db, calls, 1, `SELECT count(*) FROM livefeed.read(${head - 10}, 100)`));
        }
        found.tick[at] = tick;
        found.read[at] = read;
    };
    await measure(0);
    await makeEvents(cluster, db, 1, long);
    await cluster.sql(db, 'SELECT livefeed.tick()');
    await measure(1);
    await cluster.sql(db, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'");
    const each = (name, key) => [`${name}, ms`, spread(found[key][0]), spread(found[key][1]), show(median(found[key][1]) / median(found[key][0]))];
    return [each('tick of one event: empty log, a million events', 'tick'), each('read of the last 10 events: empty log, a million events', 'read')];
}

async function manyUnits(cluster, folder, { rounds, share }) {
    const db = await bridgeDatabase(cluster, 'units');
    const shapes = [{ sessions: 100 * share, subs: 1 }, { sessions: 1000 * share, subs: 100 }];
    const most = shapes[1].sessions * shapes[1].subs, events = 2000 * share;
    await cluster.sql(db, `TRUNCATE spread; INSERT INTO spread SELECT i, i, 0, repeat('x', 52) FROM generate_series(1, ${most}) i;`);
    await cluster.sql(db, 'SELECT livefeed.tick()'); // that TRUNCATE is nobody's resync
    writeFileSync(join(folder, 'units.sql'), '\\set n :n + 1\n\\set id (:n - 1) % :units + 1\nUPDATE spread SET n = :n WHERE id = :id;\n');
    const cpu = [[], []], kib = [];
    let next = most + 1;
    for (let round = 0; round < rounds; round++) {
        for (const [i, { sessions, subs }] of shapes.entries()) {
            const units = sessions * subs;
            const bridge = await startBridge(cluster, db);
            const tokens = await memberTokens(cluster, db, { sessions, units, subs });
            const before = rssKib(bridge.pid);
            const load = await new Load(bridge, { sessions, units, subs, tokens, channel: 'spread:unit:' }).open();
            await load.expect(next, next + events - 1);
            await quiet(bridge.pid);
            kib[i] = (rssKib(bridge.pid) - before) / units;
            const began = cpuNs(bridge.pid);
            await cluster.pgbench(db, ['-M', 'prepared', '-c', '1', '-t', String(events), '-D', `n=${next - 1}`, '-D', `units=${units}`, '-f', join(folder, 'units.sql')]);
            await load.wait(60_000);
            await sleep(50);
            cpu[i].push((cpuNs(bridge.pid) - began) / 1e3 / events);
            next += events;
            await load.close();
            await bridge.stop();
        }
    }
    return [
        [`event for one session: ${show(shapes[0].sessions)} subscribed units, ${show(most)}; CPU µs`, spread(cpu[0]), spread(cpu[1]), show(median(cpu[1]) / median(cpu[0]))],
        ['memory a subscription (first: with its session), KiB', show(kib[0]), show(kib[1]), '-'],
    ];
}

async function longAbsence(cluster, options, counts) {
    const times = [], cpus = [], peaks = [];
    for (const [i, count] of counts.entries()) {
        const db = await bridgeDatabase(cluster, `absence${i}`);
        await manyTable(cluster, db);
        let bridge = await startBridge(cluster, db); // one has been here: writers need not NOTIFY
        await makeEvents(cluster, db, 1, BATCH);
        await quiet(bridge.pid);
        const since = await cluster.sql(db, 'SELECT livefeed.cursor()');
        await bridge.stop();
        await makeEvents(cluster, db, BATCH + 1, count);
        const began = nowNs();
        bridge = await startBridge(cluster, db);
        const tokens = await memberTokens(cluster, db, { sessions: 10, units: 100, subs: 10 });
        const load = new Load(bridge, { sessions: 10, units: 100, subs: 10, tokens, channel: 'many:unit:', since });
        await load.expect(BATCH + 1, BATCH + count);
        await load.open();
        const result = await load.wait(120_000);
        times.push((result.last_ns - began) / 1e3 / count);
        cpus.push(cpuNs(bridge.pid) / 1e3 / count);
        peaks.push(peakKib(bridge.pid) / 1024);
        if (options.verbose) console.error({ count, us: times.at(-1), cpu: cpus.at(-1), peak: peaks.at(-1) });
        await load.close();
        await bridge.stop();
    }
    const row = (name, values) => [`${counts.map((count) => count.toLocaleString('en-US')).join(', ')} events: ${name}`, show(values[0]), show(values[1]), show(values[1] / values[0])];
    return [row('µs an event', times), row("bridge's CPU µs an event", cpus), row("bridge's peak RSS, MiB", peaks)];
}

export async function measureAll(options) {
    const quick = options.quick;
    const cluster = await startCluster();
    const folder = mkdtempSync(join(tmpdir(), 'livefeed-bench-'));
    const rows = [
        ...(await longLog(cluster, quick ? { rounds: 1, calls: 20, long: 20_000 } : { rounds: 3, calls: 200, long: 1_000_000 })),
        ...(await manyUnits(cluster, folder, quick ? { rounds: 1, share: 0.1 } : { rounds: 3, share: 1 })),
        ...(await longAbsence(cluster, options, quick ? [1000, 20_000] : [10_000, 1_000_000])),
    ];
    await cluster.stop();
    rmSync(folder, { recursive: true });
    return { columns: ['cost', 'little', 'much', 'much / little'], rows };
}
