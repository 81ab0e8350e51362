// What lies on a connection of the bridge's: bytes in the kernel's queues, frames of which a part has arrived.

import { readFileSync } from 'node:fs';
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

/** Bytes that the kernel holds for the two ends of a loopback connection: { ours, theirs }, of each { unsent, unread }. */
export function queued(socket) {
  const port = (number) => `:${number.toString(16).toUpperCase().padStart(4, '0')}`;
  const here = port(socket.localPort);
  const there = port(socket.remotePort);
  // Columns: number, local address, remote address, state, tx_queue:rx_queue.
  // (Of a file without a size, Node 18's readFile gives the first part alone.)
  const lines = readFileSync('/proc/net/tcp', 'utf8').split('\n').map((line) => line.trim().split(/\s+/));
  const end = (local, remote) => {
    const line = lines.find((columns) => columns[1]?.endsWith(local) && columns[2]?.endsWith(remote));
    if (!line) throw new Error(`no connection ${local} to ${remote} in /proc/net/tcp`);
    const [unsent, unread] = line[4].split(':').map((digits) => parseInt(digits, 16));
    return { unsent, unread };
  };
  return { ours: end(here, there), theirs: end(there, here) };
}
