/**
 * The same behaviour as app.ts, on Bun. Usage: `bun.ts CERT KEY`
 * @module
 */
import process from "node:process";

interface BunSocket {
  send(data: string): void;
  subscribe(topic: string): void;
}

interface BunServer {
  readonly port: number;
  upgrade(request: Request): boolean;
  publish(topic: string, data: string): void;
}

interface BunOptions {
  readonly hostname: string;
  readonly port: number;
  readonly tls: { readonly cert: unknown; readonly key: unknown };
  fetch(request: Request, server: BunServer): Response | undefined;
  readonly websocket: { message(socket: BunSocket, data: string | Uint8Array): void };
}

/** The part of Bun's API that is used here. */
declare const Bun: { serve(options: BunOptions): BunServer; file(path: string): unknown; gc(force: boolean): void };

const [cert, key] = process.argv.slice(2);
const server = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  tls: { cert: Bun.file(cert!), key: Bun.file(key!) },
  fetch(request, server) {
    return server.upgrade(request) ? undefined : new Response("426 Upgrade Required\n", { status: 426 });
  },
  websocket: {
    message(socket, data) {
      if (typeof data === "string") return socket.send(data);
      if (data[0] === 1) socket.subscribe("all");
      if (data[0] === 2) server.publish("all", new TextDecoder().decode(data.subarray(1)));
      if (data[0] === 3) {
        Bun.gc(true);
        socket.send("collected");
      }
    },
  },
});
process.stdout.write(`${JSON.stringify({ port: server.port })}\n`);
