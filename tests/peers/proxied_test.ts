/** Proxied mode: plain WebSocket from a trusted proxy, on loopback and on a Unix socket. */
import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { Client, type ClientOptions } from "../support/client.ts";
import { makeFolder, startProgram } from "../support/program.ts";
import { handshake, rawResponse } from "../support/raw.ts";

/** An app that sends each client the address that the service assigns to it. */
const WHO = {
  "who.ts": `export default {
    open(peer) { peer.send(peer.remoteAddress ?? "nobody"); },
    message(peer, message) { peer.send(message.text()); },
  };`,
};

async function whoIs(url: string, headers: Record<string, string>, more: ClientOptions = {}) {
  await using client = await Client.open(url, { headers, ...more });
  return await client.next();
}

Deno.test("proxied on loopback", async (t) => {
  await using program = await startProgram(["--mode", "proxied", "--app", "./who.ts"], { files: WHO });
  const url = `ws://127.0.0.1:${program.port}/wss`;

  await t.step("takes the client's address from the proxy's headers", async () => {
    assertEquals(await whoIs(url, {}), "127.0.0.1");
    assertEquals(await whoIs(url, { "X-Real-IP": "203.0.113.7" }), "203.0.113.7");
    assertEquals(await whoIs(url, { "X-Forwarded-For": "198.51.100.1, 203.0.113.7" }), "203.0.113.7");
    assertEquals(await whoIs(url, { "Forwarded": 'for="[2001:db8::7]:4711";proto=https' }), "2001:db8::7");
  });

  await t.step("refuses a client that reached the proxy without TLS", async () => {
    await assertRejects(() => Client.open(url, { headers: { "X-Forwarded-Proto": "http" } }));
    await program.stderr.until(/"message":"refused","status":426,"reason":"[^"]*"/);
    assertEquals(await whoIs(url, { "X-Forwarded-Proto": "https" }), "127.0.0.1");
    await assertRejects(() => Client.open(url, { headers: { "X-SSL-Protocol": "TLSv1.1" } }));
    await program.stderr.until(/"status":426,"reason":"[^"]*1\.1/);
  });

  await t.step(
    "without a forwarded Host, refuses a page with cookies unless a header shows that it is the site's own",
    async () => {
      const headers = { "Origin": "https://example.com", "X-Real-IP": "203.0.113.7" };
      assertEquals(await whoIs(url, headers), "203.0.113.7");
      await assertRejects(() => Client.open(url, { headers: { ...headers, "Cookie": "session=1" } }));
      const warned = /"level":"warn","message":"A page of https:\/\/example\.com[^"]*proxy_set_header Host \$host/g;
      const refused = /"status":403,"reason":"[^"]*proxy_set_header Host \$host/;
      await program.stderr.until(refused);
      const seen = program.stderr.text.length;
      await assertRejects(() => Client.open(url, { headers: { ...headers, "Cookie": "session=2" } }));
      await program.stderr.until(refused, seen);
      assertEquals(program.stderr.text.match(warned)?.length, 1, "the warning is logged once");
      // Firefox reports in Sec-Fetch-Site that the page is the site's own.
      const firefox = { ...headers, "Cookie": "session=1", "Sec-Fetch-Site": "same-origin" };
      assertEquals(await whoIs(url, firefox), "203.0.113.7");
      const forwarded = { ...headers, "Cookie": "session=1", "X-Forwarded-Host": "example.com" };
      assertEquals(await whoIs(url, forwarded), "203.0.113.7");
    },
  );

  await t.step("refuses a page that bypasses the proxy and connects to loopback, under any host name", async () => {
    const ask = (headers: Record<string, string>) => rawResponse({ port: program.port }, handshake({ headers }));
    const host = `127.0.0.1:${program.port}`;
    const page = await ask({ Origin: "https://evil.example", Host: host });
    assertEquals(page.status, 403);
    assertStringIncludes(page.body, "listens on loopback and accepts only pages of this machine");
    const rebound = `evil.example:${program.port}`;
    const { status, body } = await ask({ Origin: `http://${rebound}`, Host: rebound });
    assertEquals(status, 403);
    assertStringIncludes(body, "DNS rebinding");
    assertEquals((await ask({ Origin: "http://localhost:3000", Host: host })).status, 101);
    // A proxy that forwards only Host.
    assertEquals((await ask({ Origin: "https://other.example", Host: "example.com" })).status, 101);
  });

  await t.step("plain HTTP: answers 426 and health requests, but serves no page", async () => {
    const response = await fetch(program.http("/wss"));
    assertEquals([response.status, response.headers.get("upgrade")], [426, "websocket"]);
    await response.body?.cancel();
    assertEquals(await (await fetch(program.http("/healthz"))).json(), { status: "ok", peers: 0 });
  });
});

Deno.test("proxied: ignores the headers of an untrusted peer", async () => {
  const args = ["--mode", "proxied", "--trusted-proxy", "192.0.2.1", "--app", "./who.ts"];
  await using program = await startProgram(args, { files: WHO });
  const headers = { "X-Real-IP": "203.0.113.7", "X-Forwarded-Proto": "http", "Forwarded": "for=203.0.113.8" };
  assertEquals(await whoIs(program.url, headers), "127.0.0.1");
});

Deno.test("proxied with --strict-proxy: refuses a client without proof of TLS", async () => {
  await using program = await startProgram(["--mode", "proxied", "--strict-proxy", "--app", "./who.ts"], {
    files: WHO,
  });
  await assertRejects(() => Client.open(program.url));
  await program.stderr.until(/"status":426/);
  assertEquals(await whoIs(program.url, { "X-Forwarded-Proto": "https" }), "127.0.0.1");
});

Deno.test("proxied on a Unix socket", async (t) => {
  const folder = await makeFolder(WHO);
  const unix = join(folder, "wss.sock");
  const args = ["--mode", "proxied", "--unix", unix, "--app", "./who.ts"];
  try {
    await using program = await startProgram(args, { folder });
    await t.step("trusts every process that may open the socket", async () => {
      assertEquals(program.url, `ws+unix:${unix}`);
      assertEquals((await Deno.stat(unix)).mode! & 0o777, 0o660, "--unix-mode's default");
      assertEquals(await whoIs("ws://localhost/wss", {}, { unix }), "nobody");
      assertEquals(await whoIs("ws://localhost/wss", { "X-Real-IP": "203.0.113.7" }, { unix }), "203.0.113.7");
    });
    await t.step("stops", async () => {
      assertEquals((await program.stop()).code, 0);
    });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
