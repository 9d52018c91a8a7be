/**
 * Loads the C library before the first test, for `deno test --preload`. The library stays loaded until the process
 * ends. If a test loaded it by starting a service, the sanitizer would report a leak.
 * @module
 */
import { loadFfi } from "../../lib/net/ffi/load_ffi.ts";

loadFfi();
