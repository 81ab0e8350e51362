// A client as PROTOCOL.md wants one: it keeps a cursor for each channel, comes back with
// it wherever it likes, and gives every frame to the checker. It breaks off at random.

import { appendFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { Client } from '../../e2e/lib/client.mjs';
import { epochOf, idOf } from '../../e2e/lib/cluster.mjs';
import { until, SLOW } from '../../e2e/lib/wait.mjs';

const PING_EVERY_MS = 150;
const PATIENCE_MS = 2000 * SLOW; // without an answer to a ping, or a welcome, the connection is dead
const PATIENCE_STAYING_MS = 10_000 * SLOW; // of who is to stay where it is: this process, too, may stand still for seconds
const BACKOFF_MS = 60;
const TRACE = process.env.FAULT_TRACE;
export const SETTLE_MS = 45_000 * SLOW;
const REMEMBERED = 200; // messages that the harness's client keeps: the checker has them all

export class Session {
  #stopped = new AbortController();
  #calm = new AbortController();
  #cursor = new Map();
  #client;
  #begun = false; // all its channels were subscribed to at the same time
  heard = null; // the last event: { frame, at }
  breaks = 0;
  unavailable = 0;
  resyncs = 0; // it was told of another epoch
  #asking = new Map(); // channel -> what its first `subscribed` has to say
  #epochs = new Map(); // channel -> epoch of its cursor

  /**
   * `bridges`: where it may go; `token`: one, or a function that gets the next; `since`: its first cursor, null for none;
   * `answer`: what `since` is answered, where that is not `recovered: true` ({ recovered: false, reason });
   * `stay`: how long it stays on a connection at most, in ms (Infinity: until it is thrown out); `stall`: instead of breaking
   * off it stops reading for that long; `forgets`: the share of its new subscriptions that go without a cursor;
   * `patience`: how long it waits for a pong, in ms, and, within reason, for a welcome; `expires`: its tokens do, on purpose; `epochs`: whether the history may end under it (a promotion), of which
   * it must be told.
   */
  constructor({ name, bridges, token, channels, since, answer, checker, random, stay = 1500, stall, forgets = 0, patience = stay === Infinity ? PATIENCE_STAYING_MS : PATIENCE_MS, expires = false, epochs = false, onEvent = () => {}, onStatus = () => {} }) {
    Object.assign(this, { name, bridges, token, channels, random, stay, stall, forgets, patience, expires, epochs, onEvent, onStatus });
    this.stream = checker.stream(name, channels);
    if (expires) this.stream.mayClose(4401);
    this.checker = checker;
    const first = since === null || answer ? { since, answer: { recovered: undefined, ...answer } } : undefined;
    for (const channel of channels) {
      if (!first) this.#epochs.set(channel, epochOf(since));
      this.#cursor.set(channel, first ? 0 : idOf(since));
      if (first) this.#asking.set(channel, first);
    }
  }

  /** Comes, goes and comes back until end(). */
  async run() {
    while (!this.#stopped.signal.aborted) {
      const client = await this.#connect();
      if (client) await this.#live(client);
      else await this.#wait(this.random.int(1, BACKOFF_MS)); // jitter, as a client should
    }
  }

  get client() {
    return this.#client;
  }

  /** From here on it stays where it is, as long as it lives. */
  calm() {
    this.#calm.abort();
  }

  /** Waits until all its channels are covered up to that id; they may be by what they asked for, so it has to have been answered. */
  async reach(id, ms = SETTLE_MS) {
    await until(`${this.name} to reach ${id} (it is at ${[...this.#cursor.values()]})`, () => this.#stopped.signal.aborted || (this.#begun && Math.min(...this.#cursor.values()) >= id), ms)
      .catch((error) => { error.message += ` now at ${[...this.#cursor.values()]}, last frames:\n${this.#client?.tell()}`; throw error; });
  }

  end() {
    this.#stopped.abort();
    this.#client?.socket.terminate();
  }

  /** Ends before the others do. */
  leave() {
    this.end();
    this.stream.leave();
  }

  async #wait(ms, ...signals) {
    const signal = AbortSignal.any([this.#stopped.signal, ...signals]);
    if (ms === Infinity) {
      await new Promise((resolve) => {
        if (signal.aborted) resolve();
        else signal.addEventListener('abort', resolve, { once: true });
      });
    } else {
      await pause(ms, undefined, { signal }).catch(() => {});
    }
  }

  async #connect() {
    const bridge = this.random.pick(this.bridges);
    const token = typeof this.token === 'function' ? await this.token() : this.token;
    const wait = Math.min(this.patience, PATIENCE_STAYING_MS);
    const client = await Client.open(bridge, { token, welcome: false, options: { handshakeTimeout: wait } });
    client.gone = new AbortController();
    if (client.closed || client.refused || client.socket.readyState !== 1) return null;
    client.socket.once('close', (code) => {
      this.stream.closed(code);
      client.gone.abort();
    });
    try {
      client.welcome = await client.next('welcome', wait);
    } catch {
      client.socket.terminate();
      await until('the socket to close', () => client.closed);
      return null;
    }
    return client;
  }

  /** One connection, from `welcome` to its end. */
  async #live(client) {
    this.#client = client;
    client.since = performance.now();
    client.covered = new Set();
    client.fresh = new Set(); // subscriptions that no pong has covered yet
    client.socket.on('message', () => {
      this.#frame(client, client.frames.at(-1));
      if (client.frames.length > REMEMBERED) client.forget();
    });
    for (const channel of this.channels) this.#subscribe(client, channel);
    const pings = setInterval(() => this.#ping(client), PING_EVERY_MS);
    while (!client.closed && !this.#stopped.signal.aborted) {
      const calm = this.#calm.signal.aborted || this.stay === Infinity;
      await this.#wait(calm ? Infinity : this.random.int(0, this.stay), client.gone.signal, ...(calm ? [] : [this.#calm.signal]));
      if (!client.closed && !this.#calm.signal.aborted && this.stay !== Infinity) await this.#breakOff(client);
    }
    clearInterval(pings);
    if (!client.closed) client.socket.terminate();
    await until('the socket to close', () => client.closed);
  }

  #subscribe(client, channel) {
    this.#trace(`> subscribe ${channel} ${this.#cursor.get(channel)}`);
    const first = this.#asking.get(channel);
    if (first) this.stream.asks(channel, first.answer);
    const since = first ? first.since : `${this.#epochs.get(channel)}-${this.#cursor.get(channel)}`;
    client.send({ type: 'subscribe', ref: `s ${channel}`, channel, ...(since === null ? {} : { since }) });
  }

  async #breakOff(client) {
    this.breaks++;
    const how = this.stall ? 0.7 : this.random.next();
    this.#trace(`breaks off ${how}`);
    if (how < 0.5) {
      client.socket.terminate(); // as a train enters a tunnel
    } else if (how < 0.7) {
      client.socket.close(1000);
      await this.#wait(PATIENCE_MS, client.gone.signal);
      client.socket.terminate();
    } else if (how < 0.85) {
      client.socket.pause(); // a page that sleeps for a moment: the pause is the fault
      await this.#wait(this.stall ?? this.random.int(10, 400), client.gone.signal, this.#calm.signal);
      client.socket.resume();
      if (client.asked) client.asked = performance.now(); // the answer waits among what was not read
      return;
    } else {
      const channel = this.random.pick(this.channels);
      if (!client.covered.has(channel)) return;
      client.covered.delete(channel); // it is not left twice
      client.send({ type: 'unsubscribe', ref: `u ${channel}`, channel });
      return; // it subscribes again when the answer is here
    }
    await this.#wait(PATIENCE_MS, client.gone.signal);
  }

  #ping(client) {
    if (client.closed || client.socket.isPaused) return;
    if (client.asked && performance.now() - client.asked > this.patience) {
      client.socket.terminate();
    } else if (!client.asked) {
      client.asked = performance.now();
      client.send({ type: 'ping', ref: 'p' });
    }
  }

  /** FAULT_TRACE names a file for all that sessions do and are sent, bodies left out. */
  #trace(what) {
    if (TRACE) appendFileSync(TRACE, `${Math.round(performance.now())} ${this.name} ${this.breaks} ${what}\n`);
  }

  #move(channel, id) {
    this.#cursor.set(channel, Math.max(this.#cursor.get(channel), id));
  }

  #frame(client, frame) {
    this.#trace(`< ${JSON.stringify({ ...frame, data: frame.data && { tx: frame.data.tx, step: frame.data.step } })}`);
    switch (frame.type) {
      case 'pong':
        client.asked = 0;
        for (const channel of client.covered) {
          // One that goes on from a cursor of the former history, learns of the new one by this.
          if (this.epochs && client.fresh.delete(channel)) this.#epochs.set(channel, epochOf(frame.cursor));
          this.#epoch(channel, frame);
          this.#move(channel, idOf(frame.cursor));
          this.stream.covered(channel, idOf(frame.cursor));
        }
        return;
      case 'status':
        this.onStatus(frame, this);
        return;
      case 'welcome':
        return;
      case 'error':
        if (this.expires && frame.code === 'bad_token') return; // closed with 4401 next
        if (frame.code !== 'unavailable') break;
        this.unavailable++;
        client.socket.terminate(); // the bridge has no database now: come back
        return;
      case 'subscribed':
        if (this.epochs && frame.recovered === false && frame.reason === 'epoch') {
          this.stream.asks(frame.channel, { recovered: false, reason: 'epoch' });
          this.#told(frame);
        }
        this.#epoch(frame.channel, frame);
        client.fresh.add(frame.channel);
        if (this.#asking.delete(frame.channel)) {
          this.#cursor.set(frame.channel, idOf(frame.cursor));
        } else if (idOf(frame.cursor) !== this.#cursor.get(frame.channel)) {
          this.checker.defect('session', `${this.name}: asked since ${this.#cursor.get(frame.channel)}, got ${JSON.stringify(frame)}`);
        }
        client.covered.add(frame.channel);
        this.#begun ||= client.covered.size === this.channels.length;
        break;
      case 'resync':
        if (!this.epochs || frame.reason !== 'epoch') break;
        this.stream.resync(frame);
        this.#told(frame);
        return;
      case 'unsubscribed':
        client.covered.delete(frame.channel);
        this.stream.frame(frame);
        if (this.forgets && this.random.chance(this.forgets)) this.#asking.set(frame.channel, { since: null, answer: {} });
        if (frame.reason === undefined && !this.#stopped.signal.aborted) this.#subscribe(client, frame.channel);
        return;
      default:
    }
    this.stream.frame(frame);
    if (typeof frame.id === 'number') {
      for (const channel of frame.channels) if (this.#cursor.has(channel)) this.#move(channel, frame.id);
      this.heard = { frame, at: performance.now() };
      this.onEvent(frame, this);
    }
  }

  /** Another history: this channel goes on from there. */
  #told({ channel, cursor }) {
    this.resyncs++;
    this.#epochs.set(channel, epochOf(cursor));
    this.#cursor.set(channel, idOf(cursor));
  }

  #epoch(channel, frame) {
    if (!this.#epochs.has(channel)) this.#epochs.set(channel, epochOf(frame.cursor));
    if (epochOf(frame.cursor) !== this.#epochs.get(channel)) this.checker.defect('session', `${this.name}: another epoch: ${JSON.stringify(frame)}`);
  }
}

/** Starts sessions; `end()` ends them all and waits. */
export function startSessions(sessions) {
  const all = Promise.all(sessions.map((session) => session.run()));
  all.catch(() => {}); // seen by end()
  return {
    /** No more faults of their own; each reaches the id. */
    async settle(id) {
      for (const session of sessions) session.calm();
      await Promise.race([Promise.all(sessions.map((session) => session.reach(id))), all]);
    },
    async end() {
      for (const session of sessions) session.end();
      await all;
    },
  };
}
