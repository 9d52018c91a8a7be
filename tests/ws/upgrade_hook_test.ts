/** The effects of an app's `upgrade` hook on its own handshake, and their absence on other clients. */
import { assertEquals, assertMatch } from "@std/assert";
import { type App, defineApp } from "../../lib/ws/app_types.ts";
import { type Changes, handshake, rawResponse } from "../support/raw.ts";
import { type Served, serving } from "../support/serving.ts";

const ok = (peer: { send(data: unknown): unknown }) => void peer.send("ok");

function ask({ raw }: Served, change: Changes = {}) {
  return rawResponse(raw, handshake(change));
}

async function stillAnswers(served: Served): Promise<void> {
  await using client = await served.connect({ path: "/wss" });
  assertEquals(await client.ask("tom"), "ok");
}

/** An app whose hook fails at `/` and does nothing at `/wss`. */
function wrongAtRoot(upgrade: NonNullable<App["upgrade"]>): App {
  return {
    upgrade: (request) => new URL(request.url).pathname === "/" ? upgrade(request) : undefined,
    message: ok,
  };
}

Deno.test("an upgrade hook that never resolves: 503 after the handshake timeout, and the slot is released", async () => {
  const app = wrongAtRoot(() => new Promise(() => {}));
  await using served = await serving(app, { mode: "proxied", handshakeTimeout: "2s", maxConnections: 1 });
  for (let time = 0; time < 2; time++) {
    const { status, headers, body } = await ask(served);
    assertEquals([status, headers.get("retry-after")], [503, "10"]);
    assertMatch(body, /The app on this server did not answer the handshake in time\./);
  }
  assertEquals(served.logged("the app's upgrade hook did not answer in time")[0]?.ms, 2_000);
  await stillAnswers(served);
});

for (const mode of ["direct", "proxied"] as const) {
  Deno.test(`an upgrade hook that never resolves: the slot is released when the client disconnects, ${mode}`, async () => {
    const asked = Promise.withResolvers<void>();
    const left = Promise.withResolvers<void>();
    const app = wrongAtRoot((request) => {
      request.signal.addEventListener("abort", () => left.resolve());
      asked.resolve();
      return new Promise(() => {});
    });
    await using served = await serving(app, { mode, handshakeTimeout: "60s", maxConnections: 1 });
    const { port, ca } = served.raw;
    const conn = ca === undefined
      ? await Deno.connect({ hostname: "127.0.0.1", port })
      : await Deno.connectTls({ hostname: "localhost", port, caCerts: [ca] });
    await conn.write(new TextEncoder().encode(handshake()));
    await asked.promise;
    assertEquals((await ask(served)).status, 503);
    conn.close();
    await left.promise;
    await stillAnswers(served);
  });
}

Deno.test("a late result of an upgrade hook is ignored", async () => {
  const late = Promise.withResolvers<Response>();
  const failing = Promise.withResolvers<Response>();
  const hooks = [late.promise, failing.promise];
  const app = wrongAtRoot(() => hooks.shift()!);
  await using served = await serving(app, { mode: "proxied", handshakeTimeout: "2s" });
  assertEquals([(await ask(served)).status, (await ask(served)).status], [503, 503]);
  const cancelled = Promise.withResolvers<void>();
  late.resolve(new Response(new ReadableStream({ cancel: () => cancelled.resolve() })));
  failing.reject(Object.create(null));
  await cancelled.promise;
  await stillAnswers(served);
  assertEquals(served.logged("failed after its client was answered").length, 1);
});

Deno.test("a Response that cannot be sent is a 500, logged as an error of the app", async () => {
  const once = new Response("members only", { status: 402 });
  const locked = new Response("x");
  locked.body!.getReader();
  const cases: [() => unknown, RegExp][] = [
    [
      () => once,
      /^the app's upgrade hook failed: the returned Response's body is already used; make a new/,
    ],
    [() => locked, /^the app's upgrade hook failed: the returned Response's body is already used/],
    [() => Response.error(), /^the app's upgrade hook failed: it returned a Response with status 0$/],
    [
      () => ({ handled: true }),
      /^the app's upgrade hook failed: it returned \{ handled: true \}, which is not supported/,
    ],
    [() => ({ namespace: 7 }), /^the app's upgrade hook failed: namespace must be a string, got number$/],
    [
      () => false,
      /^the app's upgrade hook failed: a Response, an object or nothing is required, got boolean$/,
    ],
    [() => {
      throw Object.create(null);
    }, /^the app's upgrade hook failed: a value that cannot be converted to text \(object\)$/],
    [() => ({
      then: "no promise",
      get headers() {
        throw new Error("getter");
      },
    }), /^the app's upgrade hook failed: getter$/],
    [() => {
      throw {
        get response() {
          throw new Error("response getter");
        },
      };
    }, /^the app's upgrade hook failed: response getter$/],
  ];
  for (const [wrong, message] of cases) {
    await using served = await serving(wrongAtRoot(wrong as NonNullable<App["upgrade"]>), {
      mode: "proxied",
      maxConnections: 1,
    });
    if (message.source.includes("make a new")) assertEquals((await ask(served)).status, 402);
    assertEquals((await ask(served)).status, 500);
    assertMatch(served.lines.find(({ level }) => level === "error")?.message ?? "", message);
    await stillAnswers(served);
  }
});

Deno.test("crossws: the peer's context has what upgrade writes into request.context and what it returns", async () => {
  const app = defineApp({
    upgrade(request) {
      request.context!.user = "ann";
      request.context!.room = "lobby";
      return new URL(request.url).pathname === "/" ? undefined : { context: { room: "garden" } };
    },
    open: (peer) => void peer.send(peer.context),
  });
  await using served = await serving(app, { mode: "proxied" });
  for (const [path, room] of [["/", "lobby"], ["/wss", "garden"]] as const) {
    await using client = await served.connect({ path });
    assertEquals(JSON.parse(await client.next() as string), { user: "ann", room });
  }
});

Deno.test("perMessageDeflate is ignored with one warning", async () => {
  const app = { upgrade: () => ({ perMessageDeflate: true }) as Record<string, unknown>, message: ok };
  await using served = await serving(app, { mode: "proxied" });
  for (let time = 0; time < 2; time++) assertEquals((await ask(served)).status, 101);
  assertEquals(served.logged("perMessageDeflate is ignored").length, 1);
});
