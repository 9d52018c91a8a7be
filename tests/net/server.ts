/**
 * A small echo service with a Listener and a Watchdog. It runs in its own process, so that its descriptors, event loop
 * and memory are separate from the test's. It reads commands as lines from standard input and writes answers as JSON
 * lines to standard output.
 * @module
 */
import { createLogger } from "../../lib/log.ts";
import type { Address } from "../../lib/config/service_mode.ts";
import { Watchdog } from "../../lib/net/watchdog/watchdog.ts";
import { Listener } from "../../lib/net/listener/listener.ts";
import { descriptorLimit } from "../../lib/net/ffi/load_ffi.ts";
import type { WatchedConnection } from "../../lib/net/watchdog/watched_connection.ts";

/** The options of the process. */
export interface ServerOptions {
  readonly address?: Address;
  readonly tls?: { readonly cert: string; readonly key: string };
  readonly takeover?: boolean;
  readonly userTimeout?: number;
  /** The options of the watchdog. If absent, no watchdog runs. */
  readonly watchdog?: {
    readonly handshakeTimeout: number;
    readonly keepAliveTimeout?: number;
    readonly closeTimeout?: number;
    readonly maxPayload: number;
  };
}

function say(value: unknown): void {
  const bytes = new TextEncoder().encode(JSON.stringify(value) + "\n");
  for (let written = 0; written < bytes.length;) written += Deno.stdout.writeSync(bytes.subarray(written));
}

async function main(options: ServerOptions): Promise<void> {
  const log = createLogger({ level: "debug", format: "json", write: (line) => say({ log: JSON.parse(line) }) });
  const counts = { opened: 0, closed: 0, requests: 0 };
  const reasons: string[] = [];
  const sockets = new Set<WebSocket>();
  const connections = new Map<WebSocket, WatchedConnection | undefined>();
  let watchdog: Watchdog | undefined;

  async function handler(request: Request, info: Deno.ServeHandlerInfo<Deno.Addr>): Promise<Response> {
    counts.requests++;
    const connection = watchdog?.connection(info.remoteAddr, request.body !== null);
    const path = new URL(request.url).pathname;
    if (path === "/mistake") Deno.upgradeWebSocket(request);
    if (request.headers.get("upgrade") === null) {
      return new Response("plain", path === "/close" ? { headers: { connection: "close" } } : {});
    }
    // This delay stands for an app's hook. The client may disconnect meanwhile.
    if (path === "/slow") await new Promise((resolve) => setTimeout(resolve, 5));
    if (connection?.upgrading() === false) return new Response("gone", { status: 400 });
    const { socket, response } = Deno.upgradeWebSocket(request, { idleTimeout: 0 });
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      counts.opened++;
      sockets.add(socket);
      connections.set(socket, connection);
      connection?.opened();
    };
    socket.onmessage = ({ data }) => {
      connection?.delivered(typeof data === "string" ? data.length : data.byteLength);
      if (data === "close me") {
        connection?.closing();
        socket.close(1000);
      } else if (data === "cut me") connection?.terminate();
      else if (data === "feed me") socket.send(new Uint8Array(8 * 1024 * 1024));
      else socket.send(data);
    };
    socket.onerror = () => {};
    let ended = false;
    socket.onclose = () => {
      if (ended) return;
      ended = true;
      counts.closed++;
      sockets.delete(socket);
      connections.delete(socket);
      const reason = connection?.closed();
      if (reason) reasons.push(reason);
    };
    return response;
  }

  const listener = await Listener.open({
    address: options.address ?? { transport: "tcp", hostname: "127.0.0.1", port: 0 },
    tls: options.tls,
    takeover: options.takeover,
    userTimeout: options.userTimeout,
    handler,
    log,
  });
  if (options.watchdog) {
    watchdog = Watchdog.start({ ...options.watchdog, addr: listener.addr, log });
    if (await watchdog?.ready === false) watchdog = undefined;
  }
  say({ addr: listener.addr, limit: descriptorLimit(), canStop: listener.canStop, guarded: watchdog !== undefined });

  async function obey(command: string, argument: string): Promise<unknown> {
    switch (command) {
      case "stat": {
        const fds = [...Deno.readDirSync("/proc/self/fd")].length;
        // With --expose-gc, the remaining memory is in use and not merely uncollected.
        (globalThis as { gc?: () => void }).gc?.();
        const rss = Deno.memoryUsage().rss;
        return { ...counts, sockets: sockets.size, fds, rss, reasons, watchdog: watchdog?.stats() };
      }
      case "reload":
        return await listener.replace(JSON.parse(argument));
      case "share":
        return listener.share();
      case "takeBack":
        return listener.takeBack();
      case "stop":
        return await listener.stopAccepting();
      case "close": {
        await watchdog?.stop();
        const began = performance.now();
        await listener.close();
        return performance.now() - began;
      }
      case "freeze": {
        const until = performance.now() + Number(argument);
        while (performance.now() < until);
        return null;
      }
    }
    throw new TypeError(`no command ${command}`);
  }

  let rest = "";
  for await (const text of Deno.stdin.readable.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split("\n");
    rest = lines.pop()!;
    for (const line of lines) {
      const [id = "", command = "", ...argument] = line.split(" ");
      obey(command, argument.join(" ")).then(
        (result) => say({ id, result: result ?? null }),
        (error) => say({ id, error: String(error) }),
      );
    }
  }
}

if (import.meta.main) {
  main(JSON.parse(Deno.args[0]!)).catch((error) => {
    say({ failed: `${error.name}: ${error.message}` });
    Deno.exit(1);
  });
}
