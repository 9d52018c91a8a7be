/**
 * Socket options and system calls by file descriptor.
 * @module
 */
import { canonicalAddress } from "../../ip.ts";
import { type Libc, LINUX } from "./libc.ts";

/** TCP states as TCP_INFO numbers them (net/tcp_states.h). */
export const TCP_ESTABLISHED = 1;

const SHUT_RDWR = 2;
const POLLNVAL = 0x20;
/** Descriptors per `poll` call. `poll` fails with EINVAL for more descriptors than the process may open. */
const RUN = 256;
/** `struct sockaddr_storage`. */
const SOCKADDR_BYTES = 128;
/** `struct tcp_info` up to and including tcpi_bytes_received (Linux 4.1). */
const TCP_INFO_BYTES = 136;

/** A `struct sockaddr` of AF_UNSPEC. */
const UNSPECIFIED = new Uint8Array(16);

/** The address of one end of a TCP connection. */
export interface PeerAddress {
  /** In canonical form: IPv4-mapped IPv6 is written as IPv4. */
  readonly hostname: string;
  readonly port: number;
}

/** The fields of `struct tcp_info` (linux/tcp.h) that are used here. */
export class TcpInfo {
  readonly bytes = new Uint8Array(TCP_INFO_BYTES);
  readonly #words = new Uint32Array(this.bytes.buffer);

  get state(): number {
    return this.bytes[0]!;
  }
  /** Retransmissions and probes since the peer's last acknowledgement. Not reset when the kernel gives up. */
  get unanswered(): number {
    return this.bytes[2]! + this.bytes[3]!;
  }
  /** Segments sent but not acknowledged. For a listening socket: connections waiting to be accepted. */
  get unacknowledged(): number {
    return this.#words[6]!;
  }
  get bytesAcknowledged(): number {
    return this.#words[30]! + this.#words[31]! * 2 ** 32;
  }
  get bytesReceived(): number {
    return this.#words[32]! + this.#words[33]! * 2 ** 32;
  }
}

/** Calls on descriptors. Do not share an instance between threads, because it reuses its buffers. */
export class Sockets {
  readonly #libc: Libc;
  readonly #address = new Uint8Array(SOCKADDR_BYTES);
  readonly #length = new Uint32Array(1);
  readonly #int = new Int32Array(1);
  readonly #cookie = new Uint32Array(2);
  readonly #memory = new Uint32Array(9);
  readonly #info = new TcpInfo();
  /** `struct timespec`: seconds and nanoseconds. */
  readonly #time = new BigInt64Array(2);
  /** `struct pollfd` entries: the descriptor, the requested events (none), and the returned events. */
  readonly #polled = new Int32Array(RUN * 2);
  readonly #events = new Int16Array(this.#polled.buffer);

  readonly #limit: number;
  #highest = -1;

  constructor(libc: Libc) {
    this.#libc = libc;
    this.#limit = this.descriptorLimit();
  }

  /** The soft limit on descriptors of this process; Deno raises it to the hard limit when it starts. */
  descriptorLimit(): number {
    const limits = new BigUint64Array(2);
    if (this.#libc.calls.getrlimit(this.#libc.constants.RLIMIT_NOFILE, limits) !== 0) return Infinity;
    const soft = limits[0]!;
    return soft > BigInt(Number.MAX_SAFE_INTEGER) ? Infinity : Number(soft);
  }

  /** Reads an integer option; undefined if the descriptor does not have it. */
  option(fd: number, level: number, name: number): number | undefined {
    this.#length[0] = 4;
    if (this.#libc.calls.getsockopt(fd, level, name, this.#int, this.#length) !== 0) return undefined;
    return this.#int[0];
  }

  /** Sets an integer option. Returns whether it succeeded. */
  setOption(fd: number, level: number, name: number, value: number): boolean {
    this.#int[0] = value;
    return this.#libc.calls.setsockopt(fd, level, name, this.#int, 4) === 0;
  }

  /**
   * Whether a socket listens. XNU's source (bsd/kern/uipc_socket.c, `sogetoptlock`) does not return SO_ACCEPTCONN. On macOS
   * every IP socket with a local port and without a peer therefore counts; this was never tried there.
   */
  isListening(fd: number): boolean {
    const { linux, constants } = this.#libc;
    return linux
      ? this.option(fd, constants.SOL_SOCKET, LINUX.SO_ACCEPTCONN) === 1
      : this.localPort(fd) !== 0 && this.peerPort(fd) === 0;
  }

  /** The local port, or 0 if the descriptor is not a TCP socket. */
  localPort(fd: number): number {
    this.#length[0] = SOCKADDR_BYTES;
    if (this.#libc.calls.getsockname(fd, this.#address, this.#length) !== 0) return 0;
    return this.#port();
  }

  /** The peer's port, or 0 if the descriptor is not a connected TCP socket. */
  peerPort(fd: number): number {
    this.#length[0] = SOCKADDR_BYTES;
    if (this.#libc.calls.getpeername(fd, this.#address, this.#length) !== 0) return 0;
    return this.#port();
  }

  /** Whether the peer on which `peerPort` was just called has this address. It makes no further system call. */
  isPeerHost(hostname: string): boolean {
    return this.#hostname() === hostname;
  }

  /** The peer for a log line; empty if the socket is no longer connected. */
  peerOf(fd: number): string {
    const port = this.peerPort(fd);
    return port === 0 ? "" : `${this.#hostname()} port ${port}`;
  }

  /**
   * The kernel's number for the socket. It is unique while the machine runs, so it detects a reused descriptor. 0 if
   * the descriptor is not a socket. Linux only.
   */
  cookie(fd: number): number {
    this.#length[0] = 8;
    const { SOL_SOCKET } = this.#libc.constants;
    if (this.#libc.calls.getsockopt(fd, SOL_SOCKET, LINUX.SO_COOKIE, this.#cookie, this.#length) !== 0) return 0;
    return this.#cookie[0]! + this.#cookie[1]! * 2 ** 32;
  }

  /** Segments that were dropped, for example by a filter (SK_MEMINFO_DROPS). Linux 4.12. */
  drops(fd: number): number {
    this.#length[0] = this.#memory.byteLength;
    const { SOL_SOCKET } = this.#libc.constants;
    if (this.#libc.calls.getsockopt(fd, SOL_SOCKET, LINUX.SO_MEMINFO, this.#memory, this.#length) !== 0) return 0;
    return this.#memory[8]!;
  }

  /** Bytes received but not yet read. Linux only. */
  unread(fd: number): number {
    return this.#libc.calls.ioctl(fd, BigInt(LINUX.FIONREAD), this.#int) === 0 ? this.#int[0]! : 0;
  }

  /** Bytes written but not yet acknowledged by the peer (tcp(7), SIOCOUTQ). Linux only. */
  unacknowledged(fd: number): number {
    return this.#libc.calls.ioctl(fd, BigInt(LINUX.SIOCOUTQ), this.#int) === 0 ? this.#int[0]! : 0;
  }

  /** TCP_INFO, or undefined if the descriptor is not a TCP socket. Every call returns the same object. Linux only. */
  info(fd: number): TcpInfo | undefined {
    this.#length[0] = TCP_INFO_BYTES;
    const { IPPROTO_TCP } = this.#libc.constants;
    const { bytes } = this.#info;
    if (this.#libc.calls.getsockopt(fd, IPPROTO_TCP, LINUX.TCP_INFO, bytes, this.#length) !== 0) return undefined;
    return this.#length[0]! >= TCP_INFO_BYTES ? this.#info : undefined;
  }

  /**
   * Shuts down both directions. For a listening socket on Linux: its accept loop ends, accepted connections stay open.
   */
  shutdown(fd: number): boolean {
    return this.#libc.calls.shutdown(fd, SHUT_RDWR) === 0;
  }

  /**
   * Aborts the connection if its cookie matches: the peer gets a reset, both queues are freed, and the owner's next
   * read fails. Uses connect(2) with AF_UNSPEC, which dissolves the association; after shutdown(2) the kernel would
   * keep the data that the peer does not read. The owning thread may close the descriptor, and the number may be
   * reused, between the check and the abort. A duplicate descriptor keeps the socket open for that time.
   */
  abort(fd: number, cookie: number): boolean {
    const duplicate = this.#libc.calls.dup(fd);
    const socket = duplicate < 0 ? fd : duplicate;
    const aborted = this.cookie(socket) === cookie &&
      this.#libc.calls.connect(socket, UNSPECIFIED, UNSPECIFIED.length) === 0;
    if (duplicate >= 0) this.#libc.calls.close(duplicate);
    return aborted;
  }

  /** The CPU time of the other threads of this process, in milliseconds. Linux only. */
  otherThreadsCpu(): number {
    return this.#clock(LINUX.CLOCK_PROCESS_CPUTIME_ID) - this.threadCpu();
  }

  /** The CPU time of this thread, in milliseconds. Linux only. */
  threadCpu(): number {
    return this.#clock(LINUX.CLOCK_THREAD_CPUTIME_ID);
  }

  /** Reads a clock (clock_gettime(2)), in milliseconds. */
  #clock(id: number): number {
    this.#libc.calls.clock_gettime(id, this.#time);
    return Number(this.#time[0]!) * 1000 + Number(this.#time[1]!) / 1e6;
  }

  /** The open descriptors in ascending order. */
  open(): number[] {
    const open: number[] = [];
    this.#walk((fd) => open.push(fd));
    return open;
  }

  /** The number of open descriptors. */
  openCount(): number {
    let count = 0;
    this.#walk(() => count++);
    return count;
  }

  /** The highest descriptor that was open when the descriptors were last listed or counted. -1: never done. */
  get highest(): number {
    return this.#highest;
  }

  /**
   * Visits the open descriptors, 256 per system call. Ends after a run without any open descriptor, but not before the
   * highest one of the last time: many in the middle may have been closed since.
   */
  #walk(visit: (fd: number) => void): void {
    const run = Math.min(RUN, this.#limit);
    const before = this.#highest;
    let highest = -1;
    for (let first = 0, found = true; found || first <= before; first += run) {
      for (let at = 0; at < run; at++) this.#polled[at * 2] = first + at;
      if (this.#libc.calls.poll(this.#polled, BigInt(run), 0) < 0) return;
      found = false;
      for (let at = 0; at < run; at++) {
        if ((this.#events[at * 4 + 3]! & POLLNVAL) !== 0) continue;
        found = true;
        highest = first + at;
        visit(highest);
      }
    }
    this.#highest = highest;
  }

  /**
   * Attaches a classic BPF program (`struct sock_fprog`). Returns whether it succeeded.
   * @param option SO_ATTACH_FILTER or SO_ATTACH_REUSEPORT_CBPF
   */
  attachProgram(fd: number, option: number, program: Program): boolean {
    return this.#libc.calls.setsockopt(fd, this.#libc.constants.SOL_SOCKET, option, program.descriptor, 16) === 0;
  }

  #port(): number {
    const family = this.#family();
    const { AF_INET, AF_INET6 } = this.#libc.constants;
    return family === AF_INET || family === AF_INET6 ? this.#address[2]! << 8 | this.#address[3]! : 0;
  }

  #family(): number {
    const { familyOffset, familyBytes } = this.#libc.constants;
    const low = this.#address[familyOffset]!;
    return familyBytes === 2 ? low | this.#address[familyOffset + 1]! << 8 : low;
  }

  #hostname(): string | undefined {
    const bytes = this.#address;
    if (this.#family() === this.#libc.constants.AF_INET) return bytes.subarray(4, 8).join(".");
    const groups: string[] = [];
    for (let at = 8; at < 24; at += 2) groups.push((bytes[at]! << 8 | bytes[at + 1]!).toString(16));
    return canonicalAddress(groups.join(":"));
  }
}

/** A classic BPF program in memory, with the descriptor for setsockopt. The descriptor points into `instructions`. */
export interface Program {
  readonly descriptor: Uint8Array<ArrayBuffer>;
  readonly instructions: Uint8Array<ArrayBuffer>;
}

/** Assembles a classic BPF program from instructions `[code, jt, jf, k]`. */
export function assemble(instructions: readonly (readonly [number, number, number, number])[]): Program {
  const code = new Uint8Array(instructions.length * 8);
  const view = new DataView(code.buffer);
  instructions.forEach(([operation, jumpTrue, jumpFalse, constant], index) => {
    view.setUint16(index * 8, operation, true);
    view.setUint8(index * 8 + 2, jumpTrue);
    view.setUint8(index * 8 + 3, jumpFalse);
    view.setUint32(index * 8 + 4, constant, true);
  });
  const descriptor = new Uint8Array(16);
  const fields = new DataView(descriptor.buffer);
  fields.setUint16(0, instructions.length, true);
  fields.setBigUint64(8, Deno.UnsafePointer.value(Deno.UnsafePointer.of(code)), true);
  return { descriptor, instructions: code };
}
