// A WebSocket handshake made by hand, so that a token travels byte for byte, whatever stands in it, and everything the
// server answers can be looked at: status line, headers, frames.

import net from 'node:net';
import { CLOSE, frame, frames, TEXT } from './raw.mjs';
import { within } from './wait.mjs';

export const CARRIERS = ['header', 'protocol', 'query', 'message'];

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
  const ended = new Promise((resolve) => { socket.once('close', resolve); });
  const enough = new Promise((resolve) => {
    socket.on('data', (data) => {
      bytes = Buffer.concat([bytes, data]);
      const end = bytes.indexOf('\r\n\r\n');
      if (end < 0) return;
      found.head = bytes.subarray(0, end).toString('latin1');
      found.status = Number(found.head.split(' ')[1]);
      if (found.status !== 101) return;
      if (via === 'message' && !asked) socket.write(frame(TEXT, JSON.stringify(typeof token === 'string' ? { type: 'auth', token } : token)));
      asked = true;
      const all = frames(bytes.subarray(end + 4));
      found.frames = all.filter(({ opcode }) => opcode === TEXT).map(({ payload }) => JSON.parse(payload.toString()));
      const close = all.find(({ opcode }) => opcode === CLOSE);
      if (close) {
        found.code = close.payload.readUInt16BE(0);
        found.reason = close.payload.subarray(2).toString();
      }
      if (close || (stay && all.length > 0)) resolve();
    });
  });
  socket.write(request(via, token, more));
  await within(`an answer to a token by ${via}`, Promise.race([enough, ended])).finally(() => socket.destroy());
  return { ...found, text: bytes.toString('latin1') };
}
