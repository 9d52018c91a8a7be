/**
 * The upgraded request, kept small: after the upgrade Deno's own Request can no longer be read.
 * @module
 */

/** URL and headers as two strings; a Request is made of them when an app asks. About 0.3 KiB for a browser's handshake. */
export class RequestSnapshot {
  readonly #url: string;
  readonly #headers: string;

  /** Copies what is needed. Call it before the upgrade. */
  constructor(url: string, headers: Headers) {
    let lines = "";
    for (const [name, value] of headers) lines += `${name}:${value}\n`;
    this.#url = url;
    // Joined by replace, the string is flat: a chain of concatenations would keep its parts alive.
    this.#headers = lines.replace(/\n$/, "");
  }

  /** A Request that can be read as often as one likes; a new one each time. */
  toRequest(): Request {
    const headers = new Headers();
    for (const line of this.#headers.split("\n")) {
      const colon = line.indexOf(":");
      if (colon > 0) headers.append(line.slice(0, colon), line.slice(colon + 1));
    }
    return new Request(this.#url, { headers });
  }
}
