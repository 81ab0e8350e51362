// A session of unit 7 never receives a byte of unit 9's, whatever it sends, while unit 9
// is being written. Unit 9's rows carry a word that a tap on the wire looks for in
// every byte that the bridge sends: frames, errors, HTTP. Unit 7's rows carry another,
// so that a deaf tap would show.
// Not here: tokens that are not as issued (test/e2e/auth), TLS, reassigned rows (reassign).

import assert from 'node:assert/strict';
import net from 'node:net';
import { after, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { Cluster } from '../e2e/lib/cluster.mjs';
import { Bridge } from '../e2e/lib/bridge.mjs';
import { Client } from '../e2e/lib/client.mjs';
import { until, within, SLOW } from '../e2e/lib/wait.mjs';
import { byHand, mutate } from './lib/names.mjs';
import { seconds, seeded } from './lib/random.mjs';
import { tearDown } from './lib/scene.mjs';
import { Tap } from './lib/tap.mjs';

const OURS = 'palegreenlantern';
const THEIRS = 'crimsonlighthouse';
const GENERATED = 400; // names a second of FAULT_SECONDS
const OUTSTANDING = 100;
const ANSWER_MS = 20_000 * SLOW;
const THEIR_KEYS = ['nine-1', 'nine/2', '9'];

const SCHEMA = `
  CREATE TABLE requests (id text PRIMARY KEY, unit_id text, title text, note text);
  SELECT livefeed.watch('requests', unit => 'unit_id', action => 'note');
  CREATE TABLE notices (id integer PRIMARY KEY, unit_id integer, user_id text, body text);
  SELECT livefeed.watch('notices', unit => 'unit_id', roles => '{reader}', users => '{user_id}');
  CREATE TABLE places (region text, spot text, unit_id integer, note text, PRIMARY KEY (region, spot));
  SELECT livefeed.watch('places', unit => 'unit_id');
  SELECT livefeed.declare_feed('alerts');
  SELECT livefeed.expose_path('/ws/requests/{1}/', ARRAY['requests:unit:{1}']);
  INSERT INTO requests SELECT k, '9', '${THEIRS}', '${THEIRS}' FROM unnest('{${THEIR_KEYS.join(',')}}'::text[]) k;
`;

describe('a session of unit 7', () => {
  let cluster;
  let db;
  const bridges = [];
  const taps = [];
  let start;
  let random;
  let writing;
  let stopped = false;
  let writes = true;
  let written = 0;

  before(async () => {
    random = seeded('leak');
    cluster = await Cluster.start();
    db = await cluster.database(SCHEMA);
    start = await db.head();
    const freely = ['--rate', '1000000', '--max-bad-messages', '1000000', '--max-subscriptions', '1000'];
    // One that replays from memory, one that has to read the log.
    for (const more of [[], ['--history', '64KiB']]) {
      bridges.push(await Bridge.start(db, [...freely, ...more]));
      taps.push(await Tap.start(bridges.at(-1), [OURS, THEIRS]));
    }
    writing = write();
    writing.catch(() => { writes = false; });
  });
  after(async () => {
    stopped = true;
    await writing;
    await Promise.all(taps.map((tap) => tap.stop()));
    await tearDown(bridges, cluster);
  });

  /** Unit 9 is written all the time; now and then a row of unit 7, and one that passes from one to the other. */
  async function write() {
    const writer = await db.connect();
    for (let n = 1; !stopped; n++) {
      await writer.query('INSERT INTO requests VALUES ($1, $2, $3, $3)', [`n${n}`, '9', THEIRS]);
      await writer.query('UPDATE requests SET title = title || $1, note = $2 WHERE id = $3', [`${n}`, `${THEIRS} ${n}`, random.pick(THEIR_KEYS)]);
      await writer.query('INSERT INTO notices VALUES ($1, 9, $2, $3)', [n, 'bob', THEIRS]);
      await writer.query('INSERT INTO places VALUES ($1, $2, 9, $3) ON CONFLICT (region, spot) DO UPDATE SET note = EXCLUDED.note || EXCLUDED.region', ['r', `s${n % 5}`, `${THEIRS}${n}`]);
      await writer.query(`SELECT livefeed.publish('alerts', $1, jsonb_build_object('text', $2::text), '9', '{bob}', $3)`, ['raised', THEIRS, `a${n % 7}`]);
      if (n % 5 === 0) {
        await writer.query('INSERT INTO requests VALUES ($1, $2, $3, NULL)', [`s${n}`, '7', OURS]);
        // Leaves for 9 with 9's word in the very update, and is deleted there; another comes from 9 without it.
        await writer.query('INSERT INTO requests VALUES ($1, $2, $3, NULL)', [`m${n}`, '7', OURS]);
        await writer.query('UPDATE requests SET unit_id = $2, title = $3, note = $3 WHERE id = $1', [`m${n}`, '9', THEIRS]);
        await writer.query('DELETE FROM requests WHERE id = $1', [`m${n}`]);
        await writer.query('UPDATE requests SET unit_id = $2, title = $3, note = NULL WHERE id = $1', [`n${n}`, '7', OURS]);
        await writer.query('DELETE FROM requests WHERE id = $1', [`n${n - 1}`]);
      }
      written = n;
      await pause(5); // the rhythm of the load
    }
    await writer.end();
  }

  function clean(what) {
    for (const tap of taps) assert.equal(tap.found.get(THEIRS), 0, `unit 9's word reached unit 7 ${what}`);
  }

  async function connect(where, user = 'alice', who = { units: [7] }, more = {}) {
    return Client.open(where, { token: await db.token(user, { ttl: '1 hour', ...who }), ...more });
  }

  /** Subscribes to many names; `mine` may be granted, all else must be refused. Gives how often each answer came. */
  async function ask(client, names, mine, since = () => undefined) {
    const open = new Map();
    const answers = new Map();
    let next = 0;
    const waiting = within(`an answer to each of ${names.length} names`, new Promise((resolve, reject) => {
      const send = () => {
        while (open.size < OUTSTANDING && next < names.length) {
          open.set(next, names[next]);
          client.send({ type: 'subscribe', ref: next, channel: names[next], since: since(next) });
          next++;
        }
        if (open.size === 0 && next === names.length) resolve();
      };
      client.socket.on('message', () => {
        const frame = client.frames.at(-1);
        // NUL is refused before the message is parsed, so that answer has no ref.
        const unparsed = frame.code === 'bad_message' && frame.ref === undefined;
        const ref = unparsed ? [...open.keys()].find((key) => open.get(key).includes('\0')) : frame.ref;
        const name = open.get(ref);
        if (name !== undefined) {
          open.delete(ref);
          const answer = frame.type === 'error' ? frame.code : frame.type;
          answers.set(answer, (answers.get(answer) ?? 0) + 1);
          if (frame.type !== 'error' && !mine.has(name)) reject(new Error(`${JSON.stringify(name.slice(0, 200))} was granted: ${JSON.stringify(frame).slice(0, 400)}`));
          if (frame.type === 'error' && !['unknown_channel', 'forbidden', 'bad_message', 'too_large'].includes(frame.code)) reject(new Error(`${JSON.stringify(name.slice(0, 200))}: ${JSON.stringify(frame)}`));
        }
        for (const channel of frame.channels ?? []) if (!mine.has(channel)) reject(new Error(`an event for ${channel}: ${JSON.stringify(frame)}`));
        if (client.frames.length > 1000) client.forget();
        send();
      });
      client.socket.once('close', (code) => reject(new Error(`closed with ${code}, ${open.size} open: ${JSON.stringify([...open.values()].map((name) => name.slice(0, 60)).slice(0, 5))}`)));
      send();
    }), ANSWER_MS + 20 * names.length);
    await waiting.catch((error) => {
      const first = [...open.values()].slice(0, 5).map((name) => JSON.stringify(name.slice(0, 80)));
      error.message += `; ${next} asked, ${open.size} without answer: ${first}; ${JSON.stringify(Object.fromEntries(answers))}`;
      throw error;
    });
    return Object.fromEntries(answers);
  }

  const MINE = new Set(['requests:unit:7', 'places:unit:7', 'notices:user:alice', 'alerts:unit:7', 'alerts:user:alice']);
  const names = ['requests', 'notices', 'places', 'alerts'].flatMap((feed) => byHand(feed, '7', '9', [...THEIR_KEYS, 'r,s1', 'a1', 'absent']))
    .concat(['bob', 'Bob', 'ALICE', 'alice ', '%61lice', 'bob%00', 'alice,bob', '*', ''].map((user) => `notices:user:${user}`));

  it('gets nothing of unit 9 by names that a person would try, live or in a replay', async () => {
    for (const tap of taps) {
      const client = await connect(tap);
      await client.subscribe('requests:unit:7', { since: start });
      const answers = await ask(client, [...new Set(names)], MINE, (n) => [undefined, start, '', '9-9', `${start}0`][n % 5]);
      console.log('leak: by hand:', JSON.stringify(answers));
      await client.leave();
    }
    clean('by names made by hand');
  });

  it('gets nothing of unit 9 by thousands of generated names', async () => {
    const bases = ['requests:unit:9', 'requests:unit:7', 'notices:user:bob', 'notices:unit:9', 'alerts:unit:9', 'alerts:user:bob', 'requests:row:nine-1', 'places:row:r,s1', 'requests'];
    const from = written;
    do { // again, where the writer did not have its turn
      const generated = Array.from({ length: GENERATED * seconds(6) }, () => mutate(random, random.pick(bases)));
      const client = await connect(taps[0]);
      const answers = await ask(client, generated, MINE, (n) => (n % 3 || MINE.has(generated[n]) ? undefined : start));
      console.log('leak: generated:', JSON.stringify(answers), `while ${written - from} rounds were written`);
      await client.leave();
    } while (written === from && writes);
    assert.ok(written > from, 'unit 9 was being written');
    clean('by generated names');
  });

  it('gets nothing of unit 9 with other claims that look like it', async () => {
    const claims = [
      ['9', { units: ['7'] }, ['requests:user:9', 'notices:user:9', 'alerts:user:9']],
      ['alice', { units: { 7: ['admin', '9', '*'] } }, ['notices:unit:7', 'places:unit:7']],
      ['alice', { units: ['7', '٩', '９', '09', ' 9', '9 ', '9\u200b', '%39', '*', '', '7,9', '9,9'] }, null],
      ['*', { units: ['7'], roles: ['9', 'unit:9', 'ADMIN', 'Admin', 'admin '] }, null],
      ['', { units: ['7'] }, null],
    ];
    const foreign = ['requests', 'requests:unit:9', 'requests:row:nine-1', 'requests:row:9', 'notices:unit:9', 'notices:user:bob', 'places:unit:9', 'places:row:r,s1', 'alerts', 'alerts:unit:9', 'alerts:row:a1', 'places', 'notices'];
    let tried = 0;
    for (const [user, who] of claims) {
      const token = await db.token(user, who).catch(() => null); // one that cannot even be issued
      if (token === null) continue;
      const client = await Client.open(taps[0], { token, welcome: false });
      await until('an answer', () => client.frames.length > 0 || client.closed);
      if (client.frames[0]?.type !== 'welcome') continue;
      await ask(client, foreign, new Set());
      await client.leave();
      tried++;
    }
    assert.ok(tried >= 3);
    clean('by other claims');
  });

  it('cannot tell a row of unit 9 from one that is not there', async () => {
    const client = await connect(taps[0]);
    const told = async (key) => {
      const { ref, ...answer } = await client.ask({ type: 'subscribe', channel: `requests:row:${key}` });
      return JSON.stringify(answer).replaceAll(key, 'KEY');
    };
    assert.equal(await told('nine-1'), await told('none-1'));
    assert.equal(await told('nine%2F2'), await told('none%2F2'));
    assert.equal(await told('9'), await told('8'));
    await client.leave();
  });

  it('gets nothing of unit 9 by messages that are none', async () => {
    const name = 'requests:unit:9';
    const texts = [
      `{"type":"subscribe","ref":1,"channel":"requests:unit:7","channel":"${name}"}`, `{"type":"subscribe","ref":1,"channel":"${name}","channel":"requests:unit:7"}`,
      `{"type":"subscribe","ref":1,"channel":["${name}"]}`, `{"type":"subscribe","ref":1,"channel":{"0":"${name}"}}`, '{"type":"subscribe","ref":1,"channel":9}', '{"type":"subscribe","ref":1,"channel":null}',
      `{"type":"subscribe","ref":1,"channel\\u0000x":"requests:unit:7","channel":"${name}"}`, `{"type":"subscribe","ref":1,"channel":"requests:unit:7\\u0000","since":"${start}"}`,
      `{"type":"subscribe\\u0000","ref":1,"channel":"${name}"}`, `{"type":"SUBSCRIBE","ref":1,"channel":"${name}"}`, `{"Type":"subscribe","ref":1,"channel":"${name}"}`,
      `{"type":"subscribe","ref":1,"channel":"requests:unit:\\ud83d"}`, `{"type":"subscribe","ref":1,"channel":"requests:unit:\\u0039"}`, `{"type":"subscribe","ref":1,"channel":"requests:unit:%\\u0033\\u0039"}`,
      `{'type':'subscribe','ref':1,'channel':'${name}'}`, `[{"type":"subscribe","ref":1,"channel":"${name}"}]`, `{"type":"subscribe","ref":1,"channel":"${name}"}{}`, `{"type":"subscribe","ref":1,"channel":"${name}"}\0`,
      `/* */{"type":"subscribe","ref":1,"channel":"${name}"}`, `{"type":"subscribe","ref":1,"channel":"${name}","units":[9],"token":"x","user":"bob","roles":["admin"]}`,
      `{"type":"unsubscribe","ref":1,"channel":"${name}"}`, `{"type":"call","ref":1,"name":"${name}","args":{}}`, `{"type":"subscribe","ref":1,"channel":"${name}","snapshot":true}`,
      `{"type":"subscribe","ref":1,"channel":"${name}","since":"${start}","snapshot":"yes"}`, `{"type":"subscribe","ref":1,"channel":"${name}","since":{}}`, `{"type":"subscribe","ref":{"a":1},"channel":"${name}"}`,
      '', ' ', '\0', '{}', '[]', 'null', '"requests:unit:9"', '9', '{', `{"type":"subscribe","ref":1,"channel":"${'['.repeat(5000)}`, '['.repeat(20_000), `{"a":${'{"a":'.repeat(3000)}1${'}'.repeat(3001)}`,
    ];
    const client = await connect(taps[0]);
    for (const text of texts) {
      const said = client.texts.length;
      client.send(text);
      client.send({ type: 'ping', ref: 'mark' });
      await client.next({ ref: 'mark' }).catch((error) => { error.message = `${text.slice(0, 120)}: ${error.message}`; throw error; });
      const granted = client.frames.slice(said).find((frame) => (frame.type === 'subscribed' && !MINE.has(frame.channel)) || frame.channels?.some((channel) => !MINE.has(channel)));
      assert.equal(granted, undefined, text);
    }
    await client.leave();
    // What ends the connection: not text, not UTF-8 (overlong 9, a lone half), too long.
    for (const data of [Buffer.from('requests:unit:9'), Buffer.from('{"type":"subscribe","ref":1,"channel":"requests:unit:\xc0\xb9"}', 'latin1'),
      Buffer.from('{"type":"subscribe","ref":1,"channel":"requests:unit:\xed\xa0\x80"}', 'latin1'), 'x'.repeat(100_000)]) {
      const rude = await connect(taps[0]);
      rude.socket.send(data, { binary: data.length === 15 });
      await rude.close();
      assert.ok([1003, 1007, 1009].includes(rude.closed.code), `closed with ${rude.closed.code}`);
    }
    clean('by messages that are none');
  });

  it('gets nothing of unit 9 by paths, and nothing over plain HTTP', async () => {
    const token = await db.token('alice', { units: [7] });
    const asks = `token=${token}&channel=requests:unit:9&since=${start}&snapshot=1`;
    const paths = ['/ws/requests/9/', '/ws/requests/9', '/ws/requests/%39/', '/ws/requests/%2539/', '/ws/requests/7%2C9/', '/ws/requests/7,9/', '/ws/requests/7/../9/', '/ws/requests/7%2F..%2F9/', '/ws/requests/*/', '/ws/requests//', '/ws/requests/%00/',
      '/ws/requests/9%00/', '/ws/requests/7%009/', '/ws/requests/{1}/', '/ws/requests/{unit}/', '/ws/requests/7:9/', '/ws/requests/7%0Arequests:unit:9/', '/ws/Requests/9/', '/ws//requests/9/', '/ws/requests/7//9/', '/ws/requests/%EF%BC%99/',
      '/ws/requests/9?x=/', '/ws/requests/7/?channel=requests:unit:9', `/ws/requests/9/?since=${start}&snapshot=1`, '/ws/requests/7&9/', '/ws/requests/+9/', '/ws/requests/09/', '/ws/%72equests/9/', '/WS/requests/9/'];
    for (const tap of taps) {
      for (const path of paths) {
        // The path as written: no URL library tidies it up.
        await raw(tap, `GET ${path}${path.includes('?') ? '&' : '?'}token=${token} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`);
      }
      for (const target of [`/events?${asks}`, `/poll?${asks}&wait=0`, `/state?${asks}`, `/call/x?${asks}`, `/metrics?${asks}`, `/healthz?${asks}`, `/ws?${asks}`, '/../../etc/passwd', `/socket.io/?EIO=4&transport=polling&${asks}`]) {
        await raw(tap, `GET ${target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
        await raw(tap, `POST ${target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}`);
      }
    }
    clean('by paths');
  });

  /** Sends bytes, reads until the bridge ends it or two more rounds have been written. */
  async function raw(tap, bytes) {
    const socket = net.connect(tap.port, '127.0.0.1');
    let text = '';
    let ended = false;
    socket.on('data', (data) => { text += data.toString('latin1'); });
    socket.on('close', () => { ended = true; });
    socket.on('error', () => {});
    socket.write(bytes);
    const from = written;
    await until(`an answer to ${bytes.slice(0, 60)}`, () => ended || (text && written > from + 1));
    socket.destroy();
    assert.ok(!text.includes('"subscribed"') || text.includes('"channel":"requests:unit:7"'), `${bytes.slice(0, 100)}: ${text}`);
    return text;
  }

  it('gets its own all the same: the tap hears', async () => {
    for (const tap of taps) {
      const client = await connect(tap);
      await client.subscribe('requests:unit:7', { since: start });
      await client.caughtUp(db);
      const out = client.events().filter(({ action }) => action === 'moved_out');
      assert.ok(out.length > 0 && out.every(({ data }) => data === null));
      assert.ok(client.events().some(({ action }) => action === 'moved_in'));
      await client.leave();
      assert.ok(tap.found.get(OURS) > 0);
      console.log(`leak: ${tap.bytes} bytes heard, ${tap.found.get(OURS)} words of unit 7, ${tap.found.get(THEIRS)} of unit 9, ${written} rounds written`);
    }
    const nine = await Client.open(taps[1], { token: await db.token('carol', { units: [9] }) });
    await nine.subscribe('requests:unit:9', { since: start });
    await until('unit 9 to hear of itself', () => taps[1].found.get(THEIRS) > 0);
    taps[1].found.set(THEIRS, 0);
    await nine.leave();
  });
});
