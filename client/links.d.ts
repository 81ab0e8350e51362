/**
 * @template T
 * @param {Promise<T>} promise
 * @param {number} ms
 * @returns {Promise<T>} fails where it takes longer
 */
export function inTime<T>(promise: Promise<T>, ms: number): Promise<T>;
/**
 * @typedef {object} Sink whom a link tells
 * @property {(frame: any) => void} frame
 * @property {(code: number, reason?: string) => void} closed the link ended by itself; told once, and not after close()
 *
 * @typedef {object} Link
 * @property {'websocket' | 'sse' | 'poll'} kind
 * @property {(message: object) => void} send
 * @property {() => void} close silently
 * @property {(code: number) => void} fail as if it had ended
 * @property {() => void} change the channels are others (over HTTP)
 */
/**
 * @param {any} Socket
 * @param {URL} url
 * @param {string} token
 * @param {Sink} sink
 * @returns {Link}
 */
export function openSocket(Socket: any, url: URL, token: string, sink: Sink): Link;
/**
 * @param {Sink & {
 *   request: (path: string, init?: RequestInit) => Promise<Response>,
 *   want: () => Promise<{ channel: string[], since?: string, snapshot?: boolean } | null>,
 *   covered: (cursor: string) => void,
 *   refused: (channels: string[], error: any) => boolean,
 *   up: () => void,
 *   heartbeat: () => number }} sink
 * @param {boolean} streams whether to try them
 * @returns {Link}
 */
export function openHttp(sink: Sink & {
    request: (path: string, init?: RequestInit) => Promise<Response>;
    want: () => Promise<{
        channel: string[];
        since?: string;
        snapshot?: boolean;
    } | null>;
    covered: (cursor: string) => void;
    refused: (channels: string[], error: any) => boolean;
    up: () => void;
    heartbeat: () => number;
}, streams: boolean): Link;
/**
 * whom a link tells
 */
export type Sink = {
    frame: (frame: any) => void;
    /**
     * the link ended by itself; told once, and not after close()
     */
    closed: (code: number, reason?: string) => void;
};
export type Link = {
    kind: "websocket" | "sse" | "poll";
    send: (message: object) => void;
    /**
     * silently
     */
    close: () => void;
    /**
     * as if it had ended
     */
    fail: (code: number) => void;
    /**
     * the channels are others (over HTTP)
     */
    change: () => void;
};
