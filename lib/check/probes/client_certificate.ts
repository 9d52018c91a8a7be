/**
 * Recognises servers that require a client certificate.
 * @module
 */
import type { Finding } from "../../diagnostic_finding.ts";
import { quote } from "../../client/printable_text.ts";
import { finding } from "../finding_codes.ts";

/** Whether a message contains the TLS alert for a missing client certificate: certificate_required, or bad_certificate below TLS 1.3. */
function isCertificateAlert(message: string): boolean {
  return /certificate_?required|alert:? bad_?certificate/i.test(message);
}

/**
 * Whether a handshake failed because no client certificate was sent. If the server requested one, RFC 5246 section 7.4.6
 * also allows the alert handshake_failure, and some servers close the connection. Another alert names another cause.
 */
export function isMissingCertificate(failure: string, requested: boolean): boolean {
  if (isCertificateAlert(failure)) return true;
  return requested && (/alert/i.test(failure) ? /handshake_?failure/i : /reset|closed/i).test(failure);
}

/** The sentence of a finding about a server that requests a client certificate, if that may be the cause. */
export const MAY_REQUIRE_CERTIFICATE = " The server also requests a client certificate, and may require one.";

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
