/** Libraries with crossws hooks are served unchanged. Each is tested with its own client. */
import { assert, assertEquals } from "@std/assert";
import { Hocuspocus } from "@hocuspocus/server";
import { HocuspocusProvider, HocuspocusProviderWebsocket } from "@hocuspocus/provider";
import { buildSchema } from "graphql";
import { createClient } from "graphql-ws";
import { makeHooks } from "graphql-ws/use/crossws";
import { createHandler } from "y-crossws";
import { WebsocketProvider } from "y-websocket";
import * as Y from "yjs";
import { type App, defineApp, type Peer } from "../../lib/ws/app_types.ts";
import { eventually } from "../hostile/recorded_service.ts";
import { serving } from "../support/serving.ts";

Deno.test("Hocuspocus: two clients share a document", async () => {
  const hocuspocus = new Hocuspocus({ quiet: true, unloadImmediately: true });
  type Session = ReturnType<typeof hocuspocus.handleConnection>;
  const sessions = new WeakMap<Peer, Session>();
  // As Hocuspocus's own server does.
  const app = defineApp({
    open(peer) {
      const { websocket } = peer as Peer & { websocket: Parameters<typeof hocuspocus.handleConnection>[0] };
      sessions.set(peer, hocuspocus.handleConnection(websocket, peer.request));
    },
    message: (peer, message) => sessions.get(peer)?.handleMessage(message.uint8Array() as Uint8Array<ArrayBuffer>),
    close: (peer, { code = 1005, reason = "" }) => sessions.get(peer)?.handleClose({ code, reason }),
  });
  await using served = await serving(app, { mode: "proxied" });
  const join = () => {
    const document = new Y.Doc();
    const websocketProvider = new HocuspocusProviderWebsocket({ url: served.url, maxAttempts: 1 });
    const provider = new HocuspocusProvider({ websocketProvider, name: "shared", document });
    provider.attach();
    return {
      text: document.getText("words"),
      [Symbol.dispose]() {
        provider.destroy();
        websocketProvider.destroy();
        document.destroy();
      },
    };
  };
  {
    using one = join();
    using other = join();
    one.text.insert(0, "written by one");
    await eventually(() => other.text.toString() === "written by one", "the text at the second client");
    other.text.insert(0, "re");
    await eventually(() => one.text.toString() === "rewritten by one", "the change at the first client");
  }
  await eventually(() => served.service.peers.size === 0, "both peers are closed");
  await eventually(() => hocuspocus.documents.size === 0, "the document is unloaded");
  assertEquals(served.logged("a hook of the app threw"), []);
});

Deno.test("graphql-ws: a query, a subscription, and a socket in the context", async () => {
  let socket: { readonly readyState: number } | undefined;
  const schema = buildSchema("type Query { hello: String } type Subscription { count: Int }");
  const hooks = makeHooks({
    schema,
    isProd: true,
    onConnect: (context) => void (socket = context.extra.socket as { readonly readyState: number }),
    roots: {
      query: { hello: () => "world" },
      subscription: {
        async *count() {
          for (let count = 1; count <= 3; count++) yield await Promise.resolve({ count });
        },
      },
    },
  });
  await using served = await serving(hooks as unknown as App, { mode: "proxied" });
  const client = createClient({ url: served.url, retryAttempts: 0, webSocketImpl: WebSocket });
  const answers: unknown[] = [];
  for (const query of ["{ hello }", "subscription { count }"]) {
    for await (const { data, errors } of client.iterate({ query })) {
      assertEquals(errors, undefined);
      answers.push({ ...data });
    }
  }
  assertEquals(answers, [{ hello: "world" }, { count: 1 }, { count: 2 }, { count: 3 }]);
  assertEquals(socket?.readyState, WebSocket.OPEN);
  await client.dispose();
  await eventually(() => served.service.peers.size === 0, "the peer is closed");
  assertEquals(served.logged("a hook of the app threw"), []);
});

// y-crossws keeps an interval while the process runs, and the client keeps two timers after it is destroyed.
const leaky = { sanitizeOps: false, sanitizeResources: false };

Deno.test("y-crossws: two y-websocket clients share a document and see each other", leaky, async () => {
  const { hooks } = createHandler();
  await using served = await serving(hooks as unknown as App, { mode: "proxied", path: ["/shared"] });
  const join = () => {
    const document = new Y.Doc();
    const provider = new WebsocketProvider(new URL("/", served.url).href, "shared", document, { disableBc: true });
    return {
      provider,
      text: document.getText("words"),
      [Symbol.dispose]() {
        provider.destroy();
        document.destroy();
      },
    };
  };
  {
    using one = join();
    using other = join();
    one.text.insert(0, "written by one");
    await eventually(() => other.text.toString() === "written by one", "the text at the second client");
    other.provider.awareness.setLocalState({ name: "other" });
    await eventually(
      () => [...one.provider.awareness.getStates().values()].some(({ name }) => name === "other"),
      "the second client's name at the first",
    );
  }
  await eventually(() => served.service.peers.size === 0, "both peers are closed");
  assert(served.logged("a hook of the app threw").length === 0);
});
