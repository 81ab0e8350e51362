/** What `call` rejects with; `code` as in docs/protocol.md. */
export class LivefeedError extends Error {
    /** @param {string} code @param {string} message @param {object} [more] */
    constructor(code: string, message: string, more?: object);
    code: string;
}
/** @typedef {{ name: string, args: object, key: string, resolve: (data: any) => void, reject: (error: LivefeedError) => void, timer: any }} Call */
export class Calls {
    /** @param {(ref: number, call: Call) => void} send does nothing where there is no connection */
    constructor(send: (ref: number, call: Call) => void);
    /**
     * @param {number} ref
     * @param {string} name
     * @param {object} args
     * @param {import('./types.js').CallOptions} options
     * @returns {Promise<any>}
     */
    add(ref: number, name: string, args: object, { idempotencyKey, timeout }: import("./types.js").CallOptions): Promise<any>;
    /** Once more, over another connection: the key sees to it that nothing is done twice. */
    again(ref?: number): void;
    /** @param {any} frame a result, else an error; false: to no call of ours */
    answer(frame: any): boolean;
    /** @param {string} message */
    end(message: string): void;
    #private;
}
export type Call = {
    name: string;
    args: object;
    key: string;
    resolve: (data: any) => void;
    reject: (error: LivefeedError) => void;
    timer: any;
};
