import { assertEquals } from "@std/assert";
import { DenoTransport } from "../../lib/hub/brokers/nats_transport.ts";
import { peerTest } from "../peers/require.ts";
import { natsServer } from "./engines.ts";

peerTest(
  "nats-server",
  "broker nats: a frame is written, however soon it follows the end of another write",
  async () => {
    await using server = await natsServer();
    const transport = new DenoTransport();
    await transport.connect({ hostname: "127.0.0.1", port: server.port } as never, { ca: [], onCreate() {} } as never);
    const send = (text: string) => transport.send(new TextEncoder().encode(text));
    let pongs = 0;
    let enough = { count: 0, resolve: () => {} };
    const reading = (async () => {
      for await (const bytes of transport) {
        pongs += new TextDecoder().decode(bytes).split("PONG\r\n").length - 1;
        if (pongs >= enough.count) enough.resolve();
      }
    })();
    send("CONNECT {}\r\n");
    for (let microtasks = 0; microtasks < 20; microtasks++) {
      const answered = Promise.withResolvers<void>();
      enough = { count: pongs + 2, resolve: answered.resolve };
      send("PING\r\n");
      for (let i = 0; i < microtasks; i++) await Promise.resolve();
      send("PING\r\n");
      const timer = setTimeout(answered.resolve, 10_000);
      await answered.promise;
      clearTimeout(timer);
      assertEquals(pongs, enough.count, `${microtasks} microtasks after the first frame`);
    }
    await transport.close();
    await reading;
  },
);
