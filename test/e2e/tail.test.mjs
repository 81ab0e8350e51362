// `livefeed-bridge tail CHANNEL...`: what channels bring, as lines of JSON and in a terminal, with the rights of the
// database's role, and without being taken for a bridge.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { after, before, describe, it } from 'node:test';
import { Cluster } from './lib/cluster.mjs';
import { Bridge, bridgeRun, cleanEnvironment, PROGRAM } from './lib/bridge.mjs';
import { Client, isEvent } from './lib/client.mjs';
import { SCHEMA } from './lib/schema.mjs';
import { Terminal } from './lib/terminal.mjs';
import { DEADLINE_MS, until, within } from './lib/wait.mjs';

/** The program with its lines of JSON taken apart. */
class Tail {
  frames = [];
  err = '';
  #rest = '';

  static start(dsn, args) {
    const tail = new Tail();
    tail.process = spawn(PROGRAM, ['--dsn', dsn, 'tail', ...args], { env: cleanEnvironment(), stdio: ['ignore', 'pipe', 'pipe'] });
    tail.process.stdout.setEncoding('utf8');
    tail.process.stdout.on('data', (data) => {
      const lines = (tail.#rest + data).split('\n');
      tail.#rest = lines.pop();
      tail.frames.push(...lines.map((line) => JSON.parse(line)));
    });
    tail.process.stderr.on('data', (data) => { tail.err += data; });
    tail.exit = new Promise((resolve) => { tail.process.once('close', (code, signal) => resolve(code ?? signal)); });
    return tail;
  }

  see(what, test) {
    return until(`${what} from tail`, () => this.frames.find(test)).catch((error) => { error.message += `\n${this.err}\n${JSON.stringify(this.frames.slice(-5))}`; throw error; });
  }

  subscribed(n = 1) {
    return this.see(`${n} subscriptions`, () => this.frames.filter(({ type }) => type === 'subscribed').length === n);
  }

  get events() {
    return this.frames.filter(isEvent);
  }

  end(signal = 'SIGINT') {
    this.process.kill(signal);
    return within(`tail to end after ${signal}`, this.exit).finally(() => this.process.kill('SIGKILL'));
  }
}

describe('livefeed-bridge tail', () => {
  let cluster;
  const tails = [];
  const terminals = [];

  before(async () => {
    cluster = await Cluster.start();
  });
  after(async () => {
    for (const { process: child } of [...tails, ...terminals]) child.kill('SIGKILL');
    await cluster?.remove();
  });

  function look(db, ...args) {
    const tail = Tail.start(db.bridgeDsn, args);
    tails.push(tail);
    return tail;
  }

  function terminal(db, args, options) {
    const one = Terminal.start(['--dsn', db.bridgeDsn, 'tail', ...args], options);
    terminals.push(one);
    return one;
  }

  const insert = (db, id, title = 'x', unit = 7) => db.write('INSERT INTO requests (id, unit_id, title) VALUES ($1, $2, $3)', [id, unit, title]);

  it('prints what each channel brings, where no bridge runs, and is itself none', async () => {
    const db = await cluster.database(SCHEMA);
    const tail = look(db, 'requests:unit:7', 'requests', 'orders:user:42', 'requests:row:1');
    await tail.subscribed(4);
    await insert(db, 1);
    await insert(db, 2, 'other', 8);
    await db.write(`UPDATE requests SET status = 'Approved' WHERE id = 1`);
    await db.write('INSERT INTO orders (id, customer_id) VALUES (5, 42)');
    await tail.see('the order', ({ feed }) => feed === 'orders');
    assert.deepEqual(tail.events.map(({ type, action, key, channels }) => [type, action, key, channels]), [
      ['request.created', 'created', '1', ['requests:unit:7', 'requests:row:1', 'requests']],
      ['request.created', 'created', '2', ['requests']],
      ['request.updated', 'approved', '1', ['requests:unit:7', 'requests:row:1', 'requests']],
      ['order.created', 'created', '5', ['orders:user:42']],
    ]);
    assert.deepEqual(tail.events.map(({ id }) => id), [...tail.events.map(({ id }) => id)].sort((a, b) => a - b));
    assert.equal(await db.value('SELECT count(*) FROM livefeed.bridges'), 0);
    assert.equal(await db.value('SELECT count(*) FROM livefeed.sessions'), 0);
    assert.equal(await db.value('SELECT registered FROM livefeed.state'), false, 'writers ring as if there were none');
    assert.equal(await db.value('SELECT ticker_pid FROM livefeed.status'), null);
    assert.equal(await tail.end('SIGINT'), 0, tail.err);
    assert.equal(tail.err, '');
  });

  it('sees beside a bridge what its clients see, and leaves it the ticks', async () => {
    const db = await cluster.database(SCHEMA);
    const bridge = await Bridge.start(db);
    try {
      const ticker = await until('the bridge to tick', () => db.value('SELECT ticker_pid FROM livefeed.status'));
      const client = await Client.open(bridge, { token: await db.token('42', { units: [7] }) });
      await client.subscribe('requests:unit:7');
      const tail = look(db, 'requests:unit:7');
      await tail.subscribed();
      for (let id = 1; id <= 20; id++) await insert(db, id);
      await tail.see('the last event', ({ key }) => key === '20');
      for (const event of tail.events) assert.deepEqual(await client.next(isEvent), event);
      assert.equal(tail.events.length, 20);
      assert.equal(await db.value('SELECT ticker_pid FROM livefeed.status'), ticker);
      assert.equal(await tail.end('SIGTERM'), 0);
      await client.leave();
    } finally {
      await bridge.stop();
    }
  });

  it('begins where --since says: at a cursor, or some time ago', async () => {
    const db = await cluster.database(SCHEMA);
    await insert(db, 1);
    const cursor = await db.head();
    await insert(db, 2);
    const at = look(db, '--since', cursor, 'requests:unit:7');
    await at.see('what came after the cursor', ({ key }) => key === '2');
    assert.equal(at.frames.find(({ type }) => type === 'subscribed').recovered, true);
    assert.deepEqual(at.events.map(({ key }) => key), ['2']);
    const ago = look(db, 'requests:unit:7', '--since=1h');
    await insert(db, 3);
    await ago.see('the newest event', ({ key }) => key === '3');
    assert.deepEqual(ago.events.map(({ key }) => key), ['1', '2', '3']);
    await db.write('UPDATE requests SET unit_id = 8 WHERE id = 1');
    await ago.see('that one leaves', ({ action }) => action === 'moved_out');
    const several = look(db, '--since', cursor, 'requests', 'requests:unit:8', 'requests:unit:7');
    await until('all of them', () => several.events.some(({ action }) => action === 'moved_in') && several.events.some(({ key, channels }) => key === '1' && channels.includes('requests')));
    const ids = several.events.map(({ id }) => id);
    assert.deepEqual(ids, ids.slice().sort((a, b) => a - b), 'several channels, one order');
    const other = look(db, '--since', '0badcafe-1', 'requests:unit:7');
    const subscribed = await other.see('an answer', ({ type }) => type === 'subscribed');
    assert.deepEqual([subscribed.recovered, subscribed.reason], [false, 'epoch']);
    for (const tail of [at, ago, several, other]) assert.equal(await tail.end(), 0);
  });

  it('shows first what a channel holds with --snapshot, and the values of queries', async () => {
    const db = await cluster.database(`${SCHEMA};
      CREATE FUNCTION pending(unit text) RETURNS jsonb STABLE LANGUAGE sql SET search_path = public, pg_temp
        AS $$ SELECT to_jsonb(count(*)) FROM requests r WHERE r.unit_id = $1::integer AND status = 'Pending' $$;
      SELECT livefeed.expose_query('pending', 'pending(text)', 'unit', '{requests}');`);
    await insert(db, 1, 'here');
    const tail = look(db, '--snapshot', 'requests:unit:7', 'pending:unit:7');
    const snapshot = await tail.see('the snapshot', ({ type }) => type === 'snapshot');
    assert.deepEqual(snapshot.data, [{ id: 1, title: 'here', status: 'Pending' }]);
    await tail.see('the value', ({ type, data }) => type === 'value' && data === 1);
    await insert(db, 2);
    await tail.see('the next value', ({ type, data }) => type === 'value' && data === 2);
    assert.equal(await tail.end(), 0);
  });

  it('ends with 1 where no channel is left, or the database refuses; with 2 where it is called wrongly', async () => {
    const db = await cluster.database(SCHEMA);
    const unknown = await bridgeRun(['--dsn', db.bridgeDsn, 'tail', 'nothing:unit:7', 'requests:unit:']);
    assert.equal(unknown.code, 1, unknown.stderr);
    assert.deepEqual(unknown.stdout.trim().split('\n').map((line) => JSON.parse(line)).map(({ code, channel }) => [code, channel]).sort(),
      [['unknown_channel', 'nothing:unit:7'], ['unknown_channel', 'requests:unit:']]);
    const stranger = await bridgeRun(['--dsn', cluster.dsn(db.name, 'app'), 'tail', 'requests']);
    assert.equal(stranger.code, 1);
    assert.match(stranger.stderr, /grant_bridge/);
    const tail = look(db, 'orders:user:1', 'orders:user:1');
    await tail.subscribed();
    await db.write('DROP TABLE orders');
    await tail.see('the end of its channel', ({ type }) => type === 'unsubscribed');
    assert.equal(await within('tail to end', tail.exit), 1, tail.err);
    for (const args of [['tail'], ['tail', 'x', '--since'], ['tail', 'x', '--since', 'yesterday'], ['--json'], ['--snapshot', 'doctor']]) {
      const run = await bridgeRun(args);
      assert.equal(run.code, 2, `${args}: ${run.stderr}`);
      assert.equal(run.stderr.trim().split('\n').length, 1, run.stderr);
    }
  });

  it('ends with 0 when nobody reads any more, whether something comes or not', async () => {
    const db = await cluster.database(SCHEMA);
    for (const comes of [true, false]) {
      const tail = look(db, 'requests:unit:7');
      await tail.subscribed();
      tail.process.stdout.destroy();
      if (comes) await insert(db, 1);
      assert.equal(await within('tail to end', tail.exit), 0, tail.err);
      assert.equal(tail.err, '');
    }
  });

  it('waits for who does not read, holds up nobody meanwhile, and leaves nothing out', async () => {
    const db = await cluster.database(SCHEMA);
    const tail = look(db, '--history', '1MiB', '--max-queue', '64KiB', 'requests:unit:7');
    await tail.subscribed();
    tail.process.stdout.pause();
    const rows = 400;
    for (let i = 0; i < 40; i++) {
      await db.write(`INSERT INTO requests (id, unit_id, title) SELECT n, 7, repeat('x', 1000) FROM generate_series($1::integer, $2::integer) n`, [i * rows + 1, (i + 1) * rows]);
      await db.head();
    }
    await until('all to be heard by it, and no server process to wait for it', async () => (await db.value('SELECT pg_notification_queue_usage()')) === 0
      && (await db.value(`SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'ClientWrite'`)) === 0);
    assert.ok(tail.events.length < 40 * rows, 'it could not write all of it');
    tail.process.stdout.resume();
    await until('the last row', () => tail.frames.at(-1)?.key === String(40 * rows), 4 * DEADLINE_MS);
    assert.deepEqual(tail.events.map(({ key }) => Number(key)), Array.from({ length: 40 * rows }, (_, i) => i + 1));
    assert.equal(await tail.end(), 0, tail.err);
  });

  it('lives through a restart of the server', async () => {
    const own = await Cluster.start();
    try {
      const db = await own.database(SCHEMA);
      const tail = look(db, 'requests:unit:7');
      await tail.subscribed();
      await insert(db, 1);
      await tail.see('the first', ({ key }) => key === '1');
      await own.stop();
      await tail.see('a word', ({ type, live }) => type === 'status' && live === false);
      await own.again();
      await insert(db, 2);
      await tail.see('the second', ({ key }) => key === '2');
      assert.deepEqual(tail.events.map(({ key }) => key), ['1', '2']);
      assert.equal(await tail.end(), 0);
    } finally {
      await own.remove();
    }
  });

  describe('in a terminal', () => {
    const nasty = 'a\x1b[2J\x07b\u009b31m\u202ec\x7f';

    it('is coloured, readable, and ends with Ctrl-C; what data hold does not reach it as control bytes', async () => {
      const db = await cluster.database(SCHEMA);
      const screen = terminal(db, ['requests:unit:7']);
      await screen.see(/subscribed/);
      await db.write(`BEGIN; SET LOCAL livefeed.actor = 'bob'; INSERT INTO requests (id, unit_id, title) VALUES (1, 7, '${nasty}'); COMMIT`);
      await db.write(`UPDATE requests SET status = 'In Progress'`);
      await db.write('DELETE FROM requests');
      await screen.see(/request\.deleted/);
      assert.match(screen.text, /\x1b\[32mrequest\.created\x1b\[0m {2}key 1 {2}unit 7 {2}by bob/);
      assert.match(screen.text, /\x1b\[33mrequest\.updated\x1b\[0m in_progress {2}key 1 {2}unit 7 {2}changed status/);
      assert.match(screen.text, /\x1b\[31mrequest\.deleted/);
      assert.match(screen.text, /^ {4}\{"id":1,"title":"a\\u001b\[2J\\u0007b\\u009b31m\\u202ec\\u007f","status":"Pending"\}\r$/m);
      assert.doesNotMatch(screen.text.replace(/\x1b\[\d+m/g, ''), /[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202e]/, 'nothing but our colours');
      screen.keys('\x03');
      assert.equal(await screen.end(), 0, screen.text);
    });

    it('honours NO_COLOR, and --json', async () => {
      const db = await cluster.database(SCHEMA);
      const plain = terminal(db, ['requests:unit:7', '--snapshot'], { env: { NO_COLOR: '1' } });
      const json = terminal(db, ['--json', 'requests:unit:7']);
      for (const screen of [plain, json]) await screen.see(/subscribed/);
      await db.write(`INSERT INTO requests (id, unit_id, title) VALUES (1, 7, '${nasty}')`);
      await plain.see(/request\.created {2}key 1/);
      await plain.see(/snapshot {2}requests:unit:7/);
      const [line] = await json.see(/^\{"type":"request\.created".*\}(?=\r?\n)/m);
      assert.equal(JSON.parse(line).data.title, nasty, 'escaped, it still means the same');
      for (const screen of [plain, json]) {
        assert.doesNotMatch(screen.text, /[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202e]/);
        screen.keys('\x03');
        assert.equal(await screen.end(), 0, screen.text);
      }
    });
  });
});
