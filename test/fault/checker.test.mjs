// The checker itself: it must find each kind of defect in a stream that has it, and
// none in one that has none. No database, no bridge.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Checker } from './lib/checker.mjs';

const CHANNEL = 'items:unit:1';

/** Two committed transactions, one rolled back, one with a savepoint taken back, one whose answer was lost. */
async function story({ lostKept = true } = {}) {
  const checker = new Checker();
  const rows = new Map();
  let clock = 0;
  const add = (tx, kind, key, unit, version, was) => tx.add({ step: tx.number(), feed: 'items', key, kind, unit, was, version }, clock++);
  const end = (tx, how) => { tx.end(how); tx.answered = clock++; };
  const a = checker.transaction('a');
  add(a, 'created', 'k1', '1', 1);
  add(a, 'created', 'k2', '1', 1);
  end(a, 'committed');
  const b = checker.transaction('b');
  add(b, 'updated', 'k1', '1', 2);
  const mark = b.mark();
  add(b, 'updated', 'k1', '1', 3);
  b.back(mark);
  add(b, 'moved', 'k2', '2', 2, '1');
  end(b, 'committed');
  const c = checker.transaction('c');
  add(c, 'created', 'k3', '1', 1);
  end(c, 'rolled back');
  const d = checker.transaction('d');
  add(d, 'created', 'k4', '1', 1);
  end(d, 'lost');
  rows.set('k1', row('k1', 'b', 1, 2));
  if (lostKept) rows.set('k4', row('k4', 'd', 1, 1));
  const db = {
    query: async (sql) => (/ledger/.test(sql)
      ? ['a', 'b', ...(lostKept ? ['d'] : [])].map((tx) => ({ tx }))
      : [...rows.values()].map((data) => ({ unit_id: 1, id: data.id, row: data }))),
  };
  return { checker, settle: () => checker.settle(db, ['items']) };
}

function row(id, tx, step, version) {
  return { id, unit_id: 1, version, tx, step, body: null };
}

function event(id, suffix, action, key, data, more = {}) {
  return { type: `items.${suffix}`, feed: 'items', action, unit: '1', key, data, id, channels: [CHANNEL], ...more };
}

const GOOD = () => [
  event(1, 'created', 'created', 'k1', row('k1', 'a', 1, 1)),
  event(2, 'created', 'created', 'k2', row('k2', 'a', 2, 1)),
  event(3, 'updated', 'updated', 'k1', row('k1', 'b', 1, 2)),
  event(4, 'deleted', 'moved_out', 'k2', null),
  event(8, 'created', 'created', 'k4', row('k4', 'd', 1, 1)),
];

async function verdict(frames, options) {
  const { checker, settle } = await story(options);
  const stream = checker.stream('s', [CHANNEL]);
  stream.frame({ type: 'subscribed', channel: CHANNEL, recovered: true });
  for (const frame of frames) stream.frame(frame);
  await settle();
  return checker.defects().filter((line) => !line.startsWith(' ')).map((line) => line.split(':')[0]);
}

describe('the checker', () => {
  it('finds nothing wrong with what is right, however the lost one ended', async () => {
    assert.deepEqual(await verdict(GOOD()), []);
    assert.deepEqual(await verdict(GOOD().slice(0, 4), { lostKept: false }), []);
  });

  const other = (frames, change) => { change(frames); return frames; };
  const cases = {
    'an event lost': [other(GOOD(), (f) => f.splice(2, 1)), ['loss', 'state']],
    'the event of a lost answer that was committed': [GOOD().slice(0, 4), ['loss', 'state']],
    'a departure lost': [other(GOOD(), (f) => f.splice(3, 1)), ['loss', 'state']],
    'an event twice': [other(GOOD(), (f) => f.splice(1, 0, f[0])), ['repeat']],
    'an event twice under two ids': [[...GOOD(), event(9, 'updated', 'updated', 'k1', row('k1', 'b', 1, 2))], ['phantom']],
    'a departure twice': [[...GOOD(), event(9, 'deleted', 'moved_out', 'k2', null)], ['phantom']],
    'an event of a rollback': [[...GOOD(), event(9, 'created', 'created', 'k3', row('k3', 'c', 1, 1))], ['phantom']],
    'an event of a savepoint': [[...GOOD(), event(9, 'updated', 'updated', 'k1', row('k1', 'b', 2, 3))], ['phantom']],
    'an event from nowhere': [[...GOOD(), event(9, 'created', 'created', 'k9', row('k9', 'z', 1, 1))], ['phantom']],
    'ids that go back': [other(GOOD(), (f) => { [f[0], f[1]] = [f[1], f[0]]; }), ['order', 'loss']],
    'the steps of a transaction the wrong way': [other(GOOD(), (f) => { f[0].id = 2; f[1].id = 1; [f[0], f[1]] = [f[1], f[0]]; }), ['order']],
    'a transaction in two pieces': [other(GOOD(), (f) => { f[3].id = 8; f[4].id = 4; [f[3], f[4]] = [f[4], f[3]]; }), ['split']],
    'a transaction before one that had ended': [other(GOOD(), (f) => { [1, 2].forEach((id, n) => { f[n + 2].id = id; f[n].id = id + 2; }); f.splice(0, 4, f[2], f[3], f[0], f[1]); }), ['order', 'state']],
    'another unit\'s event': [[...GOOD(), event(9, 'created', 'moved_in', 'k2', { ...row('k2', 'b', 3, 2), unit_id: 2 }, { unit: '2' })], ['leak']],
    'an event on a channel that nobody asked for': [[...GOOD(), event(9, 'created', 'created', 'k4', row('k4', 'd', 1, 1), { channels: ['items:unit:2'] })], ['leak']],
    'a resync': [[...GOOD(), { type: 'resync', channel: CHANNEL, reason: 'pruned' }], ['session']],
    'a resume that failed': [[{ type: 'subscribed', channel: CHANNEL, recovered: false, reason: 'pruned' }, ...GOOD()], ['loss']],
    'an event after unsubscribed': [[{ type: 'unsubscribed', channel: CHANNEL }, ...GOOD()], ['session']],
    'other data than in SQL': [other(GOOD(), (f) => { f[4].data.body = 'y'; }), ['state']],
  };
  for (const [name, [frames, kinds]] of Object.entries(cases)) {
    it(`finds ${name}`, async () => {
      assert.deepEqual((await verdict(frames)).sort(), [...kinds].sort());
    });
  }

  it('finds one id with two contents', async () => {
    const { checker, settle } = await story();
    for (const name of ['s', 't']) {
      const stream = checker.stream(name, [CHANNEL]);
      stream.frame({ type: 'subscribed', channel: CHANNEL, recovered: true });
      for (const frame of GOOD()) stream.frame(name === 's' ? frame : { ...frame, updated_at: 'later' });
    }
    await settle();
    assert.match(checker.defects()[0], /^differs/);
  });

  it('finds a COMMIT that was answered and is gone', async () => {
    const { checker, settle } = await story();
    checker.transaction('e').end('committed');
    await settle();
    assert.match(checker.defects()[1], /not in the ledger/);
  });
});
