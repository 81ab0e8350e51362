// Seeded randomness and the length of a test. FAULT_SEED repeats the choices of a run
// (not its interleaving: that is the machine's), FAULT_SECONDS lengthens it.

import { randomInt } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';

/** How long the faults last: `short` unless FAULT_SECONDS says otherwise. */
export function seconds(short) {
  return Number(process.env.FAULT_SECONDS ?? short);
}

/** How many faults: the full number in the long form, that is from 60 seconds on. */
export function rounds(short, full) {
  return seconds(0) >= 60 ? full : short;
}

/** The seed of a test file, printed so that a failure can be repeated. */
export function seeded(name) {
  const seed = Number(process.env.FAULT_SEED ?? randomInt(2 ** 31));
  console.log(`${name}: FAULT_SEED=${seed}`);
  return new Random(seed);
}

function hash(text) {
  let h = 0x811c9dc5;
  for (const unit of text) h = Math.imul(h ^ unit.codePointAt(0), 0x01000193);
  return h >>> 0;
}

export class Random {
  #state;

  constructor(seed) {
    this.seed = seed;
    this.#state = seed >>> 0;
  }

  /** A generator of its own for one actor: what the others draw does not change its choices. */
  child(name) {
    return new Random((this.seed ^ hash(name)) >>> 0);
  }

  next() { // mulberry32
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  }

  /** A whole number from `low` to `high`, both included. */
  int(low, high) {
    return low + Math.floor(this.next() * (high - low + 1));
  }

  chance(share) {
    return this.next() < share;
  }

  pick(list) {
    return list[Math.floor(this.next() * list.length)];
  }
}

/** Repeats a fault until the signal: the time between two of them is part of the fault. */
export async function repeatedly(signal, wait, fault) {
  for (;;) {
    try {
      await pause(wait(), undefined, { signal });
    } catch {
      return;
    }
    await fault();
  }
}

/** Lets the faults go on for that long. */
export async function lasting(ms, signal) {
  await pause(ms, undefined, { signal }).catch(() => {});
}
