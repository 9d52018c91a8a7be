/**
 * Builds a Dockerfile and runs its container without a Docker engine. The steps run in a chroot. The container runs in
 * its own mount and PID namespaces, where the program is process 1. The base image is this system's /usr with this Deno
 * in it.
 * @module
 */
import { dirname, join } from "node:path";
import { Transcript } from "./transcript.ts";
import { ROOT } from "./program.ts";

/** An instruction of a Dockerfile. */
interface Instruction {
  readonly name: string;
  readonly text: string;
}

/** Parses a Dockerfile. A backslash at the end of a line continues the line. */
function parseDockerfile(text: string): Instruction[] {
  return text.replaceAll(/\\\n\s*/g, "").split("\n").filter((line) => /^[A-Z]/.test(line)).map((line) => {
    const [, name, rest] = /^([A-Z]+)\s+(.*)$/.exec(line)!;
    return { name: name!, text: rest! };
  });
}

/** Whether this process can create namespaces. This requires root, and a kernel that allows it inside a container. */
export function canRunContainers(): boolean {
  try {
    const { success } = new Deno.Command("unshare", {
      args: ["-mpf", "--kill-child", "mount", "-t", "tmpfs", "none", "/mnt"],
      stdout: "null",
      stderr: "null",
    }).outputSync();
    return Deno.uid() === 0 && success;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** The user ID that the image denoland/deno uses. */
export const CONTAINER_USER = 1993;
const SYSTEM_PATH = "/opt/deno:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** Options of a container. */
export interface ContainerOptions {
  /** The mounted folders, keyed by mount path. */
  readonly volumes?: Readonly<Record<string, string>>;
  readonly env?: Readonly<Record<string, string>>;
}

/** A running container. Disposing of it kills it. */
export interface Container extends AsyncDisposable {
  /** The PID of process 1 outside the container. */
  readonly pid: number;
  readonly stdout: Transcript;
  readonly stderr: Transcript;
  readonly exited: Promise<number>;
}

/** An image built from a Dockerfile. Disposing of it removes it. */
export class Image implements AsyncDisposable {
  readonly root: string;
  readonly env: Record<string, string> = { PATH: SYSTEM_PATH, HOME: "/tmp", DENO_NO_UPDATE_CHECK: "1" };
  user = "root";
  directory = "/";
  entrypoint: readonly string[] = [];

  private constructor(root: string) {
    this.root = root;
  }

  /**
   * Runs the steps of the Dockerfile.
   * @param seed prepares the file system before the first step, in place of downloads
   */
  static async build(dockerfile: string, seed: (root: string) => Promise<void>): Promise<Image> {
    const image = new Image(await Deno.makeTempDir({ prefix: "wss-image-" }));
    try {
      await image.#base();
      await seed(image.root);
      for (const { name, text } of parseDockerfile(dockerfile)) await image.#step(name, text);
    } catch (error) {
      await image[Symbol.asyncDispose]();
      throw error;
    }
    return image;
  }

  async #base(): Promise<void> {
    for (const folder of ["usr", "etc", "proc", "dev", "tmp", "opt/deno"]) {
      await Deno.mkdir(join(this.root, folder), { recursive: true });
    }
    await Deno.chmod(this.root, 0o755);
    await Deno.chmod(join(this.root, "tmp"), 0o1777);
    for (const name of ["bin", "sbin", "lib", "lib64"]) await Deno.symlink(`usr/${name}`, join(this.root, name));
    for (const device of ["null", "zero", "urandom"]) await Deno.writeTextFile(join(this.root, "dev", device), "");
    await Deno.writeTextFile(join(this.root, "opt/deno/deno"), "");
    await Deno.writeTextFile(
      join(this.root, "etc/passwd"),
      `root:x:0:0::/root:/bin/sh\ndeno:x:${CONTAINER_USER}:${CONTAINER_USER}::/home/deno:/bin/sh\n`,
    );
    await Deno.writeTextFile(join(this.root, "etc/group"), `root:x:0:\ndeno:x:${CONTAINER_USER}:\n`);
    for (const file of ["resolv.conf", "hosts", "nsswitch.conf"]) {
      await Deno.copyFile(join("/etc", file), join(this.root, "etc", file)).catch(() => {});
    }
  }

  async #step(name: string, text: string): Promise<void> {
    switch (name) {
      case "FROM":
      case "EXPOSE":
        return;
      case "ENV":
        for (const [, key, value] of text.matchAll(/(\w+)=(\S+)/g)) this.env[key!] = value!;
        return;
      case "WORKDIR":
        this.directory = text;
        return await Deno.mkdir(join(this.root, text), { recursive: true });
      case "USER":
        this.user = text;
        return;
      case "COPY": {
        const words = text.split(/\s+/);
        const target = join(this.root, this.directory, words.at(-1)!);
        for (const source of words.slice(0, -1)) await this.#copy(source, target, words.at(-1)!.endsWith("/"));
        return;
      }
      case "RUN": {
        const { code, stderr } = await this.#unshared(["sh", "-c", text], false, {}).output();
        if (code !== 0) throw new Error(`RUN ${text}: exit code ${code}\n${new TextDecoder().decode(stderr)}`);
        return;
      }
      case "ENTRYPOINT":
        this.entrypoint = JSON.parse(text) as string[];
        return;
      default:
        throw new Error(`the Dockerfile has ${name}, which is not run here`);
    }
  }

  async #copy(source: string, target: string, intoFolder: boolean): Promise<void> {
    const isFolder = (await Deno.stat(join(ROOT, source))).isDirectory;
    const place = isFolder || !intoFolder ? target : join(target, source);
    await Deno.mkdir(dirname(place), { recursive: true });
    const { success } = await new Deno.Command("cp", { args: ["-RT", join(ROOT, source), place] }).output();
    if (!success) throw new Error(`COPY ${source}`);
  }

  /** Builds a command that runs in the image as process 1, with this system's network. */
  #unshared(words: readonly string[], readOnly: boolean, options: ContainerOptions): Deno.Command {
    const { volumes = {}, env = {} } = options;
    const bind = (from: string, to: string, ro = true) => [
      `mount --bind '${from}' '${this.root}${to}'`,
      ...(ro ? [`mount -o remount,bind,ro '${this.root}${to}'`] : []),
    ];
    const user = this.user === "root" ? [] : [
      ...["setpriv", `--reuid=${CONTAINER_USER}`, `--regid=${CONTAINER_USER}`, "--clear-groups", "--no-new-privs"],
      ...["--bounding-set=-all", "--inh-caps=-all"],
    ];
    const script = [
      "set -e",
      "mount --make-rprivate /",
      `mount --bind '${this.root}' '${this.root}'`,
      ...bind("/usr", "/usr"),
      ...bind(Deno.realPathSync(Deno.execPath()), "/opt/deno/deno"),
      ...["null", "zero", "urandom"].flatMap((device) => bind(`/dev/${device}`, `/dev/${device}`, false)),
      `mount -t proc proc '${this.root}/proc'`,
      ...(readOnly ? [`mount -t tmpfs -o mode=1777 tmpfs '${this.root}/tmp'`] : []),
      ...Object.entries(volumes).flatMap(([to, from]) => bind(from, to, false)),
      ...(readOnly ? [`mount -o remount,bind,ro '${this.root}'`] : []),
      `exec chroot '${this.root}' sh -c 'cd "$0" && exec "$@"' '${this.directory}' "$@"`,
    ].join("\n");
    return new Deno.Command("unshare", {
      args: ["-mpf", "--kill-child", "sh", "-c", script, "sh", ...user, ...words],
      clearEnv: true,
      env: { ...this.env, ...env },
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    });
  }

  /**
   * Starts the container with arguments appended to its entry point. Its file system is read-only except for /tmp and
   * the volumes.
   */
  async run(args: readonly string[], options: ContainerOptions = {}): Promise<Container> {
    for (const path of Object.keys(options.volumes ?? {})) await Deno.mkdir(join(this.root, path), { recursive: true });
    const child = this.#unshared([...this.entrypoint, ...args], true, options).spawn();
    const stdout = new Transcript("standard output", child.stdout);
    const stderr = new Transcript("standard error", child.stderr);
    let running = true;
    const exited = child.status.then(({ code }) => {
      running = false;
      return code;
    });
    async function dispose(): Promise<void> {
      // When unshare ends, process 1 ends, and the kernel then kills every other process of the namespace.
      if (running) child.kill("SIGKILL");
      await Promise.all([exited, stdout.done, stderr.done]);
    }
    try {
      await stderr.until(/"message":"listening"/);
    } catch (error) {
      await dispose();
      throw error;
    }
    const children = await Deno.readTextFile(`/proc/${child.pid}/task/${child.pid}/children`);
    return { pid: Number(children.trim()), stdout, stderr, exited, [Symbol.asyncDispose]: dispose };
  }

  /** Runs another command in a container with the image's file system, and waits until the command ends. */
  async exec(words: readonly string[]): Promise<{ code: number; stdout: string; stderr: string }> {
    const { code, stdout, stderr } = await this.#unshared(words, true, {}).output();
    const decoder = new TextDecoder();
    return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.root, { recursive: true });
  }
}
