// Hooks for React: values, rows and status that a component shows as they are now.

import { createContext, createElement, useCallback, useContext, useEffect, useRef, useState, useSyncExternalStore } from 'react';

/** @typedef {import('./livefeed.js').Livefeed} Livefeed */

const Context = createContext(/** @type {Livefeed | null} */ (null));

/**
 * Gives the client to the components inside.
 * @param {{ client: Livefeed, children?: import('react').ReactNode }} props
 */
export function LivefeedProvider({ client, children }) {
  return createElement(Context.Provider, { value: client }, children);
}

/** @returns {Livefeed} */
export function useLivefeed() {
  const client = useContext(Context);
  if (!client) throw new Error('no <LivefeedProvider client={...}> around this component');
  return client;
}

// What components of one channel share: by client, then by kind and channel.
/** @type {WeakMap<Livefeed, Map<string, any>>} */
const shared = new WeakMap();

/**
 * @template State
 * @param {string | null | undefined} channel none: not yet
 * @param {string} kind
 * @param {(client: Livefeed, channel: string, set: (state: State) => void) => () => void} open
 * @param {State} empty
 * @returns {State}
 */
function useShared(channel, kind, open, empty) {
  const client = useLivefeed();
  const name = channel ? `${kind} ${channel}` : null;
  const subscribe = useCallback((/** @type {() => void} */ listener) => {
    if (!name || !channel) return () => {};
    let stores = shared.get(client);
    if (!stores) shared.set(client, stores = new Map());
    let store = stores.get(name);
    if (!store) {
      const made = { state: empty, listeners: new Set(), close: () => {} };
      made.close = open(client, channel, (state) => {
        made.state = state;
        for (const each of made.listeners) each();
      });
      stores.set(name, store = made);
    }
    store.listeners.add(listener);
    const mine = store;
    const all = stores;
    return () => {
      mine.listeners.delete(listener);
      setTimeout(() => { // another component may take it over in the same go
        if (mine.listeners.size || all.get(name) !== mine) return;
        all.delete(name);
        mine.close();
      });
    };
  }, [client, name]);
  const look = () => {
    const store = name && shared.get(client)?.get(name);
    return store ? store.state : empty;
  };
  return useSyncExternalStore(subscribe, look, () => empty);
}

/**
 * Hears a channel; gives nothing by itself.
 * @template [Row=any]
 * @template [Value=any]
 * @param {string | null | undefined} channel
 * @param {import('./livefeed.js').Handlers<Row, Value>} handlers may be other functions each time
 */
export function useChannel(channel, handlers) {
  const client = useLivefeed();
  const now = useRef(handlers);
  useEffect(() => { now.current = handlers; });
  const snapshot = Boolean(handlers.snapshot);
  useEffect(() => {
    if (!channel) return undefined;
    const { unsubscribe } = client.subscribe(channel, {
      snapshot,
      onStart: () => now.current.onStart?.(),
      onEvent: (event) => now.current.onEvent?.(event),
      onSnapshot: (frame) => now.current.onSnapshot?.(frame),
      onValue: (data) => now.current.onValue?.(data),
      onResync: (resync) => now.current.onResync?.(resync),
      onError: (trouble) => now.current.onError?.(trouble),
    });
    return unsubscribe;
  }, [client, channel, snapshot]);
}

/**
 * A query's value; undefined until it is there.
 * @template [Value=any]
 * @param {string | null | undefined} channel
 * @returns {Value | undefined}
 */
export function useValue(channel) {
  return useShared(channel, 'value', openValue, /** @type {any} */ (undefined));
}

/** @param {Livefeed} client @param {string} channel @param {(state: any) => void} set */
function openValue(client, channel, set) {
  return client.subscribe(channel, {
    onValue: set,
    onError: ({ ended }) => { if (ended) set(undefined); },
  }).unsubscribe;
}

/**
 * @template [Row=any]
 * @typedef {object} Rows
 * @property {Row[]} rows
 * @property {Map<string, Row>} byKey
 * @property {boolean} loaded
 * @property {boolean} truncated
 * @property {import('./livefeed.js').Trouble | null} error
 */

/** @type {Rows} */
const NONE = { rows: [], byKey: new Map(), loaded: false, truncated: false, error: null };

/**
 * A channel's rows, kept up to date.
 * @template [Row=any]
 * @param {string | null | undefined} channel
 * @returns {Rows<Row>}
 */
export function useCollection(channel) {
  return useShared(channel, 'rows', openRows, NONE);
}

/** @param {Livefeed} client @param {string} channel @param {(state: Rows) => void} set */
function openRows(client, channel, set) {
  const collection = client.collection(channel);
  collection.onChange(() => {
    const { rows, loaded, truncated, error } = collection;
    set({ rows: [...rows.values()], byKey: new Map(rows), loaded, truncated, error });
  });
  return () => collection.close();
}

/** @returns {import('./livefeed.js').Status} */
export function useStatus() {
  const client = useLivefeed();
  const subscribe = useCallback((/** @type {() => void} */ listener) => client.onStatus(listener), [client]);
  return useSyncExternalStore(subscribe, () => client.status, () => /** @type {const} */ ('offline'));
}

/**
 * A command: `call(args)` runs it and gives what it returned, or throws; `pending` and `error` are the last one's.
 * @template [Args=any]
 * @template [Result=any]
 * @param {string} name
 * @returns {{ call: (args?: Args, options?: import('./livefeed.js').CallOptions) => Promise<Result>, pending: boolean, error: import('./livefeed.js').LivefeedError | null }}
 */
export function useCall(name) {
  const client = useLivefeed();
  const [state, setState] = useState({ pending: false, error: /** @type {any} */ (null) });
  const last = useRef(0);
  const call = useCallback(async (/** @type {any} */ args, /** @type {any} */ options) => {
    const mine = ++last.current;
    const done = (/** @type {any} */ error) => { if (mine === last.current) setState({ pending: false, error }); };
    setState({ pending: true, error: null });
    try {
      const result = await client.call(name, args, options);
      done(null);
      return result;
    } catch (error) {
      done(error);
      throw error;
    }
  }, [client, name]);
  return { call, ...state };
}
