/**
 * Tests against real programs. If a program is absent, the test is ignored, and the test command reports it as skipped.
 * With WSS_TEST_PEERS=required the test fails instead.
 */

/** Commands that check for a program, where `PROGRAM --version` does not work. */
const PROBES: Readonly<Record<string, readonly [string, ...string[]]>> = {
  nginx: ["nginx", "-v"],
  apache2: ["apache2", "-v"],
  haproxy: ["haproxy", "-v"],
  caddy: ["caddy", "version"],
  openssl: ["openssl", "version"],
  ip: ["ip", "-Version"],
  pebble: ["sh", "-c", "command -v pebble"],
  // Debian's Python finds Debian's packages. Another Python may come first on the PATH.
  "python3-websockets": ["/usr/bin/python3", "-c", "import websockets"],
  "python3-aiohttp": ["/usr/bin/python3", "-c", "import aiohttp"],
  "php-curl": ["php", "-r", 'exit(extension_loaded("curl") ? 0 : 1);'],
};

const found = new Map<string, boolean>();

/** Whether a program is installed and runs. */
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

/** Whether an absent program fails the test. */
export function peersRequired(): boolean {
  return Deno.env.get("WSS_TEST_PEERS") === "required";
}

/**
 * Checks for a program that only a part of a test needs.
 * @param args the arguments of the check; default: those in `PROBES`, or `--version`
 * @returns false, with a warning on the console, if the program is absent
 * @throws {Error} if the program is absent and WSS_TEST_PEERS=required
 */
export function requirePeer(program: string, ...args: string[]): boolean {
  if (hasPeer(program, args)) return true;
  if (peersRequired()) throw new Error(missing([program]));
  // deno-lint-ignore no-console -- shows which peer was skipped
  console.warn(`SKIPPED: ${missing([program])}`);
  return false;
}

/** Adds a test that needs one or several programs. */
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
