import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { StartError } from "../../../lib/errors.ts";
import { encodePem, parsePem } from "../../../lib/tls/x509/pem.ts";
import { hasOpenssl, openPki } from "../../support/openssl.ts";

const ignore = !await hasOpenssl();
const bytes = (text: string) => new TextEncoder().encode(text);
const BLOCK = "-----BEGIN CERTIFICATE-----\nAAEC\n-----END CERTIFICATE-----\n";

function refusal(content: string | Uint8Array): string {
  const error: StartError = assertThrows(
    () => parsePem(typeof content === "string" ? bytes(content) : content, "my.pem"),
    StartError,
  );
  assertStringIncludes(error.message, "Cannot read my.pem: ");
  return error.message;
}

Deno.test("parses PEM blocks with CRLF, a byte order mark and text around them", () => {
  const text = "\ufeffsubject=x\r\n" + BLOCK.replaceAll("\n", "\r\n") + "more\r\n" + BLOCK;
  const blocks = parsePem(bytes(text), "my.pem");
  assertEquals(blocks.map(({ label, line }) => [label, line]), [["CERTIFICATE", 2], ["CERTIFICATE", 6]]);
  assertEquals(blocks[0]!.der, new Uint8Array([0, 1, 2]));
  assertEquals(blocks[0]!.text, BLOCK);
});

Deno.test("parses the PEM that it encodes, with headers and long bodies", () => {
  const der = crypto.getRandomValues(new Uint8Array(500));
  const headers = new Map([["Proc-Type", "4,ENCRYPTED"], ["DEK-Info", "AES-256-CBC,00"]]);
  const text = encodePem("RSA PRIVATE KEY", der, headers);
  const [block] = parsePem(bytes(text), "my.pem");
  assertEquals([block!.der, block!.headers, block!.text], [der, headers, text]);
});

Deno.test("rejects damaged PEM with the line and the reason", () => {
  assertEquals(parsePem(bytes(BLOCK), "my.pem").length, 1);
  for (
    const [content, reason] of [
      ["", "the file is empty"],
      ["hello\n", "a PEM block is required"],
      [BLOCK.replace("-----END CERTIFICATE-----\n", ""), "the CERTIFICATE of line 1 has no END line"],
      [
        BLOCK.replace("END CERT", "END KEY CERT"),
        'line 3 must be the END line of the CERTIFICATE of line 1, it is "-----END KEY',
      ],
      [BLOCK.replace("AAEC", "AA*C"), "line 2, inside the CERTIFICATE of line 1, is not base64"],
      [BLOCK.replace("AAEC", "AAE"), "is damaged: not valid base64"],
      [BLOCK.replace("AAEC\n", ""), "is damaged: empty"],
      [BLOCK.replaceAll("\n", " "), "its line breaks are missing"],
      [BLOCK.replace("-----BEGIN", "----BEGIN"), "line 3 ends a block that has no BEGIN line"],
      [BLOCK.replace("CERTIFICATE-----\n", "CERTIFICATE----\n"), "line 1 is not a valid BEGIN line"],
    ] as const
  ) assertStringIncludes(refusal(content), reason);
});

Deno.test("names the format of a file that is not PEM, and the command that converts it", { ignore }, async () => {
  await using pki = await openPki();
  const { cert, key } = await pki.leaf("leaf", { key: "rsa2048" });
  const der = async (...args: string[]) => {
    await pki.openssl(...args, "-out", pki.path("out"));
    return refusal(await Deno.readFile(pki.path("out")));
  };
  assertStringIncludes(
    await der("x509", "-in", cert, "-outform", "der"),
    "a certificate in DER, not PEM; convert it with: openssl x509 -inform der -in my.pem -out my.new.pem",
  );
  assertStringIncludes(await der("pkey", "-in", key, "-outform", "der"), "a private key in DER");
  assertStringIncludes(await der("rsa", "-in", key, "-outform", "der", "-traditional"), "a private key in DER");
  assertStringIncludes(
    await der("pkcs8", "-topk8", "-in", key, "-outform", "der", "-passout", "pass:tom"),
    "an encrypted private key in DER",
  );
  assertStringIncludes(await der("pkey", "-in", key, "-pubout", "-outform", "der"), "a public key in DER");
  assertStringIncludes(
    await der("req", "-new", "-key", key, "-subj", "/CN=x", "-outform", "der"),
    "a certificate signing request in DER",
  );
  assertStringIncludes(
    await der("pkcs12", "-export", "-inkey", key, "-in", cert, "-passout", "pass:tom"),
    "PKCS#12 (.p12, .pfx), not PEM; convert it with: openssl pkcs12 -in my.pem -nodes -out my.new.pem",
  );
  assertStringIncludes(
    await der("crl2pkcs7", "-nocrl", "-certfile", cert, "-outform", "der"),
    "a PKCS#7 bundle in DER",
  );
});

Deno.test("names keystores, SSH keys, UTF-16 files and files that are too large", () => {
  assertStringIncludes(refusal(new Uint8Array([0xfe, 0xed, 0xfe, 0xed, 0, 0, 0, 2])), "a Java keystore");
  assertStringIncludes(refusal("PuTTY-User-Key-File-3: ssh-rsa\n"), "PuTTY");
  assertStringIncludes(refusal("ssh-ed25519 AAAA me\n"), "SSH public key");
  assertStringIncludes(refusal(new Uint8Array([0xff, 0xfe, 45, 0, 45, 0])), "UTF-16");
  assertStringIncludes(refusal(new Uint8Array(1024 ** 2 + 1)), "1048577 bytes");
  assertStringIncludes(refusal(new Uint8Array([0x30, 0x82, 0xff])), "a PEM block is required");
});
