/**
 * Servers for tests of the probes: correct ones, and building blocks for servers with one fault.
 */
import { connectTcp } from "../../lib/client/raw_connection.ts";

/** A server that a test starts. Disposing it stops the server and waits until it has stopped. */
export interface Server extends AsyncDisposable {
  readonly port: number;
}

/** Certificate and key, PEM text. */
export interface Identity {
  readonly cert: string;
  readonly key: string;
}

/** Options of `echoService`. */
export interface EchoOptions {
  readonly identity?: Identity;
  /** Default 127.0.0.1. */
  readonly hostname?: string;
  /** The path that accepts upgrades; other paths are answered with 404. Default: all paths. */
  readonly path?: string;
  readonly onRequest?: (request: Request) => Response | Promise<Response | undefined> | undefined;
  readonly onOpen?: (socket: WebSocket) => void;
}

/** Starts a correct echo service on Deno.serve. */
export function echoService(options: EchoOptions = {}): Server {
  async function handle(request: Request): Promise<Response> {
    const answer = await options.onRequest?.(request);
    if (answer !== undefined) return answer;
    const { pathname } = new URL(request.url);
    if (options.path !== undefined && pathname !== options.path) return new Response("no such path", { status: 404 });
    if (request.headers.get("upgrade")?.toLowerCase() !== "websocket") {
      return new Response("this is a WebSocket service", { status: 426 });
    }
    const protocol = request.headers.get("sec-websocket-protocol")?.split(",")[0]?.trim();
    const { socket, response } = Deno.upgradeWebSocket(request, protocol === undefined ? {} : { protocol });
    socket.onopen = () => options.onOpen?.(socket);
    socket.onmessage = ({ data }) => socket.send(data);
    return response;
  }
  const { identity, hostname = "127.0.0.1" } = options;
  const base = { hostname, port: 0, onListen() {} };
  const server = identity === undefined ? Deno.serve(base, handle) : Deno.serve({ ...base, ...identity }, handle);
  return { port: server.addr.port, [Symbol.asyncDispose]: () => server.shutdown() };
}

/** Starts a TCP server that calls `serve` for each connection and closes the connection afterwards. */
export function rawServer(serve: (connection: Deno.TcpConn) => Promise<void>): Server {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const open = new Set<Deno.TcpConn>();
  const served: Promise<void>[] = [];
  const accepting = (async () => {
    for await (const connection of listener) {
      open.add(connection);
      served.push(
        serve(connection).catch(() => {}).then(() => {
          if (open.delete(connection)) closeIfOpen(() => connection.close());
        }),
      );
    }
  })();
  return {
    port: listener.addr.port,
    async [Symbol.asyncDispose]() {
      listener.close();
      for (const connection of open) closeIfOpen(() => connection.close());
      open.clear();
      await accepting;
      await Promise.all(served);
    },
  };
}

/** Closes a connection that may be closed already. */
function closeIfOpen(close: () => void): void {
  try {
    close();
  } catch (error) {
    if (!(error instanceof Deno.errors.BadResource)) throw error;
  }
}

/** Reads until the peer closes the connection, and sends nothing. */
export async function listenOnly(connection: Deno.TcpConn): Promise<void> {
  const bytes = new Uint8Array(4096);
  while (await connection.read(bytes) !== null);
}

/** Reads a request head, until a blank line or the end of the stream. */
export async function readRequest(connection: Deno.Conn): Promise<string> {
  const bytes = new Uint8Array(4096);
  let text = "";
  while (!text.includes("\r\n\r\n")) {
    const count = await connection.read(bytes);
    if (count === null) break;
    text += new TextDecoder().decode(bytes.subarray(0, count));
  }
  return text;
}

/** Writes all bytes. */
export async function writeAll(connection: Deno.Conn, data: string | Uint8Array): Promise<void> {
  const bytes = typeof data === "string" ? new TextEncoder().encode(data) : data;
  for (let written = 0; written < bytes.length;) written += await connection.write(bytes.subarray(written));
}

/** Returns a valid 101 response to an upgrade request, with additional header lines. */
export async function upgradeResponse(request: string, headers = ""): Promise<string> {
  const key = /^sec-websocket-key: *(.*)\r$/im.exec(request)?.[1] ?? "";
  const bytes = new TextEncoder().encode(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
  const accept = btoa(String.fromCharCode(...new Uint8Array(await crypto.subtle.digest("SHA-1", bytes))));
  return `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
    `Sec-WebSocket-Accept: ${accept}\r\n${headers}\r\n`;
}

/** Answers pings and close frames. Each frame must be shorter than 126 bytes and arrive in a separate read. */
export async function answerFrames(connection: Deno.Conn): Promise<void> {
  const bytes = new Uint8Array(512);
  while (true) {
    const count = await connection.read(bytes);
    if (count === null) return;
    const [opcode, length] = [bytes[0]! & 15, bytes[1]! & 127];
    const payload = bytes.slice(6, 6 + length).map((byte, at) => byte ^ bytes[2 + (at & 3)]!);
    await writeAll(connection, new Uint8Array([0x80 | (opcode === 9 ? 10 : opcode), length, ...payload]));
    if (opcode === 8) return;
  }
}

/** Starts a server that calls `answer` for an upgrade and answers other requests with 426. */
export function upgradeServer(answer: (connection: Deno.TcpConn, request: string) => Promise<void>): Server {
  return rawServer(async (connection) => {
    const request = await readRequest(connection);
    if (/^upgrade: websocket\r$/im.test(request)) await answer(connection, request);
    else await writeAll(connection, "HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n");
  });
}

/**
 * Returns a port that drops SYNs like a firewall. The backlog of its listening socket is full, so Linux ignores SYNs.
 */
export async function firewalledPort(): Promise<Server> {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0, tcpBacklog: 1 });
  const { port } = listener.addr;
  const fillers = await Promise.all([Deno.connect({ port }), Deno.connect({ port })]);
  return {
    port,
    [Symbol.asyncDispose]() {
      for (const filler of fillers) filler.close();
      listener.close();
      return Promise.resolve();
    },
  };
}

/**
 * Starts a server that answers the ClientHellos selected by `accepts` with a ServerHello, and forwards other connections
 * to a correct server. OpenSSL 3 supports neither SSLv3 nor, as distributed, RC4.
 */
export function helloServer(upstreamServer: Server, accepts: (hello: ClientHello) => boolean): Server {
  return rawServer(async (connection) => {
    const first = new Uint8Array(4096);
    const count = await connection.read(first) ?? 0;
    const hello = readHello(first.subarray(0, count));
    if (hello !== undefined && accepts(hello)) {
      const body = [
        ...[hello.version >> 8, hello.version & 255],
        ...crypto.getRandomValues(new Uint8Array(32)),
        ...[0, hello.suites[0]! >> 8, hello.suites[0]! & 255, 0],
      ];
      const record = [22, 3, hello.version & 255, 0, body.length + 4, 2, 0, 0, body.length, ...body];
      return await writeAll(connection, new Uint8Array(record));
    }
    const upstream = await Deno.connect({ hostname: "127.0.0.1", port: upstreamServer.port });
    await writeAll(upstream, first.subarray(0, count));
    const forwarded = connection.readable.pipeTo(upstream.writable).catch(() => {});
    await upstream.readable.pipeTo(connection.writable).catch(() => {});
    await forwarded;
    closeIfOpen(() => upstream.close());
  });
}

/** The parts of a ClientHello that select the answer of `helloServer`. */
export interface ClientHello {
  readonly version: number;
  readonly suites: readonly number[];
}

function readHello(record: Uint8Array): ClientHello | undefined {
  if (record[0] !== 22 || record[5] !== 1) return undefined;
  const start = 11 + 32 + 1 + record[43]!;
  const length = (record[start]! << 8) | record[start + 1]!;
  const suites: number[] = [];
  for (let at = start + 2; at < start + 2 + length; at += 2) suites.push((record[at]! << 8) | record[at + 1]!);
  return { version: (record[9]! << 8) | record[10]!, suites };
}

/** Waits until a port accepts connections. @throws {Error} if it does not within 10 s */
export async function untilOpen(port: number): Promise<void> {
  const deadline = AbortSignal.timeout(10_000);
  while (true) {
    try {
      await using _connection = await connectTcp({ hostname: "127.0.0.1", port }, deadline);
      return;
    } catch (error) {
      if (deadline.aborted) throw error;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}
