// TanStack Query (any framework's): what is fetched stays right, because the feed says when it is not.

const GATHER_MS = 50; // a burst of events invalidates once

/** @typedef {import('./livefeed.js').Event} Event */
/**
 * @typedef {readonly unknown[]} QueryKey
 *
 * @typedef {object} Rule
 * @property {QueryKey | ((event: Event | null) => QueryKey)} queryKey which queries; a function is asked with each event, and with null where all may be old
 * @property {(data: any, event: Event) => any} [patch] gives the new data of those queries; without it they are invalidated
 *
 * @typedef {object} Client of TanStack Query
 * @property {(filters: { queryKey: any }) => unknown} invalidateQueries
 * @property {(filters: { queryKey: any }, updater: (data: any) => any) => unknown} setQueriesData
 * @property {(queryKey: any, data: any) => unknown} setQueryData
 */

/**
 * Follows channels: a change invalidates or patches the queries under their keys, a query's value becomes their data.
 * @param {import('./livefeed.js').Livefeed} live
 * @param {Client} queryClient
 * @param {Record<string, QueryKey | Rule>} rules by channel
 * @returns {() => void} ends it
 */
export function followQueries(live, queryClient, rules) {
  /** @type {Map<string, QueryKey>} */
  const stale = new Map();
  /** @type {any} */
  let timer;
  const invalidate = (/** @type {QueryKey} */ queryKey) => {
    stale.set(JSON.stringify(queryKey), queryKey);
    timer ??= setTimeout(() => {
      timer = undefined;
      const keys = [...stale.values()];
      stale.clear();
      for (const key of keys) queryClient.invalidateQueries({ queryKey: key });
    }, GATHER_MS);
  };
  const subscriptions = Object.entries(rules).map(([channel, given]) => {
    const { queryKey, patch } = /** @type {Rule} */ (Array.isArray(given) ? { queryKey: given } : given);
    const keyOf = (/** @type {Event | null} */ event) => (typeof queryKey === 'function' ? queryKey(event) : queryKey);
    const old = () => invalidate(keyOf(null));
    return live.subscribe(channel, {
      onStart: old, // fetched before we listened
      onResync: old,
      onValue: (data) => queryClient.setQueryData(keyOf(null), data),
      onEvent: (event) => {
        if (patch && !event.too_large) queryClient.setQueriesData({ queryKey: keyOf(event) }, (data) => (data === undefined ? data : patch(data, event)));
        else invalidate(keyOf(event));
      },
    });
  });
  return () => {
    clearTimeout(timer);
    for (const { unsubscribe } of subscriptions) unsubscribe();
  };
}

/**
 * A patch for queries whose data is an array of rows: puts in, replaces or takes out the event's row.
 * @param {(row: any) => unknown} [keyOf] the row's key, as events carry it
 * @returns {(rows: any[], event: Event) => any[]}
 */
export function patchRows(keyOf = (row) => row.id) {
  return (rows, event) => {
    const at = rows.findIndex((row) => String(keyOf(row)) === event.key);
    const before = at < 0 ? rows : rows.slice(0, at);
    const after = at < 0 ? [] : rows.slice(at + 1);
    if (event.type.endsWith('.deleted')) return at < 0 ? rows : [...before, ...after];
    return [...before, event.data, ...after];
  };
}
