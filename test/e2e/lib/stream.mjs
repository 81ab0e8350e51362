// GET /events by hand, as a page reads it with `fetch`, and /poll: what was sent to the byte, and as EventSource understands it.

import http from 'node:http';
import https from 'node:https';
import { isDeepStrictEqual } from 'node:util';
import { DEADLINE_MS, until } from './wait.mjs';

const fits = (match) => {
  if (typeof match === 'function') return match;
  if (typeof match === 'string') return (frame) => frame.type === match;
  return (frame) => Object.entries(match).every(([name, value]) => isDeepStrictEqual(frame[name], value));
};

/** The query of /events and /poll: a channel for each. */
export function query({ channels = [], ...more }) {
  const params = new URLSearchParams(channels.map((channel) => ['channel', channel]));
  for (const [name, value] of Object.entries(more)) if (value !== undefined) params.set(name, value);
  return params;
}

export class Stream {
  text = '';
  frames = []; // as they came, with the last id at each: { frame, id, at }
  ids = []; // every id: line
  lastId; // as EventSource keeps it
  ended = false;
  #unread = 0;
  #rest = '';

  /** Connects; `bridge` may be anything with host and port. Waits for the answer's head, at most `ms`. */
  static async open(bridge, { token, headers = {}, lastEventId, path = '/events', via = 'header', ms = DEADLINE_MS, ...asked }) {
    const stream = new Stream();
    const params = query({ ...asked, ...(via === 'query' ? { token } : {}) });
    const sent = { Accept: 'text/event-stream', ...headers };
    if (token !== undefined && via === 'header') sent.Authorization = `Bearer ${token}`;
    if (lastEventId !== undefined) sent['Last-Event-ID'] = lastEventId;
    const { request } = bridge.origin?.startsWith('https:') ? https : http;
    stream.request = request({ host: bridge.host ?? '127.0.0.1', port: bridge.port, path: `${path}?${params}`, headers: sent, agent: false, rejectUnauthorized: false });
    stream.request.on('error', (error) => { stream.error = error; stream.ended = true; });
    stream.request.on('response', (response) => {
      stream.response = response;
      response.setEncoding('utf8');
      response.on('data', (data) => stream.#take(data));
      response.on('close', () => { stream.ended = true; });
      response.on('error', (error) => { stream.error = error; });
    });
    stream.request.end();
    await until('an answer', () => stream.response || stream.ended, ms).catch((error) => { stream.leave(); throw error; });
    stream.status = stream.response?.statusCode;
    stream.headers = stream.response?.headers;
    if (stream.headers?.['content-type'] !== 'text/event-stream') await until('all of the answer', () => stream.ended);
    return stream;
  }

  /** The error in an answer that is no stream. */
  get refusal() {
    return { status: this.status, ...JSON.parse(this.text).error };
  }

  #take(data) {
    this.text += data;
    this.#rest += data;
    if (!this.response.headers['content-type']?.startsWith('text/event-stream')) return;
    for (let end; (end = this.#rest.indexOf('\n\n')) >= 0;) {
      const block = this.#rest.slice(0, end);
      this.#rest = this.#rest.slice(end + 2);
      let text;
      for (const line of block.split('\n')) {
        const [, field, value] = /^([a-z]*):? ?(.*)$/s.exec(line);
        if (field === 'id') this.ids.push(this.lastId = value);
        else if (field === 'data') text = text === undefined ? value : `${text}\n${value}`;
        else if (field === 'event') throw new Error(`an event: line in ${block}`);
      }
      if (text !== undefined) this.frames.push({ frame: JSON.parse(text), id: this.lastId, own: /^id:/m.test(block), at: performance.now() });
    }
  }

  /** The next frame that matches; others are passed over. */
  async next(match, ms = DEADLINE_MS) {
    const wanted = fits(match);
    let found;
    await until(`a frame ${typeof match === 'function' ? match : JSON.stringify(match)} in ${JSON.stringify(this.frames.slice(-5))}`, () => {
      while (!found && this.#unread < this.frames.length) {
        const each = this.frames[this.#unread++];
        if (wanted(each.frame)) found = each;
      }
      if (!found && this.ended) throw new Error('it ended');
      return found;
    }, ms);
    return found.frame;
  }

  /** Waits until its cursor is at that id or beyond. */
  async covered(id, ms = DEADLINE_MS) {
    await until(`the cursor to come to ${id}, it is ${this.lastId}`, () => this.lastId && Number(this.lastId.split('-')[1]) >= id, ms);
  }

  /** Waits until the server ends it; gives its `closing` frame, or undefined. */
  async end(ms = DEADLINE_MS) {
    await until('the stream to end', () => this.ended, ms);
    return this.frames.map(({ frame }) => frame).find(({ type }) => type === 'closing');
  }

  leave() {
    this.request.destroy();
  }
}
