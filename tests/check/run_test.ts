/** The laboratory: each server is broken in one way, and the check names that way and no other. */
import { assertEquals } from "@std/assert";
import { runCheck } from "../../lib/check/run.ts";
import type { CheckOptions } from "../../lib/check/target.ts";
import { hasOpenssl, openPki, type Pki } from "../openssl.ts";
import { closedPort, echoService, firewalledPort, helloServer, type Identity, listenOnly } from "./laboratory.ts";
import { rawServer, rightAnswer, type Server, upgradeServer, writeAll } from "./laboratory.ts";
import { hasProgram, nginx, nginxUpgrade } from "./proxies.ts";

/** Asserts the codes above a note, in their order, and the exit code. */
async function expectCodes(options: CheckOptions, codes: readonly string[], exit: number): Promise<void> {
  const report = await runCheck(options);
  const bad = report.observations.filter(({ level }) => level === "warning" || level === "error");
  assertEquals(bad.map(({ code }) => code), codes, JSON.stringify(report.observations, null, 1));
  assertEquals(report.exit, exit);
  for (const { code, remedy } of bad) assertEquals(typeof remedy, "string", `${code} has a remedy`);
}

async function identity(cert: string, key: string): Promise<Identity> {
  return { cert: await Deno.readTextFile(cert), key: await Deno.readTextFile(key) };
}

Deno.test("misuse and unreachable endpoints end with exit code 2", async (t) => {
  const cases: [name: string, url: string, codes: string[]][] = [
    ["another scheme", "https://localhost/", ["url-scheme"]],
    ["no scheme", "localhost:8282/wss", ["url-invalid"]],
    ["port 0", "wss://localhost:0/", ["url-port"]],
    ["a name without an address", "wss://name.invalid/", ["dns-no-answer"]],
    ["a closed port", `ws://127.0.0.1:${closedPort()}/`, ["tcp-refused"]],
  ];
  for (const [name, url, codes] of cases) await t.step(name, () => expectCodes({ url }, codes, 2));

  await t.step("a firewall", async () => {
    await using port = await firewalledPort();
    await expectCodes({ url: `ws://127.0.0.1:${port.port}/`, timeout: 1500 }, ["tcp-timeout"], 2);
  });
});

Deno.test("what speaks on the port", async (t) => {
  await using plain = echoService();
  await t.step("wss asked of plain ws", () => expectCodes({ url: url("wss", plain) }, ["speaks-plain"], 1));
  await t.step("a sound plain service", () => expectCodes({ url: url("ws", plain) }, [], 0));
  await t.step("another protocol", async () => {
    await using ssh = rawServer(async (connection) => {
      await writeAll(connection, "SSH-2.0-OpenSSH_9.2\r\n");
      await listenOnly(connection);
    });
    await expectCodes({ url: url("wss", ssh) }, ["speaks-other"], 1);
    await expectCodes({ url: url("ws", ssh) }, ["speaks-other"], 1);
  });
  await t.step("silence", async () => {
    await using silent = rawServer(listenOnly);
    await expectCodes({ url: url("wss", silent), timeout: 3000 }, ["speaks-nothing"], 1);
    await expectCodes({ url: url("ws", silent), timeout: 3000 }, ["upgrade-timeout"], 1);
  });
  await t.step("a closed door", async () => {
    await using rude = rawServer(() => Promise.resolve());
    await expectCodes({ url: url("wss", rude) }, ["speaks-closed"], 1);
    await expectCodes({ url: url("ws", rude) }, ["speaks-closed"], 1);
  });
});

function url(scheme: "ws" | "wss", server: Server, path = "/", host = "127.0.0.1"): string {
  return `${scheme}://${host}:${server.port}${path}`;
}

Deno.test("an upgrade that fails", async (t) => {
  const bodies: [status: number, code: string][] = [
    [200, "upgrade-ignored"],
    [301, "upgrade-redirected"],
    [308, "upgrade-redirected"],
    [400, "upgrade-bad-request"],
    [401, "upgrade-unauthorized"],
    [403, "upgrade-forbidden"],
    [404, "upgrade-not-found"],
    [405, "upgrade-method"],
    [418, "upgrade-refused"],
    [426, "upgrade-required"],
    [429, "upgrade-too-many"],
    [500, "upgrade-server-error"],
    [502, "upgrade-bad-gateway"],
    [503, "upgrade-unavailable"],
    [504, "upgrade-gateway-timeout"],
  ];
  for (const [status, code] of bodies) {
    await t.step(`status ${status}`, async () => {
      await using server = echoService({
        onRequest: () => new Response("why", { status, headers: { location: "/x" } }),
      });
      await expectCodes({ url: url("ws", server) }, [code], 1);
    });
  }
  await t.step("a wrong path", async () => {
    await using server = echoService({ path: "/wss" });
    await expectCodes({ url: url("ws", server, "/ws") }, ["upgrade-not-found"], 1);
    await expectCodes({ url: url("ws", server, "/wss") }, [], 0);
  });

  const answers: [
    name: string,
    answer: (connection: Deno.TcpConn, request: string) => Promise<void>,
    codes: string[],
  ][] = [
    ["closed in place of an answer", () => Promise.resolve(), ["upgrade-cut"]],
    ["garbage", (connection) => writeAll(connection, "\x00\x01garbage\r\n\r\n"), ["upgrade-garbage"]],
    ["half a head", (connection) => writeAll(connection, "HTTP/1.1 101 Swit"), ["upgrade-garbage"]],
    ["a wrong accept", async (connection) => {
      await writeAll(connection, await rightAnswer("Sec-WebSocket-Key: another\r\n"));
      await listenOnly(connection);
    }, ["upgrade-answer-wrong", "ping-unanswered", "close-missing"]],
    ["compression unasked", async (connection, request) => {
      await writeAll(connection, await rightAnswer(request, "Sec-WebSocket-Extensions: permessage-deflate\r\n"));
      await answerFrames(connection);
    }, ["extension-unasked"]],
    ["a subprotocol unasked", async (connection, request) => {
      await writeAll(connection, await rightAnswer(request, "Sec-WebSocket-Protocol: mqtt\r\n"));
      await answerFrames(connection);
    }, ["subprotocol-unasked"]],
    ["garbage after the upgrade", async (connection, request) => {
      await writeAll(connection, await rightAnswer(request) + "\xff\xffgarbage");
      await listenOnly(connection);
    }, ["frame-invalid"]],
    ["an end after the upgrade", async (connection, request) => {
      await writeAll(connection, await rightAnswer(request));
    }, ["connection-lost"]],
    ["no control frames", async (connection, request) => {
      await writeAll(connection, await rightAnswer(request));
      await listenOnly(connection);
    }, ["ping-unanswered", "close-missing"]],
  ];
  for (const [name, answer, codes] of answers) {
    await t.step(name, async () => {
      await using server = upgradeServer(answer);
      await expectCodes({ url: url("ws", server) }, codes, 1);
    });
  }
  await t.step("a close by the server", async () => {
    await using server = echoService({ onOpen: (socket) => socket.close(1008, "who are you?") });
    await expectCodes({ url: url("ws", server) }, ["closed-by-server"], 1);
  });
  await t.step("a slow answer", async () => {
    await using server = echoService({
      async onRequest(request) {
        if (request.headers.has("upgrade")) await new Promise((resolve) => setTimeout(resolve, 3300));
        return undefined;
      },
    });
    await expectCodes({ url: url("ws", server), timeout: 30_000 }, ["upgrade-slow"], 1);
  });
});

/** Answers ping with pong and close with close, for frames shorter than 126 bytes that come one at a time. */
async function answerFrames(connection: Deno.TcpConn): Promise<void> {
  const bytes = new Uint8Array(512);
  while (true) {
    const count = await connection.read(bytes);
    if (count === null) return;
    const [opcode, length] = [bytes[0]! & 15, bytes[1]! & 127];
    const payload = bytes.slice(6, 6 + length).map((byte, at) => byte ^ bytes[2 + (at & 3)]!);
    await writeAll(connection, new Uint8Array([0x80 | (opcode === 9 ? 10 : opcode), length, ...payload]));
    if (opcode === 8) return;
  }
}

Deno.test("messages, subprotocols and the hold", async (t) => {
  await using echo = echoService();
  const to = { url: url("ws", echo) };
  await t.step("an echo", () => expectCodes({ ...to, send: "tom", expect: "tom" }, [], 0));
  await t.step(
    "another message",
    () => expectCodes({ ...to, send: "tom", expect: "ok", timeout: 3000 }, ["message-unexpected"], 1),
  );
  await t.step("no message", () => expectCodes({ ...to, expect: "ok", timeout: 3000 }, ["message-missing"], 1));
  await t.step("a subprotocol", () => expectCodes({ ...to, subprotocols: ["a", "b"] }, [], 0));
  await t.step("a quiet connection", () => expectCodes({ ...to, hold: 1000 }, [], 0));
  await t.step("a welcome", async () => {
    await using server = echoService({ onOpen: (socket) => socket.send("welcome") });
    await expectCodes({ url: url("ws", server), expect: "welcome" }, [], 0);
  });
  await t.step("a subprotocol that is not taken", async () => {
    await using server = upgradeServer(async (connection, request) => {
      await writeAll(connection, await rightAnswer(request));
      await answerFrames(connection);
    });
    await expectCodes({ url: url("ws", server), subprotocols: ["mqtt"] }, ["subprotocol-missing"], 1);
  });
  await t.step("a header and an origin arrive", async () => {
    const seen: (string | null)[] = [];
    await using server = echoService({
      onRequest(request) {
        if (request.headers.has("upgrade")) seen.push(request.headers.get("x-token"), request.headers.get("origin"));
        return undefined;
      },
    });
    const options = { headers: [["X-Token", "tom"]], origin: "https://page.example" } as const;
    await expectCodes({ url: url("ws", server), ...options }, [], 0);
    assertEquals(seen, ["tom", "https://page.example"]);
  });
  await t.step("another server than the URL's", async () => {
    const connectTo = { hostname: "127.0.0.1", port: echo.port };
    await expectCodes({ url: "ws://name.invalid/", connectTo }, [], 0);
  });
});

async function laboratoryPki(pki: Pki) {
  const root = await pki.authority("root");
  const middle = await pki.authority("middle", { issuer: root });
  const sound = await pki.leaf("sound", { issuer: middle });
  return { root, middle, sound, ca: [await Deno.readTextFile(root.cert)] };
}

Deno.test({ name: "certificates", ignore: !await hasOpenssl() }, async (t) => {
  await using pki = await openPki();
  const { root, middle, sound, ca } = await laboratoryPki(pki);

  async function expectOf(
    files: readonly string[],
    key: string,
    codes: readonly string[],
    more: Partial<CheckOptions> = {},
  ) {
    const cert = await pki.bundle("served.pem", ...files);
    await using server = echoService({ identity: await identity(cert, key) });
    await expectCodes({ url: url("wss", server, "/", "localhost"), ca, ...more }, codes, codes.length === 0 ? 0 : 1);
  }
  const chain = [sound.cert, middle.cert];
  await t.step("sound", () => expectOf(chain, sound.key, []));
  await t.step("a private root that nobody named", () => expectOf(chain, sound.key, ["chain-incomplete"], { ca: [] }));
  await t.step("a missing intermediate", () => expectOf([sound.cert], sound.key, ["chain-incomplete"]));
  await t.step("the wrong order", async () => {
    const low = await pki.authority("low", { issuer: middle });
    const leaf = await pki.leaf("under-low", { issuer: low });
    await expectOf([leaf.cert, middle.cert, low.cert], leaf.key, ["chain-order"]);
  });
  await t.step("a stranger in the chain", async () => {
    const stranger = await pki.authority("stranger");
    await expectOf([...chain, stranger.cert], sound.key, ["chain-unrelated"]);
  });
  await t.step("the root sent along is a note", () => expectOf([...chain, root.cert], sound.key, []));
  await t.step("expired", async () => {
    const leaf = await pki.leaf("expired", { issuer: middle, from: -20, to: -10 });
    await expectOf([leaf.cert, middle.cert], leaf.key, ["certificate-expired"]);
  });
  await t.step("not yet valid", async () => {
    const leaf = await pki.leaf("early", { issuer: middle, from: 10, to: 100 });
    await expectOf([leaf.cert, middle.cert], leaf.key, ["certificate-not-yet-valid"]);
  });
  await t.step("expiring soon", async () => {
    const leaf = await pki.leaf("soon", { issuer: middle, to: 5 });
    await expectOf([leaf.cert, middle.cert], leaf.key, ["certificate-expires-soon"]);
  });
  await t.step("a wrong name", async () => {
    const leaf = await pki.leaf("other", { issuer: middle, names: "DNS:other.example" });
    await expectOf([leaf.cert, middle.cert], leaf.key, ["name-mismatch"]);
    await expectOf([leaf.cert, middle.cert], leaf.key, [], { sni: "other.example" });
  });
  await t.step("an address where the certificate names a domain", async () => {
    const leaf = await pki.leaf("domain", { issuer: middle, names: "DNS:localhost" });
    const cert = await pki.bundle("domain-chain.pem", leaf.cert, middle.cert);
    await using server = echoService({ identity: await identity(cert, leaf.key) });
    await expectCodes({ url: url("wss", server), ca }, ["ip-instead-of-domain"], 1);
  });
  await t.step("self-signed", async () => {
    const leaf = await pki.leaf("alone");
    await expectOf([leaf.cert], leaf.key, ["certificate-self-signed"]);
    await expectOf([leaf.cert], leaf.key, [], { ca: [await Deno.readTextFile(leaf.cert)] });
  });
  await t.step("two at once: expired and of a wrong name", async () => {
    const leaf = await pki.leaf("both", { issuer: middle, from: -20, to: -10, names: "DNS:other.example" });
    await expectOf([leaf.cert, middle.cert], leaf.key, ["certificate-expired", "name-mismatch"]);
  });
  await t.step("two at once: expired and without its intermediate", async () => {
    const leaf = await pki.leaf("bare", { issuer: middle, from: -20, to: -10 });
    await expectOf([leaf.cert], leaf.key, ["certificate-expired", "chain-incomplete"]);
  });
  await t.step("TLS asked as ws", async () => {
    await using server = echoService({ identity: await identity(await pki.bundle("ws.pem", ...chain), sound.key) });
    await expectCodes({ url: url("ws", server, "/", "localhost") }, ["speaks-tls"], 1);
  });
  await t.step("for WeChat: neither localhost nor a private authority", () => {
    return expectOf(chain, sound.key, ["wechat-domain", "wechat-authority"], { for: "wechat" });
  });
  await t.step("for a browser", () => expectOf(chain, sound.key, [], { for: "browser" }));
  await t.step("SSLv3 left on", async () => {
    await using tls = echoService({ identity: await identity(await pki.bundle("ssl3.pem", ...chain), sound.key) });
    await using server = helloServer(tls, ({ version }) => version === 0x0300);
    await expectCodes({ url: url("wss", server, "/", "localhost"), ca }, ["ssl3-offered"], 1);
  });
  await t.step("RC4 left on", async () => {
    await using tls = echoService({ identity: await identity(await pki.bundle("rc4.pem", ...chain), sound.key) });
    await using server = helloServer(
      tls,
      ({ version, suites }) => version === 0x0303 && suites.includes(5) && !suites.includes(0xc02f),
    );
    await expectCodes({ url: url("wss", server, "/", "localhost"), ca }, ["rc4-offered"], 1);
  });
});

const peers = await hasOpenssl() && await hasProgram("nginx", "-v");

Deno.test({ name: "nginx in front, misconfigured", ignore: !peers }, async (t) => {
  await using pki = await openPki();
  const { middle, sound, ca } = await laboratoryPki(pki);
  const full = await pki.bundle("full.pem", sound.cert, middle.cert);
  await using echo = echoService();
  await using tlsEcho = echoService({ identity: await identity(full, sound.key) });
  const tls = `ssl_certificate ${full}; ssl_certificate_key ${sound.key};`;
  const modern = `${tls} ssl_protocols TLSv1.2 TLSv1.3;`;
  const right = `location / { ${nginxUpgrade(echo.port)} }`;

  async function expectOf(server: string, codes: readonly string[], more: Partial<CheckOptions> = {}) {
    await using proxy = await nginx(server);
    await expectCodes({ url: url("wss", proxy, "/", "localhost"), ca, ...more }, codes, codes.length === 0 ? 0 : 1);
  }
  await t.step("sound", () => expectOf(`${modern} ${right}`, [], { send: "tom", expect: "tom" }));
  await t.step("TLS 1.0 only", () => {
    return expectOf(`${tls} ssl_protocols TLSv1; ssl_ciphers ALL:@SECLEVEL=0; ${right}`, ["tls-too-old"]);
  });
  await t.step("TLS 1.0 and 1.1 left on", () => {
    return expectOf(`${tls} ssl_protocols TLSv1 TLSv1.1 TLSv1.2; ssl_ciphers ALL:@SECLEVEL=0; ${right}`, [
      "tls-old-offered",
    ]);
  });
  await t.step("two at once: TLS 1.0 only and expired", async () => {
    const leaf = await pki.leaf("expired", { issuer: middle, from: -20, to: -10 });
    const cert = await pki.bundle("expired-full.pem", leaf.cert, middle.cert);
    await expectOf(
      `ssl_certificate ${cert}; ssl_certificate_key ${leaf.key}; ssl_protocols TLSv1;
       ssl_ciphers ALL:@SECLEVEL=0; ${right}`,
      ["tls-too-old", "certificate-expired"],
    );
  });
  await t.step("a short key", async () => {
    const leaf = await pki.leaf("short", { issuer: middle, key: "rsa1024" });
    const cert = await pki.bundle("short-full.pem", leaf.cert, middle.cert);
    await expectOf(
      `ssl_certificate ${cert}; ssl_certificate_key ${leaf.key}; ssl_protocols TLSv1.2;
       ssl_ciphers ALL:@SECLEVEL=0; ${right}`,
      ["key-too-short"],
    );
  });
  await t.step("no suite of today", async () => {
    const leaf = await pki.leaf("rsa", { issuer: middle, key: "rsa2048" });
    const cert = await pki.bundle("rsa-full.pem", leaf.cert, middle.cert);
    await expectOf(
      `ssl_certificate ${cert}; ssl_certificate_key ${leaf.key}; ssl_protocols TLSv1.2; ssl_ciphers AES128-SHA; ${right}`,
      ["suites-old"],
    );
  });
  await t.step("TLS 1.2 missing, for WeChat", () => {
    return expectOf(`${tls} ssl_protocols TLSv1.3; ${right}`, ["wechat-domain", "wechat-tls", "wechat-authority"], {
      for: "wechat",
    });
  });
  await t.step("a name that is refused", () => {
    return expectOf("ssl_reject_handshake on;", ["tls-name-refused"]);
  });
  await t.step("Upgrade dropped", () => {
    return expectOf(`${modern} location / { proxy_pass http://127.0.0.1:${echo.port}; proxy_http_version 1.1; }`, [
      "upgrade-required",
    ]);
  });
  await t.step("HTTP/1.0 upstream", () => {
    return expectOf(`${modern} location / { proxy_pass http://127.0.0.1:${echo.port}; }`, ["upgrade-required"]);
  });
  await t.step("TLS on both hops", () => {
    return expectOf(`${modern} location / { ${nginxUpgrade(tlsEcho.port)} }`, ["upgrade-bad-gateway"]);
  });
  await t.step("no service behind", () => {
    return expectOf(`${modern} location / { ${nginxUpgrade(closedPort())} }`, ["upgrade-bad-gateway"]);
  });
  await t.step(
    "another path",
    () => expectOf(`${modern} location /other { ${nginxUpgrade(echo.port)} }`, ["upgrade-not-found"]),
  );
  await t.step("a client certificate wanted", () => {
    return expectOf(`${modern} ssl_verify_client on; ssl_client_certificate ${middle.cert}; ${right}`, [
      "upgrade-bad-request",
    ]);
  });
  await t.step("a read timeout", () => {
    return expectOf(`${modern} location / { ${nginxUpgrade(echo.port)} proxy_read_timeout 1s; }`, ["hold-cut"], {
      hold: 8000,
    });
  });
  await t.step("plain HTTP asked of nginx's TLS port", async () => {
    await using proxy = await nginx(`${modern} ${right}`);
    await expectCodes({ url: url("ws", proxy, "/", "localhost") }, ["speaks-tls"], 1);
  });
});
