/** The npm package ws as a client. */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { once } from "node:events";
import type { EventEmitter } from "node:events";
import type { IncomingMessage } from "node:http";
import { WebSocket as Untyped } from "ws";
import { Client } from "../support/client.ts";
import { startProgram } from "../support/program.ts";

/** The part of ws that these tests use. The package has no types. */
interface WsClient extends EventEmitter {
  readonly protocol: string;
  readonly extensions: string;
  send(data: string | Uint8Array): void;
  close(code?: number, reason?: string): void;
}
const WsClient = Untyped as new (
  url: string,
  protocols: string[],
  options: { ca?: string; origin?: string; headers?: Record<string, string> },
) => WsClient;

Deno.test("npm:ws, direct", async (t) => {
  await using program = await startProgram(["--app", "echo"]);
  const ca = await Deno.readTextFile(program.ca);

  await t.step("echoes text and binary, answers a ping, closes", async () => {
    const client = new WsClient(program.url, ["wss.v1"], { ca });
    await once(client, "open");
    assertEquals([client.protocol, client.extensions], ["wss.v1", ""]);

    client.send("tom ✓");
    const [text, textIsBinary] = await once(client, "message") as [Uint8Array, boolean];
    assertEquals([new TextDecoder().decode(text), textIsBinary], ["tom ✓", false]);

    client.send(new Uint8Array([0, 255, 7]));
    const [bytes, isBinary] = await once(client, "message") as [Uint8Array, boolean];
    assertEquals([[...bytes], isBinary], [[0, 255, 7], true]);

    (client as unknown as { ping(data: string): void }).ping("are you there");
    const [pong] = await once(client, "pong") as [Uint8Array];
    assertEquals(new TextDecoder().decode(pong), "are you there");

    client.close(4001, "enough");
    const [code, reason] = await once(client, "close") as [number, Uint8Array];
    assertEquals([code, new TextDecoder().decode(reason)], [4001, "enough"]);
  });

  await t.step("a page of another site is refused, and the body says why", async () => {
    const client = new WsClient(program.url, [], { ca, origin: "https://evil.example" });
    const [request, response] = await once(client, "unexpected-response") as [{ destroy(): void }, IncomingMessage];
    let body = "";
    for await (const chunk of response) body += chunk;
    assertEquals(response.statusCode, 403);
    assertStringIncludes(body, "A page of https://evil.example may not connect: the service listens on loopback");
    request.destroy();
  });
});

Deno.test("npm:ws sends subprotocols, one of them the token, in a list without spaces", async () => {
  const token = "correct-horse-battery-staple-0123456789";
  await using program = await startProgram(["--app", "echo", "--auth-token-file", "tokens"], {
    files: { tokens: token },
  });
  const ca = await Deno.readTextFile(program.ca);
  const client = new WsClient(program.url, ["wss.v1", `bearer.${token}`], { ca });
  await once(client, "open");
  assertEquals(client.protocol, "wss.v1");
  client.send("tom");
  const [text] = await once(client, "message") as [Uint8Array];
  assertEquals(new TextDecoder().decode(text), "tom");
  client.close();
  await once(client, "close");
  // The README says why a second subprotocol is needed: the service does not echo the token, but ws requires a choice.
  const alone = new WsClient(program.url, [`bearer.${token}`], { ca });
  const [error] = await once(alone, "error") as [Error];
  assertEquals(error.message, "Server sent no subprotocol");
  await using accepting = await Client.open(program.url, { ca: program.ca, protocols: [`bearer.${token}`] });
  assertEquals([accepting.socket.protocol, await accepting.ask("tom")], ["", "tom"]);
});
