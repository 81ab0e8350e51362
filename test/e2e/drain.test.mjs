// SIGTERM: clients are told 1001 over the drain time and go on elsewhere with their cursors; nothing is lost, and nobody new gets in.

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Scene } from '../fault/lib/scene.mjs';
import { Bridge } from './lib/bridge.mjs';
import { Client } from './lib/client.mjs';
import { Raw } from './lib/raw.mjs';
import { until } from './lib/wait.mjs';

const UNITS = [1, 2, 3];
const SESSIONS = 24;
const DRAIN_MS = 6000; // more than a machine may stand still
const GET = 'GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n';

describe('drain', () => {
  let scene;

  before(async () => {
    scene = await Scene.start('drain', { bridges: [['--drain', `${DRAIN_MS}ms`], []] });
  });
  after(async () => {
    await scene?.end();
    await scene?.remove();
  });

  it('under load, sessions are sent away bit by bit and lose nothing', async () => {
    await scene.begin();
    const [leaving, staying] = scene.bridges;
    const goodbyes = [];
    const quick = async () => {
      const client = await Client.open(leaving, { token: await scene.db.token('1') });
      client.socket.once('close', () => goodbyes.push(performance.now()));
      return client;
    };
    const first = await quick(); // who comes before all others and who comes after them are told at other times
    for (let n = 0; n < SESSIONS; n++) {
      await scene.session(`d${n}`, { unit: UNITS[n % UNITS.length], stay: Infinity, bridges: n % 4 === 3 ? [staying] : [leaving, staying] });
    }
    const moving = scene.sessions.filter((_, n) => n % 4 !== 3);
    // Those that came to the one that leaves: pinned there by when they close.
    scene.write(4, { units: UNITS });
    await until('all sessions to hear', () => scene.sessions.every((session) => session.heard));
    const idle = await Raw.connect(leaving);
    await idle.send(GET);
    assert.equal((await idle.response()).status, 200);
    const clients = [first, ...await Promise.all(Array.from({ length: 8 }, quick))];
    const ended = leaving.end('SIGTERM');
    await until('it to begin', () => /SIGTERM: closing/.test(leaving.log));
    const at = idle.received.length;
    await idle.send(GET); // a connection from before
    assert.equal((await idle.response(at)).status, 503, 'no longer ready');
    assert.equal((await Client.open(leaving, { welcome: false })).closed?.code, 1006, 'no new connections');
    for (const client of clients) await client.close(1001);
    assert.equal(await ended, 0, leaving.log.slice(-2000));
    assert.ok(goodbyes.at(-1) - goodbyes[0] > DRAIN_MS / 10, 'not all at once');
    await scene.calm();
    for (const { stream, name } of moving) {
      assert.deepEqual([...stream.closes.keys()].filter((code) => code !== 1001 && code !== 1006), [], `${name} was closed otherwise`);
    }
    assert.ok(moving.some(({ stream }) => stream.closes.has(1001)), 'some of them were there');
    for (const { stream, name } of scene.sessions.filter((_, n) => n % 4 === 3)) assert.equal(stream.closes.size, 0, `${name} at the other bridge stayed`);
    assert.equal(existsSync(`/proc/${leaving.process.pid}`), false);
    await scene.verdict();
  });

  it('a second signal ends at once', async () => {
    for (const signals of [['SIGTERM', 'SIGTERM'], ['SIGINT', 'SIGTERM']]) {
      const bridge = await Bridge.start(scene.db, ['--drain', '1h']);
      const client = await Client.open(bridge, { token: await scene.db.token('1') });
      const others = await Promise.all(Array.from({ length: 5 }, async () => Client.open(bridge, { token: await scene.db.token('1') })));
      bridge.process.kill(signals[0]);
      await until('it to begin', () => new RegExp(`${signals[0]}: closing 6 sessions`).test(bridge.log));
      assert.equal(bridge.ended, null);
      assert.equal(await bridge.end(signals[1]), 0);
      for (const each of [client, ...others]) await each.close();
    }
  });

  it('signals that come while it ends change nothing', async () => {
    for (let round = 0; round < 5; round++) {
      const bridge = await Bridge.start(scene.db, ['--drain', '0s']);
      await Client.open(bridge, { token: await scene.db.token('1') });
      while (bridge.ended === null) {
        for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP']) bridge.process.kill(signal);
        await nextTurn();
      }
      assert.equal(bridge.ended, 0, bridge.log);
    }
  });

  it('clients that do not answer the close keep nobody', async () => {
    const bridge = await Bridge.start(scene.db, ['--drain', '0s']);
    const mute = await Promise.all(Array.from({ length: 3 }, async () => Raw.websocket(bridge, await scene.db.token('1'))));
    const half = await Raw.connect(bridge);
    await half.send('GET /ws');
    assert.equal(await bridge.end('SIGTERM'), 0);
    for (const raw of mute) assert.equal((await raw.close()).code, 1001);
    await half.gone();
  });
});
