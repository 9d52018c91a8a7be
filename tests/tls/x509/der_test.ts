import { assertEquals, assertThrows } from "@std/assert";
import { derBits, derChild, derChildren, derInteger, derOid, readDer, TAG } from "../../../lib/tls/x509/der.ts";

const der = (hexadecimal: string) => readDer(Uint8Array.fromHex(hexadecimal));

Deno.test("reads DER elements, their children and their values", () => {
  const sequence = der("300c06042a86480a02012a0c0178ffff");
  assertEquals(derChildren(sequence).map(({ tag }) => tag), [TAG.oid, TAG.integer, 0x0c]);
  assertEquals(derOid(derChild(sequence, 0)), "1.2.840.10");
  assertEquals(derInteger(derChild(sequence, 1, TAG.integer)), 42);
  assertEquals(sequence.whole.length, 14);
});

Deno.test("reads object identifiers of different lengths", () => {
  assertEquals(derOid(der("06082a8648ce3d030107")), "1.2.840.10045.3.1.7");
  assertEquals(derOid(der("0603551d11")), "2.5.29.17");
  assertEquals(derOid(der("06032b6570")), "1.3.101.112");
  assertEquals(derOid(der("0603883703")), "2.999.3");
});

Deno.test("computes the bits of an INTEGER without its leading zero octet", () => {
  assertEquals(derBits(der("020200ff")), 8);
  assertEquals(derBits(der("02020100")), 9);
  assertEquals(derBits(der("02050080000000")), 32);
  assertEquals(derBits(der("020100")), 0);
});

Deno.test("rejects truncated bytes and encodings that DER does not allow", () => {
  for (const hexadecimal of ["", "30", "3003020101".slice(0, 8), "3080", "308500000000010", "1f8101"]) {
    const even = hexadecimal.slice(0, hexadecimal.length & ~1);
    assertThrows(() => der(even), RangeError);
  }
  assertThrows(() => derChildren(der("3002300a")), RangeError, "truncated");
  assertThrows(() => derChild(der("3003020101"), 1), RangeError, "missing");
  assertThrows(() => derChild(der("3003020101"), 0, TAG.oid), RangeError, "tag 2");
  assertThrows(() => derOid(der("020101")), RangeError);
  assertThrows(() => derInteger(der("02080102030405060708")), RangeError);
});
