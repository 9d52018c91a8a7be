/**
 * The sockets of several processes on one port (SO_REUSEPORT), and to which of them the kernel gives new connections.
 *
 * Measured on Linux 6: a socket's index in the group is the order of listening; when one leaves, the last takes its
 * place; any member may attach a program that answers with an index, and the program outlives the process that attached
 * it; an answer out of range, and no program, leave the choice to the kernel's hash.
 * @module
 */

/** One instruction of a classic BPF program: `[code, jt, jf, k]`. */
export type Instruction = readonly [number, number, number, number];

const LOAD_RANDOM: Instruction = [0x20, 0, 0, 0xfffff000 + 56];
const modulo = (divisor: number): Instruction => [0x94, 0, 0, divisor];
const skipUnlessEqual = (value: number): Instruction => [0x15, 0, 1, value];
const answer = (index: number): Instruction => [0x06, 0, 0, index];

/**
 * A program that spreads new connections at random over some of the sockets of a group.
 * @param indexes of the sockets; at least one
 */
export function spreadOver(indexes: readonly number[]): Instruction[] {
  const last = indexes.length - 1;
  if (last < 0) throw new RangeError("Cannot spread connections: at least one socket is required, none was given");
  if (last === 0) return [answer(indexes[0]!)];
  const choices = indexes.slice(0, last).flatMap((index, choice) => [skipUnlessEqual(choice), answer(index)]);
  return [LOAD_RANDOM, modulo(indexes.length), ...choices, answer(indexes[last]!)];
}

/** Keeps the indexes of a group's sockets as the kernel does. */
export class ReusePortGroup<Socket> {
  readonly #sockets: Socket[] = [];

  /** The sockets in the order of their indexes. */
  get sockets(): readonly Socket[] {
    return this.#sockets;
  }

  /** A socket has begun to listen. */
  add(socket: Socket): void {
    this.#sockets.push(socket);
  }

  /** A socket has stopped listening: the last of the group takes its index. */
  remove(socket: Socket): void {
    const index = this.#sockets.indexOf(socket);
    if (index < 0) return;
    const last = this.#sockets.pop()!;
    if (index < this.#sockets.length) this.#sockets[index] = last;
  }

  /** The indexes of those sockets of the group that the predicate picks. */
  indexesOf(predicate: (socket: Socket) => boolean): number[] {
    return this.#sockets.flatMap((socket, index) => predicate(socket) ? [index] : []);
  }
}
