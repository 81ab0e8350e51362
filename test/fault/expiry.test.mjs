// Tokens that expire in flight. Under load: no event that was made after `exp` and the leeway
// reaches anybody, the close is 4401; a fresh `auth` before it goes on without a gap; a
// resume with a new token loses nothing. And to the frame: the bridge is stopped in the middle of a long
// replay and of the live stream until the tokens have expired; when it goes on, nothing
// more is sent but the rest of a frame that was begun before, and the close.
// Not here: which tokens are good at all (test/e2e/auth), rights that are taken back (test/e2e/authority).

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Client } from '../e2e/lib/client.mjs';
import { until, within, SLOW } from '../e2e/lib/wait.mjs';
import { lasting, repeatedly, seconds } from './lib/random.mjs';
import { Scene, stopped } from './lib/scene.mjs';
import { frameBytes, keptSocket, queued } from './lib/wire.mjs';

const UNITS = [1, 2];
const LEEWAY_S = 1;
const TTL_S = 2;
const RENEWED_TTL_S = 6; // of those who are to stay: longer than anybody stands still
const REPLAY_ROWS = 500;
const ROW_BYTES = 50_000;
const RENEW_MS = 800;
const CUT_TRIES = 5;

const expiryOf = (token) => JSON.parse(Buffer.from(token.split('.')[1], 'base64url')).exp;
/** Milliseconds since 1970, with the microseconds. */
const madeAt = ({ updated_at: at }) => Date.parse(`${at.slice(0, 23)}Z`) + Number(at.slice(23, 26)) / 1000;

describe('a token that expires', () => {
  let scene;

  before(async () => {
    scene = await Scene.start('expiry', { bridges: [['--jwt-leeway', `${LEEWAY_S}s`, '--history', '64KiB', '--max-queue', '8MiB']] });
  });
  after(async () => {
    await scene?.end();
    await scene?.remove();
  });

  it('under load ends what it allowed, to the moment, and a new one loses nothing', async () => {
    await scene.begin();
    const late = [];
    let turn = Promise.resolve(); // one after the other, over one connection
    const short = (name, unit, ttl = TTL_S) => { turn = turn.then(() => scene.db.token(name, { units: [unit], ttl: `${ttl} s` })); return turn; };
    const expiries = new Map();
    const expiring = [];
    const renewing = [];
    for (const [n, unit] of [...UNITS, ...UNITS, ...UNITS].entries()) {
      expiring.push(await scene.session(`expires${n}`, {
        unit, stay: Infinity, expires: true,
        token: async () => { const token = await short(`expires${n}`, unit); expiries.set(`expires${n}`, expiryOf(token)); return token; },
        onEvent: (frame, { name }) => {
          const after = madeAt(frame) - (expiries.get(name) + LEEWAY_S) * 1000;
          if (after >= 0) late.push(`${name}: made ${after} ms after: ${JSON.stringify(frame)}`);
        },
      }));
    }
    for (const unit of UNITS) {
      renewing.push(await scene.session(`renews${unit}`, {
        unit, stay: Infinity, token: async () => { const token = await short(`renews${unit}`, unit, RENEWED_TTL_S); expiries.set(`renews${unit}`, expiryOf(token)); return token; },
      }));
    }
    for (const unit of UNITS) await scene.session(`whole${unit}`, { unit, stay: Infinity });
    scene.write(5, { units: UNITS, pace: 10, late: 60 });
    let renewed = 0;
    const enough = new AbortController();
    const renewal = scene.beside((signal) => repeatedly(AbortSignal.any([signal, enough.signal]), () => RENEW_MS, async () => {
      for (const [n, { client, name }] of renewing.entries()) {
        if (!client || client.closed) continue;
        client.send({ type: 'auth', token: await short(name, UNITS[n], RENEWED_TTL_S) });
        renewed++;
      }
    }));
    try {
      await lasting(seconds(9) * 1000, scene.signal);
      const expired = () => expiring.reduce((sum, { stream }) => sum + (stream.closes.get(4401) ?? 0), 0);
      await until('each to have expired', () => expiring.every(({ stream }) => stream.closes.get(4401) > 0));
      await until('the first tokens of those who renew theirs to have expired', () => renewing.every(({ name }) => Date.now() > (expiries.get(name) + LEEWAY_S) * 1000));
      for (const { stream, name } of renewing) assert.equal(stream.closes.size, 0, `${name} was closed: ${JSON.stringify([...stream.closes])}`);
      enough.abort();
      await renewal; // else a short one may come after the long one
      const lateNow = late.length;
      for (const session of [...expiring, ...renewing]) session.token = await scene.db.token(session.name, { units: UNITS, ttl: '1 day' });
      for (const { client, token } of renewing) client.send({ type: 'auth', token });
      await scene.calm();
      await scene.verdict({ expired: expired(), renewed, sentTooLate: lateNow });
      assert.deepEqual(late.slice(0, lateNow).slice(0, 5), []);
    } finally {
      await scene.end();
    }
  });

  // A frame that had begun is sent to its end: cutting it off would be an error of the protocol.
  for (const [what, late] of [['of a replay or of the live stream', false], ['of a frame', true]]) it(`in the middle ${what}: no frame begins after it`, async () => {
    for (let tries = 1; !await cut(late); tries++) assert.ok(tries < CUT_TRIES, 'each stop fell between two frames, or came too late');
  });

  /** A bridge that is stopped while a client replays; `late`: in a frame. False: it was not, or had seen the token expire. */
  async function cut(late) {
    await scene.begin();
    const since = await scene.db.head();
    await scene.probe({ unit: 3, body: 'x'.repeat(ROW_BYTES), rows: REPLAY_ROWS });
    const head = await scene.db.head();
    const [bridge] = scene.bridges;
    const open = async (name, ttl) => Client.open(bridge, { token: await scene.db.token(name, { units: [3], ttl }) });
    const live = await open('live', '4 s');
    await live.subscribe('items:unit:3', { since: head });
    const renewed = await open('renewed', '4 s');
    await renewed.subscribe('items:unit:3', { since: head });
    await renewed.ask({ type: 'auth', token: await scene.db.token('renewed', { units: [3] }) });
    const token = await scene.db.token('replays', { units: [3], ttl: '4 s' });
    const { options, socket } = keptSocket();
    const replays = await Client.open(bridge, { token, options });
    const before = socket().bytesRead - frameBytes(replays.texts); // the handshake
    const expired = () => Date.now() > (expiryOf(token) + LEEWAY_S) * 1000 + 100;
    const clients = [live, renewed, replays];
    try {
      // In either case it reads no more until the bridge is stopped: else the replay might be over by then.
      const first = new Promise((resolve) => {
        replays.socket.on('message', () => {
          if (late || replays.events().length !== 1) return;
          replays.socket.pause();
          resolve();
        });
      });
      replays.send({ type: 'subscribe', ref: 1, channel: 'items:unit:3', since });
      if (late) {
        replays.socket.pause();
        let held = 0;
        let same = 0;
        await until('the connection to take no more', async () => {
          if (expired()) return true;
          await bridge.get('/healthz'); // it had its turn since the last look
          const { ours, theirs } = queued(socket());
          same = theirs.unsent > 0 && theirs.unsent + ours.unread === held ? same + 1 : 0;
          held = theirs.unsent + ours.unread;
          return same >= 2;
        });
      } else {
        await Promise.race([within('the first event', first), replays.close()]);
      }
      const counts = await stopped([bridge.process.pid], async () => {
        if (Date.now() >= (expiryOf(token) + LEEWAY_S) * 1000) return null; // it may have seen the end before the stop
        const key = await scene.probe({ unit: 3 }); // the renewed one has it, the others must not
        await until('the tokens to expire', expired, 15_000 * SLOW);
        replays.socket.resume();
        let seen = -1;
        await until('what was sent before to be read', () => {
          const { ours, theirs } = queued(socket());
          const same = theirs.unsent + ours.unread === 0 && seen === replays.events().length;
          seen = replays.events().length;
          return same;
        });
        assert.ok(seen < REPLAY_ROWS, `the replay was over: ${seen}`);
        const begun = socket().bytesRead - before - frameBytes(replays.texts);
        if (late && begun === 0) return null;
        return { key, replayed: seen + (begun > 0 ? 1 : 0), live: live.events().length };
      });
      if (!counts) return false;
      await replays.close(4401);
      await live.close(4401);
      await renewed.next({ key: counts.key });
      // A write that was decided on before the stop and made after it is of one frame: two do not fit into one.
      const replayed = replays.events().length;
      assert.ok(replayed === counts.replayed || replayed === counts.replayed + 1, `no frame of the replay after it: ${replayed}, ${counts.replayed} of them before`);
      assert.equal(live.events().length, counts.live, 'nothing live after it');
      // A new token goes on where the old one ended.
      const [{ id }] = replays.events().slice(-1);
      const again = await open('replays', '15 min');
      clients.push(again);
      await again.subscribe('items:unit:3', { since: `${head.split('-')[0]}-${id}` });
      await again.next({ key: counts.key }, 30_000 * SLOW);
      assert.equal(replayed + again.events().length, REPLAY_ROWS + 1);
      console.log(`expiry: replay cut at ${replayed} of ${REPLAY_ROWS} events, ${again.events().length} events after the resume, 0 after exp and leeway`);
      return true;
    } finally {
      for (const client of clients) client.socket.terminate();
      await scene.end();
    }
  }
});
