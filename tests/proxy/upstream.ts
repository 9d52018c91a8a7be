/**
 * A plain WebSocket server that stands behind the proxies and remembers what it saw: the client's address as the service
 * reads it, the headers, who is connected.
 */
import { addressSet, canonicalAddress, LOOPBACK } from "../../lib/ip.ts";
import { type ClientAddress, clientAddress } from "../../lib/http/client_address.ts";

/** One request as it arrived. */
export interface Seen {
  readonly method: string;
  readonly url: URL;
  readonly headers: Headers;
  readonly client: ClientAddress;
}

export interface Upstream extends AsyncDisposable {
  /** `127.0.0.1:PORT`, or the socket's path. */
  readonly address: string;
  readonly seen: readonly Seen[];
  readonly open: number;
  /** Resolves once so many connections are open; rejects after 20 s. */
  opens(count: number): Promise<void>;
}

/** Answers `ok` to text, echoes bytes, reads a body to its end, 426 to anything else that is no upgrade. `idleTimeout` in seconds, 0 is off. */
export function startUpstream(options: { unix?: string; idleTimeout?: number } = {}): Upstream {
  const seen: Seen[] = [];
  const waiting = new Set<{ count: number; resolve: () => void }>();
  const trusted = addressSet(LOOPBACK);
  let open = 0;
  const changed = (by: number) => {
    open += by;
    for (const waiter of waiting) if (waiter.count === open) waiter.resolve();
  };

  const handler = async (request: Request, info: Deno.ServeHandlerInfo<Deno.Addr>) => {
    const remote = info.remoteAddr.transport === "tcp" ? canonicalAddress(info.remoteAddr.hostname) : undefined;
    const headers = new Headers(request.headers);
    const client = clientAddress(headers, remote, { trusted });
    seen.push({ method: request.method, url: new URL(request.url), headers, client });
    if (request.body !== null) {
      // It throws where the proxy breaks off.
      const body = await request.arrayBuffer().catch(() => undefined);
      return new Response(`read ${body?.byteLength} bytes`, { status: body ? 200 : 400 });
    }
    if (headers.get("upgrade")?.toLowerCase() !== "websocket") return new Response("no upgrade", { status: 426 });
    const { socket, response } = Deno.upgradeWebSocket(request, { idleTimeout: options.idleTimeout ?? 30 });
    socket.binaryType = "arraybuffer";
    socket.onopen = () => changed(1);
    socket.onmessage = ({ data }) => socket.send(typeof data === "string" ? "ok" : data);
    socket.onclose = () => changed(-1);
    return response;
  };
  const server = options.unix === undefined
    ? Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, handler)
    : Deno.serve({ path: options.unix, onListen() {} }, handler);
  // A proxy's workers run as another user.
  if (options.unix !== undefined) Deno.chmodSync(options.unix, 0o777);

  return {
    address: server.addr.transport === "tcp" ? `127.0.0.1:${server.addr.port}` : options.unix!,
    seen,
    get open() {
      return open;
    },
    async opens(count) {
      if (open === count) return;
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      const waiter = { count, resolve };
      waiting.add(waiter);
      const timer = setTimeout(
        () => reject(new Error(`${open} connections are open, not ${count}, after 20s`)),
        20_000,
      );
      await promise.finally(() => {
        clearTimeout(timer);
        waiting.delete(waiter);
      });
    },
    async [Symbol.asyncDispose]() {
      await server.shutdown();
    },
  };
}
