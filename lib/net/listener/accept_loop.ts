/**
 * Opens an accept loop on an address. A failure is explained in one line. This file has the only `Deno.serve`.
 * @module
 */
import { messageOf, StartError } from "../../errors.ts";
import type { Address } from "../../config/service_mode.ts";
import { LINUX } from "../ffi/libc.ts";
import type { Ffi } from "../ffi/load_ffi.ts";
import type { Sockets } from "../ffi/sockets.ts";
import {
  assertSocketOrMissing,
  clearSocketPath,
  missingPermission,
  moveSocket,
  removeOwnSocket,
} from "./unix_socket_path.ts";

/** Certificate and key in PEM, for `Deno.serve`. */
export interface TlsText {
  readonly cert: string;
  readonly key: string;
}

/** Handles the requests of an accept loop. */
export type Handler = (
  request: Request,
  info: Deno.ServeHandlerInfo<Deno.Addr>,
) => Response | Promise<Response>;

/** Options of {@link bind}. */
export interface BindOptions {
  readonly address: Address;
  readonly tls: TlsText | undefined;
  /** Whether to share the port with other listeners. If false, a port in use is an error. */
  readonly reusePort: boolean;
  readonly backlog: number;
  /** See `ListenOptions.userTimeout`. */
  readonly userTimeout: number;
  readonly handler: Handler;
  readonly onError: ((error: unknown) => Response | Promise<Response>) | undefined;
}

/** One accept loop. */
export interface AcceptLoop {
  readonly server: Deno.HttpServer<Deno.Addr>;
  /** The listening descriptor; undefined without libc. */
  readonly fd: number | undefined;
  readonly tls: TlsText | undefined;
  /** The inode of a unix socket, for `removeOwnSocket`. */
  readonly inode: number | null;
}

/**
 * Opens an accept loop. With libc, sets TCP_NODELAY on the listening socket, from which accepted connections inherit
 * it. Deno leaves it off under TLS, and an echo of 16 KiB then takes 44 ms instead of 0.1 ms.
 * @throws {StartError} if the address cannot be opened; the message gives the cause and a remedy
 */
export function bind(options: BindOptions, ffi: Ffi | undefined): AcceptLoop {
  const { address, tls } = options;
  const before = ffi === undefined ? undefined : listeningDescriptors(ffi.sockets);
  const common = {
    handler: options.handler as Deno.ServeHandler<Deno.Addr>,
    onListen() {},
    ...(options.onError === undefined ? {} : { onError: options.onError }),
  };
  // Renaming replaces the socket at the path without a gap. Also, Deno removes the path that it bound when it closes, even
  // if that path is a successor's socket by then. It does not remove the new path.
  const temporaryPath = address.transport === "unix" ? `${address.path}.${Deno.pid}` : "";
  let server: Deno.HttpServer<Deno.Addr> | undefined;
  let inode: number | null = null;
  try {
    server = Deno.serve(
      (address.transport === "unix" ? { ...common, path: temporaryPath } : {
        ...common,
        hostname: address.hostname,
        port: address.port,
        reusePort: options.reusePort,
        tcpBacklog: options.backlog,
        ...tls,
      }) as Deno.ServeTcpOptions & Deno.ServeInit<Deno.NetAddr>,
    ) as Deno.HttpServer<Deno.Addr>;
    if (address.transport === "unix") inode = moveSocket(temporaryPath, address.path, address.mode);
  } catch (error) {
    // A socket that cannot be moved would keep the temporary path.
    server?.shutdown().catch(() => {});
    throw explainError(error, address);
  }
  if (ffi === undefined || before === undefined) return { server, fd: undefined, tls, inode };

  const { sockets, libc } = ffi;
  const port = "port" in server.addr ? server.addr.port : 0;
  const fd = [...listeningDescriptors(sockets)].find((fd) => !before.has(fd) && sockets.localPort(fd) === port);
  if (fd !== undefined && address.transport === "tcp") {
    sockets.setOption(fd, libc.constants.IPPROTO_TCP, libc.constants.TCP_NODELAY, 1);
    if (libc.linux && options.userTimeout > 0) {
      sockets.setOption(fd, libc.constants.IPPROTO_TCP, LINUX.TCP_USER_TIMEOUT, options.userTimeout);
    }
  }
  return { server, fd, tls, inode };
}

/**
 * Checks that a port is free. Without libc a direct listener must be opened with `reusePort` from the start, or the one
 * for the next certificate could not join it. This check prevents a second service from joining by accident.
 * @throws {StartError} if the port is in use
 */
export function assertPortFree(address: Address): void {
  if (address.transport === "unix" || address.port === 0) return;
  try {
    Deno.listen({ hostname: address.hostname, port: address.port }).close();
  } catch (error) {
    throw explainError(error, address);
  }
}

/** Makes the path of a unix socket available; does nothing for TCP. @throws {StartError} if the path is in use */
export async function clearAddress(address: Address): Promise<void> {
  if (address.transport === "unix") await clearSocketPath(address.path);
}

/**
 * Checks that a unix socket can be created: creates one beside its path, and removes it. A service that listens there is
 * no error. Does nothing for TCP.
 * @throws {StartError} with the text of a failed start
 */
export function checkSocketAddress(address: Address): void {
  if (address.transport !== "unix") return;
  assertSocketOrMissing(address.path);
  const path = `${address.path}.${Deno.pid}`;
  try {
    const listener = Deno.listen({ transport: "unix", path });
    const { ino } = Deno.lstatSync(path);
    listener.close();
    removeOwnSocket(path, ino);
  } catch (error) {
    throw explainError(error, address);
  }
}

function listeningDescriptors(sockets: Sockets): Set<number> {
  return new Set(sockets.open().filter((fd) => sockets.isListening(fd)));
}

/** `127.0.0.1:8282`, `[::1]:8282`, or the path. */
export function formatAddress(address: Address): string {
  if (address.transport === "unix") return address.path;
  const { hostname, port } = address;
  return `${hostname.includes(":") ? `[${hostname}]` : hostname}:${port}`;
}

function explainError(error: unknown, address: Address): Error {
  if (error instanceof StartError) return error;
  const where = `Cannot listen on ${formatAddress(address)}: `;
  const fail = (text: string) => new StartError(where + text, { cause: error });
  if (address.transport === "unix") {
    if (error instanceof Deno.errors.NotFound) {
      return fail("its folder does not exist; create it, or give another --unix");
    }
    if (error instanceof Deno.errors.PermissionDenied) {
      return fail("this user may not write in its folder; change the folder's owner or mode, or give another --unix");
    }
    return fail(missingPermission(error, address.path) ?? messageOf(error));
  }
  if (error instanceof Deno.errors.AddrInUse) {
    return fail("the port is in use by another program; stop that one, or choose another with --port");
  }
  if (error instanceof Deno.errors.PermissionDenied) {
    return fail(
      "a port below 1024 requires a privilege (Linux: CAP_NET_BIND_SERVICE); grant it, or choose a --port from 1024 up",
    );
  }
  if (error instanceof Deno.errors.NotCapable) {
    return fail(`Deno has no permission; add --allow-net=${formatAddress(address)}`);
  }
  if (error instanceof Deno.errors.AddrNotAvailable) {
    return fail(
      `${address.hostname} is not an address of this machine; give one of its addresses, or --host 0.0.0.0 for all`,
    );
  }
  const message = messageOf(error);
  if (/resolve|lookup|No address associated|not known/i.test(message)) {
    return fail(`${address.hostname} cannot be resolved (${message}); give an address with --host`);
  }
  return fail(message);
}
