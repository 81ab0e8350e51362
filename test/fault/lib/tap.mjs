// A tap on the wire: a TCP relay in front of a bridge that sees every byte which the
// bridge sends to a client, whatever the client makes of it.

import net from 'node:net';

export class Tap {
  bytes = 0;
  found = new Map(); // word -> how often
  #server;
  #sockets = new Set();

  /** Looks for the words (ASCII) in all that comes from the bridge. */
  static async start(bridge, words) {
    const tap = new Tap();
    for (const word of words) tap.found.set(word, 0);
    const overlap = Math.max(...words.map((word) => word.length)) - 1;
    tap.#server = net.createServer((client) => {
      const server = net.connect(bridge.port, '127.0.0.1');
      let tail = '';
      server.on('data', (data) => {
        tap.bytes += data.length;
        const text = tail + data.toString('latin1');
        for (const word of words) {
          for (let at = text.indexOf(word); at >= 0; at = text.indexOf(word, at + 1)) {
            if (at + word.length > tail.length) tap.found.set(word, tap.found.get(word) + 1);
          }
        }
        tail = text.slice(text.length - Math.min(overlap, text.length));
        client.write(data);
      });
      client.on('data', (data) => server.write(data));
      for (const [here, there] of [[client, server], [server, client]]) {
        tap.#sockets.add(here);
        here.on('error', () => there.destroy());
        here.on('close', () => { tap.#sockets.delete(here); there.destroy(); });
        here.on('end', () => there.end());
      }
    });
    await new Promise((resolve, reject) => tap.#server.once('error', reject).listen(0, '127.0.0.1', resolve));
    tap.port = tap.#server.address().port;
    tap.origin = `http://127.0.0.1:${tap.port}`;
    return tap;
  }

  async stop() {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
