/**
 * Problems that an ACME authority reports (RFC 7807 documents, types of RFC 8555 section 6.7), as errors with a remedy.
 * @module
 */
import { escapeControls } from "../../log.ts";

/** The fields of a problem document that are used. */
export interface Problem {
  readonly type: string;
  readonly detail?: string;
  readonly subproblems?: readonly (Problem & { readonly identifier?: { readonly value?: string } })[];
  /** The URL at which the account's holder has to do something (RFC 8555 section 7.3.3). */
  readonly instance?: string;
}

/** The context of a problem. */
export interface ProblemContext {
  /** HTTP status; 0 if there was no response. */
  readonly status?: number;
  /** Milliseconds that the authority asks to wait. */
  readonly retryAfter?: number | undefined;
  /** The name whose validation failed. */
  readonly name?: string | undefined;
}

const PREFIX = "urn:ietf:params:acme:error:";
/** The longest detail, in characters, because it is text of the authority. */
const MAX_DETAIL_LENGTH = 400;

const IP_ADDRESS_REMEDY = "for an IP address Let's Encrypt requires --acme-profile shortlived";

/** The meaning of each type, and the remedy. */
const MEANINGS: Readonly<Record<string, readonly [meaning: string, remedy?: string]>> = {
  accountDoesNotExist: ["the account does not exist at the authority"],
  alreadyReplaced: ["the certificate has been replaced by another one already"],
  badCSR: ["the authority does not accept the signing request", "check the names and the profile"],
  badNonce: ["the authority refused the anti-replay nonce repeatedly"],
  badPublicKey: ["the authority does not accept the key's type"],
  badSignatureAlgorithm: ["the authority does not accept ES256 signatures"],
  caa: [
    "the domain's CAA record does not allow this authority",
    "change the CAA record, or choose the authority that it names with --acme-directory",
  ],
  compound: ["the authority reports several problems"],
  connection: [
    "the authority could not connect",
    "port 80 of the name must reach this machine: check the firewall, the provider's security group and the port forwarding",
  ],
  dns: [
    "the authority could not look up the name",
    "make sure that it has an A or AAAA record with this machine's address",
  ],
  externalAccountRequired: [
    "the authority requires an account of its website",
    "give its key with --acme-eab-kid and --acme-eab-key-file",
  ],
  incorrectResponse: [
    "the authority received a response from another server",
    "make sure that the name's A and AAAA records point to this machine, and that no other server answers on port 80",
  ],
  invalidContact: ["the authority does not accept the e-mail address", "check --acme-email"],
  invalidProfile: ["the authority does not offer the profile", "check --acme-profile"],
  malformed: ["the authority does not accept the request"],
  orderNotReady: ["the order is not ready to be finalised"],
  rateLimited: ["the authority's rate limit is reached", "wait; the next attempt is made when the authority allows it"],
  rejectedIdentifier: [
    "the authority does not issue certificates for the name",
    `check --domain; ${IP_ADDRESS_REMEDY}`,
  ],
  serverInternal: ["the authority has an internal error", "wait for the next attempt"],
  tls: ["the authority's TLS connection failed"],
  unauthorized: [
    "the authority could not verify that the name belongs to this machine",
    "make sure that the name's A and AAAA records point to this machine, and that no other server answers on port 80",
  ],
  unsupportedContact: ["the authority does not accept this type of contact", "check --acme-email"],
  unsupportedIdentifier: ["the authority does not issue certificates for this type of name", IP_ADDRESS_REMEDY],
  userActionRequired: ["the authority requires an action of the account's holder"],
  // Types of this program, for failures without a problem document.
  unreachable: ["the authority cannot be reached", "check the network, --acme-directory and --acme-ca"],
  unexpected: ["the authority's response does not follow RFC 8555"],
  unusable: ["the authority's certificate cannot be used"],
  timeout: ["the authority did not finish in time"],
};

/** The meaning of `unauthorized` in a response that is not about one name: RFC 8555 uses the type for permissions too. */
const NOT_PERMITTED = ["the authority does not allow this account to do this"] as const;

/**
 * The authority refused a request or could not be reached. The message contains the meaning of the type, the detail and the remedy.
 */
export class AcmeError extends Error {
  override readonly name = "AcmeError";
  /** Without the prefix of RFC 8555: `rateLimited`. */
  readonly type: string;
  readonly status: number;
  readonly retryAfter: number | undefined;
  /** The names whose validation failed, if any. */
  readonly names: readonly string[];

  constructor(problem: Problem, context: ProblemContext = {}, options?: ErrorOptions) {
    super(describe(problem, context.name), options);
    this.names = context.name === undefined ? [] : [context.name];
    this.type = stripTypePrefix(problem.type);
    this.status = context.status ?? 0;
    this.retryAfter = context.retryAfter;
  }
}

/** Failed validations of several names as one error, with one line each. The type is that of the first. */
export class FailedValidations extends AcmeError {
  override readonly names: readonly string[];

  constructor(errors: readonly [AcmeError, ...AcmeError[]]) {
    super({ type: errors[0].type }, {}, { cause: errors });
    this.message = errors.map(({ message }) => message).join("\n");
    this.names = errors.flatMap(({ names }) => names);
  }
}

/** A type without the prefix that all types of RFC 8555 share. */
export function stripTypePrefix(type: string): string {
  return type.startsWith(PREFIX) ? type.slice(PREFIX.length) : type;
}

function describe(problem: Problem, name: string | undefined): string {
  const type = stripTypePrefix(problem.type);
  const [meaning, remedy] = meaningOf(type, name);
  const parts = [`${name === undefined ? "" : `${name}: `}${meaning} (${sanitize(type)})`];
  if (problem.detail) parts.push(sanitize(problem.detail));
  for (const { identifier, ...part } of problem.subproblems ?? []) {
    parts.push(
      `${identifier?.value === undefined ? "" : `${sanitize(identifier.value)}: `}${
        sanitize(part.detail ?? part.type)
      }`,
    );
  }
  if (type === "userActionRequired" && problem.instance) parts.push(`open ${sanitize(problem.instance)}`);
  if (remedy !== undefined) parts.push(remedy);
  return parts.join("; ");
}

function meaningOf(type: string, name: string | undefined): readonly [meaning: string, remedy?: string] {
  if (type === "unauthorized" && name === undefined) return NOT_PERMITTED;
  return Object.hasOwn(MEANINGS, type) ? MEANINGS[type]! : ["the authority refused"];
}

function sanitize(text: string): string {
  const escaped = escapeControls(text);
  return (escaped.length > MAX_DETAIL_LENGTH ? `${escaped.slice(0, MAX_DETAIL_LENGTH)}...` : escaped).replace(
    /\.$/,
    "",
  );
}

/** Reads a problem document; anything else becomes the type `unexpected`. */
export function readProblem(text: string, status: number): Problem {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null && "type" in value && typeof value.type === "string") {
      const { type, detail, instance, subproblems } = value as Record<string, unknown> & { type: string };
      return {
        type,
        ...(typeof detail === "string" ? { detail } : {}),
        ...(typeof instance === "string" ? { instance } : {}),
        ...(Array.isArray(subproblems) ? { subproblems: subproblems.filter(isSubproblem).slice(0, 20) } : {}),
      };
    }
  } catch {
    // Not JSON: a page of a proxy, for example.
  }
  return { type: "unexpected", detail: `status ${status}: ${text.slice(0, 200).trim() || "no body"}` };
}

function isSubproblem(value: unknown): value is Problem {
  return typeof value === "object" && value !== null && "type" in value && typeof value.type === "string" &&
    (!("detail" in value) || typeof value.detail === "string");
}
