// The browser library where neither WebSockets nor streams get through: long polls.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { follow } from './lib/livefeed.mjs';
import { LONG_MS, scene, waysHold } from './lib/ways.mjs';
import { until } from './lib/wait.mjs';

describe('livefeed-client', () => {
  const here = scene();

  waysHold(here, 'poll', { upgrades: false, streams: false });

  it('says that it polls, and acts, before anything has happened to be told', async () => {
    Object.assign(here.proxy, { upgrades: false, streams: false });
    const client = here.as('ann');
    const told = follow(client, 'requests:unit:7');
    await until('polling', () => client.status === 'polling' && told.started); // less than a poll may wait
    assert.equal((await client.call('whoami')).user, 'ann');
    assert.equal(client.transport, 'poll');
    await here.insert(1, 1);
    await until('the event', () => told.events.length === 1);
  });

  it('waits for what is new, and does not ask again and again for a value that stays', async () => {
    Object.assign(here.proxy, { upgrades: false, streams: false });
    const client = here.as('ann', { WebSocket: null });
    const count = follow(client, 'open_requests:unit:7');
    await until('polling', () => client.transport === 'poll' && count.values.length, LONG_MS);
    const polls = () => here.proxy.count('POST /poll');
    const first = polls();
    const began = performance.now();
    await until('some time to pass', () => performance.now() - began > 2000);
    const [n, ms] = [polls() - first, performance.now() - began];
    assert.ok(n <= ms / 900 + 2, `${n} polls in ${ms} ms`); // at its own pace of one a second
    await here.insert(1, 1);
    await until('the new value', () => count.values.at(-1) === 1);
  });
});
