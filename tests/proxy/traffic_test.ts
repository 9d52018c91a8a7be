/** Real traffic from a real wss client through each proxy with a generated configuration. */
import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { join } from "node:path";
import { checkProxyTls } from "../../lib/handshake/proxy_headers.ts";
import { KINDS, openGeneratedProxies } from "./generated_proxies.ts";
import { startUpstream } from "./upstream.ts";
import { ask } from "../support/raw.ts";
import { type Client, connect } from "./ws_client.ts";

const MiB = 1024 ** 2;

async function runSClient(...args: string[]): Promise<string> {
  const child = new Deno.Command("openssl", {
    args: ["s_client", ...args],
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  });
  const { stdout, stderr } = await child.output();
  return new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
}

for (const kind of KINDS) {
  Deno.test(`${kind}: forwards WebSocket traffic and serves the website`, async (t) => {
    await using proxies = await openGeneratedProxies(kind);
    if (proxies === undefined) return;
    await using upstream = await startUpstream({ strictProxy: true });
    await Deno.mkdir(join(proxies.folder, "www"));
    await Deno.writeTextFile(join(proxies.folder, "www", "index.html"), "the website");
    await using website = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, (request) => {
      return new Response("the website", { headers: { "x-seen-forwarded": String(request.headers.get("forwarded")) } });
    });
    const site = kind === "haproxy"
      ? ["--website", `127.0.0.1:${website.addr.port}`]
      : ["--root", join(proxies.folder, "www")];
    await using proxy = await proxies.start(kind, "--upstream", upstream.address, ...site);
    const { ca } = proxies;
    const { port } = proxy;

    await t.step("exchanges text messages", async () => {
      const client = await connect({ ca, port });
      client.send("tom");
      assertEquals(await client.next(), "ok");
      assertEquals(await client.close(), 1000);
      await upstream.waitForOpen(0);
    });

    await t.step("echoes a binary message of 16 MiB", async () => {
      const client = await connect({ ca, port });
      const message = new Uint8Array(16 * MiB).map((_, at) => at % 251);
      client.send(message);
      const echo = await client.next();
      if (typeof echo === "string") throw new Error("the echo is text");
      assertEquals(echo.length, message.length);
      const digest = async (bytes: Uint8Array) => new Uint8Array(await crypto.subtle.digest("SHA-256", bytes.slice()));
      assertEquals(await digest(echo), await digest(message));
      await client.close();
    });

    await t.step("forwards the client's address and replaces forged headers", async () => {
      const forged = ["X-Real-IP: 192.0.2.66", "X-Forwarded-For: 192.0.2.66", "X-Forwarded-Proto: http"];
      const more = ["X-Forwarded-Host: evil.example", "X-SSL-Protocol: SSLv3", "Forwarded: for=192.0.2.66;proto=http"];
      const names = "X-Real-IP, X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host, X-SSL-Protocol, Forwarded";
      const handshake = [
        "GET /wss?a=1 HTTP/1.1",
        `Host: localhost:${port}`,
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
      ];
      for (
        const lines of [
          [...handshake, "Connection: Upgrade"],
          [...handshake, "Connection: Upgrade", ...forged, ...more],
          [...handshake, "Connection: Upgrade", ...forged, ...forged, ...more],
          [...handshake, `Connection: Upgrade, ${names}`, ...forged, ...more],
        ]
      ) {
        const before = upstream.seen.length;
        const answer = await ask({ port, ca, hostname: "::1" }, [...lines, "", ""].join("\r\n"));
        assertMatch(answer, /^HTTP\/1\.1 101 /, lines.join("\n"));
        assertEquals(upstream.seen.length, before + 1);
        const { headers, address, url } = upstream.seen.at(-1)!;
        assertEquals(address, "::1", lines.join("\n"));
        assertEquals(url.pathname + url.search, "/wss?a=1");
        assertEquals(headers.get("x-real-ip"), "::1");
        assertEquals(headers.get("x-forwarded-for"), "::1");
        assertEquals(headers.get("x-forwarded-proto"), "https");
        assertEquals(headers.get("x-forwarded-host"), `localhost:${port}`);
        assertMatch(headers.get("x-ssl-protocol")!, /^tlsv?1\.3$/i);
        assertEquals(headers.get("forwarded"), null);
        assertEquals(headers.get("host"), `localhost:${port}`);
        assertEquals(checkProxyTls(headers, true, { minTls: "1.3", strict: true }), undefined);
      }
      await upstream.waitForOpen(0);
    });

    await t.step(
      "accepts a handshake with Content-Length: 0, and never forwards a body as a second request",
      async () => {
        const handshake = [
          "GET /wss HTTP/1.1",
          `Host: localhost:${port}`,
          "Upgrade: websocket",
          "Connection: Upgrade",
          "Sec-WebSocket-Version: 13",
          "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        ];
        const before = upstream.seen.length;
        assertMatch(
          await ask({ port, ca, hostname: "::1" }, [...handshake, "Content-Length: 0", "", ""].join("\r\n")),
          /^HTTP\/1\.1 101 /,
        );
        assertEquals(upstream.seen.length, before + 1);
        // The body is another handshake. A proxy that removes only the header would forward it as a request.
        const inner = [...handshake, "X-Smuggled: yes", "", ""].join("\r\n");
        for (const upgrade of [handshake, handshake.filter((line) => !/^(Upgrade|Connection|Sec-)/.test(line))]) {
          const lines = [...upgrade, `Content-Length: ${inner.length}`, "", inner];
          await ask({ port, ca, hostname: "::1" }, lines.join("\r\n"));
          const client = await connect({ ca, port });
          client.send("tom");
          assertEquals(await client.next(), "ok");
          await client.close();
        }
        assertEquals(upstream.seen.filter(({ headers }) => headers.has("x-smuggled")), []);
        await upstream.waitForOpen(0);
      },
    );

    await t.step("forwards ordinary requests for the path, and serves the website at /", async () => {
      const http = Deno.createHttpClient({ caCerts: [ca] });
      const get = async (path: string, init: RequestInit = {}) => {
        const response = await fetch(`https://localhost:${port}${path}`, { ...init, client: http });
        return [response.status, await response.text()] as const;
      };
      const [status, text] = await get("/wss");
      assertEquals(status, 426);
      assertMatch(text, /WebSocket endpoint/);
      assertEquals(await get("/"), [200, "the website"]);
      // Caddy limits a body while reading it, but the service refuses the request without reading it.
      const refusals = { nginx: 413, apache: 403, haproxy: 413, caddy: 405 };
      assertEquals((await get("/wss", { method: "POST", body: "x".repeat(5_000) }))[0], refusals[kind]);
      http.close();
      await assertRejects(() => connect({ ca, port, path: "/other" }), Error);
    });

    await t.step("redirects plain HTTP to https", async () => {
      const response = await fetch(`http://localhost:${proxy.redirect}/a?b=c`, { redirect: "manual" });
      await response.body?.cancel();
      assertEquals([response.status, response.headers.get("location")], [301, `https://localhost:${port}/a?b=c`]);
    });

    await t.step("refuses TLS 1.1, accepts 1.2 and 1.3 with the whole chain, and resumes sessions", async () => {
      const options = [
        "-connect",
        `[::1]:${port}`,
        "-servername",
        "localhost",
        "-CAfile",
        join(proxies.folder, "root.pem"),
      ];
      const old = await runSClient(...options, "-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0");
      assertMatch(old, /alert protocol version|tlsv1 alert/i);
      for (const [flag, version] of [["-tls1_2", "TLSv1.2"], ["-tls1_3", "TLSv1.3"]] as const) {
        const output = await runSClient(...options, flag, "-verify_return_error");
        assertMatch(output, new RegExp(`New, ${version.replace(".", "\\.")}, Cipher is`));
        assertMatch(output, /Verification: OK/);
      }
      assertMatch(await runSClient(...options, "-tls1_2", "-reconnect"), /Reused, TLSv1\.2/);
    });

    await t.step("answers on 1,000 concurrent connections and closes all of them", async () => {
      const clients: Client[] = [];
      for (let wave = 0; wave < 10; wave++) {
        clients.push(...await Promise.all(Array.from({ length: 100 }, () => connect({ ca, port }))));
      }
      assertEquals(upstream.open, 1000);
      const answers = await Promise.all(clients.map((client) => {
        client.send("tom");
        return client.next();
      }));
      assertEquals(new Set(answers), new Set(["ok"]));
      await Promise.all(clients.map((client) => client.close()));
      await upstream.waitForOpen(0);
    });
  });
}
