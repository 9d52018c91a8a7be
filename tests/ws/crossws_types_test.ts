/**
 * An app runs unchanged on this service and on crossws (h3, Nitro, Nuxt). The assignments in this file are the test:
 * `deno check` and `deno test` type-check them.
 */
import { assertEquals } from "@std/assert";
import type * as crossws from "crossws";
import chat from "../../lib/apps/chat.ts";
import echo from "../../lib/apps/echo.ts";
import ok from "../../lib/apps/reply_ok.ts";
import type { ServiceCalls } from "../../lib/hub/service_calls.ts";
import { type App, defineApp, type Message, type Peer } from "../../lib/ws/app_types.ts";

type Assignable<From, To> = [From] extends [To] ? true : false;
/** `any` is assignable both ways and would make every check below pass. */
type IsAny<T> = 0 extends 1 & T ? true : false;

const real: [IsAny<crossws.Hooks>, IsAny<crossws.Peer>, IsAny<crossws.Message>, IsAny<App>, IsAny<Peer>] = [
  false,
  false,
  false,
  false,
  false,
];

// An app of this service is assignable to the type of a crossws app, as a whole and hook by hook.
const toTheirs: Assignable<App, Partial<crossws.Hooks>> = true;
type Names = keyof App & keyof crossws.Hooks;
const everyHook: Assignable<keyof App, keyof crossws.Hooks> = true;
const hooksToTheirs: { [N in Names]: Assignable<NonNullable<App[N]>, crossws.Hooks[N]> } = {
  upgrade: true,
  open: true,
  message: true,
  close: true,
  error: true,
  drain: true,
};

// The arguments of hooks: a hook of this service accepts the peer and the message of crossws.
const peer: Assignable<crossws.Peer, Peer> = true;
const message: Assignable<crossws.Message, Message> = true;

const theirs: Partial<crossws.Hooks>[] = [
  ok,
  echo,
  chat({} as ServiceCalls),
  defineApp({
    upgrade: () => ({ headers: { "x-a": "b" }, protocol: "chat", context: { user: "tom" } }),
    open: (peer) => void peer.send("welcome"),
    async message(peer, message) {
      await Promise.resolve();
      peer.send(message.text());
    },
    close: (_peer, { code, reason }) => void [code, reason],
    error: (_peer, error) => void error.message,
    drain: (peer) => void peer.bufferedAmount,
  }),
];

// A crossws app is assignable to the type of this service's app. Its hooks use only the types of crossws.
const toOurs: Assignable<Partial<crossws.Hooks>, App> = true;
const written: Partial<crossws.Hooks> = {
  upgrade: (request) => new URL(request.url).searchParams.has("no") ? new Response("no", { status: 403 }) : undefined,
  open: (peer) => peer.subscribe("room"),
  message(peer, message) {
    peer.publish("room", message.text());
    peer.send(message.uint8Array());
  },
  close: (peer) => peer.unsubscribe("room"),
};
const ours: App = written;

// The checks above detect a difference: a hook that needs more members than a crossws peer or message has, another
// order of arguments, or a result that crossws does not accept.
const drifts: [
  Assignable<{ open: (peer: Peer & { invented: string }) => void }, Partial<crossws.Hooks>>,
  Assignable<{ message: (peer: Peer, message: Message & { invented(): void }) => void }, Partial<crossws.Hooks>>,
  Assignable<{ message: (message: Message, peer: Peer) => void }, Partial<crossws.Hooks>>,
  Assignable<{ upgrade: () => { headers: number } }, Partial<crossws.Hooks>>,
  Assignable<{ close: (peer: Peer, code: number) => void }, Partial<crossws.Hooks>>,
  Assignable<Omit<crossws.Peer, "bufferedAmount">, Peer>,
  Assignable<Omit<crossws.Message, "text">, Message>,
] = [false, false, false, false, false, false, false];

Deno.test("app types and crossws types are assignable to each other", () => {
  assertEquals([toTheirs, everyHook, peer, message, toOurs, ...Object.values(hooksToTheirs)].every(Boolean), true);
  assertEquals([...real, ...drifts].some(Boolean), false);
  assertEquals([theirs.length, typeof ours.message], [4, "function"]);
});
