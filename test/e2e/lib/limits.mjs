// How often each limit said no, as the bridge's metrics tell it.

import assert from 'node:assert/strict';
import { until } from './wait.mjs';

/** { 'max-connections': 0, ... } */
export async function limits(bridge) {
  const { status, body } = await bridge.get('/metrics');
  assert.equal(status, 200);
  const found = Object.fromEntries([...body.matchAll(/^livefeed_limit_total\{limit="([a-z-]+)"\} (\d+)$/gm)].map(([, name, n]) => [name, Number(n)]));
  assert.ok(Object.keys(found).length > 10, body);
  return found;
}

/** Does something, after which these limits have said no that much more often, and no other has. */
export async function rises(bridge, by, action) {
  const before = await limits(bridge);
  const result = await action();
  const wanted = Object.fromEntries(Object.entries(before).map(([name, n]) => [name, n + (by[name] ?? 0)]));
  for (const name of Object.keys(by)) assert.ok(name in before, `no limit ${name} is counted`);
  let now;
  await until('the metrics', async () => {
    now = await limits(bridge);
    return Object.entries(wanted).every(([name, n]) => now[name] >= n);
  }).catch(() => {});
  assert.deepEqual(now, wanted);
  return result;
}
