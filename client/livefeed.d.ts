export { LivefeedError } from "./calls.js";
export class Livefeed {
    /**
     * @param {string | URL} url where the bridge's endpoints begin; in a page it may be relative
     * @param {Options} options
     */
    constructor(url: string | URL, { token, WebSocket, fetch }: Options);
    /** @type {Status} */
    status: Status;
    /** @type {Closed | null} why it will not come back: signed out (4401, 4403), or close() */
    closed: Closed | null;
    /** What carries frames: websocket, sse, poll; null: nothing. */
    get transport(): "websocket" | "sse" | "poll" | null;
    /**
     * @param {(status: Status) => void} listener called with each new status
     * @returns {() => void} ends it
     */
    onStatus(listener: (status: Status) => void): () => void;
    /**
     * @param {string} name a channel
     * @param {Handlers} [handlers]
     * @returns {Subscription}
     */
    subscribe(name: string, handlers?: Handlers): Subscription;
    /**
     * Rows by key, kept up to date.
     * @template [Row=any]
     * @param {string} channel
     * @param {Handlers} [handlers] told too
     * @returns {Collection<Row>}
     */
    collection<Row = any>(channel: string, handlers?: Handlers): Collection<Row>;
    /**
     * Runs a command; gives what it returned. Waits for a connection, and asks again after a break: the
     * idempotency key sees to it that nothing is done twice.
     * @param {string} name
     * @param {object} [args]
     * @param {CallOptions} [options]
     * @returns {Promise<any>}
     */
    call(name: string, args?: object, options?: CallOptions): Promise<any>;
    /** Ends it all; there is no way back. */
    close(): void;
    #private;
}
export type Event<Row = any> = import("./types.js").Event<Row>;
export type Snapshot<Row = any> = import("./types.js").Snapshot<Row>;
export type Handlers<Row = any, Value = any> = import("./types.js").Handlers<Row, Value>;
export type Status = import("./types.js").Status;
export type Token = import("./types.js").Token;
export type Resync = import("./types.js").Resync;
export type Trouble = import("./types.js").Trouble;
export type Subscription = import("./types.js").Subscription;
export type Options = import("./types.js").Options;
export type CallOptions = import("./types.js").CallOptions;
export type Closed = import("./types.js").Closed;
export type Subscriber = import("./types.js").Subscriber;
export type Channel = import("./types.js").Channel;
import { Collection } from './collection.js';
export { Collection, keyOf } from "./collection.js";
