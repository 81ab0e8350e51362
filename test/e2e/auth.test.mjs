// Who is asking: how a token travels, which tokens count, what ends a session.
// Not here: what a principal may then have (channels).

import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import { mkdtemp, rm, writeFile, chmod } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { Cluster } from './lib/cluster.mjs';
import { Bridge } from './lib/bridge.mjs';
import { Client, isEvent } from './lib/client.mjs';
import { SCHEMA } from './lib/schema.mjs';
import { keyPair, mint, now, pem, signRaw } from './lib/token.mjs';
import { until } from './lib/wait.mjs';

describe('tokens', () => {
  let cluster;
  let db;
  let bridge; // the database's own key alone
  let folder;
  let own; // { kid, secret } of the database's key
  const clients = [];
  const bridges = [];

  before(async () => {
    cluster = await Cluster.start();
    db = await cluster.database(SCHEMA);
    folder = await mkdtemp(path.join(os.tmpdir(), 'livefeed-keys-'));
    bridge = await start();
    const [key] = await db.query('SELECT * FROM livefeed.keys');
    own = key;
  });
  after(async () => {
    await Promise.all(clients.map((client) => client.leave()));
    await Promise.all(bridges.map((each) => each.stop()));
    await cluster?.remove();
    if (folder) await rm(folder, { recursive: true });
  });

  async function start(args = []) {
    const each = await Bridge.start(db, args);
    bridges.push(each);
    return each;
  }

  async function open(options, where = bridge) {
    const client = await Client.open(where, options);
    clients.push(client);
    return client;
  }

  async function file(name, text) {
    const full = path.join(folder, name);
    await writeFile(full, text);
    await chmod(full, 0o600);
    return full;
  }

  async function accepted(token, where = bridge) {
    const client = await open({ token }, where);
    await client.leave();
    return client.welcome;
  }

  /** The handshake is accepted, the page is told, and the socket closed. */
  async function refused(token, where = bridge, via = 'query') {
    const client = await open({ token, via, welcome: false }, where);
    assert.equal(client.refused, null);
    const error = await client.next('error');
    assert.equal(error.code, 'bad_token', JSON.stringify(error));
    await client.close(4401);
    assert.equal(client.frames.length, 1);
    assert.ok(!client.texts.join().includes(token) || token === '', 'the token is not repeated');
    return error;
  }

  it('takes a token from query, header, subprotocol and first message', async () => {
    const token = await db.token('42', { units: [7] });
    for (const via of ['query', 'header', 'protocol', 'message']) {
      const client = await open({ token, via });
      const { welcome } = client;
      assert.equal(welcome.protocol, 1, via);
      assert.equal(welcome.user, '42');
      assert.match(welcome.epoch, /^[0-9a-f]{8}$/);
      assert.match(welcome.cursor, new RegExp(`^${welcome.epoch}-\\d+$`));
      assert.match(welcome.expires_at, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
      assert.equal(welcome.heartbeat, 25);
      assert.equal(client.socket.protocol, 'livefeed.v1');
      await client.subscribe('requests:unit:7');
    }
    const plain = await open({ token, protocols: [] });
    assert.equal(plain.socket.protocol, '', 'no subprotocol asked, none selected');
  });

  it('takes the first carrier of several', async () => {
    const good = await db.token('42');
    const client = await open({ token: good, via: 'header', query: { token: 'garbage' } });
    assert.equal(client.welcome.user, '42');
    const other = await open({ token: 'garbage', via: 'header', query: { token: good }, welcome: false });
    await other.close(4401);
  });

  it('takes a large token as subprotocol', async () => {
    const token = await db.token('42', { units: Array.from({ length: 300 }, (_, n) => `unit-${n}`) });
    assert.ok(token.length > 3000);
    const client = await open({ token, via: 'protocol' });
    await client.subscribe('requests:unit:unit-299');
  });

  it('closes with 4401 what speaks before it has said who it is', async () => {
    for (const message of [{ type: 'subscribe', channel: 'requests:unit:7', ref: 1 }, { type: 'ping' }, 'nonsense']) {
      const client = await open({});
      client.send(message);
      await client.close(4401);
      assert.ok(!client.frames.some((frame) => frame.type === 'subscribed' || frame.type === 'pong'));
    }
  });

  it('closes with 4401 what never says who it is', async () => {
    const impatient = await start(['--idle-auth', '1s']);
    const client = await open({}, impatient);
    await client.close(4401);
  });

  it('refuses bad tokens, whatever is bad about them', async () => {
    const { secret } = own;
    const claims = { sub: '42', units: [7], exp: now() + 600, iat: now() };
    const header = { alg: 'HS256', typ: 'JWT', kid: own.kid };
    const good = signRaw('HS256', secret, header, claims);
    await accepted(good);
    const [h, p, s] = good.split('.');
    const made = (moreClaims, moreHeader = {}) => signRaw('HS256', secret, { ...header, ...moreHeader }, { ...claims, ...moreClaims });
    const without = (name) => { const rest = { ...claims }; delete rest[name]; return signRaw('HS256', secret, header, rest); };
    const bad = {
      garbage: 'garbage', dots: '..', 'two parts': `${h}.${p}`, 'four parts': `${good}.x`, 'no signature': `${h}.${p}.`,
      'other key': signRaw('HS256', crypto.randomBytes(32), header, claims),
      'changed payload': `${h}.${Buffer.from(JSON.stringify({ ...claims, units: [9] })).toString('base64url')}.${s}`,
      'alg none': signRaw('none', null, { alg: 'none' }, claims), 'alg None': signRaw('none', null, { alg: 'None' }, claims),
      'alg HS512 over HS256': signRaw('HS256', secret, { ...header, alg: 'HS512' }, claims),
      'alg said otherwise': signRaw('HS256', secret, { ...header, alg: 'RS256' }, claims),
      'alg missing': signRaw('HS256', secret, { typ: 'JWT', kid: own.kid }, claims),
      'no exp': without('exp'), 'no user': without('sub'), expired: made({ exp: now() - 60 }), 'not yet valid': made({ nbf: now() + 600 }),
      crit: made({}, { crit: ['exp'] }), 'empty crit': made({}, { crit: [] }),
      'exp text': made({ exp: String(now() + 600) }), 'exp negative': made({ exp: -1 }), 'exp too large': made({ exp: 2 ** 60 }), 'nbf text': made({ nbf: '0' }),
      'iat text': made({ iat: 'x' }), 'iat null': made({ iat: null }), 'exp true': made({ exp: true }),
      'units text': made({ units: '7' }), 'units number': made({ units: 7 }), 'units with null': made({ units: [null] }), 'units nested': made({ units: [[7]] }),
      'units fraction': made({ units: [7.5] }), 'units object of text': made({ units: { 7: 'admin' } }), 'sub object': made({ sub: {} }), 'sub true': made({ sub: true }),
      'sub fraction': made({ sub: 4.2 }), 'sub empty': made({ sub: '' }),
      'doubled name': signRaw('HS256', secret, header, JSON.stringify(claims).replace('{', '{"sub":"1",')),
      'doubled name in header': signRaw('HS256', secret, JSON.stringify(header).replace('{', '{"alg":"none",'), claims),
      'payload array': signRaw('HS256', secret, header, '[]'), 'header array': signRaw('HS256', secret, '[]', claims), 'payload no JSON': signRaw('HS256', secret, header, '{'),
      'name with NUL': signRaw('HS256', secret, header, JSON.stringify(claims).replace('"units"', '"units\\u0000x"').replace('{', '{"a":1,').replace('"exp"', '"exp\\u0000"')),
      padded: `${h}.${p}.${s}=`, 'base64 not canonical': `${h}.${p}.${s.slice(0, -1)}${'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'['ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'.indexOf(s.at(-1)) ^ 1]}`,
      'space inside': `${h}.${p} .${s}`,
    };
    for (const [name, token] of Object.entries(bad)) {
      await refused(token).catch((error) => { error.message = `${name}: ${error.message}`; throw error; });
    }
    await refused(bad.expired, bridge, 'protocol');
    await refused(bad.expired, bridge, 'header');
    await refused(bad.expired, bridge, 'message');
  });

  it('takes units as list and as object, and users as integers', async () => {
    const sign = (claims) => signRaw('HS256', own.secret, { alg: 'HS256' }, { exp: now() + 60, ...claims });
    for (const units of [[7], ['7'], { 7: [] }, { 7: ['unit_admin'] }]) {
      const client = await open({ token: sign({ sub: 42, units }) });
      assert.equal(client.welcome.user, '42');
      await client.subscribe('requests:unit:7');
      await client.subscribe('orders:user:42');
      assert.equal(await client.refusedSubscribe('requests:unit:9'), 'forbidden');
    }
    const empty = await open({ token: sign({ sub: 'x', units: [] }) });
    assert.equal(await empty.refusedSubscribe('requests:unit:7'), 'forbidden');
    await empty.subscribe('notices');
  });

  it('follows the rotation of the database\'s key', async () => {
    const before_ = await db.token('42', { units: [7] });
    await accepted(before_);
    await db.query('SELECT livefeed.rotate_key()');
    await accepted(await db.token('42', { units: [7] })); // at once, whatever the bridge has heard by now
    await db.query('SELECT livefeed.rotate_key(), livefeed.rotate_key()');
    await accepted(await db.token('42', { units: [7] }));
    await accepted(before_);
  });

  it('takes tokens of a former key for an hour, and no longer', async () => {
    const former = await db.token('42', { units: [7] });
    await accepted(former);
    await db.query('SELECT livefeed.rotate_key()');
    const present = await db.token('42', { units: [7] });
    const stays = await open({ token: former });
    await accepted(present);
    await accepted(former);
    await db.query(`UPDATE livefeed.key SET rotated_at = rotated_at - interval '59 minutes'`);
    await accepted(former);
    await db.query(`UPDATE livefeed.key SET rotated_at = rotated_at - interval '1 minute'`); // nobody tells the bridge
    let error;
    await until('the bridge to let go of the former key', async () => {
      const client = await open({ token: former, welcome: false });
      const frame = await client.next((each) => ['welcome', 'error'].includes(each.type));
      error = frame.message;
      await client.leave();
      return frame.type === 'error';
    });
    assert.equal(error, "token's kid names no known key");
    await refused(former);
    await accepted(present);
    assert.equal(stays.closed, null, 'who is there stays until exp');
    await stays.leave();
  });

  it('verifies HS256, HS384 and HS512 with the database\'s own key', async () => {
    const [{ kid, secret }] = await db.query('SELECT kid, secret FROM livefeed.keys LIMIT 1');
    for (const alg of ['HS256', 'HS384', 'HS512']) {
      assert.equal((await accepted(mint(alg, secret, { sub: alg, units: [7] }, { kid }))).user, alg);
    }
  });

  it('knows the second in which a message comes', async () => {
    const [{ secret }] = await db.query('SELECT secret FROM livefeed.keys LIMIT 1');
    const house = await start(['--jwt-leeway', '0']);
    for (let n = 0; n < 3; n++) {
      const client = await open({}, house);
      const second = Math.floor(Date.now() / 1000);
      await until('the next second', () => Date.now() > (second + 1) * 1000 + 20);
      client.send({ type: 'auth', token: mint('HS256', secret, { sub: 'x', nbf: second + 1 }) });
      assert.equal((await client.take()).type, 'welcome');
    }
  });

  it('verifies HS256, HS384 and HS512 with a secret of one\'s own', async () => {
    const secret = crypto.randomBytes(64).toString('base64');
    const house = await start(['--jwt-secret-file', await file('secret', secret)]);
    for (const alg of ['HS256', 'HS384', 'HS512']) {
      assert.equal((await accepted(mint(alg, secret, { sub: alg, units: [7] }), house)).user, alg);
    }
    await refused(mint('HS256', `${secret}x`, { sub: 'x', units: [] }), house);
    await accepted(await db.token('42'), house); // the database's own key counts too
  });

  for (const alg of ['RS256', 'ES256', 'EdDSA']) {
    it(`verifies ${alg} by PEM and by JWKS, and nothing else with that key`, async () => {
      const { publicKey, privateKey } = keyPair(alg);
      const text = pem(publicKey);
      const jwks = { keys: [{ ...keyPair('ES256').publicKey.export({ format: 'jwk' }), kid: 'other', use: 'sig' }, { ...publicKey.export({ format: 'jwk' }), kid: 'k1', use: 'sig', alg }] };
      const byPem = await start(['--jwt-public-key', await file(`${alg}.pem`, text)]);
      const bySet = await start(['--jwks', await file(`${alg}.json`, JSON.stringify(jwks))]);
      const claims = { sub: 'carol', units: [7] };
      for (const house of [byPem, bySet]) {
        const client = await open({ token: mint(alg, privateKey, claims, { kid: 'k1' }) }, house);
        await client.subscribe('requests:unit:7');
        await refused(mint(alg, keyPair(alg).privateKey, claims, { kid: 'k1' }), house);
        for (const key of [text, text.trimEnd(), publicKey.export({ type: 'spki', format: 'der' })]) {
          await refused(mint('HS256', key, claims, { kid: 'k1' }), house);
        }
        await refused(mint('none', null, claims, { kid: 'k1' }), house);
      }
      await accepted(mint(alg, privateKey, claims), byPem); // no kid: the one key there is
    });
  }

  it('asks for issuer and audience, but not of the database\'s own tokens', async () => {
    const secret = crypto.randomBytes(48).toString('hex');
    const house = await start(['--jwt-secret-file', await file('iss', secret), '--jwt-issuer', 'https://login.example', '--jwt-audience', 'feeds']);
    const sign = (claims) => mint('HS256', secret, { sub: 'x', units: [], ...claims });
    await accepted(sign({ iss: 'https://login.example', aud: 'feeds' }), house);
    await accepted(sign({ iss: 'https://login.example', aud: ['others', 'feeds'] }), house);
    for (const claims of [{}, { iss: 'https://login.example' }, { aud: 'feeds' }, { iss: 'https://login.example', aud: 'feeds2' },
      { iss: 'https://login.example/', aud: 'feeds' }, { iss: 'https://login.example', aud: [] }, { iss: 'https://login.example', aud: [['feeds']] }]) {
      await refused(sign(claims), house);
    }
    await accepted(await db.token('42'), house);
  });

  it('reads claims by other names and by JSON pointers', async () => {
    const secret = crypto.randomBytes(48).toString('hex');
    const house = await start(['--jwt-secret-file', await file('claims', secret), '--claim-user', 'user_id',
      '--claim-units', '/app_metadata/units', '--claim-roles', '/app_metadata/roles']);
    const client = await open({ token: mint('HS256', secret, { sub: 'no', user_id: 5, app_metadata: { units: [7], roles: ['admin'] } }) }, house);
    assert.equal(client.welcome.user, '5');
    await client.subscribe('requests:unit:7');
    await client.subscribe('requests');
  });

  it('closes with 4401 when the token expires, unless a fresh one came', async () => {
    const strict = await start(['--jwt-leeway', '0s']);
    const short = () => db.token('42', { units: [7], ttl: '6 seconds' });
    const stays = await open({ token: await short() }, strict);
    await stays.subscribe('requests:unit:7');
    stays.send({ type: 'auth', token: await db.token('42', { units: [7] }) });
    assert.equal((await stays.next('welcome')).user, '42');
    const leaves = await open({ token: await short() }, strict); // its token goes on for longer than the first of the other
    await leaves.close(4401);
    await db.write(`INSERT INTO requests (id, unit_id, title) VALUES (1, 7, 'still here')`);
    assert.equal((await stays.next(isEvent)).key, '1');
    assert.equal(stays.closed, null);
  });

  it('on refresh ends the subscriptions that the new token does not cover', async () => {
    const client = await open({ token: await db.token('42', { units: [7, 8] }) });
    await client.caughtUp(db); // what others were sent is not to come live
    for (const channel of ['requests:unit:7', 'requests:unit:8', 'orders:user:42']) await client.subscribe(channel);
    client.send({ type: 'auth', token: await db.token('42', { units: [8] }) });
    await client.next('welcome');
    const gone = await client.next('unsubscribed');
    assert.deepEqual(gone, { type: 'unsubscribed', channel: 'requests:unit:7', reason: 'forbidden' });
    await db.write(`INSERT INTO requests (id, unit_id, title) VALUES (20, 7, 'seven'), (21, 8, 'eight')`);
    await client.caughtUp(db);
    assert.deepEqual(client.events().map((event) => event.key), ['21']);
    assert.equal(await client.refusedSubscribe('requests:unit:7'), 'forbidden');
  });

  it('refuses a refresh that names another user, or a bad token', async () => {
    const client = await open({ token: await db.token('42', { units: [7] }) });
    client.send({ type: 'auth', token: await db.token('43', { units: [9] }) });
    const error = await client.next('error');
    assert.ok(['bad_token', 'forbidden'].includes(error.code), JSON.stringify(error));
    if (!client.closed) {
      const answer = await client.ask({ type: 'subscribe', channel: 'orders:user:43' }).catch(() => null);
      assert.ok(!answer || answer.code === 'forbidden', JSON.stringify(answer));
    }
    assert.ok(!client.frames.some((frame) => frame.type === 'welcome' && frame.user === '43'));
    const other = await open({ token: await db.token('42', { units: [7] }) });
    other.send({ type: 'auth', token: 'garbage' });
    assert.equal((await other.next('error')).code, 'bad_token');
  });
});
