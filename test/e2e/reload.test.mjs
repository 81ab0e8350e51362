// SIGHUP: what the new configuration says counts from then on, for sessions that are there, too; a bad one changes nothing.

import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { Cluster } from './lib/cluster.mjs';
import { Bridge } from './lib/bridge.mjs';
import { Client, isEvent } from './lib/client.mjs';
import { Raw, PING } from './lib/raw.mjs';
import { SCHEMA } from './lib/schema.mjs';
import { Stream } from './lib/stream.mjs';
import { mint } from './lib/token.mjs';
import { until } from './lib/wait.mjs';

describe('SIGHUP', () => {
  let cluster;
  let db;
  let folder;
  let ini;
  let secret;
  let bridge;
  let token;
  let stays; // a session from before all of it

  before(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'livefeed-reload-'));
    ini = path.join(folder, 'livefeed.ini');
    secret = path.join(folder, 'secret');
    await writeFile(secret, 'first secret, of thirty-two bytes');
    await writeFile(ini, '[livefeed]\n');
    cluster = await Cluster.start();
    db = await cluster.database(SCHEMA);
    bridge = await Bridge.start(db, ['--config', ini]);
    token = await db.token('42', { units: [7] });
    stays = await Client.open(bridge, { token });
    await stays.subscribe('requests:unit:7');
  });
  after(async () => {
    assert.equal(stays?.closed, null, 'no reload has closed a session');
    await stays?.leave();
    await bridge?.stop();
    await cluster?.remove();
    if (folder) await rm(folder, { recursive: true });
  });

  /** Writes the file, has it read, and gives what the bridge said of it. */
  async function reload(text, says = /SIGHUP: configuration and keys were read again|the new configuration is refused/) {
    const said = bridge.log.length;
    await writeFile(ini, `[livefeed]\n${text}\n`);
    bridge.process.kill('SIGHUP');
    await until('a word about the reload', () => says.test(bridge.log.slice(said)));
    return bridge.log.slice(said);
  }

  it('limits of a session', async () => {
    const client = await Client.open(bridge, { token });
    await client.subscribe('requests:unit:7');
    await reload('max-subscriptions = 1');
    assert.equal(await client.refusedSubscribe('orders:user:42'), 'too_many_subscriptions');
    await reload('max-subscriptions = 2');
    await client.subscribe('orders:user:42');
    await reload('max-message = 2KiB');
    client.send({ type: 'ping', ref: 'x'.repeat(3000) });
    await client.close(1009);
    const slow = await Client.open(bridge, { token });
    await reload('rate = 1/s\nmax-subscriptions = 1\nmax-bad-messages = 3');
    for (let i = 0; i < 20; i++) slow.send({ type: 'ping' });
    await slow.close(4429);
    await reload('idle-auth = 300ms');
    await (await Client.open(bridge, { welcome: false })).close(4401);
  });

  it('limits of connections', async () => {
    await reload('max-connections = 1');
    await (await Client.open(bridge, { token, welcome: false })).close(4429);
    await reload('max-connections-per-user = 1');
    await (await Client.open(bridge, { token, welcome: false })).close(4429);
    await reload('max-connections-per-address = 1');
    await (await Client.open(bridge, { token, welcome: false })).close(4429);
    await reload('');
    await (await Client.open(bridge, { token })).leave();
  });

  it('more connections than the bridge began with, also of streams', async () => {
    const small = path.join(folder, 'small.ini');
    await writeFile(small, '[livefeed]\nmax-connections = 1\n');
    const other = await Bridge.start(db, ['--config', small]);
    const streams = [];
    try {
      await writeFile(small, '[livefeed]\nmax-connections = 1000\nmax-connections-per-user = 1000\n');
      other.process.kill('SIGHUP');
      await until('the reload', () => /were read again/.test(other.log));
      while (streams.length < 400) {
        streams.push(...await Promise.all(Array.from({ length: 20 }, () => Stream.open(other, { token, channels: ['requests:unit:7'] }))));
        assert.ok(streams.every(({ status, ended }) => status === 200 && !ended), `of ${streams.length} streams some were not let in`);
      }
      assert.equal((await other.get('/healthz')).status, 200);
    } finally {
      for (const stream of streams) stream.leave();
      await other.stop();
    }
  });

  it('heartbeat, also that of sessions that are there', async () => {
    const raw = await Raw.websocket(bridge, token);
    assert.equal((await raw.message({ type: 'welcome' })).heartbeat, 25);
    await reload('heartbeat = 4s');
    await until('a ping', () => raw.frames().some((each) => each.opcode === PING));
    await raw.gone(60_000);
    await reload('');
  });

  it('--max-header, up to what it was at start', async () => {
    const ask = async () => (await bridge.get('/healthz', { headers: { X: 'x'.repeat(4000) } })).status;
    assert.equal(await ask(), 200);
    await reload('max-header = 2KiB');
    assert.equal(await ask(), 431);
    await reload('');
    assert.equal(await ask(), 200);
  });

  it('origins', async () => {
    const allowed = async (origin) => {
      const client = await Client.open(bridge, { token, headers: { Origin: origin }, welcome: false });
      await client.leave();
      return client.refused === null;
    };
    assert.equal(await allowed('https://one.example'), false);
    await reload('allowed-origins = https://one.example');
    assert.equal(await allowed('https://one.example'), true);
    await reload('allowed-origins = https://two.example');
    assert.equal(await allowed('https://one.example'), false);
    await reload('');
  });

  it('keys: a secret that comes, changes and goes; sessions keep what they have', async () => {
    const first = mint('HS256', 'first secret, of thirty-two bytes', { sub: '42', units: ['7'] });
    const second = mint('HS256', 'second secret, of thirty-two byte', { sub: '42', units: ['7'] });
    const takes = async (each) => {
      const client = await Client.open(bridge, { token: each, welcome: false });
      await until('an answer', () => client.closed || client.frames.some((frame) => frame.type === 'welcome'));
      if (client.closed) assert.equal(client.closed.code, 4401);
      const taken = client.closed === null;
      await client.leave();
      return taken;
    };
    assert.equal(await takes(first), false);
    await reload(`jwt-secret-file = ${secret}`);
    assert.equal(await takes(first), true);
    assert.equal(await takes(second), false);
    const holder = await Client.open(bridge, { token: first });
    await writeFile(secret, 'second secret, of thirty-two byte');
    await reload(`jwt-secret-file = ${secret}`);
    assert.equal(await takes(first), false);
    assert.equal(await takes(second), true);
    assert.equal((await holder.ask({ type: 'ping' })).type, 'pong');
    await holder.leave();
    await reload('');
    assert.equal(await takes(second), false);
  });

  it('log level and format', async () => {
    assert.doesNotMatch(bridge.log, /Z debug /);
    await reload('log-level = debug\nlog-format = json', /"level":"info".*read again/);
    await (await Client.open(bridge, { token })).leave();
    const said = await reload('');
    assert.match(said, / info  SIGHUP/);
  });

  it('what is used at start alone is named, and stays', async () => {
    const said = await reload('tick-interval = 9ms\ndb-connections = 2\nlisten = 127.0.0.1:1\ndsn = host=/nowhere\nhandshake-timeout = 3s');
    for (const name of ['tick-interval', 'db-connections']) assert.match(said, new RegExp(`${name} changed: .*next start`));
    assert.doesNotMatch(said, /listen changed|dsn changed/, 'flags go before the file');
    await db.write(`INSERT INTO requests (id, unit_id, title) VALUES (1, 7, 'x')`);
    assert.equal((await stays.next(isEvent)).key, '1');
    await reload('');
  });

  it('a bad one is refused in one line that names the setting, whole', async () => {
    await reload('allowed-origins = https://one.example\nmax-subscriptions = 2');
    await writeFile(path.join(folder, 'empty'), '');
    for (const [bad, name] of [['heartbeat = often', 'heartbeat'], ['heartbeet = 1s', 'heartbeet'], ['max-message = 1', 'max-message'], [`jwt-secret-file = ${folder}/empty`, 'jwt-secret-file'],
      [`jwks = ${folder}/nothing.json`, 'jwks'], [`jwt-secret-file = ${secret}\njwt-public-key = ${secret}`, 'jwt-public-key'], ['log-level = loud', 'log-level'], ['tls-cert = /nowhere/x', 'tls-'],
      ['trusted-proxies = nobody', 'trusted-proxies'], ['\nno setting at all', 'livefeed.ini']]) {
      const said = await reload(`allowed-origins = https://two.example\nmax-subscriptions = 100\n${bad}`);
      const lines = said.trim().split('\n');
      assert.equal(lines.length, 1, said);
      assert.match(lines[0], new RegExp(`refused and the old one stays: .*${name}`));
      const one = await Client.open(bridge, { token, headers: { Origin: 'https://one.example' } });
      await one.subscribe('requests:unit:7');
      await one.subscribe('orders:user:42');
      assert.equal(await one.refusedSubscribe('notices'), 'too_many_subscriptions');
      await one.leave();
    }
    const foreign = mint('HS256', 'second secret, of thirty-two byte', { sub: '42', units: ['7'] });
    await (await Client.open(bridge, { token: foreign, welcome: false })).close(4401); // no half of a bad configuration counts
    await reload('');
  });

  it('a hundred in a row, and a configuration file that is gone for a while', async () => {
    for (let i = 0; i < 100; i++) bridge.process.kill('SIGHUP');
    await rm(ini);
    const said = bridge.log.length;
    bridge.process.kill('SIGHUP');
    await until('a word about it', () => /refused.*livefeed\.ini/.test(bridge.log.slice(said)));
    await reload('');
    await db.write(`INSERT INTO requests (id, unit_id, title) VALUES (2, 7, 'x')`);
    assert.equal((await stays.next(isEvent)).key, '2');
  });
});
