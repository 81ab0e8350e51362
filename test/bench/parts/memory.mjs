// What an idle session costs in memory.
import { startCluster } from '../lib/cluster.mjs';
import { Load, memberTokens } from '../lib/load.mjs';
import { quiet, rssKib, sleep } from '../lib/process.mjs';
import { brokerNames, startBridge, startBroker, startNode } from '../lib/programs.mjs';
import { bridgeDatabase, notifyDatabase } from '../lib/schema.mjs';
import { atMost, median, ratios, show, spread } from '../lib/table.mjs';

export const title = 'Memory: KiB of RSS an idle session';
export const how = `5,000 sessions with one subscription each, spread over 50 units: (RSS with them - RSS before) / 5,000, a fresh process each round.
Sockets' buffers are the kernel's and not in it. The brokers' clients speak MQTT and NATS over plain TCP, without WebSocket.`;

export async function measureAll(options) {
    const { rounds, sessions } = options.quick ? { rounds: 1, sessions: 500 } : { rounds: 3, sessions: 5000 };
    const units = 50;
    const cluster = await startCluster();
    await bridgeDatabase(cluster, 'bridge');
    await notifyDatabase(cluster, 'node');
    const tokens = await memberTokens(cluster, 'bridge', { sessions, units });
    const programs = [
        { name: 'bridge', start: () => startBridge(cluster, 'bridge') },
        { name: 'node', start: () => startNode(cluster, 'node') },
        ...(options.quick ? [] : brokerNames.map((name) => ({ name, start: () => startBroker(name) }))),
    ];
    const found = new Map();
    for (let round = 0; round < rounds; round++) {
        for (const { name, start } of programs) {
            const began = Date.now();
            const server = await start();
            if (!server) continue;
            await sleep(500);
            const before = rssKib(server.pid);
            const load = await new Load(server, { sessions, units, tokens, channel: server.protocol === 'livefeed' ? 'items:unit:' : 'bench' }).open();
            await quiet(server.pid);
            await sleep(1000);
            const each = (rssKib(server.pid) - before) / sessions;
            found.set(name, [...(found.get(name) ?? []), each]);
            if (options.verbose) console.error(name, { before, each, ms: Date.now() - began });
            await load.close();
            await server.stop();
        }
    }
    await cluster.stop();
    const bridge = found.get('bridge');
    return {
        columns: ['program', 'KiB a session', 'to the bridge', 'aim'],
        rows: [...found].map(([name, each]) => [name, spread(each), name === 'bridge' ? '-' : show(median(ratios(each, bridge))),
            name === 'bridge' ? atMost(3, median(each)) : '-']),
    };
}
