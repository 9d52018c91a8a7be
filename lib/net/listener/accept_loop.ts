/**
 * Opens one `Deno.serve` on an address, and says in one line why it cannot. The only `Deno.serve`.
 * @module
 */
import { messageOf, StartError } from "../../errors.ts";
import type { Address } from "../../config/service_mode.ts";
import { LINUX } from "../ffi/libc.ts";
import type { Ffi } from "../ffi/load_ffi.ts";
import type { Sockets } from "../ffi/sockets.ts";
import { clearSocketPath } from "./unix_socket_path.ts";

/** PEM text, as `Deno.serve` takes it. */
export interface TlsText {
  readonly cert: string;
  readonly key: string;
}

/** What answers requests. */
export type Handler = (
  request: Request,
  info: Deno.ServeHandlerInfo<Deno.Addr>,
) => Response | Promise<Response>;

/** How to open one. */
export interface BindOptions {
  readonly address: Address;
  /** A unix socket's path for now, to be moved to that of `address`. */
  readonly place?: string;
  readonly tls: TlsText | undefined;
  /** Join the listeners that share the port. Otherwise a port in use is an error. */
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
  /** Its listening descriptor; undefined without libc. */
  readonly fd: number | undefined;
  readonly tls: TlsText | undefined;
}

/**
 * Opens an accept loop. Where libc is there, TCP_NODELAY is set before the first connection is accepted, which inherits
 * it: Deno leaves it off under TLS, and an echo of 16 KiB then takes 44 ms in place of 0.1 ms.
 * @throws {StartError} why it cannot, and what would help.
 */
export function bind(options: BindOptions, ffi: Ffi | undefined): AcceptLoop {
  const { address, tls } = options;
  const before = ffi === undefined ? undefined : listening(ffi.sockets);
  const common = {
    handler: options.handler as Deno.ServeHandler<Deno.Addr>,
    onListen() {},
    ...(options.onError === undefined ? {} : { onError: options.onError }),
  };
  let server: Deno.HttpServer<Deno.Addr>;
  try {
    server = Deno.serve(
      (address.transport === "unix" ? { ...common, path: options.place ?? address.path } : {
        ...common,
        hostname: address.hostname,
        port: address.port,
        reusePort: options.reusePort,
        tcpBacklog: options.backlog,
        ...tls,
      }) as Deno.ServeTcpOptions & Deno.ServeInit<Deno.NetAddr>,
    ) as Deno.HttpServer<Deno.Addr>;
  } catch (error) {
    throw explained(error, address);
  }
  if (ffi === undefined || before === undefined) return { server, fd: undefined, tls };

  const { sockets, libc } = ffi;
  const port = "port" in server.addr ? server.addr.port : 0;
  const fd = [...listening(sockets)].find((fd) => !before.has(fd) && sockets.localPort(fd) === port);
  if (fd !== undefined && address.transport === "tcp") {
    sockets.setOption(fd, libc.constants.IPPROTO_TCP, libc.constants.TCP_NODELAY, 1);
    if (libc.linux && options.userTimeout > 0) {
      sockets.setOption(fd, libc.constants.IPPROTO_TCP, LINUX.TCP_USER_TIMEOUT, options.userTimeout);
    }
  }
  return { server, fd, tls };
}

/**
 * Without libc a direct listener is opened with `reusePort` from the start, because a later one could not join it. This
 * look beforehand keeps a second service from joining by accident.
 * @throws {StartError} when the port is taken.
 */
export function refuseTaken(address: Address): void {
  if (address.transport === "unix" || address.port === 0) return;
  try {
    Deno.listen({ hostname: address.hostname, port: address.port }).close();
  } catch (error) {
    throw explained(error, address);
  }
}

/** Sees to it that a unix socket's path is free; nothing to do for TCP. @throws {StartError} */
export async function clearAddress(address: Address): Promise<void> {
  if (address.transport === "unix") await clearSocketPath(address.path);
}

function listening(sockets: Sockets): Set<number> {
  return new Set(sockets.open().filter((fd) => sockets.isListening(fd)));
}

/** `127.0.0.1:8282`, `[::1]:8282`, or the path. */
export function describe(address: Address): string {
  if (address.transport === "unix") return address.path;
  const { hostname, port } = address;
  return `${hostname.includes(":") ? `[${hostname}]` : hostname}:${port}`;
}

function explained(error: unknown, address: Address): Error {
  if (error instanceof StartError) return error;
  const where = `Cannot listen on ${describe(address)}: `;
  const fail = (text: string) => new StartError(where + text, { cause: error });
  if (address.transport === "unix") {
    if (error instanceof Deno.errors.NotFound) {
      return fail("its folder does not exist; make it, or give another --unix");
    }
    if (error instanceof Deno.errors.PermissionDenied) {
      return fail("this user may not write in its folder; change the folder's owner or mode, or give another --unix");
    }
    if (error instanceof Deno.errors.NotCapable) {
      return fail(`Deno was not given the right; add --allow-read=${address.path} and --allow-write=${address.path}`);
    }
    return fail(messageOf(error));
  }
  if (error instanceof Deno.errors.AddrInUse) {
    return fail("the port is in use by another program; stop that one, or choose another with --port");
  }
  if (error instanceof Deno.errors.PermissionDenied) {
    return fail(
      "a port below 1024 needs the right to bind it (Linux: CAP_NET_BIND_SERVICE); grant it, or choose a --port from 1024 up",
    );
  }
  if (error instanceof Deno.errors.NotCapable) {
    return fail(`Deno was not given the right; add --allow-net=${describe(address)}`);
  }
  if (error instanceof Deno.errors.AddrNotAvailable) {
    return fail(`${address.hostname} is not an address of this machine; give one that is, or --host 0.0.0.0 for all`);
  }
  const message = messageOf(error);
  if (/resolve|lookup|No address associated|not known/i.test(message)) {
    return fail(`${address.hostname} is not the name of an address (${message}); give an address with --host`);
  }
  return fail(message);
}
