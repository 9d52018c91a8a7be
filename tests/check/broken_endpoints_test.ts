/**
 * Endpoints with one fault each, most of which real programs serve, and unusual endpoints that are correct.
 */
import { assert, assertEquals } from "@std/assert";
import type { CheckOptions } from "../../lib/check/check_options.ts";
import { type Report, runCheck } from "../../lib/check/run_check.ts";
import { developmentMaterial } from "../../lib/tls/development_certificate.ts";
import { hasOpenssl, type Issued, openPki, type Pki } from "../support/openssl.ts";
import { expectFirst, expectReport, identityOf, makeAuthorities, urlOf } from "./expect.ts";
import {
  answerFrames,
  echoService,
  listenOnly,
  rawServer,
  readRequest,
  type Server,
  upgradeResponse,
  upgradeServer,
  writeAll,
} from "./test_servers.ts";
import { hasProgram, nginx, nginxTls, nginxUpgrade } from "./proxies.ts";

const openssl = await hasOpenssl();
const hasNginx = await hasProgram("nginx", "-v");

Deno.test("reports no warning for unusual but valid responses", async (t) => {
  await t.step("103 Early Hints before the 101", async () => {
    await using server = upgradeServer(async (connection, request) => {
      await writeAll(connection, "HTTP/1.1 103 Early Hints\r\nLink: </x.css>; rel=preload\r\n\r\n");
      await writeAll(connection, await upgradeResponse(request));
      await answerFrames(connection);
    });
    await expectReport({ url: urlOf("ws", server) }, []);
  });
  await t.step("headers in upper case and reverse order", async () => {
    await using server = upgradeServer(async (connection, request) => {
      const [status, ...lines] = (await upgradeResponse(request)).trimEnd().split("\r\n");
      const reversed = lines.reverse().map((line) => line.replace(/^[^:]+/, (name) => name.toUpperCase()));
      await writeAll(connection, [status, ...reversed, "", ""].join("\r\n"));
      await answerFrames(connection);
    });
    await expectReport({ url: urlOf("ws", server) }, []);
  });
});

Deno.test("notes a server that refuses Content-Length: 0", async (t) => {
  /** Whether the note is reported. `codes`: the expected warnings and errors. */
  async function hasNote(server: Server, options: Partial<CheckOptions> = {}, codes: string[] = []): Promise<boolean> {
    const report = await expectReport({ url: urlOf("ws", server), ...options }, codes);
    const note = report.observations.find(({ code }) => code === "content-length-refused");
    if (note) assert(/proxy_set_header Content-Length/.test(note.remedy ?? ""), note.remedy);
    return note !== undefined;
  }
  await t.step("Deno.serve refuses it, so Java's client fails", async () => {
    await using echo = echoService();
    assert(await hasNote(echo));
    assert(await hasNote(echo, { for: "java" }, ["java-content-length"]));
  });
  await t.step("no note for a server that accepts it", async () => {
    await using server = upgradeServer(async (connection, request) => {
      await writeAll(connection, await upgradeResponse(request));
      await answerFrames(connection);
    });
    assert(!await hasNote(server));
  });
  await t.step("no note for a token that is accepted once", async () => {
    let used = false;
    await using server = upgradeServer(async (connection, request) => {
      if (used) return await writeAll(connection, "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
      used = true;
      await writeAll(connection, await upgradeResponse(request));
      await answerFrames(connection);
    });
    assert(!await hasNote(server));
  });
  await t.step("a server that closes the connection because of the header", async () => {
    await using server = upgradeServer(async (connection, request) => {
      if (/^content-length/im.test(request)) return;
      await writeAll(connection, await upgradeResponse(request));
      await answerFrames(connection);
    });
    assert(await hasNote(server));
  });
  await t.step("no note for a connection limit", async () => {
    let open = 0;
    await using echo = echoService({
      onRequest(request) {
        if (!request.headers.has("upgrade")) return undefined;
        return ++open > 1 ? new Response("full", { status: 503 }) : undefined;
      },
    });
    // Deno's HTTP parser refuses the request before the limit applies.
    assert(await hasNote(echo));
    await using other = upgradeServer(async (connection, request) => {
      if (/^content-length/im.test(request)) {
        return await writeAll(connection, "HTTP/1.1 503 Full\r\nContent-Length: 0\r\n\r\n");
      }
      await writeAll(connection, await upgradeResponse(request));
      await answerFrames(connection);
    });
    assert(!await hasNote(other));
  });
});

Deno.test("suggests a remedy for the close code", async (t) => {
  const cases: [code: number, reason: string, pattern: RegExp][] = [
    [1008, "login first", /credentials/],
    [4401, "", /credentials/],
    [4406, "Subprotocol not acceptable", /--subprotocol/],
    [1011, "", /failed/],
    [1012, "", /restarting/],
    [1013, "", /overloaded/],
    [4429, "", /reconnect less often/],
    [1008, "origin not allowed", /--origin/],
  ];
  for (const [code, reason, pattern] of cases) {
    await t.step(`${code} ${reason}`, async () => {
      // Deno's server cannot send every code.
      await using server = upgradeServer(async (connection, request) => {
        const text = new TextEncoder().encode(reason);
        await writeAll(connection, await upgradeResponse(request));
        await writeAll(connection, new Uint8Array([0x88, text.length + 2, code >> 8, code & 255, ...text]));
        await listenOnly(connection);
      });
      const report = await expectReport({ url: urlOf("ws", server) }, ["closed-by-server"]);
      expectFirst(report, "closed-by-server", new RegExp(String(code)), pattern);
    });
  }
});

Deno.test("reports a server that answers in HTTP/2", async () => {
  await using server = upgradeServer(async (connection) => {
    await writeAll(connection, new Uint8Array([0, 0, 0, 4, 0, 0, 0, 0, 0]));
  });
  expectFirst(await expectReport({ url: urlOf("ws", server) }, ["upgrade-http2"]), "upgrade-http2");
});

/** Checks a service with the given chain as localhost. */
async function checkChain(pki: Pki, chain: readonly Issued[], options: Partial<CheckOptions>): Promise<Report> {
  const cert = await pki.bundle("served.pem", ...chain.map(({ cert }) => cert));
  await using server = echoService({ identity: await identityOf(cert, chain[0]!.key) });
  return await runCheck({ url: urlOf("wss", server, "/", "localhost"), ...options });
}

Deno.test({ name: "reports the fault of a certificate chain", ignore: !openssl }, async (t) => {
  await using pki = await openPki();
  const { root, middle, sound, ca } = await makeAuthorities(pki);
  const codesOf = ({ observations }: Report) =>
    observations.filter(({ level }) => level === "error" || level === "warning").map((
      { code, level },
    ) => [code, level]);

  await t.step("a key usage without digitalSignature", async () => {
    const leaf = await pki.leaf("agreement", { issuer: middle, extensions: ["keyUsage=critical,keyAgreement"] });
    const report = await checkChain(pki, [leaf, middle], { ca });
    assertEquals(codesOf(report), [["usage-no-signature", "warning"]]);
    expectFirst(report, "usage-no-signature", /ERR_SSL_KEY_USAGE_INCOMPATIBLE/, /digitalSignature/);
    const browser = await checkChain(pki, [leaf, middle], { ca, for: "browser" });
    expectFirst(browser, "browser-certificate", /key usage forbids signatures/);
  });
  await t.step("names that the name constraints of the issuer forbid", async () => {
    const limited = await pki.authority("limited", {
      issuer: root,
      extensions: ["nameConstraints=critical,permitted;DNS:example.org"],
    });
    const leaf = await pki.leaf("outside", { issuer: limited });
    const report = await checkChain(pki, [leaf, limited], { ca });
    expectFirst(report, "name-not-permitted", /localhost/, /example\.org/, /"limited"/);
  });
  await t.step("names that the name constraints of the issuer permit", async () => {
    const limited = await pki.authority("wide", {
      issuer: root,
      extensions: ["nameConstraints=critical,permitted;DNS:localhost,permitted;IP:127.0.0.0/255.0.0.0"],
    });
    const leaf = await pki.leaf("inside", { issuer: limited });
    assertEquals(codesOf(await checkChain(pki, [leaf, limited], { ca })), []);
  });
  await t.step("more intermediates than the path length allows", async () => {
    const short = await pki.authority("short", {
      issuer: root,
      extensions: ["basicConstraints=critical,CA:TRUE,pathlen:0"],
    });
    const lower = await pki.authority("lower", { issuer: short });
    const leaf = await pki.leaf("deep", { issuer: lower });
    expectFirst(await checkChain(pki, [leaf, lower, short], { ca }), "path-too-long", /"short"/);
  });
  await t.step("an issuer that is not an authority", async () => {
    const leaf = await pki.leaf("forged", { issuer: sound });
    expectFirst(await checkChain(pki, [leaf, sound, middle], { ca }), "issuer-not-authority", /"sound"/);
  });
  await t.step("an expired cross-certificate in addition to a valid path: no error", async () => {
    const other = await pki.authority("other root");
    const cross = await pki.crossSign("cross", root, { issuer: other, from: -20, to: -10 });
    const report = await checkChain(pki, [sound, middle, { cert: cross.cert, key: cross.key }], { ca });
    assertEquals(codesOf(report).filter(([, level]) => level === "error"), []);
    assertEquals(report.verdict, report.first === undefined ? "sound" : "warnings");
  });
  await t.step("a valid cross-certificate", async () => {
    const other = await pki.authority("second root");
    const cross = await pki.crossSign("second cross", root, { issuer: other });
    assertEquals(codesOf(await checkChain(pki, [sound, middle, cross], { ca })), []);
  });
  await t.step("a self-signed certificate, and one without a subjectAltName", async () => {
    const alone = await pki.leaf("alone");
    assertEquals(codesOf(await checkChain(pki, [alone], {})), [["certificate-self-signed", "error"]]);
    const nameless = await pki.leaf("localhost", { issuer: middle, names: "" });
    assertEquals(codesOf(await checkChain(pki, [nameless, middle], { ca })), [["name-missing", "error"]]);
  });
  await t.step("a missing intermediate: a warning if it can be fetched, otherwise an error", async () => {
    const hidden = await checkChain(pki, [sound], { ca });
    assertEquals(codesOf(hidden), [["chain-incomplete", "error"]]);
    expectFirst(hidden, "chain-incomplete", /no client can fetch it/);
    const leaf = await pki.leaf("linked", {
      issuer: middle,
      extensions: ["authorityInfoAccess=caIssuers;URI:http://ca.example/middle.der"],
    });
    assertEquals(codesOf(await checkChain(pki, [leaf], { ca })), [["chain-incomplete", "warning"]]);
  });
  await t.step("a CA certificate used by a server", async () => {
    const leaf = await pki.leaf("grand", { issuer: middle, extensions: ["basicConstraints=critical,CA:TRUE"] });
    const report = await checkChain(pki, [leaf, middle], { ca });
    assertEquals(codesOf(report), [["certificate-is-authority", "warning"]]);
  });
  await t.step("anyExtendedKeyUsage without serverAuth", async () => {
    const leaf = await pki.leaf("any", { issuer: middle, extensions: ["extendedKeyUsage=anyExtendedKeyUsage"] });
    assertEquals(codesOf(await checkChain(pki, [leaf, middle], { ca })), [["usage-any", "warning"]]);
  });
  await t.step("an intermediate that may issue only for clients", async () => {
    const clients = await pki.authority("clients", { issuer: root, extensions: ["extendedKeyUsage=clientAuth"] });
    const leaf = await pki.leaf("under clients", { issuer: clients });
    expectFirst(await checkChain(pki, [leaf, clients], { ca }), "issuer-not-for-servers", /"clients"/);
  });
  await t.step({
    name: "an unknown critical extension (Deno.serve refuses to serve it)",
    ignore: !hasNginx,
    fn: async () => {
      const leaf = await pki.leaf("odd", { issuer: middle, extensions: ["1.2.3.4=critical,ASN1:UTF8String:x"] });
      const cert = await pki.bundle("odd-full.pem", leaf.cert, middle.cert);
      await using server = await nginx(`ssl_certificate ${cert}; ssl_certificate_key ${leaf.key};`);
      const report = await runCheck({ url: urlOf("wss", server, "/", "localhost"), ca });
      expectFirst(report, "extension-unknown", /1\.2\.3\.4/);
    },
  });
  await t.step("extensions that Python's strict verification requires", async () => {
    const lax = await pki.leaf("lax", { issuer: middle, extensions: ["authorityKeyIdentifier=none"] });
    const report = await checkChain(pki, [lax, middle], { ca, for: "python" });
    assert(report.observations.some(({ code }) => code === "python-strict"), JSON.stringify(report));
    const strict = await checkChain(pki, [sound, middle], { ca, for: "python" });
    assert(!strict.observations.some(({ code }) => code === "python-strict"), JSON.stringify(strict));
  });
});

Deno.test("recognises the development certificate of wss", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const material = await developmentMaterial({ folder });
    await using server = echoService({ identity: material });
    const url = urlOf("wss", server, "/", "localhost");
    expectFirst(await runCheck({ url }), "issuer-development", /development certificate/, /--ca certs\/ca\.pem/);
    const trusting = await runCheck({ url, ca: [await Deno.readTextFile(`${folder}/ca.pem`)] });
    assertEquals(trusting.verdict, "sound", JSON.stringify(trusting));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test(
  { name: "reports an inner proxy that does not forward X-Forwarded-Proto", ignore: !openssl || !hasNginx },
  async () => {
    await using pki = await openPki();
    const { sound, full, ca } = await makeAuthorities(pki);
    // The response of wss to X-Forwarded-Proto: http.
    await using service = echoService({
      onRequest(request) {
        const proto = request.headers.get("x-forwarded-proto");
        if (proto !== "http") return undefined;
        const body =
          "426 Upgrade Required\nAccording to the proxy, the client connected without TLS (X-Forwarded-Proto: http). " +
          "Connect to the proxy with wss://.\n";
        return new Response(body, { status: 426, headers: { upgrade: "TLS/1.2, HTTP/1.1", connection: "Upgrade" } });
      },
    });
    const outer = (port: number) =>
      `${nginxTls(full, sound.key)} location / { ${nginxUpgrade(port)} proxy_set_header X-Forwarded-Proto $scheme; }`;
    const inner = (proto: string) =>
      `location / { ${nginxUpgrade(service.port)} proxy_set_header X-Forwarded-Proto ${proto}; }`;
    await using unaware = await nginx(inner("$scheme"), "");
    await using broken = await nginx(outer(unaware.port));
    const report = await expectReport({ url: urlOf("wss", broken, "/", "localhost"), ca }, ["upgrade-needs-tls"]);
    expectFirst(report, "upgrade-needs-tls", /X-Forwarded-Proto: http/, /\$http_x_forwarded_proto/);
    await using forwarding = await nginx(inner("$http_x_forwarded_proto"), "");
    await using correct = await nginx(outer(forwarding.port));
    await expectReport({ url: urlOf("wss", correct, "/", "localhost"), ca }, []);
  },
);

Deno.test("reports a service that closes the connection after the upgrade request", async () => {
  await using server = rawServer(async (connection) => {
    const request = await readRequest(connection);
    if (!/^upgrade/im.test(request)) {
      await writeAll(connection, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    }
  });
  expectFirst(await expectReport({ url: urlOf("ws", server) }, ["upgrade-cut"]), "upgrade-cut", /log/);
});
