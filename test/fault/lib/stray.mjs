// A client in a process of its own, which a test may stop (SIGSTOP): a Session whose
// checker is in the parent process. Stray is the parent's side, the end of this file the child's.

import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { until } from '../../e2e/lib/wait.mjs';
import { Session, SETTLE_MS, startSessions } from './session.mjs';
import { Random } from './random.mjs';

const HERE = fileURLToPath(import.meta.url);

/** Looks like a checker to the session; tells the real one. */
class Messenger {
  defect(kind, what) {
    process.send(['defect', kind, what]);
  }

  stream() {
    return Object.fromEntries(['frame', 'closed', 'covered', 'asks'].map((name) => [name, (...args) => process.send([name, ...args])]));
  }
}

export class Stray {
  /** As for a Session, but `bridges` are origins, and no functions. */
  constructor({ name, checker, random, channels, ...options }) {
    this.name = name;
    this.checker = checker;
    this.stream = checker.stream(name, channels);
    this.child = fork(HERE, ['stray'], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'], serialization: 'advanced' });
    this.gone = new Promise((resolve) => { this.child.once('exit', resolve); });
    this.child.on('message', ([what, ...args]) => {
      if (what === 'defect') checker.defect(...args);
      else this.stream[what](...args);
    });
    this.child.send({ run: { name, channels, seed: random.seed, ...options } });
  }

  get pid() {
    return this.child.pid;
  }

  /** As of a Session. */
  async run() {
    await this.gone;
  }

  calm() {
    this.child.send({ calm: true });
  }

  end() {
    if (this.child.connected) this.child.send({ end: true });
  }

  async reach(id, ms = SETTLE_MS) {
    await until(`${this.name} to reach ${id}`, () => [...this.stream.channels.values()].every(({ last, covered }) => Math.max(last, covered) >= id), ms)
      .catch((error) => { error.message += `: ${JSON.stringify([...this.stream.channels].map(([name, { last, covered, events }]) => ({ name, last, covered, events: events.length })))}, closed: ${JSON.stringify([...this.stream.closes])}`; throw error; });
  }
}

if (process.argv[2] === 'stray') {
  let session;
  let house;
  process.on('message', async ({ run, calm, end }) => {
    if (run) {
      session = new Session({ ...run, bridges: run.bridges.map((origin) => ({ origin })), checker: new Messenger(), random: new Random(run.seed) });
      house = startSessions([session]);
    }
    if (calm) session.calm();
    if (end) {
      await house.end();
      process.disconnect();
    }
  });
}
