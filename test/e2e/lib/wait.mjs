// Waiting for conditions, with deadlines; never for time to pass.

import { setTimeout as pause } from 'node:timers/promises';

// Under valgrind everything takes longer, and only that.
export const SLOW = Number(process.env.LIVEFEED_TEST_SLOW ?? 1);
export const DEADLINE_MS = 15_000 * SLOW;
const LOOK_EVERY_MS = 20;

/** Asks `probe` until it gives something true, and returns that; throws naming `what` after the deadline. */
export async function until(what, probe, ms = DEADLINE_MS) {
  const deadline = Date.now() + ms;
  let trouble;
  for (;;) {
    try {
      const found = await probe();
      if (found) return found;
      trouble = undefined;
    } catch (error) {
      trouble = error;
    }
    if (Date.now() > deadline) {
      throw new Error(`waited ${ms} ms in vain for ${what}${trouble ? `: ${trouble.message}` : ''}`, { cause: trouble });
    }
    await pause(LOOK_EVERY_MS);
  }
}

/** The promise, or an error naming `what` after the deadline. */
export function within(what, promise, ms = DEADLINE_MS) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited ${ms} ms in vain for ${what}`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
