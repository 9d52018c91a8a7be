/** `wss unit`: systemd accepts the unit, and its command line starts the service. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { peerTest } from "../peers/require.ts";
import { makeFolder, type ProgramOptions, ROOT, runProgram } from "../support/program.ts";
import { Transcript } from "../support/transcript.ts";

async function unit(args: readonly string[], options: ProgramOptions = {}): Promise<string> {
  const { code, stdout, stderr } = await runProgram(["unit", ...args], options);
  assertEquals([code, stderr], [0, ""]);
  return stdout;
}

const COMMAND_LINES: readonly (readonly string[])[] = [
  [],
  ["--domain", "example.com", "--acme-agree-tos", "--workers", "auto"],
  ["--mode", "proxied", "--unix", "/run/wss/wss.sock", "--drain-timeout", "2m"],
  ["--mode", "proxied", "--unix", "/srv/a folder/wss.sock", "--no-page", "--max-connections", "200000"],
  ["--admin", "unix:/run/wss/a/admin.sock", "--mode", "proxied", "--unix", "/run/wss/wss.sock"],
];

peerTest("systemd-analyze", "systemd-analyze accepts the unit and reports a low exposure level", async (t) => {
  for (const args of COMMAND_LINES) {
    await t.step(args.join(" ") || "no options", async () => {
      const env = { WSS_APP: './50% $HOME "x" \\.ts', WSS_PATH: "/a,/rooms/*" };
      const folder = await makeFolder({ "wss.service": await unit(args, { env }) });
      try {
        const file = join(folder, "wss.service");
        const analyze = async (...command: string[]) => {
          const { stdout, stderr } = await new Deno.Command("systemd-analyze", { args: command }).output();
          return new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
        };
        assertEquals(await analyze("verify", file), "");
        const [, level] = /Overall exposure level for wss\.service: ([\d.]+)/.exec(
          await analyze("security", "--offline=true", file),
        )!;
        assert(Number(level) <= 2.5, level);
      } finally {
        await Deno.remove(folder, { recursive: true });
      }
    });
  }
});

Deno.test("the unit grants only the rights that the options require", async () => {
  const plain = await unit([]);
  assertStringIncludes(plain, "systemctl restart wss");
  assertStringIncludes(plain, "systemctl kill -s USR2 --kill-whom=main wss");
  assertMatch(plain, /^AmbientCapabilities=$/m);
  assertMatch(plain, /^LimitNOFILE=65536$/m);
  const domain = await unit(COMMAND_LINES[1]!);
  assertMatch(domain, /^AmbientCapabilities=CAP_NET_BIND_SERVICE$/m);
  assertStringIncludes(domain, "systemctl kill -s USR2 --kill-whom=main wss");
  const socket = await unit(COMMAND_LINES[2]!);
  assertMatch(socket, /^RuntimeDirectory=wss$/m);
  assertMatch(socket, /^TimeoutStopSec=140$/m);
  const elsewhere = await unit(COMMAND_LINES[3]!);
  assertMatch(elsewhere, /^ReadWritePaths=\/var\/lib\/wss "\/srv\/a folder"$/m);
  assertMatch(elsewhere, /^LimitNOFILE=222294$/m);
  assertMatch(elsewhere, / --no-page/);
});

Deno.test("the unit escapes the options in the command line for systemd", async () => {
  const text = await unit([
    "--app",
    "./50% $HOME.ts",
    "--user",
    "web",
    "--directory",
    "/srv/web",
  ]);
  const [command] = /^ExecStart=.*$/m.exec(text)!;
  assertMatch(command, /--app "[^"]*\/50%% \$\$HOME\.ts"/);
  assertMatch(text, /^User=web$/m);
  assertMatch(text, /^WorkingDirectory=\/srv\/web$/m);
  for (const own of ["--user", "--directory"]) assertEquals(command.includes(own), false);
});

/** Starts the service as systemd would, and returns its output when it listens. */
async function startUnit(text: string, folder: string): Promise<string> {
  const [program, ...args] = /^ExecStart=(.*)$/m.exec(text)![1]!.split(" ");
  const assignments = [...text.matchAll(/^Environment=(WSS_\w+)=(.*)$/gm)].map(([, name, value]) => [name, value]);
  const env = Object.fromEntries(assignments) as Record<string, string>;
  const child = new Deno.Command(program!, { args, env, cwd: folder, stdin: "null", stdout: "piped", stderr: "piped" })
    .spawn();
  const stdout = new Transcript("standard output", child.stdout);
  const stderr = new Transcript("standard error", child.stderr);
  await stderr.until(/"message":"listening","url":"ws:.*\n/);
  child.kill("SIGTERM");
  assertEquals((await child.status).code, 0);
  await Promise.all([stdout.done, stderr.done]);
  return stderr.text;
}

Deno.test("the unit starts the service with the settings of flags, variables and the configuration file", async () => {
  const files = {
    "here/wss.json": '{ "path": "/file" }',
    "here/app.ts": 'export default { message(peer) { peer.send("own"); } };',
    "work/.keep": "",
  };
  const folder = await makeFolder(files);
  try {
    const here = join(folder, "here");
    const env = { WSS_MODE: "proxied", WSS_PORT: "1", WSS_APP: "app.ts", WSS_LOG_LEVEL: "" };
    const text = await unit(["--port", "0", "--directory", join(folder, "work")], { folder: here, env });
    assertEquals([...text.matchAll(/^Environment=(WSS_.*)$/gm)].map(([, set]) => set), [
      "WSS_MODE=proxied",
      `WSS_APP=${here}/app.ts`,
    ]);
    assertStringIncludes(text, `be able to read ${here}/wss.json.`);
    const output = await startUnit(text, join(folder, "work"));
    assertStringIncludes(output, `"app":"${here}/app.ts"`);
    assertStringIncludes(output, '"paths":"/file"');
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("the unit and the help name a program in a folder with a space, and the unit says who must be able to read it", async () => {
  const folder = await makeFolder({ "a folder/.keep": "" });
  try {
    const main = join(folder, "a folder", "main.ts");
    await Deno.copyFile(join(ROOT, "main.ts"), main);
    await Deno.chmod(main, 0o644);
    for (const name of ["deno.json", "deno.lock", "lib"]) {
      await Deno.symlink(join(ROOT, name), join(folder, "a folder", name));
    }
    const run = async (...args: string[]) => {
      const { code, stdout } = await runProgram(["run", "-q", "-A", main, ...args], { binary: Deno.execPath() });
      assertEquals(code, 0);
      return stdout;
    };
    assertStringIncludes(await run("unit"), ` run -q -A "${main}"\n`);
    assertStringIncludes(await run("--help"), "/a folder/main.ts'\n");
    const required = `# The user wss must be able to read ${main}, and to open the folders above it.\n`;
    await Deno.chmod(folder, 0o700);
    assertStringIncludes(await run("unit"), required);
    assertEquals((await run("unit", "--user", "root")).includes(required), false);
    await Deno.chmod(folder, 0o755);
    assertEquals((await run("unit")).includes(required), false);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("the unit uses the configuration file in --directory, unless the current folder or a variable has one", async () => {
  const port = (number: number) => JSON.stringify({ port: number, mode: "proxied" });
  const folder = await makeFolder({ "work/wss.json": port(443), "here/wss.json": port(8000), "none/.keep": "" });
  try {
    const configOf = async (from: string, env = {}) => {
      const text = await unit(["--directory", join(folder, "work")], { folder: join(folder, from), env });
      return [/ --config (\S+)/.exec(text)?.[1], /^AmbientCapabilities=(.*)$/m.exec(text)?.[1]];
    };
    assertEquals(await configOf("none"), [join(folder, "work/wss.json"), "CAP_NET_BIND_SERVICE"]);
    assertEquals(await configOf("here"), [join(folder, "here/wss.json"), ""]);
    const named = { WSS_CONFIG: "../here/wss.json" };
    assertEquals(await configOf("none", named), [join(folder, "here/wss.json"), ""]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("the unit lets the service create the sockets of --unix and --admin, and bind their ports", async () => {
  const lines = async (args: readonly string[]) => {
    const text = await unit(args);
    return ["RuntimeDirectory", "ReadWritePaths", "AmbientCapabilities"].map((name) =>
      new RegExp(`^${name}=(.*)$`, "m").exec(text)?.[1]
    );
  };
  const proxied = (socket: string) => ["--mode", "proxied", "--unix", socket];
  const none = ["/var/lib/wss", ""];
  assertEquals(await lines(["--admin", "unix:/run/wss/admin.sock"]), ["wss", ...none]);
  assertEquals(await lines([...proxied("/var/run/a/b/x.sock"), "--admin", "unix:/run/c/y"]), ["a/b c", ...none]);
  assertEquals(await lines([...proxied("/run/wss/x"), "--admin", "unix:/run/wss/y"]), ["wss", ...none]);
  assertEquals(await lines([...proxied("run/x"), "--admin", "unix:y"]), [undefined, ...none]);
  assertEquals(await lines(proxied("/var/lib/wss-sock/x")), [undefined, "/var/lib/wss /var/lib/wss-sock", ""]);
  assertStringIncludes(await unit(proxied("/var/lib/wss-sock/x")), "# The folder /var/lib/wss-sock must exist");
  assertEquals(await lines(["--admin", "unix:/srv/$x 1%/y"]), [undefined, '/var/lib/wss "/srv/$x 1%%"', ""]);
  assertEquals(await lines(["--admin", "127.0.0.1:900"]), [undefined, "/var/lib/wss", "CAP_NET_BIND_SERVICE"]);
  const high = ["--domain", "example.com", "--port", "8443", "--acme-http-port", "8080"];
  assertEquals(await lines(high), [undefined, ...none]);
});

Deno.test("unit refuses options with which the service cannot start, and secrets", async () => {
  const refused = async (args: readonly string[], env = {}) => {
    const { code, stdout, stderr } = await runProgram(["unit", ...args], { env });
    assertEquals([code, stdout], [2, ""]);
    return stderr;
  };
  const inRun = await refused(["--mode", "proxied", "--unix", "/run/wss.sock", "--admin", "unix:/var/run/admin.sock"]);
  assertMatch(inRun, /--unix: only root may create files in \/run, .*: \/run\/wss\/wss\.sock$/m);
  assertMatch(inRun, /--admin: only root .*: \/run\/wss\/admin\.sock$/m);
  assertMatch(await refused(["--admin", "unix:/tmp/admin.sock"]), /PrivateTmp.*\/run\/wss\/admin\.sock$/m);
  assertMatch(await refused(["--workers", "many"]), /--workers: must be auto or a number/);
  assertMatch(await refused(["--check"]), /unknown option --check/);
  assertMatch(await refused(["--app", "./a\nExecStart=x"]), /--app: a value without control characters is required/);

  const files = ["--cert", "cert.pem", "--key", "key.pem"];
  const secrets = [
    await refused(files, { WSS_KEY_PASSPHRASE: "hunter2" }),
    await refused([], { WSS_BROKER: "nats://u:hunter2@127.0.0.1" }),
    await refused(["--broker", "nats://u:hunter2@127.0.0.1"]),
  ];
  assertMatch(secrets[0]!, /WSS_KEY_PASSPHRASE: .*: use --key-passphrase-file$/m);
  assertMatch(secrets[1]!, /WSS_BROKER: .*: use --broker-credentials-file$/m);
  assertMatch(secrets[2]!, /--broker: .*: use --broker-credentials-file$/m);
  for (const text of secrets) assertEquals(text.includes("hunter2"), false);
});

Deno.test("unit rejects an invalid user and arguments", async () => {
  const { code, stderr } = await runProgram(["unit", "--user", "no such user!"]);
  assertEquals(code, 2);
  assertStringIncludes(stderr, "--user: must be the name of a system user");
  const argument = await runProgram(["unit", "wss.service"]);
  assertEquals(argument.code, 2);
  assertStringIncludes(argument.stderr, "unit takes no arguments");
});
