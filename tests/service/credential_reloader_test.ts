/** Reloads that fail are repeated until they succeed. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { join } from "node:path";
import { type Authenticator, createAuthenticator } from "../../lib/auth/authenticate.ts";
import { StartError } from "../../lib/errors.ts";
import { createLogger } from "../../lib/log.ts";
import { CredentialReloader, type CredentialReloaderOptions } from "../../lib/service/credential_reloader.ts";
import { FilesSource } from "../../lib/tls/certificate_source.ts";
import { developmentMaterial } from "../../lib/tls/development_certificate.ts";
import { NONE } from "../auth/signing.ts";
import { until } from "../support/until.ts";

const TOKEN = "a-shared-secret-of-more-than-22-characters";

/** Started credentials of certificate and token files in a folder. */
interface Loaded extends AsyncDisposable {
  readonly credentials: CredentialReloader;
  readonly authTokenFile: string;
  /** The serial number of the certificate in use. */
  readonly serial: () => string | undefined;
  /** Replaces the certificate and key files, and returns the new serial number. */
  readonly renew: () => Promise<string>;
  /** Returns the messages that contain a text. */
  readonly logged: (text: string) => string[];
}

/** @param wrap returns the authenticator to use */
async function load(
  options: Pick<CredentialReloaderOptions, "apply" | "reloadAll">,
  wrap = (authenticator: Authenticator) => authenticator,
): Promise<Loaded> {
  await using resources = new AsyncDisposableStack();
  const folder = await Deno.makeTempDir({ prefix: "wss-reloader-" });
  resources.defer(() => Deno.remove(folder, { recursive: true }));
  // A symbolic link, as certbot and Kubernetes have it, replaces both files at once.
  const live = join(folder, "live");
  const install = async (name: string) => {
    await Deno.mkdir(join(folder, name));
    const { leaf } = await developmentMaterial({ folder: join(folder, name) });
    await Deno.symlink(join(folder, name), `${live}.new`);
    await Deno.rename(`${live}.new`, live);
    return leaf.serialNumber;
  };
  await install("first");
  const authTokenFile = join(folder, "tokens");
  await Deno.writeTextFile(authTokenFile, TOKEN);
  const lines: string[] = [];
  const write = (line: string) => void lines.push((JSON.parse(line) as { message: string }).message);
  const log = createLogger({ level: "debug", format: "json", write });
  const authenticator = await createAuthenticator({ ...NONE, authTokenFile });
  const credentials = new CredentialReloader({
    source: new FilesSource({ cert: join(live, "cert.pem"), key: join(live, "key.pem") }, log),
    authenticator: wrap(authenticator!),
    log,
    tokensChanged() {},
    retryAfter: 100,
    ...options,
  });
  await credentials.start(() => Promise.resolve());
  resources.defer(() => credentials.stop());
  resources.defer(() => credentials.drain());
  const owned = resources.move();
  return {
    credentials,
    authTokenFile,
    serial: () => credentials.material?.leaf.serialNumber,
    renew: () => install("next"),
    logged: (text) => lines.filter((message) => message.includes(text)),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** Returns a function that throws the same error at its first calls. */
function failing(times: number): { readonly calls: () => number; readonly call: () => Promise<void> } {
  let calls = 0;
  return {
    calls: () => calls,
    call: () => ++calls <= times ? Promise.reject(new StartError("no free descriptor")) : Promise.resolve(),
  };
}

Deno.test("a certificate that could not be applied is applied later, and the reason is logged once", async () => {
  const listener = failing(3);
  await using loaded = await load({ apply: listener.call });
  const { credentials, logged, serial } = loaded;
  const next = await loaded.renew();
  await until(() => serial() === next);
  assertEquals(listener.calls(), 4);
  assertEquals(credentials.reloads, { success: 1, failure: 3 });
  assertEquals(logged("the reload failed").map((message) => message.includes("no free descriptor")), [true]);
  // At the start, and for the new certificate.
  assertEquals(logged("The chain ends at").length, 2);
});

Deno.test("a certificate that the workers could not apply is applied later, without the tokens", async () => {
  const supervisor = failing(1);
  const requests: boolean[] = [];
  await using loaded = await load({
    apply: () => Promise.reject(new Error("the supervisor was not asked")),
    async reloadAll(tokens) {
      requests.push(tokens);
      await supervisor.call();
      assert(await loaded.credentials.stage(tokens));
      loaded.credentials.settle("applied");
    },
  });
  // An unusable token file matters only to a requested reload.
  await Deno.writeTextFile(loaded.authTokenFile, "not a token");
  const next = await loaded.renew();
  await until(() => loaded.serial() === next);
  assertEquals(requests, [false, false]);
  await assertRejects(() => loaded.credentials.reload(), StartError, "tokens line 1");
});

Deno.test("changed tokens that could not be read are read later", async () => {
  const file = failing(2);
  let authenticator!: Authenticator;
  await using loaded = await load({ apply: () => Promise.resolve() }, (real) => {
    authenticator = real;
    const reload = async () => {
      await file.call();
      await real.reload();
    };
    return Object.create(real, { reload: { value: reload } });
  });
  await Deno.writeTextFile(`${loaded.authTokenFile}.new`, `${TOKEN}\nanother-${TOKEN}`);
  await Deno.rename(`${loaded.authTokenFile}.new`, loaded.authTokenFile);
  await until(() => authenticator.requiredToken === "one of 2 shared secrets");
  assertEquals(file.calls(), 3);
  assertEquals(loaded.logged("the reload failed").length, 1);
});
