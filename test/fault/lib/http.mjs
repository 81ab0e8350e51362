// Clients over HTTP as PROTOCOL.md wants them: a stream of server-sent events, or long polls, each with one cursor for all of
// its channels. They give every frame to the checker, break off at random and go on wherever they like with that cursor. What a
// bridge says of a channel on a WebSocket (`subscribed`) is implied here: no `resync` says that all is there.

import http from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';
import { epochOf, idOf } from '../../e2e/lib/cluster.mjs';
import { Stream, query } from '../../e2e/lib/stream.mjs';
import { until, SLOW } from '../../e2e/lib/wait.mjs';
import { SETTLE_MS } from './session.mjs';

const BACKOFF_MS = 60;
const PATIENCE_MS = 6000 * SLOW; // without a byte, where heartbeats come each second
const WAIT_S = 2; // of a poll
const ANSWER_MS = (WAIT_S + 25) * 1000 * SLOW;
const SILENT_CLOSE = 1006;
const POLL_PAUSE_MS = 40; // between two polls, at most: there is a limit of requests
const COME_BACK = new Set([429, 503]);

class HttpSession {
  breaks = 0;
  heard = null;
  #stopped = new AbortController();
  #calm = new AbortController();
  #last = 0; // the greatest id of an event

  /** As a Session's (session.mjs), as far as it goes; `stay`: how long a stream or a poll lasts at most, in ms. */
  constructor({ name, bridges, token, channels, since, checker, random, stay = 1500 }) {
    Object.assign(this, { name, bridges, token, channels, random, stay, checker });
    this.cursor = since;
    this.stream = checker.stream(name, channels);
  }

  async run() {
    while (!this.stopped) {
      if (!await this.once(this.random.pick(this.bridges))) await this.wait(this.random.int(1, BACKOFF_MS));
    }
  }

  get stopped() {
    return this.#stopped.signal.aborted;
  }

  get ending() {
    return this.#stopped.signal;
  }

  get calmed() {
    return this.#calm.signal.aborted;
  }

  calm() {
    this.#calm.abort();
  }

  async reach(id, ms = SETTLE_MS) {
    await until(`${this.name} to reach ${id}`, () => this.stopped || idOf(this.cursor) >= id, ms)
      .catch((error) => { error.message += `: it is at ${this.cursor}`; throw error; });
  }

  end() {
    this.#stopped.abort();
  }

  async wait(ms, ...signals) {
    await pause(ms, undefined, { signal: AbortSignal.any([this.#stopped.signal, ...signals]) }).catch(() => {});
  }

  /** How long it stays this time: as long as it may, once it is calm. */
  async staying(over) {
    const calm = this.calmed || this.stay === Infinity;
    await this.wait(calm ? 2 ** 30 : this.random.int(0, this.stay), over, ...(calm ? [] : [this.#calm.signal]));
  }

  /** A connection or a request is answered: from here on it is subscribed. */
  opened() {
    for (const channel of this.channels) this.stream.frame({ type: 'subscribed', channel, cursor: this.cursor, recovered: true });
  }

  /** Frames in their order; `cursor` is that of the last id: line. */
  take(frame) {
    if (frame.type === 'status') return;
    if (typeof frame.id === 'number') {
      if (frame.id <= this.#last) this.checker.defect('order', `${this.name}: id ${frame.id} after ${this.#last}, of any channel`);
      this.#last = Math.max(this.#last, frame.id);
      this.heard = { frame, at: performance.now() };
    }
    this.stream.frame(frame);
  }

  moved(cursor) {
    if (epochOf(cursor) !== epochOf(this.cursor)) this.checker.defect('session', `${this.name}: another epoch: ${cursor}`);
    if (idOf(cursor) < idOf(this.cursor)) this.checker.defect('order', `${this.name}: the cursor went back from ${this.cursor} to ${cursor}`);
    this.cursor = cursor;
    for (const channel of this.channels) this.stream.covered(channel, idOf(cursor));
  }
}

export class Streamed extends HttpSession {
  /** One stream; false: there was none. */
  async once(bridge) {
    const resume = this.random.chance(0.5) ? { since: this.cursor } : { lastEventId: this.cursor };
    const stream = await Stream.open(bridge, { token: this.token, channels: this.channels, ...resume }).catch(() => null);
    if (stream?.status !== 200) {
      stream?.leave();
      if (stream?.status !== undefined && !COME_BACK.has(stream.status)) this.checker.defect('session', `${this.name}: status ${stream.status}: ${stream.text}`);
      return false;
    }
    this.opened();
    const over = new AbortController();
    let taken = 0;
    let ids = 0;
    let code = SILENT_CLOSE;
    let at = performance.now();
    const take = () => {
      if (over.signal.aborted) return;
      at = performance.now();
      for (; taken < stream.frames.length; taken++) {
        const { frame } = stream.frames[taken];
        if (frame.type === 'closing') code = frame.code;
        else this.take(frame);
      }
      for (; ids < stream.ids.length; ids++) this.moved(stream.ids[ids]);
      if (stream.ended) over.abort();
    };
    stream.response.on('data', take);
    stream.response.on('close', take);
    const watch = setInterval(() => { if (performance.now() - at > PATIENCE_MS) over.abort(); }, 200); // silence has to be looked for
    take();
    await this.staying(over.signal);
    if (!over.signal.aborted && !this.stopped && !this.calmed && this.random.chance(0.3)) {
      stream.response.pause(); // a page that sleeps for a moment: the pause is the fault
      await this.wait(this.random.int(10, 400), over.signal);
      stream.response.resume();
      await this.staying(over.signal);
    }
    clearInterval(watch);
    if (!over.signal.aborted) this.breaks++;
    over.abort();
    stream.leave();
    this.stream.closed(code);
    return true;
  }
}

export class Polled extends HttpSession {
  async once(bridge) {
    const over = new AbortController();
    const breaksOff = this.stay !== Infinity && this.random.chance(0.2);
    const answer = this.#ask(bridge, over.signal);
    if (breaksOff) {
      await Promise.race([answer, this.staying(over.signal)]);
      if (!over.signal.aborted && !this.calmed) this.breaks++;
      if (!this.calmed) over.abort(); // who answers now is not heard
    }
    const found = await answer;
    if (!found || over.signal.aborted) return false;
    if (found.status !== 200) {
      if (!COME_BACK.has(found.status)) this.checker.defect('session', `${this.name}: status ${found.status}: ${found.text}`);
      return false;
    }
    const { frames, cursor, more } = JSON.parse(found.text);
    this.opened();
    for (const frame of frames) this.take(frame);
    this.moved(cursor);
    this.stream.closed(SILENT_CLOSE);
    if (!more) await this.wait(this.random.int(0, POLL_PAUSE_MS));
    return true;
  }

  /** { status, text } of a poll, by GET or POST; null where there was none. */
  #ask(bridge, signal) {
    const post = this.random.chance(0.5);
    const asked = { channels: this.channels, since: this.cursor, wait: WAIT_S };
    const body = post ? JSON.stringify({ channel: this.channels, since: this.cursor, wait: WAIT_S }) : undefined;
    return new Promise((resolve) => {
      const request = http.request({
        host: bridge.host ?? '127.0.0.1', port: bridge.port, method: post ? 'POST' : 'GET', path: post ? '/poll' : `/poll?${query(asked)}`, agent: false,
        headers: { Authorization: `Bearer ${this.token}`, ...(post ? { 'Content-Length': Buffer.byteLength(body) } : {}) },
        signal: AbortSignal.any([signal, this.ending, AbortSignal.timeout(ANSWER_MS)]),
      });
      request.on('error', () => resolve(null));
      request.on('response', (response) => {
        let text = '';
        response.setEncoding('utf8');
        response.on('data', (data) => { text += data; });
        response.on('error', () => resolve(null));
        response.on('close', () => resolve(response.complete ? { status: response.statusCode, text } : null));
      });
      request.end(body);
    });
  }
}
