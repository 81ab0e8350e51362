// The one checker: it knows what was committed and what every session was sent, and
// says where the two differ.
//
//   writers   record each transaction: its steps (one a row changed, in order), what a
//             savepoint took back, and how it ended: committed, rolled back, or lost,
//             when the answer to COMMIT never came. A lost one counts either way;
//             settle() looks it up in the table `ledger`, which every transaction
//             writes and nobody watches.
//   sessions  record each frame as it arrives.
//
// Rows say who wrote them (tx, step, version), so that each event leads to one step.
// An event without data (deleted, moved_out) is the first departure of that key from
// that unit, by version, that no other event has claimed.
//
// Defects: phantom (of nothing committed), leak (not for this channel), order (ids,
// versions of a row, steps of a transaction, transactions that followed each other),
// split (a transaction's events not together), repeat, loss, differs (one id, two
// contents), state (what the events add up to is not what SQL says), session (a frame
// that has no business here).
//
// Channels may be FEED:unit:U, FEED:user:U, FEED:row:KEY and FEED. A session need not have
// been there all the time: what it may lack is a gap (asks(), leave()), and is
// compared with what another session had, who lacked nothing of that channel.
//
// Not checked: row channels that end because a right was lost (reassign.test.mjs), snapshots.

import { isDeepStrictEqual } from 'node:util';
import { idOf } from '../../e2e/lib/cluster.mjs';

const KINDS = ['phantom', 'leak', 'order', 'split', 'repeat', 'loss', 'differs', 'state', 'session', 'write'];
const SHOWN_PER_KIND = 8;
// 1000 own wish, 1001 shutting down, 1005 and 1006 cut off, 1013 no database yet, 4408 too slow: come back.
const CLOSES = new Set([1000, 1001, 1005, 1006, 1013, 4408]);

const scopeOf = (channel) => {
  const [feed, scope = 'feed', ...value] = channel.split(':');
  return { feed, scope, value: value.join(':') };
};

const OUT = { suffix: 'deleted', action: 'moved_out', part: 0 };
const IN = { suffix: 'created', action: 'moved_in', part: 1 };
const STAYS = { suffix: 'updated', action: 'updated', part: 2 };

/** What a step sends to a channel of its feed: none, or one event. A row is `moved` to another unit, or `handed` to another user. */
function eventFor(step, { scope, value }) {
  const { kind } = step;
  const plain = kind === 'moved' || kind === 'handed' ? STAYS : { suffix: kind, action: kind, part: 0 };
  const changes = { unit: 'moved', user: 'handed' }[scope];
  if (changes === undefined) return scope === 'feed' || step.key === value ? plain : null;
  const [was, now] = scope === 'unit' ? [step.was, step.unit] : [step.wasUser, step.user];
  if (kind !== changes) return now === value ? plain : null;
  if (was === value) return OUT;
  return now === value ? IN : null;
}

/** May an event be on that channel, by what it says of itself? */
function belongs(frame, channel) {
  const { feed, scope, value } = scopeOf(channel);
  if (frame.feed !== feed) return false;
  switch (scope) {
    case 'unit': return frame.unit === value;
    case 'row': return frame.key === value;
    case 'user': return frame.data === null || frame.data.user_id === value;
    default: return scope === 'feed';
  }
}

class Transaction {
  outcome = 'open';
  steps = [];
  undone = [];
  #count = 0;

  constructor(name) {
    this.name = name;
  }

  /** The number of the next step; numbers are never used twice, whatever is rolled back. */
  number() {
    return ++this.#count;
  }

  /** One row changed: { step, feed, key, kind, unit, was, user, wasUser, version, body (where known) }; `sent` is when its statement was sent. */
  add(step, sent) {
    this.steps.push({ ...step, tx: this, sent });
  }

  mark() {
    return this.steps.length;
  }

  /** ROLLBACK TO SAVEPOINT. */
  back(mark) {
    this.undone.push(...this.steps.splice(mark));
  }

  end(outcome) {
    this.outcome = outcome;
    this.answered = performance.now();
  }
}

class Stream {
  channels = new Map(); // channel -> { events, last, seen, live, covered, asked, gaps }
  closes = new Map(); // close code -> count
  resumes = 0;
  #closes = new Set(CLOSES);

  constructor(checker, name, channels) {
    this.checker = checker;
    this.name = name;
    for (const channel of channels) this.channels.set(channel, { events: [], last: 0, seen: new Set(), live: false, covered: 0, gaps: [] });
  }

  /** Closes that this session's faults bring with them. */
  mayClose(...codes) {
    for (const code of codes) this.#closes.add(code);
  }

  /** What the next `subscribed` of the channel has to say, other than `recovered: true`: from there on nothing may lack. */
  asks(channel, { recovered, reason } = {}) {
    this.channels.get(channel).asked = { recovered, reason };
  }

  /** A pong: up to there all was sent. */
  covered(channel, id) {
    const of = this.channels.get(channel);
    of.covered = Math.max(of.covered, id);
  }

  /** The client was told to fetch: what came between is not sent. */
  resync(frame) {
    const { gaps, last, covered } = this.channels.get(frame.channel);
    gaps.push([Math.max(last, covered), idOf(frame.cursor)]);
  }

  /** It will not come back: what comes now is not for it. */
  leave() {
    for (const channel of this.channels.values()) channel.gaps.push([Math.max(channel.last, channel.covered), Infinity]);
  }

  /** Any frame but pong, status and welcome, in the order of arrival. */
  frame(frame) {
    if (typeof frame.id === 'number') return this.#event(frame);
    const channel = this.channels.get(frame.channel);
    switch (frame.type) {
      case 'subscribed':
        if (!channel) return this.#say('session', frame);
        this.#subscribed(channel, frame);
        this.resumes++;
        return undefined;
      case 'unsubscribed':
        if (!channel || frame.reason !== undefined) this.#say('session', frame);
        else channel.live = false;
        return undefined;
      default:
        return this.#say('session', frame);
    }
  }

  #subscribed(channel, frame) {
    const { recovered, reason } = channel.asked ?? { recovered: true };
    channel.asked = undefined;
    if (frame.recovered !== recovered || frame.reason !== reason) this.#say(recovered ? 'loss' : 'session', frame, `instead of ${recovered} ${reason}`);
    if (recovered !== true) channel.gaps.push([Math.max(channel.last, channel.covered), idOf(frame.cursor)]);
    channel.live = true;
  }

  /** The connection is gone. */
  closed(code) {
    this.closes.set(code, (this.closes.get(code) ?? 0) + 1);
    if (!this.#closes.has(code)) this.checker.defect('session', `${this.name}: closed with ${code}`);
    for (const channel of this.channels.values()) channel.live = false;
  }

  #event(frame) {
    if (!Array.isArray(frame.channels) || frame.channels.length === 0) return this.#say('session', frame);
    const shared = this.checker.same(frame, this);
    for (const name of frame.channels) {
      const channel = this.channels.get(name);
      if (!channel || !belongs(frame, name)) {
        this.#say('leak', frame);
        continue;
      }
      if (!channel.live) this.#say('session', frame, 'no such subscription at that moment');
      if (channel.seen.has(frame.id)) this.#say('repeat', frame);
      else if (frame.id <= channel.last) this.#say('order', frame, `after id ${channel.last}`);
      else channel.events.push(shared);
      channel.seen.add(frame.id);
      channel.last = Math.max(channel.last, frame.id);
    }
    return undefined;
  }

  #say(kind, frame, more = '') {
    this.checker.defect(kind, `${this.name}: ${JSON.stringify(frame)} ${more}`.trim());
  }
}

export class Checker {
  #transactions = new Map();
  #streams = [];
  #contents = new Map(); // id -> { text, content } of the event, without channels
  #defects = new Map(KINDS.map((kind) => [kind, []]));
  #state = new Map(); // feed -> [{ unit_id, id, row }]
  #steps = new Map(); // channel -> what was committed for it
  #fits = new Map(); // id -> { step, part }

  transaction(name) {
    const transaction = new Transaction(name);
    this.#transactions.set(name, transaction);
    return transaction;
  }

  stream(name, channels) {
    const stream = new Stream(this, name, channels);
    this.#streams.push(stream);
    return stream;
  }

  defect(kind, what) {
    this.#defects.get(kind).push(what);
  }

  /** One id is one event, at every bridge, live and replayed; gives the copy that all share. */
  same(frame, stream) {
    const { channels, ...content } = frame;
    const text = JSON.stringify(content);
    const known = this.#contents.get(frame.id);
    if (known?.text === text) return known.content;
    if (known) this.defect('differs', `${stream.name}: ${text} was ${known.text}`);
    else this.#contents.set(frame.id, { text, content });
    return content;
  }

  /** What became of the transactions whose answer was lost, and the rows as they are now. */
  async settle(db, feeds = ['items', 'marks']) {
    const kept = new Set((await db.query('SELECT tx FROM ledger')).map(({ tx }) => tx));
    for (const transaction of this.#transactions.values()) {
      if (transaction.outcome === 'committed' && !kept.has(transaction.name)) {
        this.defect('state', `${transaction.name} was answered COMMIT and is not in the ledger`);
      }
      if (transaction.outcome === 'rolled back' && kept.has(transaction.name)) {
        this.defect('state', `${transaction.name} was rolled back and is in the ledger`);
      }
      transaction.kept = kept.has(transaction.name);
    }
    this.#steps.clear();
    for (const feed of feeds) this.#state.set(feed, await db.query(`SELECT unit_id, id, to_jsonb(t) AS row FROM ${feed} t`));
  }

  /** The rows of a channel as they are now. */
  #rows(channel) {
    const { feed, scope, value } = scopeOf(channel);
    const has = {
      unit: (row) => String(row.unit_id) === value, user: ({ row }) => row.user_id === value, row: ({ id }) => id === value, feed: () => true,
    }[scope];
    return new Map((this.#state.get(feed) ?? []).filter(has).map(({ id, row }) => [id, row]));
  }

  #committed(channel) {
    const where = scopeOf(channel);
    const bySteps = new Map();
    const departures = new Map();
    for (const transaction of this.#transactions.values()) {
      if (!transaction.kept) continue;
      for (const step of transaction.steps) {
        if (step.feed !== where.feed) continue;
        const event = eventFor(step, where);
        if (!event) continue;
        const expected = { step, ...event };
        if (event.suffix === 'deleted') {
          if (!departures.has(step.key)) departures.set(step.key, []);
          departures.get(step.key).push(expected);
        } else {
          bySteps.set(`${transaction.name}/${step.step}`, expected);
        }
      }
    }
    for (const list of departures.values()) list.sort((a, b) => a.step.version - b.step.version);
    return { bySteps, departures, rows: this.#rows(channel) };
  }

  /** What the channel must have had: copies, to be crossed off. */
  #expected(channel) {
    if (!this.#steps.has(channel)) this.#steps.set(channel, this.#committed(channel));
    const { bySteps, departures, rows } = this.#steps.get(channel);
    return { bySteps: new Map(bySteps), departures: new Map([...departures].map(([key, list]) => [key, [...list]])), state: rows };
  }

  /** The events of a session's channel; its gaps are filled with what somebody had who has none. */
  #whole(stream, channel) {
    const { events, gaps } = stream.channels.get(channel);
    if (gaps.length === 0) return events;
    const other = this.#streams.find(({ channels }) => channels.get(channel)?.gaps.length === 0);
    if (!other) {
      this.defect('session', `${stream.name}: nobody had all of ${channel} to compare with`);
      return events;
    }
    const own = new Set(events.map(({ id }) => id));
    const lacking = other.channels.get(channel).events.filter(({ id }) => !own.has(id) && gaps.some(([from, to]) => id > from && id <= to));
    return [...events, ...lacking].sort((a, b) => a.id - b.id);
  }

  /** Why an event fits nothing that was committed. */
  #phantom(frame) {
    const transaction = this.#transactions.get(frame.data?.tx);
    if (!transaction) return 'unknown transaction';
    if (!transaction.kept) return `its transaction was ${transaction.outcome}`;
    if (transaction.undone.some((step) => step.step === frame.data.step)) return 'its savepoint was rolled back';
    return 'its transaction made no such event for this channel';
  }

  /** Matches one channel of one session with what was committed. */
  #match(stream, channel) {
    const events = this.#whole(stream, channel);
    const { bySteps, departures, state } = this.#expected(channel);
    const versions = new Map();
    const rows = new Map();
    for (const frame of events) {
      const list = frame.data === null ? departures : undefined;
      const name = `${frame.data?.tx}/${frame.data?.step}`;
      const found = list ? list.get(frame.key)?.shift() : bySteps.get(name);
      if (!found) {
        this.defect('phantom', `${stream.name}: ${JSON.stringify(frame)}: ${list ? 'nothing left to leave' : this.#phantom(frame)}`);
        continue;
      }
      bySteps.delete(name);
      const { step } = found;
      const right = frame.type.endsWith(`.${found.suffix}`) && frame.action === found.action && frame.key === step.key
        && (frame.data === null || (frame.data.version === step.version && (step.body === undefined || frame.data.body === step.body)));
      if (!right) this.defect('phantom', `${stream.name}: ${JSON.stringify(frame)} for ${found.action} of ${step.key}, version ${step.version}`);
      if (step.version < (versions.get(step.key) ?? 0)) {
        this.defect('order', `${stream.name}: ${JSON.stringify(frame)}: version ${step.version} after ${versions.get(step.key)}`);
      }
      versions.set(step.key, step.version);
      if (frame.data === null) rows.delete(frame.key);
      else rows.set(frame.key, frame.data);
      this.#fits.set(frame.id, found);
    }
    for (const left of [...bySteps.values(), ...[...departures.values()].flat()]) {
      this.defect('loss', `${stream.name}: ${channel}: ${left.action} of ${left.step.key} version ${left.step.version} by ${left.step.tx.name}/${left.step.step}`);
    }
    for (const key of new Set([...rows.keys(), ...state.keys()])) {
      if (!isDeepStrictEqual(rows.get(key), state.get(key))) {
        this.defect('state', `${stream.name}: ${channel}: ${key} is ${JSON.stringify(rows.get(key))}, in SQL ${JSON.stringify(state.get(key))}`);
      }
    }
  }

  /** All events that anyone saw, in the one order: transactions together, steps in order, and after what was answered before. */
  #order() {
    const closed = new Set();
    const order = [];
    let former;
    for (const id of [...this.#fits.keys()].sort((a, b) => a - b)) {
      const { step, part } = this.#fits.get(id);
      if (former?.step.tx !== step.tx) {
        if (closed.has(step.tx)) this.defect('split', `${step.tx.name}: id ${id} stands apart from its transaction`);
        else order.push(step.tx);
        closed.add(step.tx);
      } else if (step.step < former.step.step || (step.step === former.step.step && part <= former.part)) {
        this.defect('order', `${step.tx.name}: step ${step.step} with id ${id} after step ${former.step.step}`);
      }
      former = { step, part };
    }
    let earliest = Infinity; // of the answers to COMMIT of all that stand later
    for (const transaction of order.reverse()) {
      const last = Math.max(...transaction.steps.map((step) => step.sent));
      if (earliest < last) {
        this.defect('order', `${transaction.name} made an event after the commit of a transaction that stands later in the order`);
      }
      if (transaction.outcome === 'committed') earliest = Math.min(earliest, transaction.answered);
    }
  }

  /** All defects, some of each kind; empty when everything is as promised. */
  defects() {
    this.#fits.clear();
    for (const stream of this.#streams) {
      for (const channel of stream.channels.keys()) this.#match(stream, channel);
    }
    this.#order();
    return [...this.#defects].filter(([, list]) => list.length > 0)
      .flatMap(([kind, list]) => [`${kind}: ${list.length}`, ...list.slice(0, SHOWN_PER_KIND).map((what) => `  ${kind}: ${what}`)]);
  }

  /** What happened, in a line. */
  figures() {
    const outcomes = { committed: 0, 'rolled back': 0, lost: 0, open: 0 };
    for (const { outcome } of this.#transactions.values()) outcomes[outcome]++;
    const takenBack = [...this.#transactions.values()].filter(({ outcome, kept }) => outcome === 'lost' && kept === false).length;
    const steps = [...this.#transactions.values()].reduce((sum, { steps: list, kept }) => sum + (kept ? list.length : 0), 0);
    const frames = this.#streams.reduce((sum, { channels }) => sum + [...channels.values()].reduce((n, { events }) => n + events.length, 0), 0);
    const resumes = this.#streams.reduce((sum, stream) => sum + stream.resumes, 0);
    const closes = {};
    for (const stream of this.#streams) for (const [code, count] of stream.closes) closes[code] = (closes[code] ?? 0) + count;
    return { transactions: { ...outcomes, takenBack }, rowsChanged: steps, sessions: this.#streams.length, eventsReceived: frames, subscriptions: resumes, closes };
  }
}
