// The guides are true: every SQL statement in them runs on the tables of the examples, in the order it stands; every
// client message in them is answered as it should be; what they show of JavaScript and Python can at least be parsed.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { promisify } from 'node:util';
import { io as connect } from 'socket.io-client';
import { Cluster, ROOT } from './lib/cluster.mjs';
import { Bridge, bridgeRun } from './lib/bridge.mjs';
import { Client } from './lib/client.mjs';
import { until } from './lib/wait.mjs';

const run = promisify(execFile);

const APPLICATIONS = ['records', 'workshop', 'marketplace', 'timetable'];
const GUIDES = ['from-channels', 'from-socketio', 'from-listen-notify'];

// What the guides' examples name: unit 7, alice, request 123, card 3, order 12, job 7, ...
const ROWS = {
  records: `
    INSERT INTO units VALUES (7, 'Archive');
    INSERT INTO users VALUES ('alice', 'Alice'), ('bob', 'Bob');
    INSERT INTO memberships VALUES ('alice', 7, '{approver,unit_admin}'), ('bob', 7, '{approver}');
    INSERT INTO requests (id, unit_id, requester, request_type, title) VALUES (123, 7, 'alice', 'Withdrawal', 'Deeds of 1907')`,
  workshop: `
    INSERT INTO shops VALUES (7, 'Brakes and more');
    INSERT INTO board_columns (id, shop_id, name, title, position) VALUES (1, 7, 'estimates', 'Estimates', 1), (2, 7, 'in_progress', 'In progress', 2);
    INSERT INTO cards (id, shop_id, column_id, position, title) VALUES (3, 7, 1, 1, 'Clutch'), (4, 7, 2, 1, 'Tyres');
    INSERT INTO appointments (shop_id, customer, car, starts_at) VALUES (7, 'Ms Low', 'Yaris', now())`,
  marketplace: `
    INSERT INTO users VALUES (5, 'Cleo', 'customer'), (6, 'Pat', 'partner');
    INSERT INTO partners VALUES (6, 'bike');
    INSERT INTO menu VALUES ('Soup', 7.50);
    INSERT INTO orders (id, customer_id, partner_id, what, total) VALUES (12, 5, 6, 'Soup', 7.50);
    INSERT INTO notifications (user_id, body) VALUES (5, 'Order 12 is on its way')`,
  timetable: `
    INSERT INTO schools VALUES (1, 'North');
    INSERT INTO users VALUES ('paula', 'Paula');
    INSERT INTO generation_jobs (id, school_id, owner, title) VALUES (7, 1, 'paula', 'Autumn');
    INSERT INTO workflows (id, school_id, job_id, title) VALUES (1, 1, 7, 'Autumn')`,
};

/** The example's tables, without what follows them in its schema. */
async function tables(application) {
  const schema = await readFile(path.join(ROOT, 'examples', application, 'schema.sql'), 'utf8');
  const found = schema.match(/^CREATE (?:TABLE|(?:UNIQUE )?INDEX)[^;]*(?:\([^;]*\))?[^;]*;/gm);
  assert.ok(found.length > 3, `tables of ${application}`);
  return `${found.join('\n')}\n${ROWS[application]}`;
}

/** The fenced blocks of a page: { language, text, line, section }. */
async function blocks(file) {
  const found = [];
  let section = '';
  let open = null;
  for (const [at, line] of (await readFile(path.join(ROOT, file), 'utf8')).split('\n').entries()) {
    const fence = /^( *)```(\w*)$/.exec(line);
    if (open && fence) {
      open.text = open.lines.join('\n');
      found.push(open);
      open = null;
    } else if (fence) {
      open = { language: fence[2], line: at + 1, section, lines: [], indent: fence[1].length };
    } else if (open) {
      open.lines.push(line.slice(open.indent));
    } else if (/^## /.test(line)) {
      section = line.slice(3).trim();
    }
  }
  assert.equal(open, null, `${file}: a block is not closed`);
  return found;
}

const CLIENT = new Set(['auth', 'subscribe', 'unsubscribe', 'call', 'ping']);
const JWT = /^[\w-]+\.[\w-]+\.[\w-]+$/;

describe('the guides', () => {
  let cluster;
  let roles = 0;

  before(async () => {
    cluster = await Cluster.start();
  });
  after(async () => {
    await cluster?.remove();
  });

  /** Runs a block as superuser where its first line says so, else as the owner of the tables; the last token that it made. */
  async function execute(db, file, block) {
    if (/CREATE ROLE livefeed_bridge/.test(block.text)) {
      const [one] = await db.query(`SELECT rolname FROM pg_roles WHERE rolname = 'livefeed_bridge'`);
      if (one) await db.query(`ALTER ROLE livefeed_bridge RENAME TO former${++roles}`);
    }
    const client = /as superuser/.test(block.text.split('\n')[0]) ? await db.connect('postgres') : await db.connect('app');
    try {
      const results = [await client.query(block.text)].flat();
      return results.flatMap(({ rows }) => rows ?? []).flatMap((row) => Object.values(row)).filter((value) => typeof value === 'string' && JWT.test(value)).at(-1);
    } catch (error) {
      throw new Error(`${file} line ${block.line}: ${error.message}\n${block.text}`, { cause: error });
    } finally {
      await client.end();
    }
  }

  /** Every line that a client would send, to a bridge that serves the database. */
  async function send(bridge, token, file, block) {
    const client = await Client.open(bridge, { token });
    for (const line of block.text.split(/\n(?=\{)/)) {
      const message = JSON.parse(line);
      if (!CLIENT.has(message.type)) continue;
      client.send(message);
      const answer = await client.next((frame) => frame.ref === message.ref);
      assert.notEqual(answer.type, 'error', `${file} line ${block.line}: ${line}: ${JSON.stringify(answer)}`);
      if (message.snapshot) await client.next((frame) => frame.type === 'snapshot' && frame.channel === message.channel);
    }
    await client.leave();
  }

  async function get(bridge, token, file, block) {
    for (const line of block.text.split('\n')) {
      const target = /^GET (\S+)$/.exec(line)[1];
      if (target.startsWith('/ws/')) {
        // A bridge that runs already hears of a new path with the next tick.
        const client = await until(`${target} to be there`, async () => {
          const one = await Client.open(bridge, { token, path: target, welcome: false });
          return one.refused === null && one;
        });
        const first = await client.next((frame) => frame.type === 'subscribed' || frame.type === 'error');
        assert.equal(first.type, 'subscribed', `${file} line ${block.line}: ${line}: ${JSON.stringify(first)}`);
        assert.equal(client.frames.find(({ type }) => type === 'error'), undefined);
        await client.leave();
      } else {
        const answer = await bridge.get(target, { headers: { Authorization: `Bearer ${token}` } });
        assert.equal(answer.status, 200, `${file} line ${block.line}: ${line}: ${answer.body}`);
      }
    }
  }

  /** Runs what can be run of these blocks, in order; how many of each there were. */
  async function walk(db, file, list) {
    const counts = { sql: 0, json: 0, http: 0 };
    let token;
    let bridge;
    try {
      for (const block of list) {
        if (block.language in counts) counts[block.language]++;
        if (block.language === 'sql') token = await execute(db, file, block) ?? token;
        if (block.language === 'json' || block.language === 'http') {
          bridge ??= await Bridge.start(db);
          await (block.language === 'json' ? send : get)(bridge, token, file, block);
        }
      }
    } finally {
      await bridge?.stop();
    }
    return counts;
  }

  for (const guide of GUIDES) {
    const file = `docs/${guide}.md`;
    for (const application of APPLICATIONS) {
      it(`${file}, ${application}: every statement runs, every message is answered`, async () => {
        const all = await blocks(file);
        const own = all.filter(({ section }) => section === application);
        // What stands before the first application is about the tables of records.
        const begin = all.findIndex(({ section }) => APPLICATIONS.includes(section));
        const list = application === 'records' ? [...all.slice(0, begin), ...own] : own;
        const counts = await walk(await cluster.database(await tables(application)), file, list);
        assert.ok(counts.sql > 0 && counts.json > 0, `${application} has a part with statements and messages in ${file}`);
      });
    }

    it(`${file}: nothing that is to be run stands where it is not`, async () => {
      const all = await blocks(file);
      const begin = all.findIndex(({ section }) => APPLICATIONS.includes(section));
      const stray = all.slice(begin).filter(({ section, language }) => !APPLICATIONS.includes(section) && ['sql', 'json', 'http'].includes(language));
      assert.deepEqual(stray.map(({ line }) => line), []);
    });
  }

  it('docs/from-socketio.md: the page that stays as it was works, with socket.io-client', async () => {
    const file = 'docs/from-socketio.md';
    const db = await cluster.database(await tables('workshop'));
    const list = (await blocks(file)).filter(({ section }) => section === 'workshop');
    let token;
    for (const block of list) if (block.language === 'sql') token = await execute(db, file, block) ?? token;
    const page = list.filter(({ language, text }) => language === 'js' && /= io\(/.test(text));
    assert.equal(page.length, 1);
    const bridge = await Bridge.start(db);
    const seen = { boards: [], moves: [], complaints: [] };
    let socket;
    try {
      const io = (url, options) => { socket = connect(new URL(new URL(url).pathname, bridge.origin).href, { ...options, forceNew: true }); return socket; };
      new Function('io', 'token', 'draw', 'move', 'complain', page[0].text)(io, token, (board) => seen.boards.push(board),
        (...args) => seen.moves.push(args), (words) => seen.complaints.push(words));
      await until('the board with the new title', () => seen.boards.some((board) => board[0].cards[0]?.title === 'Brakes'));
      await db.write('UPDATE cards SET column_id = 2, position = 2 WHERE id = 3');
      await until('the move', () => seen.moves.length === 1);
      assert.deepEqual(seen.moves, [['3', 2, 2]]);
      socket.emit('rename_card', { card: 99, title: 'x' }, ({ message }) => seen.complaints.push(message));
      await until('an answer', () => seen.complaints.length === 1);
      assert.deepEqual(seen.complaints, ['there is no such card in your shop']);
    } finally {
      socket?.disconnect();
      await bridge.stop();
    }
  });

  it('README.md and docs/getting-started.md: every statement runs, every message is answered', async () => {
    for (const file of ['README.md', 'docs/getting-started.md']) {
      const db = await cluster.database(`
        CREATE TABLE requests (id integer PRIMARY KEY, unit_id integer NOT NULL, title text, status text NOT NULL DEFAULT 'Pending');
        INSERT INTO requests VALUES (123, 7, 'Deeds of 1907')`, { extension: false });
      const list = await blocks(file);
      const counts = await walk({ ...handle(db) }, file, list);
      assert.ok(counts.sql > 2 && counts.json > 0, `${file} has statements and messages`);
    }
  });

  /** The database as the role that the page itself makes serves it. */
  function handle(db) {
    return { query: db.query.bind(db), connect: db.connect.bind(db), bridgeDsn: cluster.dsn(db.name, 'livefeed_bridge') };
  }

  it('docs/sql.md gives every function with its parameters, and every view with its columns', async () => {
    const page = await readFile(path.join(ROOT, 'docs/sql.md'), 'utf8');
    const db = await cluster.database();
    const functions = await db.query(`
      SELECT p.proname AS name, coalesce(p.proargnames[1:p.pronargs], '{}') AS parameters FROM pg_proc p
      WHERE p.pronamespace = 'livefeed'::regnamespace AND p.prorettype <> 'trigger'::regtype AND obj_description(p.oid, 'pg_proc') !~ '^part of |^what the view |, for bridges$' AND p.proname !~ '^watch_'
        AND (has_function_privilege('app', p.oid, 'EXECUTE') OR p.proname IN ('rotate_key', 'set_authorizer', 'reset', 'prune', 'grant_bridge', 'grant_application'))`);
    assert.ok(functions.length > 25, String(functions.length));
    for (const { name, parameters } of functions) {
      const given = [...page.matchAll(new RegExp(`livefeed\\.${name}\\(`, 'g'))].map(({ index }) => page.slice(index).split(/\n#/)[0]);
      const inOrder = new RegExp(parameters.map((parameter) => `\\b${parameter}\\b`).join('[^]*'));
      const fits = (list) => inOrder.test(list);
      assert.ok(given.some(fits), `livefeed.${name}(${parameters})`);
    }
    const views = await db.query(`
      SELECT c.relname AS name, array_agg(a.attname::text) AS columns FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
      WHERE c.relnamespace = 'livefeed'::regnamespace AND c.relkind = 'v' AND has_table_privilege('app', c.oid, 'SELECT') GROUP BY 1`);
    assert.ok(views.length >= 8);
    for (const { name, columns } of views) {
      const part = page.slice(page.search(new RegExp(`^### .*livefeed\\.${name}\\b`, 'm'))).split(/\n##/)[0];
      for (const column of columns) assert.match(part, new RegExp(`\\b${column}\\b`), `livefeed.${name}.${column}`);
    }
  });

  it('every flag and make target that a page names is there', async () => {
    const help = (await bridgeRun(['--help'])).stdout + (await bridgeRun(['tail', '--help'])).stdout;
    const flags = new Set(help.match(/--[a-z][a-z-]+/g));
    const targets = new Set((await run('make', ['-C', ROOT, 'help'])).stdout.match(/^ {2}[a-z-]+/gm).map((target) => target.trim()));
    let n = 0;
    for (const folder of ['.', 'docs', ...APPLICATIONS.map((application) => `examples/${application}`)]) {
      for (const name of (await readdir(path.join(ROOT, folder))).filter((one) => one.endsWith('.md'))) {
        const page = await readFile(path.join(ROOT, folder, name), 'utf8');
        for (const [line] of page.matchAll(/^ {4}(?:[A-Z_]+='[^']*' )?livefeed-bridge .*(?:\\\n.*)*/gm)) {
          for (const flag of line.match(/(?<=\s)--[a-z][a-z-]+/g) ?? []) {
            n++;
            assert.ok(flags.has(flag), `${folder}/${name}: ${flag} in ${line}`);
          }
        }
        for (const [, target] of page.matchAll(/(?:^ {4}|`)make ([a-z]+)\b/gm)) assert.ok(targets.has(target), `${folder}/${name}: make ${target}`);
      }
    }
    assert.ok(n > 10, String(n));
  });

  it('JavaScript and Python in them can be parsed', async () => {
    let n = 0;
    for (const file of ['README.md', 'docs/getting-started.md', ...GUIDES.map((guide) => `docs/${guide}.md`)]) {
      for (const { language, text, line } of await blocks(file)) {
        const command = language === 'js' ? [process.execPath, ['--input-type=module', '--check', '-']]
          : language === 'python' ? ['python3', ['-c', 'import ast, sys; ast.parse(sys.stdin.read())']] : null;
        if (!command) continue;
        n++;
        const going = run(...command);
        going.child.stdin.end(text);
        await going.catch((error) => { throw new Error(`${file} line ${line}: ${error.stderr}`); });
      }
    }
    assert.ok(n > 5);
  });
});
