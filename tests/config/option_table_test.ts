import { assertEquals, assertMatch, assertThrows } from "@std/assert";
import { flagOf, type Option, parseValue, variableOf } from "../../lib/config/option_table.ts";
import { SERVICE_OPTIONS } from "../../lib/config/service_options.ts";

const option = (type: Option["type"], more: Partial<Option> = {}): Option => ({ type, help: "", ...more });

Deno.test("flagOf and variableOf convert the key of an option", () => {
  assertEquals([flagOf("port"), variableOf("port")], ["--port", "WSS_PORT"]);
  assertEquals([flagOf("maxConnectionsPerAddress"), variableOf("maxConnectionsPerAddress")], [
    "--max-connections-per-address",
    "WSS_MAX_CONNECTIONS_PER_ADDRESS",
  ]);
});

Deno.test("every option has a help text, a default that is valid for its type, and a unique short name", () => {
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

Deno.test("parseValue parses a value of each type", () => {
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

Deno.test("parseValue reports what is required and what was given", () => {
  for (
    const [row, text, message] of [
      [option("switch"), "yes", 'must be true or false, not "yes"'],
      [option("choice", { values: ["a", "b"] }), "c", 'must be one of a, b, not "c"'],
      [option("count"), "-1", 'must be a whole number, not "-1"'],
      [option("count"), "1.5", 'must be a whole number, not "1.5"'],
      [option("count", { min: 1 }), "0", "must be at least 1, not 0"],
      [option("port"), "65536", "must be from 0 to 65535, not 65536"],
      [option("size", { min: 1, max: 10 }), "11B", "must be from 1B to 10B, not 11B"],
      [option("size"), "1MB", '64KiB, 1MiB), not "1MB"'],
      [option("duration", { min: 100 }), "99ms", "must be from 100ms to 576h, not 99ms"],
      [option("duration"), "30", '500ms, 30s, 5m), not "30"'],
      [option("cidr"), "10.0.0.0/33", 'not "10.0.0.0/33"'],
      [option("text"), "", "must not be empty"],
      [option("tls"), "1.4", 'must be 1.2 or 1.3, not "1.4"'],
      [option("tls"), "modern", 'must be 1.2 or 1.3, not "modern"'],
    ] as const
  ) assertThrows(() => parseValue(row, text), RangeError, message, text);
});

Deno.test("parseValue rejects SSL and TLS before 1.2 in every spelling", () => {
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
      `${text} is refused: SSL and TLS before 1.2 are insecure (RFC 7568, RFC 8996); use 1.2 or 1.3`,
    );
  }
});
