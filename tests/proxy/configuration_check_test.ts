/** Validates each generated configuration with the proxy itself. */
import { assert, assertMatch } from "@std/assert";
import { join } from "node:path";
import { generateProxyConfiguration, proxyCommand } from "../../lib/cli/proxy.ts";
import { parseFlags } from "../../lib/config/command_line.ts";
import { goldenFiles, goldenInput } from "../support/golden.ts";
import { hasOpenssl, openPki } from "../support/openssl.ts";
import { checkProxy, hasProxy } from "../support/proxies.ts";
import { KINDS, putIntoServer } from "./generated_proxies.ts";

for (const kind of KINDS) {
  Deno.test(`${kind}: accepts each golden configuration without a warning`, async (t) => {
    if (!await hasProxy(kind) || !await hasOpenssl()) return;
    await using pki = await openPki();
    const { cert, key } = await pki.leaf("leaf");
    const bundle = await pki.bundle("bundle.pem", cert, key);
    const quoted = { cert: pki.path('a b;"c".pem'), key: pki.path("k\\y{}.pem") };
    await Deno.copyFile(cert, quoted.cert);
    await Deno.copyFile(key, quoted.key);
    for (const file of goldenFiles(`proxy_${kind}`)) {
      await t.step(file.pathname.split("/").at(-1)!, async () => {
        const { args, variables, config } = goldenInput(file);
        const words = args.slice(1).map((word, at, all) => {
          const odd = word.includes(" ") || word.includes("\\");
          if (all[at - 1] === "--cert") return odd ? quoted.cert : kind === "haproxy" ? bundle : cert;
          if (all[at - 1] === "--key") return odd ? quoted.key : key;
          if (all[at - 1] === "--chain") return cert;
          return all[at - 1] === "--root" ? pki.folder : word;
        });
        if (config !== undefined) words.push("--config", await pki.write("wss.json", config));
        const { values, positionals, problems } = parseFlags(words, proxyCommand.options);
        const { text } = generateProxyConfiguration({ flags: values, positionals, problems }, variables);
        const whole = text.includes(": a part for an existing server")
          ? putIntoServer(kind, text, { port: 8443, cert, key, bundle })
          : text;
        const { success, output } = await checkProxy(kind, whole);
        assert(success, `${output}\n${whole}`);
        assert(!/warn/i.test(output.replaceAll(/Caddyfile input is not formatted|"level":"warn".*/g, "")), output);
      });
    }
  });
}

Deno.test("apache: the configuration test names a missing module", async () => {
  if (!await hasProxy("apache")) return;
  const { text } = generateProxyConfiguration({ flags: new Map(), positionals: ["apache"], problems: [] }, {});
  const inside = `Listen 8443\n<VirtualHost *:8443>\n${text}</VirtualHost>`;
  for (const module of ["headers", "proxy_http"]) {
    const { success, output } = await checkProxy("apache", inside, [module]);
    assert(!success);
    assertMatch(output, new RegExp(`wss: mod_${module} is missing, .*a2enmod ${module}`));
  }
});

Deno.test("proxy --out writes the file, and an error names a file that cannot be written", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const line = (out: string) => {
      const { values, positionals, problems } = parseFlags(["nginx", "--out", out], proxyCommand.options);
      return proxyCommand.run({ flags: values, positionals, problems });
    };
    const saved = join(folder, "wss.conf");
    assert(await line(saved) === 0);
    assertMatch(await Deno.readTextFile(saved), /location = \/wss \{/);
    const message = await line(join(folder, "none", "x")).then(
      () => "",
      (error: Error) => `${error.name}: ${error.message}`,
    );
    assertMatch(message, /^StartError: Cannot write .*none\/x: /);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
