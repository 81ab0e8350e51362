// The servers that are compared: the bridge, the bare listener (the limit), node's ws + pg, mosquitto, nats-server.
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Daemon, accepts, freePort, run, until } from './process.mjs';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const bridgeProgram = process.env.LIVEFEED_TEST_BRIDGE ?? here('../../../bridge/livefeed-bridge');

/** The bridge; it is ready once it follows the database. */
export async function startBridge(cluster, db, flags = []) {
    const port = await freePort();
    const bridge = new Daemon('bridge', bridgeProgram, [
        '--dsn', cluster.conninfo(db), '--listen', `127.0.0.1:${port}`, '--log-level', 'warn',
        '--max-connections-per-user', '100000', '--max-connections-per-address', '100000', '--drain', '1s', ...flags,
    ]);
    Object.assign(bridge, { port, protocol: 'livefeed', path: '/ws?token={token}' });
    await until('the bridge is ready', async () => {
        if (bridge.ended !== undefined) throw new Error(`the bridge ended with ${bridge.ended}: ${bridge.words}`);
        try {
            return (await fetch(`http://127.0.0.1:${port}/readyz`)).ok;
        } catch {
            return false;
        }
    });
    return bridge;
}

async function startListener(name, command, args, cluster, db) {
    const port = await freePort();
    const daemon = new Daemon(name, command, [...args, cluster.conninfo(db), 'bench', String(port)], { env: cluster.env });
    Object.assign(daemon, { port, protocol: 'bare', path: '/ws?unit={unit}' });
    if ((await daemon.line()) !== 'ready') throw new Error(`${name}: ${daemon.words}`);
    return daemon;
}

export const startBare = (cluster, db) => startListener('bare listener', here('../build/barelistener'), [], cluster, db);
export const startNode = (cluster, db) => startListener('node ws + pg', process.execPath, [here('../peers/node.mjs')], cluster, db);

const brokers = {
    mosquitto: { program: '/usr/sbin/mosquitto', args: (port) => ['-p', String(port)], protocol: 'mqtt' },
    'nats-server': { program: '/usr/sbin/nats-server', args: (port) => ['-a', '127.0.0.1', '-p', String(port)], protocol: 'nats' },
};
export const brokerNames = Object.keys(brokers);

/** A broker, or null where Debian's package is not installed. With BENCH_PEERS=1 it is installed. */
export async function startBroker(name) {
    const { program, args, protocol } = brokers[name];
    if (!existsSync(program) && process.env.BENCH_PEERS === '1') {
        console.error(`bench: installing Debian's ${name}`);
        // policy-rc.d would be the system's; a service that starts is stopped by nobody here, so it is kept from starting.
        await run('apt-get', ['install', '-q', '-y', '--no-install-recommends', name], {
            env: { DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' },
        });
    }
    if (!existsSync(program)) {
        console.error(`bench: no ${name} here; BENCH_PEERS=1 installs it (apt-get install ${name})`);
        return null;
    }
    const port = await freePort();
    const daemon = new Daemon(name, program, args(port));
    Object.assign(daemon, { port, protocol, path: '' });
    await until(`${name} listens`, () => accepts(port));
    return daemon;
}
