// The timetable's page in Chromium, as a planner and the head of a school use it: over a
// WebSocket, and where none gets through.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { PAGE_MS, browse } from './lib/browser.mjs';
import { Example } from './lib/example.mjs';
import { until } from './lib/wait.mjs';

const SCREENS = [{ width: 1280, height: 800 }, { width: 390, height: 844 }];

describe("the timetable's page", () => {
  let app;
  let db;
  let browser;
  let troubles;

  before(async () => {
    app = await Example.start('timetable', { probe: 'olga', page: true });
    ({ db } = app);
    browser = await browse();
  });
  after(async () => {
    await browser?.close();
    await app?.stop();
  });

  /** Both sides of the page; `blocked`: no WebSocket gets through. */
  async function visit({ viewport = SCREENS[0], blocked = false } = {}) {
    const page = await browser.newPage({ viewport });
    page.setDefaultTimeout(PAGE_MS);
    troubles = [];
    page.on('pageerror', (error) => troubles.push(error.message));
    if (blocked) await page.routeWebSocket(/\/ws/, (socket) => socket.close({ code: 1011 }));
    await page.goto(`${app.bridge.origin}/timetable/`);
    const side = (name) => page.locator('.panel', { has: page.locator('h2', { hasText: name }) });
    if (!blocked) await until('both to be live', async () => await page.locator('.live.on').count() === 2, PAGE_MS);
    return { page, ines: side('Ines'), henk: side('Henk') };
  }
  const shows = (side, selector, text) => side.locator(selector, { hasText: text }).first().waitFor();
  const bar = (side, title) => side.locator('.job', { hasText: title });
  const jobOf = (title) => until('the job', async () => (await db.write('SELECT id FROM generation_jobs WHERE title = $1', [title]))[0]?.id);
  const advance = (id, steps) => db.write('SELECT advance_job($1, $2)', [id, steps]);

  it('a progress bar that follows the job, and an import without a table', async () => {
    const { page, ines, henk } = await visit();
    assert.equal(await henk.locator('.generate').isVisible(), false, 'only a planner generates');
    await ines.locator('.generate input').fill('Plan of the page');
    await ines.getByRole('button', { name: 'Generate' }).click();
    await shows(bar(henk, 'Plan of the page'), '.pill', 'Queued');
    const id = await jobOf('Plan of the page');
    for (const percent of [10, 55]) {
      await advance(id, percent * 10 - (await db.write('SELECT done FROM generation_jobs WHERE id = $1', [id]))[0].done);
      for (const side of [ines, henk]) await until(`${percent} %`, async () => await bar(side, 'Plan of the page').locator('progress').evaluate((each) => each.value) === percent);
    }
    await db.write(`SELECT tell_import(1, 'rooms-7', 3, 4)`);
    await until('the import', async () => await bar(henk, 'rooms-7').locator('progress').evaluate((each) => each.value) === 75);
    await bar(ines, 'Plan of the page').getByRole('button', { name: 'Cancel' }).click();
    await shows(bar(henk, 'Plan of the page'), '.pill', 'Cancelled');
    assert.deepEqual(troubles, []);
    await page.close();
  });

  it('where WebSocket is blocked it polls, and shows the same value', async () => {
    const { page, ines } = await visit({ blocked: true });
    await shows(ines, '.live', 'polling');
    const id = await jobOf('Summer term');
    await advance(id, 420);
    await until('42 %', async () => await bar(ines, 'Summer term').locator('progress').evaluate((each) => each.value) === 42, PAGE_MS);
    assert.deepEqual(troubles, []);
    await page.close();
  });

  it('the review page: a variant selected, approved, and rejected with comments', async () => {
    await db.write(`INSERT INTO workflows (id, school_id, title) VALUES (50, 1, 'Autumn term')`);
    const { page, ines, henk } = await visit();
    for (const side of [ines, henk]) await side.getByRole('tab', { name: 'Spring term' }).click();
    await ines.locator('.variants tr', { hasText: 'Variant B' }).getByRole('button').click();
    await shows(henk, '.variants tr.chosen', 'Variant B');
    assert.equal(await ines.locator('.verdict').isVisible(), false, 'only the head decides');
    await henk.getByRole('button', { name: 'Approve' }).click();
    for (const side of [ines, henk]) await shows(side, '.review .status', 'Approved');
    await henk.locator('.verdict').waitFor({ state: 'hidden' });
    for (const side of [ines, henk]) await side.getByRole('tab', { name: 'Autumn term' }).click();
    await shows(henk, '.review .title', 'Autumn term');
    await henk.getByRole('button', { name: 'Reject' }).click();
    await shows(page, '.toast', 'says why');
    await henk.locator('.verdict input').fill('Not before summer');
    await henk.getByRole('button', { name: 'Reject' }).click();
    await shows(ines, '.review .status', 'Rejected');
    await shows(ines, '.review .comments', 'by henk: Not before summer');
    assert.deepEqual(troubles, []);
    await page.close();
  });

  it('fits a desktop and a phone, long names too', async () => {
    const name = 'A plan whose name is as long as the page lets it be, no more';
    await db.write('INSERT INTO workflows (id, school_id, title, comments) VALUES (60, 1, $1, $2)', [name, 'x'.repeat(200)]);
    await db.write(`SELECT start_job(1, 'ines', $1)`, [name]);
    for (const viewport of SCREENS) {
      const { page, ines, henk } = await visit({ viewport });
      for (const side of [ines, henk]) await side.getByRole('tab', { name }).click();
      for (const side of [ines, henk]) await shows(side, '.review .comments', 'xxx');
      const [needed, given] = await page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
      assert.ok(needed <= given, `${needed} wide on a screen of ${given}`);
      assert.deepEqual(troubles, []);
      await page.close();
    }
  });
});
