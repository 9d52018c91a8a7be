/** The calls on descriptors, with real sockets of this process. */
import { assertEquals } from "@std/assert";
import type { Libc } from "../../../lib/net/ffi/libc.ts";
import { loadFfi } from "../../../lib/net/ffi/load_ffi.ts";
import { Sockets } from "../../../lib/net/ffi/sockets.ts";
import { bind } from "../../../lib/net/listener/accept_loop.ts";

// The C library stays loaded until the process ends. Loading it before the first test prevents a leak report.
const { ffi } = loadFfi();
const options = { ignore: Deno.build.os !== "linux" || ffi === undefined };
const SO_ACCEPTCONN = 30;

/** This machine's C library, with the one difference of macOS that matters here: SO_ACCEPTCONN cannot be read. */
function withoutAcceptConn({ calls, constants }: Libc): Libc {
  const getsockopt: Libc["calls"]["getsockopt"] = (fd, level, name, value, length) =>
    level === constants.SOL_SOCKET && name === SO_ACCEPTCONN ? -1 : calls.getsockopt(fd, level, name, value, length);
  return { calls: { ...calls, getsockopt }, constants, linux: false };
}

Deno.test("a listening socket is found with and without SO_ACCEPTCONN", options, async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  using client = await Deno.connect({ port });
  using server = await listener.accept();
  assertEquals([client.remoteAddr, server.localAddr].map((addr) => (addr as Deno.NetAddr).port), [port, port]);
  for (const libc of [ffi!.libc, withoutAcceptConn(ffi!.libc)]) {
    const sockets = new Sockets(libc);
    const onPort = sockets.open().filter((fd) => sockets.localPort(fd) === port);
    // The listener and the accepted socket.
    assertEquals(onPort.map((fd) => sockets.isListening(fd)).toSorted(), [false, true], `linux: ${libc.linux}`);
    const own = sockets.open().find((fd) => sockets.peerPort(fd) === port)!;
    assertEquals(sockets.isListening(own), false, `linux: ${libc.linux}`);
  }
});

Deno.test("TCP_NODELAY is set on the listening socket with and without SO_ACCEPTCONN", options, async () => {
  for (const libc of [ffi!.libc, withoutAcceptConn(ffi!.libc)]) {
    const { server, fd } = bind({
      address: { transport: "tcp", hostname: "127.0.0.1", port: 0 },
      tls: undefined,
      reusePort: false,
      backlog: 16,
      userTimeout: 0,
      handler: () => new Response(),
      onError: undefined,
    }, { libc, sockets: new Sockets(libc) });
    const { IPPROTO_TCP, TCP_NODELAY } = libc.constants;
    const set = fd === undefined ? undefined : ffi!.sockets.option(fd, IPPROTO_TCP, TCP_NODELAY);
    await server.shutdown();
    assertEquals(set, 1, `linux: ${libc.linux}`);
  }
});
