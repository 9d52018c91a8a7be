/**
 * Starts real proxies for tests of `check` on free ports: nginx, Apache, HAProxy and Caddy.
 */
import { join } from "node:path";
import { freePort } from "../support/ports.ts";
import { type Server, untilOpen } from "./test_servers.ts";

/** Whether a program is installed. @throws {Error} if it is missing and WSS_TEST_PEERS=required */
export async function hasProgram(name: string, ...args: string[]): Promise<boolean> {
  try {
    await new Deno.Command(name, { args, stdout: "null", stderr: "null" }).output();
    return true;
  } catch (error) {
    if (Deno.env.get("WSS_TEST_PEERS") === "required") throw error;
    // deno-lint-ignore no-console -- a skipped test must be visible
    console.warn(`SKIPPED: ${name} is not installed`);
    return false;
  }
}

/** Starts a program on a free port. Tries other ports if another process has taken the port in the meantime. */
async function start(
  program: string,
  configure: (folder: string, port: number) => Promise<readonly string[]>,
): Promise<Server> {
  for (let attempt = 1;; attempt++) {
    const folder = await Deno.makeTempDir({ prefix: "wss-check-" });
    const port = freePort();
    const args = await configure(folder, port);
    const child = new Deno.Command(program, {
      args: [...args],
      stdin: "null",
      stdout: "null",
      stderr: "piped",
      env: { HOME: folder, XDG_DATA_HOME: folder, XDG_CONFIG_HOME: folder },
    }).spawn();
    const errors = child.stderr.text();
    const stop = async () => {
      try {
        child.kill("SIGTERM");
      } catch {
        // The process has already ended.
      }
      await child.status;
      await errors;
      await Deno.remove(folder, { recursive: true });
    };
    const open = await Promise.race([untilOpen(port).then(() => true), child.status.then(() => false)]);
    if (open) return { port, [Symbol.asyncDispose]: stop };
    await stop();
    if (attempt === 3) throw new Error(`${program} did not start: ${await errors}`);
  }
}

/** Starts nginx with one server block. `listen`: the parameters of the listen directive after the port. */
export function nginx(server: string, listen: string = "ssl"): Promise<Server> {
  return start("nginx", async (folder, port) => {
    const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
      .map((name) => `${name}_temp_path ${folder}/${name};`).join(" ");
    const file = join(folder, "nginx.conf");
    await Deno.writeTextFile(
      file,
      `daemon off; master_process off; pid ${folder}/pid; error_log stderr crit; events {}
      http { access_log off; ${temporary}
        server { listen 127.0.0.1:${port} ${listen}; ${server} } }`,
    );
    return ["-e", "stderr", "-c", file];
  });
}

/** The nginx directives for a certificate, with TLS 1.2 and 1.3. */
export function nginxTls(cert: string, key: string): string {
  return `ssl_certificate ${cert}; ssl_certificate_key ${key}; ssl_protocols TLSv1.2 TLSv1.3;`;
}

/** The nginx directives of a location that forwards upgrades. */
export function nginxUpgrade(upstream: number): string {
  return `proxy_pass http://127.0.0.1:${upstream}; proxy_http_version 1.1;
    proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade"; proxy_set_header Host $http_host;`;
}

const APACHE_MODULES = [
  ...["mpm_event", "authz_core", "unixd", "socache_shmcb", "ssl", "proxy", "proxy_http", "proxy_wstunnel", "headers"],
];

/** The Apache directives for a certificate. */
export function apacheTls(cert: string, key: string, protocols = "+TLSv1.2 +TLSv1.3"): string {
  return `SSLEngine on
SSLCertificateFile ${cert}
SSLCertificateKeyFile ${key}
SSLProtocol -all ${protocols}`;
}

/** Starts Apache with one virtual host. */
export function apache(host: string): Promise<Server> {
  return start("apache2", async (folder, port) => {
    const file = join(folder, "apache.conf");
    const modules: string[] = [];
    for (const name of APACHE_MODULES) {
      const path = `/usr/lib/apache2/modules/mod_${name}.so`;
      // A module without a file is built in.
      if (await Deno.stat(path).catch(() => undefined)) modules.push(`LoadModule ${name}_module ${path}`);
    }
    await Deno.writeTextFile(
      file,
      `${modules.join("\n")}
ServerRoot ${folder}
ServerName localhost
PidFile ${folder}/pid
ErrorLog /dev/stderr
Mutex file:${folder}
User nobody
Group nogroup
Listen 127.0.0.1:${port}
SSLSessionCache shmcb:${folder}/sessions
<VirtualHost 127.0.0.1:${port}>
${host}
</VirtualHost>
`,
    );
    return ["-D", "FOREGROUND", "-f", file];
  });
}

/** Starts Caddy with one site. */
export function caddy(site: string): Promise<Server> {
  return start("caddy", async (folder, port) => {
    const file = join(folder, "Caddyfile");
    await Deno.writeTextFile(
      file,
      `{\n admin off\n auto_https off\n}\nhttps://localhost:${port} {\n bind 127.0.0.1\n ${site}\n}\n`,
    );
    return ["run", "--config", file, "--adapter", "caddyfile"];
  });
}

/** Starts HAProxy with one frontend. `bind`: the parameters after its address. `server`: the backend's server line. */
export function haproxy(bind: string, server: string): Promise<Server> {
  return start("haproxy", async (folder, port) => {
    const file = join(folder, "haproxy.cfg");
    await Deno.writeTextFile(
      file,
      `global
  stats socket ${folder}/stats
defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s
  timeout tunnel 1m
frontend f
  bind 127.0.0.1:${port} ${bind}
  default_backend b
backend b
  ${server}
`,
    );
    return ["-f", file];
  });
}
