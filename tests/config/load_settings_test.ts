import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { isAbsolute, join } from "node:path";
import { parseFlags } from "../../lib/config/command_line.ts";
import { loadSettings, readConfigFile, type Sources } from "../../lib/config/load_settings.ts";
import type { OptionTable } from "../../lib/config/option_table.ts";
import { SERVICE_OPTIONS } from "../../lib/config/service_options.ts";
import { UsageError } from "../../lib/errors.ts";

const TABLE = {
  port: { type: "port", default: "8282", help: "." },
  host: { type: "text", help: "." },
  path: { type: "text", repeat: true, default: ["/", "/wss"], help: "." },
  cert: { type: "path", help: "." },
  admin: { type: "address", help: "." },
  workers: { type: "text", numeric: true, help: "." },
  maxPayload: { type: "size", default: "1MiB", min: 1, help: "." },
  idleTimeout: { type: "duration", default: "30s", help: "." },
  minTls: { type: "tls", default: "1.2", help: "." },
  page: { type: "switch", help: "." },
  strictProxy: { type: "switch", default: false, help: "." },
  keyPassphrase: { type: "text", variableOnly: true, help: "." },
  config: { type: "path", flagOnly: true, help: "." },
} as const satisfies OptionTable;

const flags = (...args: string[]): Pick<Sources, "flags"> => ({ flags: parseFlags(args, TABLE).values });

function problemsOf(work: () => unknown): readonly string[] {
  try {
    work();
  } catch (error) {
    if (error instanceof UsageError) return error.problems;
    throw error;
  }
  throw new Error("no problem was reported");
}

Deno.test("loadSettings returns defaults, or undefined for an option without one", () => {
  const { settings, given } = loadSettings(TABLE, {});
  assertEquals(
    settings,
    {
      port: 8282,
      path: ["/", "/wss"],
      maxPayload: 1_048_576,
      idleTimeout: 30_000,
      minTls: "1.2",
      strictProxy: false,
    } as unknown as typeof settings,
  );
  assertEquals(given.size, 0);
});

Deno.test("loadSettings prefers a flag to a variable, a variable to the file, and the file to the default", () => {
  const variables = { WSS_PORT: "2", WSS_HOST: "variable" };
  const object = { values: { port: 3, host: "file", maxPayload: "3KiB" }, name: "wss.json" };
  const { settings, given } = loadSettings(TABLE, { ...flags("--port", "1"), variables, object });
  assertEquals([settings.port, settings.host, settings.maxPayload, settings.idleTimeout], [
    1,
    "variable",
    3072,
    30_000,
  ]);
  assertEquals([...given], [["port", "--port"], ["host", "WSS_HOST"], ["maxPayload", "wss.json: maxPayload"]]);
  assertEquals(loadSettings(TABLE, { variables, object }).settings.port, 2);
  assertEquals(loadSettings(TABLE, { object }).settings.port, 3);
});

Deno.test("loadSettings keeps a switch off if a source with higher precedence turned it off", () => {
  const object = { values: { page: true, strictProxy: true } };
  assertEquals(loadSettings(TABLE, { object }).settings.page, true);
  const { settings } = loadSettings(TABLE, { ...flags("--no-page"), variables: { WSS_STRICT_PROXY: "false" }, object });
  assertEquals([settings.page, settings.strictProxy], [false, false]);
});

Deno.test("loadSettings reads lists from repeated flags, comma-separated variables, arrays and single values", () => {
  assertEquals(loadSettings(TABLE, flags("--path", "/a", "--path", "/b")).settings.path, ["/a", "/b"]);
  assertEquals(loadSettings(TABLE, { variables: { WSS_PATH: "/a, /b" } }).settings.path, ["/a", "/b"]);
  assertEquals(loadSettings(TABLE, { object: { values: { path: ["/a", "/b"] } } }).settings.path, ["/a", "/b"]);
  assertEquals(loadSettings(TABLE, { object: { values: { path: "/a" } } }).settings.path, ["/a"]);
});

Deno.test("loadSettings validates values from the file and from code with the same limits", () => {
  const values = { port: 80, maxPayload: 2048, idleTimeout: 500, minTls: 1.3, page: true };
  const { settings } = loadSettings(TABLE, { object: { values } });
  assertEquals([settings.port, settings.maxPayload, settings.idleTimeout, settings.minTls, settings.page], [
    80,
    2048,
    500,
    "1.3",
    true,
  ]);
  const wrong = {
    port: 70_000,
    maxPayload: 0,
    idleTimeout: -1,
    minTls: 1.0,
    page: 1,
    host: 7,
    path: ["/", 7],
    cert: null,
  };
  assertEquals(problemsOf(() => loadSettings(TABLE, { object: { values: wrong, name: "wss.json" } })), [
    "wss.json: port: must be from 0 to 65535, not 70000",
    "wss.json: host: must be a string, not 7",
    "wss.json: path: must be a string, not 7",
    "wss.json: cert: must be a string, not null",
    "wss.json: maxPayload: must be at least 1B, not 0B",
    'wss.json: idleTimeout: a duration is a whole number of ms, or a number with s, m or h (500ms, 30s, 5m), not "-1"',
    "wss.json: minTls: 1 is refused: SSL and TLS before 1.2 are insecure (RFC 7568, RFC 8996); use 1.2 or 1.3",
    "wss.json: page: must be true or false, not 1",
  ]);
});

Deno.test("loadSettings requires a unit for a duration, but not for a size, in flags, variables and the file", () => {
  const refusal = 'a duration is a whole number of ms, or a number with s, m or h (500ms, 30s, 5m), not "30"';
  const file = (values: Record<string, unknown>): Sources => ({ object: { values, name: "wss.json" } });
  assertEquals(problemsOf(() => loadSettings(TABLE, flags("--idle-timeout", "30"))), [`--idle-timeout: ${refusal}`]);
  assertEquals(problemsOf(() => loadSettings(TABLE, { variables: { WSS_IDLE_TIMEOUT: "30" } })), [
    `WSS_IDLE_TIMEOUT: ${refusal}`,
  ]);
  assertEquals(problemsOf(() => loadSettings(TABLE, file({ idleTimeout: 30 }))), [`wss.json: idleTimeout: ${refusal}`]);
  assertEquals(problemsOf(() => loadSettings(TABLE, file({ idleTimeout: "30" }))), [
    `wss.json: idleTimeout: ${refusal}`,
  ]);
  assertEquals(loadSettings(TABLE, file({ idleTimeout: 0 })).settings.idleTimeout, 0);
  assertEquals(loadSettings(TABLE, file({ idleTimeout: "30s", maxPayload: 2048 })).settings.idleTimeout, 30_000);
  for (
    const sources of [
      flags("--max-payload", "2048"),
      { variables: { WSS_MAX_PAYLOAD: "2048" } },
      file({
        maxPayload: 2048,
      }),
    ]
  ) assertEquals(loadSettings(TABLE, sources).settings.maxPayload, 2048);
  // In code, a number is milliseconds. 30 ms is below the minimum.
  assertEquals(problemsOf(() => loadSettings(SERVICE_OPTIONS, { object: { values: { idleTimeout: 30 } } })), [
    "idleTimeout: must be 0 or from 100ms to 576h, not 30ms",
  ]);
  assertEquals(loadSettings(SERVICE_OPTIONS, { object: { values: { idleTimeout: 0 } } }).settings.idleTimeout, 0);
});

Deno.test("loadSettings treats an empty variable as unset, even if its name is unknown", () => {
  const object = { values: { port: 3 } };
  const variables = { WSS_PORT: "", WSS_PATH: "", WSS_PAGE: "", WSS_KEY_PASSPHRASE: "", WSS_PROT: "" };
  const { settings, given } = loadSettings(TABLE, { variables, object });
  assertEquals([settings.port, settings.path, settings.page], [3, ["/", "/wss"], undefined]);
  assertEquals([...given.keys()], ["port"]);
});

Deno.test("loadSettings ignores Kubernetes service links with one note, and reads the other variables", () => {
  const links = {
    WSS_SERVICE_HOST: "10.96.12.7",
    WSS_SERVICE_PORT: "8282",
    WSS_SERVICE_PORT_WS: "8282",
    WSS_PORT: "tcp://10.96.12.7:8282",
    WSS_PORT_8282_TCP: "tcp://10.96.12.7:8282",
    WSS_PORT_8282_TCP_PROTO: "tcp",
    WSS_PORT_8282_TCP_PORT: "8282",
    WSS_PORT_8282_TCP_ADDR: "10.96.12.7",
    WSS_CHAT_SERVICE_HOST: "10.96.12.8",
    WSS_CHAT_PORT: "udp://10.96.12.8:53",
    WSS_CHAT_PORT_53_UDP_ADDR: "10.96.12.8",
  };
  const { settings, notes } = loadSettings(TABLE, { variables: { ...links, WSS_HOST: "::" } });
  assertEquals([settings.port, settings.host], [8282, "::"]);
  assertEquals(notes.length, 1);
  for (const name of Object.keys(links)) assertStringIncludes(notes[0]!, name);
  assertEquals(loadSettings(TABLE, { variables: { WSS_PORT: "80" } }).notes, []);
  assertEquals(problemsOf(() => loadSettings(TABLE, { variables: { ...links, WSS_PORT: "http" } })), [
    'WSS_PORT: must be a whole number, not "http"',
  ]);
});

Deno.test("loadSettings reports the problems of all sources and of the rules together", () => {
  const problems = problemsOf(() =>
    loadSettings(
      TABLE,
      {
        ...flags("--port", "http", "--max-payload", "1MB"),
        variables: { WSS_IDLE_TIMEOUT: "30", WSS_PROT: "1", WSS_TOTALLY_ELSE: "1" },
        object: { values: { minTls: "SSLv3", hots: "x", zzzzzz: 1 }, name: "wss.json" },
      },
      ["an earlier problem"],
      (settings) => {
        // The rules get the default instead of an invalid value.
        assertEquals(settings.port, 8282);
        throw new UsageError(["these two exclude each other"]);
      },
    )
  );
  assertEquals(problems, [
    "an earlier problem",
    '--port: must be a whole number, not "http"',
    '--max-payload: a size is a whole number of bytes, or a number with KiB, MiB or GiB (64KiB, 1MiB), not "1MB"',
    'WSS_IDLE_TIMEOUT: a duration is a whole number of ms, or a number with s, m or h (500ms, 30s, 5m), not "30"',
    "wss.json: minTls: SSLv3 is refused: SSL and TLS before 1.2 are insecure (RFC 7568, RFC 8996); use 1.2 or 1.3",
    "wss.json: unknown option hots: did you mean host?",
    "wss.json: unknown option zzzzzz",
    "unknown variable WSS_PROT: did you mean WSS_PORT?",
    "unknown variable WSS_TOTALLY_ELSE",
    "these two exclude each other",
  ]);
});

Deno.test("loadSettings accepts reserved variables and $schema, and rejects a flag-only option in a variable or the file", () => {
  loadSettings(TABLE, {
    variables: { WSS_TEST_PEERS: "required", WSS_CONFIG: "x" },
    object: { values: { $schema: "x" } },
  });
  const table = { ...TABLE, check: { type: "switch", flagOnly: true, help: "." } } as const satisfies OptionTable;
  const object = { values: { config: "x", toString: 1 }, name: "wss.json" };
  assertEquals(problemsOf(() => loadSettings(table, { variables: { WSS_CHECK: "true" }, object })), [
    "wss.json: config is allowed only on the command line: --config",
    "wss.json: unknown option toString",
    "WSS_CHECK is allowed only on the command line: --check",
  ]);
});

Deno.test("loadSettings resolves paths in the file from its folder, and others from the working directory", () => {
  const object = { values: { cert: "tls/cert.pem", host: "tls/x" }, name: "etc/wss.json", folder: "etc" };
  const { settings } = loadSettings(TABLE, { object });
  assertEquals([settings.cert, settings.host], [join("etc", "tls/cert.pem"), "tls/x"]);
  for (
    const [admin, resolved] of [
      ["unix:run/admin.sock", `unix:${join("etc", "run/admin.sock")}`],
      ["unix:/run/admin.sock", "unix:/run/admin.sock"],
      ["127.0.0.1:9100", "127.0.0.1:9100"],
    ]
  ) assertEquals(loadSettings(TABLE, { object: { ...object, values: { admin } } }).settings.admin, resolved);
  assertEquals(loadSettings(TABLE, { variables: { WSS_CERT: "c.pem" }, object }).settings.cert, "c.pem");
  assertEquals(loadSettings(TABLE, { ...flags("--cert", "c.pem"), object }).settings.cert, "c.pem");
  const absolute = join(Deno.cwd(), "c.pem");
  assertEquals(isAbsolute(absolute), true);
  assertEquals(loadSettings(TABLE, { object: { values: { cert: absolute }, folder: "etc" } }).settings.cert, absolute);
});

Deno.test("readConfigFile names a file that is missing, not JSON or not an object", async () => {
  const folder = await Deno.makeTempDir({ prefix: "wss-config-" });
  try {
    const write = async (name: string, text: string) => {
      await Deno.writeTextFile(join(folder, name), text);
      return join(folder, name);
    };
    const good = await write("good.json", '{ "port": 1, "path": ["/a"] }');
    assertEquals(readConfigFile(good), { values: { port: 1, path: ["/a"] }, name: good, folder });
    const marked = await write("marked.json", '\ufeff{ "port": 1 }\r\n');
    assertEquals(readConfigFile(marked)?.values, { port: 1 });
    const wide = join(folder, "wide.json");
    await Deno.writeFile(wide, new Uint8Array([0xff, 0xfe, 0x7b, 0, 0x7d, 0]));
    for (
      const [file, reason] of [
        [join(folder, "none.json"), "there is no such file"],
        [await write("broken.json", "{ port: 1 }"), "it is not JSON ("],
        [await write("array.json", "[1]"), "it must be one object of options"],
        [await write("null.json", "null"), "it must be one object of options"],
        [wide, "it is UTF-16 text; save it as UTF-8"],
      ] as const
    ) {
      const error = assertThrows(() => readConfigFile(file), UsageError) as UsageError;
      assertStringIncludes(error.message, `Cannot read the configuration file ${file}: ${reason}`);
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("loadSettings reads the documented variables of the service", () => {
  const variables = {
    WSS_MAX_PAYLOAD: "2MiB",
    WSS_TRUSTED_PROXY: "10.0.0.0/8,::1",
    WSS_ORIGIN: "https://a.example,https://b.example",
    WSS_KEY_PASSPHRASE: "secret",
  };
  const { settings } = loadSettings(SERVICE_OPTIONS, { variables });
  assertEquals([settings.maxPayload, settings.trustedProxy, settings.origin, settings.keyPassphrase], [
    2 * 1024 ** 2,
    ["10.0.0.0/8", "::1"],
    ["https://a.example", "https://b.example"],
    "secret",
  ]);
});

Deno.test("loadSettings accepts a number in the file for a text that may be one", () => {
  const object = (workers: unknown) => ({ object: { values: { workers }, name: "wss.json" } });
  for (const workers of [2, "2"]) assertEquals(loadSettings(TABLE, object(workers)).settings.workers, "2");
  assertEquals(problemsOf(() => loadSettings(TABLE, object([2]))), ["wss.json: workers: must be a string, not [2]"]);
});
