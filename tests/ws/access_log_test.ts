/** The log lines of connections. Their level is debug, or info if the operator configures it. */
import { assert, assertEquals } from "@std/assert";
import { serving } from "../support/serving.ts";

const app = {
  upgrade: () => ({ user: "u42" }),
  message: (peer: { send(data: string): unknown }, message: { text(): string }) => {
    peer.send(`${message.text()}!`);
  },
};

for (const accessLog of [false, true]) {
  Deno.test(`logs the opening and the end of a connection at ${accessLog ? "info" : "debug"}`, async () => {
    await using service = await serving(app, { accessLog, path: ["/room"] });
    const client = await service.connect({ path: "/room?token=secret" });
    assertEquals(await client.ask("12345"), "12345!");
    await client.ask(new Uint8Array(100));
    await client.close(4000, "done");
    await service.service.stop();
    const [opened] = service.lines.filter(({ message }) => message === "opened");
    const [closed] = service.lines.filter(({ message }) => message === "closed");
    const level = accessLog ? "info" : "debug";
    const facts = { address: "127.0.0.1", path: "/room", user: "u42" };
    for (const [name, value] of Object.entries({ ...facts, level })) {
      assertEquals([opened?.[name], closed?.[name]], [value, value], name);
    }
    assertEquals(opened?.peer, closed?.peer);
    assertEquals([closed?.code, closed?.reason, closed?.received, closed?.sent], [4000, "done", 105, 107]);
    assert(Number(closed?.ms) >= 0);
    assert(!JSON.stringify(service.lines).includes("secret"));
  });
}
