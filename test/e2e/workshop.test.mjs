// The workshop example on its own schema, over real connections: what a repair shop
// wants of live updates. A test's name is the point that it shows.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { isEvent } from './lib/client.mjs';
import { Example, call, dayWithTime, refusedCall, value } from './lib/example.mjs';
import { until } from './lib/wait.mjs';

const BOARD = ['board_columns', 'cards', 'comments', 'labels'];
const keyOf = (row, columns) => (columns.length === 1 ? String(row[columns[0]]) : columns.map((name) => encodeURIComponent(String(row[name]))).join(','));

describe('workshop', () => {
  let app;
  let db;

  before(async () => {
    app = await Example.start('workshop', { probe: 'pete' });
    ({ db } = app);
  });
  after(() => app?.stop());

  const as = (...who) => app.as(...who);
  const one = async (sql, values) => Object.values((await db.write(sql, values))[0])[0];
  const today = (what) => one(`SELECT ${what}($1)`, ['7']);
  const book = (at, status = 'Pending') => one(`
    INSERT INTO appointments (shop_id, customer, car, starts_at, status)
    VALUES (7, 'Zoe', 'Kadett', date_trunc('day', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' + $1::interval, $2) RETURNING id`, [at, status]);

  /** Somebody at the counter, and the values that he was sent on connect. */
  async function atCounter(user) {
    await app.settled();
    const client = await as(user, '/ws/appointments/7/', 4);
    const first = {};
    for (const name of ['pending_count', 'today_appointments', 'today_schedule']) first[name] = await value(client, `${name}:unit:7`);
    return { client, first };
  }

  /** Somebody before the board: what his page would show, kept by snapshots and events alone. */
  async function atBoard(user, shop = 7) {
    await app.settled();
    const client = await as(user, `/ws/workflow/${shop}/`, BOARD.length, { snapshot: 1 });
    const board = {};
    const begun = {};
    for (const feed of BOARD) {
      const frame = await client.next({ type: 'snapshot', channel: `${feed}:unit:${shop}` });
      begun[feed] = frame.data;
      board[feed] = new Map(frame.data.map((row) => [keyOf(row, frame.key_columns), row]));
    }
    const shown = async () => {
      await client.caughtUp(db);
      for (const event of client.events()) {
        if (event.type.endsWith('.deleted')) board[event.feed].delete(event.key);
        else board[event.feed].set(event.key, event.data);
      }
      return Object.fromEntries(BOARD.map((feed) => [feed, [...board[feed].values()]]));
    };
    const happened = async (feed) => {
      await client.caughtUp(db);
      return client.events(`${feed}:unit:${shop}`).map((event) => [event.type, event.action, event.key, event.updated_by]);
    };
    return { client, begun, shown, happened };
  }

  const ordered = (rows) => rows.map((row) => JSON.stringify(row)).sort();
  async function boardInTables(shop = 7) {
    const board = {};
    for (const feed of BOARD) board[feed] = await db.write(`SELECT * FROM ${feed} WHERE shop_id = $1`, [shop]);
    return board;
  }
  const same = (shown, tables) => BOARD.forEach((feed) => assert.deepEqual(ordered(shown[feed]), ordered(tables[feed]), feed));
  const positionsWhole = async () => {
    for (const { column_id: column, places } of await db.write('SELECT column_id, array_agg(position ORDER BY position) AS places FROM cards GROUP BY 1')) {
      assert.deepEqual(places, places.map((_, at) => at + 1), `column ${column}`);
    }
  };

  it("dashboard: today's appointments, today's schedule and the pending count, each sent on connect", async () => {
    await dayWithTime(app);
    for (const user of ['mia', 'noah']) {
      const { first } = await atCounter(user);
      for (const name of Object.keys(first)) assert.deepEqual(first[name], await today(name), name);
      assert.ok(first.today_appointments.length > 0 && first.pending_count > 0);
      assert.notDeepEqual(first.today_appointments, first.today_schedule, 'two different values');
    }
    for (const name of ['pending_count', 'today_appointments', 'today_schedule', 'appointments']) {
      assert.equal(await (await as('pete')).refusedSubscribe(`${name}:unit:7`), 'forbidden', 'another shop');
    }
  });

  it('each again when it changes; appointments made, changed, deleted', async () => {
    await dayWithTime(app);
    const { client: mia, first } = await atCounter('mia');
    const { client: noah } = await atCounter('noah');
    const both = async (name, wanted) => { for (const client of [mia, noah]) await value(client, `${name}:unit:7`, wanted); };
    const { id } = await call(mia, 'book_appointment', { shop: 7, customer: 'Zoe', car: 'Kadett', at: `${new Date().toISOString().slice(0, 10)}T12:00Z`, bay: 2 });
    await both('pending_count', first.pending_count + 1);
    await both('today_appointments', (list) => list.some((each) => each.id === id && each.status === 'Pending'));
    await call(noah, 'set_appointment', { appointment: id, status: 'Confirmed' });
    await both('pending_count', first.pending_count);
    await both('today_appointments', (list) => list.some((each) => each.id === id && each.status === 'Confirmed'));
    await both('today_schedule', (bays) => bays[2]?.some((slot) => slot.from === '12:00' && slot.car === 'Kadett'));
    await db.write('UPDATE appointments SET starts_at = starts_at + $2::interval WHERE id = $1', [id, '30 minutes']);
    await both('today_schedule', (bays) => bays[2]?.some((slot) => slot.from === '12:30'));
    await db.write('DELETE FROM appointments WHERE id = $1', [id]);
    for (const name of ['today_appointments', 'today_schedule']) await both(name, first[name]);
    for (const client of [mia, noah]) {
      await client.caughtUp(db);
      assert.deepEqual(client.events('appointments:unit:7').map((event) => [event.type, event.action, event.updated_by]), [
        ['appointment.created', 'created', 'mia'], ['appointment.updated', 'confirmed', 'noah'],
        ['appointment.updated', 'rescheduled', null], ['appointment.deleted', 'deleted', null]]);
    }
  });

  it('each again when the day changes (refresh), with no appointment touched', async () => {
    await dayWithTime(app);
    const refreshes = await db.query(`SELECT name, refresh_ms FROM livefeed.queries WHERE name LIKE 'today%'`);
    assert.deepEqual(refreshes.map((row) => row.refresh_ms), [30_000, 30_000], 'soon enough after midnight');
    for (const name of ['today_appointments', 'today_schedule']) { // and soon enough for a test
      await db.write(`SELECT livefeed.expose_query('${name}', '${name}(text)', 'unit', '{appointments}', refresh => '1 s')`);
    }
    const tomorrow = await book('28:00', 'Confirmed');
    const yesterday = await book('-6:00', 'Confirmed');
    const { client: mia, first } = await atCounter('mia');
    assert.ok(![tomorrow, yesterday].some((id) => first.today_appointments.some((each) => each.id === id)));
    // Another day begins in the shop: at 10:00 UTC and later it is tomorrow in Kiritimati, before 12:00 still yesterday at the date line.
    const zone = new Date().getUTCHours() < 11 ? 'Etc/GMT+12' : 'Pacific/Kiritimati';
    await db.write('UPDATE shops SET time_zone = $1 WHERE id = 7', [zone]);
    await value(mia, 'today_appointments:unit:7', (list) => list.some((each) => each.id === tomorrow || each.id === yesterday));
    await value(mia, 'today_schedule:unit:7', (bays) => JSON.stringify(bays).includes('Kadett'));
    await db.write(`UPDATE shops SET time_zone = 'UTC' WHERE id = 7`);
    await value(mia, 'today_appointments:unit:7', first.today_appointments);
    await mia.caughtUp(db);
    assert.deepEqual(mia.events(), []);
    await db.write('DELETE FROM appointments WHERE id IN ($1, $2)', [tomorrow, yesterday]);
  });

  it('board: its whole state on connect', async () => {
    for (const user of ['mia', 'noah']) same((await atBoard(user)).begun, await boardInTables());
    const { begun } = await atBoard('olive', 9);
    same(begun, await boardInTables(9));
    assert.deepEqual(begun.board_columns.map((column) => column.name).sort(), ['completed', 'estimates', 'in_progress', 'waiting_parts']);
    const foreign = await as('olive', '/ws/workflow/7/');
    for (let n = 0; n < BOARD.length; n++) assert.equal((await foreign.next('error')).code, 'forbidden');
  });

  it('card moved between columns, reordered within one, edited, made, removed', async () => {
    const [mia, noah] = [await atBoard('mia'), await atBoard('noah')];
    const { card } = await call(mia.client, 'new_card', { column: 4, title: 'Towbar', car: 'Passat' });
    await call(noah.client, 'move_card', { card, column: 3, position: 99 });
    await call(noah.client, 'move_card', { card, column: 3, position: 1 });
    await call(noah.client, 'edit_card', { card, title: 'Towbar, detachable' });
    await call(mia.client, 'drop_card', { card });
    for (const side of [mia, noah]) {
      assert.deepEqual((await side.happened('cards')).filter(([, , key]) => key === String(card)).map(([type, action, , who]) => [type, action, who]), [
        ['card.created', 'created', 'mia'], ['card.updated', 'moved', 'noah'], ['card.updated', 'reordered', 'noah'],
        ['card.updated', 'edited', 'noah'], ['card.deleted', 'deleted', 'mia']]);
      same(await side.shown(), await boardInTables());
    }
    await positionsWhole();
  });

  it('column, comment and label changes; on a card\'s own channel, too', async () => {
    const [mia, noah] = [await atBoard('mia'), await atBoard('noah')];
    const open = await as('noah');
    await open.subscribe('cards:row:5');
    const { id } = await call(mia.client, 'add_comment', { card: 5, body: 'Rust' });
    await call(mia.client, 'set_label', { card: 5, name: 'a, b', colour: 'red' });
    await call(mia.client, 'set_label', { card: 5, name: 'a, b', colour: 'blue' });
    await call(mia.client, 'set_label', { card: 5, name: 'a, b' });
    await call(mia.client, 'rename_column', { column: 2, title: 'On the lift' });
    await db.write('UPDATE board_columns SET position = position + 10 WHERE id = 2');
    assert.equal((await noah.client.ask({ type: 'call', name: 'rename_column', args: { column: 2, title: 'x' } })).code, 'forbidden', 'a foreman\'s');
    const labels = [['label.created', 'created', '5,a%2C%20b', 'mia'], ['label.updated', 'updated', '5,a%2C%20b', 'mia'], ['label.deleted', 'deleted', '5,a%2C%20b', 'mia']];
    for (const side of [mia, noah]) {
      assert.deepEqual(await side.happened('board_columns'), [['column.updated', 'renamed', '2', 'mia'], ['column.updated', 'moved', '2', null]]);
      assert.deepEqual(await side.happened('comments'), [['comment.created', 'created', String(id), 'mia']]);
      assert.deepEqual(await side.happened('labels'), labels);
      same(await side.shown(), await boardInTables());
    }
    await open.caughtUp(db);
    assert.deepEqual(open.events('cards:row:5').map((event) => event.type), ['comment.created', ...labels.map(([type]) => type)]);
  });

  it('the client moves a card over the same socket; not one of another shop, nor to a column of another', async () => {
    const [mia, pete] = [await atBoard('mia'), await as('pete')];
    const [before_] = await db.write('SELECT column_id, position FROM cards WHERE id = 1');
    const answer = await mia.client.ask({ type: 'call', name: 'move_card', args: { card: 1, column: 2, position: 1 } });
    assert.deepEqual(answer.data, { column: 2, position: 1 });
    const moved = await mia.client.next({ feed: 'cards', action: 'moved', key: '1' });
    assert.deepEqual([moved.data.column_id, moved.data.position, moved.updated_by], [2, 1, 'mia']);
    assert.equal(answer.cursor.split('-')[0], mia.client.welcome.epoch);
    assert.ok(Number(answer.cursor.split('-')[1]) >= moved.id, 'the answer covers what it did');
    assert.match(await refusedCall(pete, 'move_card', { card: 1, column: 1, position: 1 }), /no such thing in your shop/);
    assert.match(await refusedCall(mia.client, 'move_card', { card: 1, column: 6, position: 1 }), /no such column on this board/);
    assert.match(await refusedCall(mia.client, 'move_card', { card: 12345, column: 1, position: 1 }), /no such thing in your shop/);
    await call(mia.client, 'move_card', { card: 1, column: before_.column_id, position: before_.position });
    same(await mia.shown(), await boardInTables());
  });

  it('concurrent moves keep positions whole: 20 people who move at once', async () => {
    const MOVERS = 20;
    const MOVES = 10;
    const watcher = await atBoard('mia');
    const movers = await Promise.all(Array.from({ length: MOVERS }, (_, n) => as(['mia', 'noah'][n % 2])));
    let seed = 4711;
    const any = (below) => { seed = (seed * 48271) % 0x7fffffff; return seed % below; };
    const cards = (await db.write('SELECT id FROM cards WHERE shop_id = 7')).map((row) => row.id);
    await Promise.all(movers.map(async (mover) => {
      for (let n = 0; n < MOVES; n++) await call(mover, 'move_card', { card: cards[any(cards.length)], column: 1 + any(4), position: 1 + any(5) });
    }));
    await positionsWhole();
    assert.equal(await one('SELECT count(*)::int FROM cards WHERE shop_id = 7'), cards.length);
    same(await watcher.shown(), await boardInTables());
  });

  it('polling when WebSocket fails, back to WebSocket when it can; nothing lost in between', async () => {
    await db.write(`SELECT move(2, 1, 1, 'noah'), move(3, 1, 1, 'noah')`);
    const mia = await atBoard('mia');
    const channel = 'cards:unit:7';
    const path = encodeURIComponent(channel);
    const cursor = (await mia.client.ask({ type: 'ping' })).cursor;
    await mia.client.leave();
    // No WebSocket: what happens by a long poll from where the socket was, the command by POST.
    const asked = app.get('mia', `/poll?channel=${path}&since=${cursor}`);
    const [first] = await Promise.all([asked, db.write(`SELECT move(3, 4, 1, 'noah')`)]);
    const moved = await app.get('mia', '/call/move_card', { method: 'POST', body: JSON.stringify({ card: 2, column: 4, position: 1 }) });
    assert.deepEqual([moved.status, moved.body.data], [200, { column: 4, position: 1 }]);
    const polled = [...first.body.frames];
    let last = first.body;
    await until('the move of its own', async () => {
      last = (await app.get('mia', `/poll?channel=${path}&since=${last.cursor}&wait=1`)).body;
      polled.push(...last.frames);
      return polled.some((event) => event.action === 'moved' && event.key === '2');
    });
    // Who just looks in gets the same state by a plain GET.
    await app.settled();
    const { status, body } = await app.get('mia', `/state?channel=${path}`);
    assert.deepEqual([status, body.type], [200, 'snapshot']);
    assert.deepEqual(ordered(body.data), ordered((await boardInTables()).cards));
    assert.equal((await app.get('mia', '/state?channel=pending_count:unit:7')).body.data, await today('pending_count'));
    for (const endpoint of ['state', 'poll']) assert.equal((await app.get('pete', `/${endpoint}?channel=${path}`)).status, 403);
    // And while neither gets through; then there is a WebSocket again.
    await db.write(`SELECT move(3, 1, 1, 'noah')`);
    const back = await as('mia');
    assert.equal((await back.subscribe(channel, { since: last.cursor })).recovered, true);
    await back.caughtUp(db);
    const all = [...polled, ...back.events(channel)];
    assert.deepEqual(all.filter((event) => event.action === 'moved').map((event) => [event.key, event.updated_by]), [['3', 'noah'], ['2', 'mia'], ['3', 'noah']]);
    assert.deepEqual(all.map((event) => event.id), [...new Set(all.map((event) => event.id))].sort((a, b) => a - b), 'each once, in order');
    const rows = new Map(mia.begun.cards.map((row) => [String(row.id), row]));
    for (const event of [...mia.client.events(channel), ...all]) rows.set(event.key, event.data);
    assert.deepEqual(ordered([...rows.values()]), ordered((await boardInTables()).cards));
  });

  it('is whole after its own writer', async () => {
    const mia = await atBoard('mia');
    for (let n = 0; n < 150; n++) await db.write('SELECT make_a_change()');
    same(await mia.shown(), await boardInTables());
    await positionsWhole();
    assert.ok(mia.client.frames.filter(isEvent).every((event) => event.unit === '7'));
  });
});
