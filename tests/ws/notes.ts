/**
 * Records notes of hooks.
 * @module
 */

/** The notes of a hook, in order of arrival. */
export class Notes<T> {
  readonly all: T[] = [];
  readonly #waiting: { count: number; resolve: () => void }[] = [];

  add(note: T): void {
    this.all.push(note);
    for (const { count, resolve } of this.#waiting) if (this.all.length >= count) resolve();
  }

  /** Resolves with all notes once there are the given number. */
  async until(count: number): Promise<T[]> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#waiting.push({ count, resolve });
    if (this.all.length < count) await promise;
    return this.all;
  }
}
