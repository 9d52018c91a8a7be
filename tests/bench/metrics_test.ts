/** The metrics benchmark compares three services: one counts messages, one does not, and one is scraped. */
import { assertEquals } from "@std/assert";
import { maskedFrame, Opcode, serverFrame, textOf } from "../support/frames.ts";
import { dialUpgraded, readUntil, writeAll } from "../support/raw.ts";
import { value } from "../admin/admin.ts";
import { makeCertificate, startServer } from "./server.ts";

const ADMIN = { options: ["--admin", "127.0.0.1:0"] };

Deno.test("the copy without counting echoes and counts connections, but counts no messages", async () => {
  await using certificate = await makeCertificate();
  for (const [name, counted] of [["wss", 3], ["wss-counting", 0]] as const) {
    await using server = await startServer(name, certificate, ADMIN);
    const client = await dialUpgraded({ port: server.port, ca: certificate.ca });
    const payload = textOf(64);
    const answer = new TextDecoder().decode(serverFrame(Opcode.Text, payload).subarray(2));
    for (let i = 0; i < 3; i++) {
      await writeAll(client, maskedFrame(Opcode.Text, payload));
      await readUntil(client, answer);
    }
    for (const direction of ["received", "sent"]) {
      assertEquals(await value(server.admin!, `wss_messages_total{direction="${direction}"}`), counted, name);
    }
    assertEquals(await value(server.admin!, "wss_connections"), 1);
    client.close();
  }
});

Deno.test("the metrics of wss+scrape are scraped", async () => {
  await using certificate = await makeCertificate();
  const server = await startServer("wss+scrape", certificate);
  for (const until = Date.now() + 20_000; server.scrapes() < 2;) {
    if (Date.now() > until) throw new Error("the service is not scraped");
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  assertEquals((await server.stop()).code, 0);
});
