/** Servers that require a client certificate, and servers that only request one and refuse for another reason. */
import { assert } from "@std/assert";
import { hasOpenssl, openPki } from "../support/openssl.ts";
import { expectFirst, expectReport, makeAuthorities, urlOf } from "./expect.ts";
import { echoService, rawServer, type Server, writeAll } from "./test_servers.ts";
import { apache, apacheTls, caddy, haproxy, hasProgram, nginx, nginxTls, nginxUpgrade } from "./proxies.ts";

const openssl = await hasOpenssl();
const programs = {
  nginx: await hasProgram("nginx", "-v"),
  haproxy: await hasProgram("haproxy", "-v"),
  apache: await hasProgram("apache2", "-v"),
  caddy: await hasProgram("caddy", "version"),
};

Deno.test({ name: "reports that a client certificate is required", ignore: !openssl }, async (t) => {
  await using pki = await openPki();
  const { root, sound, full, ca } = await makeAuthorities(pki);
  await using echo = echoService();
  const check = async (server: Server, codes = ["client-certificate-required"]) => {
    const report = await expectReport({ url: urlOf("wss", server, "/", "localhost"), ca }, codes);
    if (codes.length > 0) expectFirst(report, "client-certificate-required", /requires a client certificate/);
    return report;
  };
  for (const version of ["1.2", "1.3"] as const) {
    await t.step({
      name: `Apache, TLS ${version}`,
      ignore: !programs.apache,
      fn: async () => {
        await using proxy = await apache(
          `${apacheTls(full, sound.key, `+TLSv${version}`)}
SSLCACertificateFile ${root.cert}
SSLVerifyClient require
ProxyPass / http://127.0.0.1:${echo.port}/ upgrade=websocket`,
        );
        await check(proxy);
      },
    });
    await t.step({
      name: `HAProxy, TLS ${version}`,
      ignore: !programs.haproxy,
      fn: async () => {
        const pem = await pki.bundle(`haproxy-${version}.pem`, full, sound.key);
        const bind =
          `ssl crt ${pem} ca-file ${root.cert} verify required ssl-min-ver TLSv${version} ssl-max-ver TLSv${version}`;
        await using proxy = await haproxy(bind, `server s 127.0.0.1:${echo.port}`);
        await check(proxy);
      },
    });
  }
  await t.step({
    name: "Caddy",
    ignore: !programs.caddy,
    fn: async () => {
      const auth = `client_auth {\n mode require_and_verify\n trusted_ca_cert_file ${root.cert}\n }`;
      await using proxy = await caddy(
        `tls ${full} ${sound.key} {\n ${auth}\n }\n reverse_proxy 127.0.0.1:${echo.port}`,
      );
      await check(proxy);
    },
  });
  await t.step({
    name: "nginx with an optional client certificate: a note",
    ignore: !programs.nginx,
    fn: async () => {
      await using proxy = await nginx(
        `${nginxTls(full, sound.key)}
         ssl_verify_client optional; ssl_client_certificate ${root.cert}; location / { ${nginxUpgrade(echo.port)} }`,
      );
      const report = await check(proxy, []);
      assert(report.observations.some(({ code }) => code === "client-certificate-asked"));
    },
  });
});

Deno.test({
  name: "reports the cause of a refusal by a server that only requests a client certificate",
  ignore: !openssl || !programs.nginx,
}, async (t) => {
  await using pki = await openPki();
  const { root, sound, full, ca } = await makeAuthorities(pki);
  const HINT = /may require one/;
  /** Checks nginx, which requests a client certificate and accepts clients without one. */
  async function check(location: string, code: string): Promise<string> {
    await using proxy = await nginx(
      `${nginxTls(full, sound.key)} ssl_verify_client optional; ssl_client_certificate ${root.cert};
       location / { ${location} }`,
    );
    const report = await expectReport({ url: urlOf("wss", proxy, "/", "localhost"), ca }, [code]);
    return report.first!.fact;
  }
  await t.step("a missing token", async () => {
    await using echo = echoService({
      onRequest: () =>
        new Response("A token is required.\n", { status: 401, headers: { "www-authenticate": "Bearer" } }),
    });
    const fact = await check(nginxUpgrade(echo.port), "upgrade-unauthorized");
    assert(!HINT.test(fact), fact);
  });
  await t.step("a wrong Origin, named in the body", async () => {
    const body = "403 Forbidden\nThe Origin https://evil.example may not connect.\n";
    await using echo = echoService({ onRequest: () => new Response(body, { status: 403 }) });
    const fact = await check(nginxUpgrade(echo.port), "upgrade-forbidden");
    assert(/refuses the Origin/.test(fact) && !HINT.test(fact), fact);
  });
  await t.step("a missing Origin, found by another request", async () => {
    await using echo = echoService({
      onRequest: (request) => request.headers.has("origin") ? undefined : new Response("no", { status: 403 }),
    });
    const fact = await check(nginxUpgrade(echo.port), "upgrade-forbidden");
    assert(/accepts the Origin/.test(fact) && !HINT.test(fact), fact);
  });
  await t.step("no reason: the certificate is a second possibility", async () => {
    const fact = await check("return 403;", "upgrade-forbidden");
    assert(/address list/.test(fact) && HINT.test(fact), fact);
  });
  await t.step("a connection that is closed without a response", async () => {
    const fact = await check("if ($http_upgrade) { return 444; } return 200;", "upgrade-cut");
    assert(/without answering/.test(fact) && HINT.test(fact), fact);
  });
});

Deno.test({
  name: "reports a client certificate that Apache requires for one path",
  ignore: !openssl || !programs.apache,
}, async () => {
  await using pki = await openPki();
  const { root, sound, full, ca } = await makeAuthorities(pki);
  await using echo = echoService();
  await using proxy = await apache(
    `${apacheTls(full, sound.key, "+TLSv1.3")}
SSLCACertificateFile ${root.cert}
<Location /ws>
SSLVerifyClient require
</Location>
ProxyPass / http://127.0.0.1:${echo.port}/ upgrade=websocket`,
  );
  const url = urlOf("wss", proxy, "/ws", "localhost");
  expectFirst(await expectReport({ url, ca }, ["client-certificate-required"]), "client-certificate-required");
});

Deno.test({
  name: "names a TLS alert even if the server requested a client certificate",
  ignore: !openssl || !programs.nginx,
}, async () => {
  await using pki = await openPki();
  const { root, sound, full, ca } = await makeAuthorities(pki);
  await using inner = await nginx(
    `${nginxTls(full, sound.key)} ssl_verify_client optional; ssl_client_certificate ${root.cert};
     location / { return 200; }`,
  );
  // Ends handshakes of rustls, which offers ALPN, with the alert internal_error. The probes' own ClientHellos pass.
  await using server = rawServer(async (connection) => {
    const hello = new Uint8Array(4096);
    const count = await connection.read(hello) ?? 0;
    if (new TextDecoder("latin1").decode(hello.subarray(0, count)).includes("http/1.1")) {
      return await writeAll(connection, new Uint8Array([21, 3, 3, 0, 2, 2, 80]));
    }
    const upstream = await Deno.connect({ hostname: "127.0.0.1", port: inner.port });
    await writeAll(upstream, hello.subarray(0, count));
    const forwarded = connection.readable.pipeTo(upstream.writable).catch(() => {});
    await upstream.readable.pipeTo(connection.writable).catch(() => {});
    await forwarded;
  });
  const report = await expectReport({ url: urlOf("wss", server, "/", "localhost"), ca }, ["handshake-failed"]);
  expectFirst(report, "handshake-failed", /InternalError/);
});
