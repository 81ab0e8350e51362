// Socket.IO where it belongs: socket.io-client's own file in pages in Chromium. On the bridge's own page, polling that moves on to a
// WebSocket; on a page of an allowed other origin all ways, polling under the browser's CORS rules, preflight included; on that of a
// foreign one none. The client in Node, and all that does not depend on the browser, is in socketio.test.mjs.

import assert from 'node:assert/strict';
import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { after, afterEach, before, describe, it } from 'node:test';
import { Cluster, ROOT } from './lib/cluster.mjs';
import { Bridge } from './lib/bridge.mjs';
import { PAGE_MS, browse, listenIn, pages } from './lib/browser.mjs';
import { COMMANDS } from './lib/commands.mjs';
import { metric } from './lib/metrics.mjs';
import { WAYS } from './lib/socketio.mjs';
import { until } from './lib/wait.mjs';

const CLIENTS = { 4: 'socket.io-client', 3: 'socket.io-client-3' };
const file = (version) => path.join(ROOT, 'test/node_modules', CLIENTS[version], 'dist/socket.io.min.js');
const PAGE = '<!doctype html><meta charset="utf-8"><title>requests</title><link rel="icon" href="data:,"><script src="socket.io.min.js"></script>';
const NAMES = `SELECT livefeed.socketio_namespace('/requests', ARRAY['requests:unit:{unit}'])`;

describe('socket.io-client in Chromium', () => {
  let cluster;
  let db;
  let bridge;
  let own; // a bridge that serves the page itself
  let allowed; // somebody else's web servers
  let foreign;
  let ear; // in front of the bridge
  let browser;
  let folder;
  let contexts = [];
  let row = 0;

  before(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'livefeed-socketio-'));
    await writeFile(path.join(folder, 'index.html'), PAGE);
    await cp(file(4), path.join(folder, 'socket.io.min.js'));
    [allowed, foreign] = [await pages(), await pages()];
    cluster = await Cluster.start();
    db = await cluster.database(COMMANDS + NAMES);
    bridge = await Bridge.start(db, ['--allowed-origins', allowed.origin]);
    own = await Bridge.start(db, ['--static', folder]);
    ear = await listenIn(bridge.port);
    browser = await browse();
  });
  afterEach(async () => {
    await Promise.all(contexts.map((context) => context.close()));
    contexts = [];
  });
  after(async () => {
    await browser?.close();
    await ear?.close();
    await allowed?.close();
    await foreign?.close();
    await own?.stop();
    await bridge?.stop();
    await cluster?.remove();
    if (folder) await rm(folder, { recursive: true });
  });

  /** A page of that origin; it gets the client's file, unless it has it. */
  async function visit(origin, version) {
    const context = await browser.newContext();
    context.setDefaultTimeout(PAGE_MS);
    contexts.push(context);
    const page = await context.newPage();
    await page.goto(`${origin}/`);
    if (version) await page.addScriptTag({ path: file(version) });
    return page;
  }

  const allGone = () => until('the bridge to see them leave', async () => await metric(bridge, 'livefeed_sessions{transport="socketio"}') === 0);
  const token = (units = [7]) => db.token('42', { units });

  /** In the page: connects to a namespace at `to`; what it is told stands in the page. */
  async function connect(page, to, { namespace = '/requests', ...options } = {}) {
    await page.evaluate(([address, settings]) => {
      Object.assign(window, { told: [], ends: [], errors: [], connects: [], ways: [] });
      window.socket = io(address, { forceNew: true, reconnectionDelay: 20, reconnectionDelayMax: 200, ...settings });
      ways.push(socket.io.engine.transport.name); // of the first connection
      socket.io.engine.on('upgrade', ({ name }) => ways.push(name));
      socket.on('connect', () => connects.push(socket.recovered));
      socket.on('disconnect', (reason) => ends.push(reason));
      socket.on('connect_error', (error) => errors.push(error.message));
      socket.onAny((...args) => told.push(args));
    }, [to + namespace, options]);
    return page;
  }

  const connected = (page, times = 1) => until('the page to be connected', () => page.evaluate((n) => connects.length >= n && socket.connected, times))
    .catch(async (error) => { error.message += `: ${await page.evaluate(() => JSON.stringify(errors))}`; throw error; });

  /** Makes a request in a unit; gives its title. */
  async function insert(unit = 7) {
    const title = `request ${++row}`;
    await db.write('INSERT INTO requests (unit_id, title) VALUES ($1, $2)', [unit, title]);
    return title;
  }
  const titles = (page) => page.evaluate(() => told.filter(([name]) => name === 'request.created').map(([, { data }]) => data.title));
  const seen = (page, ...wanted) => until(`the page to see ${wanted}`, async () => assert.deepEqual(await titles(page), wanted) ?? true);
  const ask = (page, name, args) => page.evaluate(([what, sent]) => new Promise((resolve) => { socket.emit(what, sent, resolve); }), [name, args]);

  it('on the bridge\'s own page: polling that becomes a WebSocket, events, a command, a break and its recovery', async () => {
    const page = await visit(own.origin);
    await connect(page, own.origin, { auth: { token: await token() } });
    await connected(page);
    const made = [await insert()];
    await insert(8);
    await seen(page, ...made);
    await page.waitForFunction(() => ways.includes('websocket'));
    assert.deepEqual(await page.evaluate(() => ways), ['polling', 'websocket']);
    made.push(await insert());
    await seen(page, ...made);
    const [, frame, cursor] = await page.evaluate(() => told.at(-1));
    assert.deepEqual([frame.feed, frame.channels, cursor.endsWith(`-${frame.id}`)], ['requests', ['requests:unit:7'], true]);
    assert.equal((await ask(page, 'whoami', {})).data.user, '42');
    assert.deepEqual(await page.evaluate(() => ends), []);
    await page.context().setOffline(true);
    await until('the page to lose it', () => page.evaluate(() => !socket.connected));
    made.push(await insert());
    await page.context().setOffline(false);
    made.push(await insert());
    await connected(page, 2);
    await seen(page, ...made);
    assert.equal(await page.evaluate(() => connects.at(-1)), true, 'recovered');
  });

  for (const version of Object.keys(CLIENTS)) {
    it(`on pages of another origin that is allowed, version ${version} by each way: connects, follows, calls`, async () => {
      await Promise.all(Object.entries(WAYS).map(async ([way, transports], n) => {
        const unit = 10 * Number(version) + n;
        const page = await visit(allowed.origin, version);
        await connect(page, ear.origin, { transports, auth: { token: await token([unit]) } });
        await connected(page);
        const made = [await insert(unit)];
        await seen(page, ...made);
        if (way === 'upgrade') await page.waitForFunction(() => ways.includes('websocket'));
        assert.equal((await ask(page, 'whoami', {})).data.user, '42');
        assert.equal((await ask(page, 'subscribe', { channel: 'requests:unit:9' })).code, 'forbidden');
        made.push(await insert(unit), await insert(unit));
        await seen(page, ...made);
        assert.equal(await page.evaluate(() => socket.io.engine.transport.name), way === 'polling' ? 'polling' : 'websocket');
        assert.deepEqual(await page.evaluate(() => [ends, errors]), [[], []]);
        await page.evaluate(() => { socket.disconnect(); });
      }));
      await allGone();
    });
  }

  it('with the token in a header the browser asks first: a preflight for each way to poll', async () => {
    const page = await visit(allowed.origin, 4);
    ear.heard = '';
    await connect(page, ear.origin, { transports: ['polling'], extraHeaders: { Authorization: `Bearer ${await token()}` } });
    await connected(page);
    const title = await insert();
    await seen(page, title);
    assert.equal((await ask(page, 'whoami', {})).data.user, '42');
    const asked = ear.requests().filter((head) => head.startsWith('OPTIONS /socket.io/'));
    for (const method of ['GET', 'POST']) {
      assert.ok(asked.some((head) => head.includes(`Access-Control-Request-Method: ${method}\r\n`)), `a preflight for ${method}: ${asked}`);
    }
    assert.ok(asked.every((head) => /^access-control-request-headers: .*authorization/im.test(head) && head.includes(`Origin: ${allowed.origin}\r\n`)), `${asked}`);
    assert.deepEqual(await page.evaluate(() => [ends, errors]), [[], []]);
    await page.evaluate(() => { socket.disconnect(); });
    await allGone(); // a page that goes between two polls is missed only by its heartbeat
  });

  it('a bad token is refused by name, as in Node', async () => {
    const page = await visit(allowed.origin, 4);
    await connect(page, ear.origin, { auth: { token: 'x.y.z' } });
    await page.waitForFunction(() => errors.length > 0);
    assert.deepEqual(await page.evaluate(() => [errors, socket.active]), [['bad_token'], false]);
  });

  it('a page of a foreign origin gets nothing, by no way', async () => {
    const good = await token();
    await Promise.all(Object.entries(WAYS).map(async ([way, transports]) => {
      const page = await visit(foreign.origin, 4);
      await connect(page, ear.origin, { transports, auth: { token: good }, reconnection: false });
      await page.waitForFunction(() => errors.length > 0);
      assert.match((await page.evaluate(() => errors))[0], way === 'websocket' ? /^websocket error$/ : /^xhr poll error$/);
      assert.deepEqual(await page.evaluate(() => [connects, told]), [[], []]);
    }));
    assert.equal(await metric(bridge, 'livefeed_sessions{transport="socketio"}'), 0);
  });
});
