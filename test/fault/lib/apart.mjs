// A world of the test's own, for faults that a machine must not feel: the test file runs
// once more in namespaces for the network and for mounts, and all that it makes there (links, dropped packets, small
// file systems) is gone with it, however it ends.
//
//   const skip = apart('network');            // at the top of a test file, before anything else
//   describe('...', { skip }, ...)            // a reason where the kernel refuses, or who runs it is not root
//
// The world has no network but a loopback of its own. PostgreSQL's Unix socket is reached from everywhere.

import { execFile, execFileSync, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdir, mkdtemp, open, rm, rmdir, stat, statfs, truncate } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';

const MARK = 'LIVEFEED_FAULT_APART';
const ESTABLISHED = '01';
const run = promisify(execFile);

/** Runs this very file again, apart, and ends with it; returns only there (false), or where it cannot be (a reason). */
export function apart(name) {
  if (process.env[MARK] === name) {
    execFileSync('ip', ['link', 'set', 'lo', 'up']);
    return false;
  }
  const why = refused();
  if (why) {
    console.error(`${name}: SKIPPED, nothing is shown: ${why}`);
    return why;
  }
  const again = spawnSync('unshare', ['--net', '--mount', 'setpriv', '--pdeathsig', 'KILL', process.execPath, ...process.execArgv, ...process.argv.slice(1)],
    { stdio: 'inherit', env: { ...process.env, [MARK]: name } });
  process.exit(again.status ?? 1);
}

function refused() {
  if (process.getuid() !== 0) return 'namespaces, packet filters and mounts want root';
  const tried = spawnSync('unshare', ['--net', '--mount', 'ip', 'link', 'set', 'lo', 'up'], { encoding: 'utf8' });
  return tried.status === 0 ? null : `the kernel gives no namespaces: ${tried.stderr || tried.error?.message}`;
}

const command = async (...words) => (await run(words[0], words.slice(1))).stdout;

/** Rooms and wires between them. The room of the test itself is called `here`. */
export class Net {
  #wires = 0;

  static async make() {
    await mkdir('/run/netns', { recursive: true });
    await command('mount', '-t', 'tmpfs', 'tmpfs', '/run/netns');
    return new Net();
  }

  async room(name) {
    await command('ip', 'netns', 'add', name);
    await command(...this.inside(name), 'ip', 'link', 'set', 'lo', 'up');
  }

  /** The command that goes in front of one to be run in a room. */
  inside(room) {
    return room === 'here' ? [] : ['nsenter', `--net=/run/netns/${room}`];
  }

  /** A wire between two rooms: { near, far, cut, heal }; near and far are the addresses of its ends. */
  async wire(nearRoom, farRoom) {
    const n = ++this.#wires;
    const ends = [[nearRoom, `w${n}a`, `10.77.${n}.1`], [farRoom, `w${n}b`, `10.77.${n}.2`]];
    await command('ip', 'link', 'add', ends[0][1], 'type', 'veth', 'peer', 'name', ends[1][1]);
    for (const [room, link, address] of ends) {
      if (room !== 'here') await command('ip', 'link', 'set', link, 'netns', room);
      await command(...this.inside(room), 'ip', 'address', 'add', `${address}/24`, 'dev', link);
      await command(...this.inside(room), 'ip', 'link', 'set', link, 'up');
    }
    const [, link, far] = ends[1];
    const rule = (what, direction) => command(...this.inside(farRoom), 'iptables', '-w', what,
      ...(direction === 'in' ? ['INPUT', '-i', link] : ['OUTPUT', '-o', link]), '-j', 'DROP');
    const dropped = new Set();
    return {
      near: ends[0][2],
      far,
      /** What goes that way at the far end ('in', 'out', or both) is dropped: no FIN, no RST, no word. */
      async cut(directions = ['in', 'out']) {
        for (const direction of directions) {
          if (dropped.has(direction)) continue;
          await rule('-A', direction);
          dropped.add(direction);
        }
      },
      async heal() {
        for (const direction of dropped) {
          await rule('-D', direction);
          dropped.delete(direction);
        }
      },
    };
  }
}

/** The connections of clients that a process holds: sockets in ESTABLISHED on that local port, in its network. */
export function established(pid, port) {
  const end = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  // (Of a file without a size, Node 18's readFile gives the first part alone.)
  const lines = readFileSync(`/proc/${pid}/net/tcp`, 'utf8').trim().split('\n').slice(1).map((line) => line.trim().split(/\s+/));
  return lines.filter(([, local, , state]) => local.endsWith(end) && state === ESTABLISHED).length;
}

/** A small file system in memory that takes the place of a folder, with all that this holds. */
export class Disk {
  static async under(folder, megabytes) {
    const disk = new Disk();
    const { uid, gid, mode } = await stat(folder);
    const aside = await mkdtemp('/tmp/livefeed-aside-');
    await command('mount', '--bind', folder, aside); // what will be hidden
    await command('mount', '-t', 'tmpfs', '-o', `size=${megabytes}m,uid=${uid},gid=${gid},mode=${(mode & 0o7777).toString(8)}`, 'tmpfs', folder);
    await command('cp', '-a', `${aside}/.`, folder);
    await command('umount', aside);
    await rmdir(aside);
    disk.folder = folder;
    disk.filler = path.join(folder, 'filler');
    return disk;
  }

  /** Bytes that are left. */
  async room() {
    const { bavail, bsize } = await statfs(this.folder);
    return bavail * bsize;
  }

  /** A file takes all room that is left, but for so many bytes. */
  async fill(leave = 0) {
    const file = await open(this.filler, 'a');
    try {
      const chunk = Buffer.alloc(65536, 1);
      for (let room = await this.room(); room > leave; room = await this.room()) {
        await file.write(chunk, 0, Math.min(chunk.length, room - leave)).catch((error) => { if (error.code !== 'ENOSPC') throw error; });
      }
    } finally {
      await file.close();
    }
  }

  /** Gives so many bytes of it back. */
  async give(bytes) {
    const { size } = await stat(this.filler);
    await truncate(this.filler, Math.max(0, size - bytes));
  }

  /** Gives it all back. */
  async free() {
    await rm(this.filler, { force: true });
  }

  /** The folder is as it was before. */
  async remove() {
    await command('umount', '--lazy', this.folder);
  }
}
