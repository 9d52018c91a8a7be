import { assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";
import { defineWebSocketHandler, H3 } from "h3";
import { checkApp } from "../../lib/apps/validate_app.ts";
import { StartError } from "../../lib/errors.ts";
import type { ServiceCalls } from "../../lib/hub/service_calls.ts";
import { type App, serve } from "../../lib/mod.ts";
import { createLogger } from "../../lib/log.ts";
import { Client } from "../support/client.ts";
import { handshake, rawResponse } from "../support/raw.ts";
import { type Served, serving } from "../support/serving.ts";

const none: ServiceCalls = {} as ServiceCalls;

/** Checks an app. If it is a function, calls it. */
function check(app: unknown): { app: unknown; warnings: string[] } {
  const warnings: string[] = [];
  const checked = checkApp(app, "./app.ts", (message) => warnings.push(message));
  return { app: typeof checked === "function" ? checked(none) : checked, warnings };
}

Deno.test("rejects an invalid app with a message that says what is required", () => {
  const message = () => {};
  for (
    const [app, expected] of [
      [undefined, "it is undefined; an object of hooks is required, as returned by defineApp({ … })"],
      [null, "it is null; an object of hooks"],
      ["echo", "it is a string; an object of hooks"],
      [{}, "it has none of the hooks upgrade, open, message, close, error, drain, gap"],
      [{ message: "ok" }, "its message must be a function, not a string"],
      [{ mesage: message }, "it has no hook mesage: did you mean message?"],
      [{ open: message, Message: message }, "it has no hook Message: did you mean message?"],
      [{ message, clsoe: message }, "it has no hook clsoe: did you mean close?"],
      [() => undefined, "its function returned undefined; an object of hooks"],
      [() => ({ opne: message }), "it has no hook opne: did you mean open?"],
      [() => {
        throw new Error("no database");
      }, "its function threw: no database"],
      [
        () => Promise.reject(new Error("late")),
        "but this one returned a Promise; export a fetch handler as { fetch }",
      ],
      [() => new Response("hello"), "but this one returned a Response; export a fetch handler as { fetch }"],
    ] as const
  ) {
    const error = assertThrows(() => check(app), StartError);
    assertMatch(error.message, /^Cannot use the app \.\/app\.ts: /);
    assertEquals(error.message.includes(expected), true, error.message);
  }
});

Deno.test("warns about each hook that is never called, and accepts other properties", () => {
  const app = { message() {}, ping() {}, pong() {}, helper() {}, name: "mine" };
  assertEquals(check(app).app, app);
  assertEquals(check(app).warnings, [
    "the app's hook ping is never called: Deno answers pings itself and does not report them",
    "the app's hook pong is never called: Deno answers pings itself and does not report them",
  ]);
  const hooks = { message() {} };
  assertEquals(check({ [Symbol.for("crossws.hooks")]: hooks }).app, hooks);
});

Deno.test("serve also validates the app", async () => {
  for (const app of [undefined, {}, { opne() {} }]) {
    await assertRejects(() => serve(app as App, { mode: "proxied", port: 0 }), StartError, "Cannot use the app app: ");
  }
  const lines: string[] = [];
  const log = createLogger({ level: "warn", write: (line) => lines.push(line) });
  await using _service = await serve({ message() {}, ping() {} } as App, { mode: "proxied", port: 0 }, { log });
  assertEquals(lines.filter((line) => line.includes("hook ping is never called")).length, 1);
});

Deno.test("the library by default writes only warnings to standard error", async () => {
  const program = `
    import { serve } from ${JSON.stringify(new URL("../../lib/mod.ts", import.meta.url).href)};
    await using service = await serve({ message() {}, pong() {} }, { mode: "proxied", port: 0 });
  `;
  const file = await Deno.makeTempFile({ suffix: ".ts" });
  await Deno.writeTextFile(file, program);
  const config = new URL("../../deno.json", import.meta.url).pathname;
  const args = ["run", "-A", "--no-check", "--config", config, file];
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), { args, env: { NO_COLOR: "1" } }).output();
  await Deno.remove(file);
  const decoder = new TextDecoder();
  assertEquals([code, decoder.decode(stdout)], [0, ""], decoder.decode(stderr));
  assertEquals(decoder.decode(stderr).trim().split("\n").map((line) => line.slice(25)), [
    "warn  the app's hook pong is never called: Deno answers pings itself and does not report them",
  ]);
});

async function refused({ raw }: Served, target: string) {
  const { status, body } = await rawResponse(raw, handshake({ target }));
  return [status, body.split("\n").at(-2)];
}

Deno.test("an h3 app: uses the hooks and refusals of its routes, and answers 404 on other paths", async () => {
  const app = new H3();
  app.get(
    "/rooms/:id",
    defineWebSocketHandler((event) => ({
      upgrade: () => ({ context: { room: event.context.params?.id } }),
      open: (peer) => void peer.send(`welcome to ${peer.context.room}`),
      message(peer, message) {
        peer.send(`${peer.context.room}: ${message.text()}`);
      },
    })),
  );
  app.get("/closed", defineWebSocketHandler({ upgrade: () => new Response("closed\n", { status: 403 }) }));
  app.get("/page", () => "a page");
  app.get("/secret", () => new Response("log in\n", { status: 401 }));
  await using served = await serving(app as unknown as App, { mode: "proxied", path: ["/*"] });
  await using a = await served.connect({ path: "/rooms/a" });
  await using b = await served.connect({ path: "/rooms/b" });
  assertEquals([await a.next(), await b.next()], ["welcome to a", "welcome to b"]);
  assertEquals([await a.ask("tom"), await b.ask("tom")], ["a: tom", "b: tom"]);
  assertEquals(await refused(served, "/closed"), [403, "closed"]);
  assertEquals(await refused(served, "/secret"), [401, "log in"]);
  assertEquals(await refused(served, "/page"), [404, "The app has no WebSocket endpoint at this path."]);
  assertEquals((await refused(served, "/other"))[0], 404);
});

Deno.test("a fetch handler may return its hooks on the request, on the response, or through a nested handler", async () => {
  const hooks = { message: (peer: { send(data: unknown): unknown }) => void peer.send("ok") };
  const handlers: ((request: Request) => unknown)[] = [
    (request) => {
      (request as unknown as Record<symbol, unknown>)[Symbol.for("crossws.hooks")] = hooks;
      return new Response("WebSocket upgrade is required.", { status: 426 });
    },
    () => Object.assign(new Response("rebuilt"), { crossws: hooks }),
    () => Promise.resolve({ crossws: hooks }),
  ];
  for (const fetch of handlers) {
    for (const app of [{ fetch }, Object.assign(() => {}, { fetch })]) {
      await using served = await serving(app as unknown as App, { mode: "proxied" });
      await using client = await served.connect();
      assertEquals(await client.ask("tom"), "ok");
      assertEquals([...served.service.peers].map(({ context }) => JSON.stringify(context)), ["{}"]);
    }
  }
  const app = { fetch: () => new Response("no", { status: 503 }) } as unknown as App;
  await using served = await serving(app, { mode: "proxied" });
  assertEquals((await rawResponse(served.raw, handshake())).status, 503);
  await assertRejects(() => Client.open(served.url));
});
