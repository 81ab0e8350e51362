// The browser library where things meet that seldom do: a fetch that forgets its signal, tokens older than the connection, rows that
// come late or never, what the application's own functions do from inside. On real bridges, behind a proxy that holds single requests.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { follow } from './lib/livefeed.mjs';
import { metric, settled } from './lib/metrics.mjs';
import { LONG_MS, scene } from './lib/ways.mjs';
import { until } from './lib/wait.mjs';

/** What Node 18's fetch becomes once memory has been collected: one that no abort reaches. `polls.most`: how many were open at once; end(): ends all. */
function deafFetch(polls = { open: 0, most: 0 }) {
  const abort = new AbortController();
  const deaf = async (url, { signal, ...init }) => {
    const poll = url.pathname.endsWith('/poll') ? 1 : 0;
    polls.most = Math.max(polls.most, polls.open += poll);
    return fetch(url, { ...init, signal: abort.signal }).finally(() => { polls.open -= poll; });
  };
  return Object.assign(deaf, { polls, end: () => abort.abort() });
}

/** A fetch that keeps answers to /state back until let(); `came`: how many there are; `read`: how many were read then; whenRead(): called with the first. */
function backFetch() {
  const back = { came: 0, read: 0 };
  const open = new Promise((resolve) => { back.let = resolve; });
  back.whenRead = (how) => { back.told = how; };
  back.fetch = async (url, init) => {
    const response = await fetch(url, init);
    if (!url.pathname.endsWith('/state')) return response;
    const data = await response.json();
    back.came++;
    await open;
    return { ok: true, json: async () => { back.read++; back.told?.(); return data; } };
  };
  return back;
}

/** Subscribes, and waits until that is live. */
async function joined(client, channel, more) {
  let started = false;
  const told = follow(client, channel, { onStart: () => { started = true; }, ...more });
  await until(`${channel} to be live`, () => started, LONG_MS);
  return told;
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
      deaf.end(); // a poll that waits would for up to 25 s
    });
  }

  /** Waits until the bridge takes that token no more. */
  const expired = (token) => until('the token to have ended', async () => {
    const { status } = await here.bridge.get('/state?channel=requests:unit:7', { headers: { Authorization: `Bearer ${token}` } });
    return status === 401;
  });
  /** A client straight at the bridge, and the tokens that it was given. */
  function tokened(more) {
    const given = [];
    const token = async () => {
      given.push(await here.db.token('ann', { units: [7], ttl: '4 s' }));
      return given.at(-1);
    };
    return { given, client: here.as('ann', { token, origin: here.bridge.origin, ...more }) };
  }

  it('fetches rows with the token of now, on a connection that is older', async () => {
    const { given, client } = tokened();
    const told = follow(client, 'requests:unit:7');
    await until('live', () => client.status === 'live');
    await expired(given[0]);
    const rows = client.collection('requests:unit:7'); // apart, as the other wants every event
    await until('the rows', () => rows.loaded);
    assert.deepEqual(told.errors, []);
  });

  it('runs commands over HTTP after the token that it began with has ended', async () => {
    const { given, client } = tokened({ WebSocket: null });
    assert.equal((await client.call('whoami')).user, 'ann');
    await expired(given[0]);
    assert.equal((await client.call('whoami')).user, 'ann');
  });

  it('fetches the rows for somebody who joins while the stream is asked for', async () => {
    let pass;
    const held = new Promise((resolve) => { pass = resolve; });
    let asked = false;
    here.proxy.hold = ({ url }) => {
      if (!url.startsWith('/events')) return undefined;
      asked = true;
      return held;
    };
    try {
      await here.insert(1, 1);
      const client = here.as('ann', { WebSocket: null });
      follow(client, 'requests:unit:7');
      await until('the request', () => asked);
      const rows = client.collection('requests:unit:7');
      await Promise.resolve(); // what is subscribed to is gathered
      pass();
      await until('the rows', () => rows.loaded);
      assert.deepEqual([...rows.rows.keys()], ['1']);
    } finally {
      here.proxy.hold = null;
    }
  });

  it('fetches the rows again where a resync came while they were fetched', async () => {
    await here.insert(1, 1);
    await settled(here.bridge, here.db);
    const back = backFetch();
    const client = here.as('ann', { origin: here.bridge.origin, fetch: back.fetch });
    const told = await joined(client, 'requests:unit:7'); // wants events, so that rows are fetched apart
    const rows = client.collection('requests:unit:7');
    await until('the rows to be on their way', () => back.came === 1);
    // The change itself is told to nobody, as with triggers that were off for a while.
    await here.db.query(`BEGIN; SET LOCAL session_replication_role = replica; UPDATE requests SET title = 'new'; COMMIT; SELECT livefeed.resync('requests')`);
    await until('the resync', () => told.resyncs.length === 1);
    back.let();
    await until('the rows of after it', () => rows.rows.get('1')?.title === 'new');
  });

  it('keeps the rows of a WebSocket where older ones come late over HTTP', { timeout: 3 * LONG_MS }, async () => {
    here.proxy.upgrades = false;
    const back = backFetch();
    const client = here.as('ann', { fetch: back.fetch });
    await joined(client, 'requests:unit:8');
    assert.equal(client.transport, 'sse');
    const rows = client.collection('requests:unit:7');
    await until('the answer to be kept back', () => back.came === 1);
    await here.insert(1, 1);
    here.proxy.upgrades = true;
    await until('the rows over a WebSocket', () => rows.rows.size === 1, LONG_MS);
    back.let();
    await until('the old answer', () => back.read === 1);
    await here.insert(2, 2);
    await until('the event', () => rows.rows.has('2'));
    assert.deepEqual([...rows.rows.keys()], ['1', '2']);
  });

  it('leaves alone what a WebSocket carries where a request over HTTP was still being made up', { timeout: 3 * LONG_MS }, async () => {
    const MOMENTS = 40; // microtasks, in each of which somebody subscribes
    await here.insert(1, MOMENTS);
    here.proxy.upgrades = false;
    const back = backFetch();
    const client = here.as('ann', { fetch: back.fetch });
    await joined(client, 'requests:unit:8');
    const rows = client.collection('requests:unit:7');
    await until('the answer to be kept back', () => back.came === 1);
    here.proxy.upgrades = true;
    await until('the rows over a WebSocket', () => rows.loaded, LONG_MS);
    const told = [];
    back.whenRead(async () => {
      for (let id = 1; id <= MOMENTS; id++) {
        told.push(follow(client, `requests:row:${id}`));
        await null;
      }
    });
    back.let();
    await until('all to have subscribed', () => told.length === MOMENTS);
    await until('their subscriptions', async () => await metric(here.bridge, 'livefeed_subscriptions') === MOMENTS + 2);
    await here.db.write(`UPDATE requests SET title = 'new'`);
    await until('all to hear', () => told.every(({ events }) => events.length === 1));
  });

  it('tells nothing after close(), also of what was asked for before', async () => {
    const back = backFetch();
    const client = here.as('ann', { origin: here.bridge.origin, fetch: back.fetch });
    await joined(client, 'requests:unit:7');
    const rows = follow(client, 'requests:unit:7', { snapshot: true });
    await until('the rows', () => back.came === 1);
    client.close();
    back.let();
    await until('them to be read', () => back.read === 1);
    await new Promise((resolve) => { setImmediate(resolve); });
    assert.deepEqual([rows.snapshots, rows.errors], [[], []]);
  });

  it('gives up rows that do not come, and asks again; events go on', async () => {
    const patient = globalThis.setTimeout;
    const impatient = (how, ms, ...rest) => patient(how, ms === 30_000 ? 300 : ms, ...rest);
    let asked = 0;
    const client = here.as('ann', {
      origin: here.bridge.origin,
      fetch: (url, init) => {
        if (asked++) return fetch(url, init);
        return new Promise(() => {});
      },
    });
    const told = await joined(client, 'requests:unit:7');
    globalThis.setTimeout = impatient;
    let rows;
    try {
      rows = client.collection('requests:unit:7');
      await until('a request', () => asked);
    } finally {
      globalThis.setTimeout = patient;
    }
    await here.insert(1, 1);
    await until('the event', () => told.events.length === 1);
    await until('the rows', () => rows.rows.size === 1);
    assert.deepEqual(told.errors.map(({ code, ended }) => [code, ended]), [['unavailable', false]]);
  });

  it('runs a command with its arguments as they were, and refuses those that JSON has no words for', async () => {
    const client = here.as('ann', { origin: here.bridge.origin });
    const args = { text: 'as it was' };
    const called = client.call('note', args); // waits for the connection
    args.text = 'later';
    await assert.rejects(client.call('note', { text: 1n }), TypeError);
    await called;
    assert.deepEqual((await here.db.query('SELECT text FROM notes')).map(({ text }) => text), ['as it was']);
  });

  it('goes over HTTP where the page may not make a WebSocket at all', async () => {
    class Forbidden {
      constructor() {
        throw new Error('the operation is insecure');
      }
    }
    const client = here.as('ann', { WebSocket: Forbidden, origin: here.bridge.origin });
    const rows = client.collection('requests:unit:7');
    await until('polling', () => client.status === 'polling' && rows.loaded);
  });

  it('tells who has unsubscribed nothing more, also within one event', async () => {
    const client = here.as('ann', { origin: here.bridge.origin });
    let other;
    const told = follow(client, 'requests:unit:7', { onEvent: () => other.subscription.unsubscribe() });
    other = follow(client, 'requests:unit:7');
    const last = await joined(client, 'requests:unit:7');
    await here.insert(1, 1);
    await until('the last of them', () => last.events.length === 1);
    assert.deepEqual([other.events, told.errors], [[], []]);
  });

  it('ends with the status of now for all who listen, though one of them closes', async () => {
    const client = here.as('ann', { origin: here.bridge.origin });
    const heard = [];
    client.onStatus(() => client.close());
    client.onStatus((status) => heard.push(status));
    await until('an end', () => client.closed);
    assert.deepEqual([client.status, heard.at(-1)], ['offline', 'offline']);
  });

  it('tells the other listeners of a collection where one throws', async (t) => {
    const said = [];
    const { error } = console;
    console.error = (trouble) => said.push(trouble.message);
    t.after(() => { console.error = error; });
    const client = here.as('ann', { origin: here.bridge.origin });
    const events = [];
    const rows = client.collection('requests:unit:7', { onEvent: ({ key }) => events.push(key) });
    await until('the rows', () => rows.loaded);
    let changes = 0;
    rows.onChange(() => { throw new Error('mine'); });
    rows.onChange(() => changes++);
    await here.insert(1, 1);
    await until('the event', () => events.length === 1);
    assert.deepEqual([changes, said], [1, ['mine']]);
  });
});
