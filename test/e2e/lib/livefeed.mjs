// The browser library, for tests in Node.

import WebSocket from 'ws';
import { Livefeed } from '../../../client/livefeed.js';

/** A client of the bridge at that origin; in Node 20 a WebSocket has to be given. */
export function liveClient(origin, options) {
  return new Livefeed(origin, { WebSocket, ...options });
}
