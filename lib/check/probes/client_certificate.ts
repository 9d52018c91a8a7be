/**
 * Recognises servers that require a client certificate.
 * @module
 */
import type { Finding } from "../../diagnostic_finding.ts";
import { quote } from "../../client/printable_text.ts";
import { finding } from "../finding_codes.ts";

/** Whether a message contains the TLS alert for a missing client certificate: certificate_required, or bad_certificate below TLS 1.3. */
export function isCertificateAlert(message: string): boolean {
  return /certificate_?required|alert:? bad_?certificate/i.test(message);
}

/** Makes the finding `client-certificate-required`. `detail` is the server's alert or response. */
export function certificateRequired(detail: string): Finding {
  return finding(
    "client-certificate-required",
    "error",
    `The server requires a client certificate. Its response: ${quote(detail)}.`,
    "Turn off client certificates for the WebSocket's host or path (nginx: ssl_verify_client; Apache: " +
      "SSLVerifyClient; HAProxy: verify in bind; Caddy: client_auth), or use a client that has one.",
  );
}
