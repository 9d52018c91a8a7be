/** Certificates that change while nothing listens, because an accept loop has ended and another program has the port. */
import { assertEquals, assertThrows } from "@std/assert";
import { deadline } from "@std/async/deadline";
import { join } from "node:path";
import project from "../../../deno.json" with { type: "json" };
import { StartError } from "../../../lib/errors.ts";
import { createLogger } from "../../../lib/log.ts";
import { loadFfi } from "../../../lib/net/ffi/load_ffi.ts";
import { Listener, type ListenOptions } from "../../../lib/net/listener/listener.ts";
import { makeFolder, ROOT } from "../../support/program.ts";
import { dial, handshake, serialOf, writeAll } from "../../support/raw.ts";
import { testAuthority } from "../certificates.ts";

// The C library stays loaded until the process ends. Loading it before the first test prevents a leak report.
loadFfi();
const { ca, issue } = await testAuthority();
const [first, second] = [await issue("2a01"), await issue("2a02")];

/** Deno leaks the upgrade of the mistake that ends an accept loop. */
const sanitizer = { sanitizeOps: false };

/** A listener whose accept loop has ended. */
interface Ended extends AsyncDisposable {
  readonly listener: Listener;
  readonly port: number;
  /** Resolves when it listens again. */
  readonly again: Promise<void>;
  /** Gives the port back. */
  readonly free: () => void;
}

/** Opens a listener, and ends its accept loop. Another listener of this process gets the port before the first attempt. */
async function openAndEnd(options: Pick<ListenOptions, "group"> = {}): Promise<Ended> {
  const ended = Promise.withResolvers<Deno.Listener>();
  const again = Promise.withResolvers<void>();
  const write = (line: string) => {
    const { message } = JSON.parse(line) as { message: string };
    if (message.includes("no longer accepts")) ended.resolve(Deno.listen({ hostname: "127.0.0.1", port }));
    if (/^Listening on .* again$/.test(message)) again.resolve();
  };
  const listener = await Listener.open({
    address: { transport: "tcp", hostname: "127.0.0.1", port: 0 },
    tls: first,
    handler(request) {
      // It upgrades, and then answers otherwise: Deno closes the listener.
      if (request.headers.has("upgrade")) Deno.upgradeWebSocket(request);
      return new Response("plain");
    },
    log: createLogger({ format: "json", write }),
    ...options,
  });
  const { port } = listener.addr as Deno.NetAddr;
  const mistake = await dial({ port, ca });
  await writeAll(mistake, handshake());
  const other = await ended.promise;
  let taken = true;
  const free = () => {
    if (taken) other.close();
    taken = false;
  };
  return {
    listener,
    port,
    again: again.promise,
    free,
    async [Symbol.asyncDispose]() {
      free();
      mistake.close();
      await listener.stopAccepting();
      await listener.close();
    },
  };
}

Deno.test(
  "a certificate that is replaced while nothing listens is used as soon as the listener listens again",
  sanitizer,
  async () => {
    await using ended = await openAndEnd();
    // It does not wait for the port, which may be in use for long.
    await deadline(ended.listener.replace(second), 60_000);
    ended.free();
    await ended.again;
    assertEquals(await serialOf(ended.port, ca), second.serial);
  },
);

Deno.test("accepting stops while another program has the port", sanitizer, async () => {
  await using ended = await openAndEnd();
  await deadline(ended.listener.replace(second), 60_000);
  assertEquals(await ended.listener.stopAccepting(), true);
});

Deno.test("a group: a socket with another certificate is an error while nothing listens", sanitizer, async () => {
  await using ended = await openAndEnd({ group: "open" });
  assertThrows(() => ended.listener.bindNext(second), StartError, "the port is not open at the moment");
  ended.free();
  await ended.again;
  assertEquals(await serialOf(ended.port, ca), first.serial);
  ended.listener.bindNext(second);
  await ended.listener.closeSockets("old");
  assertEquals(await serialOf(ended.port, ca), second.serial);
});

/** Replaces the certificate while another listener gets the port, as soon as the old accept loop has ended. */
const PROGRAM = `
import { Listener } from ${JSON.stringify(`${ROOT}lib/net/listener/listener.ts`)};
import { createLogger } from ${JSON.stringify(`${ROOT}lib/log.ts`)};

const [first, second, ca] = JSON.parse(Deno.args[0]);
const again = Promise.withResolvers();
const listener = await Listener.open({
  address: { transport: "tcp", hostname: "127.0.0.1", port: 0 },
  tls: first,
  handler: () => new Response("served"),
  log: createLogger({ format: "json", write: (line) => /"Listening on .* again"/.test(line) && again.resolve() }),
});
const { port } = listener.addr;
let other;
const taking = { get cert() { other ??= Deno.listen({ hostname: "127.0.0.1", port }); return second.cert; }, key: second.key };
await listener.replace(taking).catch((error) => console.log(error.message.includes("in use")));
other.close();
await again.promise;
const client = Deno.createHttpClient({ caCerts: [ca] });
console.log(await (await fetch("https://localhost:" + port + "/", { client })).text());
Deno.exit(0);
`;

Deno.test("without unstable entries: if the port is taken during a replacement, the listener listens again later", async () => {
  const folder = await makeFolder({ "main.ts": PROGRAM });
  try {
    const imports = Object.fromEntries(
      Object.entries(project.imports).map(([name, target]) => [name, target.replace(/^\.\//, ROOT)]),
    );
    await Deno.writeTextFile(join(folder, "deno.json"), JSON.stringify({ imports, nodeModulesDir: "none" }));
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--no-lock", "--no-check", "main.ts", JSON.stringify([first, second, ca])],
      cwd: folder,
    }).output();
    assertEquals([code, new TextDecoder().decode(stdout)], [0, "true\nserved\n"], new TextDecoder().decode(stderr));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
