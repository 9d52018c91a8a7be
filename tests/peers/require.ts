/**
 * Tests against real programs. Where the program is absent the test is ignored, which the test command reports as
 * skipped; with WSS_TEST_PEERS=required it fails instead.
 */

/** How to see that a program is there, where `PROGRAM --version` does not tell. */
const PROBES: Readonly<Record<string, readonly [string, ...string[]]>> = {
  nginx: ["nginx", "-v"],
  apache2: ["apache2", "-v"],
  haproxy: ["haproxy", "-v"],
  caddy: ["caddy", "version"],
  openssl: ["openssl", "version"],
  ip: ["ip", "-Version"],
  pebble: ["sh", "-c", "command -v pebble"],
  // Debian's interpreter, which sees Debian's packages; another may come first on the PATH.
  "python3-websockets": ["/usr/bin/python3", "-c", "import websockets"],
  "python3-aiohttp": ["/usr/bin/python3", "-c", "import aiohttp"],
  "php-curl": ["php", "-r", 'exit(extension_loaded("curl") ? 0 : 1);'],
};

const found = new Map<string, boolean>();

/** Whether a program is there and runs. */
export function hasPeer(program: string, args: readonly string[] = []): boolean {
  const name = [program, ...args].join(" ");
  let there = found.get(name);
  if (there === undefined) found.set(name, there = probe(program, args));
  return there;
}

function probe(program: string, given: readonly string[]): boolean {
  const [command, ...args] = given.length > 0 ? [program, ...given] : PROBES[program] ?? [program, "--version"];
  try {
    return new Deno.Command(command, { args, stdin: "null", stdout: "null", stderr: "null" }).outputSync().success;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** Whether an absent program is a failure. */
export function peersRequired(): boolean {
  return Deno.env.get("WSS_TEST_PEERS") === "required";
}

/**
 * Whether to go on with a program, for a test that needs it in one part only.
 * @param args how to see that it is there, where that is not known by name
 * @returns false, loudly, where it is absent
 * @throws {Error} where it is absent and WSS_TEST_PEERS=required
 */
export function requirePeer(program: string, ...args: string[]): boolean {
  if (hasPeer(program, args)) return true;
  if (peersRequired()) throw new Error(missing([program]));
  // deno-lint-ignore no-console -- shows which peer was skipped
  console.warn(`SKIPPED: ${missing([program])}`);
  return false;
}

/** A test that needs one program, or several. */
export function peerTest(
  programs: string | readonly string[],
  name: string,
  fn: (t: Deno.TestContext) => void | Promise<void>,
): void {
  const absent = [programs].flat().filter((program) => !hasPeer(program));
  if (absent.length === 0) return Deno.test(name, fn);
  Deno.test({
    name: `${name} [${missing(absent)}]`,
    ignore: !peersRequired(),
    fn: () => {
      throw new Error(missing(absent));
    },
  });
}

function missing(programs: readonly string[]): string {
  return `${programs.join(" and ")} is not installed, or does not run`;
}
