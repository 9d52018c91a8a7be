/** Access control of the admin listener, and hostile clients. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { peerTest } from "../peers/require.ts";
import { adminUrl, call, KEY, OTHER_KEY, servingAdmin } from "./admin.ts";

/** Sends bytes and reads until the listener closes the connection. */
async function raw(port: number, text: string): Promise<string> {
  using connection = await Deno.connect({ hostname: "127.0.0.1", port });
  await connection.write(new TextEncoder().encode(text));
  let answer = "";
  const decoder = new TextDecoder();
  const buffer = new Uint8Array(65536);
  for (;;) {
    const count = await connection.read(buffer).catch(() => null);
    if (count === null) return answer;
    answer += decoder.decode(buffer.subarray(0, count), { stream: true });
  }
}

function portOf(addr: Deno.Addr): number {
  return (addr as Deno.NetAddr).port;
}

Deno.test("admin listener: the API requires one of the keys", async () => {
  await using served = await servingAdmin();
  const { service } = served;
  for (const key of [KEY, OTHER_KEY]) {
    assertEquals((await call(service, "nodes", {}, { authorization: `Bearer ${key}` })).status, 200);
  }
  const none: Record<string, string>[] = [
    {},
    { authorization: "Bearer wrong" },
    { authorization: `Bearer ${KEY.slice(1)}` },
    { authorization: `Basic ${btoa(`x:${KEY}`)}` },
    { authorization: "Bearer # of the backend" },
  ];
  for (const headers of none) {
    const { status, body, headers: answered } = await call(service, "nodes", {}, headers);
    assertEquals([status, body.error.code, answered.get("www-authenticate")], [401, 101, "Bearer"]);
  }
  assert(served.lines.every((line) => !JSON.stringify(line).includes(KEY)), "a key is in the log");
});

Deno.test("admin listener: without a key file the API explains how to set a key, and /healthz works", async () => {
  await using served = await servingAdmin({ adminKeyFile: undefined });
  const { status, body } = await call(served.service, "nodes");
  assertEquals([status, body.error.code], [403, 103]);
  assertStringIncludes(body.error.message, "--admin-key-file");
  const health = await fetch(`${adminUrl(served.service)}/healthz`);
  assertEquals([health.status, await health.json()], [200, { status: "ok" }]);
});

Deno.test("admin listener: keys are reloaded on request and when the file changes", async () => {
  await using served = await servingAdmin();
  const { service, folder } = served;
  const status = async (key: string) => (await call(service, "nodes", {}, { authorization: `Bearer ${key}` })).status;
  await Deno.writeTextFile(join(folder, "keys"), OTHER_KEY);
  await service.reload();
  assertEquals([await status(KEY), await status(OTHER_KEY)], [401, 200]);
  await Deno.writeTextFile(join(folder, "keys"), KEY);
  for (const until = Date.now() + 20_000; await status(KEY) !== 200;) assert(Date.now() < until);
  assertEquals(await status(OTHER_KEY), 401);
  await Deno.remove(join(folder, "keys"));
  await service.reload();
  assertEquals(await status(KEY), 401);
});

Deno.test("admin listener: on a unix socket the file's mode controls access", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const path = join(folder, "admin.sock");
    await using served = await servingAdmin({ admin: `unix:${path}`, adminKeyFile: undefined, adminMode: "600" });
    assertEquals(served.service.admin?.url, `unix:${path}`);
    assertEquals((await Deno.stat(path)).mode! & 0o777, 0o600);
    using client = Deno.createHttpClient({ proxy: { transport: "unix", path } });
    const response = await fetch("http://any.name.example/api/nodes", { client, method: "POST" });
    assertEquals(response.status, 200);
    assertEquals((await response.json()).result.nodes[0].id, served.service.nodeId);
    await served.service.stop();
    assertEquals(await Deno.stat(path).then(() => true, () => false), false, "the socket file was not removed");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("admin listener: --admin-tls uses the service's certificate", async () => {
  await using served = await servingAdmin({ adminTls: true });
  assertMatch(adminUrl(served.service), /^https:/);
  using client = Deno.createHttpClient({ caCerts: [await Deno.readTextFile(served.ca)] });
  for (const method of ["GET", "HEAD"]) {
    const response = await fetch(`${adminUrl(served.service)}/healthz`, { client, method });
    assertEquals([response.status, (await response.text()).length > 0], [200, method === "GET"]);
  }
});

Deno.test("admin listener: warns about an address that other machines can reach without TLS", async () => {
  await using plain = await servingAdmin({ admin: "0.0.0.0:0" });
  assertEquals(plain.logged("without TLS").map(({ level }) => level), ["warn"]);
  await using tls = await servingAdmin({ admin: "0.0.0.0:0", adminTls: true });
  assertEquals(tls.logged("without TLS"), []);
});

Deno.test("admin listener: refuses pages in browsers by Origin, Sec-Fetch-Site and foreign Host", async () => {
  await using served = await servingAdmin();
  const port = portOf(served.service.admin!.addr);
  const status = async (path: string, headers: string) => {
    const answer = await raw(port, `GET ${path} HTTP/1.1\r\nConnection: close\r\n${headers}\r\n\r\n`);
    return Number(answer.split(" ")[1]);
  };
  const local = `Host: 127.0.0.1:${port}`;
  for (const path of ["/metrics", "/healthz", "/api/nodes"]) {
    assertEquals(await status(path, `${local}\r\nOrigin: http://127.0.0.1:${port}`), 403);
    assertEquals(await status(path, `${local}\r\nOrigin: null\r\nAuthorization: Bearer ${KEY}`), 403);
    assertEquals(await status(path, `${local}\r\nSec-Fetch-Site: same-origin`), 403);
    assertEquals(await status(path, `Host: evil.example:${port}`), 421);
    assertEquals(await status(path, "Host: evil"), 421);
    assertEquals(await status(path, "Host: a@127.0.0.1"), 421);
  }
  for (const host of [`localhost:${port}`, "127.0.0.1", "[::1]", "10.1.2.3:9100"]) {
    assertEquals(await status("/healthz", `Host: ${host}`), 200, host);
  }
  assertEquals(await status("/healthz", `Host: admin.example\r\nAuthorization: Bearer ${KEY}`), 200);
});

peerTest(
  "curl",
  "admin listener: refuses pages in browsers over HTTP/2, by :authority instead of Host",
  async () => {
    await using served = await servingAdmin({ adminTls: true });
    const curl = async (...args: string[]) => {
      const common = ["--silent", "--http2", "--cacert", served.ca, "--output", "/dev/null"];
      const { code, stdout, stderr } = await new Deno.Command("curl", {
        args: [
          ...common,
          "--write-out",
          "%{http_version} %{http_code}",
          ...args,
          `${adminUrl(served.service)}/healthz`,
        ],
      }).output();
      assertEquals([code, new TextDecoder().decode(stderr)], [0, ""]);
      return new TextDecoder().decode(stdout);
    };
    assertEquals(await curl(), "2 200");
    assertEquals(await curl("--header", "Host: evil.example"), "2 421");
    assertEquals(await curl("--header", "Host: evil.example", "--header", `Authorization: Bearer ${KEY}`), "2 200");
    assertEquals(
      await curl("--header", "Origin: https://127.0.0.1", "--header", `Authorization: Bearer ${KEY}`),
      "2 403",
    );
  },
);

Deno.test("admin listener: limits the length of a body and the time to receive it", async () => {
  await using served = await servingAdmin({ maxPayload: "64KiB", handshakeTimeout: "4s" });
  const { service } = served;
  const port = portOf(service.admin!.addr);
  const long = await call(service, "publish", { topic: "a", data: "x".repeat(64 * 1024) });
  assertEquals(long.status, 200);
  const longer = await call(service, "publish", { topic: "a", data: "x".repeat(64 * 1024 + 1) });
  assertEquals(longer.status, 413);
  assertMatch(longer.body.error.message, /^data: .*--max-payload/);
  const head = `POST /api/nodes HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${KEY}\r\n`;
  const slow = await raw(port, `${head}Content-Length: 100\r\n\r\n{`);
  assertMatch(slow, /^HTTP\/1.1 408 /);
  assertEquals(await raw(port, "POST /api/nodes HTT"), "", "a slow head closes the connection");
  // Neither its length nor its time is limited, because it is not read.
  const keyless = "POST /api/publish HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\n{";
  assertMatch(await raw(port, keyless), /^HTTP\/1.1 401 /);
});

Deno.test("admin listener: accepts messages of the maximum length as encoders write them, and long batches", async () => {
  await using served = await servingAdmin();
  const { service } = served;
  const texts = ["\u4e2d".repeat(300_000), "\u00e9".repeat(500_000), "\x01".repeat(1024 ** 2)];
  for (const data of texts) {
    // PHP's json_encode and Python's json.dumps write every character that is not ASCII in this way.
    const escaped = JSON.stringify({ topic: "a", data }).replace(
      /[\u0080-\uffff]/g,
      (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
    );
    assertEquals((await call(service, "publish", escaped)).status, 200);
  }
  const long = await call(service, "publish", { topic: "a", data: "\x01".repeat(1024 ** 2 + 1) });
  assertEquals(long.status, 413);
  assertMatch(long.body.error.message, /^data: /);

  const command = (at: number) => ({ publish: { topic: `topic ${at}`, data: "x".repeat(200) } });
  const { status, body } = await call(service, "batch", {
    commands: Array.from({ length: 10_000 }, (_, at) => command(at)),
  });
  assertEquals([status, body.result.replies.length], [200, 10_000]);
});

Deno.test("admin listener: refuses a body that is too long, with and without Content-Length", async () => {
  await using served = await servingAdmin({ maxPayload: "64KiB" });
  const { service } = served;
  const limit = 8 * 1024 ** 2 + 6 * 64 * 1024;
  const { status, body } = await call(service, "publish", "x".repeat(limit + 1));
  assertEquals(status, 413);
  assertStringIncludes(body.error.message, `the body exceeds ${limit} bytes`);
  const chunk = new Uint8Array(65536);
  const chunked = await fetch(`${adminUrl(service)}/api/nodes`, {
    method: "POST",
    headers: { authorization: `Bearer ${KEY}` },
    body: ReadableStream.from(Array.from({ length: Math.floor(limit / chunk.length) + 1 }, () => chunk)),
  });
  await chunked.body?.cancel();
  assertEquals(chunked.status, 413);
});

Deno.test("admin listener: answers deeply nested JSON, invalid UTF-8 and wrong methods with an error, and keeps working", async () => {
  await using served = await servingAdmin();
  const { service } = served;
  const deep = "[".repeat(200_000) + "]".repeat(200_000);
  assertEquals((await call(service, "publish", deep)).status, 400);
  assertEquals((await call(service, "publish", `{"topic":"a","data":${deep}}`)).status, 200);
  assertEquals((await call(service, "batch", `{"commands":[${deep}]}`)).status, 200);
  const headers = { authorization: `Bearer ${KEY}` };
  const bytes = await fetch(`${adminUrl(service)}/api/nodes`, {
    method: "POST",
    headers,
    body: new Uint8Array([0xff]),
  });
  assertEquals([bytes.status, (await bytes.json()).error.message], [400, "the body is not UTF-8"]);
  const got = await fetch(`${adminUrl(service)}/api/nodes`, { headers });
  assertEquals([got.status, got.headers.get("allow"), (await got.json()).error.code], [405, "POST", 107]);
  const lost = await fetch(`${adminUrl(service)}/favicon.ico`);
  assertEquals([lost.status, (await lost.json()).error.code], [404, 104]);
  const posted = await fetch(`${adminUrl(service)}/metrics`, { method: "POST" });
  assertEquals([posted.status, posted.headers.get("allow")], [405, "GET, HEAD"]);
  await posted.body?.cancel();
  assertEquals((await call(service, "nodes")).status, 200);
  assertEquals(served.lines.filter(({ level }) => level === "error"), []);
});
