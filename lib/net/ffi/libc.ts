/**
 * Loads the socket functions of the C library. This file has the only `Deno.dlopen`.
 * @module
 */
import { messageOf } from "../../errors.ts";

const SYMBOLS = {
  getsockopt: { parameters: ["i32", "i32", "i32", "buffer", "buffer"], result: "i32" },
  setsockopt: { parameters: ["i32", "i32", "i32", "buffer", "u32"], result: "i32" },
  getsockname: { parameters: ["i32", "buffer", "buffer"], result: "i32" },
  getpeername: { parameters: ["i32", "buffer", "buffer"], result: "i32" },
  shutdown: { parameters: ["i32", "i32"], result: "i32" },
  connect: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  dup: { parameters: ["i32"], result: "i32" },
  close: { parameters: ["i32"], result: "i32" },
  poll: { parameters: ["buffer", "usize", "i32"], result: "i32" },
  ioctl: { parameters: ["i32", "usize", "buffer"], result: "i32" },
  getrlimit: { parameters: ["i32", "buffer"], result: "i32" },
  clock_gettime: { parameters: ["i32", "buffer"], result: "i32" },
} as const satisfies Deno.ForeignLibraryInterface;

/** The C functions: 0 or more means success, -1 failure. */
export type Calls = Deno.DynamicLibrary<typeof SYMBOLS>["symbols"];

/** The numbers that differ from one system to another. */
export interface Constants {
  readonly SOL_SOCKET: number;
  readonly SO_REUSEPORT: number;
  readonly IPPROTO_TCP: number;
  readonly TCP_NODELAY: number;
  readonly RLIMIT_NOFILE: number;
  readonly AF_INET: number;
  readonly AF_INET6: number;
  /** The position and the size of the address family in a sockaddr. */
  readonly familyOffset: number;
  readonly familyBytes: 1 | 2;
}

/** Constants that exist only on Linux, for x86-64 and arm64. Each was tested on Linux 6 with glibc. */
export const LINUX = {
  SO_KEEPALIVE: 9,
  SO_ACCEPTCONN: 30,
  SO_ATTACH_FILTER: 26,
  SO_DETACH_FILTER: 27,
  SO_ATTACH_REUSEPORT_CBPF: 51,
  SO_DETACH_REUSEPORT_BPF: 68,
  SO_COOKIE: 57,
  SO_MEMINFO: 55,
  TCP_CORK: 3,
  TCP_KEEPIDLE: 4,
  TCP_INFO: 11,
  FIONREAD: 0x541b,
  SIOCOUTQ: 0x5411,
  TCP_USER_TIMEOUT: 18,
  CLOCK_PROCESS_CPUTIME_ID: 2,
  CLOCK_THREAD_CPUTIME_ID: 3,
} as const;

const COMMON = { IPPROTO_TCP: 6, TCP_NODELAY: 1, AF_INET: 2 } as const;

const LINUX_CONSTANTS: Constants = {
  ...COMMON,
  SOL_SOCKET: 1,
  SO_REUSEPORT: 15,
  RLIMIT_NOFILE: 7,
  AF_INET6: 10,
  familyOffset: 0,
  familyBytes: 2,
};

const DARWIN_CONSTANTS: Constants = {
  ...COMMON,
  SOL_SOCKET: 0xffff,
  SO_REUSEPORT: 0x200,
  RLIMIT_NOFILE: 8,
  AF_INET6: 30,
  familyOffset: 1,
  familyBytes: 1,
};

/** The C library of this process. */
export interface Libc {
  readonly calls: Calls;
  readonly constants: Constants;
  /**
   * Whether this is Linux. The watchdog and the hand-over of a port need Linux. On macOS only TCP_NODELAY is set, which
   * was never tried there.
   */
  readonly linux: boolean;
}

/** The library, or the reason why it is not loaded. */
export type LoadedLibc = { readonly libc: Libc; readonly reason?: undefined } | {
  readonly libc?: undefined;
  readonly reason: string;
};

/** glibc, and the two names of musl (Alpine has the second, where the dynamic loader is the library itself). */
const LINUX_NAMES = ["libc.so.6", `libc.musl-${Deno.build.arch}.so.1`, "libc.so"] as const;
const DARWIN_NAMES = ["libSystem.B.dylib", "libSystem.dylib"] as const;

let loaded: LoadedLibc | undefined;

/**
 * Loads the C library once per thread. Needs `--allow-ffi` without a path, because Deno 2.9 accepts a bare library name
 * only then. If the permission was neither granted nor denied, Deno asks for it once on a terminal. Never throws:
 * without the library the service runs with the features of Deno alone.
 */
export function loadLibc(): LoadedLibc {
  loaded ??= load();
  return loaded;
}

function load(): LoadedLibc {
  const { os } = Deno.build;
  if (os !== "linux" && os !== "darwin" && os !== "android") return { reason: `it is not supported on ${os}` };
  // Requested here, because dlopen resolves the bare name in the working directory after a prompt of its own.
  if (Deno.permissions.requestSync({ name: "ffi" }).state !== "granted") {
    return { reason: "--allow-ffi without a path is required, it was not given or was given with a path" };
  }
  const darwin = os === "darwin";
  let reason = "";
  for (const name of darwin ? DARWIN_NAMES : LINUX_NAMES) {
    try {
      const { symbols } = Deno.dlopen(name, SYMBOLS);
      return { libc: { calls: symbols, constants: darwin ? DARWIN_CONSTANTS : LINUX_CONSTANTS, linux: !darwin } };
    } catch (error) {
      reason ||= `${name} cannot be loaded: ${messageOf(error)}`;
    }
  }
  return { reason };
}
