// From commit to client, when little happens: 100 sessions, a change a second.
import { fileURLToPath } from 'node:url';
import { startCluster } from '../lib/cluster.mjs';
import { Load, memberTokens } from '../lib/load.mjs';
import { quiet, run, sleep } from '../lib/process.mjs';
import { startBare, startBridge, startNode } from '../lib/programs.mjs';
import { bridgeDatabase, notifyDatabase } from '../lib/schema.mjs';
import { atMost, median, quantile, ratios, spread } from '../lib/table.mjs';

export const title = 'Latency: ms from commit to client, 100 sessions, a change a second';
export const how = `Over all sessions and changes of a round, from the moment the writer sends COMMIT (so the commit's own flush is in it), and from the
moment the COMMIT's answer is there. The three programs run side by side, each in a database of its own, their changes a third of a
second apart. fsync is on: the bridge delivers what is durable and ordered, which is a second flush; the other two do not.`;

const sqltime = fileURLToPath(new URL('../build/sqltime', import.meta.url));

async function oneProgram(cluster, server, sessions, changes, from, everyMs) {
    const tokens = server.db === 'bridge' ? await memberTokens(cluster, 'bridge', { sessions, units: 1 }) : undefined;
    const load = await new Load(server, { sessions, tokens, channel: 'items:unit:', stamps: true }).open();
    await load.expect(from, from + changes - 1);
    return {
        async measure() {
            const out = await run(sqltime, [cluster.conninfo(server.db), String(changes), String(from), String(everyMs),
                'BEGIN', 'UPDATE items SET n = {n} WHERE id = {n} % 500 + 1', 'COMMIT']);
            await load.wait(60_000);
            const arrivals = await load.stamps(), sent = [], answered = [];
            for (const line of out.trim().split('\n')) {
                const [n, before, after] = line.split(' ').map(Number);
                for (const at of arrivals.get(n)) {
                    sent.push((at - before) / 1e6);
                    answered.push((at - after) / 1e6);
                }
            }
            await load.close();
            return { sent50: quantile(sent, 0.5), sent99: quantile(sent, 0.99), answered50: quantile(answered, 0.5), answered99: quantile(answered, 0.99) };
        },
    };
}

export async function measureAll(options) {
    const size = options.quick ? { rounds: 1, sessions: 20, changes: 6, everyMs: 300 } : { rounds: 3, sessions: 100, changes: 40, everyMs: 1000 };
    const cluster = await startCluster();
    const servers = [
        Object.assign(await startBridge(cluster, await bridgeDatabase(cluster, 'bridge')), { db: 'bridge' }),
        Object.assign(await startBare(cluster, await notifyDatabase(cluster, 'bare')), { db: 'bare' }),
        Object.assign(await startNode(cluster, await notifyDatabase(cluster, 'node')), { db: 'node' }),
    ];
    const found = servers.map(() => []);
    for (let round = 0; round < size.rounds; round++) {
        const ready = [];
        for (const server of servers) ready.push(await oneProgram(cluster, server, size.sessions, size.changes, round * size.changes + 1, size.everyMs));
        for (const server of servers) await quiet(server.pid);
        const results = await Promise.all(ready.map(async (one, i) => {
            await sleep((((i + round) % 3) * size.everyMs) / 3);
            return one.measure();
        }));
        if (options.verbose) console.error(results);
        results.forEach((result, i) => found[i].push(result));
    }
    for (const server of servers) await server.stop();
    await cluster.stop();
    const row = (name, key, aim) => {
        const [bridge, bare, node] = found.map((rounds) => rounds.map((round) => round[key]));
        const ratio = ratios(bridge, bare);
        return [name, spread(bridge), spread(bare), spread(node), spread(ratio), aim ? atMost(aim, median(ratio)) : '-'];
    };
    return {
        columns: ['percentile, counted from', 'bridge', 'limit', 'node', 'bridge / limit', 'aim'],
        rows: [row('p50, COMMIT sent', 'sent50', 1.3), row('p99, COMMIT sent', 'sent99', 1.3), row('p50, COMMIT answered', 'answered50'), row('p99, COMMIT answered', 'answered99')],
    };
}
