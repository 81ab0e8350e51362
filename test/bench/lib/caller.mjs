// Pages that call commands and read frames, over WebSockets of node's: for thousands of answers a second, not for millions of events.
import WebSocket from 'ws';
import { nowNs } from './process.mjs';

/** Tokens of users u0, u1, ..., each a member of unit 1. */
export async function userTokens(cluster, db, count) {
    const text = await cluster.sql(db, `SELECT livefeed.issue_token('u' || i, '[1]', ttl => '2 h') FROM generate_series(0, ${count - 1}) i`);
    return text.split('\n');
}

/** A connection that is signed in. `onFrame` gets each frame, as text. */
export async function openPage(server, token, onFrame = () => {}) {
    const socket = new WebSocket(`ws://127.0.0.1:${server.port}/ws?token=${token}`, 'livefeed.v1', { perMessageDeflate: false });
    const page = { socket, onFrame, closed: null };
    socket.on('close', (code) => (page.closed = code));
    socket.on('error', (error) => (page.error = error));
    await new Promise((done, fail) => {
        socket.once('message', (text) => (`${text}`.startsWith('{"type":"welcome"') ? done() : fail(new Error(`no welcome: ${text}`))));
        socket.once('close', (code) => fail(page.error ?? new Error(`closed with ${code}`)));
    });
    socket.on('message', (text) => page.onFrame(`${text}`));
    page.leave = () => new Promise((done) => {
        if (page.closed !== null) done();
        socket.once('close', done);
        socket.close();
    });
    return page;
}

/** As many pages as there are tokens, fifty at a time. */
export async function openPages(server, tokens) {
    const pages = [];
    for (let i = 0; i < tokens.length; i += 50) pages.push(...(await Promise.all(tokens.slice(i, i + 50).map((token) => openPage(server, token)))));
    return pages;
}

/** Calls of one command by many pages, each answered once, or it is an error. */
export class Caller {
    #waiting = new Map(); // by ref: when it was sent, and what then
    #ref = 0;
    times = []; // ms

    constructor(pages, name, args) {
        Object.assign(this, { pages, name, args });
        for (const page of pages) page.onFrame = (text) => this.#take(text);
    }

    #take(text) {
        const ref = Number(/"ref":(\d+)/.exec(text)?.[1]);
        const call = this.#waiting.get(ref);
        if (!call || !text.startsWith('{"type":"result"')) {
            this.trouble ??= new Error(`not the result of a call that waits: ${text.slice(0, 200)}`);
            return;
        }
        this.#waiting.delete(ref);
        this.times.push((nowNs() - call.at) / 1e6);
        call.then?.();
    }

    #call(page, then) {
        const ref = ++this.#ref;
        this.#waiting.set(ref, { at: nowNs(), then });
        page.socket.send(`{"type":"call","ref":${ref},"name":"${this.name}","args":${JSON.stringify(this.args(ref))}}`);
    }

    async #end(what) {
        const end = Date.now() + 30_000;
        while (this.#waiting.size > 0 && !this.trouble && Date.now() < end) await new Promise((done) => setTimeout(done, 20));
        const lost = this.pages.find((page) => page.closed !== null);
        if (this.trouble) throw this.trouble;
        if (this.#waiting.size > 0) throw new Error(`${what}: ${this.#waiting.size} calls were not answered${lost ? ` (closed with ${lost.closed})` : ''}`);
    }

    /** Each page calls again as soon as it has its answer, for so long. Calls a second. */
    async asFastAsItGoes(ms) {
        const began = nowNs(), until = Date.now() + ms;
        this.times = [];
        let last = began;
        for (const page of this.pages) {
            const next = () => {
                last = nowNs();
                if (Date.now() < until) this.#call(page, next);
            };
            this.#call(page, next);
        }
        await this.#end('as fast as it goes');
        return this.times.length / ((last - began) / 1e9);
    }

    /** So many calls a second, by the pages in turn, whether answers have come or not. The times of the answers, ms. */
    async atRate(perSecond, ms) {
        const began = Date.now();
        this.times = [];
        for (let sent = 0; sent < (perSecond * ms) / 1000; ) {
            const due = Math.min((perSecond * ms) / 1000, ((Date.now() - began) * perSecond) / 1000);
            for (; sent < due; sent++) this.#call(this.pages[sent % this.pages.length]);
            await new Promise((done) => setTimeout(done, 1));
        }
        await this.#end(`${perSecond} a second`);
        return this.times;
    }
}
