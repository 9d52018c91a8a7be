import { assertEquals, assertStringIncludes } from "@std/assert";
import { dirname, join } from "node:path";
import { createLogger } from "../../lib/log.ts";
import { resolveWatchPaths } from "../../lib/tls/symlink_paths.ts";
import { watchFiles, type WatchOptions } from "../../lib/tls/watch_files.ts";
import { until } from "../support/until.ts";

/** How long a test waits for an event, ms. Busy machines can be slow. */
const PATIENCE = 20_000;

/** A temporary folder with a watch whose reports can be awaited. */
class WatchedFolder implements AsyncDisposable {
  readonly folder = Deno.realPathSync(Deno.makeTempDirSync());
  readonly lines: string[] = [];
  reports = 0;
  #watch: AsyncDisposable | undefined;
  #wake = Promise.withResolvers<void>();

  path(...names: string[]): string {
    return join(this.folder, ...names);
  }

  write(name: string, content: string): void {
    Deno.mkdirSync(dirname(this.path(name)), { recursive: true });
    Deno.writeTextFileSync(this.path(name), content);
  }

  watch(names: readonly string[], options: WatchOptions = {}, onChange?: () => Promise<void>): void {
    const log = createLogger({ write: (line) => this.lines.push(line) });
    const paths = names.map((name) => this.path(name));
    this.#watch = watchFiles(paths, () => {
      this.reports++;
      this.#wake.resolve();
      this.#wake = Promise.withResolvers();
      return onChange?.();
    }, { log, settle: 30, ...options });
  }

  /** Waits for a number of reports. */
  async reported(count: number): Promise<void> {
    const late = Promise.withResolvers<void>();
    const timer = setTimeout(() => late.reject(new Error(`${this.reports} reports, not ${count}`)), PATIENCE);
    try {
      while (this.reports < count) await Promise.race([this.#wake.promise, late.promise]);
    } finally {
      clearTimeout(timer);
    }
    assertEquals(this.reports, count);
  }

  async stop(): Promise<void> {
    await this.#watch?.[Symbol.asyncDispose]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    await Deno.remove(this.folder, { recursive: true });
  }
}

Deno.test("reports each change once: written in place, renamed over, removed and created again", async () => {
  await using it = new WatchedFolder();
  it.write("cert.pem", "cert 1");
  it.write("key.pem", "key 1");
  it.watch(["cert.pem", "key.pem"]);
  it.write("cert.pem", "cert 2");
  it.write("key.pem", "key 2");
  await it.reported(1);
  it.write("passing", "cert 3");
  Deno.renameSync(it.path("passing"), it.path("cert.pem"));
  await it.reported(2);
  Deno.removeSync(it.path("key.pem"));
  it.write("key.pem", "key 4");
  await it.reported(3);
});

Deno.test("does not report reads, touches, writes of the same content, and other files", async () => {
  await using it = new WatchedFolder();
  it.write("cert.pem", "cert 1");
  it.watch(["cert.pem"], { poll: 20 });
  Deno.readTextFileSync(it.path("cert.pem"));
  Deno.utimeSync(it.path("cert.pem"), new Date(), new Date());
  it.write("cert.pem", "cert 1");
  it.write("other.pem", "other");
  // If one of these changes were reported, the next report would be the second.
  await new Promise((resolve) => setTimeout(resolve, 300));
  it.write("cert.pem", "cert 2");
  await it.reported(1);
});

Deno.test("detects a symbolic link that is changed to a newer file (certbot)", async () => {
  await using it = new WatchedFolder();
  for (const version of [1, 2]) it.write(`archive/x/cert${version}.pem`, `cert ${version}`);
  Deno.mkdirSync(it.path("live", "x"), { recursive: true });
  Deno.symlinkSync("../../archive/x/cert1.pem", it.path("live/x/cert.pem"));
  it.watch(["live/x/cert.pem"]);
  Deno.removeSync(it.path("live/x/cert.pem"));
  Deno.symlinkSync("../../archive/x/cert2.pem", it.path("live/x/cert.pem"));
  await it.reported(1);
  it.write("archive/x/cert2.pem", "cert 2, mended");
  await it.reported(2);
});

Deno.test("detects each swap of a folder's symbolic link (Kubernetes)", async () => {
  await using it = new WatchedFolder();
  const publish = (version: number) => {
    for (const name of ["tls.crt", "tls.key"]) it.write(`..v${version}/${name}`, `${name} ${version}`);
    Deno.symlinkSync(`..v${version}`, it.path("..data_tmp"));
    Deno.renameSync(it.path("..data_tmp"), it.path("..data"));
    if (version > 1) Deno.removeSync(it.path(`..v${version - 1}`), { recursive: true });
  };
  publish(1);
  for (const name of ["tls.crt", "tls.key"]) Deno.symlinkSync(`..data/${name}`, it.path(name));
  it.watch(["tls.crt", "tls.key"]);
  for (const version of [2, 3, 4]) {
    publish(version);
    await it.reported(version - 1);
  }
});

Deno.test("detects a changed symbolic link higher up in the path (releases/current)", async () => {
  await using it = new WatchedFolder();
  for (const version of [1, 2]) it.write(`release${version}/tls/cert.pem`, `cert ${version}`);
  Deno.symlinkSync("release1", it.path("current"));
  it.watch(["current/tls/cert.pem"]);
  Deno.symlinkSync(it.path("release2"), it.path("next"));
  Deno.renameSync(it.path("next"), it.path("current"));
  await it.reported(1);
  it.write("release2/tls/cert.pem", "cert 2, mended");
  await it.reported(2);
});

Deno.test("detects a replaced folder by the periodic comparison, because no event is raised", async () => {
  await using it = new WatchedFolder();
  it.write("tls/cert.pem", "cert 1");
  it.write("new/cert.pem", "cert 2");
  it.watch(["tls/cert.pem"], { poll: 50 });
  Deno.renameSync(it.path("tls"), it.path("old"));
  Deno.renameSync(it.path("new"), it.path("tls"));
  await it.reported(1);
  it.write("tls/cert.pem", "cert 3");
  await it.reported(2);
});

Deno.test("waits for a folder that does not exist, and logs a missing file once", async () => {
  await using it = new WatchedFolder();
  it.watch(["later/cert.pem"], { poll: 20 });
  await new Promise((resolve) => setTimeout(resolve, 200));
  assertEquals(
    it.lines.filter((line) => line.includes("later/cert.pem cannot be read")).length,
    1,
    it.lines.join("\n"),
  );
  it.write("later/cert.pem", "cert 1");
  await it.reported(1);
});

Deno.test("reports a write in several parts only when it is complete", async () => {
  await using it = new WatchedFolder();
  it.write("cert.pem", "cert 1");
  const seen: string[] = [];
  it.watch(["cert.pem"], { settle: 2_000 }, () => {
    seen.push(Deno.readTextFileSync(it.path("cert.pem")));
    return Promise.resolve();
  });
  // Writes for longer than the settling time, with much shorter pauses.
  let content = "";
  for (let part = 0; part < 60; part++) {
    content += `part ${part}\n`;
    it.write("cert.pem", content);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  await it.reported(1);
  assertEquals(seen, [content]);
});

Deno.test("calls onChange without overlap, and logs its errors and continues", async () => {
  await using it = new WatchedFolder();
  it.write("cert.pem", "cert 1");
  let running = 0;
  let most = 0;
  it.watch(["cert.pem"], {}, async () => {
    most = Math.max(most, ++running);
    it.write("cert.pem", `written while report ${it.reports} runs`.slice(0, it.reports < 3 ? undefined : 7));
    await new Promise((resolve) => setTimeout(resolve, 100));
    running--;
    if (it.reports === 1) throw new Error("key and certificate differ");
  });
  it.write("cert.pem", "cert 2");
  await it.reported(1);
  await it.reported(2);
  await it.reported(3);
  assertEquals(most, 1);
  assertStringIncludes(it.lines.join("\n"), "key and certificate differ");
});

Deno.test("reports nothing after it is disposed of, even during a change", async () => {
  await using it = new WatchedFolder();
  it.write("cert.pem", "cert 1");
  it.watch(["cert.pem"], { settle: 100 });
  it.write("cert.pem", "cert 2");
  await new Promise((resolve) => setTimeout(resolve, 150));
  await it.stop();
  const before = it.reports;
  it.write("cert.pem", "cert 3");
  await new Promise((resolve) => setTimeout(resolve, 400));
  assertEquals(it.reports, before);
});

Deno.test("resolves each symbolic link on the path and the file itself, and stops at a loop", async () => {
  await using it = new WatchedFolder();
  it.write("real/cert.pem", "cert");
  Deno.symlinkSync("real", it.path("one"));
  Deno.symlinkSync("one/cert.pem", it.path("two"));
  const { folders, watched } = resolveWatchPaths([it.path("two")]);
  assertEquals(folders, [it.folder, it.path("real")]);
  assertEquals(watched, new Set([it.path("two"), it.path("one"), it.path("real/cert.pem"), ...folders]));
  Deno.symlinkSync("loop", it.path("loop"));
  assertEquals(resolveWatchPaths([it.path("loop", "cert.pem")]).folders.includes(it.folder), true);
});

Deno.test("detects a folder that is removed and created again, and a replaced parent folder", async () => {
  await using it = new WatchedFolder();
  it.write("certs/live/cert.pem", "cert 1");
  it.watch(["certs/live/cert.pem"]);
  Deno.removeSync(it.path("certs/live"), { recursive: true });
  it.write("certs/live/cert.pem", "cert 2");
  await it.reported(1);
  // The folder is missing for some time, so nothing can be watched.
  Deno.removeSync(it.path("certs"), { recursive: true });
  await until(() => it.lines.some((line) => line.includes("cannot be read")));
  it.write("certs/live/cert.pem", "cert 3");
  await it.reported(2);
  it.write("next/live/cert.pem", "cert 4");
  Deno.renameSync(it.path("certs"), it.path("before"));
  Deno.renameSync(it.path("next"), it.path("certs"));
  await it.reported(3);
});

Deno.test("waits for a missing file or treats it as empty, and names it in the log", async () => {
  for (const missingIsEmpty of [false, true]) {
    await using it = new WatchedFolder();
    it.write("tokens", "secret");
    it.watch(["tokens"], { missingIsEmpty, what: "the file of tokens", poll: 20 });
    Deno.removeSync(it.path("tokens"));
    if (missingIsEmpty) await it.reported(1);
    else await until(() => it.lines.length > 0);
    assertEquals(it.lines.some((line) => line.includes("certificate")), false);
    it.write("tokens", missingIsEmpty ? "secret" : "another");
    await it.reported(missingIsEmpty ? 2 : 1);
  }
});
