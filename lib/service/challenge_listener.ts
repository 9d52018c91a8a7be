/**
 * The plain HTTP port of a service that obtains its certificate by ACME: answers challenges and redirects.
 * @module
 */
import type { Address } from "../config/service_mode.ts";
import { messageOf, StartError } from "../errors.ts";
import { formatAddress } from "../net/listener/accept_loop.ts";
import type { Logger } from "../log.ts";
import { Listener } from "../net/listener/listener.ts";
import { Watchdog } from "../net/watchdog/watchdog.ts";

/** Milliseconds for a client's request, and for an idle connection after it. */
const REQUEST_TIMEOUT = 10_000;
const KEEP_ALIVE_TIMEOUT = 5_000;

/** Options of the challenge listener. */
export interface ChallengeListenerOptions {
  /** The service's address. The challenge port is opened on the same address. */
  readonly hostname: string;
  readonly port: number;
  readonly handle: (request: Request) => Response;
  readonly log: Logger;
}

/**
 * Opens the challenge port.
 * @returns an object that closes the port when disposed
 * @throws {StartError} if the port is in use or forbidden. The message contains the remedy
 */
export async function openChallengeListener(options: ChallengeListenerOptions): Promise<AsyncDisposable> {
  const { hostname, port, handle, log } = options;
  const address: Address = { transport: "tcp", hostname, port };
  let watchdog: Watchdog | undefined = undefined;
  let listener: Listener;
  try {
    listener = await Listener.open({
      address,
      handler(request, { remoteAddr }) {
        watchdog?.connection(remoteAddr, request.body !== null);
        return handle(request);
      },
      log,
      additional: true,
    });
  } catch (error) {
    throw explainError(error, address);
  }
  const limits = { handshakeTimeout: REQUEST_TIMEOUT, keepAliveTimeout: KEEP_ALIVE_TIMEOUT, maxPayload: 0 };
  watchdog = Watchdog.start({ addr: listener.addr, ...limits, log });
  return {
    async [Symbol.asyncDispose]() {
      await listener.stopAccepting();
      await listener.close();
      await watchdog?.stop();
    },
  };
}

/** Replaces the listener's error: the remedies for the service's port do not apply to the challenge port. */
function explainError(error: unknown, address: Address): Error {
  if (!(error instanceof StartError)) return error as Error;
  const where = `Cannot answer the authority's challenges on ${formatAddress(address)}: `;
  const { cause } = error;
  if (cause instanceof Deno.errors.AddrInUse) {
    return new StartError(
      `${where}the port is in use by another program; stop that program, or let it forward ` +
        "/.well-known/acme-challenge/ to another port and set that port with --acme-http-port",
    );
  }
  if (cause instanceof Deno.errors.PermissionDenied) {
    return new StartError(
      `${where}binding a port below 1024 requires a privilege (Linux: CAP_NET_BIND_SERVICE); grant it, or forward port ` +
        "80 to a port from 1024 up and set that port with --acme-http-port",
    );
  }
  if (cause instanceof Deno.errors.NotCapable) {
    return new StartError(`${where}Deno has no permission; add --allow-net=${formatAddress(address)}`);
  }
  return new StartError(`${where}${messageOf(error).replace(/^Cannot listen on [^ ]+: /, "")}`);
}
