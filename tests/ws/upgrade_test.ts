import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { join } from "node:path";
import { type App, defineApp, type Peer } from "../../lib/ws/app_types.ts";
import { sign, type Signer } from "../auth/signing.ts";
import { type Changes, handshake, rawResponse } from "../support/raw.ts";
import { type Served, serving } from "../support/serving.ts";

function ask({ raw }: Served, change: Changes = {}) {
  return rawResponse(raw, handshake(change));
}

const offering = (list: string): Changes => ({ headers: { "Sec-WebSocket-Protocol": list } });

Deno.test("an app refuses with its own Response, returned or thrown, synchronously or not", async () => {
  const refusal = () => new Response("members only", { status: 402, headers: { "x-why": "unpaid" } });
  const hooks: NonNullable<App["upgrade"]>[] = [
    () => refusal(),
    () => Promise.resolve(refusal()),
    () => {
      throw refusal();
    },
    () => Promise.reject(refusal()),
  ];
  let opened = 0;
  for (const upgrade of hooks) {
    // There is one place. If a refusal did not free it, the next request would get a 503.
    await using served = await serving({ upgrade, open: () => void opened++ }, { maxConnections: 1 });
    for (let time = 0; time < 3; time++) {
      const { status, headers, body } = await ask(served);
      assertEquals([status, headers.get("x-why"), body], [402, "unpaid", "members only"]);
    }
    assertEquals(served.lines.filter(({ level }) => level === "error"), []);
  }
  assertEquals(opened, 0);
});

Deno.test("an app can add headers to the 101, except those of the handshake", async () => {
  const app = defineApp({
    upgrade: () => ({
      headers: [["Set-Cookie", "a=1"], ["Set-Cookie", "b=2"], ["X-Mine", "yes"], ["Sec-WebSocket-Accept", "forged"]],
    }),
  });
  await using served = await serving(app);
  const { status, headers } = await ask(served);
  assertEquals([status, headers.get("x-mine"), headers.getSetCookie()], [101, "yes", ["a=1", "b=2"]]);
  assertEquals(headers.get("sec-websocket-accept"), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
});

Deno.test("an app chooses an offered subprotocol by property or header; by default none", async () => {
  const chosen: (string | undefined)[] = [];
  const app = (upgrade?: App["upgrade"]) => defineApp({ upgrade, open: (peer) => void chosen.push(peer.protocol) });
  const choices: [App["upgrade"], string, string | null][] = [
    [() => ({ protocol: "b" }), "a, b", "b"],
    [() => ({ headers: { "Sec-WebSocket-Protocol": "a" } }), "a, b", "a"],
    [undefined, "a, b", null],
    [() => ({}), "a, b", null],
    [undefined, "a, wss.v1", "wss.v1"],
    [() => ({ protocol: "a" }), "wss.v1, a", "a"],
  ];
  for (const [upgrade, offered, expected] of choices) {
    await using served = await serving(app(upgrade));
    const { status, headers } = await ask(served, offering(offered));
    assertEquals([status, headers.get("sec-websocket-protocol")], [101, expected], offered);
    await using client = await served.connect({ protocols: offered.split(", ") });
    assertEquals(client.socket.protocol, expected ?? "");
    assertEquals(chosen.at(-1), expected ?? "");
  }
});

Deno.test("an error in upgrade is a 500 with the details in the log; other clients are not affected", async () => {
  const mistakes: [NonNullable<App["upgrade"]>, RegExp][] = [
    [() => {
      throw new TypeError("no database");
    }, /^the app's upgrade hook failed: no database$/],
    [() => Promise.reject("a string"), /^the app's upgrade hook failed: a string$/],
    [() => ({ headers: { "bad name": "x" } }), /^the app's upgrade hook failed: .*header/i],
    [
      () => ({ protocol: "c" }),
      /^the app's upgrade hook failed: the client did not offer the subprotocol "c"$/,
    ],
  ];
  for (const [wrong, message] of mistakes) {
    const app = defineApp({
      upgrade: (request) => request.url.endsWith("wrong") ? wrong(request) : undefined,
      message: (peer) => void peer.send("ok"),
    });
    await using served = await serving(app, { maxConnections: 1 });
    for (let time = 0; time < 2; time++) {
      const { status, body } = await ask(served, { target: "/?wrong", ...offering("a, b") });
      assertEquals([status, body], [
        500,
        "500 Internal Server Error\nThe app on this server failed; see the service's log.\n",
      ]);
    }
    const errors = served.lines.filter(({ level }) => level === "error");
    assertEquals(errors.length, 2);
    assertMatch(errors[0]!.message, message);
    await using client = await served.connect();
    assertEquals(await client.ask("tom"), "ok");
  }
});

const SECRET = "correct-horse-battery-staple-0123456789";

/** Sends back the parts of the upgrade request that the app can read. */
const recorder = defineApp({
  upgrade: (request) => ({ context: { seen: [request.url, ...request.headers].join(" ") } }),
  open: (peer) => void peer.send({ url: peer.request.url, headers: [...peer.request.headers], context: peer.context }),
});

Deno.test("shared secret: a missing or wrong token is a 401 with a challenge, and the app does not see the token", async () => {
  let gone = Promise.withResolvers<void>();
  const app = { ...recorder, close: () => gone.resolve() };
  await using served = await serving(app, async (folder) => {
    await Deno.writeTextFile(join(folder, "tokens"), `# ours\n${SECRET}\n`);
    return { authTokenFile: join(folder, "tokens"), maxConnections: 1, authQuery: true };
  });
  assertEquals(served.service.requiredToken, "the shared secret");
  const none = await ask(served);
  assertEquals([none.status, none.headers.get("www-authenticate")], [401, 'Bearer realm="wss"']);
  assertMatch(
    none.body,
    /^401 Unauthorized\nA token is required: send Authorization: Bearer TOKEN, or offer the subprotocol/,
  );
  for (
    const change of [
      { headers: { Authorization: "Bearer wrong-wrong-wrong-wrong" } },
      offering("wss.v1, bearer.wrong-wrong-wrong-wrong"),
      { target: "/?token=wrong-wrong-wrong-wrong" },
    ]
  ) {
    const { status, headers, body } = await ask(served, change);
    assertEquals(status, 401);
    assertMatch(headers.get("www-authenticate") ?? "", /^Bearer realm="wss", error="invalid_token"/);
    assertEquals(body.includes("wrong-wrong"), false);
  }

  for (
    const [options, protocol] of [
      [{ headers: { Authorization: `Bearer ${SECRET}` } }, ""],
      [{ protocols: ["wss.v1", `bearer.${SECRET}`] }, "wss.v1"],
      [{ protocols: ["chat", `bearer.${SECRET}`] }, "chat"],
      [{ path: `/?token=${SECRET}&room=1` }, ""],
    ] as const
  ) {
    const client = await served.connect(options);
    assertEquals(client.socket.protocol, protocol);
    const shown = await client.next() as string;
    assertEquals(shown.includes(SECRET), false, shown);
    assertEquals(JSON.parse(shown).context.claims, {});
    await client.close();
    await gone.promise;
    gone = Promise.withResolvers();
  }
  assertEquals(JSON.stringify(served.lines).includes(SECRET), false);
  assertEquals(JSON.stringify(served.lines).includes("wrong-wrong"), false);
});

Deno.test("JWT: the app gets the claims, and the connection is closed with 3000 at expiry", async () => {
  const by: Signer = { algorithm: "HS256", privateKey: new TextEncoder().encode("0123456789abcdef0123456789abcdef") };
  const ended = Promise.withResolvers<number | undefined>();
  const app = { ...recorder, close: (_peer: Peer, { code }: { code?: number }) => ended.resolve(code) };
  await using served = await serving(app, async (folder) => {
    await Deno.writeFile(join(folder, "secret"), by.privateKey as Uint8Array);
    return { jwtSecretFile: join(folder, "secret"), jwtAudience: "chat" };
  });
  assertEquals(served.service.requiredToken, "a JWT (HS256)");
  const bearer = async (claims: Record<string, unknown>, times?: { exp?: number; nbf?: number }) => ({
    headers: { Authorization: `Bearer ${await sign(by, claims, times)}` },
  });

  // Clocks may differ by five seconds, so a connection ends that much after its token.
  const client = await served.connect(await bearer({ aud: "chat", sub: "tom", role: "admin" }, { exp: 3 }));
  const { claims } = JSON.parse(await client.next() as string).context;
  assertEquals([claims.sub, claims.role], ["tom", "admin"]);
  await using patient = await served.connect(await bearer({ aud: "chat", sub: "ann" }, { exp: 3600 }));
  assertEquals(JSON.parse(await patient.next() as string).context.claims.sub, "ann");

  for (const [wrong, times] of [[{ aud: "mail" }], [{}], [{ aud: "chat" }, { exp: -120 }]] as const) {
    const { status, headers } = await ask(served, await bearer(wrong, times));
    assertEquals(status, 401);
    assertMatch(headers.get("www-authenticate") ?? "", /error="invalid_token"/);
  }

  assertEquals(await client.closed, { code: 3000, reason: "the token has expired" });
  assertEquals([await ended.promise, served.service.peers.size], [3000, 1]);
});

Deno.test("a client without a token is refused before the upgrade hook is called", async () => {
  let asked = 0;
  const app = defineApp({ upgrade: () => void asked++ });
  await using served = await serving(app, async (folder) => {
    await Deno.writeTextFile(join(folder, "tokens"), SECRET);
    return { authTokenFile: join(folder, "tokens") };
  });
  await assertRejects(() => served.connect());
  assertEquals(asked, 0);
});
