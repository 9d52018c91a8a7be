/**
 * Servers that demand a certificate from the client.
 * @module
 */
import type { Finding } from "../../finding.ts";
import { quote } from "../../client/printable_text.ts";
import { finding } from "../finding_codes.ts";

/** Whether a TLS alert says so: certificate_required in TLS 1.3, bad_certificate below. */
export function isCertificateAlert(message: string): boolean {
  return /certificate_?required|alert:? bad_?certificate/i.test(message);
}

/** The finding, with what the server said. */
export function certificateRequired(detail: string): Finding {
  return finding(
    "client-certificate-required",
    "error",
    `The server demands a certificate from the client: it says ${quote(detail)}.`,
    "Turn client certificates off for the WebSocket's host or path (nginx: ssl_verify_client; Apache: " +
      "SSLVerifyClient; HAProxy: verify in bind; Caddy: client_auth), or use a client that has one.",
  );
}
