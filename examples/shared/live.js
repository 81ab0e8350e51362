// One live connection for a page: subscriptions with their rows or values, commands, resume by
// cursor after a break, and polling of the same state where WebSocket does not get through.
//
//   const live = new Live({ token, status: ({ live, text }) => ... });
//   live.rows('cards:unit:7', (rows, event) => draw([...rows.values()]));   // a feed: its rows, then each change
//   live.value('board_counts:unit:7', (data) => ...);                       // a query: its value, then each new one
//   const answer = await live.call('move_card', { card: 3, column: 2 });    // a command; throws Error with .code

const RETRY_MS = { least: 300, most: 10_000 };
const ANSWER_MS = 10_000; // a peer that says nothing that long after a ping is gone; so is an unanswered command
const POLL_MS = 2_000;
const FAILURES_BEFORE_POLLING = 2;
const ENDED = { 4401: 'signed out', 4403: 'signed out' };

/** The key that a row's events carry: its value, or those of a composite key, each encoded. */
const keyOf = (row, columns) => (columns.length === 1 ? String(row[columns[0]]) : columns.map((name) => encodeURIComponent(String(row[name]))).join(','));

export class Live {
  #channels = new Map(); // channel: { rows | null, tell, event, cursor }
  #calls = new Map(); // ref: { resolve, reject, timer }
  #ref = 0;
  #retry = RETRY_MS.least;
  #failures = 0;
  #socket = null;
  #ready = false; // welcomed
  #stopped = false;
  #heartbeat = 0; // ms of silence before we ask
  #timer = null;
  #polling = null;

  /** `base`: where the bridge's endpoints begin, relative to the page. */
  constructor({ token, base = '../', status = () => {} }) {
    this.token = token;
    this.base = base;
    this.status = status;
    this.#connect();
  }

  /** The rows of a feed's channel as a Map by key; `changed(rows, event)` after each change, the event absent when all are new. */
  rows(channel, changed, other = () => {}) {
    return this.#add(channel, { rows: new Map(), tell: changed, other });
  }

  /** The value of a query's channel, at once and each time it differs. */
  value(channel, changed) {
    return this.#add(channel, { rows: null, tell: changed });
  }

  /** Ends a subscription. */
  leave(channel) {
    if (this.#channels.delete(channel)) this.#send({ type: 'unsubscribe', ref: ++this.#ref, channel });
  }

  /** Runs a command; over HTTP while there is no WebSocket. A repeat after a lost answer does nothing twice. */
  async call(name, args = {}) {
    const key = Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
    if (!this.#ready) return this.#post(name, args, key);
    const ref = ++this.#ref;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.#settle(ref, { type: 'error', code: 'unavailable', message: 'no answer' }), ANSWER_MS);
      this.#calls.set(ref, { resolve, reject, timer });
      this.#send({ type: 'call', ref, name, args, idempotency_key: key });
    }).catch((error) => {
      if (error.code !== 'unavailable') throw error;
      return this.#post(name, args, key);
    });
  }

  close() {
    this.#stopped = true;
    this.#poll(false);
    this.#socket?.close(1000);
  }

  #add(channel, subscription) {
    this.#channels.set(channel, { cursor: null, ...subscription });
    if (this.#ready) this.#subscribe(channel);
  }

  #connect() {
    const url = new URL(`${this.base}ws`, location.href);
    url.protocol = url.protocol.replace('http', 'ws');
    const socket = new WebSocket(url, 'livefeed.v1');
    this.#socket = socket;
    socket.onopen = () => socket.send(JSON.stringify({ type: 'auth', token: this.token }));
    socket.onmessage = (message) => { this.#heard(); this.#receive(JSON.parse(message.data)); };
    socket.onclose = (event) => this.#closed(event);
  }

  #send(message) {
    if (this.#ready) this.#socket.send(JSON.stringify(message));
  }

  #closed({ code, reason }) {
    const welcomed = this.#ready;
    this.#ready = false;
    clearTimeout(this.#timer);
    for (const ref of [...this.#calls.keys()]) this.#settle(ref, { type: 'error', code: 'unavailable', message: 'the connection broke' });
    if (this.#stopped || ENDED[code]) {
      this.#poll(false);
      return this.status({ live: false, text: reason && code === 4403 ? reason : ENDED[code] ?? 'closed' });
    }
    this.#failures = welcomed ? 0 : this.#failures + 1;
    if (this.#failures >= FAILURES_BEFORE_POLLING) this.#poll(true);
    this.status({ live: false, text: this.#polling ? 'polling' : 'reconnecting' });
    setTimeout(() => this.#connect(), this.#retry * (0.5 + Math.random() / 2));
    this.#retry = Math.min(this.#retry * 2, RETRY_MS.most);
    return undefined;
  }

  // Silence for a heartbeat: ask; silence still: the connection is dead, whatever TCP believes.
  #heard() {
    clearTimeout(this.#timer);
    if (!this.#heartbeat) return;
    this.#timer = setTimeout(() => {
      this.#send({ type: 'ping', ref: ++this.#ref });
      this.#timer = setTimeout(() => this.#socket.close(4000, 'silence'), ANSWER_MS);
    }, this.#heartbeat);
  }

  #subscribe(channel, afresh = false) {
    const kept = this.#channels.get(channel);
    const since = !afresh && kept.rows && kept.cursor ? { since: kept.cursor } : {};
    this.#send({ type: 'subscribe', ref: ++this.#ref, channel, ...(kept.rows ? { snapshot: true } : {}), ...since });
  }

  #receive(frame) {
    if (typeof frame.id === 'number') return this.#event(frame);
    switch (frame.type) {
      case 'welcome':
        this.#ready = true;
        this.#retry = RETRY_MS.least;
        this.#failures = 0;
        this.#poll(false);
        this.epoch = frame.epoch;
        this.#heartbeat = frame.heartbeat * 1000;
        for (const channel of this.#channels.keys()) this.#subscribe(channel);
        return this.status({ live: true, text: 'live' });
      case 'snapshot':
      case 'value':
        return this.#state(frame);
      case 'resync': // something was missed: fetch afresh
        return this.#channels.has(frame.channel) && this.#subscribe(frame.channel, true);
      case 'pong': // all up to here has been sent, on every channel
        for (const kept of this.#channels.values()) if (kept.cursor) kept.cursor = frame.cursor;
        return undefined;
      case 'unsubscribed':
        return this.#lost(frame.channel, frame.reason);
      case 'result':
        return this.#settle(frame.ref, frame);
      case 'error':
        if (this.#calls.has(frame.ref)) return this.#settle(frame.ref, frame);
        if (frame.code === 'forbidden' || frame.code === 'unknown_channel') return this.#lost(frame.channel, frame.code);
        return console.warn(`livefeed: ${frame.code}: ${frame.message}`);
      case 'status':
        return this.status({ live: frame.live, text: frame.live ? 'live' : 'database away' });
      default:
        return undefined;
    }
  }

  #state(frame) {
    const kept = this.#channels.get(frame.channel);
    if (!kept) return;
    kept.cursor = frame.cursor;
    if (frame.type === 'value') {
      kept.tell(frame.data);
    } else {
      kept.rows.clear();
      frame.data.forEach((row, at) => kept.rows.set(frame.keys?.[at] ?? keyOf(row, frame.key_columns), row));
      kept.tell(kept.rows);
    }
  }

  #event(event) {
    for (const channel of event.channels) {
      const kept = this.#channels.get(channel);
      if (!kept) continue;
      kept.cursor = `${this.epoch}-${event.id}`;
      if (event.feed !== channel.split(':')[0]) { // of a child: comments of a card, on the card's own channel
        kept.other(event);
      } else {
        if (event.type.endsWith('.deleted')) kept.rows.delete(event.key);
        else kept.rows.set(event.key, event.data);
        kept.tell(kept.rows, event);
      }
    }
  }

  // Not ours (any more): nothing of it is shown on.
  #lost(channel, reason) {
    const kept = this.#channels.get(channel);
    if (!kept || reason === undefined) return; // undefined: we asked for it
    this.#channels.delete(channel);
    if (kept.rows) {
      kept.rows.clear();
      kept.tell(kept.rows);
    }
  }

  #settle(ref, frame) {
    const call = this.#calls.get(ref);
    if (!call) return;
    this.#calls.delete(ref);
    clearTimeout(call.timer);
    if (frame.type === 'result') call.resolve(frame.data);
    else call.reject(Object.assign(new Error(frame.message), { code: frame.code }));
  }

  async #fetch(path, options = {}) {
    const response = await fetch(new URL(`${this.base}${path}`, location.href), { ...options, headers: { Authorization: `Bearer ${this.token}`, ...options.headers } });
    const body = await response.json();
    if (!response.ok) throw Object.assign(new Error(body.error?.message ?? response.statusText), { code: body.error?.code ?? 'unavailable' });
    return body;
  }

  async #post(name, args, key) {
    const headers = { 'Content-Type': 'application/json', 'Idempotency-Key': key };
    return (await this.#fetch(`call/${name}`, { method: 'POST', headers, body: JSON.stringify(args) })).data;
  }

  // The present state of each channel, over plain HTTP, until a WebSocket gets through again: that
  // one goes on from the last cursor seen here, so nothing is lost in between.
  #poll(on) {
    clearTimeout(this.#polling);
    this.#polling = on ? setTimeout(() => this.#pollOnce(), 0) : null;
  }

  async #pollOnce() {
    const mine = this.#polling;
    for (const channel of [...this.#channels.keys()]) {
      try {
        const frame = await this.#fetch(`state?channel=${encodeURIComponent(channel)}`);
        if (this.#polling !== mine) return;
        this.#state(frame);
      } catch (error) {
        if (error.code === 'forbidden') this.#lost(channel, error.code);
      }
    }
    if (this.#polling === mine) this.#polling = setTimeout(() => this.#pollOnce(), POLL_MS);
  }
}
