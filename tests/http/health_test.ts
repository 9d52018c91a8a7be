import { assertEquals } from "@std/assert";
import { defineApp } from "../../lib/ws/app_types.ts";
import { healthResponse } from "../../lib/http/health.ts";
import { rawResponse } from "../support/raw.ts";
import { serving } from "../support/serving.ts";

Deno.test("health: 200 while connections are accepted, 503 while draining, never cached", async () => {
  const fine = healthResponse(false, 3);
  assertEquals([fine.status, fine.headers.get("cache-control")], [200, "no-store"]);
  assertEquals(await fine.json(), { status: "ok", peers: 3 });
  const draining = healthResponse(true, 1);
  assertEquals([draining.status, draining.headers.get("cache-control")], [503, "no-store"]);
  assertEquals(await draining.json(), { status: "draining", peers: 1 });
});

Deno.test("health: allows GET and HEAD on /healthz for any paths, and answers 405 otherwise", async () => {
  await using served = await serving(defineApp({ open() {} }), { path: ["/only"] });
  await using _client = await served.connect();
  const ask = (method: string) =>
    rawResponse(served.raw, `${method} /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`);
  const get = await ask("GET");
  assertEquals([get.status, get.headers.get("content-type")], [200, "application/json"]);
  assertEquals(JSON.parse(get.body), { status: "ok", peers: 1 });
  const head = await ask("HEAD");
  assertEquals([head.status, head.body], [200, ""]);
  const post = await ask("POST");
  assertEquals([post.status, post.headers.get("allow")], [405, "GET, HEAD"]);
  assertEquals(post.body, "405 Method Not Allowed\nOnly GET and HEAD are allowed here, not POST.\n");
});

for (const mode of ["direct", "proxied"] as const) {
  Deno.test(`health: shows the number of connections only to programs of this machine, ${mode}`, async () => {
    await using served = await serving(defineApp({ open() {} }), { mode });
    const { port } = served.raw;
    const ask = async (host: string, ...headers: string[]) => {
      const lines = ["GET /healthz HTTP/1.1", `Host: ${host}`, "Connection: close", ...headers, "", ""];
      const { status, body } = await rawResponse(served.raw, lines.join("\r\n"));
      assertEquals(status, 200);
      return JSON.parse(body);
    };
    for (const host of ["localhost", `localhost:${port}`, `127.0.0.1:${port}`, `[::1]:${port}`]) {
      assertEquals(await ask(host), { status: "ok", peers: 0 }, host);
    }
    for (
      const headers of [
        ["X-Real-IP: 203.0.113.7"],
        ["X-Real-IP: 127.0.0.1"],
        // The client forged one of them, so the address is that of the proxy.
        ["X-Real-IP: 203.0.113.7", "X-Forwarded-For: 192.0.2.1"],
        ["X-Forwarded-For: unknown"],
        ["X-Forwarded-Proto: https"],
        ["Via: 1.1 proxy"],
      ]
    ) assertEquals(await ask(`127.0.0.1:${port}`, ...headers), { status: "ok" }, headers.join());
  });
}

Deno.test("health: hides the number of connections from a client whose proxy forwards only Host", async () => {
  await using served = await serving(defineApp({ open() {} }), { mode: "proxied" });
  for (const host of ["example.com", "backend", "203.0.113.5", `192.0.2.1:${served.raw.port}`]) {
    const { body } = await rawResponse(
      served.raw,
      `GET /healthz HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`,
    );
    assertEquals(JSON.parse(body), { status: "ok" }, host);
  }
});
