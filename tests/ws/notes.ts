/**
 * What hooks noted, as it comes.
 * @module
 */

/** What a hook noted, as it comes. */
export class Notes<T> {
  readonly all: T[] = [];
  readonly #waiting: { count: number; resolve: () => void }[] = [];

  add(note: T): void {
    this.all.push(note);
    for (const { count, resolve } of this.#waiting) if (this.all.length >= count) resolve();
  }

  /** All notes, once there are so many. */
  async until(count: number): Promise<T[]> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#waiting.push({ count, resolve });
    if (this.all.length < count) await promise;
    return this.all;
  }
}
