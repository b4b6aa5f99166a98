/**
 * Waiting before another try, with full jitter: a random time up to a ceiling that doubles.
 *
 * A server that restarts thus meets its clients spread out instead of all at once.
 */
export class Backoff {
  #tries = 0;

  constructor(
    readonly first = 300,
    readonly most = 15_000,
    readonly random: () => number = Math.random,
  ) {}

  /** Milliseconds to wait before the next try. */
  next(): number {
    const ceiling = Math.min(this.most, this.first * 2 ** this.#tries);
    this.#tries += 1;
    return Math.round(this.random() * ceiling);
  }

  reset(): void {
    this.#tries = 0;
  }
}
