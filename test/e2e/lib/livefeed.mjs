// The browser library, for tests in Node.

import WebSocket from 'ws';
import { Livefeed } from '../../../client/livefeed.js';
import { metric } from './metrics.mjs';
import { until, within } from './wait.mjs';

/** A client of the bridge at that origin; in Node 20 a WebSocket has to be given. */
export function liveClient(origin, options) {
  return new Livefeed(origin, { WebSocket, ...options });
}

/** Subscribes, and remembers all that the subscription was told. */
export function follow(client, channel, more = {}) {
  const told = { events: [], snapshots: [], values: [], resyncs: [], errors: [], started: false };
  told.subscription = client.subscribe(channel, {
    onStart: () => { told.started = true; },
    onEvent: (event) => told.events.push(event),
    onSnapshot: (frame) => told.snapshots.push(frame),
    onValue: (data) => told.values.push(data),
    onResync: (resync) => told.resyncs.push(resync),
    onError: (trouble) => told.errors.push(trouble),
    ...more,
  });
  return told;
}

/** Waits until the bridge has let go of all that clients had there: what a test counts from now on is its own. */
export async function gone(bridge) {
  await until('no subscription to be left', async () => await metric(bridge, 'livefeed_subscriptions') === 0);
}

/** A WebSocket for a client that keeps the frames of that type which come over it, in `heard`. */
export function hearing(type, heard) {
  return class extends WebSocket {
    constructor(...args) {
      super(...args);
      this.on('message', (data) => {
        const frame = JSON.parse(data);
        if (frame.type === type) heard.push(frame);
      });
    }
  };
}

/** Cuts the connection of a client that comes through that proxy, and waits until the client has said so: it may be back in no time. */
export async function broken(client, proxy) {
  const told = new Promise((resolve) => {
    const end = client.onStatus((status) => {
      if (status !== 'offline') return;
      end();
      resolve();
    });
  });
  proxy.cut();
  await within('the client to say offline', told);
}
