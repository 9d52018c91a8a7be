/**
 * The C library, as far as sockets need it: the only `Deno.dlopen`.
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
} as const satisfies Deno.ForeignLibraryInterface;

/** The functions, as C has them: 0 or more is success, -1 failure. */
export type Calls = Deno.DynamicLibrary<typeof SYMBOLS>["symbols"];

/** The numbers that differ from one system to another. */
export interface Constants {
  readonly SOL_SOCKET: number;
  readonly SO_REUSEPORT: number;
  readonly SO_ACCEPTCONN: number;
  readonly IPPROTO_TCP: number;
  readonly TCP_NODELAY: number;
  readonly RLIMIT_NOFILE: number;
  readonly AF_INET: number;
  readonly AF_INET6: number;
  /** Where in a sockaddr the family stands, and in how many bytes. */
  readonly familyOffset: number;
  readonly familyBytes: 1 | 2;
}

/** What Linux alone has. Each was tried on Linux 6 with glibc; the numbers are those of x86-64 and arm64. */
export const LINUX = {
  SO_KEEPALIVE: 9,
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
  TCP_USER_TIMEOUT: 18,
} as const;

const COMMON = { IPPROTO_TCP: 6, TCP_NODELAY: 1, AF_INET: 2 } as const;

const LINUX_CONSTANTS: Constants = {
  ...COMMON,
  SOL_SOCKET: 1,
  SO_REUSEPORT: 15,
  SO_ACCEPTCONN: 30,
  RLIMIT_NOFILE: 7,
  AF_INET6: 10,
  familyOffset: 0,
  familyBytes: 2,
};

const DARWIN_CONSTANTS: Constants = {
  ...COMMON,
  SOL_SOCKET: 0xffff,
  SO_REUSEPORT: 0x200,
  SO_ACCEPTCONN: 0x2,
  RLIMIT_NOFILE: 8,
  AF_INET6: 30,
  familyOffset: 1,
  familyBytes: 1,
};

/** The C library of this process. */
export interface Libc {
  readonly calls: Calls;
  readonly constants: Constants;
  /** Linux has what the watchdog and the hand-over of a port need; macOS only what TCP_NODELAY needs. */
  readonly linux: boolean;
}

/** The library, or one reason why there is none. */
export type LoadedLibc = { readonly libc: Libc; readonly reason?: undefined } | {
  readonly libc?: undefined;
  readonly reason: string;
};

/** glibc; musl by its two names (Alpine's is the second, the loader being the library itself). */
const LINUX_NAMES = ["libc.so.6", `libc.musl-${Deno.build.arch}.so.1`, "libc.so"] as const;
const DARWIN_NAMES = ["libSystem.B.dylib", "libSystem.dylib"] as const;

let loaded: LoadedLibc | undefined;

/**
 * Loads the C library once for this thread. Needs `--allow-ffi` without a path: Deno 2.9 takes a bare library name only
 * so. Where it was neither given nor denied on a terminal, Deno asks once. Never throws: without the library the service
 * runs on what Deno alone can do.
 */
export function loadLibc(): LoadedLibc {
  loaded ??= load();
  return loaded;
}

function load(): LoadedLibc {
  const { os } = Deno.build;
  if (os !== "linux" && os !== "darwin" && os !== "android") return { reason: `there is none that it knows on ${os}` };
  // Asked for beforehand: after a prompt of its own, dlopen resolves the bare name in the working directory.
  if (Deno.permissions.requestSync({ name: "ffi" }).state !== "granted") {
    return { reason: "--allow-ffi is not given, or only for a path, and Deno finds the C library only without one" };
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
