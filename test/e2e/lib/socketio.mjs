// socket.io-client, unmodified, for tests: versions 4 and 3, and what each connection was told.

import { io as io4 } from 'socket.io-client';
import { io as io3 } from 'socket.io-client-3';
import { DEADLINE_MS, until, within } from './wait.mjs';

export const CLIENTS = { 3: io3, 4: io4 };

/** The ways that a client may take: by polling alone, by a WebSocket alone, and from the first to the second. */
export const WAYS = { polling: ['polling'], websocket: ['websocket'], upgrade: ['polling', 'websocket'] };

/**
 * A connection to a namespace of the bridge. `told`: all events that came, [name, ...arguments] each; `ends`: the reasons of its
 * disconnects; `errors`: of its refusals; `connects`: how often it connected.
 */
export class Io {
  told = [];
  ends = [];
  errors = [];
  connects = 0;
  recovered = [];

  /** Connects, unless `connect: false`. origin: of a bridge or a proxy; beside: on the connection of that one. */
  static async open(origin, namespace, { version = 4, way = 'websocket', connect = true, beside, ...options } = {}) {
    const client = new Io();
    client.socket = beside ? beside.socket.io.socket(namespace, options) : CLIENTS[version](origin + namespace,
      { forceNew: true, transports: WAYS[way], reconnectionDelay: 20, reconnectionDelayMax: 200, timeout: DEADLINE_MS, ...options });
    const { socket } = client;
    socket.on('connect', () => { client.connects++; client.recovered.push(socket.recovered); });
    socket.on('disconnect', (reason) => client.ends.push(reason));
    socket.on('connect_error', (error) => client.errors.push(error));
    socket.onAny((...args) => client.told.push(args));
    if (connect) await client.connected();
    return client;
  }

  async connected(times = 1) {
    await until(`connection ${times}`, () => this.connects >= times && this.socket.connected)
      .catch((error) => { error.message += `: ${this.errors.at(-1)?.message}`; throw error; });
    return this;
  }

  /** The next refusal. */
  async refused() {
    await until('a refusal', () => this.errors.length > 0);
    return this.errors.shift().message;
  }

  /** The one that is carrying it. */
  get transport() {
    return this.socket.io.engine.transport.name;
  }

  named(name) {
    return this.told.filter(([each]) => each === name);
  }

  /** The first event of that name that fits; waits for it. */
  next(name, fits = () => true) {
    return until(`${name} among ${JSON.stringify(this.told.map(([each]) => each))}`,
      () => this.told.find(([each, ...args]) => each === name && fits(...args)));
  }

  /** Emits, and waits for the answer. */
  ask(name, ...args) {
    return within(`the answer to ${name}`, new Promise((resolve) => { this.socket.emit(name, ...args, resolve); }));
  }

  /** The events of a feed that came, by id. */
  ids() {
    return this.told.map(([, frame]) => frame?.id).filter((id) => id !== undefined);
  }

  leave() {
    this.socket.disconnect();
  }
}
