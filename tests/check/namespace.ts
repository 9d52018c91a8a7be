/**
 * Runs a script in separate network, mount and user namespaces, where it can change interfaces, routes and files of /etc.
 */
import { peersRequired } from "../peers/require.ts";

/**
 * Runs a script and returns what it prints. `files`: the content of files that replace those of this system. Without the
 * permission to create namespaces, prints a message and returns undefined.
 * @throws {Error} if the script fails, or if namespaces cannot be created and WSS_TEST_PEERS=required
 */
export async function inNamespace(
  script: URL,
  files: Readonly<Record<string, string>> = {},
  args: readonly string[] = [],
): Promise<string | undefined> {
  const folder = await Deno.makeTempDir();
  try {
    const steps = ["ip link set lo up"];
    for (const [at, [path, content]] of Object.entries(files).entries()) {
      await Deno.writeTextFile(`${folder}/${at}`, content);
      steps.push(`mount --bind ${folder}/${at} "$(readlink -f ${path})"`);
    }
    // A failure after this line is a failure of the script, and not of the namespace.
    steps.push("echo ready >&2", 'exec "$@"');
    const { success, stdout, stderr } = await new Deno.Command("unshare", {
      args: [
        ...["--map-root-user", "--net", "--mount", "sh", "-ec", steps.join("; "), "sh"],
        ...[Deno.execPath(), "run", "-A", "--config", new URL("../../deno.json", import.meta.url).pathname],
        ...[script.pathname, ...args],
      ],
    }).output();
    if (success) return new TextDecoder().decode(stdout);
    throw new Error(new TextDecoder().decode(stderr));
  } catch (error) {
    if (peersRequired() || String(error).includes("ready\n")) throw error;
    // deno-lint-ignore no-console -- a skipped test must be visible
    console.warn(`SKIPPED: cannot create a namespace: ${error}`);
    return undefined;
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}
