// A client without a library, for what no library sends: bytes over TCP or TLS, and frames of any kind.

import crypto from 'node:crypto';
import net from 'node:net';
import tls from 'node:tls';
import { until, within, DEADLINE_MS } from './wait.mjs';

export const TEXT = 1;
export const BINARY = 2;
export const CONTINUATION = 0;
export const CLOSE = 8;
export const PING = 9;
export const PONG = 10;

/** A frame as a client sends it; each part may be wrong. `length`: written in place of the true one, with `wide` bytes (0, 2, 8). */
export function frame(opcode, payload = '', { fin = true, rsv = 0, masked = true, length, wide } = {}) {
  const body = Buffer.from(payload);
  const n = BigInt(length ?? body.length);
  const size = wide ?? (n < 126n ? 0 : n < 65536n ? 2 : 8);
  const head = Buffer.alloc(2 + size);
  head[0] = (fin ? 0x80 : 0) | (rsv << 4) | opcode;
  head[1] = (masked ? 0x80 : 0) | (size === 0 ? Number(n) : size === 2 ? 126 : 127);
  if (size === 2) head.writeUInt16BE(Number(n), 2);
  if (size === 8) head.writeBigUInt64BE(n, 2);
  if (!masked) return Buffer.concat([head, body]);
  const mask = crypto.randomBytes(4);
  return Buffer.concat([head, mask, body.map((byte, i) => byte ^ mask[i & 3])]);
}

/** The frames in what the server sent: { opcode, fin, payload }. */
export function frames(bytes) {
  const found = [];
  for (let at = 0; at + 2 <= bytes.length;) {
    let length = bytes[at + 1] & 0x7f;
    let from = at + 2;
    if (length === 126) { length = from + 2 <= bytes.length ? bytes.readUInt16BE(from) : Infinity; from += 2; }
    else if (length === 127) { length = from + 8 <= bytes.length ? Number(bytes.readBigUInt64BE(from)) : Infinity; from += 8; }
    if (from + length > bytes.length) break;
    found.push({ opcode: bytes[at] & 15, fin: bytes[at] >= 128, payload: bytes.subarray(from, from + length) });
    at = from + length;
  }
  return found;
}

export class Raw {
  received = Buffer.alloc(0);
  upgraded = 0; // where the frames begin
  ended = false; // the server has closed
  error = null;

  static async connect(bridge, { secure = null, ...options } = {}) {
    const raw = new Raw();
    const to = { host: bridge.host ?? '127.0.0.1', port: bridge.port, ...options };
    raw.socket = secure ? tls.connect({ ...to, ...secure }) : net.connect(to);
    raw.socket.on('data', (data) => { raw.received = Buffer.concat([raw.received, data]); });
    raw.socket.on('error', (error) => { raw.error = error; });
    raw.socket.on('end', () => { raw.ended = true; });
    raw.socket.on('close', () => { raw.ended = true; });
    await within('a connection', new Promise((resolve) => {
      raw.socket.once(secure ? 'secureConnect' : 'connect', resolve);
      raw.socket.once('close', resolve);
    }));
    return raw;
  }

  /** A WebSocket, without a library. Its handshake may have more headers. */
  static async websocket(bridge, token, { path = '/ws', headers = [], ...options } = {}) {
    const raw = await Raw.connect(bridge, options);
    raw.send([`GET ${path}${token ? `?token=${token}` : ''} HTTP/1.1`, `Host: 127.0.0.1:${bridge.port}`, 'Upgrade: websocket', 'Connection: Upgrade',
      'Sec-WebSocket-Version: 13', `Sec-WebSocket-Key: ${crypto.randomBytes(16).toString('base64')}`, ...headers, '', ''].join('\r\n'));
    raw.answer = await raw.response();
    raw.upgraded = raw.answer.end;
    return raw;
  }

  /** Sends bytes, after what has come by now was read: a write to a peer that is gone would throw that away. */
  async send(data) {
    for (let turn = 0; turn < 2; turn++) await new Promise(setImmediate); // a whole turn of the loop lies between
    await new Promise((resolve) => { this.socket.write(data, () => resolve()); });
  }

  /** The first HTTP answer: { status, headers, body, end }; null: the server hung up without one. */
  async response(from = 0) {
    await until('an answer', () => this.ended || this.received.indexOf('\r\n\r\n', from) >= 0);
    const at = this.received.indexOf('\r\n\r\n', from);
    if (at < 0) return null;
    const [line, ...rest] = this.received.subarray(from, at).toString('latin1').split('\r\n');
    const headers = Object.fromEntries(rest.map((each) => each.split(/: ?(.*)/s, 2)).map(([name, value]) => [name.toLowerCase(), value]));
    const status = Number(line.split(' ')[1]);
    const length = status === 101 ? 0 : Number(headers['content-length'] ?? 0);
    await until('its body', () => this.ended || this.received.length >= at + 4 + length);
    const end = at + 4 + length;
    return { status, headers, body: this.received.subarray(at + 4, end).toString(), end };
  }

  frames() {
    return frames(this.received.subarray(this.upgraded));
  }

  messages() {
    return this.frames().filter((each) => each.opcode === TEXT).map((each) => JSON.parse(each.payload.toString()));
  }

  /** The message of that type, once it is there. */
  async message(match, ms) {
    return until(`a message ${JSON.stringify(match)}`, () => {
      const found = this.messages().find((each) => Object.entries(match).every(([name, value]) => each[name] === value));
      if (!found && this.ended) throw new Error('closed');
      return found;
    }, ms);
  }

  /** The close frame, once it is there: { code, reason }; null: the server hung up without one. */
  async close(ms = DEADLINE_MS) {
    const find = () => this.frames().find((each) => each.opcode === CLOSE);
    await until('a close frame', () => find() || this.ended, ms);
    const found = find();
    return found ? { code: found.payload.readUInt16BE(0), reason: found.payload.subarray(2).toString() } : null;
  }

  /** Waits until the server has closed. */
  async gone(ms = DEADLINE_MS) {
    await until('the connection to be closed', () => this.ended, ms);
  }

  leave() {
    this.socket.destroy();
  }
}
