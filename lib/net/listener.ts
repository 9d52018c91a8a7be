/**
 * The accept loop's life.
 * @module
 */
import type { Address } from "../config/mode.ts";
import { messageOf, StartError } from "../errors.ts";
import type { Logger } from "../log.ts";

export interface ListenOptions {
  readonly address: Address;
  readonly tls?: { readonly cert: string; readonly key: string };
  readonly handler: (request: Request, info: Deno.ServeHandlerInfo<Deno.Addr>) => Response | Promise<Response>;
  readonly onError?: (error: unknown) => Response | Promise<Response>;
  readonly log: Logger;
}

/** A listening Deno.serve. */
export class Listener {
  readonly #server: Deno.HttpServer;
  readonly addr: Deno.Addr;

  private constructor(server: Deno.HttpServer) {
    this.#server = server;
    this.addr = server.addr;
  }

  // deno-lint-ignore require-await
  static async open({ address, tls, handler, onError }: ListenOptions): Promise<Listener> {
    const common = { onListen() {}, ...(onError ? { onError } : {}) };
    try {
      const server = address.transport === "unix"
        ? Deno.serve({ ...common, path: address.path }, handler)
        : Deno.serve({ ...common, hostname: address.hostname, port: address.port, ...tls }, handler);
      return new Listener(server);
    } catch (error) {
      throw new StartError(`Cannot listen: ${messageOf(error)}`, { cause: error });
    }
  }

  async stopAccepting(): Promise<void> {}

  async close(): Promise<void> {
    await this.#server.shutdown();
  }
}
