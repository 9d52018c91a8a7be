import { assertEquals, assertThrows } from "@std/assert";
import { formatDuration, formatSize, parseDuration, parseSize } from "../lib/duration_and_size.ts";

Deno.test("sizes: parses bytes, KiB, MiB and GiB, and fractions", () => {
  for (
    const [text, bytes] of [
      ["0", 0],
      ["1", 1],
      ["512B", 512],
      ["64KiB", 65_536],
      ["1MiB", 1_048_576],
      [" 1 MiB ", 1_048_576],
      ["1.5KiB", 1536],
      ["1.1MiB", 1_153_434],
      ["2GiB", 2_147_483_648],
    ] as const
  ) assertEquals(parseSize(text), bytes, text);
});

Deno.test("sizes: rejects anything else with the required form and the given value", () => {
  for (
    const text of [
      "",
      "1KB",
      "1mib",
      "MiB",
      "-1",
      "0.5B",
      "1e3",
      "0x10",
      "1 2",
      "1.5",
      "0.0001KiB",
      "99999999GiB",
      "Infinity",
      "NaN",
    ]
  ) {
    assertThrows(() => parseSize(text), RangeError, `64KiB, 1MiB), not "${text}"`, text);
  }
});

Deno.test("durations: parses ms, s, m and h; only 0 needs no unit", () => {
  for (
    const [text, ms] of [
      ["0", 0],
      ["0s", 0],
      ["500ms", 500],
      ["30s", 30_000],
      ["1.5s", 1500],
      ["5m", 300_000],
      ["2h", 7_200_000],
      [" 1 s ", 1000],
    ] as const
  ) assertEquals(parseDuration(text), ms, text);
  for (const text of ["", "30", "1d", "30S", "-1s", "s", "0.5ms", "1m30s", "0.0001s"]) {
    assertThrows(() => parseDuration(text), RangeError, `not "${text}"`, text);
  }
});

Deno.test("durations: a number with one decimal has the nearest number of milliseconds", () => {
  for (let tenths = 1; tenths < 1000; tenths++) {
    for (const [unit, ms] of [["s", 100], ["m", 6_000], ["h", 360_000]] as const) {
      const text = `${(tenths / 10).toFixed(1)}${unit}`;
      assertEquals(parseDuration(text), tenths * ms, text);
    }
  }
});

Deno.test("sizes and durations: the short form parses to the same value", () => {
  assertEquals([0, 1, 1024, 1536, 1_048_576, 1_073_741_824].map(formatSize), [
    "0B",
    "1B",
    "1KiB",
    "1536B",
    "1MiB",
    "1GiB",
  ]);
  assertEquals([0, 1, 1500, 30_000, 60_000, 90_000, 3_600_000].map(formatDuration), [
    "0",
    "1ms",
    "1500ms",
    "30s",
    "1m",
    "90s",
    "1h",
  ]);
  for (const bytes of [0, 1, 1023, 1024, 1025, 3 * 1024 ** 2, 5 * 1024 ** 3]) {
    assertEquals(parseSize(formatSize(bytes)), bytes);
  }
  for (const ms of [0, 1, 999, 1000, 61_000, 3_600_000, 3_600_001]) {
    assertEquals(parseDuration(formatDuration(ms)), ms);
  }
});
