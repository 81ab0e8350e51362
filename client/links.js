// What carries frames between client and bridge: a WebSocket; or, where none gets through, a stream of
// Server-Sent Events; or, where that is held back on its way, one long poll after the other.

const CONNECT_MS = 8_000; // to a welcome
const STREAM_MS = 4_000; // to a stream's first byte
const SILENCE_MS = 10_000; // beyond the heartbeat
const POLL_S = 25;
const PACE_MS = 1_000; // between requests that bring no events

/** @param {number} ms */
const pause = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

/**
 * @template T
 * @param {Promise<T>} promise
 * @param {number} ms
 * @returns {Promise<T>} fails where it takes longer
 */
export function inTime(promise, ms) {
  /** @type {any} */
  let timer;
  const late = new Promise((_, reject) => { timer = setTimeout(() => reject(new Error('no answer')), ms); });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/**
 * An answer, unless aborted before it. Node 18's fetch forgets its signal when memory is collected: nothing here relies on it.
 * @param {AbortSignal} signal
 * @param {Promise<Response>} asked
 * @returns {Promise<Response>}
 */
const answered = (signal, asked) => new Promise((resolve, reject) => {
  signal.addEventListener('abort', () => reject(new Error()));
  asked.then((response) => { if (signal.aborted) response.body?.cancel().catch(() => {}); else resolve(response); }, reject);
});

/**
 * @typedef {object} Sink whom a link tells
 * @property {(frame: any) => void} frame
 * @property {(code: number, reason?: string) => void} closed the link ended by itself; told once, and not after close()
 *
 * @typedef {object} Link
 * @property {'websocket' | 'sse' | 'poll'} kind
 * @property {(message: object) => void} send
 * @property {() => void} close silently
 * @property {(code: number) => void} fail as if it had ended
 * @property {() => void} change the channels are others (over HTTP)
 */

/**
 * @param {any} Socket
 * @param {URL} url
 * @param {string} token
 * @param {Sink} sink
 * @returns {Link}
 */
export function openSocket(Socket, url, token, sink) {
  const socket = new Socket(url.href, 'livefeed.v1');
  let over = false;
  const end = (/** @type {number} */ code, /** @type {string} */ reason = '') => {
    clearTimeout(timer);
    if (!over) {
      over = true;
      sink.closed(code, reason);
    }
  };
  const shut = () => { clearTimeout(timer); socket.close(); };
  const fail = (/** @type {number} */ code) => { end(code); shut(); };
  const timer = setTimeout(fail, CONNECT_MS, 0);
  socket.onopen = () => socket.send(JSON.stringify({ type: 'auth', token }));
  socket.onmessage = (/** @type {{ data: string }} */ { data }) => {
    if (over) return;
    clearTimeout(timer);
    sink.frame(JSON.parse(data));
  };
  socket.onerror = () => {};
  socket.onclose = (/** @type {{ code: number, reason: string }} */ { code, reason }) => end(code, reason);
  return { kind: 'websocket', send: (message) => socket.send(JSON.stringify(message)), close: () => { over = true; shut(); }, fail, change() {} };
}

/**
 * @param {Sink & {
 *   request: (path: string, init?: RequestInit) => Promise<Response>,
 *   want: () => Promise<{ channel: string[], since?: string, snapshot?: boolean } | null>,
 *   covered: (cursor: string) => void,
 *   refused: (channels: string[], error: any) => boolean,
 *   up: () => void,
 *   heartbeat: () => number }} sink
 * @param {boolean} streams whether to try them
 * @returns {Link}
 */
export function openHttp(sink, streams) {
  let over = false;
  let wait = 0; // the first poll tells at once that polls get through
  let changed = () => {};
  /** @type {Link} */
  const link = {
    kind: streams ? 'sse' : 'poll',
    send() {},
    close() { over = true; changed(); },
    fail(code) { if (!over) { link.close(); sink.closed(code); } },
    change() { changed(); },
  };

  /** Aborts when nothing was heard for that long. */
  const patience = (/** @type {AbortController} */ abort) => {
    /** @type {any} */
    let timer;
    return (/** @type {number} */ ms) => {
      clearTimeout(timer);
      if (ms) timer = setTimeout(() => abort.abort(), ms);
    };
  };

  /** Gives whether anything came at all. */
  async function stream(/** @type {any} */ wanted, /** @type {AbortController} */ abort) {
    const query = new URLSearchParams(wanted.channel.map((/** @type {string} */ name) => ['channel', name]));
    if (wanted.since) query.set('since', wanted.since);
    if (wanted.snapshot) query.set('snapshot', '1');
    const within = patience(abort);
    let rest = '';
    let came = false;
    let id = '';
    let data = '';
    /** @type {ReadableStreamDefaultReader<Uint8Array> | undefined} */
    let reader;
    const cancel = () => reader?.cancel().catch(() => {});
    abort.signal.addEventListener('abort', cancel);
    try {
      within(STREAM_MS);
      const response = await answered(abort.signal, sink.request(`events?${query}`, { headers: { Accept: 'text/event-stream' }, signal: abort.signal }));
      reader = response.body?.getReader();
      if (!reader || abort.signal.aborted || !response.headers.get('content-type')?.startsWith('text/event-stream')) return false;
      const decoder = new TextDecoder();
      for (;;) {
        const { value, done } = await reader.read();
        if (done || over) return came && !abort.signal.aborted;
        if (!came) sink.up();
        came = true;
        within(sink.heartbeat() + SILENCE_MS);
        const text = decoder.decode(value, { stream: true });
        rest += text;
        if (!text.includes('\n')) continue;
        const lines = rest.split(/\r?\n/);
        rest = lines.pop() ?? '';
        for (const line of lines) {
          const [, field, text] = /^(\w+): ?(.*)$/.exec(line) ?? [];
          if (field === 'id') id = text;
          else if (field === 'data') data += text;
          else if (!line) {
            if (data) sink.frame(JSON.parse(data));
            if (over) return true;
            if (id) sink.covered(id);
            id = data = '';
          }
        }
      }
    } catch (error) {
      // Broken or silent: what came is kept, and the next one goes on from there. An answer is passed on.
      if (/** @type {any} */ (error).status || (!came && !abort.signal.aborted)) throw error;
      return came && !abort.signal.aborted;
    } finally {
      within(0);
      abort.abort();
      cancel();
    }
  }

  async function poll(/** @type {any} */ wanted, /** @type {AbortController} */ abort) {
    const began = Date.now();
    const within = patience(abort);
    try {
      within(POLL_S * 1000 + SILENCE_MS);
      const response = await answered(abort.signal, sink.request('poll', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ ...wanted, wait }), signal: abort.signal }));
      const { cursor, frames, more } = await response.json();
      if (abort.signal.aborted) return;
      sink.up();
      for (const frame of frames) if (!over) sink.frame(frame);
      if (over) return;
      sink.covered(cursor);
      if (wait && !more && Date.now() - began < PACE_MS && frames.every((/** @type {any} */ frame) => !frame.id)) await pause(PACE_MS);
      wait = POLL_S;
    } finally {
      within(0);
    }
  }

  (async () => {
    while (!over) {
      const abort = new AbortController();
      let other = false;
      const change = new Promise((resolve) => {
        changed = () => { other = true; abort.abort(); resolve(null); };
      });
      let wanted = null;
      try {
        wanted = await sink.want();
        if (over) return;
        if (other) continue;
        if (!wanted) {
          await inTime(answered(abort.signal, sink.request('healthz', { signal: abort.signal })), CONNECT_MS);
          sink.up();
          await change;
        } else if (link.kind === 'sse') {
          const came = await stream(wanted, abort);
          if (over || other) continue;
          if (!came) link.kind = 'poll';
          await pause(Math.random() * PACE_MS);
        } else {
          await poll(wanted, abort);
        }
      } catch (problem) {
        const error = /** @type {any} */ (problem);
        if (over) return;
        if (other || (wanted && sink.refused(wanted.channel, error))) continue;
        // No word of the bridge, but an answer: something on the way does not like streams. Or too many channels for a URL.
        if (link.kind === 'sse' && error.status && (!error.code || error.code === 'too_large')) link.kind = 'poll';
        else link.fail(error.status ?? 0);
      }
    }
  })();
  return link;
}
