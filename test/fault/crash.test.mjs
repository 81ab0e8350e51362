// PostgreSQL is killed (-m immediate) again and again under load, 10 times in the long form, with
// fsync on: durable is durable. Some writers commit without waiting for the disk, so that a
// crash takes back what they were answered. Sessions stay open over it, or
// resume; nothing is delivered that a crash took back, nothing is lost that it left.
// Not here: bridges that die (storm), a standby that takes over (promotion).

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { lasting, rounds, seconds } from './lib/random.mjs';
import { Scene } from './lib/scene.mjs';

const UNITS = [1, 2, 3];
const UP_MS = 2500; // between two crashes, at most

describe('PostgreSQL killed under load', () => {
  let scene;

  before(async () => {
    // The log writer rests, so that what is committed without waiting is lost indeed.
    scene = await Scene.start('crash', { cluster: { fsync: true, settings: ['wal_writer_delay = 400ms'] }, bridges: [[], []] });
  });
  after(async () => {
    await scene?.end();
    await scene?.remove();
  });

  it('closes no session, and nothing comes that a crash took back', async () => {
    await scene.begin();
    let told = 0;
    const staying = [];
    for (const [n, unit] of [...UNITS, ...UNITS].entries()) {
      staying.push(await scene.session(`stays${n}`, { unit, stay: Infinity, bridges: [scene.bridges[n % 2]], onStatus: () => { told++; } }));
    }
    for (const unit of UNITS) await scene.session(`goes${unit}`, { unit, stay: 1200 });
    await scene.reached(); // who comes when PostgreSQL is down already is told to come back
    scene.write(3, { units: UNITS });
    scene.write(3, { units: UNITS, prefix: 'a', async: true });

    const crashes = rounds(3, 10);
    const end = performance.now() + seconds(6) * 1000;
    const chaos = scene.random.child('crash');
    let crashed = 0;
    try {
      while (crashed < crashes || performance.now() < end) {
        await lasting(chaos.int(300, UP_MS)); // it is up for that long
        await scene.cluster.stop('immediate');
        crashed++;
        await lasting(chaos.int(0, 600)); // and down for that long
        await scene.cluster.again();
      }
      await scene.calm();
      for (const { stream, name } of staying) assert.equal(stream.closes.size, 0, `${name} was closed: ${JSON.stringify([...stream.closes])}`);
      for (const unit of UNITS) await scene.session(`late${unit}`, { unit, stay: Infinity });
      await scene.settle();
      await scene.verdict({ crashes: crashed, statusFrames: told, unavailable: scene.sum('unavailable') });
      assert.ok(told >= 2 * staying.length, 'each was told that the database went, and that it came back');
    } finally {
      await scene.end();
    }
  });
});
