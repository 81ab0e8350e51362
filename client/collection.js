// The rows of a channel by key: a snapshot, and each event after it.

/**
 * The key that events of this row carry.
 * @param {Record<string, unknown>} row
 * @param {string[]} columns the primary key's, in its order
 * @returns {string}
 */
export function keyOf(row, columns) {
  const text = columns.map((name) => (row[name] ?? '').toString());
  return columns.length === 1 ? text[0] : text.map(encodeURIComponent).join();
}

/** What the application's own functions throw is not ours to trip over. */
export function tell(/** @type {any} */ handler, /** @type {any[]} */ ...args) {
  try {
    handler?.(...args);
  } catch (error) {
    console.error(error);
  }
}

/** @template [Row=any] */
export class Collection {
  /** @type {Map<string, Row>} by key */
  rows = new Map();
  /** Whether the rows have come; while false there are none. */
  loaded = false;
  /** Whether the channel holds more rows than it sent. */
  truncated = false;
  /** @type {import('./livefeed.js').Trouble | null} why there is nothing (more) to come */
  error = null;
  /** Grows with each change. */
  version = 0;
  /** @type {Set<(event: import('./livefeed.js').Event | null) => void>} */
  #listeners = new Set();
  #subscription;

  /**
   * @param {import('./livefeed.js').Livefeed} client
   * @param {string} channel
   * @param {import('./livefeed.js').Handlers} [also] told too, after the rows
   */
  constructor(client, channel, also = {}) {
    this.channel = channel;
    const feed = channel.split(':')[0];
    this.#subscription = client.subscribe(channel, {
      ...also,
      snapshot: true,
      onSnapshot: (frame) => {
        this.rows = new Map(frame.data.map((row, at) => [frame.keys ? frame.keys[at] : keyOf(row, frame.key_columns ?? []), row]));
        this.loaded = true;
        this.truncated = frame.truncated;
        this.error = null;
        this.#changed(null);
        also.onSnapshot?.(frame);
      },
      onEvent: (event) => {
        if (event.feed === feed && this.loaded) { // others are of children: comments on a card's own channel
          if (event.type.endsWith('.deleted')) this.rows.delete(event.key);
          else if (event.too_large) this.#subscription.refetch();
          else this.rows.set(event.key, event.data);
          this.#changed(event);
        }
        also.onEvent?.(event);
      },
      onError: (trouble) => {
        if (trouble.ended) {
          this.error = trouble;
          this.rows = new Map();
          this.loaded = false;
          this.#changed(null);
        }
        also.onError?.(trouble);
      },
    });
  }

  /**
   * @param {(event: import('./livefeed.js').Event | null) => void} listener called after each change, with the event; null: all rows are new
   * @returns {() => void} ends it
   */
  onChange(listener) {
    this.#listeners.add(listener);
    return () => { this.#listeners.delete(listener); };
  }

  /** Ends the subscription; the rows stay as they are. */
  close() {
    this.#subscription.unsubscribe();
    this.#listeners.clear();
  }

  /** @param {import('./livefeed.js').Event | null} event */
  #changed(event) {
    this.version++;
    for (const listener of this.#listeners) tell(listener, event);
  }
}
