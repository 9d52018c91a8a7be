/** Certificates from a real Pebble, which refuses nonces on purpose. A server in front of it causes other errors. */
import { assert, assertEquals, assertMatch, assertNotEquals, assertRejects } from "@std/assert";
import { join } from "node:path";
import { StartError } from "../../../lib/errors.ts";
import { peerTest } from "../../peers/require.ts";
import { until } from "../../support/until.ts";
import { extendDirectory, type Front, type FrontRequest, problem, startPebble } from "./pebble.ts";
import { acmeSource, type SourceOptions, temporaryFolder } from "./source.ts";

function acmeTest(name: string, fn: (t: Deno.TestContext) => Promise<void>): void {
  peerTest("pebble", `acme: ${name}`, fn);
}

acmeTest("obtains a certificate for names and an address, and writes files that only the owner can read", async () => {
  await using pebble = await startPebble();
  await using folder = await temporaryFolder();
  const names = ["a.example", "b.example", pebble.address];
  await using test = acmeSource(pebble, folder.path, { names, email: "root@example.com" });
  const material = await test.source.load();
  assertEquals([...material.names].sort(), [...names].sort());
  // The leaf and its intermediate. The root is not included.
  assertEquals(material.cert.match(/BEGIN CERTIFICATE/g)?.length, 2);
  assert(material.leaf.checkPrivateKey((await import("node:crypto")).createPrivateKey(material.key)));

  const account = JSON.parse(await Deno.readTextFile(join(folder.path, "pebble/account.json")));
  assertEquals(account.contact, ["root@example.com"]);
  assertMatch(account.termsOfService, /^data:|^https?:/);
  await test.logged(/will be renewed at/);
  const files = ["account.key", "account.json", "a.example/fullchain.pem", "a.example/privkey.pem"];
  for (const file of [...files, "a.example/renewal.json"]) {
    assertEquals((await Deno.stat(join(folder.path, "pebble", file))).mode! & 0o777, 0o600, file);
  }
  for (const place of ["pebble", "pebble/a.example"]) {
    assertEquals((await Deno.stat(join(folder.path, place))).mode! & 0o777, 0o700, place);
  }
  const left = [...Deno.readDirSync(join(folder.path, "pebble/a.example"))].map(({ name }) => name).sort();
  assertEquals(left, [".lock", "fullchain.pem", "privkey.pem", "renewal.json"]);
});

acmeTest("reuses the stored certificate after a restart, and orders another name with the same account", async () => {
  await using pebble = await startPebble({ front: () => undefined, nonceReject: 0 });
  await using folder = await temporaryFolder();
  let serial: string;
  {
    await using test = acmeSource(pebble, folder.path);
    serial = (await test.source.load()).leaf.serialNumber;
    await test.logged(/will be renewed at/);
  }
  const before = pebble.requests.length;
  {
    await using test = acmeSource(pebble, folder.path, { agreeTos: false, listen: false });
    assertEquals((await test.source.load()).leaf.serialNumber, serial);
    // The plan is on disk too. The source has read it when it reports the time of the renewal.
    await until(() => test.source.status.renewalAt !== undefined);
    assertEquals(pebble.requests.length, before);
  }
  await using test = acmeSource(pebble, folder.path, { names: ["a.example", "c.example"], agreeTos: false });
  const { names, leaf } = await test.source.load();
  assertEquals([...names].sort(), ["a.example", "c.example"]);
  assertNotEquals(leaf.serialNumber, serial);
  assertEquals(pebble.requests.filter((kind) => kind === "newAccount").length, 1);
});

/** Obtains a certificate with a server in front of Pebble, and returns the types of the requests that it received. */
async function obtainWith(front: Front, options: SourceOptions = {}): Promise<readonly string[]> {
  await using pebble = await startPebble({ front, nonceReject: 0 });
  await using folder = await temporaryFolder();
  await using test = acmeSource(pebble, folder.path, options);
  await test.source.load();
  return [...pebble.requests];
}

/** Fails to obtain a certificate with a server in front of Pebble, and returns the message and the state. */
async function refusalWith(front: Front, options: SourceOptions = {}) {
  await using pebble = await startPebble({ front, nonceReject: 0 });
  await using folder = await temporaryFolder();
  await using test = acmeSource(pebble, folder.path, options);
  const { message } = await assertRejects(() => test.source.load(), StartError);
  const file = join(folder.path, "pebble/a.example/retry.json");
  const retry = await Deno.readTextFile(file).then(JSON.parse, () => undefined);
  return { message, retry, requests: [...pebble.requests], status: test.source.status };
}

/** Answers the first request of a kind. */
function once(kind: string, answer: (request: FrontRequest) => Response | Promise<Response>): Front {
  return (request) => request.kind === kind && request.earlier === 0 ? answer(request) : undefined;
}

acmeTest("retries badNonce with the nonce of the error response, for every type of request", async () => {
  const refused = new Set<string>();
  const requests = await obtainWith(async (request) => {
    if (request.method !== "POST" || refused.has(request.kind)) return undefined;
    refused.add(request.kind);
    const fresh = await (await fetchNonce(request)).headers.get("replay-nonce")!;
    return problem("badNonce", "JWS has an invalid anti-replay nonce", 400, { "replay-nonce": fresh });
  });
  assertEquals([...refused].sort(), [
    ...["authorization", "certificate", "challenge", "finalize", "newAccount", "newOrder", "order"],
  ]);
  assertEquals(requests.filter((kind) => kind === "newAccount").length, 2);
  assertEquals(requests.filter((kind) => kind === "finalize").length, 2);
});

/** Returns a response of Pebble with a fresh nonce for an error response. */
async function fetchNonce({ pass }: FrontRequest): Promise<Response> {
  // Every response of Pebble contains a fresh nonce.
  const response = await pass();
  await response.body?.cancel();
  return response;
}

acmeTest("fails after repeated badNonce errors", async () => {
  const { message, requests } = await refusalWith(({ kind }) =>
    kind === "newOrder" ? problem("badNonce", "no", 400) : undefined
  );
  assertMatch(message, /^Cannot obtain a certificate for a\.example from pebble:\n.*nonce.*\(badNonce\); no$/);
  assertEquals(requests.filter((kind) => kind === "newOrder").length, 10);
});

acmeTest("does not retry rateLimited before Retry-After, even after a restart", async () => {
  await using pebble = await startPebble({
    nonceReject: 0,
    front: ({ kind }) =>
      kind === "newOrder" ? problem("rateLimited", "too many certificates", 429, { "retry-after": "7200" }) : undefined,
  });
  await using folder = await temporaryFolder();
  const began = Date.now();
  {
    await using test = acmeSource(pebble, folder.path);
    const { message } = await assertRejects(() => test.source.load(), StartError);
    assertMatch(message, /rate limit is reached \(rateLimited\); too many certificates/);
    assertEquals(test.source.status.problem, "rateLimited");
  }
  assertEquals(pebble.requests.filter((kind) => kind === "newOrder").length, 1);
  const retry = JSON.parse(await Deno.readTextFile(join(folder.path, "pebble/a.example/retry.json")));
  assertEquals([retry.failures, retry.demanded], [1, true]);
  assert(Date.parse(retry.notBefore) >= began + 7_200_000);
  const before = pebble.requests.length;
  await using test = acmeSource(pebble, folder.path);
  const { message } = await assertRejects(() => test.source.load(), StartError);
  assertMatch(message, /1 attempt failed; the authority allows no further attempt until 20.*\(rateLimited\)/);
  assertEquals(pebble.requests.length, before);
});

acmeTest(
  "waits at the start if the next attempt is due soon, and fails at once otherwise",
  async () => {
    await using pebble = await startPebble();
    await using folder = await temporaryFolder();
    const failed = async (wait: number) => {
      await Deno.mkdir(join(folder.path, "pebble/a.example"), { recursive: true });
      const notBefore = new Date(Date.now() + wait).toISOString();
      const failure = { failures: 2, notBefore, demanded: false, problem: "the last one" };
      await Deno.writeTextFile(join(folder.path, "pebble/a.example/retry.json"), JSON.stringify(failure));
      return notBefore;
    };
    const far = await failed(7_200_000);
    {
      await using late = acmeSource(pebble, folder.path);
      const { message } = await assertRejects(() => late.source.load(), StartError);
      assertEquals(message.split("\n"), [
        `Cannot obtain a certificate for a.example from pebble: 2 attempts failed; the service makes no further attempt until ${far}. ` +
        "The last problem was: the last one",
        "After fixing it, run the command cert with the same options to try again at once.",
      ]);
    }
    await failed(6_000);
    await using soon = acmeSource(pebble, folder.path);
    await soon.source.load();
    assertMatch(
      (await soon.logged(/^the last attempt failed/)).message,
      /: the service makes no further attempt for [1-6]s$/,
    );
  },
);

acmeTest("retries orderNotReady when the order is ready", async () => {
  const requests = await obtainWith(once("finalize", () => problem("orderNotReady", "not yet", 403)));
  assertEquals(requests.filter((kind) => kind === "finalize").length, 2);
});

acmeTest("repeats a request whose response is lost, for every type of request", async () => {
  for (const kind of ["newAccount", "newOrder", "challenge", "finalize", "certificate"]) {
    await obtainWith(once(kind, async ({ pass }) => {
      await (await pass()).body?.cancel();
      return new Response("<html>Gateway time-out", { status: 504 });
    }));
  }
});

acmeTest("retries after an internal error and a broken connection", async () => {
  const requests = await obtainWith(once("newOrder", () => problem("serverInternal", "oops", 500)));
  assertEquals(requests.filter((kind) => kind === "newOrder").length, 2);
  await obtainWith(once("directory", () => new Response("<html>Bad gateway", { status: 502 })));
});

acmeTest("waits between two requests although Retry-After is 0", async () => {
  const times: number[] = [];
  let finalised = false;
  const requests = await obtainWith(async ({ kind, earlier, pass }) => {
    if (kind === "newOrder" && earlier < 2) {
      return problem("serverInternal", "oops", 500, { "retry-after": "0" });
    }
    finalised ||= kind === "finalize";
    // Each time the certificate is not issued yet.
    if (kind !== "order" || !finalised || times.length >= 4) return undefined;
    times.push(performance.now());
    const response = await pass();
    const { headers } = response;
    headers.set("retry-after", "0");
    return Response.json({ ...await response.json(), status: "processing" }, { headers });
  });
  assertEquals(requests.filter((kind) => kind === "newOrder").length, 3);
  assertEquals(times.length, 4);
  // Timers may end a millisecond early.
  for (const [at, time] of times.slice(1).entries()) assert(time - times[at]! >= 245, `${time - times[at]!}`);
});

acmeTest("creates an account again, with the same key, if the authority has lost it", async () => {
  const lost: Front = once("newOrder", () => problem("accountDoesNotExist", "unknown account", 400));
  const requests = await obtainWith(lost);
  assertEquals(requests.filter((kind) => kind === "newAccount").length, 2);
});

acmeTest("requires acceptance of the terms of service once", async () => {
  const { message, requests, retry } = await refusalWith(() => undefined, { agreeTos: false });
  assertMatch(message, /^Cannot create an account at pebble: its terms .* Read \S+, then start with --acme-agree-tos/);
  assertEquals(requests.includes("newAccount"), false);
  // The authority received no request for an account, so the next start, with the option, need not wait.
  assertEquals(retry, undefined);
});

acmeTest("updates a changed e-mail address once", async () => {
  const contacts: unknown[] = [];
  await using pebble = await startPebble({
    nonceReject: 0,
    front: ({ kind, payload }) => {
      if (kind === "newAccount" || kind === "other") contacts.push((payload as { contact?: unknown }).contact);
      return undefined;
    },
  });
  await using folder = await temporaryFolder();
  for (const email of [undefined, "one@example.com", "one@example.com"]) {
    await using test = acmeSource(pebble, folder.path, { names: [`${crypto.randomUUID()}.example`], email });
    await test.source.load();
  }
  assertEquals(contacts, [undefined, ["mailto:one@example.com"]]);
});

acmeTest("binds an external account, and explains a missing one, a wrong key and an invalid file", async () => {
  const key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
  await using pebble = await startPebble({ external: { "kid-1": key } });
  await using folder = await temporaryFolder();
  const keyFile = join(folder.path, "eab.key");
  const attempt = async (text: string | undefined) => {
    if (text !== undefined) await Deno.writeTextFile(keyFile, text);
    const external = text === undefined ? undefined : { kid: "kid-1", keyFile };
    await using test = acmeSource(pebble, await Deno.makeTempDir({ dir: folder.path }), { external });
    return await test.source.load().then(() => "obtained", ({ message }: Error) => message);
  };
  assertMatch(await attempt(undefined), /an account of its website \(externalAccountRequired\).*--acme-eab-kid/);
  assertMatch(await attempt("AAAA" + key.slice(4)), /\(malformed\)|\(unauthorized\)/);
  assertMatch(await attempt("not base64!"), /^Cannot use the external account's key in .*: it must be base64url/m);
  assertEquals(await attempt(`${key}\n`), "obtained");
});

acmeTest("accepts only a profile of the directory", async () => {
  const asked: unknown[] = [];
  const front: Front = (request) => {
    if (request.kind === "newOrder") asked.push((request.payload as { profile?: string }).profile);
    if (request.kind !== "directory") return undefined;
    return extendDirectory(request, { profiles: { classic: "90 days", shortlived: "6 days" } });
  };
  await obtainWith(front, { profile: "shortlived" });
  assertEquals(asked, ["shortlived"]);
  const { message } = await refusalWith(front, { profile: "long" });
  assertMatch(message, /of the profile long: it offers classic, shortlived$/);
  const { message: none } = await refusalWith(() => undefined, { profile: "long" });
  assertMatch(none, /it offers none; leave --acme-profile out$/);
});

acmeTest("explains an authority that is not ACME, cannot be reached or is not trusted", async () => {
  await using pebble = await startPebble();
  await using folder = await temporaryFolder();
  const refusal = async (options: SourceOptions) => {
    await using test = acmeSource(pebble, await Deno.makeTempDir({ dir: folder.path }), options);
    return (await assertRejects(() => test.source.load(), StartError)).message;
  };
  const untrusted = await refusal({ caFile: undefined });
  assertMatch(untrusted, /the authority cannot be reached \(unreachable\); 127\..*:14000: .*; check .*--acme-ca/);
  const { origin } = new URL(pebble.directory);
  assertMatch(
    await refusal({ directory: { title: "x", folder: "x", url: `${origin}/nothing` } }),
    /\(unexpected\); status 404/,
  );
  const missing = await refusal({ caFile: join(folder.path, "missing.pem") });
  assertMatch(missing, /Cannot read the authority's root .*missing\.pem: there is no such file/);
});
