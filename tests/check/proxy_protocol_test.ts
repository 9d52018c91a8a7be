/** Endpoints that expect the PROXY protocol, and services that get it unasked. */
import { hasOpenssl, openPki } from "../support/openssl.ts";
import { expectFirst, expectReport, makeAuthorities, urlOf } from "./expect.ts";
import { echoService, rawServer, writeAll } from "./test_servers.ts";
import { haproxy, hasProgram, nginx, nginxUpgrade } from "./proxies.ts";

const openssl = await hasOpenssl();
const programs = { nginx: await hasProgram("nginx", "-v"), haproxy: await hasProgram("haproxy", "-v") };

Deno.test("the PROXY protocol", async (t) => {
  await t.step("a port that takes version 2 only", async () => {
    await using server = rawServer(async (connection) => {
      const bytes = new Uint8Array(4096);
      const count = await connection.read(bytes) ?? 0;
      if (count < 16 || bytes[0] !== 0x0d || bytes[4] !== 0) return;
      await writeAll(connection, "HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n");
    });
    expectFirst(
      await expectReport({ url: urlOf("ws", server) }, ["proxy-protocol-required"]),
      "proxy-protocol-required",
    );
  });
  await t.step({
    name: "nginx, TLS and plain",
    ignore: !openssl || !programs.nginx,
    fn: async () => {
      await using pki = await openPki();
      const { sound, full, ca } = await makeAuthorities(pki);
      await using echo = echoService();
      const files = `ssl_certificate ${full}; ssl_certificate_key ${sound.key};`;
      const location = `location / { ${nginxUpgrade(echo.port)} }`;
      await using tls = await nginx(`${files} ${location}`, "ssl proxy_protocol");
      const report = await expectReport({ url: urlOf("wss", tls, "/", "localhost"), ca }, ["proxy-protocol-required"]);
      expectFirst(report, "proxy-protocol-required", /load balancer/, /proxy_protocol in listen/);
      await using plain = await nginx(location, "proxy_protocol");
      await expectReport({ url: urlOf("ws", plain) }, ["proxy-protocol-required"]);
    },
  });
  await t.step({
    name: "HAProxy demands it, or sends it to a service that does not take it",
    ignore: !programs.haproxy,
    fn: async () => {
      await using echo = echoService();
      const server = (options: string) => `server s 127.0.0.1:${echo.port} ${options}`;
      await using demands = await haproxy("accept-proxy", server(""));
      await expectReport({ url: urlOf("ws", demands) }, ["proxy-protocol-required"]);
      await using sends = await haproxy("", server("send-proxy"));
      expectFirst(
        await expectReport({ url: urlOf("ws", sends) }, ["upgrade-malformed"]),
        "upgrade-malformed",
        /send-proxy/,
      );
      await using right = await haproxy("", server(""));
      await expectReport({ url: urlOf("ws", right) }, []);
    },
  });
});
