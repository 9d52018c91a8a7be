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
const LONGEST_DETAIL = 400;

const ADDRESSES = "for an IP address Let's Encrypt requires --acme-profile shortlived";

/** The meaning of each type, and the remedy. */
const WORDS: Readonly<Record<string, readonly [meaning: string, remedy?: string]>> = {
  accountDoesNotExist: ["the authority does not know the account"],
  alreadyReplaced: ["the certificate has been replaced by another one already"],
  badCSR: ["the authority does not accept the signing request", "check the names and the profile"],
  badNonce: ["the authority refused the anti-replay nonce repeatedly"],
  badPublicKey: ["the authority does not accept the kind of key"],
  badSignatureAlgorithm: ["the authority does not accept signatures of the kind ES256"],
  caa: [
    "the domain's CAA record forbids this authority to issue",
    "change the CAA record, or choose the authority that it names with --acme-directory",
  ],
  compound: ["several things are wrong"],
  connection: [
    "the authority could not connect",
    "port 80 of the name must reach this machine: look at the firewall, the provider's security group and the port forward",
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
    "the authority got a response from another server",
    "make sure that the name's A and AAAA records point to this machine, and that no other server answers on port 80",
  ],
  invalidContact: ["the authority does not accept the e-mail address", "check --acme-email"],
  invalidProfile: ["the authority does not offer the profile", "check --acme-profile"],
  malformed: ["the authority does not accept the request"],
  orderNotReady: ["the order is not ready to be finalised"],
  rateLimited: ["the authority's rate limit is reached", "wait; the next attempt is made when the authority allows it"],
  rejectedIdentifier: ["the authority does not issue for the name", `check --domain; ${ADDRESSES}`],
  serverInternal: ["the authority has an internal error", "wait for the next attempt"],
  tls: ["the authority's TLS connection failed"],
  unauthorized: [
    "the authority could not verify that the name belongs to this machine",
    "make sure that the name's A and AAAA records point to this machine, and that no other server answers on port 80",
  ],
  unsupportedContact: ["the authority does not accept the kind of contact", "check --acme-email"],
  unsupportedIdentifier: ["the authority does not issue for this kind of name", ADDRESSES],
  userActionRequired: ["the account's holder has to do something first"],
  // Types of this program, for failures without a problem document.
  unreachable: ["the authority cannot be reached", "check the network, --acme-directory and --acme-ca"],
  unexpected: ["the authority's response does not follow RFC 8555"],
  timeout: ["the authority did not finish in time"],
};

/**
 * The authority refused or could not be reached. The message has the meaning of the type, the detail and the remedy.
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
    this.type = shortType(problem.type);
    this.status = context.status ?? 0;
    this.retryAfter = context.retryAfter;
  }
}

/** Several names whose validation failed, as one error: one line each. The type is that of the first. */
export class UnprovedNames extends AcmeError {
  override readonly names: readonly string[];

  constructor(errors: readonly [AcmeError, ...AcmeError[]]) {
    super({ type: errors[0].type }, {}, { cause: errors });
    this.message = errors.map(({ message }) => message).join("\n");
    this.names = errors.flatMap(({ names }) => names);
  }
}

/** A type without the prefix that all types of RFC 8555 share. */
export function shortType(type: string): string {
  return type.startsWith(PREFIX) ? type.slice(PREFIX.length) : type;
}

function describe(problem: Problem, name: string | undefined): string {
  const type = shortType(problem.type);
  const [meaning, remedy] = Object.hasOwn(WORDS, type) ? WORDS[type]! : ["the authority refused"];
  const parts = [`${name === undefined ? "" : `${name}: `}${meaning} (${clean(type)})`];
  if (problem.detail) parts.push(clean(problem.detail));
  for (const { identifier, ...part } of problem.subproblems ?? []) {
    parts.push(
      `${identifier?.value === undefined ? "" : `${clean(identifier.value)}: `}${clean(part.detail ?? part.type)}`,
    );
  }
  if (type === "userActionRequired" && problem.instance) parts.push(`open ${clean(problem.instance)}`);
  if (remedy !== undefined) parts.push(remedy);
  return parts.join("; ");
}

function clean(text: string): string {
  const escaped = escapeControls(text);
  return (escaped.length > LONGEST_DETAIL ? `${escaped.slice(0, LONGEST_DETAIL)}...` : escaped).replace(/\.$/, "");
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
