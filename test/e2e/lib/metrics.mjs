// The page of /metrics as a parser of others reads it: that of the Prometheus client for Python, as Debian has it
// (for its own Python, which need not be the first in PATH).

import { spawn } from 'node:child_process';
import { setTimeout as pause } from 'node:timers/promises';
import { idOf } from './cluster.mjs';
import { DEADLINE_MS, SLOW, until, within } from './wait.mjs';

const READER = `
import json, sys
from prometheus_client.parser import text_string_to_metric_families
print(json.dumps([
    {"name": f.name, "type": f.type, "help": f.documentation,
     "samples": [{"name": s.name, "labels": s.labels, "value": s.value} for s in f.samples]}
    for f in text_string_to_metric_families(sys.stdin.read())]))
`;

/** The families of a page: [{ name, type, help, samples: [{ name, labels, value }] }]; throws where the parser does. */
export async function families(page) {
  const child = spawn('/usr/bin/python3', ['-c', READER], { stdio: ['pipe', 'pipe', 'pipe'] });
  let out = '';
  let err = '';
  child.stdout.on('data', (data) => { out += data; });
  child.stderr.on('data', (data) => { err += data; });
  child.stdin.end(page);
  const code = await within('the parser', new Promise((resolve) => child.once('close', resolve)), 2 * DEADLINE_MS);
  if (code !== 0) throw new Error(err);
  return JSON.parse(out);
}

/** One sample by its name and labels as they stand in the page: `livefeed_sessions{transport="websocket"}`. */
export async function metric(bridge, sample) {
  const { status, body } = await bridge.get('/metrics');
  const line = body.split('\n').find((each) => each.startsWith(`${sample} `));
  if (status !== 200 || !line) throw new Error(`${status}: no ${sample}:\n${body}`);
  return Number(line.slice(sample.length));
}

/** Waits until the bridge rests: a while in which it hardly uses the processor. One that spins never does. */
export async function calm(bridge) {
  const used = () => metric(bridge, 'process_cpu_seconds_total');
  await until('the bridge to rest', async () => {
    const before = await used();
    await pause(250);
    return await used() - before < 0.1 * SLOW;
  });
}

/** Waits until the bridge has read all that is committed: who subscribes from now on is told nothing of it. */
export async function settled(bridge, database) {
  const head = idOf(await database.head());
  await until(`the bridge to have read up to ${head}`, async () => await metric(bridge, 'livefeed_tail_id') >= head);
}
