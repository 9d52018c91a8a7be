/**
 * What the API answers in place of a result. Codes as Centrifugo's server API has them.
 * @see https://centrifugal.dev/docs/server/server_api
 * @module
 */

/** Codes by what went wrong, and the HTTP status of each. */
const CODES = {
  internal: [100, 500],
  unauthorized: [101, 401],
  permissionDenied: [103, 403],
  methodNotFound: [104, 404],
  badRequest: [107, 400],
  notAvailable: [108, 503],
} as const;

/** A request that has no result. The message is for whoever wrote it: what is required, and what was given. */
export class ApiError extends Error {
  override readonly name = "ApiError";
  readonly code: number;
  readonly status: number;

  /** @param status where HTTP has a closer one than the kind's */
  constructor(kind: keyof typeof CODES, message: string, status?: number) {
    super(message);
    const [code, usual] = CODES[kind];
    this.code = code;
    this.status = status ?? usual;
  }
}
