// Commands that wait for their answers.

const CALL_MS = 30_000;
const CALLS_MOST = 100;

// Before 20, Node has no crypto without an import; a key has to differ, not to be a secret.
const randomByte = () => globalThis.crypto?.getRandomValues(new Uint8Array(1))[0] ?? Math.floor(Math.random() * 256);

/** What `call` rejects with; `code` as in docs/protocol.md. */
export class LivefeedError extends Error {
  /** @param {string} code @param {string} message @param {object} [more] */
  constructor(code, message, more) {
    super(message);
    this.code = code;
    Object.assign(this, more);
  }
}

/** @typedef {{ name: string, args: object, key: string, resolve: (data: any) => void, reject: (error: LivefeedError) => void, timer: any }} Call */

export class Calls {
  /** @type {Map<number, Call>} */
  #waiting = new Map();
  #send;

  /** @param {(ref: number, call: Call) => void} send does nothing where there is no connection */
  constructor(send) {
    this.#send = send;
  }

  /**
   * @param {number} ref
   * @param {string} name
   * @param {object} args
   * @param {import('./types.js').CallOptions} options
   * @returns {Promise<any>}
   */
  add(ref, name, args, { idempotencyKey, timeout = CALL_MS }) {
    return new Promise((resolve, reject) => {
      if (this.#waiting.size >= CALLS_MOST) throw new LivefeedError('rate_limited', `${CALLS_MOST} calls wait for their answers`);
      const copy = JSON.parse(JSON.stringify(args)); // a repeat is the same, whatever becomes of them
      const key = idempotencyKey ?? Array.from({ length: 16 }, () => randomByte().toString(16).padStart(2, '0')).join('');
      const timer = setTimeout(() => this.answer({ ref, code: 'unavailable', message: `no answer to ${name} within ${timeout} ms` }), timeout);
      const call = { name, args: copy, key, resolve, reject, timer };
      this.#waiting.set(ref, call);
      this.#send(ref, call);
    });
  }

  /** Once more, over another connection: the key sees to it that nothing is done twice. */
  again(ref = 0) {
    for (const [each, call] of this.#waiting) if (!ref || ref === each) this.#send(each, call);
  }

  /** @param {any} frame a result, else an error; false: to no call of ours */
  answer(frame) {
    const call = this.#waiting.get(frame.ref);
    if (!call) return false;
    this.#waiting.delete(frame.ref);
    clearTimeout(call.timer);
    if (frame.type === 'result') call.resolve(frame.data);
    else call.reject(new LivefeedError(frame.code, frame.message));
    return true;
  }

  /** @param {string} message */
  end(message) {
    for (const ref of [...this.#waiting.keys()]) this.answer({ ref, code: 'closed', message });
  }
}
