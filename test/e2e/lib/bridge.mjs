// A bridge under test: the real program, on a free port.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import http from 'node:http';
import net from 'node:net';
import path from 'node:path';
import { ROOT } from './cluster.mjs';
import { until, within, SLOW, DEADLINE_MS } from './wait.mjs';

export const PROGRAM = process.env.LIVEFEED_TEST_BRIDGE ?? path.join(ROOT, 'bridge/livefeed-bridge');
const WRAPPER = (process.env.LIVEFEED_TEST_WRAPPER ?? '').split(' ').filter(Boolean);

/** The environment of a bridge: ours without what would configure it. */
export function cleanEnvironment(extra = {}) {
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(PG|LIVEFEED_)/.test(name)));
  env.ASAN_OPTIONS = 'detect_leaks=1:exitcode=99:abort_on_error=0';
  env.UBSAN_OPTIONS = 'halt_on_error=1:exitcode=99:print_stacktrace=1';
  return { ...env, ...extra };
}

// Below the ports that the kernel gives out by itself, and those of dev/cluster: nobody takes one that is free now before it is
// used, or while its bridge is away. Of two processes that look, one has it: whoever listens at CLAIM above it.
const PORTS = { first: 10_000, count: 5000, claim: 5000 };
let lookAt = process.pid * 7;

async function listening(port) {
  const server = net.createServer();
  return new Promise((resolve) => server.once('error', () => resolve(null)).listen(port, '127.0.0.1', () => resolve(server)));
}

/** A port of 127.0.0.1 that is this process's until it ends. */
export async function freePort() {
  for (let tries = 0; tries < PORTS.count; tries++) {
    const port = PORTS.first + lookAt++ % PORTS.count;
    const claim = await listening(port + PORTS.claim);
    const probe = claim && await listening(port);
    if (probe) {
      claim.unref();
      await new Promise((resolve) => probe.close(resolve));
      return port;
    }
    claim?.close();
  }
  throw new Error(`no free port in ${PORTS.first} to ${PORTS.first + PORTS.count - 1}`);
}

/** Runs the program to its end: for --help, --check and bad configurations. */
export async function bridgeRun(args, { env = {}, stdin } = {}) {
  const child = spawn(PROGRAM, args, { env: cleanEnvironment(env), stdio: [stdin ?? 'ignore', 'pipe', 'pipe'] });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (data) => { stdout += data; });
  child.stderr.on('data', (data) => { stderr += data; });
  const code = await within(`livefeed-bridge ${args.join(' ')} to end`,
    new Promise((resolve) => child.once('close', (status, signal) => resolve(status ?? signal))), 4 * DEADLINE_MS)
    .finally(() => child.kill('SIGKILL'));
  return { code, stdout, stderr };
}

export class Bridge {
  #exit;
  log = '';

  /**
   * Starts a bridge for the database and waits until it is ready (unless ready: false). `host`: where it listens;
   * `wrapper`: a command in front of it (nsenter, say).
   */
  static async start(database, args = [], { env = {}, ready = true, port, dsn, host = '127.0.0.1', wrapper = [] } = {}) {
    const bridge = new Bridge();
    bridge.port = port ?? await freePort();
    bridge.host = host;
    bridge.wrapper = wrapper;
    bridge.origin = `http://${host}:${bridge.port}`;
    bridge.args = [...(dsn === null ? [] : ['--dsn', dsn ?? database.bridgeDsn]), ...(args.includes('--listen') ? [] : ['--listen', `${host}:${bridge.port}`]), ...(args.includes('--drain') ? [] : ['--drain', '1s']), ...args];
    bridge.env = env;
    bridge.#launch();
    if (ready) await bridge.ready();
    return bridge;
  }

  #launch() {
    const [program, ...before] = [...this.wrapper, ...WRAPPER, PROGRAM];
    this.process = spawn(program, [...before, ...this.args], { env: cleanEnvironment(this.env), stdio: ['ignore', 'pipe', 'pipe'] });
    this.process.stdout.on('data', (data) => { this.log += data; });
    this.process.stderr.on('data', (data) => { this.log += data; });
    this.ended = null;
    this.#exit = new Promise((resolve) => {
      this.process.once('close', (code, signal) => { this.ended = code ?? signal; resolve(this.ended); });
    });
  }

  async ready(ms) {
    await until(`the bridge to be ready`, async () => {
      if (this.ended !== null) throw new Error(`it ended with ${this.ended}:\n${this.log}`);
      return (await this.get('/readyz')).status === 200;
    }, ms).catch((error) => { error.message += `\n${this.log}`; throw error; });
  }

  /** A plain GET: { status, headers, body }. */
  get(target, { method = 'GET', headers = {}, body } = {}) {
    return new Promise((resolve, reject) => {
      const request = http.request({ host: this.host, port: this.port, path: target, method, headers, agent: false, timeout: DEADLINE_MS }, (response) => {
        let text = '';
        response.setEncoding('utf8');
        response.on('data', (data) => { text += data; });
        response.on('end', () => resolve({ status: response.statusCode, headers: response.headers, body: text }));
        response.on('error', reject);
      });
      request.on('timeout', () => request.destroy(new Error('no answer')));
      request.on('error', reject);
      request.end(body);
    });
  }

  /** Sends a signal, waits for the end and gives the exit code. */
  async end(signal = 'SIGTERM') {
    if (this.ended === null) this.process.kill(signal);
    return within(`the bridge to end after ${signal}`, this.#exit, 20_000 * SLOW)
      .catch((error) => { this.process.kill('SIGKILL'); error.message += `\n${this.log}`; throw error; });
  }

  /** The ordinary end of a test: SIGTERM, exit code 0, nothing said by a sanitizer or valgrind. */
  async stop() {
    const code = await this.end('SIGTERM');
    assert.equal(code, 0, `the bridge ended with ${code}:\n${this.log.slice(-8000)}`);
  }

  async kill() {
    return this.end('SIGKILL');
  }

  /** The same bridge again, on the same port. */
  async again(ms) {
    this.#launch();
    await this.ready(ms);
  }
}
