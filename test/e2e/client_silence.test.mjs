// The browser library on a connection that is dead and does not say so: it finds out by a ping that nobody answers.

import { after, before, describe, it } from 'node:test';
import { Cluster } from './lib/cluster.mjs';
import { Bridge } from './lib/bridge.mjs';
import { liveClient } from './lib/livefeed.mjs';
import { Proxy } from './lib/proxy.mjs';
import { SCHEMA } from './lib/schema.mjs';
import { DEADLINE_MS, until } from './lib/wait.mjs';

describe('livefeed-client', () => {
  let cluster;
  let db;

  before(async () => {
    cluster = await Cluster.start();
    db = await cluster.database(SCHEMA);
  });
  after(() => cluster?.remove());

  it('finds out that a connection is dead, by silence alone', async () => {
    const own = await Bridge.start(db, ['--heartbeat', '1s']);
    let client;
    const proxy = await Proxy.start(own.port);
    try {
      client = liveClient(proxy.origin, { token: () => db.token('finn', { units: [7] }) });
      const rows = client.collection('requests:unit:7');
      await until('the rows', () => rows.loaded);
      proxy.mute = true;
      await db.write('INSERT INTO requests (id, unit_id) VALUES (1, 7)');
      let patient = true;
      client.onStatus(() => { patient = false; proxy.mute = false; });
      await until('the end of patience', () => !patient, 4 * DEADLINE_MS);
      await until('live again', () => client.status === 'live', 2 * DEADLINE_MS);
      await until('the row', () => rows.rows.size === 1);
    } finally {
      client?.close();
      await proxy.stop();
      await own.stop();
    }
  });
});
