// What pages do all at once, or all the time: a storm of subscribers, a progress bar, positions on a map.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openPage, openPages, userTokens } from '../lib/caller.mjs';
import { startCluster } from '../lib/cluster.mjs';
import { cpuNs, nowNs, quiet, until } from '../lib/process.mjs';
import { startBridge } from '../lib/programs.mjs';
import { atMost, median, show, spread } from '../lib/table.mjs';

export const title = 'Pages: a storm, a progress bar, positions';
export const how = `Storm: pages that all subscribe to one channel with its snapshot of 500 rows (90 kB) at the same moment; every page got it. Progress bar: a key of a
latest_only feed, set 1,000 times a second, for a page that does not read meanwhile (the kernel's buffers for it are full before) and for one that reads; both
got the last value. Positions: partners that each change a row of a watch with durable => false once a second, for a page that follows ten of them and
got the last of each; lasting rows are those in the log, others are gone when their minute is over.`;

const FILLERS = 160; // 19 MB; the kernel takes 4 to 10 for who does not read

async function setUp(cluster) {
    await cluster.sql('postgres', 'CREATE DATABASE pages');
    await cluster.sql('pages', `
        CREATE EXTENSION livefeed;
        CREATE TABLE items (id integer PRIMARY KEY, unit integer NOT NULL, pad text NOT NULL);
        CREATE INDEX ON items (unit);
        INSERT INTO items SELECT i, 1 + i / 501, repeat('x', 140) FROM generate_series(1, 50000) i;
        SELECT livefeed.watch('items', unit => 'unit');
        SELECT livefeed.declare_feed('progress', durable => false, latest_only => true), livefeed.declare_feed('filler', durable => false, latest_only => true);
        CREATE UNLOGGED TABLE positions (partner integer PRIMARY KEY, x bigint NOT NULL DEFAULT 0) WITH (fillfactor = 50);
        INSERT INTO positions SELECT generate_series(1, 1000);
        SELECT livefeed.watch('positions', roles => '{*}', durable => false);
        VACUUM ANALYZE items, positions;`);
}

async function metric(bridge, sample) {
    const page = await (await fetch(`http://127.0.0.1:${bridge.port}/metrics`)).text();
    return Number(page.split('\n').find((line) => line.startsWith(`${sample} `)).slice(sample.length));
}

/** All subscribe at once: queries, seconds until the last page has its snapshot. */
async function storm(bridge, pages) {
    const queries = () => metric(bridge, 'livefeed_query_seconds_count{query="snapshot"}');
    const before = await queries(), cpu = cpuNs(bridge.pid), began = nowNs();
    const got = pages.map((page) => new Promise((done, fail) => {
        page.onFrame = (text) => {
            if (text.startsWith('{"type":"snapshot"')) (text.includes('"id":500,') ? done() : fail(new Error(`not the rows: ${text.slice(0, 200)}`)));
            if (text.startsWith('{"type":"error"')) fail(new Error(text));
        };
    }));
    for (const page of pages) page.socket.send('{"type":"subscribe","ref":1,"channel":"items:unit:1","snapshot":true}');
    await Promise.all(got);
    const seconds = (nowNs() - began) / 1e9, used = (cpuNs(bridge.pid) - cpu) / 1e9;
    return { queries: (await queries()) - before, seconds, cpu: used };
}

/** Follows the bar, and what fills the buffers: how many values came, the last of each. */
function follow(page) {
    const found = { frames: 0, last: 0, fill: 0, sorted: true };
    page.onFrame = (text) => {
        const [, name, n] = /"(percent|fill)":(\d+)/.exec(text) ?? [];
        if (name === 'fill') found.fill = Number(n);
        if (name !== 'percent') return;
        found.sorted &&= Number(n) > found.last;
        Object.assign(found, { frames: found.frames + 1, last: Number(n) });
    };
    for (const [ref, channel] of ['progress:unit:1', 'filler:unit:1'].entries()) page.socket.send(JSON.stringify({ type: 'subscribe', ref, channel }));
    return found;
}

async function publish(cluster, folder, feed, data, rate, times) {
    const file = join(folder, `${feed}.sql`);
    writeFileSync(file, `\\set n :n + 1\nSELECT livefeed.publish('${feed}', 'step', ${data}, unit => '1', key => 'one');\n`);
    await cluster.pgbench('pages', ['-M', 'prepared', '-c', '1', '-R', String(rate), '-t', String(times), '-D', 'n=0', '-f', file]);
}

async function progress(cluster, bridge, tokens, folder, seconds) {
    const [slow, quick] = [await openPage(bridge, tokens[0]), await openPage(bridge, tokens[1])];
    const [late, live] = [follow(slow), follow(quick)];
    await until('both subscribe', async () => (await metric(bridge, 'livefeed_subscriptions')) === 4);
    slow.socket.pause();
    await publish(cluster, folder, 'filler', "jsonb_build_object('fill', :n::integer, 'bytes', repeat('.', 120000))", 50, FILLERS);
    await until('the buffers are full', () => live.fill === FILLERS);
    const steps = seconds * 1000, cpu = cpuNs(bridge.pid);
    await publish(cluster, folder, 'progress', "jsonb_build_object('percent', :n::integer)", 1000, steps);
    await until('the page that reads has the last', () => live.last === steps);
    const used = (cpuNs(bridge.pid) - cpu) / 1e3;
    slow.socket.resume();
    await until('the page that did not read has the last', () => late.last === steps);
    if (!late.sorted || !live.sorted) throw new Error('an older value came after a newer one');
    await Promise.all([slow.leave(), quick.leave()]);
    return { steps, late: late.frames, live: live.frames, cpu: used / steps };
}

async function positions(cluster, bridge, tokens, folder, { seconds, partners, options }) {
    const page = await openPage(bridge, tokens[0]);
    const seen = new Map();
    page.onFrame = (text) => {
        const [, partner, x] = /"partner":(\d+),"x":(\d+)/.exec(text) ?? [];
        if (partner) seen.set(Number(partner), Number(x));
    };
    for (let n = 1; n <= 10; n++) page.socket.send(JSON.stringify({ type: 'subscribe', ref: n, channel: `positions:row:${n}` }));
    await until('it subscribes', async () => (await metric(bridge, 'livefeed_subscriptions')) >= 10);
    const file = join(folder, 'positions.sql');
    writeFileSync(file, `\\set n :n + 1\nUPDATE positions SET x = x + 1 WHERE partner = 1 + :n % ${partners};\n`);
    const count = async () => JSON.parse(await cluster.sql('pages', `SELECT json_build_array((SELECT count(*) FROM livefeed.log), (SELECT count(*) FROM livefeed.transient))`));
    const [durable] = await count(), cpu = cpuNs(bridge.pid), events = seconds * partners;
    await cluster.pgbench('pages', ['-M', 'prepared', '-c', '1', '-R', String(partners), '-t', String(events), '-D', 'n=0', '-f', file]);
    await until('the last positions', () => seen.size === 10 && [...seen.values()].every((x) => x >= seconds));
    const used = (cpuNs(bridge.pid) - cpu) / 1e3, [log] = await count();
    // Half a minute for whoever's turn it is to rotate, beside the two that three tables take.
    if (!options.quick) await until('their minute to be over', async () => (await count())[1] === 0, 240_000);
    await page.leave();
    return { events, lasting: log - durable + (options.quick ? 0 : (await count())[1]), cpu: used / events };
}

export async function measureAll(options) {
    const size = options.quick ? { rounds: 1, pages: 100, progress: 2, positions: 3, partners: 100 } : { rounds: 3, pages: 1000, progress: 5, positions: 20, partners: 1000 };
    const cluster = await startCluster();
    const folder = mkdtempSync(join(tmpdir(), 'livefeed-bench-'));
    await setUp(cluster);
    const bridge = await startBridge(cluster, 'pages', ['--rate', '100000', '--max-queue', '256KiB']);
    const tokens = await userTokens(cluster, 'pages', size.pages);
    const rounds = [];
    for (let round = 0; round < size.rounds; round++) {
        const pages = await openPages(bridge, tokens);
        await quiet(bridge.pid);
        const one = { storm: await storm(bridge, pages) };
        await Promise.all(pages.map((page) => page.leave()));
        await quiet(bridge.pid);
        one.progress = await progress(cluster, bridge, tokens, folder, size.progress);
        rounds.push(one);
        if (options.verbose) console.error(one);
    }
    const map = await positions(cluster, bridge, tokens, folder, { seconds: size.positions, partners: size.partners, options });
    await bridge.stop();
    await cluster.stop();
    rmSync(folder, { recursive: true });
    const storms = rounds.map((round) => round.storm), bars = rounds.map((round) => round.progress);
    const of = (list, key) => list.map((each) => each[key]);
    return {
        columns: ['what', 'how many', 'cost', "bridge's CPU", 'aim'],
        rows: [
            [`storm of ${show(size.pages)} subscribers with snapshot`, `${spread(of(storms, 'seconds'))} s until the last has it`, `${spread(of(storms, 'queries'))} queries`,
                `${show(median(of(storms, 'cpu')))} s`, atMost(10, Math.max(...of(storms, 'queries')))],
            [`progress bar, ${show(size.progress)} s of 1,000/s, page that does not read`, `${show(bars[0].steps)} values`, `${spread(of(bars, 'late'))} frames`,
                `${show(median(of(bars, 'cpu')))} µs a value`, atMost(3, Math.max(...of(bars, 'late')))],
            ['the same, page that reads', `${show(bars[0].steps)} values`, `${spread(of(bars, 'live'))} frames`, 'in the former', '-'],
            [`positions of ${show(size.partners)} partners, ${size.positions} s of 1/s each`, `${show(map.events)} positions`, `${show(map.lasting)} lasting rows`, `${show(map.cpu)} µs a position`,
                atMost(0, map.lasting)],
        ],
    };
}
