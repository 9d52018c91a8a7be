/** Several listeners on one port, which choose together who gets new connections. Linux. */
import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { StartError } from "../../../lib/errors.ts";
import { silent } from "../../../lib/log.ts";
import { loadFfi } from "../../../lib/net/ffi/load_ffi.ts";
import { Listener } from "../../../lib/net/listener/listener.ts";
import { ReusePortGroup, spreadOver } from "../../../lib/net/listener/reuseport_group.ts";

// The C library stays loaded until the process ends. Loading it before the first test prevents a leak report.
loadFfi();

const ignore = Deno.build.os !== "linux";

async function open(name: string, group: "open" | "join", port = 0): Promise<Listener> {
  return await Listener.open({
    address: { transport: "tcp", hostname: "127.0.0.1", port },
    group,
    handler: () => new Response(name, { headers: { connection: "close" } }),
    log: silent,
  });
}

/** Who answers so many requests, each over a connection of its own. */
async function answers(port: number, count = 40): Promise<string[]> {
  const names = new Set<string>();
  for (let i = 0; i < count; i++) {
    using client = Deno.createHttpClient({ poolMaxIdlePerHost: 0 });
    const response = await fetch(`http://127.0.0.1:${port}/`, { client });
    names.add(await response.text());
  }
  return [...names].sort();
}

Deno.test("a group keeps the order of listening; when one leaves, the last takes its place", () => {
  const group = new ReusePortGroup<string>();
  for (const socket of ["a", "b", "c", "d"]) group.add(socket);
  assertEquals(group.indexesOf((socket) => socket > "b"), [2, 3]);
  group.remove("b");
  assertEquals(group.sockets, ["a", "d", "c"]);
  group.remove("c");
  group.remove("unknown");
  assertEquals(group.sockets, ["a", "d"]);
  assertThrows(() => spreadOver([]), RangeError, "at least one socket is required");
});

Deno.test("connections go to the sockets that the BPF program selects", { ignore }, async () => {
  const a = await open("a", "open");
  const { port } = a.addr as Deno.NetAddr;
  const b = await open("b", "join", port);
  const c = await open("c", "join", port);
  try {
    assertEquals(await answers(port), ["a", "b", "c"]);
    // Any member may choose for all.
    c.steer(spreadOver([1]));
    assertEquals(await answers(port), ["b"]);
    a.steer(spreadOver([2, 0]));
    assertEquals(await answers(port), ["a", "c"]);
    b.steer(undefined);
    assertEquals(await answers(port), ["a", "b", "c"]);
    b.steer(undefined);
  } finally {
    for (const listener of [a, b, c]) await listener.close();
  }
});

Deno.test("the sockets of a group are replaced while connections come in", { ignore }, async () => {
  const a = await open("a", "open");
  const { port } = a.addr as Deno.NetAddr;
  const b = await open("b", "join", port);
  let going = true;
  const load = (async () => {
    let served = 0;
    for (; going; served++) await answers(port, 1);
    return served;
  })();
  try {
    for (let round = 0; round < 2; round++) {
      a.bindNext(undefined);
      b.bindNext(undefined);
      b.steer(spreadOver([2, 3]));
      await Promise.all([a.queuesEmptied("old"), b.queuesEmptied("old")]);
      // Index 2 stays one of the new sockets while the old ones leave one after the other.
      a.steer(spreadOver([2]));
      // One after the other, so that the indexes are known in the end: a's at 0, b's at 1.
      await a.closeSockets("old");
      await b.closeSockets("old");
      a.steer(undefined);
      assertEquals(await answers(port), ["a", "b"]);
    }
    // A whole process leaves.
    a.steer(spreadOver([1]));
    await a.queuesEmptied("all");
    await a.closeSockets("all");
    assertEquals(await answers(port), ["b"]);
    assertEquals(await a.stopAccepting(), true);
    b.bindNext(undefined);
    b.steer(spreadOver([0]));
    await b.dropNext();
    await b.dropNext();
    assertEquals(await answers(port), ["b"]);
  } finally {
    going = false;
    await load;
    await a.close();
    await b.close();
  }
});

Deno.test("the first socket of a group fails if the port is in use", { ignore }, async () => {
  using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  await assertRejects(() => open("a", "open", taken.addr.port), StartError, "the port is in use by another program");
});
