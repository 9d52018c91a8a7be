/**
 * Reads the JSON of a request, bounded in bytes and time.
 * @module
 */
import { messageOf } from "../errors.ts";
import { ApiError } from "./api_error.ts";

/**
 * Reads it; an empty body is an empty object.
 * @param limit bytes
 * @param timeout milliseconds until the body must be whole
 * @throws {ApiError} it is too long, too slow, or no JSON
 */
export async function readJson(request: Request, limit: number, timeout: number): Promise<unknown> {
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
    const allowed = `the body may have ${limit} bytes (--max-payload and what base64 adds)`;
    return new ApiError("badRequest", `${allowed}, and has more`, 413);
  };
  if (Number(request.headers.get("content-length") ?? 0) > limit) throw tooLong();
  if (request.body === null) return new Uint8Array();
  const reader = request.body.getReader();
  const late = Promise.withResolvers<never>();
  late.promise.catch(() => {});
  const timer = setTimeout(() => {
    late.reject(new ApiError("badRequest", `the body was not whole within ${timeout} ms`, 408));
  }, timeout);
  const parts: Uint8Array[] = [];
  let length = 0;
  try {
    for (;;) {
      const { done, value } = await Promise.race([reader.read(), late.promise]);
      if (done) break;
      length += value.length;
      if (length > limit) throw tooLong();
      parts.push(value);
    }
  } catch (error) {
    reader.cancel().catch(() => {});
    throw error instanceof ApiError ? error : new ApiError("badRequest", `the body broke off: ${messageOf(error)}`);
  } finally {
    clearTimeout(timer);
  }
  const whole = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
