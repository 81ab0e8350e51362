// The demo itself, started and stopped as a user does, and looked at in Chromium.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { describe, it } from 'node:test';
import { ROOT } from './lib/cluster.mjs';
import { Bridge } from './lib/bridge.mjs';
import { PAGE_MS, browse } from './lib/browser.mjs';
import { Client, isEvent } from './lib/client.mjs';
import { SLOW, until, within } from './lib/wait.mjs';

// Where it begins to look for free ports: below those that the system hands out by itself.
const somePort = () => 20_000 + Math.floor(Math.random() * 10_000);
const START_MS = 60_000 * SLOW;
const APPLICATIONS = ['records', 'workshop', 'marketplace', 'timetable'];
const SIDES = { records: 2, workshop: 1, marketplace: 3, timetable: 2 };
const SCREENS = [{ width: 1280, height: 800 }, { width: 390, height: 844 }];

const listening = (port) => new Promise((resolve) => {
  const socket = net.connect(port, '127.0.0.1', () => { socket.destroy(); resolve(true); });
  socket.on('error', () => resolve(false));
});

/** Starts the demo, looks, ends it with the signal, and looks for what it left. */
async function demonstrate(end, look, env = {}) {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'livefeed-its-'));
  chmodSync(folder, 0o755); // PostgreSQL may run as somebody else
  const demo = spawn(path.join(ROOT, 'examples/demo'), [], {
    stdio: ['ignore', 'pipe', 'pipe'], detached: true, env: { ...process.env, TMPDIR: folder, LIVEFEED_DEMO_PORT: String(somePort()), ...env },
  });
  let said = '';
  demo.stdout.on('data', (data) => { said += data; });
  demo.stderr.on('data', (data) => { said += data; });
  let status;
  const ended = new Promise((resolve) => demo.once('close', (code, by) => { status = code ?? by; resolve(status); }));
  try {
    await until('the demo to say that it runs', () => {
      if (status !== undefined) throw new Error(said);
      return /leaves nothing behind/.test(said);
    }, START_MS);
    const urls = Object.fromEntries([...said.matchAll(/^ *(\w+) +(http:\/\/127\.0\.0\.1:\d+\/\w+\/)$/gm)].map(([, name, url]) => [name, url]));
    const ports = Object.values(urls).map((url) => Number(new URL(url).port));
    const cluster = said.match(/-h (\S+) -p (\d+)/);
    await look(urls, said.match(/^ *all of it +(\S+)$/m)[1]);
    assert.equal(readdirSync(folder).length, 2, 'the cluster and the pages');
    end(demo);
    assert.equal(await within('the demo to end', ended, START_MS), 0, said);
    assert.equal(existsSync(cluster[1]), false, "the cluster's folder is gone");
    for (const port of [...ports, Number(cluster[2])]) assert.equal(await listening(port), false, `port ${port} is free again`);
    assert.deepEqual(readdirSync(folder), []);
    assert.match(said, /The demo is gone/);
    await until('nobody of its process group to live on', () => { // the dead are there until somebody asks for them
      try {
        return !process.kill(-demo.pid, 0);
      } catch (error) {
        return error.code === 'ESRCH';
      }
    });
  } finally {
    if (status === undefined) demo.kill('SIGTERM');
    await within('the demo to end', ended, START_MS);
    rmSync(folder, { recursive: true });
  }
}

describe('the demo', () => {
  it('offers all four applications, each live, to a desktop and to a phone; Ctrl-C leaves nothing', async () => {
    const browser = await browse();
    try {
      await demonstrate((demo) => process.kill(-demo.pid, 'SIGINT'), async (urls, index) => { // as a terminal does: to all of them
        assert.deepEqual(Object.keys(urls), APPLICATIONS);
        for (const viewport of SCREENS) {
          const context = await browser.newContext({ viewport });
          context.setDefaultTimeout(PAGE_MS);
          const page = await context.newPage();
          const troubles = [];
          page.on('pageerror', (error) => troubles.push(error.message));
          page.on('console', (message) => { if (message.type() === 'error') troubles.push(message.text()); });
          await page.goto(index);
          for (const name of APPLICATIONS) {
            await page.getByRole('link', { name }).click(); // from the index, then from page to page
            await page.waitForURL(urls[name]);
            await until(`${name} to be live`, async () => await page.locator('.live.on').count() === SIDES[name], PAGE_MS);
            const was = await page.content(); // a figure, a bar, a place on the map
            await until(`${name} to change by itself`, async () => await page.content() !== was, PAGE_MS);
            const [needed, given] = await page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
            assert.ok(needed <= given, `${name} is ${needed} wide on a screen of ${given}`);
          }
          assert.deepEqual(troubles, []);
          await context.close();
        }
      });
    } finally {
      await browser.close();
    }
  });

  it('shows two departments apart, runs only what is asked for, and leaves nothing after SIGTERM either', async () => {
    await demonstrate((demo) => demo.kill('SIGTERM'), async (urls) => {
      assert.deepEqual(Object.keys(urls), ['records']);
      const port = Number(new URL(urls.records).port);
      const bridge = Object.assign(Object.create(Bridge.prototype), { host: '127.0.0.1', port, origin: `http://127.0.0.1:${port}` });
      const sessions = JSON.parse((await bridge.get('/records/session.json')).body);
      assert.equal(sessions.length, 2);
      for (const { unit, token } of sessions) {
        // as the page does: same origin, the token as first message
        const client = await Client.open(bridge, { token, via: 'message', headers: { Origin: bridge.origin } });
        await client.subscribe(`requests:unit:${unit}`, { since: `${client.welcome.epoch}-0` });
        for (let n = 0; n < 4; n++) assert.equal((await client.next(isEvent)).unit, unit);
        const last = client.events().at(-1).id;
        await client.next((frame) => frame.id > last, START_MS); // somebody is at work
        await client.leave();
      }
    }, { LIVEFEED_DEMO: 'records' });
  });
});
