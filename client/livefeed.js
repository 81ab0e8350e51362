// Live rows, values and commands of a livefeed bridge, in a page or in Node: one connection for all
// subscriptions, which comes back by itself and goes on where it was. The protocol: docs/protocol.md.

import { Calls, LivefeedError } from './calls.js';
import { Collection, tell } from './collection.js';
import { inTime, openHttp, openSocket } from './links.js';

export { LivefeedError } from './calls.js';
export { Collection, keyOf } from './collection.js';

const BACKOFF_MS = { first: 1_000, most: 30_000 }; // a random part of it is waited (full jitter)
const ANSWER_MS = 10_000; // silence after a ping
const GIVE_MS = 30_000; // for the application's function to give a token, the bridge a channel's rows
const REFETCH_MS = 1_000; // between two snapshots of one channel
const TIMER_MOST_MS = 2 ** 31 - 1;
const FINAL = ['forbidden', 'unknown_channel', 'bad_message']; // errors after which a subscription is over

/**
 * @template [Row=any]
 * @typedef {import('./types.js').Event<Row>} Event
 */
/**
 * @template [Row=any]
 * @typedef {import('./types.js').Snapshot<Row>} Snapshot
 */
/**
 * @template [Row=any]
 * @template [Value=any]
 * @typedef {import('./types.js').Handlers<Row, Value>} Handlers
 */
/**
 * @typedef {import('./types.js').Status} Status
 * @typedef {import('./types.js').Token} Token
 * @typedef {import('./types.js').Resync} Resync
 * @typedef {import('./types.js').Trouble} Trouble
 * @typedef {import('./types.js').Subscription} Subscription
 * @typedef {import('./types.js').Options} Options
 * @typedef {import('./types.js').CallOptions} CallOptions
 * @typedef {import('./types.js').Closed} Closed
 * @typedef {import('./types.js').Subscriber} Subscriber
 * @typedef {import('./types.js').Channel} Channel
 */

const now = () => performance.now(); // whatever happens to the clock
const idOf = (/** @type {string} */ cursor) => Number(cursor.slice(cursor.lastIndexOf('-') + 1));
const epochOf = (/** @type {string} */ cursor) => cursor.slice(0, cursor.lastIndexOf('-'));
const wants = (/** @type {Channel} */ channel) => [...channel.subscribers].some((each) => each.snapshot);
const backoff = (/** @type {number} */ failures, first = BACKOFF_MS.first) => Math.random() * Math.min(BACKOFF_MS.most, first * 2 ** failures);

/** Those who are there, and still are when it is their turn. @param {Channel} channel @param {(each: Subscriber) => void} how */
function forAll({ subscribers }, how) {
  for (const each of [...subscribers]) if (subscribers.has(each)) how(each);
}

/** @param {Channel} channel @param {Event} event */
function deliver(channel, event) {
  forAll(channel, (each) => {
    // Children of a row are not in its snapshot, and may come after it.
    if (event.id <= each.at || (event.id <= each.rows && event.feed === channel.name.split(':')[0])) return;
    each.at = event.id;
    tell(each.onEvent, event);
  });
}

/** @param {Channel} channel */
function release(channel) {
  const held = channel.held ?? [];
  channel.held = null;
  for (const event of held) deliver(channel, event);
}

/** @param {Channel} channel */
function start(channel) {
  channel.on = true;
  if (channel.started) return;
  channel.started = true;
  forAll(channel, (each) => tell(each.onStart));
}

/** @param {Channel} channel @param {string} reason */
function missed(channel, reason) {
  forAll(channel, (each) => tell(each.onResync, { channel: channel.name, reason }));
  channel.fresh = wants(channel);
}

export class Livefeed {
  /** @type {Status} */
  status = 'offline';
  /** @type {Closed | null} why it will not come back: signed out (4401, 4403), or close() */
  closed = null;
  #base;
  #token;
  #Socket;
  #fetch;
  /** @type {Map<string, Channel>} */
  #channels = new Map();
  #calls = new Calls((ref, call) => this.#command(ref, call));
  /** @type {Set<(status: Status) => void>} */
  #listeners = new Set();
  /** @type {import('./links.js').Link | null} what carries frames now */
  #link = null;
  /** @type {import('./links.js').Link | null} a WebSocket that has not been welcomed yet */
  #dialing = null;
  #up = false; // the link has carried something
  #live = true; // the bridge has its database
  #streams = true;
  #epoch = '';
  #latest = ''; // the latest cursor seen
  #ref = 0;
  #failures = 0;
  #refusals = 0;
  #heartbeat = 25_000;
  #heard = 0; // when
  #bearer = '';
  #asking = false; // for a token
  #woken = false; // and no answer since
  #dirty = false;
  /** @type {any} */
  #retry;
  /** @type {any} */
  #silence;
  /** @type {any} */
  #renewal;
  /** @type {(() => void)[]} */
  #leave = [];

  /**
   * @param {string | URL} url where the bridge's endpoints begin; in a page it may be relative
   * @param {Options} options
   */
  constructor(url, { token, WebSocket = globalThis.WebSocket, fetch = globalThis.fetch }) {
    this.#base = new URL(url, globalThis.location?.href);
    this.#base.protocol = this.#base.protocol.replace('ws', 'http');
    this.#base.pathname = this.#base.pathname.replace(/\/*$/, '/');
    this.#token = token;
    this.#Socket = WebSocket;
    this.#fetch = fetch;
    const wake = () => this.#wake();
    const visible = () => { if (document.visibilityState === 'visible') wake(); };
    this.#listen(globalThis, { online: wake, pageshow: wake, offline: () => this.#link?.fail(0) });
    this.#listen(globalThis.document, { visibilitychange: visible, resume: wake });
    queueMicrotask(() => this.#connect());
  }

  /** What carries frames: websocket, sse, poll; null: nothing. */
  get transport() {
    return (this.#up && this.#link?.kind) || null;
  }

  /**
   * @param {(status: Status) => void} listener called with each new status
   * @returns {() => void} ends it
   */
  onStatus(listener) {
    this.#listeners.add(listener);
    return () => { this.#listeners.delete(listener); };
  }

  /**
   * @param {string} name a channel
   * @param {Handlers} [handlers]
   * @returns {Subscription}
   */
  subscribe(name, handlers = {}) {
    let channel = this.#channels.get(name);
    const known = channel?.value;
    if (!channel) {
      channel = { name, subscribers: new Set(), cursor: null, fresh: false, on: false, started: false, ref: 0, awaiting: false, held: null, value: null, timer: null, failures: 0, next: 0 };
      this.#channels.set(name, channel);
    }
    const subscriber = { ...handlers, at: -1, rows: -1 };
    const mine = channel;
    mine.subscribers.add(subscriber);
    if (mine.started) {
      queueMicrotask(() => {
        if (!mine.subscribers.has(subscriber)) return;
        tell(subscriber.onStart);
        if (known) tell(subscriber.onValue, known.data);
      });
    }
    if (handlers.snapshot && !known) mine.fresh = true;
    this.#later();
    return {
      channel: name,
      unsubscribe: () => {
        if (!mine.subscribers.delete(subscriber) || mine.subscribers.size || this.#channels.get(name) !== mine) return;
        this.#forget(mine);
        if (mine.on || mine.ref) this.#link?.send({ type: 'unsubscribe', ref: ++this.#ref, channel: name });
        this.#link?.change();
      },
      refetch: () => this.#refetch(mine),
    };
  }

  /**
   * Rows by key, kept up to date.
   * @template [Row=any]
   * @param {string} channel
   * @param {Handlers} [handlers] told too
   * @returns {Collection<Row>}
   */
  collection(channel, handlers) {
    return new Collection(this, channel, handlers);
  }

  /**
   * Runs a command; gives what it returned. Waits for a connection, and asks again after a break: the
   * idempotency key sees to it that nothing is done twice.
   * @param {string} name
   * @param {object} [args]
   * @param {CallOptions} [options]
   * @returns {Promise<any>}
   */
  call(name, args = {}, options = {}) {
    if (this.closed) return Promise.reject(new LivefeedError('closed', this.closed.reason));
    return this.#calls.add(++this.#ref, name, args, options);
  }

  /** Ends it all; there is no way back. */
  close() {
    this.#stop(1000, 'closed');
  }

  /** @param {any} target @param {Record<string, () => void>} handlers */
  #listen(target, handlers) {
    for (const [name, handler] of Object.entries(handlers)) {
      target?.addEventListener?.(name, handler);
      this.#leave.push(() => target?.removeEventListener?.(name, handler));
    }
  }

  // ---------- connecting ----------

  async #connect() {
    clearTimeout(this.#retry);
    if (this.closed || this.#dialing || this.#asking) return;
    this.#asking = true;
    const token = await this.#ask().catch(() => undefined);
    this.#asking = false;
    if (this.closed) return;
    if (token === undefined) {
      this.#again();
      return;
    }
    if (!token) {
      this.#stop(4401, 'no token');
      return;
    }
    this.#bearer = token;
    if (this.#Socket) {
      const url = new URL('ws', this.#base);
      url.protocol = url.protocol.replace('http', 'ws');
      try {
        /** @type {import('./links.js').Link} */
        const link = openSocket(this.#Socket, url, token, { frame: (frame) => this.#receive(link, frame), closed: (code, reason) => this.#lost(link, code, reason) });
        this.#dialing = link;
        return;
      } catch { /* not allowed here */ }
    }
    this.#fall();
  }

  /** Rejects where there is none for the moment. @returns {Promise<string | null>} */
  async #ask() {
    const given = this.#token;
    if (typeof given !== 'function') return given;
    const ask = async () => given();
    return await inTime(ask(), GIVE_MS) ?? null;
  }

  /** For what is open already. */
  async #fresher() {
    const token = await this.#ask().catch(() => null); // else it ends with 4401, and is asked for again
    if (token) this.#bearer = token;
    return token;
  }

  // No WebSocket gets through, so over HTTP; and now and then another try.
  #fall() {
    if (this.#link) {
      if (this.#Socket) this.#again();
      return;
    }
    /** @type {import('./links.js').Link} */
    const link = openHttp({
      request: (path, init) => this.#request(path, init),
      want: () => this.#want(),
      frame: (frame) => this.#receive(link, frame),
      covered: (cursor) => this.#covered(cursor),
      refused: (names, error) => this.#refused(names, error),
      heartbeat: () => this.#heartbeat,
      up: () => { if (link === this.#link && !this.#up) this.#begin(); },
      closed: (code, reason) => this.#lost(link, code, reason),
    }, this.#streams);
    this.#link = link;
  }

  #again() {
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => this.#connect(), backoff(this.#failures++));
    this.#update();
  }

  /** @param {import('./links.js').Link} link @param {number} code */
  #lost(link, code, reason = '') {
    const dialed = link === this.#dialing;
    if (dialed) {
      this.#dialing = null;
    } else if (link === this.#link) {
      this.#streams = link.kind !== 'poll';
      this.#link = null;
      this.#up = false;
      clearTimeout(this.#silence);
      clearTimeout(this.#renewal);
    } else {
      return;
    }
    if (code === 4403 || (code === 4401 && typeof this.#token !== 'function')) this.#stop(code, reason);
    else if ((code === 4401 || code === 401) && this.#refusals++ < 1) this.#connect();
    else if (dialed && code !== 4401) this.#fall();
    else if (code === 401 && typeof this.#token !== 'function') this.#stop(4401, 'the token was refused');
    else if (this.#woken) this.#connect(); // it was lost while the page slept
    else this.#again();
    this.#woken = false;
    this.#update();
  }

  // The link carries.
  #begin() {
    this.#up = true;
    this.#failures = 0;
    this.#refusals = 0;
    this.#live = true;
    if (this.#link?.kind !== 'websocket' && this.#Socket) this.#again();
    this.#calls.again();
    this.#later();
    this.#update();
  }

  /** @param {number} code @param {string} reason */
  #stop(code, reason) {
    if (this.closed) return;
    this.closed = { code, reason };
    for (const timer of [this.#retry, this.#silence, this.#renewal]) clearTimeout(timer);
    for (const leave of this.#leave) leave();
    this.#dialing?.close();
    this.#link?.close();
    this.#dialing = this.#link = null;
    this.#calls.end(reason);
    for (const channel of this.#channels.values()) {
      channel.subscribers.clear();
      this.#forget(channel);
    }
    this.#update();
  }

  // The network or the page is back: nothing is waited for, and what looks alive has to prove it.
  #wake() {
    if (this.#link?.kind === 'websocket') {
      this.#woken = true;
      this.#ping();
    } else if (!this.#link || this.#up) {
      this.#link?.change();
      this.#connect();
    }
  }

  #update() {
    let status = /** @type {Status} */ ('offline');
    if (this.#link && this.#up) status = !this.#live ? 'stale' : this.#link.kind === 'websocket' ? 'live' : 'polling';
    if (status === this.status) return;
    this.status = status;
    for (const listener of this.#listeners) if (status === this.status) tell(listener, status);
  }

  // ---------- silence, and the token's end ----------

  #ping() {
    clearTimeout(this.#silence);
    const link = this.#link;
    const asked = now();
    this.#link?.send({ type: 'ping', ref: ++this.#ref });
    this.#silence = setTimeout(() => { if (this.#heard < asked) link?.fail(0); else this.#watch(); }, ANSWER_MS);
  }

  #watch() {
    clearTimeout(this.#silence);
    const left = this.#heard + this.#heartbeat - now();
    this.#silence = setTimeout(() => { if (now() - this.#heard < this.#heartbeat) this.#watch(); else this.#ping(); }, Math.max(left, 0));
  }

  /** @param {string} at */
  #renew(at) {
    clearTimeout(this.#renewal);
    const left = Date.parse(at) - Date.now();
    if (typeof this.#token !== 'function' || !(left > 1000)) return;
    const link = this.#link;
    this.#renewal = setTimeout(async () => {
      const token = await this.#fresher();
      if (token && link === this.#link) link?.send({ type: 'auth', token });
    }, Math.min(left - Math.min(left / 2, BACKOFF_MS.most), TIMER_MOST_MS));
  }

  // ---------- subscriptions ----------

  // Once for all that is subscribed in one go.
  #later() {
    if (this.#dirty) return;
    this.#dirty = true;
    queueMicrotask(() => {
      this.#dirty = false;
      if (this.#link?.kind === 'websocket') {
        for (const channel of this.#channels.values()) this.#sync(channel);
      } else if ([...this.#channels.values()].some((channel) => !channel.on)) {
        this.#link?.change();
      } else if (this.#up) {
        for (const channel of this.#channels.values()) if (channel.fresh && !channel.awaiting && wants(channel)) this.#state(channel);
      }
    });
  }

  // Over a WebSocket.
  /** @param {Channel} channel */
  #sync(channel) {
    if (channel.ref || channel.awaiting || channel.timer) return;
    const fresh = channel.fresh && wants(channel);
    // Who wants events alone must not miss those that a new snapshot covers.
    const apart = fresh && channel.cursor !== null && [...channel.subscribers].some((each) => !each.snapshot);
    if (!channel.on || (fresh && !apart)) {
      channel.ref = ++this.#ref;
      channel.awaiting = fresh && !apart;
      const { ref, awaiting, cursor } = channel;
      this.#link?.send({ type: 'subscribe', ref, channel: channel.name, since: (!awaiting && cursor) || undefined, snapshot: awaiting || undefined });
    }
    if (apart) this.#state(channel);
  }

  /** @param {Channel} channel */
  #refetch(channel, wait = Math.max(0, channel.next - now())) {
    channel.fresh = true;
    if (channel.timer || this.closed) return;
    channel.timer = setTimeout(() => {
      channel.timer = null;
      channel.awaiting = false;
      channel.next = now() + REFETCH_MS;
      this.#later();
    }, wait);
  }

  /** @param {Channel} channel */
  #forget(channel) {
    clearTimeout(channel.timer);
    if (this.#channels.get(channel.name) === channel) this.#channels.delete(channel.name);
  }

  // The channel's state by a request of its own; events that come meanwhile wait for it.
  /** @param {Channel} channel */
  async #state(channel) {
    if (channel.held || channel.timer) return;
    /** @type {Event[]} */
    const held = [];
    channel.held = held;
    const { cursor: before, next } = channel;
    /** @type {any} */
    const frame = await inTime(this.#request(`state?channel=${encodeURIComponent(channel.name)}`).then((response) => response.json()), GIVE_MS).catch((error) => ({ error }));
    // Is over, or has got newer rows from the link.
    if (this.#channels.get(channel.name) !== channel || channel.held !== held) return;
    if (frame.error) {
      this.#trouble(channel, frame.error);
    } else {
      this.#epochIs(frame.cursor);
      const back = before !== null && epochOf(before) === this.#epoch && idOf(frame.cursor) < idOf(before);
      const cursor = channel.cursor === null || back || epochOf(channel.cursor) !== this.#epoch ? frame.cursor : channel.cursor;
      this.#rows(channel, frame);
      channel.cursor = cursor;
      if (next !== channel.next) this.#refetch(channel); // asked for again meanwhile
      if (back && channel.on) { // a bridge that is behind: on from there
        channel.on = false;
        this.#later();
      }
    }
    release(channel);
  }

  /** A snapshot or a value. @param {Channel} channel @param {any} frame */
  #rows(channel, frame) {
    // Over HTTP the cursor is what covers all channels, and children of before the snapshot may still come.
    if (this.#link?.kind === 'websocket' || channel.cursor === null) channel.cursor = frame.cursor;
    channel.fresh = Boolean(channel.timer); // asked for since
    channel.awaiting = false;
    channel.failures = 0;
    if (frame.type === 'value') channel.value = frame;
    forAll(channel, (each) => {
      if (frame.type === 'value') {
        tell(each.onValue, frame.data);
      } else if (each.snapshot) {
        each.rows = idOf(frame.cursor);
        each.at = Math.min(each.at, each.rows);
        tell(each.onSnapshot, frame);
      }
    });
  }

  /** @param {Channel} channel @param {{ code?: string, message: string }} error */
  #trouble(channel, { code = 'unavailable', message }) {
    const ended = FINAL.includes(code);
    if (ended) this.#forget(channel);
    else this.#refetch(channel, backoff(++channel.failures));
    channel.fresh = wants(channel);
    forAll(channel, (each) => tell(each.onError, { code, message, channel: channel.name, ended }));
  }

  // Everything up to there has been sent, on every channel.
  /** @param {string} cursor */
  #covered(cursor) {
    this.#epochIs(cursor);
    for (const channel of this.#channels.values()) {
      if (!channel.on) continue;
      start(channel);
      if (channel.cursor === null || epochOf(channel.cursor) !== this.#epoch || idOf(channel.cursor) < idOf(cursor)) channel.cursor = cursor;
    }
  }

  /** @param {string} cursor */
  #epochIs(cursor) {
    const epoch = epochOf(cursor);
    if (epoch !== this.#epoch) {
      for (const channel of this.#channels.values()) for (const each of channel.subscribers) each.at = each.rows = -1;
      this.#latest = '';
    }
    this.#epoch = epoch;
    if (!this.#latest || idOf(cursor) > idOf(this.#latest)) this.#latest = cursor;
  }

  // ---------- frames ----------

  /** @param {import('./links.js').Link} link @param {any} frame */
  #receive(link, frame) {
    this.#heard = now();
    if (link === this.#dialing && frame.type === 'welcome') {
      this.#dialing = null;
      clearTimeout(this.#retry);
      this.#link?.close();
      this.#link = link;
      this.#streams = true;
      this.#epochIs(frame.cursor);
      for (const channel of this.#channels.values()) {
        clearTimeout(channel.timer);
        release(channel);
        Object.assign(channel, { on: false, ref: 0, awaiting: false, timer: null });
      }
      this.#begin();
    }
    if (link !== this.#link) return;
    if (typeof frame.id === 'number') {
      this.#event(frame);
      return;
    }
    if (typeof frame.cursor === 'string') this.#epochIs(frame.cursor);
    const channel = this.#channels.get(frame.channel);
    switch (frame.type) {
      case 'welcome':
        this.#heartbeat = frame.heartbeat * 1000;
        this.#ping(); // the pong says whether it has its database
        this.#renew(frame.expires_at);
        break;
      case 'subscribed':
        if (!channel || channel.ref !== frame.ref) break;
        channel.ref = 0;
        start(channel);
        if (frame.recovered === false) missed(channel, frame.reason);
        if (frame.recovered === false || channel.cursor === null || channel.awaiting) channel.cursor = frame.cursor;
        this.#later();
        break;
      case 'snapshot':
      case 'value':
        if (!channel || channel.ref) break;
        release(channel);
        this.#rows(channel, frame);
        break;
      case 'resync':
        if (!channel || channel.ref) break;
        channel.cursor = frame.cursor;
        missed(channel, frame.reason);
        if (channel.fresh) this.#refetch(channel);
        break;
      case 'unsubscribed':
        if (channel && frame.reason && !channel.ref) this.#trouble(channel, { code: 'forbidden', message: frame.reason });
        break;
      case 'pong':
        this.#woken = false;
        this.#covered(frame.cursor);
        this.#live = frame.live;
        break;
      case 'status':
        this.#live = frame.live;
        break;
      case 'closing':
        link.close();
        this.#lost(link, frame.code, frame.reason);
        break;
      case 'result':
      case 'error':
        if (!this.#calls.answer(frame)) this.#complaint(frame);
        break;
      default:
    }
    this.#update();
  }

  /** @param {Event} event */
  #event(event) {
    for (const name of event.channels) {
      const channel = this.#channels.get(name);
      if (!channel) continue;
      channel.cursor = `${this.#epoch}-${event.id}`;
      if (channel.held) channel.held.push(event);
      else deliver(channel, event);
    }
  }

  /** @param {any} frame */
  #complaint(frame) {
    for (const channel of [...this.#channels.values()]) {
      const subscribe = frame.ref !== undefined && channel.ref === frame.ref;
      if (!subscribe && (frame.ref !== undefined || channel.name !== frame.channel)) continue;
      if (subscribe) channel.ref = 0;
      channel.awaiting = false;
      this.#trouble(channel, frame);
    }
  }

  // ---------- over HTTP ----------

  /** @param {string} path @param {RequestInit} [init] @returns {Promise<Response>} */
  async #request(path, init = {}) {
    const response = await this.#fetch.call(globalThis, new URL(path, this.#base), { cache: 'no-store', ...init, headers: { Authorization: `Bearer ${this.#bearer}`, ...init.headers } });
    if (response.ok) return response;
    const { error } = await response.json().catch(() => ({}));
    throw new LivefeedError(error?.code, error?.message ?? response.statusText, { status: response.status, channel: error?.channel });
  }

  // What the next request asks for. One cursor serves all its channels, so who is new gets the rows first.
  async #want() {
    const all = () => [...this.#channels.values()];
    if (!all().length) return null;
    const begun = all().some((channel) => channel.cursor !== null);
    if (begun) await Promise.all(all().filter((channel) => channel.fresh && wants(channel) && !channel.value).map((channel) => this.#state(channel)));
    if (this.#link?.kind === 'websocket') return null; // it has them now
    for (const channel of all()) {
      if (begun) channel.cursor ??= this.#latest;
      channel.on = true;
      channel.ref = 0; // of a WebSocket that broke before it answered
      channel.awaiting = !begun && wants(channel);
    }
    const cursors = all().map((channel) => channel.cursor).filter((cursor) => cursor !== null);
    // One of another epoch has all told that they missed something.
    const since = cursors.find((cursor) => epochOf(cursor) !== this.#epoch) ?? cursors.sort((one, other) => idOf(one) - idOf(other))[0];
    const channel = all().map(({ name }) => name);
    if (!channel.length) return null;
    return { channel, since, snapshot: (!since && all().some(wants)) || undefined };
  }

  /** Whether the bridge refused these channels themselves. @param {string[]} names @param {any} error */
  #refused(names, error) {
    if (!FINAL.includes(error.code) || !error.status) return false;
    for (const name of error.channel ? [error.channel] : names) {
      const channel = this.#channels.get(name);
      if (channel) this.#trouble(channel, error);
    }
    return true;
  }

  /** @param {number} ref @param {import('./calls.js').Call} call */
  async #command(ref, { name, args, key }) {
    if (!this.#up) return;
    if (this.#link?.kind === 'websocket') {
      this.#link.send({ type: 'call', ref, name, args, idempotency_key: key });
      return;
    }
    try {
      const headers = { 'Content-Type': 'application/json', 'Idempotency-Key': key };
      const response = await this.#request(`call/${encodeURIComponent(name)}`, { method: 'POST', headers, body: JSON.stringify(args) });
      this.#calls.answer({ type: 'result', ref, ...await response.json() });
    } catch (problem) {
      const error = /** @type {any} */ (problem);
      if (error.status && error.code && error.status !== 401) this.#calls.answer({ ref, code: error.code, message: error.message });
      else {
        if (error.status === 401) await this.#fresher();
        setTimeout(() => this.#calls.again(ref), BACKOFF_MS.first);
      }
    }
  }
}
