// A page of the browser library that wakes up: seen again behind another tab, come back to, online again. It connects at once, whatever
// it was waiting for, and has lost nothing. Real tabs in Chromium; waits between its tries are made so long that they do not end.
// Frozen pages are in client_browser.test.mjs, silent connections in client_silence.test.mjs.

import assert from 'node:assert/strict';
import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { after, afterEach, before, describe, it } from 'node:test';
import { Cluster, ROOT } from './lib/cluster.mjs';
import { Bridge } from './lib/bridge.mjs';
import { PAGE_MS, browseTabs, pages } from './lib/browser.mjs';
import { metric } from './lib/metrics.mjs';
import { SCHEMA } from './lib/schema.mjs';
import { until } from './lib/wait.mjs';

const PAGE = `<!doctype html><meta charset="utf-8"><title>requests</title><link rel="icon" href="data:,">
<script type="module">
  import { Livefeed } from './client/livefeed.js';
  const token = new URLSearchParams(location.search).get('token');
  Object.assign(window, { events: [], woken: [] });
  for (const name of ['online', 'pageshow']) addEventListener(name, ({ persisted }) => woken.push(persisted ? name + ' again' : name));
  document.addEventListener('visibilitychange', () => woken.push(document.visibilityState));
  window.live = new Livefeed('.', { token: () => token });
  window.rows = live.collection('requests:unit:7', { onEvent: ({ key }) => events.push(key) });
</script>`;

describe('livefeed-client wakes up', () => {
  let cluster;
  let db;
  let bridge;
  let elsewhere; // somebody else's page
  let browser;
  let folder;
  let page;
  let row = 0;

  before(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'livefeed-wake-'));
    await writeFile(path.join(folder, 'index.html'), PAGE);
    await cp(path.join(ROOT, 'client'), path.join(folder, 'client'), { recursive: true });
    cluster = await Cluster.start();
    db = await cluster.database(SCHEMA);
    bridge = await Bridge.start(db, ['--static', folder]);
    elsewhere = await pages();
    browser = await browseTabs();
    browser.context.setDefaultTimeout(PAGE_MS);
  });
  afterEach(async () => {
    await page?.close();
  });
  after(async () => {
    await browser?.close();
    await elsewhere?.close();
    await bridge?.stop();
    await cluster?.remove();
    if (folder) await rm(folder, { recursive: true });
  });

  /** A page that is live, and has a row; a try that fails is its last for a quarter of an hour. */
  async function open() {
    page = await browser.context.newPage();
    await page.goto(`${bridge.origin}/?token=${await db.token('ann', { units: [7] })}`);
    await is('live');
    await page.waitForFunction(() => rows.loaded);
    await page.evaluate(() => { Math.random = () => 1000; });
    page.made = [await insert()];
    await has();
  }

  const is = (status) => until(`the page to be ${status}`, () => page.evaluate((wanted) => window.live?.status === wanted, status), PAGE_MS);
  const woken = (name) => until(`the page to hear of ${name}`, () => page.evaluate((wanted) => woken.includes(wanted), name));
  async function insert() {
    await db.write(`INSERT INTO requests (id, unit_id, title) VALUES ($1, 7, 'x')`, [++row]);
    return `${row}`;
  }
  /** All that was made, each told once. */
  const has = () => until('the page to have it all', async () => {
    assert.deepEqual(await page.evaluate(() => [events, events.every((key) => rows.rows.has(key))]), [page.made, true]);
    return true;
  });
  const alone = () => until('no session', async () => await metric(bridge, 'livefeed_sessions{transport="websocket"}') === 0);

  /** The bridge goes, things happen, the bridge is back; the page is not. */
  async function outage() {
    await bridge.kill();
    await is('offline');
    page.made.push(await insert(), await insert());
    await bridge.again();
    page.made.push(await insert());
  }

  it('seen again after the bridge was away: live at once, with all that happened', async () => {
    await open();
    const other = await browser.context.newPage();
    await other.bringToFront();
    await woken('hidden');
    await outage();
    assert.equal(await page.evaluate(() => live.status), 'offline', 'nothing woke it yet');
    await page.bringToFront();
    await woken('visible');
    await is('live');
    await has();
    page.made.push(await insert());
    await has();
    await other.close();
  });

  it('seen again with its connection in order: asks at once whether it is, and keeps it', async () => {
    await open();
    const other = await browser.context.newPage();
    await other.bringToFront();
    await woken('hidden');
    page.made.push(await insert());
    await has(); // hidden pages are told, too
    const before = await metric(bridge, 'livefeed_messages_received_total');
    const opened = await metric(bridge, 'livefeed_sessions_opened_total{transport="websocket"}');
    await page.bringToFront();
    await until('its ping', async () => await metric(bridge, 'livefeed_messages_received_total') === before + 1);
    assert.equal(await metric(bridge, 'livefeed_sessions_opened_total{transport="websocket"}'), opened);
    await is('live');
    await other.close();
  });

  it('online again: live at once, with all that happened', async () => {
    await open();
    await browser.context.setOffline(true);
    await is('offline');
    await alone();
    page.made.push(await insert(), await insert());
    assert.equal(await page.evaluate(() => live.status), 'offline');
    await browser.context.setOffline(false);
    await woken('online');
    await is('live');
    await has();
  });

  it('come back to after the bridge was away: live at once, with all that happened', async () => {
    await open();
    await bridge.kill();
    await is('offline');
    await page.goto(`${elsewhere.origin}/`);
    await bridge.again();
    page.made.push(await insert());
    await page.evaluate(() => history.back());
    await woken('pageshow again');
    await is('live');
    await has();
  });

  it('come back to, after it was put aside with its connection open: live, with all that happened', async (t) => {
    await open();
    await page.goto(`${elsewhere.origin}/`);
    page.made.push(await insert(), await insert());
    await page.evaluate(() => history.back());
    await is('live');
    await until('its rows', () => page.evaluate((keys) => keys.every((key) => rows.rows.has(key)), page.made));
    // Chromium may have kept it, or loads it anew where frames came meanwhile.
    const kept = await page.evaluate(() => woken.includes('pageshow again'));
    t.diagnostic(`the page was ${kept ? 'kept' : 'loaded anew'}`);
    if (kept) await has();
  });
});
