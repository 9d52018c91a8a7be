/** `openssl s_client`: the accepted TLS versions, and a WebSocket session with frames built by the test. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { type Program, startProgram } from "../support/program.ts";
import { requirePeer } from "./require.ts";

const ignore = !requirePeer("openssl", "version");

/** Arguments that offer one version only. OpenSSL 3 offers insecure versions only with SECLEVEL=0. */
const VERSIONS = { "1.0": "-tls1", "1.1": "-tls1_1", "1.2": "-tls1_2", "1.3": "-tls1_3" } as const;

function arguments_(program: Program, ...more: string[]): string[] {
  const connect = ["s_client", "-connect", `127.0.0.1:${program.port}`, "-servername", "localhost"];
  return [...connect, "-CAfile", program.ca, "-verify_return_error", ...more];
}

async function handshake(program: Program, version: keyof typeof VERSIONS): Promise<{ code: number; said: string }> {
  const args = arguments_(program, VERSIONS[version], "-cipher", "DEFAULT@SECLEVEL=0");
  const { code, stdout, stderr } = await new Deno.Command("openssl", { args, stdin: "null" }).output();
  return { code, said: new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr) };
}

Deno.test({ name: "openssl s_client", ignore }, async (t) => {
  await using program = await startProgram();

  for (const version of ["1.0", "1.1"] as const) {
    await t.step(`TLS ${version} gets an alert`, async () => {
      const { code, said } = await handshake(program, version);
      assertEquals(code, 1);
      // The service sent the alert. "no protocols available" would mean that openssl did not offer the version.
      assertMatch(said, /alert (protocol version|handshake failure)/);
      assertStringIncludes(said, "New, (NONE), Cipher is (NONE)");
    });
  }

  for (const version of ["1.2", "1.3"] as const) {
    await t.step(`TLS ${version} gets a session`, async () => {
      const { code, said } = await handshake(program, version);
      assertEquals(code, 0, said);
      assertStringIncludes(said, `New, TLSv${version}, Cipher is `);
      assertStringIncludes(said, "Verify return code: 0 (ok)");
    });
  }

  await t.step("a WebSocket session with frames built by the test", async () => {
    await using process = new Deno.Command("openssl", {
      args: arguments_(program, "-quiet", "-alpn", "http/1.1"),
      stdin: "piped",
      stdout: "piped",
      stderr: "null",
    }).spawn();
    const writer = process.stdin.getWriter();
    const reader = process.stdout.getReader();
    // Key and accept are those of RFC 6455 §1.3.
    const head = "GET /wss HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
      "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    await writer.write(new TextEncoder().encode(head));
    const response = await readUntil(reader, (bytes) => text(bytes).includes("\r\n\r\n"));
    assert(text(response).startsWith("HTTP/1.1 101 "), text(response));
    assertMatch(text(response), /^sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK\+xOo=\r$/im);

    await writer.write(masked(0x81, new TextEncoder().encode("tom")));
    assertEquals([...await readUntil(reader, (bytes) => bytes.length >= 4)], [
      0x81,
      2,
      ...new TextEncoder().encode("ok"),
    ]);

    await writer.write(masked(0x88, new Uint8Array([0x03, 0xe8])));
    assertEquals([...await readUntil(reader, (bytes) => bytes.length >= 4)], [0x88, 2, 0x03, 0xe8]);
    // The service closes the connection, and openssl exits.
    assertEquals((await reader.read()).done, true);
    await writer.close().catch(() => {});
    await process.status;
  });
});

function text(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}

/** A client's frame of up to 125 bytes: masked, as RFC 6455 §5.3 requires. */
function masked(first: number, payload: Uint8Array): Uint8Array<ArrayBuffer> {
  const mask = crypto.getRandomValues(new Uint8Array(4));
  return new Uint8Array([first, 0x80 | payload.length, ...mask, ...payload.map((byte, i) => byte ^ mask[i % 4]!)]);
}

async function readUntil(
  reader: ReadableStreamDefaultReader<Uint8Array>,
  enough: (bytes: Uint8Array) => boolean,
): Promise<Uint8Array> {
  let bytes = new Uint8Array();
  while (!enough(bytes)) {
    const { value, done } = await reader.read();
    if (done) throw new Error(`the connection ended after: ${text(bytes)}`);
    bytes = new Uint8Array([...bytes, ...value]);
  }
  return bytes;
}
