/** A service in its own thread, as a flooded one cannot test itself: `/echo` answers, `/` only reads. */
/// <reference lib="deno.worker" />
import { TurnBudget, TurnCounter } from "../../lib/ws/limits.ts";

self.onmessage = (start: MessageEvent<{ cert: string; key: string }>) => {
  const turns = new TurnCounter();
  Deno.serve({
    hostname: "127.0.0.1",
    port: 0,
    ...start.data,
    onListen: ({ port }) => self.postMessage({ port }),
  }, (request) => {
    const { socket, response } = Deno.upgradeWebSocket(request);
    const echo = new URL(request.url).pathname === "/echo";
    const turnBudget = new TurnBudget(turns, 1024 ** 2);
    let messages = 0;
    let refused = false;
    socket.onmessage = (event) => {
      if (refused) return;
      messages++;
      if (!turnBudget.take(2)) {
        refused = true;
        self.postMessage({ refused: messages });
        socket.close(1008, "too many messages");
      } else if (echo) socket.send(event.data);
    };
    return response;
  });
};
