// A client with one cursor for all its channels that hops: a WebSocket for a while, then Server-Sent Events, then long polls, in any order and
// at any bridge. It breaks off anywhere, and gives every frame to the checker. Each hop goes on from what the last one covered.
//
// Of a WebSocket the cursor that covers all channels comes with pongs only. What it was sent since then, it knows by channel, as a client
// library does, and leaves out what comes again on the next hop; nothing else may ever come twice.

import { setTimeout as pause } from 'node:timers/promises';
import { Client } from '../../e2e/lib/client.mjs';
import { idOf } from '../../e2e/lib/cluster.mjs';
import { Stream, query } from '../../e2e/lib/stream.mjs';
import { SLOW, until } from '../../e2e/lib/wait.mjs';
import { SETTLE_MS } from './session.mjs';

const HANDSHAKE_MS = 1500 * SLOW;
const PING_EVERY_MS = 150;
const BACKOFF_MS = 60;
const LOOK_MS = 10;
const RETRY = new Set(['unavailable', 'rate_limited']);

export class Hopper {
  #stopped = false;
  #calm = false;
  #epoch;
  #cursor; // covers all channels
  #last = new Map(); // channel -> the last event of a WebSocket beyond that
  breaks = 0;
  hops = { websocket: 0, sse: 0, poll: 0 };
  events = { websocket: 0, sse: 0, poll: 0 };

  constructor({ name, bridges, token, channels, since, checker, random, stay = 1000, ways = ['websocket', 'sse', 'poll'] }) {
    Object.assign(this, { name, bridges, token, channels, random, stay, ways, checker });
    [this.#epoch] = since.split('-');
    this.#cursor = idOf(since);
    this.stream = checker.stream(name, channels);
  }

  async run() {
    while (!this.#stopped) {
      const way = this.random.pick(this.ways);
      const bridge = this.random.pick(this.bridges);
      const until = this.#calm ? Infinity : performance.now() + this.random.int(0, this.stay);
      const came = await this[`_${way}`](bridge, () => this.#stopped || (performance.now() > until && !this.#calm));
      this.stream.closed(1006);
      if (came) {
        this.hops[way]++;
        this.breaks++;
      } else {
        await pause(this.random.int(1, BACKOFF_MS)); // jitter, as a client should
      }
    }
  }

  calm() {
    this.#calm = true;
  }

  async reach(id, ms = SETTLE_MS) {
    await until(`${this.name} to reach ${id}`, () => this.#stopped || this.#cursor >= id, ms).catch((error) => { error.message += `, it is at ${this.#cursor}`; throw error; });
  }

  end() {
    this.#stopped = true;
  }

  get #since() {
    return `${this.#epoch}-${this.#cursor}`;
  }

  #covered(cursor) {
    const [epoch] = cursor.split('-');
    if (epoch !== this.#epoch) this.checker.defect('session', `${this.name}: another epoch: ${cursor}`);
    if (idOf(cursor) < this.#cursor) this.checker.defect('session', `${this.name}: a cursor of ${cursor} after ${this.#cursor}`);
    this.#cursor = Math.max(this.#cursor, idOf(cursor));
    for (const channel of this.channels) {
      this.stream.covered(channel, this.#cursor);
      if (this.#last.get(channel) <= this.#cursor) this.#last.delete(channel);
    }
  }

  #begin() {
    for (const channel of this.channels) this.stream.frame({ type: 'subscribed', channel, recovered: true });
  }

  /** One frame of a stream that is merged; false: come back. */
  #take(way, frame) {
    if (frame.type === 'status') return true;
    if (frame.type === 'error' && RETRY.has(frame.code)) return false;
    if (typeof frame.id !== 'number') {
      this.stream.frame(frame);
      return true;
    }
    const channels = frame.channels.filter((channel) => !(frame.id <= this.#last.get(channel)));
    if (channels.length > 0) this.stream.frame({ ...frame, channels });
    this.events[way]++;
    return true;
  }

  async _sse(bridge, over) {
    const stream = await Stream.open(bridge, { token: this.token, channels: this.channels, since: this.#since }).catch(() => null);
    if (stream?.status !== 200) return false;
    this.#begin();
    let taken = 0;
    let last = 0;
    for (let left = false; !left && !(stream.ended && taken === stream.frames.length);) {
      for (; taken < stream.frames.length && !left; taken++) {
        const { frame, own, id } = stream.frames[taken];
        if (frame.type === 'closing') continue;
        left = !this.#take('sse', frame);
        if (typeof frame.id === 'number') {
          if (!own || idOf(id) < frame.id) this.checker.defect('session', `${this.name}: the cursor of ${frame.id} is ${id}`);
          if (frame.id <= last) this.checker.defect('order', `${this.name}: ${frame.id} after ${last} on one stream`);
          last = frame.id;
        }
        if (own && !left) this.#covered(id);
      }
      if (taken === stream.frames.length && stream.lastId && !left) this.#covered(stream.lastId);
      if (!left && over()) left = true;
      if (!left) await pause(LOOK_MS);
    }
    stream.leave();
    return true;
  }

  async _poll(bridge, over) {
    let came = false;
    while (!over()) {
      const asked = { wait: this.random.int(0, 3) };
      const leaving = new AbortController();
      const gone = setInterval(() => { if (over()) leaving.abort(); }, LOOK_MS);
      const post = this.random.chance(0.5);
      const response = await fetch(post ? `${bridge.origin}/poll` : `${bridge.origin}/poll?${query({ channels: this.channels, since: this.#since, ...asked })}`, {
        signal: leaving.signal, headers: { Authorization: `Bearer ${this.token}` },
        ...(post ? { method: 'POST', body: JSON.stringify({ channel: this.channels, since: this.#since, ...asked }) } : {}),
      }).then(async (answer) => (answer.status === 200 ? answer.json() : null)).catch(() => null).finally(() => clearInterval(gone));
      if (!response) break;
      if (!came) this.#begin();
      came = true;
      for (const frame of response.frames) if (!this.#take('poll', frame)) return true;
      this.#covered(response.cursor);
    }
    return came;
  }

  async _websocket(bridge, over) {
    const client = await Client.open(bridge, { token: this.token, welcome: false, options: { handshakeTimeout: HANDSHAKE_MS } });
    if (client.refused || client.socket.readyState !== 1) return false;
    let left = false;
    client.socket.on('message', () => { left = left || !this.#socketFrame(client, client.frames.at(-1)); });
    client.covered = new Set();
    for (const channel of this.channels) client.send({ type: 'subscribe', ref: channel, channel, since: `${this.#epoch}-${Math.max(this.#cursor, this.#last.get(channel) ?? 0)}` });
    let pinged = 0;
    while (!left && !client.closed && !over()) {
      if (performance.now() - pinged > PING_EVERY_MS && client.covered.size === this.channels.length) {
        client.send({ type: 'ping' });
        pinged = performance.now();
      }
      await pause(LOOK_MS);
    }
    client.socket.removeAllListeners('message');
    client.socket.terminate();
    await until('the socket to close', () => client.closed);
    return client.covered.size > 0;
  }

  #socketFrame(client, frame) {
    if (frame.type === 'welcome' || frame.type === 'status') return true;
    if (frame.type === 'error' && RETRY.has(frame.code)) return false;
    if (frame.type === 'pong') {
      this.#covered(frame.cursor);
      return true;
    }
    if (frame.type === 'subscribed') client.covered.add(frame.channel);
    this.stream.frame(frame);
    if (typeof frame.id === 'number') {
      for (const channel of frame.channels) this.#last.set(channel, Math.max(frame.id, this.#last.get(channel) ?? 0));
      this.events.websocket++;
    }
    return true;
  }
}
