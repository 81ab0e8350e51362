// Events while a session ends, because its token is over or the bridge goes: over a stream and over Socket.IO. Whoever comes back with the
// cursor that he was left with has each of them once. WebSockets, whose frames bring no cursor: client_rights.test.mjs, drain.test.mjs.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Bridge } from './lib/bridge.mjs';
import { Cluster, idOf } from './lib/cluster.mjs';
import { SCHEMA } from './lib/schema.mjs';
import { Io } from './lib/socketio.mjs';
import { Stream } from './lib/stream.mjs';
import { SLOW, until } from './lib/wait.mjs';

const CHANNEL = 'requests:unit:7';

describe('while a session ends', () => {
  let cluster;
  let db;
  let bridge;
  let row = 0;

  before(async () => {
    cluster = await Cluster.start();
    db = await cluster.database(`${SCHEMA} SELECT livefeed.socketio_namespace('/requests', ARRAY['requests:unit:{unit}'])`);
    bridge = await Bridge.start(db, ['--jwt-leeway', '0s']);
  });
  after(async () => {
    await bridge?.stop();
    await cluster?.remove();
  });

  const token = (ttl = '15 min') => db.token('42', { units: [7], ttl });
  const insert = async () => { await db.write(`INSERT INTO requests (id, unit_id) VALUES ($1, 7)`, [++row]); return row; };
  const isLast = (last) => ({ key }) => key === String(last);
  /** The ids of all that was made behind that cursor. */
  const made = async (cursor) => (await db.query(`SELECT id FROM livefeed.events(since => $1, feed => 'requests', unit => '7', max => 100000)`, [cursor])).map(({ id }) => Number(id));

  /** Makes one request after the other until that has come about, so that some are made in each moment of it. */
  async function writing(end) {
    let over = false;
    const done = end.finally(() => { over = true; });
    const writer = (async () => { while (!over) await insert(); })();
    await Promise.all([done, writer]);
  }

  const ids = (stream) => stream.frames.map(({ frame }) => frame.id).filter((id) => id !== undefined);

  /** A stream that ends like that, and one after it that goes on where it was. */
  async function streams(first, end) {
    const from = first.lastId;
    await writing(end(first));
    const last = await insert();
    const second = await Stream.open(bridge, { token: await token(), channels: [CHANNEL], lastEventId: first.lastId });
    await second.next(isLast(last));
    second.leave();
    assert.deepEqual([...ids(first), ...ids(second)], await made(from));
  }

  /** One that has begun: not all do, before a token as short as that is over. */
  async function begun(ttl) {
    for (;;) {
      const stream = await Stream.open(bridge, { token: await token(ttl), channels: [CHANNEL] });
      await until('its beginning, or its end', () => stream.lastId || stream.ended);
      if (stream.lastId) return stream;
    }
  }

  it('a stream, as its token ends', async () => {
    for (let n = 0; n < 3; n++) await streams(await begun(`${2 * SLOW} s`), async (stream) => assert.equal((await stream.end()).code, 4401));
  });

  it('a stream, as the bridge goes', async () => {
    for (let n = 0; n < 3; n++) {
      await streams(await begun(), async (stream) => {
        await stream.next('request.created');
        assert.equal(await bridge.end('SIGTERM'), 0);
        assert.equal((await stream.end()).code, 1001);
        await bridge.again();
      });
    }
  });

  for (const way of ['websocket', 'polling']) {
    it(`Socket.IO by ${way}, as its token ends`, async () => {
      let short = true; // until it has been connected
      const client = await Io.open(bridge.origin, '/requests', {
        way, connect: false, auth: (give) => { void token(short ? `${2 * SLOW} s` : '15 min').then((fresh) => give({ token: fresh })); },
      });
      client.socket.on('connect', () => { short = false; });
      client.socket.on('connect_error', () => client.socket.connect()); // it was over by then
      try {
        await client.connected();
        const from = client.named('subscribed')[0][1].cursor;
        await writing(client.connected(2));
        const last = await insert();
        await client.next('request.created', isLast(last));
        assert.deepEqual(client.recovered.slice(1).filter((each) => !each), []);
        assert.deepEqual(client.ids(), await made(from));
      } finally {
        client.leave();
      }
    });
  }
});
