/**
 * What the program may do without the C library.
 * @module
 */
import project from "../../deno.json" with { type: "json" };

/** The permissions of `deno task start` but `--allow-ffi`, with the right to write where the test's folder is. */
export const WITHOUT_FFI: readonly string[] = [
  ...project.tasks.start.split(" ").slice(2, -1).filter((word) => word !== "--allow-ffi"),
  "--no-prompt",
];
