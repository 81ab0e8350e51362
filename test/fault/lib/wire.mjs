// What lies between a bridge and a client of it: bytes in the kernel's queues, frames of which a part has arrived.

import { readFile } from 'node:fs/promises';
import net from 'node:net';

const HEADER_BYTES = [[0xffff, 10], [125, 4], [0, 2]]; // RFC 6455, 5.2: from the server, without a mask; payloads above so many bytes

/** Options for Client.open that keep the connection: `{ options, socket() }`. */
export function keptSocket() {
  let socket;
  return { options: { createConnection: ({ host, port }) => (socket = net.connect({ host, port })) }, socket: () => socket };
}

/** How many bytes these whole messages were as WebSocket frames. */
export function frameBytes(texts) {
  return texts.reduce((sum, text) => {
    const bytes = Buffer.byteLength(text);
    return sum + bytes + HEADER_BYTES.find(([above]) => bytes > above)[1];
  }, 0);
}

/** Bytes that the kernel holds for a loopback connection: { sent: of the other end, not yet here; received: not yet read }. */
export async function queued(socket) {
  const port = (number) => `:${number.toString(16).toUpperCase().padStart(4, '0')}`;
  const ends = [[socket.remotePort, socket.localPort], [socket.localPort, socket.remotePort]].map((pair) => pair.map(port));
  const lines = (await readFile('/proc/net/tcp', 'utf8')).split('\n').map((line) => line.trim().split(/\s+/));
  // Columns: number, local address, remote address, state, tx_queue:rx_queue.
  const [theirs, ours] = ends.map(([local, remote]) => lines.find((line) => line[1]?.endsWith(local) && line[2]?.endsWith(remote)));
  const part = (line, n) => parseInt(line?.[4].split(':')[n] ?? '0', 16);
  return { sent: part(theirs, 0), received: part(ours, 1) };
}
