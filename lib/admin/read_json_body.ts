/**
 * Reads a request's JSON body, with a limit of bytes and time.
 * @module
 */
import { messageOf } from "../errors.ts";
import { ApiError } from "./api_error.ts";

const INITIAL_BUFFER = 4096;

/**
 * Reads a JSON body. An empty body is read as an empty object.
 * @param limit the maximum length in bytes
 * @param timeout milliseconds for the whole body
 * @throws {ApiError} if the body is too long, too slow, or not JSON
 */
export async function readJsonBody(request: Request, limit: number, timeout: number): Promise<unknown> {
  const bytes = await readBytes(request, limit, timeout);
  if (bytes.length === 0) return {};
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new ApiError("badRequest", "the body is not UTF-8");
  }
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new ApiError("badRequest", `the body is not JSON: ${messageOf(error).slice(0, 200)}`);
  }
}

async function readBytes(request: Request, limit: number, timeout: number): Promise<Uint8Array> {
  const tooLong = () => {
    return new ApiError("badRequest", `the body exceeds ${limit} bytes (8 MiB plus 6 times --max-payload)`, 413);
  };
  if (Number(request.headers.get("content-length") ?? 0) > limit) throw tooLong();
  if (request.body === null) return new Uint8Array();
  const reader = request.body.getReader();
  let late = false;
  // A race of each read with a promise of the timeout would keep memory for each chunk of the body.
  const timer = setTimeout(() => {
    late = true;
    reader.cancel().catch(() => {});
  }, timeout);
  let bytes = new Uint8Array(INITIAL_BUFFER);
  let length = 0;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (late) throw new ApiError("badRequest", `the body was incomplete after ${timeout} ms`, 408);
      if (done) break;
      const end = length + value.length;
      if (end > limit) throw tooLong();
      if (end > bytes.length) {
        const larger = new Uint8Array(Math.max(2 * bytes.length, end));
        larger.set(bytes);
        bytes = larger;
      }
      bytes.set(value, length);
      length = end;
    }
  } catch (error) {
    reader.cancel().catch(() => {});
    throw error instanceof ApiError
      ? error
      : new ApiError("badRequest", `the body could not be read: ${messageOf(error)}`);
  } finally {
    clearTimeout(timer);
  }
  return bytes.subarray(0, length);
}
