// The bridge's program in a terminal of its own (a pty, which script(1) makes): what an operator would see.

import { spawn } from 'node:child_process';
import { cleanEnvironment, PROGRAM } from './bridge.mjs';
import { until, within } from './wait.mjs';

const quote = (word) => `'${word.replaceAll("'", `'\\''`)}'`;

export class Terminal {
  text = '';

  /** Starts the program; `keys` types into it. */
  static start(args, { env = {} } = {}) {
    const terminal = new Terminal();
    const command = [PROGRAM, ...args].map(quote).join(' ');
    terminal.process = spawn('script', ['--quiet', '--return', '--echo', 'never', '--command', `exec ${command}`, '/dev/null'],
      { env: cleanEnvironment({ TERM: 'xterm', SHELL: '/bin/sh', ...env }), stdio: ['pipe', 'pipe', 'inherit'] });
    terminal.process.stdout.setEncoding('utf8');
    terminal.process.stdout.on('data', (data) => { terminal.text += data; });
    terminal.exit = new Promise((resolve) => { terminal.process.once('close', (code, signal) => resolve(code ?? signal)); });
    return terminal;
  }

  keys(text) {
    this.process.stdin.write(text);
  }

  see(pattern) {
    return until(`${pattern} in the terminal`, () => pattern.exec(this.text)).catch((error) => { error.message += `:\n${this.text}`; throw error; });
  }

  async end() {
    return within('the program to end', this.exit).finally(() => this.process.kill('SIGKILL'));
  }
}

/** To its end: { code, text }. */
export async function terminalRun(args, options) {
  const terminal = Terminal.start(args, options);
  const code = await terminal.end();
  return { code, text: terminal.text };
}
