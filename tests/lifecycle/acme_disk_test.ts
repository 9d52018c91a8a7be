/** The program with --domain on a disk that is full, against a real Pebble. The disk is a small one in memory. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import { hasPeer, peersRequired, peerTest } from "../peers/require.ts";
import { runProgram, startProgram } from "../support/program.ts";
import { type Pebble, problem, startPebble } from "../tls/acme/pebble.ts";
import { asks, certOptions, folderFor, makeDue, optionsFor, renewNow } from "./acme_setup.ts";

const MOUNTS = hasPeer("unshare", ["--mount", "mount", "-t", "tmpfs", "none", "/mnt"]);

/** Adds a test that needs its own mounts. */
function diskTest(name: string, fn: () => Promise<void>): void {
  if (MOUNTS || peersRequired()) return peerTest("pebble", name, fn);
  Deno.test({ name: `${name} [a mount namespace cannot be created here]`, ignore: true, fn });
}

/** A command prefix that puts `certs` with its content on a disk of 512 KiB, and runs further commands. */
function smallDisk(...then: readonly string[]): string[] {
  const steps = [
    "cp -a certs saved",
    "mount -t tmpfs -o size=512k none certs",
    "cp -a saved/. certs/",
    ...then,
    'exec "$@"',
  ];
  return ["unshare", "--mount", "sh", "-c", steps.join(" && "), "sh"];
}

/** Fills a disk with a file. */
async function fill(path: string): Promise<void> {
  using file = await Deno.open(path, { create: true, write: true });
  const bytes = new Uint8Array(1024);
  for (;;) {
    try {
      await file.write(bytes);
    } catch (error) {
      assertMatch(String(error), /No space left/);
      return;
    }
  }
}

function ordersOf({ requests }: Pebble): number {
  return requests.filter((kind) => kind === "newOrder").length;
}

diskTest("acme: if a refusal cannot be recorded because the disk is full, the service waits all the same", async () => {
  const reached = Promise.withResolvers<void>();
  const filled = Promise.withResolvers<void>();
  const front = renewNow(async ({ kind, earlier }) => {
    if (kind !== "newOrder" || earlier === 0) return undefined;
    reached.resolve();
    await filled.promise;
    return problem("rateLimited", "too many certificates", 429, { "retry-after": "3600" });
  });
  await using pebble = await startPebble({ front, nonceReject: 0 });
  await using folder = await folderFor(pebble);
  assertEquals((await runProgram(["cert", ...certOptions(pebble)], { folder: folder.path })).code, 0);
  await makeDue(pebble, folder.path);
  await using program = await startProgram(optionsFor(pebble), { folder: folder.path, wrapper: smallDisk() });
  await reached.promise;
  // The disk of the service, as its own mount namespace has it.
  await fill(join(`/proc/${program.pid}/root`, folder.path, "certs/fill"));
  filled.resolve();
  const [line] = await program.stderr.until(/.*the certificate was not renewed.*/);
  const logged = JSON.parse(line);
  assertEquals([logged.level, logged.problem], ["error", "rateLimited"]);
  assertMatch(logged.message, /: the authority's rate limit is reached \(rateLimited\); too many certificates/);
  const wait = Date.parse(logged.next) - Date.now();
  assert(wait > 3_000_000 && wait <= 3_600_000, logged.next);
  assertMatch(
    program.stderr.text,
    /the failed attempt cannot be recorded for the next start: Cannot keep the certificate in .*: the disk is full/,
  );
  const before = pebble.requests.length;
  await new Promise((resolve) => setTimeout(resolve, 1500));
  assertEquals(pebble.requests.slice(before), []);
  assertEquals(ordersOf(pebble), 2);
  await asks(program, folder.ca);
});

diskTest("acme: on a full disk no certificate is ordered, because it could not be kept", async () => {
  await using pebble = await startPebble({ front: () => undefined, nonceReject: 0 });
  await using folder = await folderFor(pebble);
  const options = { folder: folder.path, wrapper: smallDisk("{ cat /dev/zero > certs/fill 2> /dev/null || true; }") };
  assertEquals((await runProgram(["cert", ...certOptions(pebble)], { folder: folder.path })).code, 0);
  const before = pebble.requests.length;
  const { code, stderr } = await runProgram(["cert", "--force", ...certOptions(pebble)], options);
  assertEquals(code, 1, stderr);
  assertMatch(stderr, /Cannot keep the certificate in certs\/acme\/.*: the disk is full; free some space$/m);
  assertEquals(pebble.requests.slice(before), []);
});
