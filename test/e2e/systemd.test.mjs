// What systemd is told: ready, reloading, stopping, and that the loop goes round.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Bridge } from './lib/bridge.mjs';
import { Cluster } from './lib/cluster.mjs';
import { SCHEMA } from './lib/schema.mjs';
import { until, within } from './lib/wait.mjs';

const LISTENER = fileURLToPath(new URL('lib/notify_socket.py', import.meta.url));

/** A socket that messages to systemd go to; `said` is all of them. */
async function listen(name) {
  const child = spawn('python3', [LISTENER, name], { stdio: ['ignore', 'pipe', 'inherit'] });
  const socket = { said: [], name };
  let rest = '';
  child.stdout.on('data', (data) => {
    const lines = (rest + data).split('\n');
    rest = lines.pop();
    socket.said.push(...lines);
  });
  await until('the socket', () => socket.said[0] === 'listening');
  socket.close = () => {
    const gone = new Promise((resolve) => { child.once('exit', resolve); });
    child.kill();
    return within('the socket to go', gone);
  };
  return socket;
}

describe('systemd', () => {
  let cluster;
  let db;
  let folder;

  before(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'livefeed-systemd-'));
    cluster = await Cluster.start();
    db = await cluster.database(SCHEMA);
  });
  after(async () => {
    await cluster?.remove();
    if (folder) await rm(folder, { recursive: true });
  });

  for (const kind of ['a path', 'an abstract name']) {
    it(`is told of ready, serving, reloading and stopping, at ${kind}`, async () => {
      const socket = await listen(kind === 'a path' ? path.join(folder, 'notify') : `@livefeed-test-${process.pid}`);
      const bridge = await Bridge.start(db, [], { env: { NOTIFY_SOCKET: socket.name } });
      const said = (pattern) => until(`${pattern}`, () => socket.said.some((each) => pattern.test(each)));
      await said(/^READY=1( |$)/);
      await said(/STATUS=serving/);
      assert.equal(socket.said.filter((each) => /^READY=1/.test(each)).length, 1);
      bridge.process.kill('SIGHUP');
      await said(/^RELOADING=1 MONOTONIC_USEC=\d+$/);
      await until('ready again', () => socket.said.filter((each) => /^READY=1/.test(each)).length === 2);
      assert.ok(socket.said.findIndex((each) => /^RELOADING/.test(each)) < socket.said.findLastIndex((each) => /^READY/.test(each)));
      assert.ok(!socket.said.some((each) => /WATCHDOG/.test(each)), 'nobody asked for it');
      await bridge.stop();
      await said(/^STOPPING=1/);
      await socket.close();
    });
  }

  it('hears the watchdog at twice the rate it asks for, unless the loop stands still', async () => {
    const socket = await listen(path.join(folder, 'watchdog'));
    const began = Date.now();
    const bridge = await Bridge.start(db, [], { env: { NOTIFY_SOCKET: socket.name, WATCHDOG_USEC: '400000' } });
    const beats = () => socket.said.filter((each) => each === 'WATCHDOG=1').length;
    await until('beats', () => beats() >= 10);
    const most = Math.ceil((Date.now() - began) / 200) + 2;
    assert.ok(beats() <= most, `every 200 ms: ${beats()}, at most ${most}`);
    bridge.process.kill('SIGSTOP');
    try {
      await until('silence', async () => {
        const before = beats();
        await assert.rejects(until('a beat', () => beats() > before, 1000));
        return true;
      });
    } finally {
      bridge.process.kill('SIGCONT');
    }
    const silent = beats();
    await until('beats again', () => beats() > silent);
    await bridge.stop();
    await socket.close();
  });

  it('asks another process: no watchdog; a socket that nobody reads, or that is none: no harm', async () => {
    const socket = await listen(path.join(folder, 'other'));
    const bridge = await Bridge.start(db, [], { env: { NOTIFY_SOCKET: socket.name, WATCHDOG_USEC: '100000', WATCHDOG_PID: '1' } });
    await until('its status', () => socket.said.some((each) => /serving/.test(each)));
    await bridge.stop();
    assert.ok(!socket.said.some((each) => /WATCHDOG/.test(each)));
    await socket.close();
    for (const name of [path.join(folder, 'nothing'), 'relative', '@', `/${'x'.repeat(200)}`]) {
      await (await Bridge.start(db, [], { env: { NOTIFY_SOCKET: name, WATCHDOG_USEC: '100000' } })).stop();
    }
  });
});
