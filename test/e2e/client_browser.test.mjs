// The browser library where it belongs: pages in Chromium that follow, lose their network, are frozen, signed out, and
// see the bridge go and come back.

import assert from 'node:assert/strict';
import { cp, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { after, afterEach, before, describe, it } from 'node:test';
import { Cluster, ROOT } from './lib/cluster.mjs';
import { Bridge } from './lib/bridge.mjs';
import { PAGE_MS, browse } from './lib/browser.mjs';
import { COMMANDS } from './lib/commands.mjs';
import { metric, settled } from './lib/metrics.mjs';
import { Proxy } from './lib/proxy.mjs';
import { until } from './lib/wait.mjs';

const SHOTS = process.env.LIVEFEED_TEST_SHOTS; // a folder for screenshots, to be looked at

const TABLES = `${COMMANDS}
  CREATE FUNCTION open_requests(unit text) RETURNS jsonb LANGUAGE sql STABLE AS
    $$ SELECT to_jsonb(count(*)) FROM requests WHERE unit_id::text = unit AND status = 'Pending' $$;
  SELECT livefeed.expose_query('open_requests', 'open_requests(text)', 'unit', '{requests}');
`;

const PAGE = `<!doctype html><meta charset="utf-8"><title>requests</title><link rel="icon" href="data:,">
<style>
  body { font: 16px/1.5 system-ui, sans-serif; max-width: 30rem; margin: 2rem auto; color: #22252b; }
  header { display: flex; align-items: baseline; gap: 1rem; } h1 { font-size: 1.3rem; margin: 0; flex: 1; }
  #status { border-radius: 1rem; padding: 0 .8rem; color: #fff; background: #6b707a; }
  #status[data-is=live] { background: #2f6f5e; } #status[data-is=polling] { background: #a86b12; } #status[data-is=stale] { background: #b3372e; }
  li { border-bottom: 1px solid #e3e0d9; padding: .2rem 0; }
</style>
<header><h1>Unit <span id="unit"></span>: <b id="count">?</b> open</h1><span id="status">offline</span></header>
<ul id="rows"></ul>
<script type="module">
  import { Livefeed } from './client/livefeed.js';
  const unit = new URLSearchParams(location.search).get('unit');
  const find = (id) => document.getElementById(id);
  find('unit').textContent = unit;
  const live = window.live = new Livefeed('.', { token: () => window.giveToken() });
  window.statuses = [];
  live.onStatus((status) => {
    window.statuses.push(status);
    find('status').textContent = find('status').dataset.is = status;
  });
  window.events = [];
  const rows = window.rows = live.collection('requests:unit:' + unit, { onEvent: (event) => window.events.push(event.id) });
  rows.onChange(() => {
    find('rows').replaceChildren(...[...rows.rows.values()].sort((a, b) => a.id - b.id).map((row) => {
      const item = document.createElement('li');
      item.textContent = row.id + ' ' + row.title + ' (' + row.status + ')';
      return item;
    }));
  });
  live.subscribe('open_requests:unit:' + unit, { onValue: (count) => { find('count').textContent = count; } });
</script>`;

describe('livefeed-client in Chromium', () => {
  let cluster;
  let db;
  let bridge;
  let proxy;
  let browser;
  let folder;
  let contexts = [];

  before(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'livefeed-page-'));
    await writeFile(path.join(folder, 'index.html'), PAGE);
    await mkdir(path.join(folder, 'client'));
    await cp(path.join(ROOT, 'client'), path.join(folder, 'client'), { recursive: true });
    cluster = await Cluster.start();
    db = await cluster.database(TABLES);
    bridge = await Bridge.start(db, ['--static', folder, '--heartbeat', '5s', '--jwt-leeway', '0s']);
    proxy = await Proxy.start(bridge.port);
    browser = await browse();
  });
  afterEach(async () => {
    Object.assign(proxy, { upgrades: true, streams: true });
    await Promise.all(contexts.map((context) => context.close()));
    contexts = [];
    await db.write('DELETE FROM requests');
    await settled(bridge, db);
  });
  after(async () => {
    await browser?.close();
    await proxy?.stop();
    await bridge?.stop();
    await cluster?.remove();
    if (folder) await rm(folder, { recursive: true });
  });

  /** A page of somebody in that unit, that is live and has its rows: what is written from now on comes as an event. `origin` other than the bridge's for a proxy. */
  async function open(user, unit, { origin = bridge.origin, ttl = '15 min' } = {}) {
    const context = await browser.newContext({ viewport: { width: 640, height: 360 } });
    context.setDefaultTimeout(PAGE_MS);
    contexts.push(context);
    const page = await context.newPage();
    page.tokens = 0;
    await page.exposeFunction('giveToken', () => { page.tokens++; return db.token(user, { units: [unit], ttl }); });
    await page.goto(`${origin}/?unit=${unit}`);
    page.shows = (status) => page.waitForSelector(`#status[data-is=${status}]`);
    page.rows = () => page.locator('#rows li').allTextContents();
    page.has = (...rows) => until(`the page to show ${rows}`, async () => assert.deepEqual(await page.rows(), rows) ?? true, PAGE_MS);
    page.shot = async (name) => { if (SHOTS) await page.screenshot({ path: path.join(SHOTS, `${name}.png`) }); };
    await page.shows('live');
    await page.waitForFunction(() => window.rows.loaded && document.getElementById('count').textContent !== '?');
    return page;
  }

  const write = (id, unit, title) => db.write('INSERT INTO requests (id, unit_id, title) VALUES ($1, $2, $3)', [id, unit, title]);

  it('two pages of one unit both follow, and one of another unit does not', async () => {
    await write(1, 7, 'first');
    const [one, two, other] = [await open('ann', 7), await open('bob', 7), await open('zoe', 8)];
    for (const page of [one, two]) await page.has('1 first (Pending)');
    assert.deepEqual(await one.evaluate(() => live.call('rename', { id: 1, title: 'renamed by ann' })), { id: 1, by: 'ann' });
    await write(2, 7, 'second');
    for (const page of [one, two]) {
      await page.has('1 renamed by ann (Pending)', '2 second (Pending)');
      await page.waitForSelector('#count:text("2")');
    }
    await write(3, 8, 'for zoe');
    await other.has('3 for zoe (Pending)');
    assert.equal((await other.evaluate(() => window.events)).length, 1);
    await two.has('1 renamed by ann (Pending)', '2 second (Pending)');
    assert.equal(await metric(bridge, 'livefeed_sessions{transport="websocket"}'), 3, 'one connection a page');
    await one.shot('live');
  });

  it('shows offline without a network, and is live at once when it is back, with all that happened', async () => {
    const page = await open('ann', 7);
    await page.context().setOffline(true);
    await page.shows('offline');
    await page.shot('offline');
    await write(1, 7, 'while away');
    await page.context().setOffline(false);
    await page.shows('live');
    await page.has('1 while away (Pending)');
    await page.waitForSelector('#count:text("1")');
  });

  it('comes back by itself when the bridge was killed', async () => {
    const page = await open('ann', 7);
    await write(1, 7, 'before');
    await page.has('1 before (Pending)');
    await bridge.kill();
    await page.shows('offline');
    await write(2, 7, 'meanwhile');
    await bridge.again();
    await page.shows('live');
    await page.has('1 before (Pending)', '2 meanwhile (Pending)');
    await until('every event once', async () => (await page.evaluate(() => window.events)).length === 2);
  });

  it('shows polling where WebSockets are refused, still follows, and is live again when they are not', async () => {
    const page = await open('ann', 7, { origin: proxy.origin });
    proxy.upgrades = false;
    proxy.cut();
    await write(1, 7, 'in between');
    await page.shows('polling');
    await page.has('1 in between (Pending)');
    await write(2, 7, 'while polling');
    await page.has('1 in between (Pending)', '2 while polling (Pending)');
    assert.deepEqual(await page.evaluate(() => live.call('rename', { id: 2, title: 'called while polling' })), { id: 2, by: 'ann' });
    await page.has('1 in between (Pending)', '2 called while polling (Pending)');
    await page.waitForSelector('#count:text("2")');
    await page.shot('polling');
    proxy.upgrades = true;
    await page.evaluate(() => window.dispatchEvent(new Event('online'))); // need not wait for its next try
    await page.shows('live');
    await write(3, 7, 'live again');
    await page.has('1 in between (Pending)', '2 called while polling (Pending)', '3 live again (Pending)');
    assert.equal((await page.evaluate(() => window.events)).length, 4, 'each event once');
  });

  it('wakes up from having been frozen, its connection gone', async () => {
    const page = await open('ann', 7, { origin: proxy.origin });
    const devtools = await page.context().newCDPSession(page);
    await devtools.send('Page.setWebLifecycleState', { state: 'frozen' });
    await write(1, 7, 'asleep');
    proxy.cut();
    await write(2, 7, 'still asleep');
    await until('the bridge to have let go of it', async () => await metric(bridge, 'livefeed_sessions{transport="websocket"}') === 0);
    await devtools.send('Page.setWebLifecycleState', { state: 'active' });
    await page.has('1 asleep (Pending)', '2 still asleep (Pending)');
    await page.shows('live');
    assert.equal((await page.evaluate(() => window.events)).length, 2);
  });

  it('gets fresh tokens in time, and never shows that it did', async () => {
    const page = await open('ann', 7, { ttl: '12 s' }); // fresh ones with half of it to go
    await until('three tokens', () => page.tokens >= 3, PAGE_MS);
    await write(1, 7, 'with a fresh token');
    await page.has('1 with a fresh token (Pending)');
    assert.deepEqual(await page.evaluate(() => window.statuses), ['live']);
  });

  it('closes for good at logout', async () => {
    const page = await open('carl', 7);
    await db.query(`SELECT livefeed.disconnect('carl', 'signed out')`);
    await page.shows('offline');
    assert.deepEqual(await page.evaluate(() => live.closed), { code: 4403, reason: 'signed out' });
    assert.equal(page.tokens, 1);
    await until('no session', async () => await metric(bridge, 'livefeed_sessions{transport="websocket"}') === 0);
  });
});
