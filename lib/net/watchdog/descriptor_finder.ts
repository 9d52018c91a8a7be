/**
 * Finds the descriptor of a connection, because Deno passes only the peer's address to a handler.
 * @module
 */
import type { PeerAddress, Sockets } from "../ffi/sockets.ts";

/** The search ends after this many descriptors in a row that are not connections. */
const MAX_GAP = 64;
/** Milliseconds between two searches of all descriptors. They include those of open WebSockets, whose end may have been missed. */
const FULL_SEARCH_INTERVAL = 100;

/** The value in `#seen` for a descriptor that is not a connection. */
const NONE = -1;
/**
 * The value for a descriptor whose connection has ended. The kernel assigns the lowest free number to the next connection,
 * so the descriptor is examined again. Each search that finds no connection there adds one, until the value is `NONE`:
 * the descriptor may have become a file.
 */
const FREED = NONE - 16;

/** Finds descriptors by the peer's address. */
export class DescriptorFinder {
  readonly #sockets: Sockets;
  readonly #localPort: number;
  readonly #rows: number;
  /** One bit per descriptor, set for open WebSockets: no new connection can have these descriptors. */
  readonly #excluded: Int32Array;
  /** The peer's port last seen on a descriptor. 0: never examined. Negative: from `FREED` to `NONE`. */
  readonly #seen: Int32Array;
  #end = 0;
  #fullSearchAt = -Infinity;

  constructor(sockets: Sockets, localPort: number, rows: number) {
    this.#sockets = sockets;
    this.#localPort = localPort;
    this.#rows = rows;
    this.#excluded = new Int32Array((rows >> 5) + 1);
    this.#seen = new Int32Array(rows);
    this.#extend();
  }

  /** Excludes the descriptor of a WebSocket from the search. */
  exclude(fd: number): void {
    this.#excluded[fd >> 5]! |= 1 << (fd & 31);
  }

  /** Includes the descriptor in the search again. Call it when the WebSocket has ended, because the kernel may reuse the number. */
  include(fd: number): void {
    this.#excluded[fd >> 5]! &= ~(1 << (fd & 31));
    this.#seen[fd] = FREED;
  }

  /** Returns the descriptor of the connection from `peer`, or -1 if the connection was reset. */
  find(peer: PeerAddress): number {
    // Examining a descriptor takes a system call, so the most likely ones come first: the one last seen with this port,
    // those never examined or freed, and those last seen with another connection, which may have ended.
    let fd = this.#search(peer, (seen) => seen === peer.port);
    if (fd < 0) fd = this.#search(peer, (seen) => seen === 0 || seen < NONE);
    if (fd < 0) fd = this.#search(peer, (seen) => seen > 0);
    if (fd < 0) fd = this.#searchBeyondEnd(peer);
    if (fd < 0) fd = this.#search(peer, (seen) => seen === NONE);
    return fd < 0 ? this.#searchAll(peer) : fd;
  }

  #search(peer: PeerAddress, isCandidate: (seen: number) => boolean): number {
    for (let fd = 0; fd < this.#end; fd++) {
      const excluded = this.#excluded[fd >> 5]!;
      if (excluded === -1) fd |= 31;
      else if ((excluded & 1 << (fd & 31)) === 0 && isCandidate(this.#seen[fd]!) && this.#isConnectionOf(fd, peer)) {
        return fd;
      }
    }
    return -1;
  }

  #searchBeyondEnd(peer: PeerAddress): number {
    for (let fd = this.#end, until = fd + MAX_GAP; fd < until && fd < this.#rows; fd++) {
      const found = this.#isConnectionOf(fd, peer);
      if (this.#seen[fd]! > 0) [this.#end, until] = [fd + 1, fd + 1 + MAX_GAP];
      if (found) return fd;
    }
    return -1;
  }

  #searchAll(peer: PeerAddress): number {
    const now = performance.now();
    if (now - this.#fullSearchAt < FULL_SEARCH_INTERVAL) return -1;
    this.#fullSearchAt = now;
    this.#extend();
    for (let fd = 0; fd < this.#end; fd++) {
      if (this.#isConnectionOf(fd, peer)) {
        this.include(fd);
        return fd;
      }
    }
    return -1;
  }

  /** Extends the search to the highest open descriptor: an app may have any number of files and sockets open. */
  #extend(): void {
    this.#end = Math.min(this.#rows, Math.max(this.#end, (this.#sockets.open().at(-1) ?? 0) + 1));
  }

  #isConnectionOf(fd: number, peer: PeerAddress): boolean {
    const port = this.#sockets.peerPort(fd);
    const before = this.#seen[fd]!;
    this.#seen[fd] = port || (before > 0 ? FREED : before < NONE ? before + 1 : NONE);
    return port === peer.port && this.#sockets.isPeerHost(peer.hostname) &&
      this.#sockets.localPort(fd) === this.#localPort;
  }
}
