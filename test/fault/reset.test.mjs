// The end of a server process that dies with a query unread in its socket, as all do when PostgreSQL crashes: the bridge gets what
// was sent before and the reset in one moment. It has to notice at once, not when the query's time is over.
// The bridge's connections go through this test, which ends them like that while the bridge is stopped (SIGSTOP).
// Not here: real crashes (crash, storm), networks that say nothing (network_database).

import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import { after, before, describe, it } from 'node:test';
import { Bridge } from '../e2e/lib/bridge.mjs';
import { until } from '../e2e/lib/wait.mjs';
import { rounds } from './lib/random.mjs';
import { Scene, stopped } from './lib/scene.mjs';
import { queued } from './lib/wire.mjs';

const IN_TIME_MS = 4000; // a ticker is given up after 5 s
const ROUNDS_MAX = rounds(12, 60);
const ASKED_EACH_SECOND = 3; // connections: the reader looks, the ticker waits for a tick, the keeper prunes

/** Nothing more is read from it: pause() alone would go on until a buffer is full. */
function leaveUnread(socket) {
  socket.pause();
  socket._handle?.readStop(); // it may be gone, and not yet said so
}

/** What PostgreSQL sends when another server process has crashed: a NoticeResponse of its protocol. */
function notice() {
  const fields = Buffer.from('SWARNING\0VWARNING\0C57P02\0Mterminating connection because of crash of another server process\0\0');
  const head = Buffer.alloc(5);
  head.write('N');
  head.writeInt32BE(fields.length + 4, 1);
  return Buffer.concat([head, fields]);
}

describe('connections to the database that are reset', () => {
  let scene;
  let server;
  const near = new Set(); // the bridge's connections

  before(async () => {
    scene = await Scene.start('reset', {
      bridges: [],
      async prepare({ cluster, db, bridges }) {
        server = net.createServer((socket) => {
          const far = net.connect(cluster.port, '127.0.0.1');
          for (const [from, to] of [[socket, far], [far, socket]]) {
            from.on('error', () => {});
            from.on('close', () => to.destroy());
            from.on('data', (data) => to.write(data));
          }
          near.add(socket);
          socket.on('close', () => near.delete(socket));
        });
        server.listen(0, '127.0.0.1');
        await once(server, 'listening');
        bridges.push(await Bridge.start(db, [], { dsn: `host=127.0.0.1 port=${server.address().port} user=bridge dbname=${db.name}` }));
      },
    });
  });
  after(async () => {
    await scene?.end();
    await scene?.remove();
    for (const socket of near) socket.destroy();
    server?.close();
  });

  it('are noticed at once, and nothing is lost', async () => {
    await scene.begin();
    const [bridge] = scene.bridges;
    const told = [];
    const session = await scene.session('stays', { unit: 1, stay: Infinity, onStatus: (frame) => told.push(frame.database) });
    await scene.heard(await scene.probe());
    let prompt = 0;
    for (let round = 0; prompt < rounds(3, 20); round++) {
      assert.ok(round < ROUNDS_MAX, 'this machine stands still all the time');
      const lines = bridge.log.length;
      const began = performance.now();
      for (const socket of near) leaveUnread(socket);
      const isUnread = (socket) => queued(socket).ours.unread > 0;
      let asked;
      await until('the bridge to have asked on all connections that it asks on', () => {
        asked = [...near].filter(isUnread);
        return asked.length >= ASKED_EACH_SECOND;
      });
      const gone = Promise.all([...near].map((socket) => new Promise((resolve) => { socket.once('close', resolve); }))); // with an error or without
      await stopped([bridge.process.pid], async () => {
        for (const socket of asked) socket.write(notice());
        for (const socket of asked) await until('the notice to be there', () => socket.destroyed || queued(socket).ours.unsent === 0);
        for (const socket of near) socket.destroy(); // what was not read makes it a reset
        await gone;
      });
      const inTime = performance.now() - began < IN_TIME_MS; // else what was asked may have been given up before
      const key = await scene.probe();
      await scene.heard(key);
      await until('the bridge to say so', () => /not serving until the database is back/.test(bridge.log.slice(lines)));
      if (!inTime) continue;
      assert.doesNotMatch(bridge.log.slice(lines), /no answer from PostgreSQL in time/);
      prompt++;
    }
    assert.equal(session.stream.closes.size, 0);
    await scene.calm();
    await scene.verdict({ resets: prompt, told: told.length });
    assert.ok(told.length >= 2 * prompt, 'it was told that the database went, and that it came back');
  });
});
