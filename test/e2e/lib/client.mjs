// A WebSocket client of protocol version 1 that remembers all it was sent.

import assert from 'node:assert/strict';
import { isDeepStrictEqual } from 'node:util';
import WebSocket from 'ws';
import { DEADLINE_MS, until, within } from './wait.mjs';
import { idOf } from './cluster.mjs';

function matcher(match) {
  if (typeof match === 'function') return match;
  if (typeof match === 'string') return (frame) => frame.type === match;
  return (frame) => Object.entries(match).every(([name, value]) => frame[name] === value || (typeof value === 'object' && isDeepStrictEqual(frame[name], value)));
}

export const isEvent = (frame) => typeof frame.id === 'number';

export class Client {
  #unread = [];
  #waiting = new Set();
  #ref = 0;
  frames = []; // all, parsed
  texts = []; // all, as they came
  closed = null; // { code, reason }
  refused = null; // HTTP status of a handshake that was no upgrade

  /**
   * Connects. `via` says how the token travels: query, header, protocol, message
   * (the first message), or none. Waits for `welcome` unless welcome: false.
   */
  static async open(bridge, { token, via = 'query', path = '/ws', query = {}, headers = {}, protocols = ['livefeed.v1'], welcome = true, options = {} } = {}) {
    const client = new Client();
    const url = new URL(path, bridge.origin.replace(/^http/, 'ws'));
    for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
    const sent = { ...headers };
    const offered = [...protocols];
    if (token !== undefined) {
      if (via === 'query') url.searchParams.set('token', token);
      if (via === 'header') sent.Authorization = `Bearer ${token}`;
      if (via === 'protocol') offered.push(`bearer.${token}`);
    }
    client.socket = new WebSocket(url, offered, { headers: sent, perMessageDeflate: false, ...options });
    client.#listen();
    await within('the handshake', new Promise((resolve) => {
      client.socket.once('open', resolve);
      client.socket.once('close', resolve);
    }));
    if (client.refused) return client;
    if (via === 'message' && token !== undefined) client.send({ type: 'auth', token });
    if (welcome && token !== undefined) client.welcome = await client.next('welcome');
    return client;
  }

  #listen() {
    this.socket.on('message', (data, binary) => {
      const text = binary ? `(binary) ${data.toString('hex')}` : data.toString('utf8');
      this.texts.push(text);
      const frame = JSON.parse(text);
      this.frames.push(frame);
      this.#unread.push(frame);
      for (const wake of this.#waiting) wake(frame);
    });
    this.socket.on('close', (code, reason) => {
      this.closed = { code, reason: reason.toString() };
      for (const wake of this.#waiting) wake();
    });
    this.socket.on('unexpected-response', (request, response) => {
      this.refused = response.statusCode;
      this.socket.terminate();
    });
    this.socket.on('error', (error) => { this.error = error; });
  }

  send(message) {
    this.socket.send(typeof message === 'string' || Buffer.isBuffer(message) ? message : JSON.stringify(message));
  }

  /** `look` is given the frame that has just come, if that is why it is called: what came before it was looked at. */
  async #wait(what, look, ms = DEADLINE_MS) {
    const found = look();
    if (found !== undefined) return found;
    let wake;
    return within(what, new Promise((resolve, reject) => {
      wake = (latest) => {
        const frame = look(latest);
        if (frame !== undefined) {
          this.#waiting.delete(wake);
          resolve(frame);
        } else if (this.closed) {
          this.#waiting.delete(wake);
          reject(new Error(`closed with ${this.closed.code} ${this.closed.reason} while waiting for ${what}; frames: ${this.tell()}`));
        }
      };
      this.#waiting.add(wake);
      wake();
    }), ms).catch((error) => {
      this.#waiting.delete(wake); // who has given up takes no frame from those that come after
      if (!this.closed) error.message += `; frames: ${this.tell()}`;
      throw error;
    });
  }

  tell() {
    return this.texts.slice(-10).map((text) => (text.length > 500 ? `${text.slice(0, 500)}... (${text.length})` : text)).join('\n');
  }

  /** The first unread frame that matches (a type, some fields, or a function); others stay unread. */
  next(match, ms) {
    const fits = matcher(match);
    const what = typeof match === 'function' ? match.toString() : JSON.stringify(match);
    return this.#wait(`a frame ${what}`, (latest) => {
      if (latest && !fits(latest)) return undefined;
      const at = latest ? this.#unread.lastIndexOf(latest) : this.#unread.findIndex(fits); // another may have taken it
      return at < 0 ? undefined : this.#unread.splice(at, 1)[0];
    }, ms);
  }

  /** The very next frame. */
  take(ms) {
    return this.#wait('a frame', () => this.#unread.shift(), ms);
  }

  /** Waits for the close and checks its code. */
  async close(code, ms) {
    await this.#wait(`the close${code ? ` with ${code}` : ''}`, () => (this.closed ? this.closed : undefined), ms);
    if (code !== undefined) assert.equal(this.closed.code, code, `closed with ${this.closed.code} ${this.closed.reason}`);
    return this.closed;
  }

  /** Leaves, politely. */
  async leave() {
    if (!this.closed) {
      this.socket.close(1000);
      await within('the close handshake', until('close', () => this.closed)).catch(() => this.socket.terminate());
    }
  }

  /** The answer to a message with a ref; what cannot be parsed at all is answered without one. */
  async ask(message) {
    const ref = ++this.#ref;
    this.send({ ...message, ref });
    return this.next((frame) => frame.ref === ref || (frame.code === 'bad_message' && frame.ref === undefined));
  }

  /** Subscribes and gives the `subscribed` frame; throws on an error frame. */
  async subscribe(channel, more = {}) {
    const answer = await this.ask({ type: 'subscribe', channel, ...more });
    assert.equal(answer.type, 'subscribed', JSON.stringify(answer));
    assert.equal(answer.channel, channel);
    return answer;
  }

  /** Subscribes where it must be refused; gives the error's code. */
  async refusedSubscribe(channel, more = {}) {
    const answer = await this.ask({ type: 'subscribe', channel, ...more });
    assert.equal(answer.type, 'error', `${channel} was not refused: ${JSON.stringify(answer)}`);
    return answer.code;
  }

  /** Waits until all that is committed by now has been sent here: a pong whose cursor covers it. */
  async caughtUp(database) {
    const head = idOf(await database.head());
    await until(`the session to reach ${head}`, async () => {
      const pong = await this.ask({ type: 'ping' });
      return idOf(pong.cursor) >= head;
    });
    return head;
  }

  events(channel) {
    return this.frames.filter((frame) => isEvent(frame) && (!channel || frame.channels.includes(channel)));
  }

  /** Forgets what came so far. */
  forget() {
    this.frames.length = 0;
    this.texts.length = 0;
    this.#unread.length = 0;
  }
}
