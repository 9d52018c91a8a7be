import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { join } from "node:path";
import { dialUpgradedUnix, exchangeEcho } from "../../support/raw.ts";
import { ServerProcess } from "../process.ts";

const CONFIG = new URL("../../../deno.json", import.meta.url).pathname;

async function withFolder(test: (path: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await test(join(folder, "wss.sock"));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("a unix socket: a stale file is replaced, a live one and a plain file are errors", () =>
  withFolder(async (path) => {
    const address = { transport: "unix", mode: 0o600, path } as const;
    {
      await using killed = await ServerProcess.start({ address });
      assertEquals(killed.started.addr.path, path);
      (await dialUpgradedUnix(path)).close();
      await using second = await ServerProcess.start({ address });
      assertMatch(second.failed ?? "it started", /^StartError: Cannot listen on .*another program listens on it/);
    }
    assert(Deno.lstatSync(path).isSocket, "a killed service leaves its file");
    {
      await using server = await ServerProcess.start({ address });
      assertEquals(server.failed, undefined);
      (await dialUpgradedUnix(path)).close();
      await server.ask("close");
      assert(!Array.from(Deno.readDirSync(join(path, ".."))).some(({ name }) => name === "wss.sock"));
    }
    await Deno.writeTextFile(path, "precious");
    await using server = await ServerProcess.start({ address });
    assertMatch(server.failed ?? "it started", /^StartError: Cannot listen on .*the file there is not a socket/);
    assertEquals(await Deno.readTextFile(path), "precious");
  }));

Deno.test("a unix socket: a missing folder is an error that names it", () =>
  withFolder(async (path) => {
    await using server = await ServerProcess.start({
      address: { transport: "unix", mode: 0o600, path: join(path, "deeper") },
    });
    assertMatch(server.failed ?? "it started", /^StartError: Cannot listen on .*folder does not exist/);
  }));

Deno.test("a unix socket: a successor takes over without refusing a connection", () =>
  withFolder(async (path) => {
    const address = { transport: "unix", mode: 0o600, path } as const;
    await using server = await ServerProcess.start({ address });
    const held = await dialUpgradedUnix(path);
    let changing = true;
    let opened = 0;
    const loop = (async () => {
      while (changing) {
        (await dialUpgradedUnix(path)).close();
        opened++;
      }
    })();
    assertEquals(await server.ask("share"), true);
    await using successor = await ServerProcess.start({ address, takeover: true });
    assertEquals(successor.started.addr.path, path);
    assertEquals(await server.ask("stop"), true);
    const before = opened;
    await successor.settle((stat) => stat.opened > 10);
    changing = false;
    await loop;
    assert(opened > before);
    // The old one's end must not take the new one's file away.
    await server.ask("close");
    (await dialUpgradedUnix(path)).close();
    held.close();
  }));

Deno.test("a unix socket: after a failed hand-over the predecessor has the path again, and its connections stay open", () =>
  withFolder(async (path) => {
    const address = { transport: "unix", mode: 0o600, path } as const;
    await using server = await ServerProcess.start({ address });
    const held = await dialUpgradedUnix(path);
    const { ino } = Deno.lstatSync(path);
    assertEquals(await server.ask("share"), true);
    await server.ask("takeBack");
    assertEquals(Deno.lstatSync(path).ino, ino, "the path was never lost");
    {
      // A successor that removes its file.
      await using successor = await ServerProcess.start({ address, takeover: true });
      await successor.ask("close");
    }
    await assertRejects(() => Deno.connect({ transport: "unix", path }), Deno.errors.NotFound);
    await server.ask("takeBack");
    const second = await dialUpgradedUnix(path);
    {
      // A successor that is killed and leaves its file.
      await using _successor = await ServerProcess.start({ address, takeover: true });
    }
    await assertRejects(() => Deno.connect({ transport: "unix", path }), Deno.errors.ConnectionRefused);
    await server.ask("takeBack");
    const third = await dialUpgradedUnix(path);
    assertEquals(Deno.lstatSync(path).mode! & 0o777, 0o600);
    for (const connection of [held, second, third]) {
      await exchangeEcho(connection);
      connection.close();
    }
    assertEquals(await server.ask("stop"), true);
    assertEquals([...Deno.readDirSync(join(path, ".."))], []);
  }));

const OBSTACLES = {
  "its folder is missing": [
    (folder: string) => Deno.rename(folder, `${folder}-moved`),
    (folder: string) => Deno.rename(`${folder}-moved`, folder),
  ],
  "a folder is at the path": [
    (_: string, path: string) => Deno.mkdir(path),
    (_: string, path: string) => Deno.remove(path),
  ],
} as const;

for (const [obstacle, [hide, show]] of Object.entries(OBSTACLES)) {
  Deno.test(`a unix socket: after a failed hand-over, the path is used again after a time in which ${obstacle}`, () =>
    withFolder(async (path) => {
      const folder = join(path, "..");
      const address = { transport: "unix", mode: 0o600, path } as const;
      await using server = await ServerProcess.start({ address });
      assertEquals(await server.ask("share"), true);
      {
        await using successor = await ServerProcess.start({ address, takeover: true });
        await successor.ask("close");
      }
      await hide(folder, path);
      // The second failure does not wait for the path.
      for (let failure = 0; failure < 2; failure++) await server.ask("takeBack");
      await server.until(() => server.log.some(({ message }) => /no longer accepts/.test(message)));
      await show(folder, path);
      await server.until(() => server.log.some(({ message }) => /^Listening on .* again$/.test(message)));
      const connection = await dialUpgradedUnix(path);
      await exchangeEcho(connection);
      connection.close();
      assertEquals(await server.ask("stop"), true);
    }));
}

Deno.test("a unix socket: without a permission, the error names flags that are enough", () =>
  withFolder(async (path) => {
    const folder = join(path, "..");
    const script = join(folder, "listen.ts");
    const url = (file: string) => JSON.stringify(new URL(`../../../lib/${file}`, import.meta.url).href);
    await Deno.writeTextFile(
      script,
      `import { Listener } from ${url("net/listener/listener.ts")};
      import { silent } from ${url("log.ts")};
      const address = { transport: "unix", path: ${JSON.stringify(path)}, mode: 0o600 };
      await Listener.open({ address, log: silent, handler: () => new Response() })
        .then(() => console.log("listens"), (error) => console.log(error.message));
      Deno.exit(0);`,
    );
    const run = async (permissions: readonly string[]) => {
      const args = ["run", "--no-prompt", "--no-check", "--config", CONFIG, ...permissions, script];
      const { stdout } = await new Deno.Command(Deno.execPath(), { args, stderr: "inherit" }).output();
      return new TextDecoder().decode(stdout).trim();
    };
    const message = new RegExp(`^Cannot listen on ${path}: Deno has no permission; add (--allow-.*)$`);
    // The process does not remove its file, so the later ones find a stale socket.
    for (const permissions of [[], ["--allow-read"], ["--allow-read", "--allow-write"]]) {
      const advice = message.exec(await run(permissions))?.[1];
      assertEquals(await run(advice?.split(" ") ?? []), "listens", `${permissions}: ${advice}`);
    }
  }));
