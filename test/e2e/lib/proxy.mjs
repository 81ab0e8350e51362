// Somebody else's proxy between a client and the bridge: refuses upgrades, holds streams back, cuts connections.

import http from 'node:http';
import net from 'node:net';
import { once } from 'node:events';
import { Transform } from 'node:stream';
import { setTimeout as pause } from 'node:timers/promises';

export class Proxy {
  upgrades = true; // whether WebSockets get through
  streams = true; // whether a stream gets through before it ends
  mute = false; // takes bytes and passes none on, nor the end of a connection
  requests = []; // 'GET /events?...'
  hold = null; // (request) => a promise that it waits for before it is passed on
  latency = null; // () => the milliseconds that the next piece takes, each way; to be changed while nothing is open
  #open = new Set();
  #server;

  /** In front of the port, at `origin`. */
  static async start(to) {
    const proxy = new Proxy();
    proxy.to = to;
    proxy.#server = http.createServer(async (request, response) => {
      await proxy.hold?.(request);
      if (proxy.latency) await pause(proxy.latency());
      proxy.#pass(request, response);
    });
    proxy.#server.on('upgrade', (request, socket, head) => proxy.#upgrade(request, socket, head));
    proxy.#server.on('connection', (socket) => proxy.#keep(socket));
    proxy.#server.listen(0, '127.0.0.1');
    await once(proxy.#server, 'listening');
    proxy.origin = `http://127.0.0.1:${proxy.#server.address().port}`;
    return proxy;
  }

  /** How many requests began with that. */
  count(start) {
    return this.requests.filter((line) => line.startsWith(start)).length;
  }

  /** Ends all connections there are, without a word. */
  cut() {
    for (const socket of this.#open) socket.destroy();
  }

  async stop() {
    this.cut();
    await new Promise((resolve) => { this.#server.close(resolve); });
  }

  #keep(socket) {
    this.#open.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => this.#open.delete(socket));
  }

  #pass(request, response) {
    this.requests.push(`${request.method} ${request.url}`);
    const passed = http.request({ host: '127.0.0.1', port: this.to, path: request.url, method: request.method, headers: request.headers, agent: false });
    passed.on('response', (answer) => {
      const held = !this.streams && answer.headers['content-type']?.startsWith('text/event-stream');
      response.writeHead(answer.statusCode, answer.headers);
      response.flushHeaders();
      if (held) answer.resume();
      else answer.pipe(this.#slowed()).pipe(response);
      answer.on('error', () => response.destroy());
      answer.on('close', () => { if (!answer.complete) response.destroy(); });
    });
    passed.on('error', () => response.destroy());
    response.on('close', () => passed.destroy());
    request.pipe(passed);
  }

  #upgrade(request, socket, head) {
    this.requests.push(`UPGRADE ${request.url}`);
    if (!this.upgrades) {
      socket.end('HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n');
      return;
    }
    const upstream = net.connect(this.to, '127.0.0.1');
    this.#keep(upstream);
    const lines = request.rawHeaders.reduce((text, part, at) => text + part + (at % 2 ? '\r\n' : ': '), `GET ${request.url} HTTP/1.1\r\n`);
    upstream.write(`${lines}\r\n`);
    upstream.write(head);
    const [up, down] = [this.#slowly(), this.#slowly()];
    upstream.on('data', (data) => down(() => { if (!this.mute) socket.write(data); }));
    socket.on('data', (data) => up(() => { if (!this.mute) upstream.write(data); }));
    upstream.on('close', () => down(() => { if (!this.mute) socket.destroy(); }));
    socket.on('close', () => upstream.destroy());
  }

  /** Does one thing after the other, each as late as the latency wants. */
  #slowly() {
    let turn = Promise.resolve();
    return (how) => {
      if (this.latency) turn = turn.then(() => pause(this.latency?.() ?? 0)).then(how);
      else how();
    };
  }

  #slowed() {
    const { latency } = this;
    return new Transform({ transform(piece, _, done) { if (latency) setTimeout(done, latency(), null, piece); else done(null, piece); } });
  }
}
