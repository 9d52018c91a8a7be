/**
 * Runs the service as a library over real TLS, with its own certificate. Clients can trust the certificate's authority.
 *
 *     await using served = await serving(app, { messageRate: 10 });
 *     await using client = await Client.open(served.url, { ca: served.ca });
 * @module
 */
import { join } from "node:path";
import type { ServiceOptions } from "../../lib/config/service_options_type.ts";
import { createLogger } from "../../lib/log.ts";
import { loadFfi } from "../../lib/net/ffi/load_ffi.ts";
import { serve, type Service } from "../../lib/mod.ts";
import { developmentMaterial } from "../../lib/tls/development_certificate.ts";
import type { AppFactory, ServiceApp } from "../../lib/ws/app_types.ts";
import { Client, type ClientOptions } from "./client.ts";
import type { RawTarget } from "./raw.ts";

// The C library is loaded before the first test. The sanitizer would otherwise report it as a leak of a test.
loadFfi();

/** A log line. */
export type Line = Readonly<Record<string, unknown>> & { readonly level: string; readonly message: string };

/** A running service. Disposing of it stops it and removes its files. */
export interface Served extends AsyncDisposable {
  readonly service: Service;
  readonly url: string;
  /** The file of the authority's certificate. */
  readonly ca: string;
  /** The port, and in direct mode the PEM of the authority, for raw connections. */
  readonly raw: RawTarget;
  /** A folder for the test's files. */
  readonly folder: string;
  /** All log lines, including debug. */
  readonly lines: readonly Line[];
  connect(options?: ClientOptions & { readonly path?: string }): Promise<Client>;
  /** The log lines whose message contains a text. */
  logged(text: string): Line[];
}

/** Serves an app on a free port. Writes the files first. Options that name files are relative to `folder`. */
export async function serving(
  app: ServiceApp | AppFactory,
  options: ServiceOptions | ((folder: string) => ServiceOptions | Promise<ServiceOptions>) = {},
): Promise<Served> {
  const folder = await Deno.makeTempDir({ prefix: "wss-serving-" });
  try {
    const { authorityFile: ca } = await developmentMaterial({ folder });
    const lines: Line[] = [];
    const log = createLogger({ level: "debug", format: "json", write: (line) => void lines.push(JSON.parse(line)) });
    const given = typeof options === "function" ? await options(folder) : options;
    const tls = given.mode === "proxied" ? {} : { cert: join(folder, "cert.pem"), key: join(folder, "key.pem") };
    const service = await serve(app, { host: "127.0.0.1", port: 0, drainTimeout: 0, ...tls, ...given }, { log });
    const { port } = service.addr as Deno.NetAddr;
    return {
      service,
      url: service.url,
      ca,
      raw: service.mode.kind === "direct" ? { port, ca: await Deno.readTextFile(ca) } : { port },
      folder,
      lines,
      connect: ({ path, ...rest } = {}) =>
        Client.open(path === undefined ? service.url : new URL(path, service.url).href, { ca, ...rest }),
      logged: (text) => lines.filter(({ message }) => message.includes(text)),
      async [Symbol.asyncDispose]() {
        await service.stop();
        await Deno.remove(folder, { recursive: true });
      },
    };
  } catch (error) {
    await Deno.remove(folder, { recursive: true });
    throw error;
  }
}
