/** The documented type of `serve()`'s options matches the option table. */
import { assertEquals } from "@std/assert";
import type { Input } from "../../lib/config/option_table.ts";
import { SERVICE_OPTIONS } from "../../lib/config/service_options.ts";
import type { ServiceOptions } from "../../lib/config/service_options_type.ts";
import { optionsType } from "../support/options_type.ts";

const FILE = new URL("../../lib/config/service_options_type.ts", import.meta.url);

Deno.test("service_options_type.ts matches the option table (WSS_UPDATE=1 rewrites it)", async () => {
  const { success, stdout } = await format(optionsType(SERVICE_OPTIONS));
  assertEquals(success, true);
  if (Deno.env.get("WSS_UPDATE") === "1") await Deno.writeTextFile(FILE, stdout);
  else assertEquals(await Deno.readTextFile(FILE), stdout);
});

Deno.test("the generated type and the inferred type are assignable to each other", () => {
  const table: Input<typeof SERVICE_OPTIONS> = {} as ServiceOptions;
  const type: Required<ServiceOptions> = {} as Required<Input<typeof SERVICE_OPTIONS>>;
  assertEquals(table, type);
});

async function format(source: string): Promise<{ success: boolean; stdout: string }> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["fmt", "--config", new URL("../../deno.json", import.meta.url).pathname, "--ext", "ts", "-"],
    stdin: "piped",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(source));
  await writer.close();
  const { success, stdout } = await child.output();
  return { success, stdout: new TextDecoder().decode(stdout) };
}
