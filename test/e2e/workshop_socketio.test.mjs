// The workshop example over unmodified socket.io-client: the list of workshop.test.mjs, under the event names that pages of Socket.IO
// know, on the namespaces /appointments and /workflow. No Redis, no server of the application's own.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import { Example, dayWithTime } from './lib/example.mjs';
import { Io } from './lib/socketio.mjs';
import { Proxy } from './lib/proxy.mjs';
import { until } from './lib/wait.mjs';

describe('workshop over socket.io', () => {
  let app;
  let db;
  const clients = [];

  before(async () => {
    app = await Example.start('workshop', { probe: 'pete' });
    ({ db } = app);
  });
  after(async () => {
    for (const client of clients) client.leave();
    await app?.stop();
  });

  async function as(user, namespace, { origin = app.bridge.origin, ...options } = {}) {
    const client = await Io.open(origin, namespace, { auth: { token: await app.tokenOf(user) }, ...options });
    clients.push(client);
    return client;
  }
  const inTables = async (what) => Object.values((await db.query(`SELECT ${what}('7')`))[0])[0];
  /** The latest value of that name is what the database says, at last. */
  const shows = (client, name, what) => until(`${name} to be that of the tables`,
    async () => isDeepStrictEqual(client.named(name).at(-1)?.[1], await inTables(what)));
  const VALUES = { pending_count: 'pending_count', today_appointments: 'today_appointments', schedule_updated: 'today_schedule' };

  for (const [version, way] of [[4, 'websocket'], [4, 'polling'], [3, 'upgrade']]) {
    it(`dashboard (client ${version}, ${way}): each value sent on connect, and again when it changes`, async () => {
      await dayWithTime(app);
      const [mia, noah] = [await as('mia', '/appointments', { version, way }), await as('noah', '/appointments', { version, way })];
      for (const client of [mia, noah]) for (const [name, what] of Object.entries(VALUES)) await shows(client, name, what);
      const at = `${new Date().toISOString().slice(0, 10)}T12:00Z`;
      const { data: { id } } = await mia.ask('book_appointment', { shop: 7, customer: 'Zoe', car: 'Kadett', at, bay: 2 });
      for (const client of [mia, noah]) await client.next('today_appointments', (list) => list.some((each) => each.id === id));
      assert.equal((await noah.ask('set_appointment', { appointment: id, status: 'Confirmed' })).type, 'result');
      for (const client of [mia, noah]) {
        await client.next('schedule_updated', (bays) => bays[2]?.some((slot) => slot.car === 'Kadett'));
        const [, frame] = await client.next('appointment.updated', ({ key }) => key === String(id));
        assert.deepEqual([frame.action, frame.updated_by], ['confirmed', 'noah']);
      }
      await db.write('DELETE FROM appointments WHERE id = $1', [id]);
      for (const client of [mia, noah]) for (const [name, what] of Object.entries(VALUES)) await shows(client, name, what);
      mia.leave();
      noah.leave();
    });
  }

  it('board: whole on connect; cards moved, reordered, edited, made and removed; columns, comments and labels', async () => {
    const [mia, noah] = [await as('mia', '/workflow'), await as('noah', '/workflow', { way: 'upgrade' })];
    for (const client of [mia, noah]) await shows(client, 'board_update', 'board');
    const { data: { card } } = await mia.ask('new_card', { column: 4, title: 'Towbar', car: 'Passat' });
    const moved = await noah.ask('move_card', { card, column: 3, position: 99 });
    assert.equal(moved.type, 'result');
    await noah.ask('move_card', { card, column: 3, position: 1 });
    await noah.ask('edit_card', { card, title: 'Towbar, detachable' });
    await mia.ask('add_comment', { card, body: 'Rust' });
    await mia.ask('set_label', { card, name: 'a, b', colour: 'red' });
    await mia.ask('rename_column', { column: 2, title: 'On the lift' });
    await mia.ask('drop_card', { card });
    for (const client of [mia, noah]) {
      await client.next('card_update', (frame) => frame.type === 'card.deleted' && frame.key === String(card));
      const names = client.told.filter(([, frame]) => frame?.key === String(card)).map(([name, frame]) => [name, frame.action, frame.updated_by]);
      assert.deepEqual(names, [['card_update', 'created', 'mia'], ['card_move', 'moved', 'noah'], ['card_update', 'reordered', 'noah'],
        ['card_update', 'edited', 'noah'], ['card_update', 'deleted', 'mia']]);
      assert.deepEqual(client.named('column_update').map(([, frame]) => [frame.action, frame.key]), [['renamed', '2']]);
      assert.equal(client.named('comment_update')[0][1].data.body, 'Rust');
      assert.deepEqual(client.named('label_update')[0][1].data.colour, 'red');
      await shows(client, 'board_update', 'board');
    }
  });

  it('a shop\'s members alone; what is refused, says why to the ack', async () => {
    const [mia, olive] = [await as('mia', '/workflow'), await as('olive', '/workflow')];
    await mia.ask('edit_card', { card: 1, title: 'Brakes and pads' });
    await mia.next('card_update', ({ key }) => key === '1');
    await olive.next('board_update');
    const own = olive.told.flatMap(([, ...args]) => args.map((each) => each?.channels ?? each?.channel ?? []).flat());
    assert.ok(own.length > 0 && own.every((channel) => channel.endsWith(':unit:9')), JSON.stringify(own));
    assert.match((await olive.ask('move_card', { card: 1, column: 1, position: 1 })).message, /no such thing in your shop/);
    assert.equal((await olive.ask('subscribe', { channel: 'cards:unit:7' })).code, 'forbidden');
    assert.equal((await (await as('noah', '/workflow')).ask('rename_column', { column: 2, title: 'x' })).code, 'forbidden', 'a foreman\'s');
    const nobody = await Io.open(app.bridge.origin, '/workflow', { auth: { token: await app.tokenOf('nobody') }, connect: false });
    clients.push(nobody);
    assert.equal(await nobody.refused(), 'bad_token');
  });

  it('a card that is open: its comments and labels by subscribe', async () => {
    const noah = await as('noah', '/');
    const mia = await as('mia', '/workflow');
    assert.equal((await noah.ask('subscribe', { channel: 'cards:row:5' })).type, 'subscribed');
    await mia.ask('add_comment', { card: 5, body: 'Oil' });
    const [, frame] = await noah.next('comment_update');
    assert.deepEqual([frame.data.body, frame.channels], ['Oil', ['cards:row:5']]);
  });

  it('20 people who move at once: each board shows every move once, in order, and positions stay whole', async () => {
    const people = [];
    for (let n = 0; n < 20; n++) people.push(await as(['mia', 'noah'][n % 2], '/workflow', { way: ['websocket', 'polling'][n % 2] }));
    const cards = (await db.query('SELECT id FROM cards WHERE shop_id = 7 ORDER BY id')).map(({ id }) => id);
    const answers = await Promise.all(people.flatMap((client, n) => [0, 1, 2].map((round) => client.ask('move_card',
      { card: cards[(n + round) % cards.length], column: 1 + ((n * 7 + round) % 4), position: 1 + (n % 3) }))));
    assert.ok(answers.every(({ type }) => type === 'result'), JSON.stringify(answers.filter(({ type }) => type !== 'result')));
    for (const { places } of await db.query('SELECT array_agg(position ORDER BY position) AS places FROM cards GROUP BY column_id')) {
      assert.deepEqual(places, places.map((_, at) => at + 1));
    }
    const last = Math.max(...answers.map(({ cursor }) => Number(cursor.split('-')[1])));
    const logged = (await db.query(`SELECT id FROM livefeed.events(feed => 'cards', unit => '7', max => 10000) WHERE id <= $1`, [last])).map(({ id }) => Number(id));
    for (const client of people) {
      const ids = () => [...client.named('card_move'), ...client.named('card_update')].map(([, { id }]) => id).sort((a, b) => a - b);
      await until('the last move', () => ids().includes(logged.at(-1)));
      assert.deepEqual(ids(), logged.filter((id) => id >= ids()[0]), 'none missing, none twice');
      const order = client.told.map(([, frame]) => frame?.id).filter((id) => id !== undefined);
      assert.deepEqual(order, [...order].sort((a, b) => a - b));
      client.leave();
    }
  });

  it('polling where WebSocket fails, and a network that comes and goes: nothing lost or doubled', async () => {
    const proxy = await Proxy.start(app.bridge.port);
    try {
      proxy.upgrades = false;
      const noah = await as('noah', '/workflow', { origin: proxy.origin, way: 'upgrade' });
      const mia = await as('mia', '/workflow');
      const titles = [];
      const edit = async (title) => { titles.push(title); await mia.ask('edit_card', { card: 2, title }); };
      await edit('by polling');
      await noah.next('card_update', ({ data }) => data?.title === 'by polling');
      assert.equal(noah.transport, 'polling');
      await until('a cut to be noticed: one between two polls breaks nothing', () => { if (noah.ends.length === 0) proxy.cut(); return noah.ends.length > 0; });
      await edit('missed');
      await noah.connected(2);
      assert.equal(noah.socket.recovered, true);
      proxy.upgrades = true;
      noah.socket.io.engine.close();
      await edit('missed too');
      await noah.connected(3);
      await until('a WebSocket again', () => noah.transport === 'websocket');
      await edit('by WebSocket');
      await noah.next('card_update', ({ data }) => data?.title === 'by WebSocket');
      assert.deepEqual(noah.named('card_update').map(([, { data }]) => data.title), titles);
      await shows(noah, 'board_update', 'board');
    } finally {
      await proxy.stop();
    }
  });
});
