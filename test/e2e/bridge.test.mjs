// The program itself: settings and where they come from, exit codes, health,
// reload, drain, waiting for PostgreSQL and living through its restart.

import assert from 'node:assert/strict';
import { mkdtemp, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { Cluster } from './lib/cluster.mjs';
import { Bridge, bridgeRun, freePort } from './lib/bridge.mjs';
import { Client, isEvent } from './lib/client.mjs';
import { behindPooler } from './lib/pooler.mjs';
import { SCHEMA } from './lib/schema.mjs';
import { until } from './lib/wait.mjs';

describe('the program', () => {
  let cluster;
  let db;
  let folder;
  const bridges = [];

  before(async () => {
    cluster = await Cluster.start();
    db = await cluster.database(SCHEMA);
    folder = await mkdtemp(path.join(os.tmpdir(), 'livefeed-config-'));
  });
  after(async () => {
    await Promise.all(bridges.map((bridge) => bridge.stop()));
    await cluster?.remove();
    if (folder) await rm(folder, { recursive: true });
  });

  async function start(...args) {
    const bridge = await Bridge.start(...args);
    bridges.push(bridge);
    return bridge;
  }

  const insert = (id) => db.write(`INSERT INTO requests (id, unit_id, title) VALUES ($1, 7, 'x')`, [id]);

  it('explains itself', async () => {
    const help = await bridgeRun(['--help']);
    assert.equal(help.code, 0);
    for (const name of ['dsn', 'listen', 'config', 'jwt-secret-file', 'jwt-public-key', 'jwks', 'jwt-issuer', 'jwt-audience', 'jwt-leeway',
      'claim-user', 'claim-units', 'claim-roles', 'allowed-origins', 'firehose-roles', 'tls-cert', 'tls-key', 'trusted-proxies', 'static', 'base-path',
      'metrics-listen', 'claim-db-role', 'tick-interval', 'max-connections', 'max-connections-per-user', 'max-connections-per-address', 'max-subscriptions',
      'max-message', 'max-header', 'max-body', 'max-bad-messages', 'handshake-timeout', 'max-queue', 'rate', 'max-session', 'history', 'db-connections',
      'heartbeat', 'idle-auth', 'drain', 'log-level', 'log-format']) {
      assert.match(help.stdout, new RegExp(`--${name}\\b`), name);
    }
    for (const [name, words] of [['doctor', /cures it[^]*EXIT STATUS[^]*3 {2}warnings/], ['tail', /--since CURSOR[^]*NO_COLOR|NO_COLOR[^]*--since CURSOR/]]) {
      assert.match(help.stdout, new RegExp(`\\[FLAG\\]\\.\\.\\. ${name}`));
      const page = await bridgeRun([name, '--help']);
      assert.equal(page.code, 0);
      assert.match(page.stdout, words);
    }
    const version = await bridgeRun(['--version']);
    assert.equal(version.code, 0);
    const control = await readFile(new URL('../../extension/livefeed.control', import.meta.url), 'utf8');
    assert.equal(version.stdout, `livefeed-bridge ${/^default_version = '(.*)'$/m.exec(control)[1]}\n`);
  });

  it('ends with 2 and one line that names the setting when it is wrong', async () => {
    const bad = path.join(folder, 'bad.ini');
    await writeFile(bad, '[livefeed]\nheartbeet = 5s\n');
    const value = path.join(folder, 'value.ini');
    await writeFile(value, '[livefeed]\nheartbeat = often\n');
    for (const [args, env, name] of [
      [['--nonsense'], {}, 'nonsense'], [['--heartbeat', 'often'], {}, 'heartbeat'], [['--heartbeat'], {}, 'heartbeat'], [['--max-queue', '-1'], {}, 'max-queue'],
      [['--listen', 'nowhere'], {}, 'listen'], [['--listen', '127.0.0.1:99999'], {}, 'listen'], [['--log-level', 'loud'], {}, 'log-level'],
      [['--base-path', 'x'], {}, 'base-path'], [['--tls-cert', '/tmp/x'], {}, 'tls-'],
      [[], { LIVEFEED_HEARTBEAT: 'often' }, 'HEARTBEAT|heartbeat'], [['--config', bad], {}, 'heartbeet'], [['--config', value], {}, 'heartbeat'],
      [['--config', '/nowhere/x.ini'], {}, '/nowhere/x.ini'], [['--jwks', '/nowhere/x.json'], {}, 'jwks'], [['--jwt-secret-file', '/nowhere/x'], {}, 'jwt-secret-file'],
      [['--jwt-secret-file', '/dev/null'], {}, 'jwt-secret-file'], [['--dsn', 'host=x secretly'], {}, 'dsn'], [['--tls-cert', value, '--tls-key', value], {}, 'tls-cert'], [['--check', '--dsn', 'postgresql://u:pw@[::1/x'], {}, 'dsn'],
    ]) {
      const run = await bridgeRun([...args, ...(args.includes('--listen') ? [] : ['--listen', `127.0.0.1:${await freePort()}`])], { env });
      assert.equal(run.code, 2, `${args} ${JSON.stringify(env)}: ${run.stderr}`);
      assert.match(run.stderr, new RegExp(name), `${args}: ${run.stderr}`);
      assert.equal(run.stderr.trim().split('\n').length, 1, `${args}: one line, not:\n${run.stderr}`);
    }
  });

  it('takes flag over environment over INI over default, and tells where from', async () => {
    const ini = path.join(folder, 'some.ini');
    await writeFile(ini, '; a comment\n[livefeed]\nheartbeat = 11s\nidle-auth = 12s\ndrain = 13s\nfirehose-roles = one, two\n');
    const run = await bridgeRun(['--print-config', '--config', ini, '--heartbeat', '31s', '--dsn', 'host=/x dbname=d password=geheim'],
      { env: { LIVEFEED_HEARTBEAT: '21s', LIVEFEED_IDLE_AUTH: '22s' } });
    assert.equal(run.code, 0, run.stderr);
    const line = (name) => run.stdout.split('\n').find((each) => each.startsWith(name));
    assert.match(line('heartbeat'), /31 ?s/);
    assert.match(line('heartbeat'), /flag|command line|--heartbeat/i);
    assert.match(line('idle-auth'), /22 ?s/);
    assert.match(line('idle-auth'), /LIVEFEED_IDLE_AUTH|environment/i);
    assert.match(line('drain'), /13 ?s/);
    assert.match(line('drain'), /some\.ini|ini|file/i);
    assert.match(line('max-bad-messages'), /20/);
    assert.match(line('max-bad-messages'), /default/i);
    assert.match(line('firehose-roles'), /one, ?two/);
    assert.ok(!run.stdout.includes('geheim'), 'secrets are hidden');
    assert.match(run.stdout, /host=\/x|dbname=d/);
  });

  it('checks configuration, keys, database and extension with --check', async () => {
    const good = await bridgeRun(['--check', '--dsn', db.bridgeDsn]);
    assert.equal(good.code, 0, good.stderr + good.stdout);
    const bare = await cluster.database('', { extension: false });
    const without = await bridgeRun(['--check', '--dsn', cluster.dsn(bare.name, 'bridge')]);
    assert.notEqual(without.code, 0);
    assert.match(without.stderr + without.stdout, /CREATE EXTENSION livefeed|extension/i);
    const nowhere = await bridgeRun(['--check', '--dsn', `host=${cluster.host} port=${cluster.port} user=bridge dbname=nowhere`]);
    assert.notEqual(nowhere.code, 0);
    assert.match(nowhere.stderr + nowhere.stdout, /nowhere/);
    const stranger = await bridgeRun(['--check', '--dsn', cluster.dsn(db.name, 'app')]);
    assert.notEqual(stranger.code, 0, 'a role without livefeed.grant_bridge');
    const text = path.join(folder, 'no.json');
    await writeFile(text, '{"keys":[{"kty":"EC"}]}');
    assert.notEqual((await bridgeRun(['--check', '--dsn', db.bridgeDsn, '--jwks', text])).code, 0);
  });

  it('says that it is alive and ready, and nothing else', async () => {
    const bridge = await start(db);
    assert.equal((await bridge.get('/healthz')).status, 200);
    assert.equal((await bridge.get('/readyz')).status, 200);
    assert.equal((await bridge.get('/healthz')).headers['cache-control'], 'no-store');
    for (const target of ['/', '/nothing', '/healthz/x', '/../etc/passwd', '/%2e%2e/etc/passwd']) {
      const answer = await bridge.get(target);
      assert.ok(answer.status === 404 || answer.status === 403 || answer.status === 400, `${target}: ${answer.status}`);
    }
    assert.ok((await bridge.get('/healthz', { method: 'DELETE' })).status >= 400);
  });

  it('serves a folder and moves its endpoints under a base path', async () => {
    const site = path.join(folder, 'site');
    await mkdir(path.join(site, 'sub'), { recursive: true });
    await writeFile(path.join(site, 'index.html'), '<h1>hello</h1>');
    await writeFile(path.join(site, 'sub', 'a.js'), 'export default 1;');
    await writeFile(path.join(folder, 'outside.txt'), 'outside');
    const bridge = await start(db, ['--static', site]);
    const page = await bridge.get('/');
    assert.equal(page.status, 200);
    assert.match(page.headers['content-type'], /text\/html/);
    assert.equal(page.body, '<h1>hello</h1>');
    assert.match((await bridge.get('/sub/a.js')).headers['content-type'], /javascript/);
    for (const target of ['/../outside.txt', '/%2e%2e/outside.txt', '/sub/../../outside.txt', '/..%2foutside.txt', '/nothing.html']) {
      const answer = await bridge.get(target);
      assert.ok(answer.status >= 400, `${target}: ${answer.status}`);
      assert.ok(!answer.body.includes('outside'), target);
    }
    assert.equal((await bridge.get('/healthz')).status, 200, 'endpoints come first');

    const port = await freePort();
    const based = await start(db, ['--base-path', '/live'], { port, ready: false });
    await until('ready under the base path', async () => (await based.get('/live/readyz')).status === 200);
    const client = await Client.open(based, { path: '/live/ws', token: await db.token('42') });
    await client.leave();
    assert.equal((await Client.open(based, { token: await db.token('42'), welcome: false })).refused, 404);
  });

  it('waits for PostgreSQL, and lives through its restart without dropping a session', async () => {
    const own = await Cluster.start();
    try {
      const house = await own.database(SCHEMA);
      await house.close();
      await own.stop();
      const bridge = await Bridge.start(house, [], { ready: false });
      await until('the bridge to be alive', async () => (await bridge.get('/healthz')).status === 200);
      assert.equal((await bridge.get('/readyz')).status, 503);
      await own.again();
      await bridge.ready();
      const token = await house.token('42', { units: [7] });
      const client = await Client.open(bridge, { token });
      await client.subscribe('requests:unit:7');
      await house.write(`INSERT INTO requests (id, unit_id, title) VALUES (1, 7, 'before')`);
      assert.equal((await client.next(isEvent)).data.title, 'before');

      await house.close();
      await own.stop('fast');
      assert.equal((await client.next('status')).live, false);
      assert.equal((await bridge.get('/readyz')).status, 503);
      assert.equal((await client.ask({ type: 'ping' })).live, false);
      const waiting = client.ask({ type: 'subscribe', channel: 'requests:unit:7' });
      await own.again();
      await waiting; // subscribed late, or told `unavailable`: answered in any case
      await house.write(`INSERT INTO requests (id, unit_id, title) VALUES (2, 7, 'after')`);
      assert.equal((await client.next('status')).live, true);
      assert.equal((await client.next(isEvent)).data.title, 'after');
      await bridge.ready();
      assert.equal(client.closed, null, 'the session lived through it');
      assert.equal((await client.ask({ type: 'ping' })).live, true);
      await client.leave();
      await bridge.stop();
    } finally {
      await own.remove();
    }
  });

  it('names a database without the extension, and serves as soon as it has it', async () => {
    const bare = await cluster.database('', { extension: false });
    const bridge = await start(bare, [], { ready: false });
    await until('the bridge to say what is missing', () => /extension/i.test(bridge.log));
    assert.equal((await bridge.get('/readyz')).status, 503);
    await bare.query('CREATE EXTENSION livefeed');
    await bare.query(`SELECT livefeed.grant_bridge('bridge')`);
    await bridge.ready(40_000);
  });

  /** Runs the bridge where a query for the number of the server process is told another; looks find the right one. */
  const behind = (numbered, args) => behindPooler(cluster, { numbered }, (port) =>
    bridgeRun(['--dsn', `host=127.0.0.1 port=${port} user=bridge dbname=${db.name} sslmode=disable`, ...args]));

  it('says so and ends with 1 where the server process changes under it: transaction pooling', async () => {
    // What the set-up of a connection is told is not the process that later queries meet.
    const run = await behind((pid) => pid + 1, ['--listen', `127.0.0.1:${await freePort()}`]);
    assert.equal(run.code, 1, run.stderr);
    assert.match(run.stderr, /transaction pooling/);
  });

  it('finds transaction pooling with --check, where two connections meet one server process', async () => {
    const run = await behind(() => 77777, ['--check']);
    assert.equal(run.code, 1, run.stdout);
    assert.match(run.stdout, /two connections meet one server process.*transaction pooling/);
  });

  it('reads its configuration again on SIGHUP, and keeps the old one if the new is bad', async () => {
    const ini = path.join(folder, 'reload.ini');
    await writeFile(ini, '[livefeed]\nallowed-origins = https://one.example\n');
    const bridge = await start(db, ['--config', ini]);
    const token = await db.token('42', { units: [7] });
    const stays = await Client.open(bridge, { token });
    await stays.subscribe('requests:unit:7');
    const allowed = async (origin) => {
      const client = await Client.open(bridge, { token, headers: { Origin: origin }, welcome: false });
      await client.leave();
      return client.refused === null;
    };
    assert.equal(await allowed('https://one.example'), true);
    assert.equal(await allowed('https://two.example'), false);
    await writeFile(ini, '[livefeed]\nallowed-origins = https://two.example\n');
    bridge.process.kill('SIGHUP');
    await until('the new origins', () => allowed('https://two.example'));
    assert.equal(await allowed('https://one.example'), false);
    await writeFile(ini, '[livefeed]\nallowed-origins = https://three.example\nheartbeat = often\n');
    const said = bridge.log.length;
    bridge.process.kill('SIGHUP');
    await until('a word about the bad setting', () => /heartbeat/.test(bridge.log.slice(said)));
    assert.equal(await allowed('https://two.example'), true);
    await insert(30);
    assert.equal((await stays.next(isEvent)).key, '30', 'no session was dropped');
    await stays.leave();
  });

  it('never logs a token', async () => {
    const bridge = await start(db, ['--log-level', 'debug']);
    const token = await db.token('42', { units: [7] });
    const signature = token.split('.')[2];
    for (const via of ['query', 'header', 'protocol', 'message']) await (await Client.open(bridge, { token, via })).leave();
    const bad = await Client.open(bridge, { token: `${token}x`, welcome: false });
    await bad.close(4401);
    await bridge.stop(); // then all that it said is here
    assert.ok(!bridge.log.includes(signature), bridge.log);
  });

  it('on SIGTERM says 1001 to its clients and ends with 0', async () => {
    const bridge = await Bridge.start(db, ['--drain', '1s']);
    const token = await db.token('42', { units: [7] });
    const clients = await Promise.all(Array.from({ length: 5 }, () => Client.open(bridge, { token })));
    await clients[0].subscribe('requests:unit:7');
    await insert(20);
    await clients[0].next(isEvent);
    const ended = bridge.end('SIGTERM');
    await Promise.all(clients.map((client) => client.close(1001)));
    assert.equal(await ended, 0, bridge.log);
    await assert.rejects(bridge.get('/readyz'));
    const again = await Bridge.start(db);
    assert.equal(await again.end('SIGINT'), 0);
  });

  it('ends with 1 when it cannot listen', async () => {
    const bridge = await start(db);
    const run = await bridgeRun(['--dsn', db.bridgeDsn, '--listen', `127.0.0.1:${bridge.port}`]);
    assert.equal(run.code, 1, run.stderr);
    assert.match(run.stderr, new RegExp(`${bridge.port}`));
  });
});
