/**
 * Helpers to start the program with a certificate from Pebble.
 * @module
 */
import { assertEquals } from "@std/assert";
import { join } from "node:path";
import { Client } from "../support/client.ts";
import { makeFolder, type Program, ROOT } from "../support/program.ts";
import { Transcript } from "../support/transcript.ts";
import { extendDirectory, type Front, type Pebble } from "../tls/acme/pebble.ts";

/** Options that make the program obtain a certificate from Pebble. Default: for Pebble's loopback address. */
export function optionsFor(pebble: Pebble, names: readonly string[] = [pebble.address]): string[] {
  return [
    ...names.flatMap((name) => ["--domain", name]),
    ...["--acme-directory", pebble.directory, "--acme-ca", pebble.caFile, "--acme-agree-tos"],
    ...["--acme-http-port", String(pebble.httpPort), "--host", pebble.address, "--log-format", "json"],
  ];
}

/** The folder with the certificate and its state. */
export function stateOf(pebble: Pebble, folder: string): string {
  const { host } = new URL(pebble.directory);
  return join(folder, "certs/acme", `${host.replace(":", "_")}_dir`, pebble.address);
}

export interface TestFolder extends AsyncDisposable {
  readonly path: string;
  /** A file with the root of Pebble's certificates. */
  readonly ca: string;
}

export async function folderFor(pebble: Pebble): Promise<TestFolder> {
  const path = await makeFolder({ "root.pem": await pebble.root() });
  return {
    path,
    ca: join(path, "root.pem"),
    [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }),
  };
}

export async function asks(program: Program, ca: string): Promise<void> {
  await using client = await Client.open(program.url, { ca });
  assertEquals(await client.ask("tom"), "ok");
}

/** Makes the certificate in a folder due for renewal at the next start. */
export async function makeDue(pebble: Pebble, folder: string): Promise<void> {
  const state = stateOf(pebble, folder);
  const past = new Date(Date.now() - 7_200_000);
  await Deno.utime(join(state, "fullchain.pem"), past, past);
  await Deno.remove(join(state, "renewal.json")).catch(() => {});
}

/** An authority whose renewal information says: renew now. */
export function renewNow(rest: Front = () => undefined): Front {
  return (request) => {
    if (request.kind === "directory") return extendDirectory(request, { renewalInfo: true });
    if (request.kind !== "renewalInfo") return rest(request);
    return Response.json({ suggestedWindow: { start: "2020-01-01T00:00:00Z", end: "2020-01-02T00:00:00Z" } });
  };
}

/** Waits until the challenge port redirects, and returns the target. */
export async function redirected(pebble: Pebble): Promise<string> {
  for (;;) {
    const response = await fetch(`http://${pebble.address}:${pebble.httpPort}/`, { redirect: "manual" })
      .catch(() => undefined);
    await response?.body?.cancel();
    const location = response?.headers.get("location");
    if (location) return location;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** Options for the command `cert`, which has no --log-format. */
export function certOptions(pebble: Pebble, names?: readonly string[]): string[] {
  return optionsFor(pebble, names).filter((text) => text !== "--log-format" && text !== "json");
}

export interface Child extends AsyncDisposable {
  /** Resolves with its standard error once it has exited. */
  readonly ended: Promise<string>;
  kill(): Promise<void>;
}

/** Starts the program without waiting until it listens: the test kills it earlier. */
export function startChild(args: readonly string[], cwd: string): Child {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--config", join(ROOT, "deno.json"), join(ROOT, "main.ts"), "--port", "0", ...args],
    cwd,
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).spawn();
  const output = new Transcript("standard error", child.stderr);
  const ended = Promise.all([child.status, output.done]).then(() => output.text);
  const kill = async () => {
    try {
      child.kill("SIGKILL");
    } catch (error) {
      // The child has already exited.
      if (!(error instanceof TypeError)) throw error;
    }
    await ended;
  };
  return { ended, kill, [Symbol.asyncDispose]: kill };
}
