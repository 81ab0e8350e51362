// A real browser, pages to open in it, and an ear on the wire between it and the bridge.

import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import http from 'node:http';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { once } from 'node:events';
import { chromium } from 'playwright-core';
import { DEADLINE_MS, until, within } from './wait.mjs';

export const PAGE_MS = 4 * DEADLINE_MS; // for what a page is to load or to show: a browser that has just been started takes its time
const PROGRAM = process.env.LIVEFEED_TEST_CHROMIUM ?? '/usr/bin/chromium';

/** The distribution's Chromium, without a window. */
export async function browse() {
  const browser = await chromium.launch({ executablePath: PROGRAM, timeout: PAGE_MS });
  return browser;
}

/**
 * The same as a user's: a tab behind another is hidden, and a page that one comes back to was kept, neither of which Playwright's own
 * settings have. { context, close }
 */
export async function browseTabs() {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'livefeed-tabs-'));
  const program = spawn(PROGRAM, ['--headless=new', '--no-sandbox', '--no-first-run', '--disable-gpu', '--remote-debugging-port=0', `--user-data-dir=${folder}`, 'about:blank'],
    { stdio: ['ignore', 'ignore', 'pipe'] });
  const ended = once(program, 'exit');
  let said = '';
  program.stderr.on('data', (data) => { said += data; });
  const close = async () => {
    program.kill();
    await within('Chromium to end', ended).finally(() => program.kill('SIGKILL'));
    await rm(folder, { recursive: true, maxRetries: 10, retryDelay: 100 }); // its children end after it
  };
  try {
    const [, url] = await until('Chromium to listen', () => /DevTools listening on (ws:\S+)/.exec(said), PAGE_MS);
    const browser = await chromium.connectOverCDP(url, { noDefaults: true });
    return { context: browser.contexts()[0], close: async () => { await browser.close(); await close(); } };
  } catch (error) {
    await close();
    error.message += `: ${said}`;
    throw error;
  }
}

/** A web server of someone else: every path is the same page, with these headers. { port, origin, close } */
export async function pages(headers = {}, host = '127.0.0.1') {
  const server = http.createServer((request, response) => {
    response.writeHead(200, { 'Content-Type': 'text/html', ...headers });
    response.end('<!doctype html><title>a page</title>');
  });
  server.listen(0, host);
  await once(server, 'listening');
  const { port } = server.address();
  return { port, origin: `http://${host}:${port}`, close: () => new Promise((resolve) => { server.closeAllConnections(); server.close(resolve); }) };
}

/** Passes connections on to the port and keeps what clients sent: `heard` is all of it. */
export async function listenIn(to) {
  const ear = { heard: '' };
  const open = new Set();
  const server = net.createServer((client) => {
    const upstream = net.connect(to, '127.0.0.1');
    for (const [one, other] of [[client, upstream], [upstream, client]]) {
      open.add(one);
      one.on('error', () => {});
      one.on('close', () => { open.delete(one); other.destroy(); });
      one.pipe(other);
    }
    client.on('data', (data) => { ear.heard += data.toString('latin1'); });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  ear.port = server.address().port;
  ear.origin = `http://127.0.0.1:${ear.port}`;
  /** The heads of requests that were sent, newest last. */
  ear.requests = () => ear.heard.match(/^[A-Z]+ \S+ HTTP\/1\.1\r\n(.+\r\n)*\r\n/gm) ?? [];
  ear.close = () => new Promise((resolve) => { for (const one of open) one.destroy(); server.close(resolve); });
  return ear;
}

/** In the page: opens a WebSocket, sends the messages, and waits until it is closed or `enough` frames came. */
export async function connectFrom(page, url, { messages = [], protocols = ['livefeed.v1'], enough = Infinity } = {}) {
  return page.evaluate(([address, sent, offered, wanted]) => new Promise((resolve) => {
    const seen = { opened: false, frames: [], code: null, reason: null };
    const socket = new WebSocket(address, offered);
    socket.onopen = () => { seen.opened = true; for (const message of sent) socket.send(JSON.stringify(message)); };
    socket.onmessage = ({ data }) => {
      seen.frames.push(JSON.parse(data));
      if (seen.frames.length >= wanted) resolve(seen);
    };
    socket.onclose = ({ code, reason }) => resolve({ ...seen, code, reason });
  }), [url, messages, protocols, Number.isFinite(enough) ? enough : 1e9]);
}

/** In the page: fetch; { status, type, body, headers } or { error }. */
export async function fetchFrom(page, url, options = {}) {
  return page.evaluate(async ([address, init]) => {
    try {
      const response = await fetch(address, init);
      return { status: response.status, type: response.type, body: await response.text(), headers: Object.fromEntries(response.headers) };
    } catch (error) {
      return { error: error.name };
    }
  }, [url, options]);
}
