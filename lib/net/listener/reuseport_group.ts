/**
 * Sockets of several processes on one port (SO_REUSEPORT), and the choice of the one that gets a new connection.
 *
 * Measured on Linux 6: sockets get their index in the group in the order of listening. When a socket closes, the last
 * one takes its index. Any member may attach a program that returns an index; the program outlives the process that
 * attached it. If the index is out of range, or no program is attached, the kernel chooses by hash.
 * @module
 */

/** One instruction of a classic BPF program: `[code, jt, jf, k]`. */
export type Instruction = readonly [number, number, number, number];

const LOAD_RANDOM: Instruction = [0x20, 0, 0, 0xfffff000 + 56];
const modulo = (divisor: number): Instruction => [0x94, 0, 0, divisor];
const skipUnlessEqual = (value: number): Instruction => [0x15, 0, 1, value];
const answer = (index: number): Instruction => [0x06, 0, 0, index];

/**
 * Makes a program that distributes new connections at random over some of the sockets of a group.
 * @param indexes of the sockets; at least one
 */
export function spreadOver(indexes: readonly number[]): Instruction[] {
  const last = indexes.length - 1;
  if (last < 0) throw new RangeError("Cannot spread connections: at least one socket is required, none was given");
  if (last === 0) return [answer(indexes[0]!)];
  const choices = indexes.slice(0, last).flatMap((index, choice) => [skipUnlessEqual(choice), answer(index)]);
  return [LOAD_RANDOM, modulo(indexes.length), ...choices, answer(indexes[last]!)];
}

/** Tracks the indexes of a group's sockets as the kernel assigns them. */
export class ReusePortGroup<Socket> {
  readonly #sockets: Socket[] = [];

  /** The sockets in the order of their indexes. */
  get sockets(): readonly Socket[] {
    return this.#sockets;
  }

  /** Records that a socket has begun to listen. */
  add(socket: Socket): void {
    this.#sockets.push(socket);
  }

  /** Records that a socket has stopped listening: the last of the group takes its index. */
  remove(socket: Socket): void {
    const index = this.#sockets.indexOf(socket);
    if (index < 0) return;
    const last = this.#sockets.pop()!;
    if (index < this.#sockets.length) this.#sockets[index] = last;
  }

  /** The indexes of the sockets for which the predicate is true. */
  indexesOf(predicate: (socket: Socket) => boolean): number[] {
    return this.#sockets.flatMap((socket, index) => predicate(socket) ? [index] : []);
  }
}
