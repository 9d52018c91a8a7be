import { assert, assertEquals, assertRejects } from "@std/assert";
import { ApiError } from "../../lib/admin/api_error.ts";
import { readJsonBody } from "../../lib/admin/read_json_body.ts";
import { usedHeap } from "../support/heap.ts";

/** A request whose body is made by this function, chunk by chunk. An empty chunk ends it. */
function requestOf(chunk: () => Uint8Array<ArrayBuffer> | Promise<Uint8Array<ArrayBuffer>>): Request {
  const body = new ReadableStream<Uint8Array<ArrayBuffer>>({
    async pull(controller) {
      const bytes = await chunk();
      if (bytes.length > 0) controller.enqueue(bytes);
      else controller.close();
    },
  }, { highWaterMark: 0 });
  return new Request("http://localhost/", { method: "POST", body });
}

Deno.test("readJsonBody: a body of many chunks is read whole, and its chunks keep no memory", async () => {
  const text = JSON.stringify({ text: "x".repeat(40_000) });
  const bytes = new TextEncoder().encode(text);
  let at = 0;
  let before = 0;
  let grown = 0;
  const request = requestOf(() => {
    if (at === 1_000) before = usedHeap();
    if (at === bytes.length) grown = usedHeap() - before;
    return bytes.slice(at, ++at);
  });
  assertEquals(await readJsonBody(request, bytes.length, 60_000), JSON.parse(text));
  // With a promise for each chunk it is 20 MB.
  assert(grown < 2_000_000, `${grown} bytes for ${bytes.length} chunks`);
});

Deno.test("readJsonBody: refuses a body that is too long or too slow", async () => {
  const endless = requestOf(() => new Uint8Array(1_000));
  const long = await assertRejects(() => readJsonBody(endless, 10_000, 60_000), ApiError, "exceeds 10000 bytes");
  const stalled = Promise.withResolvers<Uint8Array<ArrayBuffer>>();
  const slow = await assertRejects(
    () => readJsonBody(requestOf(() => stalled.promise), 10_000, 10),
    ApiError,
    "the body was incomplete after 10 ms",
  );
  assertEquals([long.status, slow.status], [413, 408]);
  stalled.resolve(new Uint8Array(0));
});
