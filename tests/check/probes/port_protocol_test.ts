/** Detection of the protocol of a port. */
import { assertEquals } from "@std/assert";
import { echoService, listenOnly, rawServer, readRequest, type Server, writeAll } from "../test_servers.ts";
import { expectCodes, expectReport, urlOf } from "../expect.ts";

Deno.test("detects the protocol of the port", async (t) => {
  await using plain = echoService();
  await t.step("a wss URL with a plain port", () => expectCodes({ url: urlOf("wss", plain) }, ["protocol-plain"], 1));
  await t.step("a correct plain service", () => expectCodes({ url: urlOf("ws", plain) }, [], 0));
  await t.step("another protocol", async () => {
    await using ssh = rawServer(async (connection) => {
      await writeAll(connection, "SSH-2.0-OpenSSH_9.2\r\n");
      await listenOnly(connection);
    });
    await expectCodes({ url: urlOf("wss", ssh) }, ["protocol-unknown"], 1);
    await expectCodes({ url: urlOf("ws", ssh) }, ["protocol-unknown"], 1);
  });
  await t.step("a silent port", async () => {
    await using silent = rawServer(listenOnly);
    await expectCodes({ url: urlOf("wss", silent), timeout: 10_000 }, ["protocol-silent"], 1);
    await expectCodes({ url: urlOf("ws", silent), timeout: 10_000 }, ["upgrade-timeout"], 1);
  });
  await t.step("a port that closes connections", async () => {
    await using closing = rawServer(() => Promise.resolve());
    await expectCodes({ url: urlOf("wss", closing) }, ["protocol-closed"], 1);
    await expectCodes({ url: urlOf("ws", closing) }, ["protocol-closed"], 1);
  });
});

Deno.test("accepts a service that closes requests without an upgrade", async () => {
  // tungstenite and uWebSockets without another route close them without an answer.
  await using service = echoService();
  await using server = rawServer(async (connection) => {
    const request = await readRequest(connection);
    if (!/^upgrade: websocket\r$/im.test(request)) return;
    using upstream = await Deno.connect({ port: service.port });
    await writeAll(upstream, request);
    await Promise.all([
      upstream.readable.pipeTo(connection.writable).catch(() => {}),
      connection.readable.pipeTo(upstream.writable).catch(() => {}),
    ]);
  });
  await expectCodes({ url: urlOf("ws", server) }, [], 0);
  await expectCodes({ url: urlOf("wss", server) }, ["protocol-plain"], 1);
});

Deno.test("does not take a plain service for a TLS port or a port that requires the PROXY protocol", async (t) => {
  const refusals: [name: string, headers: Record<string, string>, body: string][] = [
    ["a Server header that contains OpenSSL", { server: "Apache/2.4.58 (Unix) OpenSSL/3.0.13" }, "Bad Request\n"],
    ["a body that links to an https page", {}, "This is a WebSocket endpoint, see https://example.com/docs\n"],
    ["a body about TLS", {}, "The proxy must terminate TLS.\n"],
  ];
  for (const [name, headers, body] of refusals) {
    await t.step(`400 with ${name}`, async () => {
      await using server = echoService({
        onRequest: (request) =>
          request.headers.has("upgrade") ? undefined : new Response(body, { status: 400, headers }),
      });
      const report = await expectReport({ url: urlOf("ws", server) }, [], 0);
      assertEquals(report.observations.find(({ probe }) => probe === "protocol")?.code, "protocol-ok");
    });
  }

  /** A server that answers a connection only if its first bytes match. */
  const answering = (accepts: (text: string) => boolean, answer: string | Uint8Array): Server =>
    rawServer(async (connection) => {
      const bytes = new Uint8Array(4096);
      const count = await connection.read(bytes) ?? 0;
      if (accepts(new TextDecoder("latin1").decode(bytes.subarray(0, count)))) await writeAll(connection, answer);
    });
  const isRequest = (text: string) => text.startsWith("GET ");
  const isHello = (text: string) => text.startsWith("\x16\x03");
  const alert = new Uint8Array([21, 3, 3, 0, 2, 2, 70]);
  await t.step("400 to everything but requests, which are cut", async () => {
    await using server = answering((text) => !isRequest(text), "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    await expectCodes({ url: urlOf("ws", server) }, ["protocol-closed"], 1);
  });
  await t.step("501 to every unknown method", async () => {
    await using server = answering(
      (text) => !isRequest(text) && !isHello(text),
      "HTTP/1.1 501 Not Implemented\r\nContent-Length: 0\r\n\r\n",
    );
    await expectCodes({ url: urlOf("ws", server) }, ["protocol-closed"], 1);
  });
  await t.step("a TLS alert to everything that is not TLS", async () => {
    await using server = answering((text) => !isHello(text) && !isRequest(text), alert);
    await expectCodes({ url: urlOf("wss", server) }, ["protocol-closed"], 1);
  });
});

Deno.test("does not take a TLS port that refuses the handshake for plain HTTP", async () => {
  // The answer of nginx to plain HTTP on a TLS port. This server closes the connection after a ClientHello.
  const body = "<html><head><title>400 The plain HTTP request was sent to HTTPS port</title></head></html>";
  await using server = rawServer(async (connection) => {
    const bytes = new Uint8Array(4096);
    await connection.read(bytes);
    if (bytes[0] === 22) return;
    await writeAll(connection, `HTTP/1.1 400 Bad Request\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
  });
  await expectCodes({ url: urlOf("wss", server) }, ["tls-none"], 1);

  // A plain service whose answer only mentions https.
  await using plain = rawServer(async (connection) => {
    const bytes = new Uint8Array(4096);
    await connection.read(bytes);
    if (bytes[0] === 22) return;
    const link = "See https://example.com/docs\n";
    await writeAll(connection, `HTTP/1.1 400 Bad Request\r\nContent-Length: ${link.length}\r\n\r\n${link}`);
  });
  await expectCodes({ url: urlOf("wss", plain) }, ["protocol-plain"], 1);
});
