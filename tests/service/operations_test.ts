/**
 * The page on operations (lib/service/README.md). Its Dockerfile is built and run as far as possible without a Docker
 * engine. Its compose file and Kubernetes manifests are compared with the behaviour of the service.
 */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { parse } from "@std/yaml/parse";
import { delay } from "@std/async/delay";
import { join } from "node:path";
import project from "../../deno.json" with { type: "json" };
import { parseDuration } from "../../lib/duration_and_size.ts";
import { Client } from "../support/client.ts";
import { canRunContainers, type Container, CONTAINER_USER, Image } from "../support/container.ts";
import { copyPackages } from "../support/npm_cache.ts";
import { makeFolder, ROOT, runProgram } from "../support/program.ts";
import { Transcript } from "../support/transcript.ts";

const PAGE = await Deno.readTextFile(join(ROOT, "lib/service/README.md"));

/** Returns the code block after the comment with this name. */
function snippet(name: string): string {
  const block = new RegExp(`<!-- ${name} -->\\s+\`\`\`\\w+\\n([^]*?)\`\`\``).exec(PAGE);
  if (block === null) throw new Error(`the page has no ${name}`);
  return block[1]!;
}

interface Compose {
  readonly services: Readonly<
    Record<string, {
      readonly command?: readonly string[];
      readonly healthcheck?: { readonly test: readonly string[] };
      readonly volumes?: readonly string[];
      readonly tmpfs?: readonly string[];
      readonly read_only?: boolean;
      readonly stop_grace_period?: string;
    }>
  >;
}

interface Probe {
  readonly httpGet: { readonly path: string; readonly port: string; readonly scheme: string };
}

interface Deployment {
  readonly spec: {
    readonly template: {
      readonly spec: {
        readonly terminationGracePeriodSeconds: number;
        readonly securityContext: Readonly<Record<string, unknown>>;
        readonly containers: readonly {
          readonly args: readonly string[];
          readonly startupProbe: Probe;
          readonly readinessProbe: Probe;
          readonly livenessProbe: Probe;
          readonly lifecycle: { readonly preStop: { readonly exec: { readonly command: readonly string[] } } };
          readonly volumeMounts: readonly { readonly name: string; readonly mountPath: string }[];
        }[];
      };
    };
  };
}

// deno-std has no types, so the parsed values are cast here.
const compose = parse(snippet("compose\\.yaml")) as Compose;
const deployment = parse(snippet("kubernetes\\.yaml").split("\n---\n")[0]!) as Deployment;

function build(): Promise<Image> {
  // The packages that the line with `deno cache` would download.
  const packages = ["@peculiar/x509", "reflect-metadata", "jose", "deno-std", "@nats-io/nats-core", "@redis/client"];
  return Image.build(snippet("Dockerfile"), (root) => copyPackages(packages, join(root, "deno-dir")));
}

/** A folder that the container's user owns. */
async function volume(): Promise<string> {
  const folder = await Deno.makeTempDir({ prefix: "wss-volume-" });
  await Deno.chown(folder, CONTAINER_USER, CONTAINER_USER);
  return folder;
}

function portOf(container: Container): number {
  return Number(/"url":"wss:\/\/[^"]*:(\d+)\//.exec(container.stderr.text)![1]);
}

async function healthz(port: number, ca: string): Promise<number> {
  using client = Deno.createHttpClient({ caCerts: [await Deno.readTextFile(ca)], allowHost: true });
  // The kubelet sends the pod's address as Host.
  const response = await fetch(`https://localhost:${port}/healthz`, { client, headers: { host: "10.244.1.7:8443" } });
  await response.body?.cancel();
  return response.status;
}

/**
 * Writes a new certificate into the folder of a Secret as the kubelet does: the files are links through `..data`, which is
 * replaced by a rename.
 * @returns the path of its CA certificate
 */
async function renew(secret: string, version: string): Promise<string> {
  const made = join(secret, `..${version}`);
  assertEquals((await runProgram(["cert", "--folder", made])).code, 0);
  await Deno.rename(join(made, "cert.pem"), join(made, "tls.crt"));
  await Deno.rename(join(made, "key.pem"), join(made, "tls.key"));
  for (const file of ["tls.crt", "tls.key"]) {
    await Deno.chown(join(made, file), 0, CONTAINER_USER);
    await Deno.chmod(join(made, file), 0o440);
  }
  await Deno.chmod(made, 0o755);
  await Deno.symlink(`..${version}`, join(secret, "..data_tmp"));
  await Deno.rename(join(secret, "..data_tmp"), join(secret, "..data"));
  return join(made, "ca.pem");
}

Deno.test("the Dockerfile caches every module that is imported dynamically", () => {
  const included = [...project.tasks.compile.matchAll(/--include (\S+)/g)].map((match) => match[1]!);
  assert(included.length >= 4);
  for (const path of included) assertStringIncludes(snippet("Dockerfile"), path);
});

Deno.test("the options in the compose file and the manifest are valid", async () => {
  for (const args of [compose.services.wss!.command!, deployment.spec.template.spec.containers[0]!.args]) {
    // `unit` reads and checks the options of serve without starting it.
    const { code, stderr } = await runProgram(["unit", ...args]);
    assertEquals([code, stderr], [0, ""]);
  }
});

Deno.test("the grace periods of the compose file and the manifest exceed the drain timeout", async () => {
  const { terminationGracePeriodSeconds, containers: [container] } = deployment.spec.template.spec;
  const drain = container!.args.find((arg) => arg.startsWith("--drain-timeout="))!.split("=")[1]!;
  const [command, pause] = container!.lifecycle.preStop.exec.command;
  assertEquals(command, "sleep");
  assert(terminationGracePeriodSeconds * 1000 > Number(pause) * 1000 + parseDuration(drain));
  const help = (await runProgram(["serve", "--help"])).stdout;
  const fallback = /--drain-timeout TIME\n[^]*?\(default: (\w+)\)/.exec(help)![1]!;
  assert(parseDuration(compose.services.wss!.stop_grace_period!) > parseDuration(fallback));
});

const ignore = !canRunContainers();
const name = (text: string) => ignore ? `${text} [mount and PID namespaces cannot be created here]` : text;

Deno.test({ name: name("the container"), ignore }, async (t) => {
  await using image = await build();
  const certs = await volume();
  const { services: { wss } } = compose;
  assertEquals([wss!.read_only, wss!.tmpfs, wss!.volumes], [true, ["/tmp"], ["certs:/app/certs"]]);
  const volumes = { "/app/certs": certs };
  try {
    await t.step("runs as process 1 without capabilities, and can write only to its volumes", async () => {
      await using container = await image.run(["--port", "0", "--drain-timeout", "500ms"], { volumes });
      const status = await Deno.readTextFile(`/proc/${container.pid}/status`);
      assertMatch(status, /^NSpid:\t\d+\t1$/m);
      assertMatch(status, new RegExp(`^Uid:\\t${CONTAINER_USER}\\t`, "m"));
      assertMatch(status, /^CapEff:\t0+$/m);
      assertMatch(status, /^NoNewPrivs:\t1$/m);
      for (const path of ["/app/file", "/deno-dir/file", "/file"]) {
        assertMatch((await image.exec(["sh", "-c", `: > ${path}`])).stderr, /Read-only file system|Permission denied/);
      }
      assertEquals((await Deno.stat(join(certs, "cert.pem"))).uid, CONTAINER_USER);

      const port = portOf(container);
      await using client = await Client.open(`wss://localhost:${port}/`, { ca: join(certs, "ca.pem") });
      assertEquals(await client.ask("tom"), "ok");
      const [, ...health] = wss!.healthcheck!.test;
      const probe = health.map((word) => word.replace("https://localhost/", `https://localhost:${port}/`));
      assertEquals((await image.exec(probe)).code, 0);

      Deno.kill(container.pid, "SIGHUP");
      await container.stderr.until(/"SIGHUP: reloading"/);
      Deno.kill(container.pid, "SIGUSR2");
      await container.stderr.until(/Cannot hand over: this is process 1[^\n]*--workers 1/);
      assertEquals(await client.ask("tom"), "ok");
      Deno.kill(container.pid, "SIGTERM");
      assertEquals((await client.closed).code, 1001);
      assertEquals(await container.exited, 0);
      assertEquals((await image.exec(probe)).code, 1);
      assertEquals(container.stderr.lines.filter((line) => !line.startsWith("{")), []);
    });

    await t.step("with workers, SIGUSR2 replaces them, and process 1 keeps running", async () => {
      await using container = await image.run(["--port", "0", "--drain-timeout", "500ms", "--workers", "2"], {
        volumes,
      });
      const url = `wss://localhost:${portOf(container)}/`;
      Deno.kill(container.pid, "SIGUSR2");
      await container.stderr.until(/the workers have been replaced/);
      await using client = await Client.open(url, { ca: join(certs, "ca.pem") });
      assertEquals(await client.ask("tom"), "ok");
      Deno.kill(container.pid, "SIGTERM");
      assertEquals(await container.exited, 0);
    });
  } finally {
    await Deno.remove(certs, { recursive: true });
  }

  await t.step("with the manifest's arguments, answers the probes and uses a renewed Secret", async () => {
    const pod = deployment.spec.template.spec;
    assertEquals(pod.securityContext.runAsUser, CONTAINER_USER);
    const [{ args, volumeMounts, ...probes }] = pod.containers as [typeof pod.containers[0]];
    for (const probe of [probes.startupProbe, probes.readinessProbe, probes.livenessProbe]) {
      assertEquals(probe.httpGet, { path: "/healthz", port: "wss", scheme: "HTTPS" });
    }
    const secret = await volume();
    const mount = volumeMounts.find((each) => each.name === "tls")!.mountPath;
    try {
      const before = await renew(secret, "1");
      for (const file of ["tls.crt", "tls.key"]) await Deno.symlink(`..data/${file}`, join(secret, file));
      // The test has no broker and uses any free port.
      const own = args.filter((arg) => !/^--(?:broker|port)=/.test(arg));
      assertEquals(own.length, args.length - 2);
      await using container = await image.run([...own, "--port=0"], {
        volumes: { [mount]: secret },
        env: { WSS_PORT: "tcp://10.96.12.7:443", WSS_SERVICE_HOST: "10.96.12.7" },
      });
      assertStringIncludes(container.stderr.text, "Kubernetes service links are ignored");
      const port = portOf(container);
      assertEquals(await healthz(port, before), 200);
      const after = await renew(secret, "2");
      await container.stderr.until(/"the new certificate is in use"/);
      assertEquals(await healthz(port, after), 200);
      Deno.kill(container.pid, "SIGTERM");
      assertEquals(await container.exited, 0);
    } finally {
      await Deno.remove(secret, { recursive: true });
    }
  });
});

Deno.test("keeps logging after its log file was truncated", async () => {
  const folder = await makeFolder();
  try {
    const log = join(folder, "wss.log");
    const wrapper = ["sh", "-c", `"$@" 2>> ${log} & echo $!; wait`, "sh"];
    const [first, ...rest] = [...wrapper, Deno.execPath(), "run", "-A", join(ROOT, "main.ts")];
    const child = new Deno.Command(first!, {
      args: [...rest, "--mode", "proxied", "--port", "0"],
      cwd: folder,
      stdin: "null",
      stdout: "piped",
    }).spawn();
    const stdout = new Transcript("standard output", child.stdout);
    const pid = Number((await stdout.until(/^(\d+)\n/))[1]);
    const logged = async (pattern: RegExp) => {
      while (!pattern.test(await Deno.readTextFile(log).catch(() => ""))) await delay(20);
    };
    await logged(/"listening"/);
    await Deno.truncate(log);
    Deno.kill(pid, "SIGHUP");
    await logged(/SIGHUP/);
    assertMatch(await Deno.readTextFile(log), /^\{"time":/);
    Deno.kill(pid, "SIGTERM");
    await child.status;
    await stdout.done;
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
