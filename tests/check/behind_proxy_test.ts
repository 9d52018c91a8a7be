/** Real proxies: misconfigured in one way each, and right. */
import { assertEquals } from "@std/assert";
import type { CheckOptions } from "../../lib/check/check_target.ts";
import { hasOpenssl, openPki } from "../support/openssl.ts";
import { echoService, rightAnswer, upgradeServer, writeAll } from "./test_servers.ts";
import { expectCodes, expectReport, identityOf, makeAuthorities, urlOf } from "./expect.ts";
import { apache, caddy, hasProgram, nginx, nginxUpgrade } from "./proxies.ts";
import { closedPort } from "../support/ports.ts";

const openssl = await hasOpenssl();

Deno.test({ name: "nginx misconfigured", ignore: !openssl || !await hasProgram("nginx", "-v") }, async (t) => {
  await using pki = await openPki();
  const { middle, sound, full, ca } = await makeAuthorities(pki);
  await using echo = echoService();
  const tls = `ssl_certificate ${full}; ssl_certificate_key ${sound.key}; ssl_protocols TLSv1.2 TLSv1.3;`;

  async function expectOf(server: string, codes: readonly string[], more: Partial<CheckOptions> = {}) {
    await using proxy = await nginx(`${tls} ${server}`);
    await expectCodes({ url: urlOf("wss", proxy, "/wss", "localhost"), ca, ...more }, codes);
  }
  const right = `location / { ${nginxUpgrade(echo.port)} }`;
  await t.step("Upgrade dropped", () => {
    return expectOf(`location / { proxy_pass http://127.0.0.1:${echo.port}; proxy_http_version 1.1; }`, [
      "upgrade-required",
    ]);
  });
  await t.step("HTTP/1.0 to the service", async () => {
    // Deno.serve upgrades a request of HTTP/1.0 too (measured on Deno 2.9.6): this service is one that minds.
    await using strict = upgradeServer(async (connection, request) => {
      const right = request.includes(" HTTP/1.1\r\n");
      await writeAll(connection, right ? await rightAnswer(request) : "HTTP/1.1 426 Upgrade Required\r\n\r\n");
    });
    const headers = 'proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade";';
    const location = `location / { proxy_pass http://127.0.0.1:${strict.port}; proxy_http_version 1.0; ${headers} }`;
    await expectOf(location, ["upgrade-required"]);
  });
  await t.step("TLS on both hops", async () => {
    await using tlsEcho = echoService({ identity: await identityOf(full, sound.key) });
    await expectOf(`location / { ${nginxUpgrade(tlsEcho.port)} }`, ["tls-on-both-hops"]);
    await using inner = await nginx(`${tls} ${right}`);
    await expectOf(`location / { ${nginxUpgrade(inner.port)} }`, ["tls-on-both-hops"]);
  });
  await t.step("no service behind", () => {
    return expectOf(`location / { ${nginxUpgrade(closedPort())} }`, ["upgrade-bad-gateway"]);
  });
  await t.step("a service behind that does not answer", () => {
    return expectOf(`location / { return 504; }`, ["upgrade-gateway-timeout"]);
  });
  await t.step("another path", () => {
    return expectOf(`location /other { ${nginxUpgrade(echo.port)} } location / { return 404; }`, ["upgrade-not-found"]);
  });
  await t.step("a page in place of the service", () => {
    return expectOf(`location / { default_type text/html; return 200 "<title>Welcome</title>"; }`, ["upgrade-ignored"]);
  });
  await t.step("a client certificate wanted", async () => {
    const wants = `ssl_verify_client on; ssl_client_certificate ${middle.cert};`;
    await expectOf(`${wants} ${right}`, ["client-certificate-required"]);
  });
  await t.step("a read timeout", () => {
    return expectOf(`location / { ${nginxUpgrade(echo.port)} proxy_read_timeout 1s; }`, ["hold-cut"], { hold: 20_000 });
  });
  await t.step("h2 beside http/1.1 is sound", async () => {
    await using proxy = await nginx(`${tls} ${right}`, "ssl http2");
    await expectCodes({ url: urlOf("wss", proxy, "/", "localhost"), ca }, []);
  });
  await t.step("plain ws asked of the TLS port", async () => {
    await using proxy = await nginx(`${tls} ${right}`);
    await expectCodes({ url: urlOf("ws", proxy, "/", "localhost") }, ["protocol-tls"]);
  });
});

/** Everything that a sound endpoint can be asked. */
async function expectSound(url: string, ca: readonly string[]): Promise<void> {
  const options = { url, ca, send: "tom", expect: "tom", hold: 500, subprotocols: ["a", "b"], for: "browser" } as const;
  const report = await expectReport(options, []);
  const { port } = new URL(url);
  assertEquals(
    [...new Set(report.observations.map(({ probe }) => probe))],
    [
      "url",
      "dns",
      "tcp",
      "protocol",
      "versions",
      "chain",
      "alpn",
      "resumption",
      "upgrade",
      "message",
      "ping",
      "hold",
      "close",
    ],
    port,
  );
}

Deno.test({ name: "sound endpoints yield nothing above a note", ignore: !openssl }, async (t) => {
  await using pki = await openPki();
  const { sound, full, ca } = await makeAuthorities(pki);
  await using echo = echoService();
  await t.step("Deno.serve with a certificate", async () => {
    await using direct = echoService({ identity: await identityOf(full, sound.key) });
    await expectSound(urlOf("wss", direct, "/", "localhost"), ca);
  });
  await t.step({
    name: "nginx in front",
    ignore: !await hasProgram("nginx", "-v"),
    fn: async () => {
      await using proxy = await nginx(
        `ssl_certificate ${full}; ssl_certificate_key ${sound.key}; ssl_protocols TLSv1.2 TLSv1.3;
         location / { ${nginxUpgrade(echo.port)} }`,
      );
      await expectSound(urlOf("wss", proxy, "/", "localhost"), ca);
    },
  });
  await t.step({
    name: "Apache in front",
    ignore: !await hasProgram("apache2", "-v"),
    fn: async () => {
      await using proxy = await apache(
        `SSLEngine on
SSLCertificateFile ${full}
SSLCertificateKeyFile ${sound.key}
SSLProtocol -all +TLSv1.2 +TLSv1.3
ProxyPass / http://127.0.0.1:${echo.port}/ upgrade=websocket`,
      );
      await expectSound(urlOf("wss", proxy, "/", "localhost"), ca);
    },
  });
  await t.step({
    name: "Apache without the upgrade",
    ignore: !await hasProgram("apache2", "-v"),
    fn: async () => {
      await using proxy = await apache(
        `SSLEngine on
SSLCertificateFile ${full}
SSLCertificateKeyFile ${sound.key}
SSLProtocol -all +TLSv1.2 +TLSv1.3
ProxyPass / http://127.0.0.1:${echo.port}/`,
      );
      await expectCodes({ url: urlOf("wss", proxy, "/", "localhost"), ca }, ["upgrade-required"]);
    },
  });
  await t.step({
    name: "Caddy in front",
    ignore: !await hasProgram("caddy", "version"),
    fn: async () => {
      await using proxy = await caddy(`tls ${full} ${sound.key}\n reverse_proxy 127.0.0.1:${echo.port}`);
      await expectSound(urlOf("wss", proxy, "/", "localhost"), ca);
    },
  });
});
