// A way to PostgreSQL on which, as behind some poolers, a query for the number of the server process is told another, or
// messages of some types are lost.

import net from 'node:net';

const KEY = 'K'.charCodeAt(0);
const ROW = 'D'.charCodeAt(0);

/** A row of one column that is this text. */
function row(text) {
  const message = Buffer.alloc(11 + text.length);
  message[0] = ROW;
  message.writeInt32BE(message.length - 1, 1);
  message.writeInt16BE(1, 5);
  message.writeInt32BE(text.length, 7);
  message.write(text, 11);
  return message;
}

/**
 * Does the work with the port of such a way, then closes it. `numbered`: which number is told, given the right one;
 * `lost`: the type of messages that the server sends in vain.
 */
export async function behindPooler(cluster, { numbered = (pid) => pid, lost = '' }, work) {
  const sockets = new Set();
  const proxy = net.createServer((client) => {
    const server = net.connect(cluster.port, '127.0.0.1');
    for (const [one, other] of [[client, server], [server, client]]) {
      sockets.add(one);
      one.on('error', () => other.destroy());
      one.on('close', () => { sockets.delete(one); other.destroy(); });
    }
    client.pipe(server);
    let rest = Buffer.alloc(0);
    let pid;
    server.on('data', (data) => {
      rest = Buffer.concat([rest, data]);
      while (rest.length >= 5 && rest.length > rest.readInt32BE(1)) {
        const message = rest.subarray(0, 1 + rest.readInt32BE(1));
        rest = rest.subarray(message.length);
        if (message[0] === KEY) pid = message.readInt32BE(5);
        if (String.fromCharCode(message[0]) === lost) continue;
        client.write(message.equals(row(String(pid))) ? row(String(numbered(pid))) : message);
      }
    });
  });
  await new Promise((resolve) => { proxy.listen(0, '127.0.0.1', resolve); });
  try {
    return await work(proxy.address().port);
  } finally {
    proxy.close();
    for (const socket of sockets) socket.destroy();
  }
}
