// Programs that the bench starts, and what the kernel says of them.
import { spawn } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import net from 'node:net';
import { createInterface } from 'node:readline';
import { once } from 'node:events';

const running = new Set();

/** Ends what is still running: for the exit of the bench, whatever its reason. A cluster goes when its stdin ends, and cleans up. */
export function endAll() {
    for (const child of running) {
        if (child.endsWithStdin) child.stdin.end();
        else child.kill('SIGKILL');
    }
}

/** Runs a program to its end; its stdout. */
export async function run(command, args, { input = '', env = {}, timeoutMs = 300_000 } = {}) {
    const child = spawn(command, args, { env: { ...process.env, ...env }, timeout: timeoutMs });
    running.add(child);
    let out = '', err = '';
    child.stdout.on('data', (data) => (out += data));
    child.stderr.on('data', (data) => (err += data));
    child.stdin.on('error', () => {});
    child.stdin.end(input);
    const [code, signal] = await once(child, 'close');
    running.delete(child);
    if (code !== 0) throw new Error(`${command} ${args.join(' ').slice(0, 200)}: exit ${code ?? signal}\n${err}${out}`.trim());
    return out;
}

/** A program that stays. */
export class Daemon {
    constructor(name, command, args, { env = {}, endsWithStdin = false } = {}) {
        this.name = name;
        this.words = '';
        this.child = spawn(command, args, { env: { ...process.env, ...env }, stdio: ['pipe', 'pipe', 'pipe'] });
        this.child.endsWithStdin = endsWithStdin;
        this.pid = this.child.pid;
        running.add(this.child);
        this.closed = once(this.child, 'close').then(([code, signal]) => {
            running.delete(this.child);
            this.ended = `${code ?? signal}`;
        });
        this.child.stdin.on('error', () => {});
        this.child.stderr.on('data', (data) => {
            this.words = (this.words + data).slice(-4000);
        });
        this.lines = createInterface({ input: this.child.stdout })[Symbol.asyncIterator]();
    }

    async line() {
        const { value, done } = await this.lines.next();
        if (done) throw new Error(`${this.name} ended (${this.ended ?? 'stdout closed'}): ${this.words}`);
        return value;
    }

    say(text) {
        this.child.stdin.write(`${text}\n`);
    }

    async stop(signal = 'SIGTERM', timeoutMs = 20_000) {
        if (this.ended === undefined) {
            this.child.kill(signal);
            const timer = setTimeout(() => this.child.kill('SIGKILL'), timeoutMs);
            await this.closed;
            clearTimeout(timer);
        }
        return this.ended;
    }
}

/** Nanoseconds of CPU that a process has used, all its threads together. */
export function cpuNs(pid) {
    let sum = 0n;
    for (const task of readdirSync(`/proc/${pid}/task`)) {
        try {
            sum += BigInt(readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ')[0]);
        } catch (error) {
            if (error.code !== 'ENOENT' && error.code !== 'ESRCH') throw error; // the thread has ended
        }
    }
    return Number(sum);
}

function status(pid, field) {
    return Number(readFileSync(`/proc/${pid}/status`, 'utf8').match(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm'))[1]);
}
export const rssKib = (pid) => status(pid, 'VmRSS');
export const peakKib = (pid) => status(pid, 'VmHWM');

export const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
export const nowNs = () => Number(process.hrtime.bigint());

/** Waits until a process is idle: less than 2 ms of CPU in 100 ms, twice; at most 30 s. */
export async function quiet(pid) {
    let calm = 0;
    for (let i = 0; i < 300 && calm < 2; i++) {
        const before = cpuNs(pid);
        await sleep(100);
        calm = cpuNs(pid) - before < 2e6 ? calm + 1 : 0;
    }
}

export async function until(what, condition, timeoutMs = 30_000) {
    for (const end = Date.now() + timeoutMs; Date.now() < end; await sleep(20)) {
        if (await condition()) return;
    }
    throw new Error(`gave up waiting until ${what}`);
}

export async function freePort() {
    const server = net.createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address();
    server.close();
    await once(server, 'close');
    return port;
}

export function accepts(port) {
    return new Promise((done) => {
        const socket = net.connect(port, '127.0.0.1', () => {
            socket.destroy();
            done(true);
        });
        socket.on('error', () => done(false));
    });
}
