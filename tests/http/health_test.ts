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

Deno.test("health: shows the number of connections only to loopback", async () => {
  await using served = await serving(defineApp({ open() {} }), { mode: "proxied" });
  const ask = async (headers: string) =>
    JSON.parse((await rawResponse(served.raw, `GET /healthz HTTP/1.1\r\nHost: localhost\r\n${headers}\r\n`)).body);
  assertEquals(await ask("Connection: close\r\n"), { status: "ok", peers: 0 });
  assertEquals(await ask("Connection: close\r\nX-Real-IP: 203.0.113.7\r\n"), { status: "ok" });
});
