// A client that breaks every rule: a program of its own, at the lowest priority (it stands for other machines, whose
// processors are not the bridge's), told over IPC what to do and for how long. It says how often it did it, and fails
// where the bridge's answer is not the one that is due.

import os from 'node:os';
import zlib from 'node:zlib';
import { setTimeout as pause } from 'node:timers/promises';
import { CLOSE, CONTINUATION, PING, PONG, Raw, TEXT, frame } from '../../e2e/lib/raw.mjs';
import { until } from '../../e2e/lib/wait.mjs';

const AT_A_TIME = 4;
const HALF_FRAMES = 100;
const SLOW_ONES = 1500; // shells often allow 4,096 open files
const UNFINISHED = 4096; // as many requests without an end as the bridge keeps
const DRIP_MS = 50;

const many = (n, bytes) => Buffer.concat(Array.from({ length: n }, () => bytes));
const open = { fin: false };
const begin = frame(TEXT, '', open);

/** Sent again and again on a session until it is closed, with that code. */
const FLOODS = {
  'pings by the hundred thousand': [4429, many(10_000, frame(PING, ''))],
  'pongs by the hundred thousand': [4429, many(10_000, frame(PONG, 'x'.repeat(125)))],
  'empty fragments without end': [4429, many(10_000, frame(CONTINUATION, '', open)), begin],
  'fragments of a byte without end': [4429, many(10_000, frame(CONTINUATION, 'x', open)), begin],
  'large fragments without end': [1009, many(20, frame(CONTINUATION, 'x'.repeat(4000), open)), begin],
  'messages of megabytes': [1009, frame(TEXT, 'x'.repeat(4 << 20))],
  'a length of 2^62, and bytes for it': [1009, Buffer.alloc(1 << 20, 120), frame(TEXT, '', { length: 1n << 62n })],
  'a length of 2^63': [1002, frame(TEXT, '', { length: 1n << 63n, wide: 8 })],
  '64 kB that inflate to 64 MB': [1002, frame(TEXT, zlib.deflateRawSync(Buffer.alloc(64 << 20, 'x')), { rsv: 4 })],
  'unmasked frames': [1002, many(1000, frame(TEXT, '{}', { masked: false }))],
  'reserved bits': [1002, many(1000, frame(TEXT, '{}', { rsv: 2 }))],
  'reserved opcodes': [1002, many(1000, frame(11, 'x'))],
  'bad UTF-8': [1007, many(100, frame(TEXT, Buffer.from([0xf4, 0x90, 0x80, 0x80])))],
  'messages far over the rate': [4429, many(1000, frame(TEXT, '{"type":"ping"}'))],
  'messages that are no JSON': [4400, many(100, frame(TEXT, '['.repeat(10_000)))],
};

const request = (line, headers = '', body = '') => `${line} HTTP/1.1\r\nHost: x\r\n${headers}\r\n${body}`;
const hidden = request('GET /healthz');
const UPGRADE = 'Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n';

/** Each on a connection of its own, answered with that status; null: there may be none, where more is on its way than is read. */
const REQUESTS = {
  'plain requests': [200, hidden],
  'an upgrade by POST': [400, request('POST /ws', UPGRADE)],
  'an upgrade to h2c': [400, request('GET /', 'Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n')],
  'a chunked body': [411, request('POST /poll', 'Transfer-Encoding: chunked\r\n', `0\r\n\r\n${hidden}`)],
  'two lengths': [400, request('POST /poll', 'Content-Length: 4\r\nContent-Length: 4\r\n', `abcd${hidden}`)],
  'a negative length': [400, request('POST /poll', 'Content-Length: -1\r\n', hidden)],
  'a length and chunks': [400, request('POST /poll', 'Content-Length: 4\r\nTransfer-Encoding: chunked\r\n', `0\r\n\r\n${hidden}`)],
  'a request behind an unread body': [400, request('GET /healthz', `Content-Length: ${hidden.length}\r\n`, hidden + hidden)],
  'paths that lead out': [400, request('GET /../../etc/passwd')],
  '3,000 headers': [431, request('GET /healthz', 'X: y\r\n'.repeat(3000))],
  'a header of a megabyte': [null, request('GET /healthz', `X: ${'y'.repeat(1 << 20)}\r\n`)],
  'control bytes': [400, request('GET /healthz', 'User-Agent: \x1b[2J\x07\r\n')],
  'foreign origins with long names': [403, request('GET /ws', `Origin: https://${'x'.repeat(240)}.example\r\n${UPGRADE}`)],
};

/** AT_A_TIME at a time, again and again while it goes on. */
const again = (once) => async (task) => {
  let n = 0;
  await Promise.all(Array.from({ length: AT_A_TIME }, async () => {
    do {
      await once(task);
      n++;
    } while (task.going());
  }));
  return n;
};

/**
 * Who has the lowest priority may wait for a processor, between connecting and asking, for longer than a handshake may take:
 * the bridge hangs up then, and rightly. Gives a function that says whether that may have been so.
 */
function patience({ handshakeMs }) {
  const began = performance.now();
  return () => performance.now() - began > handshakeMs / 2;
}

/** A WebSocket that was answered. */
async function websocket(task, token = task.token) {
  for (;;) {
    const starved = patience(task);
    try {
      return await Raw.websocket(task.bridge, token);
    } catch (error) {
      if (!starved()) throw error;
    }
  }
}

function expect(what, found, wanted) {
  if (found !== wanted) throw new Error(`${what} got ${found} in place of ${wanted}`);
}

const flood = (name, [code, bytes, first]) => again(async (task) => {
  const { going } = task;
  const raw = await websocket(task);
  await raw.message({ type: 'welcome' });
  if (first) await raw.send(first);
  const closed = raw.close();
  let over = false;
  closed.then(() => { over = true; }, () => { over = true; });
  do {
    await Promise.race([raw.send(bytes), closed]);
    await new Promise(setImmediate); // what comes is read, too
  } while (!over && !raw.ended && going());
  // What is closed while the other side still sends may end in a reset, which overtakes the close frame.
  const close = await closed;
  if (close || !raw.error) expect(name, close?.code, code);
  raw.leave();
});

const ask = (name, [status, bytes]) => again(async (task) => {
  const starved = patience(task);
  const raw = await Raw.connect(task.bridge);
  const late = raw.send(bytes).then(starved);
  const answer = await raw.response();
  if (answer || (status !== null && !raw.error && !await late)) expect(name, answer?.status, status ?? 431);
  raw.leave();
});

/** Connections that are all open at the same time, made `step` at once; then `use`. */
async function crowd(n, step, make, use) {
  const raws = [];
  try {
    while (raws.length < n) raws.push(...await Promise.all(Array.from({ length: step }, make)));
    await use(raws);
    return n;
  } finally {
    for (const raw of raws) raw.leave();
  }
}

const ABUSES = {
  ...Object.fromEntries(Object.entries(FLOODS).map(([name, each]) => [name, flood(name, each)])),
  ...Object.fromEntries(Object.entries(REQUESTS).map(([name, each]) => [name, ask(name, each)])),
  'bad tokens': again(async (task) => {
    const raw = await websocket(task, 'eyJhbGciOiJIUzI1NiJ9.e30.AAAA');
    expect('a bad token', (await raw.close())?.code, 4401);
    raw.leave();
  }),
  'connections that are opened and left': again(async ({ bridge }) => { (await Raw.connect(bridge)).leave(); }),
  'half frames': (task) => crowd(HALF_FRAMES, 10, () => websocket(task), async (raws) => {
    for (const raw of raws) raw.send(frame(TEXT, 'x'.repeat(1000)).subarray(0, 500));
    while (task.going()) await pause(DRIP_MS);
  }),
  [`${SLOW_ONES} half requests that drip`]: ({ bridge, going }) => crowd(SLOW_ONES, 100, () => Raw.connect(bridge), async (raws) => {
    for (const raw of raws) raw.send('GET /ws');
    do {
      for (const raw of raws) if (!raw.ended) raw.socket.write('a');
      await pause(DRIP_MS); // drops come at that pace
    } while (going());
    await until('the slow ones to be closed', () => raws.every((raw) => raw.ended));
  }),
  'more unfinished requests than it keeps: the oldest give way': ({ bridge }) => crowd(UNFINISHED + 200, 100, () => Raw.connect(bridge), async (raws) => {
    await until('the oldest to be closed', () => raws[0].ended);
  }),
};

export const NAMES = Object.keys(ABUSES);

if (process.send) {
  os.setPriority(os.constants.priority.PRIORITY_LOW);
  process.on('message', async ({ name, port, token, ms, handshakeMs }) => {
    const end = performance.now() + ms;
    try {
      const n = await ABUSES[name]({ bridge: { port }, token, handshakeMs, going: () => performance.now() < end });
      process.send({ n });
    } catch (error) {
      process.send({ error: error.message });
    }
  });
  process.on('disconnect', () => process.exit());
}
