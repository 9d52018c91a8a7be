import { assertEquals, assertThrows } from "@std/assert";
import { parsePath, pathExpression, PathSet } from "../../lib/config/path_pattern.ts";

Deno.test("parsePath encodes a literal path as in requests", () => {
  assertEquals(["/", "/wss", "/chat/ä", "/a/../b", "//x", "/%2f", "/a+b"].map((path) => parsePath(path).literal), [
    "/",
    "/wss",
    "/chat/%C3%A4",
    "/b",
    "//x",
    "/%2f",
    "/a+b",
  ]);
});

Deno.test("PathSet matches every syntax of URLPattern: names, wildcards, groups, expressions, escapes", () => {
  for (
    const [path, taken, others] of [
      ["/rooms/*", ["/rooms/", "/rooms/a", "/rooms/a/b"], ["/rooms", "/room/a"]],
      ["/rooms/:id", ["/rooms/a", "/rooms/%C3%A4"], ["/rooms/", "/rooms/a/b", "/rooms"]],
      ["/:tenant/wss", ["/a/wss"], ["/wss", "/a/b/wss"]],
      ["/rooms/:id?", ["/rooms", "/rooms/a"], ["/rooms/a/b"]],
      ["/v(\\d+)", ["/v1", "/v22"], ["/v", "/va"]],
      ["/a{/b}?", ["/a", "/a/b"], ["/a/"]],
      ["/räume/:id", ["/r%C3%A4ume/a"], ["/raume/a"]],
      ["/a\\:b", ["/a:b"], ["/ab"]],
    ] as const
  ) {
    const set = new PathSet(["/other", path]);
    for (const each of taken) assertEquals(set.has(each), true, `${path} ${each}`);
    for (const each of others) assertEquals(set.has(each), false, `${path} ${each}`);
    assertEquals([set.has("/other"), set.shown], [true, `/other and ${path}`]);
  }
});

Deno.test("parsePath rejects an invalid path or pattern and quotes it", () => {
  for (const path of ["", "wss", "*", ":id", "/a b", "/a#b", "/a?b"]) {
    const message = `a path starts with / and has no query, fragment or white space, not "${path}"`;
    assertThrows(() => parsePath(path), RangeError, message, path);
  }
  for (const path of ["/(", "/:", "/:1", "/{a", "/:id:id"]) {
    const message = `a path is literal (/wss) or a pattern of URLPattern (/rooms/*, /rooms/:id; `;
    assertThrows(() => new PathSet(["/fine", path]), RangeError, message, path);
  }
  assertThrows(
    () => parsePath("/:id/:id"),
    RangeError,
    'not "/:id/:id" (parser error: pattern contains duplicate name id)',
  );
});

Deno.test("pathExpression converts names and wildcards, and returns undefined for anything else", () => {
  for (
    const [path, expression] of [
      ["/rooms/*", "/rooms/.*"],
      ["/rooms/:id", "/rooms/[^/]+"],
      ["/a.b/:x-:y.json", "/a[.]b/[^/]+-[^/]+[.]json"],
      ["/wss", "/wss"],
    ] as const
  ) assertEquals(pathExpression(path), expression, path);
  for (const path of ["/:id?", "/:id+", "/:id*", "/**", "/(\\d+)", "/{a}?", "/a\\:b", "/ä/:id", '/"/*', "/$/*"]) {
    assertEquals(pathExpression(path), undefined, path);
  }
});
