// More clients than the bridge can open files, who hold all they get. The bridge goes on without more of them, and still finds
// its way back to the database, for which it needs files, too.
// Not here: limits of connections that are set (e2e, limits_connections), PostgreSQL's own restarts (crash).

import assert from 'node:assert/strict';
import net from 'node:net';
import { after, before, describe, it } from 'node:test';
import { Bridge } from '../e2e/lib/bridge.mjs';
import { Client, isEvent } from '../e2e/lib/client.mjs';
import { Cluster } from '../e2e/lib/cluster.mjs';
import { SCHEMA } from '../e2e/lib/schema.mjs';
import { DEADLINE_MS, until } from '../e2e/lib/wait.mjs';

const FILES = 128;
const AGAIN_MS = 100; // how soon one that was closed comes back

describe('more clients than files', () => {
  let cluster;
  let db;
  let bridge;
  let over = false;
  const crowd = new Set();

  before(async () => {
    cluster = await Cluster.start();
    db = await cluster.database(SCHEMA);
    bridge = await Bridge.start(db, ['--handshake-timeout', '5min'], { wrapper: ['prlimit', `--nofile=${FILES}:${FILES}`] });
  });
  after(async () => {
    over = true;
    for (const socket of crowd) socket.destroy();
    await bridge?.stop();
    await cluster?.remove();
  });

  function come() {
    if (over) return;
    const socket = net.connect(bridge.port, '127.0.0.1');
    crowd.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => {
      crowd.delete(socket);
      setTimeout(come, AGAIN_MS);
    });
  }

  /** Waits until every file that a client may have is taken. */
  const full = (since) => until('all files to be taken', () => /no new connections for now/.test(bridge.log.slice(since)));

  it('the bridge comes back to a database that was restarted', async () => {
    const client = await Client.open(bridge, { token: await db.token('42', { units: [7] }) });
    await client.subscribe('requests:unit:7');
    for (let i = 0; i < FILES * 2; i++) come();
    await full(0);
    const then = bridge.log.length;
    await cluster.stop();
    await until('the loss', () => /not serving until the database is back/.test(bridge.log.slice(then)));
    await full(then); // what the bridge gave back is taken as well
    await cluster.again();
    await db.write(`INSERT INTO requests (id, unit_id, title) VALUES (1, 7, 'x')`);
    assert.equal((await client.next(isEvent, 2 * DEADLINE_MS)).key, '1');
    assert.equal(client.closed, null);
    await client.leave();
  });
});
