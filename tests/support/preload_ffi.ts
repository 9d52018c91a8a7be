/**
 * Loads the C library before the first test: it stays for the life of a process, which the sanitizer of a test that
 * starts a service would call a leak. For `deno test --preload`.
 * @module
 */
import { loadFfi } from "../../lib/net/ffi/load_ffi.ts";

loadFfi();
