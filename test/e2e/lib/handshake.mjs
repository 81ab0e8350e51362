// A WebSocket handshake made by hand, so that a token travels byte for byte, whatever stands in it, and everything the
// server answers can be looked at: status line, headers, frames. Never compressed; the server's frames are not masked.

import net from 'node:net';
import { once } from 'node:events';
import { within } from './wait.mjs';

export const CARRIERS = ['header', 'protocol', 'query', 'message'];

/** A masked text frame; the mask is zeros, which changes nothing. */
function textFrame(text) {
  const body = Buffer.from(text);
  const head = body.length < 126 ? Buffer.from([0x81, 0x80 | body.length]) : Buffer.alloc(body.length < 65536 ? 4 : 10);
  if (body.length >= 126) {
    head[0] = 0x81;
    head[1] = 0x80 | (body.length < 65536 ? 126 : 127);
    if (body.length < 65536) head.writeUInt16BE(body.length, 2);
    else head.writeBigUInt64BE(BigInt(body.length), 2);
  }
  return Buffer.concat([head, Buffer.alloc(4), body]);
}

/** The frames that are whole in these bytes. */
function framesOf(bytes) {
  const frames = [];
  for (let at = 0; at + 2 <= bytes.length;) {
    let len = bytes[at + 1] & 0x7f;
    let head = 2;
    if (len === 126 && at + 4 <= bytes.length) [len, head] = [bytes.readUInt16BE(at + 2), 4];
    else if (len === 127 && at + 10 <= bytes.length) [len, head] = [Number(bytes.readBigUInt64BE(at + 2)), 10];
    if (at + head + len > bytes.length) break;
    frames.push({ opcode: bytes[at] & 0x0f, body: bytes.subarray(at + head, at + head + len) });
    at += head + len;
  }
  return frames;
}

/** Headers and query that carry the token; '' is a carrier that is there and empty. */
function request(via, token, { path = '/ws', headers = [] }) {
  const query = via === 'query' ? `${path.includes('?') ? '&' : '?'}token=${encodeURIComponent(token)}` : '';
  const lines = [`GET ${path}${query} HTTP/1.1`, 'Host: localhost', 'Upgrade: websocket', 'Connection: Upgrade',
    'Sec-WebSocket-Version: 13', 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
    `Sec-WebSocket-Protocol: livefeed.v1${via === 'protocol' ? `, bearer.${token}` : ''}`];
  if (via === 'header') lines.push(`Authorization: Bearer ${token}`);
  return Buffer.from(`${[...lines, ...headers].join('\r\n')}\r\n\r\n`);
}

/**
 * Connects, sends the token by that carrier and waits until the server hangs up, or (stay: true) has sent a frame;
 * then it leaves. { status, head, frames (parsed JSON), code, reason, text (all that came, as latin1) }
 */
export async function carry(port, via, token, { stay = false, host = '127.0.0.1', ...more } = {}) {
  const socket = net.connect({ host, port });
  socket.on('error', () => {}); // a reset is an end like any other
  let bytes = Buffer.alloc(0);
  const found = { status: 0, head: '', frames: [], code: null, reason: '' };
  let asked = false;
  const ended = once(socket, 'close');
  const enough = new Promise((resolve) => {
    socket.on('data', (data) => {
      bytes = Buffer.concat([bytes, data]);
      const end = bytes.indexOf('\r\n\r\n');
      if (end < 0) return;
      found.head = bytes.subarray(0, end).toString('latin1');
      found.status = Number(found.head.split(' ')[1]);
      if (found.status !== 101) return;
      if (via === 'message' && !asked) socket.write(textFrame(typeof token === 'string' ? JSON.stringify({ type: 'auth', token }) : JSON.stringify(token)));
      asked = true;
      const frames = framesOf(bytes.subarray(end + 4));
      found.frames = frames.filter(({ opcode }) => opcode === 1).map(({ body }) => JSON.parse(body.toString()));
      const close = frames.find(({ opcode }) => opcode === 8);
      if (close) {
        found.code = close.body.readUInt16BE(0);
        found.reason = close.body.subarray(2).toString();
      }
      if (close || (stay && frames.length > 0)) resolve();
    });
  });
  socket.write(request(via, token, more));
  await within(`an answer to a token by ${via}`, Promise.race([enough, ended])).finally(() => socket.destroy());
  return { ...found, text: bytes.toString('latin1') };
}
