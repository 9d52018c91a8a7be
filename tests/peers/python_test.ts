/** Python's websockets as a client, in both modes. */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { makeFolder, startProgram } from "../support/program.ts";
import { peerTest, requirePeer } from "./require.ts";

const SCRIPT = fileURLToPath(new URL("client.py", import.meta.url));
// Debian's Python finds Debian's packages. Another Python may come first on the PATH.
const PYTHON = Deno.build.os === "linux" ? "/usr/bin/python3" : "python3";
const ignore = !requirePeer(PYTHON, "-c", "import websockets");

async function python(...args: string[]): Promise<{ code: number; lines: string[]; stderr: string }> {
  const { code, stdout, stderr } = await new Deno.Command(PYTHON, { args: [SCRIPT, ...args], stdin: "null" }).output();
  const lines = new TextDecoder().decode(stdout).split("\n").filter((line) => line !== "");
  return { code, lines, stderr: new TextDecoder().decode(stderr) };
}

Deno.test({ name: "Python's websockets, direct", ignore }, async () => {
  await using program = await startProgram();
  const { code, lines, stderr } = await python(program.url, program.ca, "-", "tom", "jerry");
  assertEquals({ code, lines }, { code: 0, lines: ["ok", "ok", "ok", "pong", "closed 1000"] }, stderr);
});

Deno.test({ name: "Python's websockets rejects an unknown authority", ignore }, async () => {
  await using program = await startProgram();
  const { code, stderr } = await python(program.url, "-", "-", "tom");
  assertEquals(code, 1);
  assertStringIncludes(stderr, "CERTIFICATE_VERIFY_FAILED");
});

Deno.test({ name: "Python's websockets, proxied over a port", ignore }, async () => {
  await using program = await startProgram(["--mode", "proxied", "--app", "echo"]);
  const { code, lines, stderr } = await python(`ws://127.0.0.1:${program.port}/wss`, "-", "-", "tom", "");
  assertEquals({ code, lines }, { code: 0, lines: ["tom", "00ff", "pong", "closed 1000"] }, stderr);
});

Deno.test({ name: "Python's websockets, proxied over a Unix socket", ignore }, async () => {
  const folder = await makeFolder();
  try {
    const socket = join(folder, "wss.sock");
    await using _program = await startProgram(["--mode", "proxied", "--unix", socket, "--app", "echo"], { folder });
    const { code, lines, stderr } = await python("ws://localhost/wss", "-", socket, "tom");
    assertEquals({ code, lines }, { code: 0, lines: ["tom", "00ff", "pong", "closed 1000"] }, stderr);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

peerTest("python3-aiohttp", "aiohttp sends subprotocols, one of them the token, in a list without spaces", async () => {
  const token = "correct-horse-battery-staple-0123456789";
  await using program = await startProgram(["--app", "echo", "--auth-token-file", "tokens"], {
    files: { tokens: token },
  });
  const script = `
import asyncio, ssl, sys, aiohttp
async def main():
    url, ca, *protocols = sys.argv[1:]
    async with aiohttp.ClientSession() as session:
        tls = ssl.create_default_context(cafile=ca)
        async with session.ws_connect(url, ssl=tls, protocols=protocols) as socket:
            await socket.send_str("tom")
            print(socket.protocol, await socket.receive_str())
asyncio.run(main())
`;
  const args = ["-c", script, program.url, program.ca, "wss.v1", `bearer.${token}`];
  const { code, stdout, stderr } = await new Deno.Command(PYTHON, { args, stdin: "null" }).output();
  const decoder = new TextDecoder();
  assertEquals([code, decoder.decode(stdout)], [0, "wss.v1 tom\n"], decoder.decode(stderr));
});
