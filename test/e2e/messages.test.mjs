// The protocol's edges: messages that are none, sizes, limits, handshakes.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Cluster, idOf } from './lib/cluster.mjs';
import { Bridge } from './lib/bridge.mjs';
import { Client, isEvent } from './lib/client.mjs';
import { SCHEMA } from './lib/schema.mjs';

describe('messages', () => {
  let cluster;
  let db;
  let bridge;
  let token;
  const clients = [];

  before(async () => {
    cluster = await Cluster.start();
    db = await cluster.database(SCHEMA);
    bridge = await Bridge.start(db, ['--max-subscriptions', '5', '--allowed-origins', 'https://app.example,http://localhost:3000']);
    token = await db.token('42', { units: [7], roles: ['admin'] });
  });
  after(async () => {
    await Promise.all(clients.map((client) => client.leave()));
    await bridge?.stop();
    await cluster?.remove();
  });

  async function open(options = {}) {
    const client = await Client.open(bridge, { token, ...options });
    clients.push(client);
    return client;
  }

  it('answers what it cannot read with bad_message, and goes on', async () => {
    const bad = ['', ' ', '{', 'null', '[]', '7', '"x"', '{}', '{"type":7}', '{"type":"dance"}', '{"type":"PING"}', "{'type':'ping'}",
      '{"type":"ping"}x', '{"type":"ping","type":"ping"}', '{"type":"ping","ref":{}}', '{"type":"ping","ref":[1]}', '{"type":"ping","ref":true}'];
    const client = await open();
    await client.subscribe('requests:unit:7');
    for (const text of bad) {
      client.send(text);
      assert.equal((await client.next('error')).code, 'bad_message', JSON.stringify(text));
    }
    await db.write(`INSERT INTO requests (id, unit_id, title) VALUES (1, 7, 'x')`);
    await client.next(isEvent);

    const more = await open();
    for (const text of ['{"type":"ping","ref":NaN}', '{"type":"pi\u0000ng"}', '{"type":"subscribe","channel":"requests:unit:7","since":{}}',
      '{"type":"subscribe","channel":"requests:unit:7","snapshot":"yes"}', '{"type":"unsubscribe"}', '{"type":"auth"}', '{"type":"auth","token":7}',
      `${'['.repeat(40)}${']'.repeat(40)}`, `{"type":"ping","x":${'['.repeat(40)}${']'.repeat(40)}}`]) {
      more.send(text);
      const error = await more.next('error');
      assert.ok(['bad_message', 'bad_token'].includes(error.code), `${JSON.stringify(text)}: ${error.code}`);
    }
    assert.equal((await more.ask({ type: 'ping' })).type, 'pong');
  });

  it('closes with 4400 after too many bad messages', async () => {
    const client = await open();
    for (let n = 0; n < 30 && !client.closed; n++) client.send('nonsense');
    await client.close(4400);
  });

  it('echoes any ref that is a number or a string', async () => {
    const client = await open();
    for (const ref of ['1', '-7', '1.5', '1e3', '"a"', '"\\u00fc \\"x\\""', '12345678901234567890', '""', '0']) {
      client.send(`{"type":"ping","ref":${ref}}`);
      const pong = await client.next('pong');
      assert.deepEqual(pong.ref, JSON.parse(ref), ref);
    }
    client.send('{"type":"ping"}');
    assert.ok(!('ref' in (await client.next('pong'))));
    const error = await client.ask({ type: 'subscribe', channel: 'nothing' });
    assert.equal(error.code, 'unknown_channel');
    assert.equal(typeof error.message, 'string');
  });

  it('takes additions it does not know', async () => {
    const client = await open();
    const answer = await client.ask({ type: 'subscribe', channel: 'requests:unit:7', future: { a: [1] } });
    assert.equal(answer.type, 'subscribed');
  });

  it('says unknown_command to a call', async () => {
    const client = await open();
    assert.equal((await client.ask({ type: 'call', name: 'move_card', args: {} })).code, 'unknown_command');
  });

  it('pong covers all that was sent before', async () => {
    const client = await open();
    await client.subscribe('requests:unit:7');
    await db.write(`INSERT INTO requests (id, unit_id, title) VALUES (10, 7, 'x'), (11, 9, 'y')`);
    const head = await client.caughtUp(db);
    const pong = await client.ask({ type: 'ping' });
    assert.equal(pong.live, true);
    assert.ok(idOf(pong.cursor) >= head);
    assert.deepEqual(client.events().map((event) => event.key), ['10']);
  });

  it('limits subscriptions', async () => {
    const client = await open();
    for (let n = 1; n <= 5; n++) await client.subscribe(`requests:unit:${n}`);
    assert.equal(await client.refusedSubscribe('requests:unit:6'), 'too_many_subscriptions');
    await client.subscribe('requests:unit:5'); // again: replaced, not added
    await client.ask({ type: 'unsubscribe', channel: 'requests:unit:1' });
    await client.subscribe('requests:unit:6');
  });

  it('closes 1003 on binary, 1007 on what is not UTF-8, 1009 on too much', async () => {
    const binary = await open();
    binary.socket.send(Buffer.from('{"type":"ping"}'), { binary: true });
    await binary.close(1003);
    const bytes = await open();
    bytes.socket.send(Buffer.from([0x7b, 0xff, 0xfe, 0x7d]), { binary: false });
    await bytes.close(1007);
    const large = await open();
    large.send(JSON.stringify({ type: 'ping', x: 'x'.repeat(70_000) }));
    await large.close(1009);
    const pieces = await open();
    for (let n = 0; n < 20 && !pieces.closed; n++) pieces.socket.send('x'.repeat(10_000), { fin: false, binary: false });
    await pieces.close(1009);
    const fits = await open();
    fits.send(JSON.stringify({ type: 'ping', ref: 1, x: 'x'.repeat(60_000) }));
    await fits.next('pong');
  });

  it('takes a message in fragments', async () => {
    const client = await open();
    const text = '{"type":"ping","ref":"in three"}';
    client.socket.send(text.slice(0, 5), { fin: false });
    client.socket.send(text.slice(5, 15), { fin: false });
    client.socket.send(text.slice(15), { fin: true });
    assert.equal((await client.next('pong')).ref, 'in three');
  });

  it('works with permessage-deflate too', async () => {
    const client = await open({ options: { perMessageDeflate: true } });
    await client.subscribe('requests:unit:7');
    await db.write(`INSERT INTO requests (id, unit_id, title) SELECT 100 + n, 7, repeat('deflate ', 500) FROM generate_series(1, 40) n`);
    for (let n = 1; n <= 40; n++) assert.equal((await client.next(isEvent)).key, String(100 + n));
  });

  it('answers WebSocket pings', async () => {
    const client = await open();
    const pong = new Promise((resolve) => client.socket.once('pong', (data) => resolve(data.toString())));
    client.socket.ping('are you there');
    assert.equal(await pong, 'are you there');
  });

  it('refuses foreign origins, allows those named, and needs none', async () => {
    for (const origin of ['https://evil.example', 'https://app.example.evil.example', 'http://app.example', 'null', 'https://app.example:444']) {
      const client = await open({ headers: { Origin: origin }, welcome: false });
      assert.equal(client.refused, 403, origin);
    }
    for (const origin of ['https://app.example', 'http://localhost:3000']) {
      assert.equal((await open({ headers: { Origin: origin } })).welcome.user, '42', origin);
    }
  });

  it('has no other WebSocket endpoint than /ws and the exposed ones', async () => {
    for (const path of ['/', '/wss', '/ws2', '/ws/none/', '/WS', '/ws/../admin', '/socket']) {
      const client = await open({ path, welcome: false });
      assert.ok(client.refused >= 400 && client.refused < 500, `${path}: ${client.refused}`);
    }
    assert.equal((await open()).socket.protocol, 'livefeed.v1');
    const strange = await open({ protocols: ['something.else', 'livefeed.v1'] });
    assert.equal(strange.socket.protocol, 'livefeed.v1');
  });
});
