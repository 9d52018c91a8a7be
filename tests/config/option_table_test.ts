import { assertEquals, assertMatch, assertThrows } from "@std/assert";
import { flagOf, type Option, parseValue, variableOf } from "../../lib/config/option_table.ts";
import { SERVICE_OPTIONS } from "../../lib/config/service_options.ts";

const option = (type: Option["type"], more: Partial<Option> = {}): Option => ({ type, help: "", ...more });

Deno.test("an option's key is its flag and its variable", () => {
  assertEquals([flagOf("port"), variableOf("port")], ["--port", "WSS_PORT"]);
  assertEquals([flagOf("maxConnectionsPerAddress"), variableOf("maxConnectionsPerAddress")], [
    "--max-connections-per-address",
    "WSS_MAX_CONNECTIONS_PER_ADDRESS",
  ]);
});

Deno.test("every row has one sentence of help, a default that its own type takes, and a name of its own", () => {
  const shorts = new Set<string>();
  for (const [key, row] of Object.entries(SERVICE_OPTIONS) as [string, Option][]) {
    assertMatch(row.help, /^[A-Z][^]*\.$/, key);
    for (const text of [row.default ?? []].flat()) {
      if (text !== false) parseValue(row, text as string);
    }
    if (row.type === "choice") assertEquals((row.values?.length ?? 0) > 1, true, key);
    if (row.short !== undefined) {
      assertEquals(shorts.has(row.short), false, key);
      shorts.add(row.short);
    }
  }
});

Deno.test("a value is read by its type", () => {
  for (
    const [row, text, value] of [
      [option("switch"), "true", true],
      [option("switch"), "false", false],
      [option("choice", { values: ["a", "b"] }), "b", "b"],
      [option("count"), "12", 12],
      [option("port"), "0", 0],
      [option("port"), "65535", 65_535],
      [option("size"), "64KiB", 65_536],
      [option("duration"), "1.5s", 1500],
      [option("cidr"), "10.0.0.0/8", "10.0.0.0/8"],
      [option("text"), " as it is ", " as it is "],
      [option("tls"), "1.2", "1.2"],
      [option("tls"), "TLSv1.3", "1.3"],
      [option("tls"), "TLS 1.2", "1.2"],
    ] as const
  ) assertEquals(parseValue(row, text), value, text);
});

Deno.test("a value that is none says what is required and what was given", () => {
  for (
    const [row, text, message] of [
      [option("switch"), "yes", 'it is true or false, not "yes"'],
      [option("choice", { values: ["a", "b"] }), "c", 'it is one of a, b, not "c"'],
      [option("count"), "-1", 'it is a whole number, not "-1"'],
      [option("count"), "1.5", 'it is a whole number, not "1.5"'],
      [option("count", { min: 1 }), "0", "it is at least 1, not 0"],
      [option("port"), "65536", "it is from 0 to 65535, not 65536"],
      [option("size", { min: 1, max: 10 }), "11B", "it is from 1B to 10B, not 11B"],
      [option("size"), "1MB", '64KiB, 1MiB), not "1MB"'],
      [option("duration", { min: 100 }), "99ms", "it is from 100ms to 576h, not 99ms"],
      [option("duration"), "30", '500ms, 30s, 5m), not "30"'],
      [option("cidr"), "10.0.0.0/33", 'not "10.0.0.0/33"'],
      [option("text"), "", "a value is required, not an empty text"],
      [option("tls"), "1.4", 'it is 1.2 or 1.3, not "1.4"'],
      [option("tls"), "modern", 'it is 1.2 or 1.3, not "modern"'],
    ] as const
  ) assertThrows(() => parseValue(row, text), RangeError, message, text);
});

Deno.test("SSL and TLS before 1.2 are refused by name, in every spelling", () => {
  for (
    const text of [
      "1.0",
      "1.1",
      "1",
      "TLSv1",
      "TLSv1.0",
      "TLSv1.1",
      "tls1.1",
      "TLS 1.0",
      "SSLv3",
      "sslv2",
      "SSL3",
      "SSLv3.0",
    ]
  ) {
    assertThrows(
      () => parseValue(option("tls"), text),
      RangeError,
      `${text} is refused: SSL and TLS before 1.2 are broken (RFC 7568, RFC 8996); give 1.2 or 1.3`,
    );
  }
});
