/** How one listening socket follows another on its port, by real sockets of this process. Linux. */
import { assert, assertEquals } from "@std/assert";
import { loadFfi } from "../../../lib/net/ffi/load_ffi.ts";
import {
  allConnectionsCounted,
  queueEmptied,
  share,
  sleep,
  steerToNewest,
  waitAtMost,
} from "../../../lib/net/listener/replace_accept_loop.ts";

// The C library stays loaded until the process ends. Loading it before the first test prevents a leak report.
const { ffi } = loadFfi();
const options = { ignore: Deno.build.os !== "linux" || ffi === undefined };
const never = new AbortController().signal;

/** The descriptors that listen on a port, in the order of their numbers. */
function listening(port: number): number[] {
  const { sockets } = ffi!;
  return sockets.open().filter((fd) => sockets.localPort(fd) === port && sockets.isListening(fd));
}

function listen(port: number, reusePort: boolean): Deno.TcpListener {
  return Deno.listen({ hostname: "127.0.0.1", port, reusePort });
}

Deno.test(
  "a port is exclusive until it is shared; then the newest socket gets every connection",
  options,
  async () => {
    using first = listen(0, false);
    const { port } = first.addr;
    const [fd] = listening(port);
    let refused = false;
    try {
      listen(port, true).close();
    } catch (error) {
      refused = error instanceof Deno.errors.AddrInUse;
    }
    assert(refused, "a second socket joined a port that was not shared");

    assertEquals(share(ffi!, fd!), true);
    using second = listen(port, true);
    assertEquals(steerToNewest(ffi!, fd!), true);
    for (let count = 0; count < 50; count++) {
      using _client = await Deno.connect({ port });
      using server = await second.accept();
      assertEquals((server.localAddr as Deno.NetAddr).port, port);
    }
  },
);

Deno.test("an accept queue is reported empty after its last connection was accepted", options, async () => {
  using listener = listen(0, false);
  const { port } = listener.addr;
  const [fd] = listening(port);
  await queueEmptied(ffi!, fd!, false, never);
  const clients = await Promise.all([1, 2, 3].map(() => Deno.connect({ port })));
  let empty = false;
  const emptied = queueEmptied(ffi!, fd!, false, never).then(() => empty = true);
  for (const _ of clients) {
    await sleep(50, never);
    assertEquals(empty, false);
    (await listener.accept()).close();
  }
  await emptied;
  for (const client of clients) client.close();
});

Deno.test("pending handshakes get their timeout, unless the signal is aborted", options, async () => {
  using listener = listen(0, false);
  const [fd] = listening(listener.addr.port);
  const began = performance.now();
  await queueEmptied(ffi!, fd!, true, never);
  assert(performance.now() - began > 900);
  // A signal that has come already: it waits for nothing.
  await queueEmptied(ffi!, fd!, true, AbortSignal.abort());
});

Deno.test("the wait for an address ends when all its connections are known", options, async () => {
  using listener = listen(0, false);
  const address = { transport: "tcp", hostname: "127.0.0.1", port: listener.addr.port } as const;
  using _client = await Deno.connect({ port: address.port });
  const server = await listener.accept();
  // The client's end has another local port.
  await allConnectionsCounted(ffi, address, () => 1, 60_000);
  let ended = false;
  const waiting = allConnectionsCounted(ffi, address, () => 0, 60_000).then(() => ended = true);
  await sleep(300, never);
  assertEquals(ended, false);
  server.close();
  await waiting;
});

Deno.test("a wait with a timeout ends with the promise or at the timeout", async () => {
  await waitAtMost(Promise.resolve(), 3_600_000);
  await waitAtMost(new Promise(() => {}), 10);
});
