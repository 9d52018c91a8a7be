/**
 * A source of ACME certificates on Pebble's address, with a listener for its challenges.
 * @module
 */
import { createLogger } from "../../../lib/log.ts";
import { HttpChallenges } from "../../../lib/tls/acme/http_challenges.ts";
import type { AcmeOptions } from "../../../lib/tls/acme/obtain_certificate.ts";
import { AcmeSource } from "../../../lib/tls/acme/acme_source.ts";
import type { Pebble } from "./pebble.ts";

/** One log line. */
export type Line = Readonly<Record<string, unknown>> & { readonly level: string; readonly message: string };

/** A source with its folder, challenges and log. Disposing of it stops the source and keeps its folder. */
export interface TestSource extends AsyncDisposable {
  readonly source: AcmeSource;
  readonly folder: string;
  readonly challenges: HttpChallenges;
  readonly lines: readonly Line[];
  /** Resolves with the first line whose message matches, including earlier lines. */
  logged(pattern: RegExp): Promise<Line>;
}

/** Options that a test may change. */
export interface SourceOptions extends Partial<AcmeOptions> {
  /** The handler on the challenge port. Default: the source's own. */
  readonly handler?: (request: Request) => Response;
  /** Whether the challenge port is opened. Default true. */
  readonly listen?: boolean;
}

/** Creates a source. It sends no request before `source.load()`. */
export function acmeSource(pebble: Pebble, folder: string, options: SourceOptions = {}): TestSource {
  const { handler, listen = true, ...rest } = options;
  const names = rest.names ?? ["a.example"];
  const challenges = new HttpChallenges(names);
  const lines: Line[] = [];
  const waiting = new Set<() => void>();
  const write = (line: string) => {
    lines.push(JSON.parse(line));
    for (const check of waiting) check();
  };
  const source = new AcmeSource({
    names,
    directory: { title: "pebble", folder: "pebble", url: pebble.directory },
    caFile: pebble.caFile,
    agreeTos: true,
    folder,
    userAgent: "wss/test",
    ...rest,
  }, {
    log: createLogger({ level: "debug", format: "json", write }),
    respond: challenges.respond,
    async listen() {
      if (!listen) return { [Symbol.asyncDispose]: () => Promise.resolve() };
      const server = await serveWhenFree(pebble.address, pebble.httpPort, handler ?? challenges.handle);
      return { [Symbol.asyncDispose]: () => server.shutdown() };
    },
  });
  return {
    source,
    folder,
    challenges,
    lines,
    logged(pattern) {
      const { promise, resolve } = Promise.withResolvers<Line>();
      const look = () => {
        const line = lines.find(({ message }) => pattern.test(message));
        if (line === undefined) return;
        waiting.delete(look);
        resolve(line);
      };
      waiting.add(look);
      look();
      return promise;
    },
    [Symbol.asyncDispose]: () => source[Symbol.asyncDispose](),
  };
}

/** On a busy machine Deno releases the port of the previous source only after its `shutdown` has resolved. */
async function serveWhenFree(hostname: string, port: number, handler: Deno.ServeHandler): Promise<Deno.HttpServer> {
  for (const until = performance.now() + 30_000;;) {
    try {
      return Deno.serve({ hostname, port, onListen() {} }, handler);
    } catch (error) {
      if (!(error instanceof Deno.errors.AddrInUse) || performance.now() > until) throw error;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

/** A temporary folder that is removed at the end of its scope. */
export async function temporaryFolder(): Promise<{ readonly path: string } & AsyncDisposable> {
  const path = await Deno.makeTempDir({ prefix: "wss-acme-" });
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}
