// latest_only over a socket that is slow: a progress bar fed a thousand times a second reaches a page that
// does not read as its newest value only; the last value always comes, other feeds come whole, in order.
// Not here: what replaces what (test/unit/test_latest.c).

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Cluster } from './lib/cluster.mjs';
import { Bridge } from './lib/bridge.mjs';
import { Client, isEvent } from './lib/client.mjs';
import { SCHEMA } from './lib/schema.mjs';

const STEPS = 2500;
const FILLER_BYTES = 120_000;
const FILLERS = 150; // 18 MB; the kernel takes 4 to 10 MB for who does not read
const REQUESTS = 25;

const FEEDS = `
  SELECT livefeed.declare_feed('progress', durable => false, latest_only => true);
  SELECT livefeed.declare_feed('filler', durable => false, latest_only => true);
  CREATE PROCEDURE work(steps integer) LANGUAGE plpgsql AS $$
  BEGIN
    FOR n IN 1..steps LOOP
      PERFORM livefeed.publish('progress', 'step', jsonb_build_object('percent', n), unit => '7', key => 'job');
      IF n % (steps / ${REQUESTS}) = 0 THEN
        INSERT INTO requests (unit_id, title) VALUES (7, 'between');
      END IF;
      COMMIT;
      PERFORM pg_sleep(0.0009);
    END LOOP;
  END $$;
`;

describe('latest_only', () => {
  let cluster;
  let db;
  let bridge;
  const clients = [];

  before(async () => {
    cluster = await Cluster.start();
    db = await cluster.database(SCHEMA + FEEDS);
    bridge = await Bridge.start(db, ['--max-queue', '256KiB', '--heartbeat', '5min']); // who does not read does not answer pings, either
  });
  after(async () => {
    await Promise.all(clients.map((client) => client.leave()));
    await bridge?.stop();
    await cluster?.remove();
  });

  async function page(user) {
    const client = await Client.open(bridge, { token: await db.token(user, { units: [7] }) });
    clients.push(client);
    for (const channel of ['progress:unit:7', 'filler:unit:7', 'requests:unit:7']) await client.subscribe(channel);
    return client;
  }
  const percents = (client) => client.events('progress:unit:7').map(({ data }) => data.percent);
  const ascending = (numbers) => numbers.every((n, i) => i === 0 || n > numbers[i - 1]);

  it('brings a slow page the newest value, and all of another feed', async () => {
    const since = await db.head();
    const slow = await page('slow');
    const quick = await page('quick');
    slow.socket.pause();
    // Until the kernel has no more room for it, each goes out by itself.
    for (let n = 1; n <= FILLERS; n++) {
      await db.write(`SELECT livefeed.publish('filler', 'fill', jsonb_build_object('n', $1::integer, 'bytes', repeat('x', $2)), unit => '7', key => 'f')`, [n, FILLER_BYTES]);
      await quick.next((frame) => frame.feed === 'filler' && frame.data.n === n);
    }
    await db.write(`CALL work(${STEPS})`);
    await quick.next((frame) => frame.feed === 'progress' && frame.data.percent === STEPS);
    assert.equal(slow.closed, null);

    slow.socket.resume();
    await slow.next((frame) => frame.feed === 'progress' && frame.data.percent === STEPS);
    assert.deepEqual(percents(slow), [STEPS], 'of the bar the newest value alone');
    const fills = slow.events('filler:unit:7').map(({ data }) => data.n);
    assert.ok(fills.length < FILLERS, `of the filler ${fills.length} fit into the kernel's buffers`);
    assert.equal(fills.at(-1), FILLERS, 'and its last comes, too');
    assert.equal(slow.events('requests:unit:7').length, REQUESTS, 'of the other feed all');
    assert.ok(ascending(slow.events().map(({ id }) => id)), 'in order');
    assert.ok(ascending(percents(quick)), 'who reads at once sees it grow');
    assert.ok(percents(quick).length > 10, `in many steps (${percents(quick).length})`);
    assert.equal(slow.frames.filter(({ type }) => type === 'resync').length, 0);

    // Live again, and one by one.
    await db.write(`SELECT livefeed.publish('progress', 'step', '{"percent": 0}', unit => '7', key => 'job')`);
    await slow.next((frame) => frame.feed === 'progress' && frame.data.percent === 0);

    // Who resumes from before all that gets the last of each, too.
    const late = await Client.open(bridge, { token: await db.token('late', { units: [7] }) });
    clients.push(late);
    assert.equal((await late.subscribe('progress:unit:7', { since })).recovered, true);
    await late.next((frame) => isEvent(frame) && frame.data.percent === 0);
    assert.deepEqual(percents(late), [0]);
  });

  it('leaves alone what an update did not replace', async () => {
    const slow = await page('slow');
    const say = (action, n, key) => `SELECT livefeed.publish('progress', '${action}', '{"percent": ${n}}', unit => '7', key => '${key}')`;
    await db.write(`BEGIN; ${[say('created', 1, 'a'), say('step', 2, 'a'), say('step', 3, 'b'), say('step', 4, 'a'), say('deleted', 0, 'a'), say('created', 5, 'a'), say('step', 6, 'c')].join('; ')}; COMMIT`);
    await slow.caughtUp(db);
    assert.deepEqual(slow.events().map(({ key, action, data }) => `${key} ${action} ${data?.percent}`),
      ['a created 1', 'b step 3', 'a step 4', 'a deleted undefined', 'a created 5', 'c step 6']);
  });
});
