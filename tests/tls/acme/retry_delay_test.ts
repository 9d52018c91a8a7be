/**
 * After every attempt there is a pause before the next order, with a real Pebble. A server in front of it changes the
 * dates of certificates, as if the clocks of the authority and this machine differed.
 */
import { assert, assertEquals, assertMatch, assertNotEquals, assertRejects } from "@std/assert";
import { join } from "node:path";
import { StartError } from "../../../lib/errors.ts";
import { peerTest } from "../../peers/require.ts";
import { renewNow } from "../../lifecycle/acme_setup.ts";
import { until } from "../../support/until.ts";
import { dating } from "./leaf.ts";
import { type Pebble, startPebble } from "./pebble.ts";
import { acmeSource, temporaryFolder, type TestSource } from "./source.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

interface Retry {
  readonly failures: number;
  readonly notBefore: string;
  readonly demanded: boolean;
  readonly problem: string;
}

function state(folder: string, file: string): string {
  return join(folder, "pebble/a.example", file);
}

async function retryOf(folder: string): Promise<Retry> {
  return JSON.parse(await Deno.readTextFile(state(folder, "retry.json")));
}

/** Records an earlier failure. */
async function failed(folder: string, failures: number, wait: number): Promise<void> {
  await Deno.mkdir(state(folder, ""), { recursive: true });
  const notBefore = new Date(Date.now() + wait).toISOString();
  await Deno.writeTextFile(
    state(folder, "retry.json"),
    JSON.stringify({ failures, notBefore, demanded: false, problem: "an earlier one" }),
  );
}

/** Obtains a first certificate and makes it due for renewal. */
async function due(pebble: Pebble, folder: string): Promise<void> {
  {
    await using test = acmeSource(pebble, folder);
    await test.source.load();
    await test.logged(/will be renewed at/);
  }
  const before = new Date(Date.now() - 2 * HOUR);
  await Deno.utime(state(folder, "fullchain.pem"), before, before);
  await Deno.remove(state(folder, "renewal.json"));
}

function ordersOf({ requests }: Pebble): number {
  return requests.filter((kind) => kind === "newOrder").length;
}

/** Requires that no request follows for longer than several attempts take. */
async function silence(pebble: Pebble): Promise<void> {
  const before = pebble.requests.length;
  await new Promise((resolve) => setTimeout(resolve, 1500));
  assertEquals(pebble.requests.slice(before), []);
}

async function changed({ source }: TestSource): Promise<void> {
  await new Promise<void>((resolve) => source.watch(() => Promise.resolve(resolve())));
}

peerTest(
  "pebble",
  "acme: a new certificate that is not valid yet does not replace the current one, and its order is used again later",
  async () => {
    let dates: readonly [number, number] | undefined;
    await using pebble = await startPebble({ front: renewNow(dating(() => dates)), nonceReject: 0 });
    await using folder = await temporaryFolder();
    await due(pebble, folder.path);
    dates = [5 * MINUTE, DAY];
    const chain = await Deno.readTextFile(state(folder.path, "fullchain.pem"));
    {
      await using test = acmeSource(pebble, folder.path);
      await test.source.load();
      const line = await test.logged(/was not renewed/);
      assertEquals([line.level, line.problem], ["error", "unusable"]);
      assertMatch(
        line.message,
        /until 20.*: the authority's certificate cannot be used \(unusable\); .* is not valid before .* Correct the clock/,
      );
      await silence(pebble);
      assertEquals(ordersOf(pebble), 2);
      assertEquals(test.source.status.problem, "unusable");
    }
    assertEquals(await Deno.readTextFile(state(folder.path, "fullchain.pem")), chain);
    const { failures, notBefore, demanded } = await retryOf(folder.path);
    assertEquals([failures, demanded], [1, false]);
    assert(Date.parse(notBefore) - Date.now() > 30_000, notBefore);

    // A restart respects the delay. After the clock was corrected, the same order provides the certificate.
    dates = undefined;
    {
      await using test = acmeSource(pebble, folder.path);
      await test.source.load();
      await silence(pebble);
    }
    await Deno.remove(state(folder.path, "retry.json"));
    await using test = acmeSource(pebble, folder.path);
    const change = changed(test);
    await test.source.load();
    await change;
    assertNotEquals(await Deno.readTextFile(state(folder.path, "fullchain.pem")), chain);
    assertEquals(ordersOf(pebble), 2);
  },
);

peerTest("pebble", "acme: a first certificate that is not valid yet fails the start, and a restart waits", async () => {
  const front = dating(() => [5 * MINUTE, DAY]);
  await using pebble = await startPebble({ front, nonceReject: 0 });
  await using folder = await temporaryFolder();
  // The third failure in a row causes a delay for which a start does not wait.
  await failed(folder.path, 2, -1000);
  {
    await using test = acmeSource(pebble, folder.path);
    const { message } = await assertRejects(() => test.source.load(), StartError);
    assertMatch(
      message,
      /^Cannot obtain a certificate for a\.example from pebble:\n.*cannot be used \(unusable\).*Correct the clock/,
    );
  }
  const before = pebble.requests.length;
  await using test = acmeSource(pebble, folder.path);
  const { message } = await assertRejects(() => test.source.load(), StartError);
  assertMatch(message, /: 3 attempts failed; the service makes no further attempt until 20.*Correct the clock/);
  assertEquals(pebble.requests.length, before);
  assertEquals([...Deno.readDirSync(state(folder.path, ""))].some(({ name }) => name === "fullchain.pem"), false);
});

peerTest(
  "pebble",
  "acme: with a clock far ahead, one certificate per hour is ordered, not one after another",
  async () => {
    // Less than a tenth of its lifetime is left when the certificate is new.
    await using pebble = await startPebble({ front: dating(() => [-90 * DAY, DAY]), nonceReject: 0 });
    await using folder = await temporaryFolder();
    await using test = acmeSource(pebble, folder.path);
    await test.source.load();
    await test.logged(/will be renewed at/);
    await silence(pebble);
    assertEquals(ordersOf(pebble), 1);
    await until(() => test.source.status.renewalAt !== undefined);
    const wait = test.source.status.renewalAt!.getTime() - Date.now();
    assert(wait > HOUR / 2 && wait <= HOUR, `${wait}`);
  },
);

peerTest(
  "pebble",
  "acme: a certificate with few minutes left of a long lifetime is renewed before it expires",
  async () => {
    await using pebble = await startPebble({ front: dating(() => [-HOUR, 10 * MINUTE]), nonceReject: 0 });
    await using folder = await temporaryFolder();
    await using test = acmeSource(pebble, folder.path);
    const { notAfter } = await test.source.load();
    await test.logged(/will be renewed at/);
    await until(() => test.source.status.renewalAt !== undefined);
    const before = notAfter.getTime() - test.source.status.renewalAt!.getTime();
    assert(before > 5 * MINUTE && before < 8 * MINUTE, `${before}`);
  },
);

peerTest("pebble", "acme: a new certificate that is expired is refused, and its order is not used again", async () => {
  let dates: readonly [number, number] | undefined = [-90 * DAY, -1000];
  await using pebble = await startPebble({ front: dating(() => dates), nonceReject: 0 });
  await using folder = await temporaryFolder();
  {
    await using test = acmeSource(pebble, folder.path);
    const { message } = await assertRejects(() => test.source.load(), StartError);
    assertMatch(message, /\(unusable\); .* expired on 20.*The time of this machine is 20.*Correct the clock$/);
  }
  dates = undefined;
  await Deno.remove(state(folder.path, "retry.json"));
  await using test = acmeSource(pebble, folder.path);
  await test.source.load();
  assertEquals(ordersOf(pebble), 2);
});

peerTest("pebble", "acme: after a success too there is a pause, whatever happens to the files", async () => {
  await using pebble = await startPebble({ front: () => undefined, nonceReject: 0 });
  await using folder = await temporaryFolder();
  await using test = acmeSource(pebble, folder.path);
  await test.source.load();
  await test.logged(/will be renewed at/);
  await Deno.remove(state(folder.path, "fullchain.pem"));
  const { message } = await assertRejects(() => test.source.load(), StartError);
  const [, next] = /; the next attempt to obtain one is at (\S+)$/.exec(message)!;
  const wait = Date.parse(next!) - Date.now();
  assert(wait > 20_000 && wait <= MINUTE, message);
  await silence(pebble);
});

peerTest("pebble", "acme: a problem of this machine after the order delays the next start", async () => {
  await using pebble = await startPebble({ front: () => undefined, nonceReject: 0 });
  await using folder = await temporaryFolder();
  await failed(folder.path, 2, -1000);
  await Deno.writeTextFile(state(folder.path, "next.key"), "damaged");
  for (
    const expected of [/Cannot use the key .*next\.key: /, /3 attempts failed; .*Cannot use the key .*next\.key: /]
  ) {
    await using test = acmeSource(pebble, folder.path);
    assertMatch((await assertRejects(() => test.source.load(), StartError)).message, expected);
    assertEquals(ordersOf(pebble), 1);
  }
});

peerTest("pebble", "acme: a delay that was recorded while the clock was ahead ends with its correction", async () => {
  await using pebble = await startPebble();
  await using folder = await temporaryFolder();
  await failed(folder.path, 1, 365 * DAY);
  await using test = acmeSource(pebble, folder.path);
  await test.source.load();
});
