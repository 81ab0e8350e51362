/**
 * Gives the client to the components inside.
 * @param {{ client: Livefeed, children?: import('react').ReactNode }} props
 */
export function LivefeedProvider({ client, children }: {
    client: Livefeed;
    children?: import("react").ReactNode;
}): import("react").FunctionComponentElement<import("react").ProviderProps<import("./livefeed.js").Livefeed | null>>;
/** @returns {Livefeed} */
export function useLivefeed(): Livefeed;
/**
 * Hears a channel; gives nothing by itself.
 * @template [Row=any]
 * @template [Value=any]
 * @param {string | null | undefined} channel
 * @param {import('./livefeed.js').Handlers<Row, Value>} handlers may be other functions each time
 */
export function useChannel<Row = any, Value = any>(channel: string | null | undefined, handlers: import("./livefeed.js").Handlers<Row, Value>): void;
/**
 * A query's value; undefined until it is there.
 * @template [Value=any]
 * @param {string | null | undefined} channel
 * @returns {Value | undefined}
 */
export function useValue<Value = any>(channel: string | null | undefined): Value | undefined;
/**
 * A channel's rows, kept up to date.
 * @template [Row=any]
 * @param {string | null | undefined} channel
 * @returns {Rows<Row>}
 */
export function useCollection<Row = any>(channel: string | null | undefined): Rows<Row>;
/** @returns {import('./livefeed.js').Status} */
export function useStatus(): import("./livefeed.js").Status;
/**
 * A command: `call(args)` runs it and gives what it returned, or throws; `pending` and `error` are the last one's.
 * @template [Args=any]
 * @template [Result=any]
 * @param {string} name
 * @returns {{ call: (args?: Args, options?: import('./livefeed.js').CallOptions) => Promise<Result>, pending: boolean, error: import('./livefeed.js').LivefeedError | null }}
 */
export function useCall<Args = any, Result = any>(name: string): {
    call: (args?: Args, options?: import("./livefeed.js").CallOptions) => Promise<Result>;
    pending: boolean;
    error: import("./livefeed.js").LivefeedError | null;
};
export type Livefeed = import("./livefeed.js").Livefeed;
export type Rows<Row = any> = {
    rows: Row[];
    byKey: Map<string, Row>;
    loaded: boolean;
    truncated: boolean;
    error: import("./livefeed.js").Trouble | null;
};
