// The workshop's page in Chromium, as people use it: with a mouse, with a finger's
// width of screen, and behind a proxy that lets no WebSocket through.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { PAGE_MS, browse } from './lib/browser.mjs';
import { Example, dayWithTime } from './lib/example.mjs';
import { Proxy } from './lib/proxy.mjs';
import { DEADLINE_MS, until } from './lib/wait.mjs';

describe("the workshop's page", () => {
  let app;
  let db;
  let proxy;
  let browser;
  let troubles;

  before(async () => {
    app = await Example.start('workshop', { probe: 'mia', page: true });
    ({ db } = app);
    proxy = await Proxy.start(app.bridge.port);
    browser = await browse();
  });
  after(async () => {
    await browser?.close();
    await proxy?.stop();
    await app?.stop();
  });

  async function visit(who, viewport = { width: 1280, height: 800 }) {
    const page = await browser.newPage({ viewport });
    page.setDefaultTimeout(PAGE_MS);
    troubles = [];
    page.on('pageerror', (error) => troubles.push(error.message));
    await page.goto(`${proxy.origin}/workshop/?as=${who}`);
    await shows(page, '.live', 'live');
    return page;
  }

  const shows = (page, selector, text) => page.locator(selector, { hasText: text }).first().waitFor();
  const card = (id) => `.board .card[data-key="${id}"]`;
  const inColumn = (column, id) => `.cards[data-column="${column}"] ${`.card[data-key="${id}"]`}`;
  const placeOf = async (id) => (await db.write('SELECT column_id, position FROM cards WHERE id = $1', [id]))[0];

  it('shows the board and the day; a card dragged by one is moved on the other\'s page', async () => {
    await dayWithTime(app);
    const [mia, noah] = [await visit('mia'), await visit('noah')];
    assert.equal(await mia.locator('.board .card').count(), 7);
    await shows(mia, '.appointments', 'Cleo Park');
    await shows(mia, '.schedule', '10:00 to 11:30 Clio');
    await mia.locator(card(1)).dragTo(mia.locator(card(6)), { targetPosition: { x: 20, y: 2 } }); // above it
    await noah.locator(inColumn(3, 1)).waitFor();
    assert.deepEqual(await placeOf(1), { column_id: 3, position: 1 });
    assert.deepEqual(await noah.locator('.cards[data-column="3"] .card').evaluateAll((cards) => cards.map((each) => each.dataset.key)), ['1', '6']);
    // By keyboard, too.
    await noah.locator(card(1)).focus();
    await noah.keyboard.press('ArrowRight');
    await mia.locator(inColumn(4, 1)).waitFor();
    assert.deepEqual(troubles, []);
    for (const page of [mia, noah]) await page.close();
  });

  it('a card\'s details: comment, label, other column, removed', async () => {
    const [mia, noah] = [await visit('mia'), await visit('noah', { width: 390, height: 844 })];
    await noah.locator(card(2)).click();
    await noah.getByPlaceholder('comment').fill('New belt is here');
    await noah.getByRole('button', { name: 'Say' }).click();
    await noah.getByPlaceholder('label').fill('today');
    await noah.getByRole('button', { name: 'Put on' }).click();
    await shows(mia, card(2), '1 comment');
    await shows(mia, card(2), 'today');
    await noah.locator('.place select').selectOption({ label: 'Completed' });
    await mia.locator(inColumn(4, 2)).waitFor();
    await noah.getByRole('button', { name: 'Remove the card' }).click();
    await mia.locator(card(2)).waitFor({ state: 'detached' });
    await noah.locator('dialog[open]').waitFor({ state: 'detached' });
    assert.deepEqual(troubles, []);
    for (const page of [mia, noah]) await page.close();
  });

  it('an appointment booked by one is on the other\'s page, and counted', async () => {
    await dayWithTime(app);
    const [mia, noah] = [await visit('mia'), await visit('noah')];
    const pending = Number(await noah.locator('.pending').textContent());
    await mia.getByPlaceholder('customer').fill('Zoe Zorn');
    await mia.getByRole('textbox', { name: 'car', exact: true }).fill('Kadett');
    await mia.getByRole('button', { name: 'Book' }).click();
    await shows(noah, '.appointments', 'Zoe Zorn');
    await shows(noah, '.pending', String(pending + 1));
    for (const page of [mia, noah]) await page.close();
  });

  /** A page behind a proxy that lets no WebSocket through, and perhaps no stream; and back. */
  async function withoutSockets({ streams }) {
    await db.write(`SELECT move(4, 2, 1, 'noah')`);
    const mia = await visit('mia');
    Object.assign(proxy, { upgrades: false, streams });
    proxy.cut();
    await mia.locator('.live', { hasText: 'polling' }).waitFor(); // a stream is given 4 s
    await db.write(`SELECT move(4, 4, 1, 'noah')`);
    await mia.locator(inColumn(4, 4)).waitFor();
    await mia.locator(card(4)).focus();
    await mia.keyboard.press('ArrowLeft'); // a command, by POST
    await until('the card to be moved', async () => (await placeOf(4)).column_id === 3);
    await mia.locator(inColumn(3, 4)).waitFor();
    Object.assign(proxy, { upgrades: true, streams: true });
    await db.write(`SELECT move(4, 1, 1, 'noah')`);
    await until('a WebSocket again', async () => await mia.locator('.live').textContent() === 'live', 4 * DEADLINE_MS); // it tries after up to 30 s
    await mia.locator(inColumn(1, 4)).waitFor();
    assert.deepEqual(troubles, []);
    await mia.close();
  }

  it('goes on by Server-Sent Events where no WebSocket gets through, moves cards all the same, and is back when one does', async () => {
    await withoutSockets({ streams: true });
    assert.ok(proxy.count('GET /events') > 0);
    assert.equal(proxy.count('POST /poll'), 0);
  });

  it('polls where no stream gets through either, moves cards all the same, and is back on WebSocket when it can', async () => {
    await withoutSockets({ streams: false });
    assert.ok(proxy.count('POST /poll') > 0);
  });
});
