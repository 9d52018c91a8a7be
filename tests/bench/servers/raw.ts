/**
 * The same behaviour as app.ts, on raw Deno.serve. Usage: `raw.ts CERT KEY [nodelay]`
 * @module
 */
const [cert, key, nodelay] = Deno.args;
const decoder = new TextDecoder();
const { gc } = globalThis as { gc?: () => void };
const subscribers = new Set<WebSocket>();

function command(socket: WebSocket, bytes: Uint8Array): void {
  if (bytes[0] === 1) subscribers.add(socket);
  if (bytes[0] === 2) {
    const text = decoder.decode(bytes.subarray(1));
    for (const subscriber of subscribers) {
      if (subscriber.readyState === WebSocket.OPEN) subscriber.send(text);
    }
  }
  if (bytes[0] === 3) {
    gc?.();
    socket.send("collected");
  }
}

/**
 * Sets TCP_NODELAY on the listening socket, from which accepted sockets inherit it. Searches for its descriptor,
 * because Deno does not expose the number.
 */
function setNoDelay(): void {
  const libc = Deno.dlopen("libc.so.6", {
    getsockopt: { parameters: ["i32", "i32", "i32", "buffer", "buffer"], result: "i32" },
    setsockopt: { parameters: ["i32", "i32", "i32", "buffer", "u32"], result: "i32" },
  });
  const [SOL_SOCKET, SO_ACCEPTCONN, IPPROTO_TCP, TCP_NODELAY] = [1, 30, 6, 1];
  for (let fd = 0; fd < 256; fd++) {
    const value = new Int32Array(1);
    const found = libc.symbols.getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, value, new Uint32Array([4])) === 0;
    if (!found || value[0] !== 1) continue;
    if (libc.symbols.setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, new Int32Array([1]), 4) !== 0) continue;
    libc.close();
    return;
  }
  throw new Error("Cannot set TCP_NODELAY: no listening socket was found");
}

const server = Deno.serve({
  hostname: "127.0.0.1",
  port: 0,
  cert: Deno.readTextFileSync(cert!),
  key: Deno.readTextFileSync(key!),
  tcpBacklog: 4096,
  onListen() {},
}, (request) => {
  const { socket, response } = Deno.upgradeWebSocket(request);
  socket.binaryType = "arraybuffer";
  socket.onmessage = ({ data }: MessageEvent<string | ArrayBuffer>) => {
    if (typeof data === "string") socket.send(data);
    else command(socket, new Uint8Array(data));
  };
  socket.onclose = () => subscribers.delete(socket);
  return response;
});
if (nodelay === "nodelay") setNoDelay();
Deno.stdout.writeSync(new TextEncoder().encode(`${JSON.stringify({ port: (server.addr as Deno.NetAddr).port })}\n`));
