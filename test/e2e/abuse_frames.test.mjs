// What no WebSocket client may send, frame by frame: each has an answer, and the bridge goes on.

import assert from 'node:assert/strict';
import zlib from 'node:zlib';
import { readFile } from 'node:fs/promises';
import { after, before, describe, it } from 'node:test';
import { Cluster } from './lib/cluster.mjs';
import { Bridge } from './lib/bridge.mjs';
import { Client, isEvent } from './lib/client.mjs';
import { BINARY, CLOSE, CONTINUATION, PING, PONG, Raw, TEXT, frame } from './lib/raw.mjs';
import { SCHEMA } from './lib/schema.mjs';
import { until } from './lib/wait.mjs';

const MESSAGE = 4096;

describe('frames that break the rules', () => {
  let cluster;
  let db;
  let bridge;
  let token;

  before(async () => {
    cluster = await Cluster.start();
    db = await cluster.database(SCHEMA);
    bridge = await Bridge.start(db, ['--max-message', `${MESSAGE}`]);
    token = await db.token('42', { units: [7] });
  });
  after(async () => {
    await bridge?.stop();
    await cluster?.remove();
  });

  async function open(options, at = bridge) {
    const raw = await Raw.websocket(at, token, options);
    assert.equal(raw.answer.status, 101);
    await raw.message({ type: 'welcome' });
    return raw;
  }

  const ping = (ref) => frame(TEXT, JSON.stringify({ type: 'ping', ref }));
  const memory = async () => Number(/VmRSS:\s+(\d+)/.exec(await readFile(`/proc/${bridge.process.pid}/status`, 'utf8'))[1]);

  /** Sends bytes, at once and byte by byte; both times the close must have that code, and the message before it its answer. */
  async function refused(code, ...bytes) {
    for (const whole of [true, false]) {
      const raw = await open();
      const all = Buffer.concat([ping(1), ...bytes]);
      if (whole) await raw.send(all);
      else for (const byte of all) await raw.send(Buffer.of(byte));
      const close = await raw.close();
      assert.equal(close?.code, code, `${close?.reason}, ${whole ? 'at once' : 'byte by byte'}`);
      assert.ok(raw.messages().some((each) => each.type === 'pong' && each.ref === 1), 'what came before it was answered');
      await raw.send(frame(CLOSE, '')); // a polite end, where frames can still be told apart
      raw.leave();
    }
  }

  it('unmasked frames close 1002', async () => {
    await refused(1002, frame(TEXT, '{"type":"ping","ref":2}', { masked: false }));
    await refused(1002, frame(PING, '', { masked: false }));
    await refused(1002, frame(CLOSE, '', { masked: false }));
    await refused(1002, frame(TEXT, '{"type":', { fin: false }), frame(CONTINUATION, '"ping"}', { masked: false }));
  });

  it('reserved bits and opcodes close 1002', async () => {
    for (const rsv of [1, 2, 4, 7]) await refused(1002, frame(TEXT, '{}', { rsv }));
    for (const opcode of [3, 7, 11, 15]) await refused(1002, frame(opcode, 'x'));
  });

  it('control frames in fragments or of more than 125 bytes close 1002', async () => {
    await refused(1002, frame(PING, 'x', { fin: false }));
    await refused(1002, frame(CLOSE, '', { fin: false }));
    await refused(1002, frame(PING, 'x'.repeat(126)));
    await refused(1002, frame(PONG, 'x'.repeat(70000)));
    await refused(1002, frame(CLOSE, 'x'));
  });

  it('fragments out of order close 1002', async () => {
    await refused(1002, frame(CONTINUATION, 'x'));
    await refused(1002, frame(TEXT, 'x', { fin: false }), frame(TEXT, 'x'));
    await refused(1002, frame(TEXT, 'x', { fin: false }), frame(BINARY, 'x', { fin: false }));
  });

  it('lengths that lie or are huge close 1002 or 1009, before the payload comes', async () => {
    await refused(1002, frame(TEXT, '', { length: 1n << 63n, wide: 8 }));
    await refused(1002, frame(TEXT, '', { length: (1n << 64n) - 1n, wide: 8 }));
    await refused(1002, frame(TEXT, '', { length: 5, wide: 2 }));
    await refused(1002, frame(TEXT, '', { length: 500, wide: 8 }));
    await refused(1009, frame(TEXT, '', { length: (1n << 63n) - 1n, wide: 8 }));
    await refused(1009, frame(TEXT, '', { length: 1n << 32n, wide: 8 }));
    await refused(1009, frame(TEXT, '', { length: MESSAGE + 1 }));
  });

  it('fragments without end close 1009 at the limit of a message', async () => {
    const half = 'x'.repeat(MESSAGE / 2);
    await refused(1009, frame(TEXT, half, { fin: false }), frame(CONTINUATION, half, { fin: false }), frame(CONTINUATION, 'x', { fin: false }));
    const raw = await open();
    const text = `{"type":"ping","ref":${JSON.stringify('x'.repeat(MESSAGE - 24))}}`;
    assert.equal(text.length, MESSAGE);
    await raw.send(Buffer.concat([frame(TEXT, text.slice(0, 1000), { fin: false }), frame(PING, 'between'), frame(CONTINUATION, text.slice(1000))]));
    await raw.message({ type: 'pong' });
    assert.ok(raw.frames().some((each) => each.opcode === PONG && each.payload.toString() === 'between'), 'as much as the limit is a message');
    raw.leave();
  });

  it('bad UTF-8 closes 1007, split over fragments too; good UTF-8 may be split', async () => {
    for (const bytes of [[0xff], [0xc0, 0x80], [0xed, 0xa0, 0x80], [0xf4, 0x90, 0x80, 0x80], [0xe2, 0x82]]) {
      const text = Buffer.concat([Buffer.from('{"type":"ping","ref":"'), Buffer.from(bytes), Buffer.from('"}')]);
      await refused(1007, frame(TEXT, text));
      await refused(1007, frame(TEXT, text.subarray(0, 23), { fin: false }), frame(CONTINUATION, text.subarray(23)));
    }
    const raw = await open();
    const good = Buffer.from('{"type":"ping","ref":"€"}');
    for (let at = 1; at < good.length; at++) {
      await raw.send(Buffer.concat([frame(TEXT, good.subarray(0, at), { fin: false }), frame(CONTINUATION, good.subarray(at))]));
    }
    await until('all of them', () => raw.messages().filter((each) => each.ref === '€').length === good.length - 1);
    raw.leave();
  });

  it('binary closes 1003', async () => {
    await refused(1003, frame(BINARY, '{"type":"ping","ref":2}'));
  });

  it('nothing behind a close frame counts', async () => {
    const raw = await open();
    await raw.send(Buffer.concat([frame(CLOSE, Buffer.of(3, 232)), ping(2), frame(3, '')]));
    assert.equal((await raw.close()).code, 1000);
    assert.ok(!raw.messages().some((each) => each.ref === 2));
    await raw.gone();
  });

  it('bytes before the handshake was answered close 1002', async () => {
    const raw = await Raw.connect(bridge);
    await raw.send(Buffer.concat([Buffer.from(`GET /ws?token=${token} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`), ping(2)]));
    raw.upgraded = (await raw.response()).end;
    assert.equal((await raw.close()).code, 1002);
    raw.leave();
  });

  it('pings by the hundred thousand close 4429; pongs, empty fragments and fragments of a byte alike', async () => {
    const at = await memory();
    for (const [first, many] of [[null, frame(PING, '')], [null, frame(PONG, 'x'.repeat(125))], [frame(TEXT, '', { fin: false }), frame(CONTINUATION, '', { fin: false })],
      [frame(TEXT, '', { fin: false }), frame(CONTINUATION, 'x', { fin: false })]]) {
      const raw = await open();
      if (first) await raw.send(first);
      const flood = Buffer.concat(Array.from({ length: 10_000 }, () => many));
      for (let i = 0; i < 10 && !raw.ended; i++) await raw.send(flood);
      assert.equal((await raw.close()).code, 4429);
      assert.ok(raw.messages().some((each) => each.code === 'rate_limited'));
      raw.leave();
    }
    assert.ok(await memory() - at < 20_000, `memory grew from ${at} to ${await memory()} kB`);
  });

  it('pings at an honest rate are answered with their payload, for as long as one likes', async () => {
    const raw = await open();
    for (let i = 0; i < 120; i++) {
      await raw.send(frame(PING, `${i}`));
      await until(`pong ${i}`, () => raw.frames().some((each) => each.opcode === PONG && each.payload.toString() === `${i}`));
    }
    assert.equal(raw.ended, false);
    raw.leave();
  });

  it('compression is never agreed on, and a compressed frame closes 1002', async () => {
    const raw = await open({ headers: ['Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits, x-webkit-deflate-frame'] });
    assert.equal(raw.answer.headers['sec-websocket-extensions'], undefined);
    const at = await memory();
    const bomb = zlib.deflateRawSync(Buffer.alloc(64 << 20, 'x')); // 64 MB in some 64 kB
    assert.ok(bomb.length < 100_000);
    await raw.send(frame(TEXT, bomb, { rsv: 4 }));
    assert.equal((await raw.close()).code, 1002);
    assert.ok(await memory() - at < 20_000, 'nothing was inflated');
    raw.leave();
    const client = await Client.open(bridge, { token, options: { perMessageDeflate: true } });
    assert.equal(client.socket.extensions, '');
    await client.leave();
  });

  it('half a frame, and silence: closed after two heartbeats', async () => {
    const impatient = await Bridge.start(db, ['--heartbeat', '2s']);
    try {
      await Promise.all([frame(TEXT, 'x').subarray(0, 1), frame(TEXT, 'x'.repeat(1000)).subarray(0, 500), frame(PING, 'x').subarray(0, 5)].map(async (bytes) => {
        const raw = await open({}, impatient);
        await raw.send(bytes);
        await raw.gone();
      }));
    } finally {
      await impatient.stop();
    }
  });

  it('who is closed for what is too large can still close in turn', async () => {
    // Not only when its time, 4 s, is up; unless somebody stood still for that long, each time.
    let took = Infinity;
    for (let tries = 0; took > 3000 && tries < 5; tries++) {
      const raw = await open();
      await raw.send(frame(TEXT, 'x'.repeat(100_000)));
      assert.equal((await raw.close()).code, 1009);
      const began = performance.now();
      await raw.send(frame(CLOSE, Buffer.of(3, 241)));
      await raw.gone();
      took = performance.now() - began;
    }
    assert.ok(took <= 3000, `${took} ms`);
    const client = await Client.open(bridge, { token });
    client.send('x'.repeat(1_000_000));
    await client.close(1009);
  });

  it('and all the while the others get their events', async () => {
    const client = await Client.open(bridge, { token });
    await client.subscribe('requests:unit:7');
    await db.write(`INSERT INTO requests (id, unit_id, title) VALUES (1, 7, 'x')`);
    assert.equal((await client.next(isEvent)).key, '1');
    await client.leave();
    assert.equal(bridge.ended, null);
  });
});
