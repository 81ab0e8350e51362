// The network between a bridge and PostgreSQL is cut: packets vanish, nobody is told (no FIN, no RST). The bridge finds out
// by its own time-outs, tells its sessions (`status`), keeps them open, and goes on where it was once the network is back.
// Meanwhile another bridge takes over the ticks, or, in the second round, none is there. The backends of dead
// connections end by their own time-outs; the long form waits for that with the network still cut.
// Bridge and PostgreSQL stand in network namespaces of their own. Not here: the clients' side (network_clients).

import { apart } from './lib/apart.mjs';

const skip = apart('network_database');

import assert from 'node:assert/strict';
import { appendFile } from 'node:fs/promises';
import { after, before, describe, it } from 'node:test';
import { Bridge } from '../e2e/lib/bridge.mjs';
import { until, SLOW } from '../e2e/lib/wait.mjs';
import { Net } from './lib/apart.mjs';
import { lasting, rounds, seconds } from './lib/random.mjs';
import { Scene } from './lib/scene.mjs';
import { FEEDS } from './lib/writer.mjs';

const UNITS = [1, 2, 3];
const STAYING = 6;
const LONG = rounds(false, true);
// The long form takes the bridge's own time-outs: a query that gets no answer in 15 s. The short one has the kernel give up sooner.
const UNANSWERED_MS = LONG ? 15_000 : 2000;
const TOLD_WITHIN_MS = UNANSWERED_MS + 15_000 * SLOW;
const LIVE_AGAIN_WITHIN_MS = 30_000 * SLOW; // a connect that is under way (5 s), a pause (5 s), and room for a slow machine
const TAKEN_OVER_WITHIN_MS = 20_000 * SLOW;
const BACKENDS_GONE_MS = 60_000 * SLOW;
const BACKEND_TIMEOUT_MS = 55_000; // tcp_user_timeout of the bridge's sessions is 40 s; and then the pauses of the kernel

describe('the network between a bridge and PostgreSQL', { skip }, () => {
  let scene;
  let net;
  let wire;
  let far;
  let other;

  before(async () => {
    net = await Net.make();
    await net.room('bridge');
    await net.room('database');
    const clients = await net.wire('here', 'bridge');
    wire = await net.wire('bridge', 'database');
    scene = await Scene.start('network, database', {
      bridges: [],
      cluster: { settings: [`listen_addresses='*'`], wrapper: net.inside('database') },
      async prepare({ cluster, db, bridges }) {
        await appendFile(`${cluster.dir}/data/pg_hba.conf`, `host all all ${wire.near}/32 trust\n`);
        await db.query('SELECT pg_reload_conf()');
        const dsn = `host=${wire.far} port=${cluster.port} user=bridge dbname=${db.name}${LONG ? '' : ` tcp_user_timeout=${UNANSWERED_MS}`}`;
        far = await Bridge.start(db, [], { dsn, host: clients.far, wrapper: net.inside('bridge') });
        bridges.push(far);
      },
    });
  });
  after(async () => {
    await wire?.heal();
    await scene?.end();
    await scene?.remove();
  });

  // A connection of the pool that nobody uses meanwhile outlives a short cut, as it should.
  const backends = () => scene.db.query(`SELECT pid, application_name AS name FROM pg_stat_activity WHERE client_addr = $1 AND ($2 OR application_name !~ 'pool') ORDER BY pid`, [wire.near, LONG]);
  const ticker = () => scene.db.value('SELECT client_addr FROM pg_stat_activity WHERE pid = (SELECT ticker_pid FROM livefeed.status)');

  /** Waits until the bridge on the wire ticks. Where it once stood still for a second, the other one does, until it goes. */
  async function ticks() {
    const isTicker = async () => await ticker() === wire.near;
    while (other && !await isTicker()) {
      await other.stop();
      await until('the bridge on the wire to be the ticker again', isTicker, TAKEN_OVER_WITHIN_MS);
      await other.again();
    }
    await until('the bridge on the wire to be the ticker', isTicker, TAKEN_OVER_WITHIN_MS);
  }

  /** One cut: figures of it. */
  async function cut(staying, told, observer) {
    await ticks();
    const said = other?.log.length;
    const old = await backends();
    told.clear();
    let at = performance.now();
    await wire.cut();
    const figures = {};
    if (observer) {
      const since = (await scene.db.query('SELECT id_last FROM livefeed.ticks ORDER BY tick DESC LIMIT 1'))[0].id_last;
      await until('another bridge to take over', async () => observer.heard?.frame.id > since && await ticker() === null && other.log.includes('this bridge is the ticker', said), TAKEN_OVER_WITHIN_MS);
      figures.takenOverMs = Math.round(performance.now() - at);
    }
    await until('all sessions to be told', () => staying.every(({ name }) => told.get(name) === false), TOLD_WITHIN_MS);
    figures.toldMs = Math.round(performance.now() - at);
    assert.equal((await far.get('/readyz')).status, 503);
    assert.equal((await far.get('/healthz')).status, 200);
    await lasting(seconds(6) * 1000 - (performance.now() - at)); // the cut
    if (LONG) {
      const left = async () => (await backends()).filter(({ pid }) => old.some((backend) => backend.pid === pid));
      assert.deepEqual(performance.now() - at > BACKEND_TIMEOUT_MS ? await left() : [], [], 'backends of dead connections end by themselves');
    }
    figures.cutSeconds = Math.round((performance.now() - at) / 1000);

    at = performance.now();
    await wire.heal();
    await until('the bridge to be live again', () => staying.every(({ name }) => told.get(name) === true), LIVE_AGAIN_WITHIN_MS);
    figures.liveAgainMs = Math.round(performance.now() - at);
    await until('the old backends to go', async () => !(await backends()).some(({ pid }) => old.some((backend) => backend.pid === pid)), BACKENDS_GONE_MS);
    figures.backendsGoneMs = Math.round(performance.now() - at);
    figures.backends = [old.length, (await backends()).length];
    return figures;
  }

  async function story(prefix, bridges) {
    await scene.db.write(FEEDS.map((feed) => `DELETE FROM ${feed};`).join(' ')); // what the story before left
    await scene.begin();
    const told = new Map();
    const staying = [];
    for (let n = 0; n < STAYING; n++) {
      staying.push(await scene.session(`stays${n}`, { unit: UNITS[n % 3], stay: Infinity, bridges: [far], onStatus: ({ live }, { name }) => { told.set(name, live); } }));
    }
    for (let n = 0; n < 3; n++) await scene.session(`goes${n}`, { unit: UNITS[n % 3], stay: 1000, bridges });
    const observer = bridges.length > 1 ? await scene.session('observer', { unit: 1, stay: Infinity, bridges: [other] }) : undefined;
    await scene.reached(); // who is not there yet when it is cut is refused, and not told
    scene.write(3, { units: UNITS, prefix });
    try {
      const figures = await cut(staying, told, observer);
      await scene.calm();
      for (const { stream, name } of staying) assert.equal(stream.closes.size, 0, `${name} was closed: ${JSON.stringify([...stream.closes])}`);
      await scene.verdict({ ...figures, unavailable: scene.sum('unavailable') });
    } finally {
      await wire.heal();
      await scene.end();
    }
  }

  it('is cut, and nobody else is there: sessions stay open, all goes on afterwards', async () => {
    await story('alone', [far]);
  });

  it('is cut, and another bridge takes over the ticks', async () => {
    other = await Bridge.start(scene.db);
    scene.bridges.push(other);
    await story('beside', [far, other]);
  });
});
