/**
 * The service behind the proxies. Its app records the address and request of each peer, and counts open connections.
 */
import { defineApp, serve, type ServiceOptions } from "../../lib/mod.ts";
import { loadLibc } from "../../lib/net/ffi/libc.ts";

// Each process loads libc once and keeps it. It is loaded here, or the sanitizer of the first test reports a leak.
loadLibc();

/** A handshake that the service received. */
export interface ReceivedHandshake {
  readonly url: URL;
  readonly headers: Headers;
  /** The client's address as reported to the app. */
  readonly address: string | undefined;
}

/** A running service. Disposing it stops the service. */
export interface Upstream extends AsyncDisposable {
  /** `127.0.0.1:PORT`, or the socket's path. */
  readonly address: string;
  readonly seen: readonly ReceivedHandshake[];
  readonly open: number;
  /** Resolves when exactly `count` connections are open; rejects after 20 s. */
  waitForOpen(count: number): Promise<void>;
}

/** Starts a service in proxied mode, at `/wss` on a free loopback port. It answers `ok` to text and echoes bytes. */
export async function startUpstream(options: ServiceOptions = {}): Promise<Upstream> {
  const seen: ReceivedHandshake[] = [];
  const waiting = new Set<{ count: number; resolve: () => void }>();
  let open = 0;
  const changed = (by: number) => {
    open += by;
    for (const waiter of waiting) if (waiter.count === open) waiter.resolve();
  };
  const app = defineApp({
    open(peer) {
      seen.push({ url: new URL(peer.request.url), headers: peer.request.headers, address: peer.remoteAddress });
      changed(1);
    },
    message(peer, { rawData }) {
      peer.send(typeof rawData === "string" ? "ok" : rawData);
    },
    close: () => changed(-1),
  });
  const service = await serve(app, {
    mode: "proxied",
    path: ["/wss"],
    maxPayload: "64MiB",
    maxBackpressure: "64MiB",
    drainTimeout: 0,
    ...(options.unix === undefined ? { port: 0 } : {}),
    ...options,
  });
  // The proxy's workers run as another user and must open the socket.
  if (options.unix !== undefined) await Deno.chmod(options.unix, 0o777);

  return {
    address: service.addr.transport === "tcp" ? `127.0.0.1:${service.addr.port}` : options.unix!,
    seen,
    get open() {
      return open;
    },
    async waitForOpen(count) {
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
    [Symbol.asyncDispose]: () => service.stop(),
  };
}
