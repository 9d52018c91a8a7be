/**
 * Starts the real nginx, Apache, HAProxy and Caddy for a test. Each has its own port and writes only to a temporary
 * folder.
 *
 *     await using proxy = await startProxy("nginx", (port) => `server { listen ${port}; … }`);
 */
import { join } from "node:path";
import { freePort } from "./ports.ts";
import { childrenOf } from "./proc.ts";
import { pipeLines, portAccepts } from "./processes.ts";

export type ProxyKind = "nginx" | "apache" | "haproxy" | "caddy";

/** A running proxy. Disposing of it stops the proxy and removes its folder. */
export interface RunningProxy extends AsyncDisposable {
  readonly port: number;
  /** The main process. */
  readonly pid: number;
  /** The text in its log and on its standard error. */
  log(): string;
  /** Makes the proxy reload its configuration. Resolves when the reload command has finished. */
  reload(): Promise<void>;
  /** Stops it with `SIGTERM` (Apache takes 10 s with open WebSockets), or kills it and its workers with `SIGKILL`. */
  stop(signal?: "SIGTERM" | "SIGKILL"): Promise<void>;
}

const PROGRAMS = { nginx: "nginx", apache: "apache2", haproxy: "haproxy", caddy: "caddy" } as const;

const MODULES = [
  ...["mpm_event", "authz_core", "dir", "mime", "alias", "headers", "ssl", "socache_shmcb", "proxy", "proxy_http"],
  ...["proxy_wstunnel", "proxy_balancer", "slotmem_shm", "lbmethod_bybusyness", "reqtimeout"],
];

/** Whether the program is installed. Throws if it is missing and required (WSS_TEST_PEERS=required). */
export async function hasProxy(kind: ProxyKind): Promise<boolean> {
  try {
    const version = kind === "caddy" ? "version" : "-v";
    await new Deno.Command(PROGRAMS[kind], { args: [version], stdout: "null", stderr: "null" }).output();
    return true;
  } catch (error) {
    if (Deno.env.get("WSS_TEST_PEERS") === "required") throw error;
    // deno-lint-ignore no-console -- shows which peer was skipped
    console.warn(`SKIPPED: ${PROGRAMS[kind]} is not installed`);
    return false;
  }
}

/** The configuration around a generated site: the writable folders and the user. */
function surround(kind: ProxyKind, folder: string, text: string, without: readonly string[] = []): string {
  const root = Deno.uid() === 0;
  switch (kind) {
    case "nginx":
      return [
        ...(root ? ["user root;"] : []),
        `daemon off; pid ${folder}/pid; error_log stderr notice; worker_processes 2;`,
        `events { worker_connections 4096; }`,
        `http { access_log off;`,
        ...["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((name) => `${name}_temp_path ${folder}/${name};`),
        text,
        `}`,
      ].join("\n");
    case "apache":
      return [
        ...MODULES.filter((name) => !without.includes(name)).map((name) =>
          `LoadModule ${name}_module /usr/lib/apache2/modules/mod_${name}.so`
        ),
        ...(root ? ["User www-data", "Group www-data"] : []),
        `ServerName localhost`,
        `ServerRoot ${folder}`,
        `DefaultRuntimeDir ${folder}`,
        `PidFile ${folder}/pid`,
        `ErrorLog ${folder}/error.log`,
        `TypesConfig /dev/null`,
        text,
      ].join("\n");
    case "haproxy":
      return text;
    case "caddy": {
      const socket = `admin unix/${folder}/admin.sock`;
      return /^\{$/m.test(text) ? text.replace(/^\{$/m, `{\n    ${socket}`) : `{\n${socket}\n}\n${text}`;
    }
  }
}

interface Invocation {
  readonly check: string[];
  readonly run: string[];
  readonly env: Record<string, string>;
}

function invocation(kind: ProxyKind, folder: string): Invocation {
  const file = join(folder, "configuration");
  const env = { HOME: folder, XDG_DATA_HOME: folder, XDG_CONFIG_HOME: folder };
  switch (kind) {
    case "nginx":
      return { check: ["-t", "-c", file], run: ["-c", file], env };
    case "apache":
      return { check: ["-t", "-f", file], run: ["-D", "FOREGROUND", "-f", file], env };
    case "haproxy":
      return { check: ["-c", "-f", file], run: ["-W", "-f", file], env };
    case "caddy": {
      const named = ["--config", file, "--adapter", "caddyfile"];
      return { check: ["validate", ...named], run: ["run", ...named], env };
    }
  }
}

async function makeFolder(): Promise<string> {
  const folder = await Deno.makeTempDir({ prefix: "wss-proxy-" });
  // Workers run as another user and read the website in this folder.
  await Deno.chmod(folder, 0o755);
  return folder;
}

/**
 * Runs the program's own configuration check.
 * @param without the Apache modules to leave out
 */
export async function checkProxy(
  kind: ProxyKind,
  text: string,
  without: readonly string[] = [],
): Promise<{ success: boolean; output: string }> {
  const folder = await makeFolder();
  try {
    await Deno.writeTextFile(join(folder, "configuration"), surround(kind, folder, text, without));
    const { check: args, env } = invocation(kind, folder);
    const { success, stdout, stderr } = await new Deno.Command(PROGRAMS[kind], { args, env }).output();
    const decoder = new TextDecoder();
    return { success, output: decoder.decode(stdout) + decoder.decode(stderr) };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/**
 * Starts a proxy and waits until its port accepts connections. Retries if another process takes the port meanwhile.
 * @param configuration makes the text for a free port, and for one further free port per name that it requests
 */
export async function startProxy(
  kind: ProxyKind,
  configuration: (port: number, other: (name: string) => number) => string | Promise<string>,
): Promise<RunningProxy> {
  for (let attempt = 1;; attempt++) {
    try {
      return await start(kind, configuration);
    } catch (error) {
      if (attempt === 3 || !/in use|EADDRINUSE/i.test(String(error))) throw error;
    }
  }
}

async function start(kind: ProxyKind, configuration: Parameters<typeof startProxy>[1]): Promise<RunningProxy> {
  const folder = await makeFolder();
  const ports = new Map<string, number>();
  const other = (name: string) => ports.get(name) ?? ports.set(name, freePort()).get(name)!;
  const port = freePort();
  const text = surround(kind, folder, await configuration(port, other));
  await Deno.writeTextFile(join(folder, "configuration"), text);
  const { run: args, env } = invocation(kind, folder);
  const child = new Deno.Command(PROGRAMS[kind], { args, env, stdin: "null", stdout: "piped", stderr: "piped" })
    .spawn();
  const lines: string[] = [];
  const drained = Promise.all([pipeLines(child.stdout, lines), pipeLines(child.stderr, lines)]);

  const log = () => lines.join("\n") + (kind === "apache" ? "\n" + readIfThere(join(folder, "error.log")) : "");
  const stop = async (signal: "SIGTERM" | "SIGKILL" = "SIGTERM") => {
    // Workers continue to run after their main process is killed.
    const workers = signal === "SIGKILL" ? childrenOf(child.pid) : [];
    for (const pid of [child.pid, ...workers]) kill(pid, signal);
    await child.status;
    await drained;
  };
  const clean = async () => {
    await stop();
    await Deno.remove(folder, { recursive: true });
  };
  try {
    await portAccepts(port, child.status);
    // nginx opens a second socket for IPv6 after that for IPv4.
    if (text.includes(`[::]:${port}`)) await portAccepts(port, child.status, "::1");
  } catch (error) {
    await clean().catch(() => {});
    throw new Error(`${kind} does not listen: ${String(error)}\n${log()}`);
  }
  return {
    port,
    pid: child.pid,
    log,
    stop,
    async reload() {
      if (kind !== "caddy") {
        return kill(child.pid, ({ nginx: "SIGHUP", apache: "SIGUSR1", haproxy: "SIGUSR2" } as const)[kind]);
      }
      const named = ["--config", join(folder, "configuration"), "--adapter", "caddyfile", "--force"];
      const { success, stderr } = await new Deno.Command("caddy", {
        args: ["reload", ...named, "--address", `unix/${folder}/admin.sock`],
        env,
      }).output();
      if (!success) throw new Error(new TextDecoder().decode(stderr));
    },
    [Symbol.asyncDispose]: clean,
  };
}

function kill(pid: number, signal: Deno.Signal): void {
  try {
    Deno.kill(pid, signal);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound || error instanceof TypeError)) throw error;
  }
}

function readIfThere(path: string): string {
  try {
    return Deno.readTextFileSync(path);
  } catch {
    return "";
  }
}
