/** curl as a client: the page, health, refusals, the headers of the upgrade, and outdated TLS. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { type Program, startProgram } from "../support/program.ts";
import { Transcript } from "../support/transcript.ts";
import { requirePeer } from "./require.ts";

const ignore = !requirePeer("curl", "--version");

interface Answer {
  /** curl's exit code. */
  readonly code: number;
  readonly status: number;
  readonly headers: Headers;
  readonly body: string;
  readonly version: string;
  readonly stderr: string;
}

/** Runs curl with the program's URL for a path. */
async function curl(program: Program, path: string, ...args: string[]): Promise<Answer> {
  const format = ["-sSi", "--cacert", program.ca, "-w", "\n%{http_version}"];
  const { code, stdout, stderr } = await new Deno.Command("curl", {
    args: [...format, ...args, program.http(path)],
    stdin: "null",
  }).output();
  const said = new TextDecoder().decode(stdout);
  const text = new TextDecoder().decode(stderr);
  if (code !== 0) return { code, status: 0, headers: new Headers(), body: "", version: "", stderr: text };
  const end = said.indexOf("\r\n\r\n");
  const [first = "", ...lines] = said.slice(0, end).split("\r\n");
  const headers = new Headers(lines.map((line): [string, string] => {
    const colon = line.indexOf(":");
    return [line.slice(0, colon), line.slice(colon + 1).trim()];
  }));
  const body = said.slice(end + 4);
  return {
    code,
    status: Number(first.split(" ")[1]),
    headers,
    body: body.slice(0, body.lastIndexOf("\n")),
    version: body.slice(body.lastIndexOf("\n") + 1),
    stderr: text,
  };
}

/** The headers of a handshake, in curl's form. */
const HANDSHAKE = {
  connection: "Connection: Upgrade",
  upgrade: "Upgrade: websocket",
  version: "Sec-WebSocket-Version: 13",
  key: "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
};

function handshake(changes: Partial<Record<keyof typeof HANDSHAKE, string>> = {}): string[] {
  return ["--http1.1", ...Object.values({ ...HANDSHAKE, ...changes }).flatMap((line) => line ? ["-H", line] : [])];
}

Deno.test({ name: "curl, direct", ignore }, async (t) => {
  await using program = await startProgram();

  await t.step("serves the page over HTTP/2, with a content security policy without exceptions", async () => {
    for (const path of ["/", "/wss"]) {
      const { status, headers, body, version } = await curl(program, path);
      assertEquals([status, version], [200, "2"]);
      assertEquals(headers.get("content-type"), "text/html; charset=utf-8");
      assertMatch(
        headers.get("content-security-policy") ?? "",
        /^default-src 'none'; script-src 'sha256-[^ ]+'; style-src 'sha256-[^ ]+'; connect-src/,
      );
      assertEquals(headers.get("content-security-policy")?.includes("unsafe"), false);
      assertStringIncludes(body, "<!DOCTYPE html>");
      // The page loads nothing from other paths, because a proxy may forward only this path.
      assertEquals(body.match(/(?:src|href)=/g), null);
    }
  });

  await t.step("POST to the page is refused, and HEAD returns no body", async () => {
    // Over HTTP/2 Deno may reset the stream of an unread body before the answer is sent.
    const posted = await curl(program, "/", "--http1.1", "-d", "x=1");
    assertEquals([posted.status, posted.headers.get("allow")], [405, "GET, HEAD"]);
    for (const version of ["--http1.1", "--http2"]) {
      for (
        const [path, status] of [["/", 200], ["/healthz", 200], ["/elsewhere", 404]] as const
      ) {
        const head = await curl(program, path, "--head", version);
        assertEquals([head.status, head.body], [status, ""], `${version} ${path} ${head.stderr}`);
      }
    }
  });

  await t.step("health", async () => {
    const { status, body, headers } = await curl(program, "/healthz");
    assertEquals([status, JSON.parse(body)], [200, { status: "ok", peers: 0 }]);
    assertEquals(headers.get("cache-control"), "no-store");
  });

  await t.step("the upgrade's headers", async () => {
    // -D prints the headers at once. With -i, curl prints a 101 only when the connection ends.
    const args = [
      "-sS",
      "-D",
      "/dev/stdout",
      "-o",
      "/dev/null",
      "--cacert",
      program.ca,
      ...handshake(),
      program.http("/wss"),
    ];
    const child = new Deno.Command("curl", { args, stdin: "null", stdout: "piped", stderr: "null" }).spawn();
    const said = new Transcript("curl", child.stdout);
    await said.until(/\r\n\r\n/);
    child.kill();
    await Promise.all([child.status, said.done]);
    assert(said.text.startsWith("HTTP/1.1 101 Switching Protocols\r\n"), said.text);
    assertMatch(said.text, /^upgrade: websocket\r$/im);
    assertMatch(said.text, /^connection: upgrade\r$/im);
    assertMatch(said.text, /^sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK\+xOo=\r$/im);
    assertEquals(/^sec-websocket-(extensions|protocol):/im.test(said.text), false, said.text);
  });

  // Each case makes one change to the handshake above.
  const refusals: [what: string, args: string[], status: number, reason: string, header?: [string, string]][] = [
    ["another version", handshake({ version: "Sec-WebSocket-Version: 8" }), 426, 'must be 13, but is "8"', [
      "sec-websocket-version",
      "13",
    ]],
    ["no version", handshake({ version: "" }), 426, "must be 13, but is missing", ["sec-websocket-version", "13"]],
    ["no Upgrade", handshake({ upgrade: "" }), 426, "A proxy may have removed it", ["upgrade", "websocket"]],
    ["no Connection", handshake({ connection: "" }), 400, "no Connection: Upgrade"],
    ["a short key", handshake({ key: "Sec-WebSocket-Key: c2hvcnQ=" }), 400, "must be 16 bytes in base64"],
    ["no key", handshake({ key: "" }), 400, "16 bytes in base64, but is missing"],
    ["POST", [...handshake(), "-X", "POST"], 405, "must use GET, not POST", ["allow", "GET"]],
    ["h2c before websocket", ["-H", "Upgrade: h2c", ...handshake()], 400, "Upgrade must offer websocket without h2c"],
    // Deno itself refuses this request, without a reason.
    ["a body", [...handshake(), "-X", "GET", "-d", "x"], 400, ""],
    ["the same subprotocol twice", [...handshake(), "-H", "Sec-WebSocket-Protocol: a, a"], 400, "distinct tokens"],
    [
      "another site's page",
      [...handshake(), "-H", "Origin: https://evil.example"],
      403,
      "A page of https://evil.example",
    ],
  ];
  for (const [what, args, status, reason, header] of refusals) {
    await t.step(`${what}: ${status}`, async () => {
      const answer = await curl(program, "/wss", ...args);
      assertEquals(answer.status, status, answer.body);
      assertStringIncludes(answer.body, reason);
      if (header) assertEquals(answer.headers.get(header[0]), header[1]);
    });
  }

  await t.step("a handshake over HTTP/2: 400, and the body names HTTP/2 as the reason", async () => {
    const [, ...headers] = handshake();
    const { status, body, version } = await curl(program, "/wss", "--http2", ...headers);
    assertEquals([status, version], [400, "2"]);
    assertStringIncludes(body, "The request came over HTTP/2, but this service accepts WebSocket over HTTP/1.1 only");
  });

  await t.step("another path: 404", async () => {
    const { status, body } = await curl(program, "/elsewhere", ...handshake());
    assertEquals(status, 404);
    assertStringIncludes(body, "WebSocket connections are accepted at / and /wss");
  });

  await t.step("a client limited to TLS 1.1 does not connect", async () => {
    const { code, stderr } = await curl(program, "/", "--tls-max", "1.1", "--ciphers", "DEFAULT@SECLEVEL=0");
    assertEquals(code, 35, stderr);
    assertMatch(stderr, /alert|protocol version|handshake/i);
  });

  await t.step("plain HTTP to the TLS port gets no HTTP answer", async () => {
    const url = program.http("/").replace("https:", "http:");
    const { code } = await new Deno.Command("curl", { args: ["-sS", url], stdout: "null", stderr: "null" }).output();
    assert(code !== 0);
  });
});

Deno.test({ name: "curl, direct without the page", ignore }, async () => {
  await using program = await startProgram(["--no-page"]);
  const { status, headers, body } = await curl(program, "/", "--http1.1");
  assertEquals([status, headers.get("upgrade")], [426, "websocket"]);
  assertStringIncludes(body, "Connect to it with wss:// from a WebSocket client");
});
