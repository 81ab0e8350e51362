// The archive's page in Chromium: two departments side by side, each as one of its
// approvers uses it.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { PAGE_MS, browse } from './lib/browser.mjs';
import { Example } from './lib/example.mjs';
import { until } from './lib/wait.mjs';

describe("the archive's page", () => {
  let app;
  let db;
  let browser;
  let troubles;

  before(async () => {
    app = await Example.start('records', { probe: 'bob', page: true });
    ({ db } = app);
    browser = await browse();
  });
  after(async () => {
    await browser?.close();
    await app?.stop();
  });

  async function visit() {
    const page = await browser.newPage({ viewport: { width: 1280, height: 800 } });
    page.setDefaultTimeout(PAGE_MS);
    troubles = [];
    page.on('pageerror', (error) => troubles.push(error.message));
    await page.goto(`${app.bridge.origin}/records/`);
    await until('both to be live', async () => await page.locator('.live.on').count() === 2, PAGE_MS);
    await until('the notices to be there', async () => (await page.locator('.bell b').allTextContents()).every(Boolean)); // those of now on are logged
    const side = (name) => page.locator('.unit', { has: page.locator('h2', { hasText: name }) });
    return { page, finance: side('Finance'), legal: side('Legal') };
  }
  const request = (side, title) => side.locator('.requests tr', { hasText: title });
  const figure = async (side, status) => Number((await side.locator('.counts span', { hasText: status }).innerText()).match(/\d+/)[0]);
  const decide = (line, what) => line.getByRole('button', { name: what }).click();

  it('asked, approved, allocated, issued, returned: on the page, in its figures, its log and the trail, of that department alone', async () => {
    const { page, finance, legal } = await visit();
    await until('the figures', async () => await finance.locator('.counts span').count() > 0);
    const approved = await figure(finance, 'approved');
    await finance.locator('.ask select').selectOption('Storage');
    await finance.getByPlaceholder('what').fill('Minutes of the board');
    await finance.getByRole('button', { name: 'Ask' }).click();
    const line = request(finance, 'Minutes of the board');
    await line.locator('.pill.Pending').waitFor();
    await decide(line, 'approve');
    await line.locator('.pill.Approved').waitFor();
    await until('the count', async () => await figure(finance, 'approved') === approved + 1);
    await decide(line, 'allocate');
    await until('the place', async () => /^F-0\d$/.test(await line.locator('.store').innerText()));
    await decide(line, 'issue');
    await decide(line, 'return');
    await line.locator('.pill.Returned').waitFor();
    await finance.locator('.log li', { hasText: 'returned request' }).first().waitFor();
    await finance.locator('.trail li', { hasText: 'bob returned request' }).first().waitFor();
    assert.ok(!(await legal.innerText()).includes('Minutes of the board'));
    assert.deepEqual(troubles, []);
    await page.close();
  });

  it('a request sent back rings for its requester and the approvers; a crate relocated is shown', async () => {
    const { page, finance, legal } = await visit();
    const [{ id }] = await db.write(`SELECT create_request(9, 'carol', 'Withdrawal', 'Deed of 1987') AS id`);
    const line = request(legal, 'Deed of 1987');
    await decide(line, 'send back');
    await until('the bell', async () => await legal.locator('.bell b').innerText() === '1');
    await request(legal, 'Deed of 1987 (sent back)').waitFor();
    await legal.locator('.log .mine', { hasText: `Request ${id} was sent back` }).waitFor();
    assert.equal(await finance.locator('.bell b').innerText(), '0');
    await db.write(`SELECT relocate(4, 'dave', 6)`);
    await legal.locator('.crates li', { hasText: 'Contracts A-K L-03' }).waitFor();
    assert.deepEqual(troubles, []);
    await page.close();
  });

  it('logout: the page says so, and stays away', async () => {
    const { page, finance, legal } = await visit();
    await db.write(`SELECT livefeed.disconnect('bob', 'logged out')`);
    await finance.locator('.live', { hasText: 'logged out' }).waitFor();
    await legal.locator('.live.on').waitFor();
    await page.close();
  });
});
