/**
 * The key that events of this row carry.
 * @param {Record<string, unknown>} row
 * @param {string[]} columns the primary key's, in its order
 * @returns {string}
 */
export function keyOf(row: Record<string, unknown>, columns: string[]): string;
/** What the application's own functions throw is not ours to trip over. */
export function tell(handler: any, ...args: any[]): void;
/** @template [Row=any] */
export class Collection<Row = any> {
    /**
     * @param {import('./livefeed.js').Livefeed} client
     * @param {string} channel
     * @param {import('./livefeed.js').Handlers} [also] told too, after the rows
     */
    constructor(client: import("./livefeed.js").Livefeed, channel: string, also?: import("./livefeed.js").Handlers);
    /** @type {Map<string, Row>} by key */
    rows: Map<string, Row>;
    /** Whether the rows have come; while false there are none. */
    loaded: boolean;
    /** Whether the channel holds more rows than it sent. */
    truncated: boolean;
    /** @type {import('./livefeed.js').Trouble | null} why there is nothing (more) to come */
    error: import("./livefeed.js").Trouble | null;
    /** Grows with each change. */
    version: number;
    channel: string;
    /**
     * @param {(event: import('./livefeed.js').Event | null) => void} listener called after each change, with the event; null: all rows are new
     * @returns {() => void} ends it
     */
    onChange(listener: (event: import("./livefeed.js").Event | null) => void): () => void;
    /** Ends the subscription; the rows stay as they are. */
    close(): void;
    #private;
}
