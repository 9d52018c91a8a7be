import { assert, assertEquals } from "@std/assert";
import { defineApp } from "../../lib/ws/app_types.ts";
import { serving } from "../support/serving.ts";
import { Notes } from "./notes.ts";

Deno.test("peer.websocket has the WebSocket API that libraries use, with the same limits", async () => {
  const notes = new Notes<string>();
  interface Facade {
    readonly readyState: number;
    readonly OPEN: number;
    readonly url: string;
    readonly protocol: string;
    readonly bufferedAmount: number;
    send(data: unknown): void;
    close(code?: number, reason?: string): void;
  }
  let socket: Facade | undefined;
  const app = defineApp({
    upgrade: () => ({ protocol: "p2" }),
    open(peer) {
      socket = peer.websocket as Facade;
      assertEquals(peer.websocket, socket);
      notes.add(`${socket.readyState === socket.OPEN} ${new URL(socket.url).pathname} ${socket.protocol}`);
      socket.send(new Uint8Array([1, 2]));
    },
    message(peer, message) {
      const { websocket } = peer as unknown as { websocket: Facade };
      websocket.send(message.rawData);
      assert(websocket.bufferedAmount > 0);
      websocket.close(4001, "enough");
      notes.add(`${websocket.readyState}`);
      websocket.send("too late");
    },
    close: (_peer, { code, reason }) => notes.add(`${code} ${reason} ${socket?.readyState}`),
  });
  await using served = await serving(app);
  const client = await served.connect({ path: "/wss?a=1", protocols: ["p1", "p2"] });
  assertEquals(new Uint8Array(await client.next() as ArrayBuffer), new Uint8Array([1, 2]));
  assertEquals(await client.ask("hi"), "hi");
  assertEquals(await client.closed, { code: 4001, reason: "enough" });
  assertEquals(await notes.until(3), ["true /wss p2", "2", "4001 enough 3"]);
});
