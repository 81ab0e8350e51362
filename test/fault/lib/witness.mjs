// What the log says, read by SQL as bridges read it: a session of the checker's that lacks nothing,
// for others to be compared with whose history was cut off.

const MARK = 512;
const PAGE = 1000;
const TO_UNIT = 1;
const ORDINARY = 64 | 128 | 256; // deleted, updated, created

export class Witness {
  /** Of units' channels; `since`: the id after which it reads. */
  constructor({ name, checker, channels, since }) {
    this.channels = new Set(channels);
    this.after = since;
    this.stream = checker.stream(name, channels);
    for (const channel of channels) this.stream.frame({ type: 'subscribed', channel, cursor: `witness-${since}`, recovered: true });
  }

  /** Takes rows of livefeed.read() or tick_wait(); true if there may be more. */
  take(rows) {
    const before = this.after;
    for (const row of rows) {
      const channel = `${row.feed}:unit:${row.unit}`;
      if (row.flags & MARK) this.after = row.id;
      else if (row.flags & TO_UNIT && row.flags & ORDINARY && this.channels.has(channel)) {
        this.stream.frame({ ...JSON.parse(row.frame.toString('utf8')), id: row.id, channels: [channel] });
      }
    }
    return this.after > before;
  }

  /** All that the log holds by now. */
  async read(db) {
    while (this.take(await db.query('SELECT id, flags, feed, unit, frame FROM livefeed.read($1, $2)', [this.after, PAGE])));
  }
}
