import { assert, assertEquals } from "@std/assert";
import { findCredentials, isBearerToken, MAX_TOKEN_LENGTH } from "../../lib/auth/request_credentials.ts";
import { seeded } from "../support/seeded.ts";

interface Given {
  readonly authorization?: string;
  readonly url?: string;
  readonly offered?: readonly string[];
}

function find({ authorization, url = "wss://localhost/", offered = [] }: Given, query = false) {
  const headers = new Headers(authorization === undefined ? {} : { authorization });
  return findCredentials({ headers, url, offered }, query);
}

Deno.test("reads a token from Authorization, with the scheme in any case", () => {
  for (const authorization of ["Bearer abc.DEF-1_~+/==", "bearer abc.DEF-1_~+/==", "BEARER   abc.DEF-1_~+/=="]) {
    assertEquals(find({ authorization }), {
      token: "abc.DEF-1_~+/==",
      problem: undefined,
      offered: [],
      url: "wss://localhost/",
      ignoredQuery: false,
    });
  }
});

Deno.test("another scheme is neither a token nor a problem", () => {
  for (const authorization of ["Basic dTpw", "Bearerabc", "Digest bearer abc", ""]) {
    const { token, problem } = find({ authorization });
    assertEquals([token, problem], [undefined, undefined], authorization);
  }
});

Deno.test("a malformed token is a problem whose text does not contain the token", () => {
  const long = "x".repeat(MAX_TOKEN_LENGTH + 1);
  for (
    const text of ["", "=", "SECRET two", "SECRET=b", "a,SECRET", 'SECRET"', "SECRET%41", "a, Bearer SECRET", long]
  ) {
    const { token, problem } = find({ authorization: `Bearer ${text}` });
    assertEquals(token, undefined, text);
    assert(problem?.startsWith("the token is malformed"), text);
    assert(!problem?.includes("SECRET"), text);
  }
  assertEquals(find({ authorization: `Bearer ${"x".repeat(MAX_TOKEN_LENGTH)}` }).token?.length, MAX_TOKEN_LENGTH);
});

Deno.test("reads a token from the subprotocol list, and removes it from the list", () => {
  assertEquals(find({ offered: ["wss.v1", "bearer.abc.def", "json"] }), {
    token: "abc.def",
    problem: undefined,
    offered: ["wss.v1", "json"],
    url: "wss://localhost/",
    ignoredQuery: false,
  });
  for (const protocol of ["bearer.", "Bearer.a%b", "bearer.a=b"]) {
    const found = find({ offered: ["wss.v1", protocol] });
    assertEquals([found.token, found.offered], [undefined, ["wss.v1"]], protocol);
    assert(found.problem !== undefined);
  }
  assertEquals(find({ offered: ["bearer", "bearer-x"] }).offered, ["bearer", "bearer-x"]);
});

Deno.test("reads and removes ?token= only if it is allowed", () => {
  const url = "wss://localhost/chat?a=1&token=abc%2B+/&b=%20&b#x";
  assertEquals(find({ url }), { token: undefined, problem: undefined, offered: [], url, ignoredQuery: true });
  assertEquals(find({ url }, true), {
    token: "abc++/",
    problem: undefined,
    offered: [],
    url: "wss://localhost/chat?a=1&b=%20&b#x",
    ignoredQuery: false,
  });
  assertEquals(find({ url: "/chat?token=abc" }, true).url, "/chat");
  assertEquals(find({ url: "/chat?%74ok%65n=abc&tokens=1" }, true).url, "/chat?tokens=1");
  assertEquals(find({ url: "/chat?%ff=1&token=a" }, true).url, "/chat?%ff=1");
  for (const query of ["?token=%ff", "?token=", "?token", "?token=a%00"]) {
    const found = find({ url: `/chat${query}` }, true);
    assertEquals([found.url, found.token, found.problem === undefined], ["/chat", undefined, false], query);
  }
});

Deno.test("accepts the same token twice; two different tokens are a problem", () => {
  const twice = { authorization: "Bearer abc", offered: ["bearer.abc"], url: "/?token=abc" };
  assertEquals(find(twice, true).token, "abc");
  const different: Given[] = [
    { ...twice, authorization: "Bearer other" },
    { ...twice, offered: ["bearer.other"] },
    { ...twice, offered: ["bearer.abc", "bearer.other"] },
    { ...twice, url: "/?token=abc&token=other" },
    { ...twice, authorization: "Bearer" },
  ];
  for (const given of different) {
    const { token, problem } = find(given, true);
    assertEquals([token, problem], [undefined, "the request has two different tokens; exactly one is required"]);
  }
  assertEquals(find({ ...twice, url: "/?token=other" }, false).token, "abc");
});

Deno.test("for any input, a token is well formed, and the other results do not contain it", () => {
  const pieces = [
    "SECRET",
    "bearer.",
    "Bearer ",
    "token=",
    "%74oken=",
    "&",
    "?",
    "#",
    "=",
    "+",
    "%2B",
    "%",
    ".",
    "x",
    ",",
  ];
  for (let seed = 1; seed <= 3_000; seed++) {
    const random = seeded(seed);
    const text = () => Array.from({ length: random(7) }, () => pieces[random(pieces.length)]).join("");
    const offered = Array.from({ length: random(4) }, text);
    const url = `wss://localhost/?${text()}`;
    const found = find({ authorization: text(), url, offered }, true);
    const context = JSON.stringify({ seed, url, offered, found });
    assert(found.token === undefined || isBearerToken(found.token), context);
    assert(found.token === undefined || found.problem === undefined, context);
    assert(!found.offered.some((protocol) => /^bearer\./i.test(protocol)), context);
    assertEquals(found.offered, offered.filter((protocol) => !protocol.startsWith("bearer.")), context);
    assertEquals(new URL(found.url).searchParams.has("token"), false, context);
    assert(!found.problem?.includes("SECRET"), context);
  }
});
