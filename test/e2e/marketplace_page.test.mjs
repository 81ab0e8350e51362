// The marketplace's page in Chromium, as a customer, a partner and the office use it.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { PAGE_MS, browse } from './lib/browser.mjs';
import { Example } from './lib/example.mjs';
import { until } from './lib/wait.mjs';

const [CORA, PAUL] = [1, 11];
const SCREENS = [{ width: 1280, height: 800 }, { width: 390, height: 844 }];

describe("the marketplace's page", () => {
  let app;
  let db;
  let browser;
  let troubles;

  before(async () => {
    app = await Example.start('marketplace', { probe: 21, page: true });
    ({ db } = app);
    browser = await browse();
  });
  after(async () => {
    await browser?.close();
    await app?.stop();
  });

  /** The three sides of the page. */
  async function visit(viewport = SCREENS[0]) {
    const page = await browser.newPage({ viewport });
    page.setDefaultTimeout(PAGE_MS);
    troubles = [];
    page.on('pageerror', (error) => troubles.push(error.message));
    await page.goto(`${app.bridge.origin}/marketplace/`);
    await until('all to be live', async () => await page.locator('.live.on').count() === 3, PAGE_MS);
    const side = (name) => page.locator('.panel', { has: page.locator('h2', { hasText: name }) });
    return { page, cora: side('Cora'), paul: side('Paul'), ada: side('Ada') };
  }
  const shows = (side, selector, text) => side.locator(selector, { hasText: text }).first().waitFor();
  const hides = (side, selector, text) => side.locator(selector, { hasText: text }).first().waitFor({ state: 'hidden' });
  const count = (side, n) => until(`the bell to say ${n}`, async () => await side.locator('.bell b').innerText() === String(n));

  it('a bell with a count, which follows in both of her tabs', async () => {
    const [here, there] = [await visit(), await visit()];
    const [{ unread }] = await db.write('SELECT unread_count($1) AS unread', [CORA]);
    for (const { cora } of [here, there]) await count(cora, unread);
    await db.write('SELECT notify_user($1, $2)', [CORA, 'Rain is coming']);
    for (const { cora } of [here, there]) await count(cora, unread + 1);
    await here.cora.locator('.bell').click();
    await here.cora.locator('.notices li', { hasText: 'Rain is coming' }).getByRole('button').click();
    for (const { cora } of [here, there]) await count(cora, unread);
    await here.cora.getByRole('button', { name: 'Mark all read' }).click();
    for (const { cora } of [here, there]) await count(cora, 0);
    assert.deepEqual(troubles, []);
    for (const { page } of [here, there]) await page.close();
  });

  it('an order with its status, a partner who moves on the map, and chat', async () => {
    const { page, cora, paul } = await visit();
    await shows(cora, '.order .what', 'No. 1: Pizza');
    await shows(cora, '.order .status', 'Accepted');
    for (const [lat, lng] of [[0.1, 0.3], [0.1, 0.5], [0.4, 0.5]]) {
      await db.write('SELECT set_location(1, $1, $2)', [lat, lng]);
      for (const side of [cora, paul]) await side.locator(`.partner[data-lat="${lat}"][data-lng="${lng}"]`).waitFor();
    }
    const place = await cora.locator('.partner').evaluate((dot) => dot.style.transform);
    assert.equal(place, 'translate(50px, 36px)');
    await cora.locator('.say input').fill('Second floor, please');
    await cora.locator('.say button').click();
    await shows(paul, '.chat li', 'Second floor, please');
    await shows(cora, '.chat li.mine', 'Second floor, please');
    await paul.getByRole('button', { name: 'Picked Up' }).click();
    await shows(cora, '.order .status', 'Picked Up');
    assert.deepEqual(troubles, []);
    await page.close();
  });

  it('the office sees orders, payments and who is online; who loses an order sees it no more', async () => {
    const { page, cora, paul, ada } = await visit();
    for (const name of ['Cora', 'Paul', 'Ada']) await shows(ada, '.online', name);
    const wallet = Number(await cora.locator('.wallet').innerText());
    const orders = Number(await ada.locator('.new_orders').innerText());
    await cora.locator('.buy select').selectOption('Curry');
    await cora.getByRole('button', { name: 'Order', exact: true }).click();
    await until('her wallet to be lighter', async () => Number(await cora.locator('.wallet').innerText()) === wallet - 12.5);
    await until('a new order', async () => Number(await ada.locator('.new_orders').innerText()) === orders + 1);
    await shows(ada, '.payments', '12.50');
    await db.write(`UPDATE orders SET status = 'Cancelled' WHERE partner_id = $1`, [PAUL]);
    await shows(paul, '.idle', 'Nothing to deliver');
    const line = ada.locator('.orders li', { hasText: 'Curry' });
    await line.getByRole('button', { name: 'Give to Paul' }).click();
    await shows(paul, '.queue', 'Curry');
    await shows(paul, '.order .what', 'Curry');
    await shows(cora, '.order .what', 'Curry'); // the one that is on its way
    await line.getByRole('button', { name: 'Give to Pia' }).click();
    await hides(paul, '.order .what', 'Curry');
    await shows(paul, '.idle', 'Nothing to deliver');
    await shows(cora, '.order .what', 'Curry');
    assert.deepEqual(troubles, []);
    await page.close();
  });

  it('comes back by itself when the bridge was away, and has missed nothing', async () => {
    const { page, cora, ada } = await visit();
    const [{ unread }] = await db.write('SELECT unread_count($1) AS unread', [CORA]);
    await count(cora, unread);
    await app.bridge.kill();
    await until('the page to say that it is not live', async () => await page.locator('.live.on').count() === 0);
    await db.write(`SELECT notify_user($1, 'While you were away')`, [CORA]);
    const [{ id }] = await db.write(`SELECT place_order(2, 'Salad') AS id`);
    await app.bridge.again();
    await until('all to be live again', async () => await page.locator('.live.on').count() === 3, PAGE_MS);
    await count(cora, unread + 1);
    await shows(ada, '.orders', `No. ${id}: Salad`);
    await cora.locator('.bell').click();
    await shows(cora, '.notices', 'While you were away');
    assert.deepEqual(troubles, []);
    await page.close();
  });

  it('fits a desktop and a phone', async () => {
    for (const viewport of SCREENS) {
      const { page, cora } = await visit(viewport);
      await cora.locator('.bell').click();
      await cora.locator('.notices').waitFor();
      const [needed, given] = await page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
      assert.ok(needed <= given, `${needed} wide on a screen of ${given}`);
      assert.deepEqual(troubles, []);
      await page.close();
    }
  });
});
