/**
 * Errors of the API, with the codes of Centrifugo's server API.
 * @see https://centrifugal.dev/docs/server/server_api
 * @module
 */

/** The code and the HTTP status of each kind of error. */
const CODES = {
  internal: [100, 500],
  unauthorized: [101, 401],
  permissionDenied: [103, 403],
  methodNotFound: [104, 404],
  badRequest: [107, 400],
  notAvailable: [108, 503],
} as const;

/** A failed call. The message tells the caller what is required and what was given. */
export class ApiError extends Error {
  override readonly name = "ApiError";
  readonly code: number;
  readonly status: number;

  /** @param status a more specific HTTP status than that of the kind */
  constructor(kind: keyof typeof CODES, message: string, status?: number) {
    super(message);
    const [code, usual] = CODES[kind];
    this.code = code;
    this.status = status ?? usual;
  }
}
