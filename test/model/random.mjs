// A random number generator with a seed: the same seed, the same run.

export class Random {
  #state;

  constructor(seed) {
    this.#state = seed >>> 0;
  }

  /** From 0 to below n. */
  below(n) {
    // mulberry32's step
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 4294967296) * n);
  }

  chance(percent) {
    return this.below(100) < percent;
  }

  pick(list) {
    return list[this.below(list.length)];
  }

  /** Some of the list, each with that chance, in its order. */
  some(list, percent) {
    return list.filter(() => this.chance(percent));
  }

  /** One of {name: weight}. */
  weighted(weights) {
    const names = Object.keys(weights);
    let at = this.below(names.reduce((sum, name) => sum + weights[name], 0));
    return names.find((name) => (at -= weights[name]) < 0);
  }
}
