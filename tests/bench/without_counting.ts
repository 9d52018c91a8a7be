/**
 * This service without what counts messages for the metrics: a copy of its source with those lines taken out, to measure
 * what they cost. A copy, so that the service itself has no switch on its path of messages.
 * @module
 */
import { cp } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const PARTS = ["main.ts", "lib", "deno.json", "deno.lock"] as const;

/** What is taken out of a file, and what stands there instead. */
const REMOVED: readonly { readonly file: string; readonly text: string; readonly instead: string }[] = [
  { file: "lib/ws/peer.ts", text: "    this.#shared.counters.receive(bytes);\n", instead: "" },
  {
    file: "lib/ws/peer.ts",
    text: `counters.measured
        ? counters.measure("message", () => app.message?.(this, message))
        : app.message?.(this, message);`,
    instead: "app.message?.(this, message);",
  },
  { file: "lib/ws/send_buffer.ts", text: "    budget.messages++;\n    budget.bytes += bytes;\n", instead: "" },
];

/**
 * Copies the service into a folder of this folder, once.
 * @returns the path of its main.ts
 * @throws {Error} a line that is to be taken out is not there: the service counts in another way now
 */
export async function copyWithoutCounting(folder: string): Promise<string> {
  const copy = join(folder, "without-counting");
  const main = join(copy, "main.ts");
  if (await Deno.stat(copy).then(() => true, () => false)) return main;
  await Deno.mkdir(copy);
  for (const part of PARTS) await cp(join(ROOT, part), join(copy, part), { recursive: true });
  for (const { file, text, instead } of REMOVED) {
    const path = join(copy, file);
    const source = await Deno.readTextFile(path);
    if (source.split(text).length !== 2) {
      throw new Error(`Cannot take the counting out of ${file}: it has not, or more than once, the text\n${text}`);
    }
    await Deno.writeTextFile(path, source.replace(text, () => instead));
  }
  return main;
}
