// The checker against invented histories: whatever is dropped, doubled, swapped, leaked
// or forged in what one session was sent, it finds, on every kind of channel; and it finds
// nothing where nothing was done. No database, no bridge. Single cases: checker.test.mjs.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Checker } from './lib/checker.mjs';
import { seeded } from './lib/random.mjs';

const HISTORIES = 70;
const TRANSACTIONS = 40;
const CHANNELS = ['items:unit:1', 'items:unit:2', 'items:user:a', 'items:user:b', 'items:row:k1', 'items:row:k2', 'items'];

/** What PostgreSQL and the bridge would do: rows, transactions known to the checker, events with all their channels. */
class History {
  checker = new Checker();
  rows = new Map();
  events = [];
  kept = [];
  #keys = 0;
  #id = 0;

  constructor(random) {
    this.random = random;
    for (let n = 1; n <= TRANSACTIONS; n++) this.#transaction(`t${n}`);
    this.db = {
      query: async (sql) => (/ledger/.test(sql) ? this.kept.map((tx) => ({ tx }))
        : [...this.rows.values()].map((row) => ({ unit_id: row.unit_id, id: row.id, row }))),
    };
  }

  #transaction(name) {
    const tx = this.checker.transaction(name);
    const before = [new Map(this.rows), this.#keys];
    const made = [];
    for (let n = this.random.int(1, 4); n > 0; n--) this.#step(tx, made);
    const outcome = this.random.pick(['committed', 'committed', 'committed', 'rolled back', 'lost']);
    tx.end(outcome);
    if (outcome === 'rolled back' || (outcome === 'lost' && this.random.chance(0.5))) {
      [this.rows, this.#keys] = before; // the key comes again
      return;
    }
    this.kept.push(name);
    for (const event of made) this.events.push({ ...event, id: ++this.#id });
    this.#id += this.random.int(0, 3); // ids may have holes
  }

  #step(tx, made) {
    const step = tx.number();
    const was = this.random.chance(0.3) ? undefined : this.random.pick([...this.rows.values()]);
    const other = (list, one) => this.random.pick(list.filter((value) => value !== one));
    const kind = was ? this.random.pick(['updated', 'updated', 'moved', 'handed', 'deleted']) : 'created';
    const row = {
      id: was?.id ?? `k${++this.#keys}`, version: (was?.version ?? 0) + 1, tx: tx.name, step, body: `${this.random.int(0, 9)}`,
      unit_id: kind === 'moved' ? other([1, 2, null], was.unit_id) : was ? was.unit_id : this.random.pick([1, 2, null]),
      user_id: kind === 'handed' ? other(['a', 'b', null], was.user_id) : was ? was.user_id : this.random.pick(['a', 'b', null]),
    };
    const text = (unit) => (unit === null ? null : String(unit));
    const [unit, user] = [text(row.unit_id), row.user_id];
    tx.add({ step, feed: 'items', key: row.id, kind, unit, was: was && text(was.unit_id), user, wasUser: was?.user_id, version: row.version, body: row.body }, performance.now());
    const event = (suffix, action, data, scopes, ofUnit = unit) => {
      const channels = scopes.filter(([, value]) => value !== null).map(([scope, value]) => (scope ? `items:${scope}:${value}` : 'items'));
      made.push({ type: `items.${suffix}`, feed: 'items', action, unit: ofUnit, key: row.id, data, channels });
    };
    const all = [['unit', unit], ['user', user], ['row', row.id], ['']];
    if (kind === 'deleted') this.rows.delete(row.id);
    else this.rows.set(row.id, row);
    if (kind === 'moved') {
      if (was.unit_id !== null) event('deleted', 'moved_out', null, [['unit', text(was.unit_id)]], text(was.unit_id));
      if (unit !== null) event('created', 'moved_in', row, [['unit', unit]]);
      event('updated', 'updated', row, all.slice(1));
    } else if (kind === 'handed') {
      if (was.user_id !== null) event('deleted', 'moved_out', null, [['user', was.user_id]]);
      if (user !== null) event('created', 'moved_in', row, [['user', user]]);
      event('updated', 'updated', row, [all[0], ...all.slice(2)]);
    } else {
      event(kind, kind, kind === 'deleted' ? null : row, all);
    }
  }

  /** What a session of that channel is sent. */
  of(channel) {
    return this.events.filter(({ channels }) => channels.includes(channel)).map((event) => structuredClone({ ...event, channels: [channel] }));
  }

  async verdict(change = () => {}) {
    for (const channel of CHANNELS) {
      const frames = this.of(channel);
      change(channel, frames);
      const stream = this.checker.stream(`of ${channel}`, [channel]);
      stream.frame({ type: 'subscribed', channel, recovered: true });
      for (const frame of frames) stream.frame(frame);
    }
    await this.checker.settle(this.db, ['items']);
    return this.checker.defects().filter((line) => !line.startsWith(' ')).map((line) => line.split(':')[0]);
  }
}

/** Each damages the frames of one session at one place; false where it cannot. `kinds`: one of them must be found. */
const MUTATIONS = {
  dropped: { kinds: ['loss'], damage: (frames, at) => frames.splice(at, 1) },
  'dropped from there on': { kinds: ['loss'], damage: (frames, at) => frames.splice(at) },
  doubled: { kinds: ['repeat'], damage: (frames, at) => frames.splice(at, 0, frames[at]) },
  'doubled at the end': { kinds: ['repeat'], damage: (frames, at) => frames.push(frames[at]) },
  'doubled under another id': { kinds: ['phantom'], damage: (frames, at) => frames.push({ ...frames[at], id: 1e6 }) },
  swapped: { kinds: ['order'], damage: (frames, at) => at > 0 && ([frames[at - 1], frames[at]] = [frames[at], frames[at - 1]]) },
  leaked: {
    kinds: ['leak', 'phantom', 'differs'],
    damage: (frames, at, { history, channel }) => {
      const foreign = history.events.filter(({ channels, id }) => !channels.includes(channel) && !frames.some((frame) => frame.id === id));
      if (foreign.length === 0) return false;
      const event = history.random.pick(foreign);
      frames.splice(frames.findLastIndex(({ id }) => id < event.id) + 1, 0, { ...structuredClone(event), channels: [channel] });
      return true;
    },
  },
  'leaked under the name of its own channel': {
    kinds: ['leak'], damage: (frames, at, { channel }) => { frames[at].channels = [channel === 'items:unit:9' ? 'items' : 'items:unit:9']; return true; },
  },
  'of a rollback': { kinds: ['phantom'], damage: (frames, at) => frames[at].data && (frames[at].data.tx = 'x') },
};
for (const field of ['tx', 'step', 'version', 'body']) {
  MUTATIONS[`forged: ${field}`] = {
    kinds: ['phantom', 'differs'], damage: (frames, at) => frames[at].data && (frames[at].data[field] = field === 'tx' || field === 'body' ? 'forged' : frames[at].data[field] + 1),
  };
}
for (const field of ['type', 'action', 'key']) {
  MUTATIONS[`forged: ${field}`] = { kinds: ['phantom', 'differs', 'leak'], damage: (frames, at) => { frames[at][field] = 'items.forged'; return true; } };
}

describe('the checker, given whole histories', () => {
  const random = seeded('checker_mutations');

  it('finds nothing wrong with what is right', async () => {
    for (let n = 0; n < HISTORIES; n++) assert.deepEqual(await new History(random.child(`right ${n}`)).verdict(), []);
  });

  for (const [name, { kinds, damage }] of Object.entries(MUTATIONS)) {
    it(`finds one event ${name}, on every channel`, async () => {
      const found = new Set();
      for (let n = 0; n < HISTORIES; n++) {
        const history = new History(random.child(`${name} ${n}`));
        const channel = CHANNELS[n % CHANNELS.length];
        let damaged = false;
        const verdict = await history.verdict((of, frames) => {
          if (of !== channel) return;
          // From a random place on, the first where it can be done.
          const from = history.random.int(0, Math.max(0, frames.length - 1));
          for (let m = 0; m < frames.length && !damaged; m++) damaged = Boolean(damage(frames, (from + m) % frames.length, { history, channel }));
        });
        if (!damaged) continue;
        found.add(channel);
        assert.ok(kinds.some((kind) => verdict.includes(kind)), `history ${n}, ${channel}: found ${JSON.stringify(verdict)}, not one of ${kinds}`);
      }
      assert.deepEqual([...found].sort(), [...CHANNELS].sort(), 'each kind of channel was damaged');
    });
  }
});
