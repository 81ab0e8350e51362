// The load client (wsload.c), driven line by line.
import { fileURLToPath } from 'node:url';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Daemon } from './process.mjs';

const program = fileURLToPath(new URL('../build/wsload', import.meta.url));

/** Tokens of members: session i is in the `subs` units that wsload gives it. */
export async function memberTokens(cluster, db, { sessions, units, subs = 1 }) {
    const text = await cluster.sql(db, `
        SELECT livefeed.issue_token('user' || i, (SELECT jsonb_agg((i::bigint * ${subs} + j) % ${units} + 1) FROM generate_series(0, ${subs - 1}) j),
                                    ttl => '2 h')
        FROM generate_series(0, ${sessions - 1}) i`);
    return text.split('\n');
}

export class Load {
    constructor(server, { sessions, units = 1, subs = 1, channel = 'bench', tokens, since, stamps = false, addresses = 1, atOnce }) {
        this.name = server.name;
        const args = ['--port', server.port, '--protocol', server.protocol, '--path', server.path, '--channel', channel,
            '--sessions', sessions, '--units', units, '--subs', subs];
        if (server.protocol === 'livefeed') {
            this.folder = mkdtempSync(join(tmpdir(), 'livefeed-bench-'));
            writeFileSync(join(this.folder, 'tokens'), tokens.join('\n') + '\n', { mode: 0o600 });
            args.push('--tokens', join(this.folder, 'tokens'));
        }
        if (since) args.push('--since', since);
        if (stamps) args.push('--stamps');
        if (addresses > 1) args.push('--addresses', addresses);
        if (atOnce) args.push('--at-once', atOnce);
        this.sessions = sessions;
        this.client = new Daemon('wsload', program, args.map(String));
    }

    async ask(command) {
        this.client.say(command);
        const answer = JSON.parse(await this.client.line());
        this.forgetTokens(); // it has read them before it answered
        if (answer.error) throw new Error(`wsload: ${command}: ${answer.error}`);
        return answer;
    }

    async open() {
        const { ready, trouble, began_ns: beganNs, ready_ns: readyNs } = await this.ask('open');
        if (ready !== this.sessions) throw new Error(`${this.name}: ${ready} of ${this.sessions} sessions opened; ${trouble}`);
        Object.assign(this, { beganNs, readyNs });
        return this;
    }

    /** Breaks all connections off; open() comes back, from [cursor, first event that is due] for each session. */
    async hangUp(sinces) {
        await this.ask('hangup');
        const name = join(this.folder, 'sinces');
        writeFileSync(name, sinces.map((since) => `${since.join(' ')}\n`).join(''));
        const { resumes } = await this.ask(`resume ${name}`);
        if (resumes !== this.sessions) throw new Error(`${this.name}: ${resumes} of ${this.sessions} sessions know where to resume`);
    }

    async expect(from, to) {
        return (await this.ask(`expect ${from} ${to}`)).due;
    }

    /** Waits for all that is due. What is lost, doubled or misdelivered makes the measurement void. */
    async wait(timeoutMs) {
        const r = await this.ask(`wait ${timeoutMs}`);
        if (r.got !== r.due || r.doubled || r.foreign || r.stray || r.resyncs || r.closed) {
            throw new Error(`${this.name}: void, ${JSON.stringify(r)}`);
        }
        return r;
    }

    /** Map of event number to the arrival times at all sessions. */
    async stamps() {
        const found = new Map();
        this.client.say('stamps');
        for (let line; !(line = JSON.parse(await this.client.line())).end; ) found.set(line.n, line.at);
        return found;
    }

    async close() {
        this.client.say('quit');
        await this.client.closed;
        if (this.folder) rmSync(this.folder, { recursive: true });
        this.folder = undefined;
    }

    forgetTokens() {
        if (this.folder) rmSync(join(this.folder, 'tokens'), { force: true });
    }
}
