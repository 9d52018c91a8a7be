/** Which descriptor a connection is on, by real connections of this process. Linux. */
import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { loadFfi } from "../../../lib/net/ffi/load_ffi.ts";
import { DescriptorFinder } from "../../../lib/net/watchdog/descriptor_finder.ts";

// The C library stays loaded until the process ends. Loading it before the first test prevents a leak report.
const sockets = loadFfi().ffi?.sockets;
const options = { ignore: Deno.build.os !== "linux" || sockets === undefined };
const ROWS = 4_096;

/** A listener whose connections can be had, both ends of each. */
class Pairs implements Disposable {
  readonly listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  readonly #conns: Deno.Conn[] = [];

  get port(): number {
    return this.listener.addr.port;
  }

  async next(): Promise<{ peer: { hostname: string; port: number }; client: Deno.Conn; server: Deno.Conn }> {
    const [client, server] = await Promise.all([Deno.connect({ port: this.port }), this.listener.accept()]);
    this.#conns.push(client, server);
    return { peer: server.remoteAddr as Deno.NetAddr, client, server };
  }

  close(conn: Deno.Conn): void {
    this.#conns.splice(this.#conns.indexOf(conn), 1);
    conn.close();
  }

  [Symbol.dispose](): void {
    for (const conn of this.#conns) conn.close();
    this.listener.close();
  }
}

Deno.test("finds the descriptor of each connection, also of a later one", options, async () => {
  using pairs = new Pairs();
  const before = await pairs.next();
  const finder = new DescriptorFinder(sockets!, pairs.port, ROWS);
  const all = [before];
  for (let count = 0; count < 100; count++) all.push(await pairs.next());
  const found = all.map(({ peer }) => finder.find(peer));
  for (const [index, fd] of found.entries()) {
    // Not the other end, which is a descriptor of this process, too.
    assertEquals([sockets!.peerPort(fd), sockets!.localPort(fd)], [all[index]!.peer.port, pairs.port]);
  }
  assertEquals(new Set(found).size, all.length);
});

Deno.test("does not find a closed connection or one of another address", options, async () => {
  using pairs = new Pairs();
  const finder = new DescriptorFinder(sockets!, pairs.port, ROWS);
  const { peer, server } = await pairs.next();
  assertEquals(finder.find({ ...peer, hostname: "192.0.2.1" }), -1);
  assert(finder.find(peer) >= 0);
  pairs.close(server);
  assertEquals(finder.find(peer), -1);
});

Deno.test("examines a reused descriptor number again", options, async () => {
  using pairs = new Pairs();
  const finder = new DescriptorFinder(sockets!, pairs.port, ROWS);
  const first = await pairs.next();
  assert(finder.find(first.peer) >= 0);
  pairs.close(first.client);
  pairs.close(first.server);
  const second = await pairs.next();
  const next = finder.find(second.peer);
  assertEquals(sockets!.peerPort(next), second.peer.port);
});

Deno.test(
  "skips a WebSocket's descriptor until it is released or nothing else is left",
  options,
  async () => {
    using pairs = new Pairs();
    const finder = new DescriptorFinder(sockets!, pairs.port, ROWS);
    const held = await pairs.next();
    const fd = finder.find(held.peer);
    finder.exclude(fd);
    const other = await pairs.next();
    assertNotEquals(finder.find(other.peer), fd);
    // Its end was missed: it is found all the same, and is nobody's from then on.
    assertEquals(finder.find(held.peer), fd);
    assertEquals(finder.find(held.peer), fd);
  },
);

Deno.test("continues the search past any number of the app's own files and sockets", options, async () => {
  const files = Array.from({ length: 200 }, () => Deno.openSync("/dev/null"));
  using pairs = new Pairs();
  const finder = new DescriptorFinder(sockets!, pairs.port, ROWS);
  for (let count = 0; count < 200; count++) files.push(Deno.openSync("/dev/null"));
  const { peer } = await pairs.next();
  assert(finder.find(peer) >= 0);
  for (const file of files) file.close();
});
