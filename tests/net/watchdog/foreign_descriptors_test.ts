/** A watchdog whose connections have descriptors above many that are not its own. Linux. */
import { assert, assertEquals } from "@std/assert";
import { silent } from "../../../lib/log.ts";
import { loadFfi } from "../../../lib/net/ffi/load_ffi.ts";
import { Watchdog } from "../../../lib/net/watchdog/watchdog.ts";
import { dial, endOf } from "../../support/raw.ts";
import { until } from "../../support/until.ts";
import { WATCHDOG } from "../process.ts";

// The C library stays loaded until the process ends. Loading it before the first test prevents a leak report.
const options = { ignore: Deno.build.os !== "linux" || loadFfi().ffi === undefined };

/** Open files, which take the lowest free descriptors. */
class Files implements Disposable {
  readonly #files: Deno.FsFile[];

  constructor(count: number) {
    this.#files = Array.from({ length: count }, () => Deno.openSync("/dev/null"));
  }

  close(from: number, to: number): void {
    for (const file of this.#files.splice(from, to - from)) file.close();
  }

  [Symbol.dispose](): void {
    this.close(0, this.#files.length);
  }
}

Deno.test(
  "ends a silent connection above 600 descriptors of other files, also once these are closed",
  options,
  async () => {
    using files = new Files(600);
    using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const handshakeTimeout = 3_000;
    const watchdog = Watchdog.start({ ...WATCHDOG, handshakeTimeout, addr: listener.addr, log: silent })!;
    try {
      assert(await watchdog.ready);
      const began = performance.now();
      const [client, accepted] = await Promise.all([dial({ port: listener.addr.port }), listener.accept()]);
      const ended = endOf(client, 30_000);
      const { scans } = watchdog.stats();
      await until(() => watchdog.stats().scans >= scans + 2);
      files.close(0, 500);
      assert(await ended !== undefined, "the connection is still open");
      const after = performance.now() - began;
      accepted.close();
      assert(after > handshakeTimeout * 0.8, `${after} ms`);
      // The thread's report may arrive after the client's reset.
      await until(() => watchdog.stats().ended.handshake === 1);
    } finally {
      await watchdog.stop();
    }
  },
);

Deno.test("lists and counts descriptors above many that were closed since the last list", options, async () => {
  // In a process of its own, because other test files open and close descriptors, too.
  const script = `
    import { loadFfi } from ${JSON.stringify(new URL("../../../lib/net/ffi/load_ffi.ts", import.meta.url).href)};
    const { sockets } = loadFfi().ffi;
    const files = Array.from({ length: 1_000 }, () => Deno.openSync("/dev/null"));
    const close = (count) => files.splice(0, count).forEach((file) => file.close());
    const before = sockets.openCount();
    const { highest } = sockets;
    close(900);
    const counted = before - sockets.openCount();
    const listed = sockets.open().at(-1) === highest && sockets.highest === highest;
    close(100);
    sockets.openCount();
    console.log(JSON.stringify({ counted, listed, lower: sockets.highest < highest }));`;
  const args = ["eval", "--no-config", script];
  const { stdout } = await new Deno.Command(Deno.execPath(), { args, stderr: "inherit" }).output();
  const facts = JSON.parse(new TextDecoder().decode(stdout));
  assertEquals(facts, { counted: 900, listed: true, lower: true });
});
