// The bench's order of the day: options, parts, tables, and the page they are kept on. Started by ./run.
import { cpus } from 'node:os';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { postgresVersion } from './lib/cluster.mjs';
import { endAll } from './lib/process.mjs';
import { markdown } from './lib/table.mjs';

const names = ['writer', 'bulk', 'fanout', 'latency', 'memory', 'growth', 'commands', 'pages'];
const page = fileURLToPath(new URL('../../docs/performance.md', import.meta.url));

function readOptions(args) {
    const options = {
        quick: process.env.BENCH_QUICK === '1',
        write: process.env.BENCH_WRITE === '1',
        verbose: process.env.BENCH_VERBOSE === '1',
        parts: (process.env.BENCH_PARTS ?? '').split(/[ ,]+/).filter(Boolean),
    };
    for (let i = 0; i < args.length; i++) {
        if (args[i] === '--list') {
            console.log(names.join('\n'));
            process.exit(0);
        } else if (args[i] === '--write') options.write = true;
        else if (args[i] === '--perf') options.perf = args[++i];
        else options.parts.push(args[i]);
    }
    const unknown = options.parts.filter((part) => !names.includes(part));
    if (unknown.length || (options.quick && options.write)) {
        console.error(unknown.length ? `bench: no such part: ${unknown.join(', ')} (${names.join(', ')})` : 'bench: the quick form measures nothing worth keeping');
        process.exit(2);
    }
    if (options.perf) mkdirSync(options.perf, { recursive: true });
    if (options.parts.length === 0) options.parts = names;
    return options;
}

const machine = () => `${cpus().length} cores (${cpus()[0].model.trim()}), PostgreSQL ${postgresVersion}, node ${process.versions.node}, all on one machine over loopback`;

/** Puts a part's table between its markers on the page. */
function keep(name, text) {
    const old = readFileSync(page, 'utf8');
    const from = `<!-- bench:${name} -->`, to = `<!-- /bench:${name} -->`;
    const start = old.indexOf(from), end = old.indexOf(to);
    if (start < 0 || end < start) throw new Error(`docs/performance.md has no markers for ${name}`);
    writeFileSync(page, `${old.slice(0, start + from.length)}\n${text}\n${old.slice(end)}`);
}

const options = readOptions(process.argv.slice(2));
process.on('exit', endAll);
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1));
if (!options.quick) console.log(machine());
if (options.write) keep('machine', `Measured on: ${machine()}.`);
let failed = 0;
for (const [i, name] of options.parts.entries()) {
    const part = await import(`./parts/${name}.mjs`);
    const began = Date.now();
    try {
        const { columns, rows } = await part.measureAll(options);
        const last = options.quick && columns.at(-1) === 'aim' ? -1 : undefined; // so small a run judges nothing
        const table = markdown(columns.slice(0, last), rows.map((row) => row.slice(0, last)));
        const seconds = ((Date.now() - began) / 1000).toFixed(0);
        if (options.quick) {
            console.log(table.replace(/^/gm, '# '));
            console.log(`ok ${i + 1} - bench ${name}: ran, nothing lost (${seconds} s)`);
        } else {
            console.log(`\n### ${part.title} (${seconds} s)\n\n${table}`);
        }
        if (options.write) keep(name, `### ${part.title}\n${part.how}\n\n\`make bench BENCH_PARTS=${name}\`\n\n${table}`);
    } catch (error) {
        failed++;
        if (options.quick) console.log(`not ok ${i + 1} - bench ${name}\n${String(error.stack).replace(/^/gm, '# ')}`);
        else console.error(`\n### ${part.title}: failed\n${error.stack}`);
        endAll();
    }
}
if (options.quick) console.log(`1..${options.parts.length}`);
process.exit(failed ? 1 : 0);
