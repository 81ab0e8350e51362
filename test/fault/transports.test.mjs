// Sessions that hop between WebSocket, Server-Sent Events and long poll, at either of two bridges, break off anywhere and come back with
// their one cursor, under writers, while bridges are killed (kill -9): every event of their channels once, in order, and on a stream
// of several channels in one order over all of them; each cursor covers what it says.
// Not here: Socket.IO (test/e2e/socketio), proxies (test/e2e/nginx).

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Hopper } from './lib/hopper.mjs';
import { repeatedly, rounds, seconds } from './lib/random.mjs';
import { Scene, unitChannels } from './lib/scene.mjs';

const WRITERS = 4;
const UNITS = [1, 2, 3];
const KILL_EVERY_MS = 2000;

describe('transports', () => {
  let scene;

  before(async () => {
    scene = await Scene.start('transports', { bridges: [[], ['--history', '64KiB', '--max-queue', '64KiB']] });
  });
  after(async () => {
    await scene?.end();
    await scene?.remove();
  });

  async function hopper(name, who, channels, more) {
    return scene.add(new Hopper({
      name, bridges: scene.bridges, token: await scene.db.token(name, { ttl: '1 day', ...who }), channels, since: scene.since, checker: scene.checker, random: scene.random.child(name), ...more,
    }));
  }

  it('nothing is lost or doubled by who hops between them, while bridges are killed', async () => {
    await scene.begin();
    const hoppers = [];
    for (const unit of UNITS) hoppers.push(await hopper(`all ${unit}`, { units: [unit] }, unitChannels(unit)));
    for (const way of ['sse', 'poll']) hoppers.push(await hopper(`${way} alone`, { units: UNITS }, UNITS.flatMap((unit) => unitChannels(unit)), { ways: [way] }));
    hoppers.push(await hopper('admin', { roles: ['admin'], units: [1] }, ['items', 'items:unit:1', 'items:row:w1-1', 'marks']));
    scene.write(WRITERS, { units: UNITS });
    const least = rounds(3, 20);
    const end = performance.now() + seconds(8) * 1000;
    const chaos = scene.random.child('chaos');
    let kills = 0;
    try {
      await scene.beside((signal) => {
        const enough = new AbortController();
        return repeatedly(AbortSignal.any([signal, enough.signal]), () => KILL_EVERY_MS * (0.5 + chaos.next()), async () => {
          const bridge = chaos.pick(scene.bridges);
          await bridge.kill();
          kills++;
          await bridge.again();
          if (kills >= least && performance.now() > end) enough.abort();
        });
      });
      assert.ok(kills >= least);
      await scene.calm();
      const sum = (what) => Object.fromEntries(['websocket', 'sse', 'poll'].map((way) => [way, hoppers.reduce((n, each) => n + each[what][way], 0)]));
      for (const [way, n] of Object.entries(sum('events'))) assert.ok(n > 0, `no events by ${way}`);
      await scene.verdict({ bridgesKilled: kills, hops: sum('hops'), events: sum('events'), head: scene.head });
    } finally {
      await scene.end();
    }
  });
});
