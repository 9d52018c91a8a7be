/** Endpoints that require the PROXY protocol, and services that receive it but do not support it. */
import { hasOpenssl, openPki } from "../support/openssl.ts";
import { expectFirst, expectReport, makeAuthorities, urlOf } from "./expect.ts";
import { echoService, rawServer, writeAll } from "./test_servers.ts";
import { haproxy, hasProgram, nginx, nginxUpgrade } from "./proxies.ts";

const openssl = await hasOpenssl();
const programs = { nginx: await hasProgram("nginx", "-v"), haproxy: await hasProgram("haproxy", "-v") };

Deno.test("reports a missing or unexpected PROXY protocol header", async (t) => {
  await t.step("a port that accepts only version 2", async () => {
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
    name: "nginx requires it, with and without TLS",
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
    name: "HAProxy requires it, or sends it to a service that does not support it",
    ignore: !programs.haproxy,
    fn: async () => {
      await using echo = echoService();
      const server = (options: string) => `server s 127.0.0.1:${echo.port} ${options}`;
      await using requiring = await haproxy("accept-proxy", server(""));
      await expectReport({ url: urlOf("ws", requiring) }, ["proxy-protocol-required"]);
      await using sending = await haproxy("", server("send-proxy"));
      expectFirst(
        await expectReport({ url: urlOf("ws", sending) }, ["upgrade-malformed"]),
        "upgrade-malformed",
        /send-proxy/,
      );
      await using correct = await haproxy("", server(""));
      await expectReport({ url: urlOf("ws", correct) }, []);
    },
  });
});
