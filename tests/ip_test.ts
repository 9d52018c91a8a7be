import { assertEquals, assertThrows } from "@std/assert";
import node from "node:net";
import { addressKey, addressSet, canonicalAddress, isIPv4, isIPv6, isLoopback, LOOPBACK } from "../lib/ip.ts";
import { seeded } from "./support/seeded.ts";

Deno.test("an address has one canonical form; IPv4-mapped IPv6 becomes IPv4", () => {
  for (
    const [text, canonical] of [
      ["192.0.2.1", "192.0.2.1"],
      ["0.0.0.0", "0.0.0.0"],
      ["::1", "::1"],
      ["2001:DB8:0:0:0:0:0:1", "2001:db8::1"],
      ["2001:db8::0:1", "2001:db8::1"],
      ["::ffff:192.0.2.1", "192.0.2.1"],
      ["::FFFF:c000:201", "192.0.2.1"],
      ["0:0:0:0:0:ffff:7f00:1", "127.0.0.1"],
      ["::ffff:0:1", "0.0.0.1"],
      // IPv4-compatible (deprecated) and translated (RFC 6052) addresses are not IPv4-mapped.
      ["64:ff9b::c000:201", "64:ff9b::c000:201"],
    ] as const
  ) assertEquals(canonicalAddress(text), canonical, text);
});

Deno.test("rejects invalid addresses: hexadecimal, octal, short and long forms, zones, ports, spaces", () => {
  for (
    const text of [
      "",
      "0x10.0.0.0",
      "0x7f000001",
      "2130706433",
      "010.0.0.1",
      "127.1",
      "1.2.3",
      "1.2.3.4.5",
      "256.0.0.1",
      "1.2.3.4 ",
      " 1.2.3.4",
      "1.2.3.4:80",
      "[::1]",
      "[::1]:80",
      "fe80::1%eth0",
      "::1%1",
      "1::2::3",
      "12345::",
      "::ffff:300.1.1.1",
      "localhost",
      "unix:",
      "1.2.3.4/8",
      "１.2.3.4",
      "1.2.3.4\n",
    ]
  ) assertEquals(canonicalAddress(text), undefined, JSON.stringify(text));
});

Deno.test("loopback is 127.0.0.0/8 and ::1", () => {
  for (const address of ["127.0.0.1", "127.255.255.254", "::1"]) assertEquals(isLoopback(address), true, address);
  for (const address of ["128.0.0.1", "10.127.0.1", "::", "::2", "127.example", "localhost", "127::1"]) {
    assertEquals(isLoopback(address), false, address);
  }
});

Deno.test("the key of a client is its IPv4 address or its IPv6 /64", () => {
  assertEquals(addressKey("192.0.2.1"), "192.0.2.1");
  assertEquals(addressKey("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
  for (const address of ["2001:db8::1", "2001:db8::2:0:0:1", "2001:db8:0:0:ffff::"]) {
    assertEquals(addressKey(address), "2001:db8:0:0::/64", address);
  }
  assertEquals(addressKey("::1"), "0:0:0:0::/64");
  assertEquals(addressKey("1::"), "1:0:0:0::/64");
  // An address that differs in one bit of the network part belongs to another client.
  assertEquals(addressKey("2001:db8:0:1::1") === addressKey("2001:db8::1"), false);
});

Deno.test("an address set contains exactly its addresses and ranges, of both families", () => {
  const set = addressSet(["10.0.0.0/8", "192.0.2.7", "2001:db8::/32", "::1", "198.51.100.0/31"]);
  for (
    const address of [
      "10.0.0.0",
      "10.255.255.255",
      "192.0.2.7",
      "2001:db8::",
      "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
      "::1",
      "198.51.100.1",
    ]
  ) assertEquals(set.has(address), true, address);
  for (const address of ["9.255.255.255", "11.0.0.0", "192.0.2.8", "2001:db9::", "::2", "198.51.100.2"]) {
    assertEquals(set.has(address), false, address);
  }
  // The form in which the kernel reports the client of a dual-stack socket.
  assertEquals(set.has(canonicalAddress("::ffff:10.1.2.3")!), true);
  assertEquals(addressSet(["0.0.0.0/0"]).has("203.0.113.9"), true);
  assertEquals(addressSet(["::/0"]).has("2001:db8::1"), true);
  // An IPv4-mapped entry is an IPv4 entry.
  assertEquals(addressSet(["::ffff:10.0.0.0/104"]).has("10.1.2.3"), true);
  assertEquals(addressSet(["::ffff:10.0.0.0/104"]).has("11.1.2.3"), false);
  assertEquals(addressSet(["::ffff:192.0.2.7"]).has("192.0.2.7"), true);
  assertEquals(addressSet(["::ffff:10.0.0.0/16"]).has("::1"), true);
  // Bits beyond the prefix are ignored.
  assertEquals(addressSet(["10.1.2.3/8", "2001:db8::1/32"]).has("10.9.9.9"), true);
  assertEquals(addressSet([]).has("127.0.0.1"), false);
  assertEquals(["127.0.0.1", "127.9.9.9", "::1", "10.0.0.1"].map((one) => addressSet(LOOPBACK).has(one)), [
    true,
    true,
    true,
    false,
  ]);
});

Deno.test("addresses and sets agree with node:net", () => {
  const texts = ["1.2.3.4", "1.2.3.", "1.2.3.4.", ".1.2.3.4", "1..2.3", "00.0.0.0", "255.255.255.255", "::", ":::"];
  texts.push("1::", "::1.2.3.4", "::1.2.3", "::1.02.3.4", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7::", ":1");
  texts.push("1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:1.2.3.4", "::g", "0:0::0:0", "fe80::1%eth0", "::ffff:1.2.3.4", "1:");
  for (const text of texts) {
    assertEquals(isIPv4(text), node.isIPv4(text), text);
    assertEquals(isIPv6(text), node.isIPv6(text) && !text.includes("%"), text);
  }
  const pick = seeded(7);
  for (let round = 0; round < 200; round++) {
    const family = round % 2 === 0 ? "ipv4" as const : "ipv6" as const;
    const make = () =>
      family === "ipv4"
        ? Array.from({ length: 4 }, () => pick(4)).join(".")
        : canonicalAddress(Array.from({ length: 8 }, () => pick(3).toString(16)).join(":"))!;
    const [net, bits, address] = [make(), pick(family === "ipv4" ? 33 : 129), make()];
    const list = new node.BlockList();
    list.addSubnet(net, bits, family);
    assertEquals(
      addressSet([`${net}/${bits}`]).has(address),
      list.check(address, family),
      `${address} in ${net}/${bits}`,
    );
  }
});

Deno.test("an address set rejects an invalid entry and quotes it", () => {
  for (
    const entry of [
      "",
      "localhost",
      "0x10.0.0.0/8",
      "010.0.0.0/8",
      "10.0.0.0/33",
      "10.0.0.0/",
      "10.0.0.0/8/8",
      "10.0.0.0/-1",
      "10.0.0.0/8.0",
      "10.0.0.0/255.0.0.0",
      "2001:db8::/129",
      "fe80::%eth0/64",
      "*",
    ]
  ) assertThrows(() => addressSet(["127.0.0.1", entry, "also wrong"]), RangeError, `not "${entry}"`, entry);
});
