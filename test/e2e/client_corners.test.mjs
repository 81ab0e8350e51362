// The browser library where things meet that seldom do: a fetch that forgets its signal, tokens older than the connection, rows that
// come late or never, what the application's own functions do from inside. On real bridges, behind a proxy that holds single requests.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { follow } from './lib/livefeed.mjs';
import { metric } from './lib/metrics.mjs';
import { LONG_MS, scene } from './lib/ways.mjs';
import { until } from './lib/wait.mjs';

/** What Node 18's fetch becomes once memory has been collected: one that no abort reaches. `polls.most`: how many were open at once. */
function deafFetch(polls = { open: 0, most: 0 }) {
  const deaf = async (url, { signal, ...init }) => {
    const poll = url.pathname.endsWith('/poll') ? 1 : 0;
    polls.most = Math.max(polls.most, polls.open += poll);
    return fetch(url, init).finally(() => { polls.open -= poll; });
  };
  return Object.assign(deaf, { polls });
}

describe('livefeed-client', () => {
  const here = scene();

  for (const kind of ['sse', 'poll']) {
    it(`changes its channels over ${kind}, and ends, though fetch forgets to abort`, { timeout: 3 * LONG_MS }, async () => {
      Object.assign(here.proxy, { streams: kind === 'sse' });
      const deaf = deafFetch();
      const client = here.as('ann', { WebSocket: null, fetch: deaf });
      const first = client.collection('requests:unit:7');
      await until('rows', () => first.loaded && client.transport === kind, LONG_MS);
      const second = client.collection('requests:unit:8');
      await until('rows of the other channel', () => second.loaded, LONG_MS);
      await here.insert(1, 1, 8);
      await until('its event', () => second.rows.size === 1, LONG_MS);
      if (kind === 'poll') assert.equal(deaf.polls.most, 2, 'the next poll waits for no end of the one before');
      client.close();
      if (kind === 'sse') await until('its end at the bridge', async () => await metric(here.bridge, 'livefeed_sessions{transport="sse"}') === 0);
    });
  }
});
