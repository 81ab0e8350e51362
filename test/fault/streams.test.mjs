// Streams of server-sent events and long polls under faults, beside WebSockets: writers with late commits, rollbacks and
// prepared transactions; clients that break off, sleep and hop; bridges killed, ended and stopped; PostgreSQL crashed. With one
// cursor for all of its channels, each client has every event once, and its ids grow over all channels.
// Not here: what is refused (e2e/sse, e2e/poll), who hops between them (transports), WebSockets alone (storm).

import { after, before, describe, it } from 'node:test';
import { until, SLOW } from '../e2e/lib/wait.mjs';
import { Polled, Streamed } from './lib/http.mjs';
import { lasting, repeatedly, seconds } from './lib/random.mjs';
import { Scene, stopped, unitChannels } from './lib/scene.mjs';

const UNITS = [1, 2, 3];
const USERS = ['u1', 'u2', null];
const PAUSE_MS = 1500; // between two faults, at most
const STOPPED_MS = 1500;
const AGAIN_WITHIN_MS = 60_000 * SLOW; // it may find the database in the state that another fault left

describe('streams and polls', () => {
  let scene;

  before(async () => {
    const args = ['--heartbeat', '1s', '--rate', '1000'];
    scene = await Scene.start('streams', { cluster: { fsync: true }, bridges: [args, [...args, '--history', '64KiB', '--max-queue', '256KiB']] });
  });
  after(async () => {
    await scene?.end();
    await scene?.remove();
  });

  it('have every event of their channels, once, in one order, whatever breaks', async () => {
    await scene.begin();
    const add = async (Kind, name, { channels, who, user = name, ...options }) => scene.add(new Kind({
      name, since: scene.since, checker: scene.checker, bridges: scene.bridges, random: scene.random.child(name), channels,
      token: await scene.db.token(user, { ttl: '1 day', ...who }), ...options,
    }));
    for (const unit of UNITS) {
      const of = { channels: unitChannels(unit), who: { units: [unit] } };
      await add(Streamed, `stream hops${unit}`, of);
      await add(Streamed, `stream stays${unit}`, { ...of, stay: Infinity, bridges: scene.bridges.slice(0, 1) });
      await add(Polled, `poll hops${unit}`, of);
      await scene.session(`websocket${unit}`, { unit });
    }
    await add(Streamed, 'stream admin', { channels: ['items', 'marks', 'items:row:w1-1', 'marks:row:w2-1'], who: { roles: ['admin'] } });
    await add(Polled, 'poll admin', { channels: ['items', 'marks:row:w1-1'], who: { roles: ['admin'] } });
    for (const [Kind, name] of [[Streamed, 'stream user'], [Polled, 'poll user']]) await add(Kind, name, { user: 'u1', channels: ['items:user:u1', 'marks:user:u1'] });
    scene.write(4, { units: [...UNITS, null], users: USERS, body: 300 });

    const chaos = scene.random.child('chaos');
    const done = {};
    const faults = {
      'bridge killed': async (bridge) => { await bridge.kill(); await bridge.again(AGAIN_WITHIN_MS); },
      'bridge ended and started': async (bridge) => { await bridge.stop(); await bridge.again(AGAIN_WITHIN_MS); },
      'bridge stopped': (bridge) => stopped([bridge.process.pid], () => lasting(chaos.int(100, STOPPED_MS), scene.signal)),
      'backends terminated': () => scene.db.query(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'bridge'`),
      'PostgreSQL killed': async () => { await scene.cluster.stop('immediate'); await scene.cluster.again(); },
    };
    try {
      scene.beside((signal) => repeatedly(signal, () => chaos.int(200, PAUSE_MS), async () => {
        const name = chaos.pick(Object.keys(faults));
        await faults[name](chaos.pick(scene.bridges));
        done[name] = (done[name] ?? 0) + 1;
      }));
      await Promise.race([lasting(seconds(8) * 1000, scene.signal), scene.faulty]);
      await until('faults of two kinds', () => Object.keys(done).length > 1, 60_000 * SLOW);
      await scene.calm();
      for (const Kind of [Streamed, Polled]) await add(Kind, `late ${Kind.name}`, { channels: unitChannels(1), who: { units: [1] }, stay: Infinity });
      await scene.settle();
      await scene.verdict({ faults: done });
    } finally {
      await scene.end();
    }
  });
});
