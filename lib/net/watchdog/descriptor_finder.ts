/**
 * Finds the descriptor of a connection, because Deno passes only the peer's address to a handler.
 * @module
 */
import type { PeerAddress, Sockets } from "../ffi/sockets.ts";

/** The search ends after this many descriptors in a row that are not connections. */
const BEYOND = 64;
/** Milliseconds between two searches of all descriptors, those of live WebSockets too, in case that one was missed. */
const DOUBT_EVERY = 100;

/** The value in `#seen` for a descriptor that is not a connection. */
const NONE = -1;
/**
 * The same of one that was a connection: the kernel gives the lowest free number to the next, so it is examined again.
 * Each search that finds no connection there adds one, until it is `NONE`: it may have become a file.
 */
const FREED = NONE - 16;

/** Finds descriptors by peer. One a thread. */
export class DescriptorFinder {
  readonly #sockets: Sockets;
  readonly #localPort: number;
  readonly #rows: number;
  /** One bit a descriptor: those of live WebSockets, which no new connection can be on. */
  readonly #owned: Int32Array;
  /** The peer's port last seen on a descriptor; 0: never examined; below 0: from `FREED` to `NONE`. */
  readonly #seen: Int32Array;
  #end = 0;
  #doubted = -Infinity;

  constructor(sockets: Sockets, localPort: number, rows: number) {
    this.#sockets = sockets;
    this.#localPort = localPort;
    this.#rows = rows;
    this.#owned = new Int32Array((rows >> 5) + 1);
    this.#seen = new Int32Array(rows);
    this.#extend();
  }

  /** The descriptor is a WebSocket's from now on. */
  own(fd: number): void {
    this.#owned[fd >> 5]! |= 1 << (fd & 31);
  }

  /** The WebSocket has ended. The kernel may reuse the number. */
  disown(fd: number): void {
    this.#owned[fd >> 5]! &= ~(1 << (fd & 31));
    this.#seen[fd] = FREED;
  }

  /** The descriptor of the connection from `peer`, or -1: then it was reset. */
  find(peer: PeerAddress): number {
    // Examining a descriptor is a system call. First the one last seen with this port, next those never examined and
    // those that were freed, then those on which another connection was seen: it may have ended. In the end all others.
    let fd = this.#search(peer, (seen) => seen === peer.port);
    if (fd < 0) fd = this.#search(peer, (seen) => seen === 0 || seen < NONE);
    if (fd < 0) fd = this.#search(peer, (seen) => seen > 0);
    if (fd < 0) fd = this.#beyond(peer);
    if (fd < 0) fd = this.#search(peer, (seen) => seen === NONE);
    return fd < 0 ? this.#doubt(peer) : fd;
  }

  #search(peer: PeerAddress, promising: (seen: number) => boolean): number {
    for (let fd = 0; fd < this.#end; fd++) {
      const owned = this.#owned[fd >> 5]!;
      if (owned === -1) fd |= 31;
      else if ((owned & 1 << (fd & 31)) === 0 && promising(this.#seen[fd]!) && this.#is(fd, peer)) return fd;
    }
    return -1;
  }

  #beyond(peer: PeerAddress): number {
    for (let fd = this.#end, until = fd + BEYOND; fd < until && fd < this.#rows; fd++) {
      const found = this.#is(fd, peer);
      if (this.#seen[fd]! > 0) [this.#end, until] = [fd + 1, fd + 1 + BEYOND];
      if (found) return fd;
    }
    return -1;
  }

  #doubt(peer: PeerAddress): number {
    const now = performance.now();
    if (now - this.#doubted < DOUBT_EVERY) return -1;
    this.#doubted = now;
    this.#extend();
    for (let fd = 0; fd < this.#end; fd++) {
      if (this.#is(fd, peer)) {
        this.disown(fd);
        return fd;
      }
    }
    return -1;
  }

  /** Extends the search to the highest open descriptor: an app may have any number of files and sockets open. */
  #extend(): void {
    this.#end = Math.min(this.#rows, Math.max(this.#end, (this.#sockets.open().at(-1) ?? 0) + 1));
  }

  #is(fd: number, peer: PeerAddress): boolean {
    const port = this.#sockets.peerPort(fd);
    const before = this.#seen[fd]!;
    this.#seen[fd] = port || (before > 0 ? FREED : before < NONE ? before + 1 : NONE);
    return port === peer.port && this.#sockets.isPeerHost(peer.hostname) &&
      this.#sockets.localPort(fd) === this.#localPort;
  }
}
