/**
 * The same behaviour as app.ts, on Node with the ws package. Usage: `ws.js CERT KEY URL-OF-WS`
 * @module
 */
// @ts-nocheck: runs on Node, whose globals and packages Deno does not check.
import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import process from "node:process";

const [cert, key, library] = process.argv.slice(2);
const { WebSocketServer } = await import(library);
const subscribers = new Set();

function command(socket, bytes) {
  if (bytes[0] === 1) subscribers.add(socket);
  if (bytes[0] === 2) {
    const text = bytes.subarray(1).toString();
    for (const subscriber of subscribers) {
      if (subscriber.readyState === 1) subscriber.send(text);
    }
  }
  if (bytes[0] === 3) {
    globalThis.gc?.();
    socket.send("collected");
  }
}

const server = createServer({ cert: readFileSync(cert), key: readFileSync(key) });
const wss = new WebSocketServer({ server });
wss.on("connection", (socket) => {
  socket.on("message", (data, isBinary) => {
    if (isBinary) command(socket, data);
    else socket.send(data, { binary: false });
  });
  socket.on("close", () => subscribers.delete(socket));
  socket.on("error", () => {});
});
server.listen({ port: 0, host: "127.0.0.1", backlog: 4096 }, () => {
  process.stdout.write(`${JSON.stringify({ port: server.address().port })}\n`);
});
