// What a delivery costs the server's process: events of about 300 bytes to 1,000 sessions.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { spawn } from 'node:child_process';
import { connect } from 'node:net';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startCluster } from '../lib/cluster.mjs';
import { Load, memberTokens } from '../lib/load.mjs';
import { cpuNs, nowNs, quiet, sleep } from '../lib/process.mjs';
import { brokerNames, startBare, startBridge, startBroker, startNode } from '../lib/programs.mjs';
import { bridgeDatabase, notifyDatabase } from '../lib/schema.mjs';
import { atMost, median, ratios, show, spread } from '../lib/table.mjs';

export const title = 'Fan-out: CPU seconds of the serving process a million deliveries';
export const how = `Events of about 300 bytes to 1,000 WebSocket sessions, CPU time of the process from /proc/PID/task/*/schedstat. The limit is a bare
LISTENer that sends each socket all that is new with one send() a wake; brokers, where shown, are fed over one connection. Every session
has proved that it got every event once. "Rate" is how fast the one writer (pgbench, prepared) committed them beside the bridge, the limit, node.`;

// What an aim was made from is another machine's limit: the same aim as a share of the limit says more on yours.
const works = [
    { name: 'events in one transaction', at: 'items', units: 1, events: 500, aim: 0.25, aimToLimit: 2.1 },
    { name: 'transactions of one event', at: 'items', units: 1, events: 500, aim: 2.0, aimToLimit: 1.7 },
    { name: 'transactions over 100 units', at: 'spread', units: 100, events: 2000, aim: 4.0, aimToLimit: 1.2 },
];

async function writeChanges(cluster, db, folder, work, from, events) {
    if (work === works[0]) {
        await cluster.sql(db, `UPDATE items SET n = ${from - 1} + id WHERE id <= ${events}`);
        return 0;
    }
    const file = join(folder, 'one.sql');
    writeFileSync(file, `\\set n :n + 1\n\\set id (:n - 1) % ${work.units === 1 ? 500 : work.units} + 1\nUPDATE ${work.at} SET n = :n WHERE id = :id;\n`);
    const out = await cluster.pgbench(db, ['-M', 'prepared', '-c', '1', '-t', String(events), '-D', `n=${from - 1}`, '-f', file]);
    return Number(out.match(/tps = ([\d.]+)/)[1]);
}

function profile(options, pid, name) {
    if (!options.perf) return async () => {};
    const perf = spawn('perf', ['record', '-q', '-F', '2000', '-g', '-p', String(pid), '-o', join(options.perf, `${name.replaceAll(' ', '-')}.data`)], { stdio: 'ignore' });
    const closed = once(perf, 'close');
    return async () => {
        perf.kill('SIGINT');
        await closed;
    };
}

/** A broker's publisher: the bytes of all events at once, as one transaction brings them. */
export async function publish(server, from, events) {
    const socket = connect(server.port, '127.0.0.1');
    await once(socket, 'connect');
    const messages = [];
    for (let n = from; n < from + events; n++) {
        const text = JSON.stringify({ id: 1, unit: 1, n, pad: 'x'.repeat(252) });
        if (server.protocol === 'mqtt') {
            const length = 2 + 5 + text.length;
            messages.push(Buffer.from([0x30, (length & 0x7f) | 0x80, length >> 7, 0, 5]), Buffer.from('bench'), Buffer.from(text));
        } else {
            messages.push(Buffer.from(`PUB bench ${text.length}\r\n${text}\r\n`));
        }
    }
    const hello = server.protocol === 'mqtt' ? Buffer.from('\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00', 'latin1') : Buffer.from('CONNECT {"verbose":false}\r\n');
    socket.write(hello);
    await once(socket, 'data');
    socket.write(Buffer.concat(messages));
    return socket;
}

async function oneMeasurement(context, server, load, work) {
    const { cluster, folder, size, options } = context;
    const events = Math.round(work.events * size.share);
    const from = (context.next += events) - events;
    const due = await load.expect(from, from + events - 1);
    await quiet(server.pid);
    const stopProfile = server.protocol === 'livefeed' ? profile(options, server.pid, `fanout-${works.indexOf(work) + 1}`) : async () => {};
    if (options.perf) await sleep(300);
    const cpu = cpuNs(server.pid), began = nowNs();
    let rate = 0, socket;
    if (server.db) rate = await writeChanges(cluster, server.db, folder, work, from, events);
    else socket = await publish(server, from, events);
    const result = await load.wait(60_000);
    await sleep(50); // the tail of the last wake
    const used = cpuNs(server.pid) - cpu;
    socket?.destroy();
    await stopProfile();
    return { cost: used / 1e9 / (due / 1e6), rate, bytes: result.bytes / due, reads: result.reads, seconds: (result.last_ns - began) / 1e9 };
}

export async function measureAll(options) {
    const size = options.quick ? { rounds: 1, sessions: 100, share: 0.2 } : { rounds: options.perf ? 1 : 3, sessions: 1000, share: 1 };
    const cluster = await startCluster();
    const folder = mkdtempSync(join(tmpdir(), 'livefeed-bench-'));
    const servers = [
        Object.assign(await startBridge(cluster, await bridgeDatabase(cluster, 'bridge')), { db: 'bridge' }),
        Object.assign(await startBare(cluster, await notifyDatabase(cluster, 'bare')), { db: 'bare' }),
        Object.assign(await startNode(cluster, await notifyDatabase(cluster, 'node')), { db: 'node' }),
    ];
    if (!options.quick) servers.push(...(await Promise.all(brokerNames.map(startBroker))).filter(Boolean));
    const context = { cluster, folder, size, options, next: 1 };
    const found = new Map();
    for (let round = 0; round < size.rounds; round++) {
        for (const server of servers) {
            for (const units of [1, 100]) {
                const at = works.filter((work) => work.units === units && (server.db || work === works[0]));
                if (at.length === 0) continue;
                const tokens = server.db === 'bridge' ? await memberTokens(cluster, 'bridge', { sessions: size.sessions, units }) : undefined;
                const load = await new Load(server, { sessions: size.sessions, units, tokens, channel: server.db ? `${at[0].at}:unit:` : 'bench' }).open();
                for (const work of at) {
                    const key = `${server.name} ${works.indexOf(work)}`;
                    const one = await oneMeasurement(context, server, load, work);
                    if (options.verbose) console.error(key, one);
                    found.set(key, [...(found.get(key) ?? []), one]);
                }
                await load.close();
            }
        }
    }
    for (const server of servers) await server.stop();
    await cluster.stop();
    rmSync(folder, { recursive: true });

    const of = (server, work) => found.get(`${server.name} ${works.indexOf(work)}`) ?? [];
    const [bridge, bare, node, ...others] = servers;
    const rows = works.map((work) => {
        const cost = (server) => of(server, work).map((one) => one.cost);
        const rates = [bridge, bare, node].map((server) => median(of(server, work).map((one) => one.rate)));
        return [`${Math.round(work.events * size.share)} ${work.name}`, spread(cost(bridge)), spread(cost(bare)), show(median(cost(node))),
            ...others.map((server) => (cost(server).length ? show(median(cost(server))) : '-')), show(median(ratios(cost(bridge), cost(bare)))),
            rates[0] ? `${rates.map((rate) => show(rate)).join(', ')}/s` : '-', [bridge, bare].map((server) => show(median(of(server, work).map((one) => one.bytes)))).join(', '),
            `${atMost(work.aim, median(cost(bridge)))}; to the limit ${atMost(work.aimToLimit, median(ratios(cost(bridge), cost(bare))))}`];
    });
    return { columns: ['work', 'bridge', 'limit', 'node', ...others.map((server) => server.name), 'bridge / limit', 'rate', 'bytes a delivery (bridge, limit)', 'aim'], rows };
}
