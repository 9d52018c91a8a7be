/**
 * Real programs that tests talk to.
 * @module
 */

/**
 * Whether a program is there: the command line must succeed. One that is absent is skipped loudly.
 * @throws {Error} for an absent one where WSS_TEST_PEERS=required
 */
export function requirePeer(command: string, ...args: string[]): boolean {
  const line = [command, ...args].join(" ");
  try {
    const { success } = new Deno.Command(command, { args, stdin: "null", stdout: "null", stderr: "null" }).outputSync();
    if (success) return true;
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  if (Deno.env.get("WSS_TEST_PEERS") === "required") throw new Error(`Cannot test with ${command}: "${line}" fails`);
  // deno-lint-ignore no-console -- a skipped peer is to be seen
  console.warn(`SKIPPED: ${command} is not usable ("${line}" fails)`);
  return false;
}
