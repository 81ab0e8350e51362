// A clock of a process's own, and of all that it starts: libfaketime in front of it, told by a file what time it is.
// CLOCK_MONOTONIC stays what it is, as it does when somebody sets the time of a machine.

import { readdirSync } from 'node:fs';
import { mkdtemp, chmod, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';

/** The library's path. `threads`: the one for programs that have some. */
function library(threads) {
  const name = threads ? 'libfaketimeMT.so.1' : 'libfaketime.so.1';
  for (const folder of readdirSync('/usr/lib')) {
    const file = path.join('/usr/lib', folder, 'faketime', name);
    try {
      readdirSync(path.dirname(file));
      return file;
    } catch {} // not this one
  }
  throw new Error(`${name} is not installed: run dev/setup`);
}

export class Clock {
  static async make({ threads = false } = {}) {
    const clock = new Clock();
    clock.folder = await mkdtemp('/tmp/livefeed-clock-');
    await chmod(clock.folder, 0o755);
    clock.file = path.join(clock.folder, 'offset');
    await clock.set(0);
    /** For the environment of the process. */
    clock.env = { LD_PRELOAD: library(threads), FAKETIME_TIMESTAMP_FILE: clock.file, FAKETIME_NO_CACHE: '1', FAKETIME_DONT_FAKE_MONOTONIC: '1', DONT_FAKE_MONOTONIC: '1' };
    return clock;
  }

  /** So many seconds beside the right time, at once for all. */
  async set(seconds) {
    await writeFile(`${this.file}.new`, `${seconds < 0 ? '' : '+'}${seconds}\n`, { mode: 0o644 });
    await rename(`${this.file}.new`, this.file);
  }

  async remove() {
    await rm(this.folder, { recursive: true, force: true });
  }
}
