/**
 * Sends 20,000 mutated handshakes across all modes. The process survives, other clients are not affected, no client
 * error causes a 500, and all descriptors are released. The mutations are seeded. A failure names the request, and
 * `mutatedHandshake(SEED, n)` reproduces it.
 */
import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import { descriptors } from "../support/proc.ts";
import { Client } from "../support/client.ts";
import { makeFolder, type Program, startProgram } from "../support/program.ts";
import { mutatedHandshake } from "./mutated_handshakes.ts";

const SEED = 20_261;
/** The number of concurrent requests. */
const AT_ONCE = 32;
/** The time limit for a response, in milliseconds. The service does not answer a request that is incomplete. */
const PATIENCE = 100;

/** Sends a request. Returns the status of the response, or undefined if none arrives in time. */
async function send(connect: () => Promise<Deno.Conn>, request: string): Promise<number | undefined> {
  const conn = await connect();
  const timer = setTimeout(() => close(conn), PATIENCE);
  try {
    await conn.write(Uint8Array.from(request, (character) => character.charCodeAt(0)));
    const buffer = new Uint8Array(64);
    const read = await conn.read(buffer);
    return Number(/^HTTP\/\d\.\d (\d{3})/.exec(new TextDecoder().decode(buffer.subarray(0, read ?? 0)))?.[1] ?? NaN) ||
      undefined;
  } catch {
    // The connection was reset, or the timer above closed it.
    return undefined;
  } finally {
    clearTimeout(timer);
    close(conn);
  }
}

function close(conn: Deno.Conn): void {
  try {
    conn.close();
  } catch {
    // The connection is already closed.
  }
}

/** Sends the requests of a mode, then checks the state of the program. */
async function fuzz(
  program: Program,
  from: number,
  count: number,
  connect: () => Promise<Deno.Conn>,
  ask: () => Promise<Client>,
) {
  {
    await using first = await ask();
    assertEquals(await first.ask("tom"), "tom");
  }
  const before = descriptors(program.pid).length;
  await using bystander = await ask();
  const seen = new Map<number | undefined, number>();
  let next = from;
  await Promise.all(Array.from({ length: AT_ONCE }, async () => {
    while (next < from + count) {
      const n = next++;
      const status = await send(connect, mutatedHandshake(SEED, n));
      if (status === 500) {
        throw new Error(`request ${n} is a 500: ${JSON.stringify(mutatedHandshake(SEED, n).slice(0, 600))}`);
      }
      seen.set(status, (seen.get(status) ?? 0) + 1);
    }
  }));
  assertEquals(await bystander.ask("still there"), "still there");
  await using last = await ask();
  assertEquals(await last.ask("tom"), "tom");
  // The mutations must cover upgrades as well as refusals.
  for (const status of [101, 400, 404, 405, 426]) {
    assert((seen.get(status) ?? 0) > 0, `no ${status} among ${[...seen]}`);
  }
  await bystander.close();
  await last.close();
  // Over a unix socket Deno never closes the descriptor of a client that leaves before the 101 (lib/net/README.md).
  if (program.port !== 0) await descriptorsBack(program.pid, before + WATCHDOG_DESCRIPTORS);
  assertEquals(program.stderr.text.includes("uncaught error"), false, program.stderr.text.slice(-3000));
  assertEquals((await program.stop()).code, 0);
}

async function descriptorsBack(pid: number, before: number): Promise<void> {
  const until = performance.now() + 30_000;
  while (descriptors(pid).length > before) {
    if (performance.now() > until) throw new Error(`${before} descriptors before:\n${descriptors(pid).join("\n")}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** The watchdog's thread may start late, and opens a few descriptors. A leak would leave thousands open. */
const WATCHDOG_DESCRIPTORS = 10;

const ARGS = ["--app", "echo", "--handshake-timeout", "1s", "--drain-timeout", "0"];

Deno.test("survives 5,000 mutated handshakes in direct mode", async () => {
  await using program = await startProgram(ARGS);
  const caCerts = [await Deno.readTextFile(program.ca)];
  const connect = () =>
    Deno.connectTls({ hostname: "localhost", port: program.port, caCerts, alpnProtocols: ["http/1.1"] });
  await fuzz(program, 0, 5_000, connect, () => Client.open(program.url, { ca: program.ca }));
});

Deno.test("survives 8,000 mutated handshakes in proxied mode over a port", async () => {
  await using program = await startProgram([...ARGS, "--mode", "proxied"]);
  const connect = () => Deno.connect({ hostname: "127.0.0.1", port: program.port });
  await fuzz(program, 5_000, 8_000, connect, () => Client.open(program.url));
});

Deno.test("survives 7,000 mutated handshakes in proxied mode over a unix socket", async () => {
  const folder = await makeFolder();
  try {
    const path = join(folder, "wss.sock");
    await using program = await startProgram([...ARGS, "--mode", "proxied", "--unix", path], { folder });
    const connect = () => Deno.connect({ transport: "unix", path });
    await fuzz(program, 13_000, 7_000, connect, () => Client.open("ws://localhost/", { unix: path }));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
