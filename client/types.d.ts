// What livefeed-client tells and is told. Names and meaning as in docs/protocol.md and docs/client.md.

/** `polling`: over HTTP; `stale`: the bridge has lost its database, what is shown may be old. */
export type Status = 'live' | 'polling' | 'offline' | 'stale';

type Given = string | null | undefined;
/** A token, or what gives a fresh one before each connection and before it expires; nothing: signed out. */
export type Token = string | (() => Given | Promise<Given>);

export interface Event<Row = any> {
  /** ENTITY.created, .updated or .deleted: what to do with the row that is kept under `key`. */
  type: string;
  feed: string;
  /** Why: approved, moved, ... */
  action: string;
  unit: string | null;
  key: string;
  changed?: string[];
  updated_at: string;
  updated_by: string | null;
  /** Null on .deleted, and with `too_large`. */
  data: Row | null;
  too_large?: boolean;
  id: number;
  channels: string[];
}

export interface Snapshot<Row = any> {
  type: 'snapshot';
  channel: string;
  cursor: string;
  key_columns: string[] | null;
  /** Of each row, where rows do not hold them. */
  keys?: string[];
  data: Row[];
  truncated: boolean;
}

export interface Resync {
  channel: string;
  /** pruned, epoch, folded, truncated_table, broken_watch, transient_lost or requested */
  reason: string;
}

export interface Trouble {
  code: string;
  message: string;
  channel: string;
  /** Whether the subscription is over; else it is tried again. */
  ended: boolean;
}

export interface Handlers<Row = any, Value = any> {
  /** Whether to begin with the rows there are, and to fetch them again where something was missed. */
  snapshot?: boolean;
  /** Live from here on: what was fetched by other means before may be old. */
  onStart?: () => void;
  onEvent?: (event: Event<Row>) => void;
  onSnapshot?: (snapshot: Snapshot<Row>) => void;
  onValue?: (data: Value) => void;
  /** Something was missed; with `snapshot` the rows follow. */
  onResync?: (resync: Resync) => void;
  onError?: (trouble: Trouble) => void;
}

export interface Subscription {
  readonly channel: string;
  unsubscribe(): void;
  /** Asks for the snapshot again. */
  refetch(): void;
}

export interface Options {
  token: Token;
  /** Where there is none by itself (Node 20: that of `ws`); null: HTTP alone. */
  WebSocket?: any;
  fetch?: typeof fetch;
}

export interface CallOptions {
  /** One's own, so that a repeat by another page is found too; else one is made. */
  idempotencyKey?: string;
  /** Milliseconds to the answer, a connection included. */
  timeout?: number;
}

/** Why it will not come back: signed out (4401, 4403), or close() (1000). */
export interface Closed {
  code: number;
  reason: string;
}

// What the client keeps of them; not for applications.

export interface Subscriber extends Handlers {
  /** The last event's id. */
  at: number;
  /** The last snapshot's. */
  rows: number;
}

export interface Channel {
  name: string;
  subscribers: Set<Subscriber>;
  /** Where to go on. */
  cursor: string | null;
  /** The rows are to be fetched. */
  fresh: boolean;
  /** Live on the present link. */
  on: boolean;
  /** Has been live before. */
  started: boolean;
  /** Of the subscribe that waits for its answer. */
  ref: number;
  /** The snapshot that was asked for with it. */
  awaiting: boolean;
  /** While the rows are fetched apart. */
  held: Event[] | null;
  /** The last, of a query. */
  value: { data: any } | null;
  /** Until it is asked for again. */
  timer: any;
  failures: number;
  /** When a snapshot may be fetched again. */
  next: number;
}
