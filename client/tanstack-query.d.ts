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
export function followQueries(live: import("./livefeed.js").Livefeed, queryClient: Client, rules: Record<string, QueryKey | Rule>): () => void;
/**
 * A patch for queries whose data is an array of rows: puts in, replaces or takes out the event's row.
 * @param {(row: any) => unknown} [keyOf] the row's key, as events carry it
 * @returns {(rows: any[], event: Event) => any[]}
 */
export function patchRows(keyOf?: (row: any) => unknown): (rows: any[], event: Event) => any[];
export type Event = import("./livefeed.js").Event;
export type QueryKey = readonly unknown[];
export type Rule = {
    /**
     * which queries; a function is asked with each event, and with null where all may be old
     */
    queryKey: QueryKey | ((event: Event | null) => QueryKey);
    /**
     * gives the new data of those queries; without it they are invalidated
     */
    patch?: ((data: any, event: Event) => any) | undefined;
};
/**
 * of TanStack Query
 */
export type Client = {
    invalidateQueries: (filters: {
        queryKey: any;
    }) => unknown;
    setQueriesData: (filters: {
        queryKey: any;
    }, updater: (data: any) => any) => unknown;
    setQueryData: (queryKey: any, data: any) => unknown;
};
