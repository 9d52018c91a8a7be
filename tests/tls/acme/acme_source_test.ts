/**
 * Renewal with a real Pebble. Debian's Pebble 2.4 has no renewal information (RFC 9773), so a server in front of it
 * provides it.
 */
import { assert, assertEquals, assertMatch, assertNotEquals, assertRejects } from "@std/assert";
import { join } from "node:path";
import { StartError } from "../../../lib/errors.ts";
import type { AcmeSource } from "../../../lib/tls/acme/acme_source.ts";
import { peerTest } from "../../peers/require.ts";
import { until } from "../../support/until.ts";
import { extendDirectory, type Front, type Pebble, problem, startPebble } from "./pebble.ts";
import { acmeSource, temporaryFolder } from "./source.ts";

const HOUR = 3_600_000;

/** Resolves when the source calls `changed`. */
function change(source: AcmeSource): Promise<void> {
  return new Promise((resolve) => source.watch(() => Promise.resolve(resolve())));
}

/** An authority that suggests a window, in hours from now, and records the certificates that it is queried for. */
function suggesting(window: () => readonly [start: number, end: number], rest: Front = () => undefined) {
  const asked: string[] = [];
  const front: Front = (request) => {
    if (request.kind === "directory") return extendDirectory(request, { renewalInfo: true });
    if (request.kind !== "renewalInfo") return rest(request);
    asked.push(request.url.pathname.split("/").at(-1)!);
    const [start, end] = window().map((hours) => new Date(Date.now() + hours * HOUR).toISOString());
    const body = { suggestedWindow: { start, end }, explanationURL: "https://pebble.example/why" };
    return Response.json(body, { headers: { "retry-after": "7200" } });
  };
  return { front, asked };
}

interface Plan {
  readonly at: string;
  readonly askAgain: string;
  readonly window?: unknown;
}

async function planOf(folder: string): Promise<Plan> {
  return JSON.parse(await Deno.readTextFile(join(folder, "pebble/a.example/renewal.json")));
}

/** Makes the certificate old enough for a renewal. The next source then queries the authority again. */
async function askNow(folder: string): Promise<void> {
  const before = new Date(Date.now() - 2 * HOUR);
  await Deno.utime(join(folder, "pebble/a.example/fullchain.pem"), before, before);
  const file = join(folder, "pebble/a.example/renewal.json");
  const plan = { ...await planOf(folder), askAgain: new Date(0).toISOString() };
  await Deno.writeTextFile(file, JSON.stringify(plan));
}

/** Obtains a first certificate in the folder, and waits until its renewal is planned. */
async function obtained(pebble: Pebble, folder: string): Promise<void> {
  await using test = acmeSource(pebble, folder);
  await test.source.load();
  await test.logged(/will be renewed at/);
}

peerTest("pebble", "acme: renews in the suggested window, with `replaces` in the order", async () => {
  let window: readonly [number, number] = [100, 200];
  const replaced: unknown[] = [];
  const { front, asked } = suggesting(() => window, ({ kind, payload }) => {
    if (kind === "newOrder") replaced.push((payload as { replaces?: string }).replaces);
    // The window of the new certificate differs from that of the old one.
    if (kind === "finalize") window = [100, 200];
    return undefined;
  });
  await using pebble = await startPebble({ front, nonceReject: 0 });
  await using folder = await temporaryFolder();
  await obtained(pebble, folder.path);
  await askNow(folder.path);
  window = [-2, -1];
  asked.length = replaced.length = 0;
  await using test = acmeSource(pebble, folder.path);
  const changed = change(test.source);
  const old = await test.source.load();
  await changed;
  const fresh = await test.source.load();
  assertNotEquals(fresh.leaf.serialNumber, old.leaf.serialNumber);
  assertEquals(replaced, [asked[0]]);
  await test.logged(/will be renewed at .* \(the authority's suggestion\)/);
  const { at, askAgain } = await planOf(folder.path);
  const [start, end] = [Date.now() + 99 * HOUR, Date.now() + 200 * HOUR];
  assert(Date.parse(at) > start && Date.parse(at) < end, at);
  assert(Math.abs(Date.parse(askAgain) - Date.now() - 2 * HOUR) < HOUR / 2, askAgain);
  assertEquals(asked.length, 2);
});

/** The types with which an authority refuses `replaces`, and their statuses. */
const REFUSALS = [
  ["alreadyReplaced", 409],
  ["malformed", 404],
  // Boulder: a new account orders the successor of a certificate of the old account.
  ["unauthorized", 403],
] as const;

for (const [type, status] of REFUSALS) {
  peerTest("pebble", `acme: orders again without \`replaces\` if the authority refuses it as ${type}`, async () => {
    const orders: unknown[] = [];
    const { front } = suggesting(() => [-2, -1], ({ kind, payload }) => {
      if (kind !== "newOrder") return undefined;
      const { replaces } = payload as { replaces?: string };
      orders.push(replaces !== undefined);
      return replaces === undefined ? undefined : problem(type, "not this certificate", status);
    });
    await using pebble = await startPebble({ front, nonceReject: 0 });
    await using folder = await temporaryFolder();
    await obtained(pebble, folder.path);
    await askNow(folder.path);
    await using test = acmeSource(pebble, folder.path);
    await test.source.load();
    const { message } = await test.logged(/obtained for|was not renewed/);
    assertMatch(message, /obtained for a\.example/);
    assertEquals(orders, [false, true, false]);
    // The new certificate is too young for a renewal, although the suggested window is in the past.
    await until(async () => Date.parse((await planOf(folder.path)).at) > Date.now());
    const early = Date.parse((await planOf(folder.path)).at) - Date.now();
    assert(early > HOUR / 2 && early <= HOUR, `${early}`);
  });
}

peerTest("pebble", "acme: does not order again without `replaces` if the refusal has another cause", async () => {
  const { front } = suggesting(
    () => [-2, -1],
    ({ kind, earlier }) => kind === "newOrder" && earlier > 0 ? problem("rateLimited", "too many", 429) : undefined,
  );
  await using pebble = await startPebble({ front, nonceReject: 0 });
  await using folder = await temporaryFolder();
  await obtained(pebble, folder.path);
  await askNow(folder.path);
  await using test = acmeSource(pebble, folder.path);
  await test.source.load();
  assertEquals((await test.logged(/was not renewed/)).problem, "rateLimited");
  assertEquals(pebble.requests.filter((kind) => kind === "newOrder").length, 2);
});

// The error about a damaged key advises to move it away.
for (const lost of [["account.key"], ["account.key", "account.json"]]) {
  peerTest("pebble", `acme: renews with a new account without ${lost.join(" and ")}`, async () => {
    const replaced: boolean[] = [];
    const { front } = suggesting(() => [-2, -1], ({ kind, payload, earlier }) => {
      if (kind !== "newOrder" || earlier === 0) return undefined;
      replaced.push((payload as { replaces?: string }).replaces !== undefined);
      const detail = "requester account did not request the certificate being replaced by this order";
      return replaced.at(-1) ? problem("unauthorized", detail, 403) : undefined;
    });
    await using pebble = await startPebble({ front, nonceReject: 0 });
    await using folder = await temporaryFolder();
    await obtained(pebble, folder.path);
    await askNow(folder.path);
    for (const file of lost) await Deno.remove(join(folder.path, "pebble", file));
    await using test = acmeSource(pebble, folder.path);
    const old = await test.source.load();
    const { message } = await test.logged(/obtained for|was not renewed/);
    assertMatch(message, /obtained for a\.example/);
    assertNotEquals((await test.source.load()).leaf.serialNumber, old.leaf.serialNumber);
    assertEquals(replaced, [true, false]);
    assertEquals(pebble.requests.filter((kind) => kind === "newAccount").length, 2);
  });
}

peerTest(
  "pebble",
  "acme: renews a short-lived certificate at two thirds of its lifetime without a suggestion",
  async () => {
    await using pebble = await startPebble({ validity: 15 });
    await using folder = await temporaryFolder();
    await using test = acmeSource(pebble, folder.path);
    const changed = change(test.source);
    const old = await test.source.load();
    await test.logged(/will be renewed at .* \(two thirds of its lifetime\)/);
    const lifetime = old.notAfter.getTime() - Date.parse(old.leaf.validFrom);
    await changed;
    const fresh = await test.source.load();
    assertNotEquals(fresh.leaf.serialNumber, old.leaf.serialNumber);
    // The dates in certificates are whole seconds.
    assert(Date.parse(fresh.leaf.validFrom) >= Date.parse(old.leaf.validFrom) + lifetime * 0.6 - 1000);
  },
);

peerTest(
  "pebble",
  "acme: keeps the certificate after a failed renewal, logs the reason, and retries later",
  async () => {
    const { front } = suggesting(
      () => [-2, -1],
      ({ kind, earlier }) =>
        kind === "newOrder" && earlier > 0 ? problem("rejectedIdentifier", "policy forbids", 400) : undefined,
    );
    await using pebble = await startPebble({ front, nonceReject: 0 });
    await using folder = await temporaryFolder();
    await obtained(pebble, folder.path);
    await askNow(folder.path);
    await using test = acmeSource(pebble, folder.path);
    const old = await test.source.load();
    const line = await test.logged(/was not renewed/);
    assertEquals([line.level, line.problem], ["error", "rejectedIdentifier"]);
    assertMatch(
      line.message,
      /the current one is valid until 20.*: .* does not issue certificates for the name \(rejectedIdentifier\)/,
    );
    const wait = Date.parse(String(line.next)) - Date.now();
    assert(wait > 30_000 && wait < 75_000, `${wait}`);
    assertEquals((await test.source.load()).leaf.serialNumber, old.leaf.serialNumber);
    assertEquals(test.source.status.failed, 1);
    // Only the order without `replaces` is repeated.
    const before = pebble.requests.length;
    await new Promise((resolve) => setTimeout(resolve, 1500));
    assertEquals(pebble.requests.length, before);
  },
);

peerTest(
  "pebble",
  "acme: obtains a certificate again after its files are deleted, and keeps serving the loaded one",
  async () => {
    await using pebble = await startPebble();
    await using folder = await temporaryFolder();
    await obtained(pebble, folder.path);
    await using test = acmeSource(pebble, folder.path);
    const changed = change(test.source);
    const old = await test.source.load();
    await until(() => test.source.status.renewalAt !== undefined);
    await Deno.remove(join(folder.path, "pebble/a.example/fullchain.pem"));
    const { message } = await assertRejects(() => test.source.load(), StartError);
    assertMatch(message, /a\.example: it is missing, damaged or expired; a new one is being obtained$/);
    await changed;
    assertNotEquals((await test.source.load()).leaf.serialNumber, old.leaf.serialNumber);
  },
);

peerTest(
  "pebble",
  "acme: one of two processes obtains the certificate, the other uses it and takes over when the first ends",
  async () => {
    await using pebble = await startPebble({ front: () => undefined, nonceReject: 0 });
    await using folder = await temporaryFolder();
    const first = acmeSource(pebble, folder.path);
    await using second = acmeSource(pebble, folder.path);
    const [one, other] = await Promise.all([first.source.load(), second.source.load()]);
    assertEquals(one.leaf.serialNumber, other.leaf.serialNumber);
    assertEquals(pebble.requests.filter((kind) => kind === "newOrder").length, 1);

    const [keeper, follower] = first.source.status.obtained === 1 ? [first, second] : [second, first];
    await keeper.logged(/will be renewed at/);
    assertEquals(follower.source.status.renewalAt, undefined);
    await keeper[Symbol.asyncDispose]();
    await until(() => follower.source.status.renewalAt !== undefined);
    await first[Symbol.asyncDispose]();
  },
);

peerTest("pebble", "acme: loads a certificate that another process renewed", async () => {
  let window: readonly [number, number] = [100, 200];
  const { front } = suggesting(() => window);
  await using pebble = await startPebble({ front, nonceReject: 0 });
  await using folder = await temporaryFolder();
  await obtained(pebble, folder.path);
  // The lock is free, so the first process to query the authority again renews.
  await askNow(folder.path);
  window = [-2, -1];
  await using one = acmeSource(pebble, folder.path);
  await using other = acmeSource(pebble, folder.path);
  const changes = [change(one.source), change(other.source)];
  const old = await Promise.all([one.source.load(), other.source.load()]);
  await Promise.all(changes);
  const fresh = await Promise.all([one.source.load(), other.source.load()]);
  assertEquals(new Set(old.map(({ leaf }) => leaf.serialNumber)).size, 1);
  assertEquals(new Set(fresh.map(({ leaf }) => leaf.serialNumber)).size, 1);
  assertNotEquals(fresh[0]!.leaf.serialNumber, old[0]!.leaf.serialNumber);
});
