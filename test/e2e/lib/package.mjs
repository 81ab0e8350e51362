// The package livefeed-client as an application has it: its files in a node_modules, beside React and the others.

import { cp, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { execFile } from 'node:child_process';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { ROOT } from './cluster.mjs';

export const CLIENT = path.join(ROOT, 'client');
const MODULES = path.join(ROOT, 'test/node_modules');
const TSC = path.join(MODULES, 'typescript/bin/tsc');
export const COMPILER = { target: 'es2022', module: 'nodenext', moduleResolution: 'nodenext', lib: ['es2023', 'dom', 'dom.iterable'], strict: true, types: [], skipLibCheck: true };

export class Application {
  /** A folder with what `npm install` would put there; `only`: these files of the package alone; `at`: where they are. */
  static async make({ only = (name) => /\.(js|d\.ts|json)$/.test(name), at = 'node_modules/livefeed-client' } = {}) {
    const application = new Application();
    application.folder = await mkdtemp(path.join(os.tmpdir(), 'livefeed-package-'));
    const modules = path.join(application.folder, 'node_modules');
    application.package = path.join(application.folder, at);
    await mkdir(modules, { recursive: true });
    await mkdir(application.package, { recursive: true });
    for (const name of await readdir(CLIENT)) if (only(name)) await cp(path.join(CLIENT, name), path.join(application.package, name));
    for (const name of await readdir(MODULES)) if (!name.startsWith('.')) await symlink(path.join(MODULES, name), path.join(modules, name));
    return application;
  }

  /** What `import` gives there. */
  async import(name) {
    return import(pathToFileURL(createRequire(path.join(this.folder, 'index.js')).resolve(name)));
  }

  /** Runs the TypeScript compiler on these files (name: text); gives what it complains of. */
  async compile(files, options = {}) {
    for (const [name, text] of Object.entries(files)) await writeFile(path.join(this.folder, name), text);
    return this.typescript({ compilerOptions: { ...COMPILER, noEmit: true, ...options }, files: Object.keys(files) });
  }

  async typescript(config) {
    await writeFile(path.join(this.folder, 'package.json'), '{"type":"module"}');
    await writeFile(path.join(this.folder, 'tsconfig.json'), JSON.stringify(config));
    return promisify(execFile)(process.execPath, [TSC, '-p', '.', '--pretty', 'false'], { cwd: this.folder })
      .then(() => '', (error) => error.stdout || error.message);
  }

  async read(...names) {
    return readFile(path.join(this.folder, ...names), 'utf8');
  }

  async remove() {
    await rm(this.folder, { recursive: true });
  }
}
