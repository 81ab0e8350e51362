// parent_feed: comments of a card reach whoever holds the card's row channel, and nobody else by it; a
// comment that goes to another card is told to both; also in replays, from memory and from the log.
// Not here: which events are made (sql/parent.sql).

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Cluster } from './lib/cluster.mjs';
import { Bridge } from './lib/bridge.mjs';
import { Client, isEvent } from './lib/client.mjs';
import { Io } from './lib/socketio.mjs';
import { Stream, query } from './lib/stream.mjs';

const SCHEMA = `
  CREATE TABLE cards (id integer PRIMARY KEY, team text, owner text, title text);
  CREATE TABLE comments (id integer PRIMARY KEY, card_id integer, author text, body text);
  SELECT livefeed.watch('cards', entity => 'card', unit => 'team', users => '{owner}', roles => '{member}');
  SELECT livefeed.watch('comments', entity => 'comment', users => '{author}', parent_feed => 'cards', parent => 'card_id');
  INSERT INTO cards VALUES (5, 'red', 'olga', 'five'), (6, 'red', 'olga', 'six'), (7, 'blue', NULL, 'seven');
`;

describe('children of a row', () => {
  let cluster;
  let db;
  let bridge;
  let cold; // has read nothing of what was before it
  const clients = [];

  before(async () => {
    cluster = await Cluster.start();
    db = await cluster.database(SCHEMA);
    bridge = await Bridge.start(db);
  });
  after(async () => {
    await Promise.all(clients.map((client) => client.leave()));
    await bridge?.stop();
    await cold?.stop();
    await cluster?.remove();
  });

  async function as(user, who = {}, at = bridge) {
    const client = await Client.open(at, { token: await db.token(user, who) });
    clients.push(client);
    await client.caughtUp(db); // what was written before comes to nobody after
    return client;
  }
  const member = { units: { red: ['member'] } };
  const told = (client) => client.events().map((event) => `${event.type}/${event.action}/${event.key}@${event.channels}`);

  it('reach who holds the row of their parent, whatever they are themselves', async () => {
    const alice = await as('alice', member);
    await alice.subscribe('cards:row:5');
    const olga = await as('olga'); // one of the card's users
    await olga.subscribe('cards:row:5');
    await olga.subscribe('cards:row:6');
    const carl = await as('carl'); // an author
    await carl.subscribe('comments:user:carl');
    await db.write(`INSERT INTO comments VALUES (1, 5, 'carl', 'first'), (2, 6, 'dave', 'elsewhere'), (3, NULL, 'carl', 'nowhere')`);
    await db.write(`UPDATE comments SET body = 'changed' WHERE id = 1`);
    const event = await alice.next({ type: 'comment.updated' });
    assert.equal(event.feed, 'comments');
    assert.deepEqual(event.data, { id: 1, card_id: 5, author: 'carl', body: 'changed' });
    await Promise.all([alice, olga, carl].map((client) => client.caughtUp(db)));
    assert.deepEqual(told(alice), ['comment.created/created/1@cards:row:5', 'comment.updated/updated/1@cards:row:5']);
    assert.deepEqual(told(olga), ['comment.created/created/1@cards:row:5', 'comment.created/created/2@cards:row:6', 'comment.updated/updated/1@cards:row:5']);
    assert.deepEqual(told(carl), ['comment.created/created/1@comments:user:carl', 'comment.created/created/3@comments:user:carl', 'comment.updated/updated/1@comments:user:carl']);
  });

  it('give nobody a channel that is not theirs', async () => {
    const eve = await as('eve', { units: { blue: ['member'], red: [] } });
    assert.equal(await eve.refusedSubscribe('cards:row:5'), 'forbidden');
    assert.equal(await eve.refusedSubscribe('comments:row:1'), 'forbidden');
    await eve.subscribe('cards:row:7');
    await db.write(`INSERT INTO comments VALUES (10, 5, 'carl', 'not for eve')`);
    await eve.caughtUp(db);
    assert.deepEqual(told(eve), []);
  });

  it('are told to both parents when they move, and to who keeps them once', async () => {
    const alice = await as('alice', member);
    await alice.subscribe('cards:row:5');
    const bob = await as('bob', member);
    await bob.subscribe('cards:row:6');
    const carl = await as('carl');
    await carl.subscribe('comments:row:1');
    await db.write('UPDATE comments SET card_id = 6 WHERE id = 1');
    await Promise.all([alice, bob, carl].map((client) => client.caughtUp(db)));
    assert.deepEqual(told(alice), ['comment.deleted/moved_out/1@cards:row:5']);
    assert.equal(alice.events()[0].data, null);
    assert.deepEqual(told(bob), ['comment.created/moved_in/1@cards:row:6']);
    assert.equal(bob.events()[0].data.card_id, 6);
    assert.deepEqual(told(carl), ['comment.updated/updated/1@comments:row:1']);
  });

  it('end with the right to the parent', async () => {
    const alice = await as('alice', member);
    await alice.subscribe('cards:row:5');
    await db.write(`UPDATE cards SET team = 'blue' WHERE id = 5`);
    assert.equal((await alice.next('unsubscribed')).reason, 'forbidden');
    await db.write(`INSERT INTO comments VALUES (11, 5, 'carl', 'no longer hers')`);
    await alice.caughtUp(db);
    assert.deepEqual(told(alice), []);
    await db.write(`UPDATE cards SET team = 'red' WHERE id = 5`);
  });

  it('end with the right to the parent, too, where the event that takes it was folded', async () => {
    const [alice, olga] = [await as('alice', member), await as('olga', member)];
    await alice.subscribe('cards:row:5');
    await olga.subscribe('cards:row:5');
    await db.write(`BEGIN; SET LOCAL livefeed.max_events_per_transaction = 1; UPDATE cards SET title = 'x' WHERE id = 7;
      UPDATE cards SET team = 'blue' WHERE id = 5; COMMIT`);
    await db.write(`INSERT INTO comments VALUES (12, 5, 'carl', 'no longer hers')`);
    assert.equal((await alice.next('resync')).reason, 'folded');
    assert.equal((await alice.next('unsubscribed')).reason, 'forbidden');
    assert.equal((await olga.next({ type: 'comment.created' })).data.id, 12, 'who still has it goes on');
    await alice.caughtUp(db);
    assert.deepEqual(told(alice), []);
    await db.write(`UPDATE cards SET team = 'red' WHERE id = 5`);
  });

  it('come in replays, from memory and from the log', async () => {
    const since = await db.head();
    await db.write(`INSERT INTO comments VALUES (20, 5, 'carl', 'a'), (21, 6, 'carl', 'b')`);
    await db.write('UPDATE comments SET card_id = 5 WHERE id = 21');
    await db.write('DELETE FROM comments WHERE id = 20');
    await db.head();
    cold = await Bridge.start(db);
    const expected = ['comment.created/created/20@cards:row:5', 'comment.created/moved_in/21@cards:row:5', 'comment.deleted/deleted/20@cards:row:5'];
    for (const at of [bridge, cold]) {
      const alice = await as('alice', member, at);
      assert.equal((await alice.subscribe('cards:row:5', { since })).recovered, true);
      await alice.next((frame) => isEvent(frame) && frame.action === 'deleted');
      assert.deepEqual(told(alice), expected);
    }
  });

  describe('in replays to who got the row lately', () => {
    const red = { units: { red: ['member'] } };
    const redAndBlue = { units: { red: ['member'], blue: ['member'] } };
    const moved = 'card.updated/updated/8';
    const comment = (n) => `comment.created/created/${n}`;
    const told = (frames) => frames.filter(isEvent).map((event) => `${event.type}/${event.action}/${event.key}`);
    const isLast = (frame) => frame.key === '104';
    const bridges = {};
    let since;

    before(async () => {
      // Of the history of one, the cards' events of before are soon gone.
      bridges['a small history'] = await Bridge.start(db, ['--history', '64KiB']);
      since = await db.head();
      await db.write(`INSERT INTO cards VALUES (8, 'blue', 'olga', 'eight')`);
      await db.write(`INSERT INTO comments VALUES (101, 8, 'carl', 'while it is blue')`);
      await db.write(`UPDATE cards SET team = 'red' WHERE id IN (6, 8)`);
      await db.write(`INSERT INTO comments VALUES (102, 8, 'carl', 'while it is red')`);
      await db.write(`UPDATE cards SET team = 'blue' WHERE id = 8`);
      await db.write(`INSERT INTO comments VALUES (103, 8, 'carl', 'blue again')`);
      await db.write(`UPDATE cards SET team = 'red', owner = 'erik' WHERE id = 8`);
      await db.write(`INSERT INTO comments VALUES (104, 8, 'carl', 'red again')`);
      await db.write(`INSERT INTO cards SELECT n, 'grey', NULL, repeat('x', 500) FROM generate_series(1000, 1300) n`);
      await db.head();
      bridges['a bridge that was started behind it'] = await Bridge.start(db);
      bridges.memory = bridge;
    });
    after(() => Promise.all(Object.values(bridges).filter((each) => each !== bridge).map((each) => each.stop())));

    // What each is to be told from the beginning, from the first time that it is blue, and from the second.
    const expected = {
      red: [moved, comment(102), moved, comment(104)],
      both: ['card.created/created/8', comment(101), moved, comment(102), moved, comment(103), moved, comment(104)],
      erik: [moved, comment(104)],
    };
    const who = { red: ['rita', red], both: ['bert', redAndBlue], erik: ['erik', {}] };

    for (const place of ['memory', 'a small history', 'a bridge that was started behind it']) {
      it(`are those of its time, over a WebSocket, from ${place}`, async () => {
        for (const [name, [user, claims]] of Object.entries(who)) {
          const client = await Client.open(bridges[place], { token: await db.token(user, claims) });
          clients.push(client);
          assert.equal((await client.subscribe('cards:row:8', { since })).recovered, true);
          await client.caughtUp(db);
          assert.deepEqual(told(client.frames), expected[name], name);
        }
      });

      it(`over Server-Sent Events, long poll and Socket.IO, from ${place}`, async () => {
        const at = bridges[place];
        for (const [name, [user, claims]] of Object.entries(who)) {
          const token = await db.token(user, claims);
          const stream = await Stream.open(at, { token, channels: ['cards:row:8'], since });
          await stream.next(isLast).finally(() => stream.leave());
          assert.deepEqual(told(stream.frames.map(({ frame }) => frame)), expected[name], `${name}, SSE`);

          const frames = [];
          for (let cursor = since; !frames.some(isLast);) {
            const answer = await at.get(`/poll?${query({ channels: ['cards:row:8'], since: cursor, wait: 5 })}`, { headers: { authorization: `Bearer ${token}` } });
            const body = JSON.parse(answer.body);
            frames.push(...body.frames);
            ({ cursor } = body);
          }
          assert.deepEqual(told(frames), expected[name], `${name}, poll`);

          const io = await Io.open(at.origin, '/', { auth: { token } });
          try {
            io.socket.emit('subscribe', { channel: 'cards:row:8', since });
            await io.next('comment.created', isLast);
            assert.deepEqual(told(io.told.map(([, frame]) => frame)), expected[name], `${name}, Socket.IO`);
          } finally {
            io.socket.disconnect();
          }
        }
      });
    }
  });

  it('bring their resyncs to every row of the parent, and to nothing else of it', async () => {
    const olga = await as('olga', member);
    await olga.subscribe('cards:row:5');
    await olga.subscribe('cards:row:6');
    await olga.subscribe('cards:unit:red');
    await db.write('TRUNCATE comments');
    await olga.caughtUp(db);
    const resyncs = olga.frames.filter(({ type }) => type === 'resync').map(({ channel, reason }) => `${channel} ${reason}`).sort();
    assert.deepEqual(resyncs, ['cards:row:5 truncated_table', 'cards:row:6 truncated_table']);
  });
});
