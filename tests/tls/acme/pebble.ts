/**
 * Starts a real Pebble (Let's Encrypt's test authority) with its own name server on a separate loopback address, where
 * its fixed ports are free. Pebble refuses valid nonces on purpose.
 *
 *     await using pebble = await startPebble();
 *     pebble.directory; pebble.ca;
 *
 * `startPebble({ front })` starts a server in front of it that receives every request. The server can refuse, delay or
 * change a request, and offers renewal information (RFC 9773) and profiles, which Debian's Pebble 2.4 does not have.
 * @module
 */
import https from "node:https";
import { join } from "node:path";
import { X509Certificate } from "node:crypto";
import { createAuthority, issueCertificate } from "../../../lib/tls/issue_certificate.ts";
import { Transcript } from "../../support/transcript.ts";

/** Options of Pebble. */
export interface PebbleOptions {
  /** The percentage of valid nonces that are refused. Default 10: at 30, ten refusals in a row can end a request. */
  readonly nonceReject?: number;
  /** The percentage of validated names that the next order need not validate again. Default 0. */
  readonly reuse?: number;
  /** Whether all names are accepted without a validation. Default false. */
  readonly alwaysValid?: boolean;
  /** Key identifiers and MAC keys of external accounts. If given, an account requires one of them. */
  readonly external?: Readonly<Record<string, string>>;
  /** The validity of certificates, seconds. Default: Pebble's five years. */
  readonly validity?: number;
  /** The handler of a server in front of Pebble; see {@link Front}. */
  readonly front?: Front;
}

/** A request that the server in front receives. */
export interface FrontRequest {
  readonly method: string;
  /** `directory`, `newNonce`, `newAccount`, `newOrder`, `order`, `authorization`, `challenge`, `finalize`, `certificate`, `renewalInfo` or `other`. */
  readonly kind: string;
  readonly url: URL;
  /** The decoded payload of a signed request. */
  readonly payload: unknown;
  /** The number of earlier requests of this type. */
  readonly earlier: number;
  /** Forwards the request to Pebble. */
  readonly pass: () => Promise<Response>;
}

/** Handles a request in front of Pebble. If it returns undefined, the request is forwarded to Pebble. */
export type Front = (request: FrontRequest) => Response | undefined | Promise<Response | undefined>;

/** A running authority. Disposing of it stops it. */
export interface Pebble extends AsyncDisposable {
  /** The URL of the directory, at the server in front if there is one. */
  readonly directory: string;
  /** The PEM file of the root of the authority's own TLS certificate, for --acme-ca. */
  readonly caFile: string;
  /** The loopback address that all names resolve to. */
  readonly address: string;
  /** The port on which the authority requests challenges. */
  readonly httpPort: number;
  /** A name server for {@link inspectReach}. */
  readonly nameServer: { readonly ipAddr: string; readonly port: number };
  /** The types of the requests to the server in front, in order. */
  readonly requests: readonly string[];
  /** The root of its certificates, PEM. It changes with each start. */
  root(): Promise<string>;
  /** Sets the addresses that a name resolves to. */
  point(name: string, records: { readonly a?: readonly string[]; readonly aaaa?: readonly string[] }): Promise<void>;
  /** Makes the name server answer SERVFAIL for a name. */
  failLookup(name: string): Promise<void>;
  log(): string;
}

const PORT = { acme: 14000, management: 15000, http: 5002, dns: 8053, dnsManagement: 8055 } as const;

/** Creates a problem document. */
export function problem(type: string, detail: string, status: number, headers: Record<string, string> = {}): Response {
  return Response.json({ type: `urn:ietf:params:acme:error:${type}`, detail }, {
    status,
    headers: { "content-type": "application/problem+json", ...headers },
  });
}

/** Starts Pebble and waits until it is ready. */
export async function startPebble(options: PebbleOptions = {}): Promise<Pebble> {
  const folder = await Deno.makeTempDir({ prefix: "wss-pebble-" });
  await using undo = new AsyncDisposableStack();
  undo.defer(() => Deno.remove(folder, { recursive: true }));
  // A random address, so that parallel tests do not conflict. All of 127.0.0.0/8 is local.
  const [a, b, c] = crypto.getRandomValues(new Uint8Array(3));
  const address = `127.${64 + a! % 64}.${b}.${1 + c! % 254}`;
  const authority = await createAuthority(new Date());
  const leaf = await issueCertificate(authority, [address], new Date());
  const files = { ca: "ca.pem", cert: "cert.pem", key: "key.pem", config: "config.json" } as const;
  const path = (name: keyof typeof files) => join(folder, files[name]);
  await Deno.writeTextFile(path("ca"), authority.cert);
  await Deno.writeTextFile(path("cert"), leaf.cert);
  await Deno.writeTextFile(path("key"), leaf.key);
  await Deno.writeTextFile(
    path("config"),
    JSON.stringify({
      pebble: {
        listenAddress: `${address}:${PORT.acme}`,
        managementListenAddress: `${address}:${PORT.management}`,
        certificate: path("cert"),
        privateKey: path("key"),
        httpPort: PORT.http,
        tlsPort: 5001,
        ocspResponderURL: "",
        externalAccountBindingRequired: options.external !== undefined,
        ...(options.external ? { externalAccountMACKeys: options.external } : {}),
        ...(options.validity ? { certificateValidityPeriod: options.validity } : {}),
      },
    }),
  );

  const names = undo.use(
    run("pebble-challtestsrv", [
      ...["-dns01", `${address}:${PORT.dns}`, "-management", `${address}:${PORT.dnsManagement}`],
      ...["-http01", "", "-https01", "", "-tlsalpn01", "", "-defaultIPv4", address, "-defaultIPv6", ""],
    ]),
  );
  const server = undo.use(
    run("pebble", ["-config", path("config"), "-dnsserver", `${address}:${PORT.dns}`], {
      PEBBLE_VA_NOSLEEP: "1",
      PEBBLE_WFE_NONCEREJECT: String(options.nonceReject ?? 10),
      PEBBLE_AUTHZREUSE: String(options.reuse ?? 0),
      ...(options.alwaysValid ? { PEBBLE_VA_ALWAYS_VALID: "1" } : {}),
    }),
  );
  await server.output.until(/ACME directory available/);
  for (const port of [PORT.dnsManagement, PORT.management, PORT.acme]) await accepts(address, port);

  const http = undo.adopt(Deno.createHttpClient({ caCerts: [authority.cert] }), (client) => client.close());
  const real = `https://${address}:${PORT.acme}`;
  const requests: string[] = [];
  let directory = `${real}/dir`;
  if (options.front !== undefined) {
    const front = undo.adopt(
      serveFront({ ...leaf, address, real, ca: authority.cert, requests, front: options.front }),
      (running) => running.shutdown(),
    );
    directory = `https://${address}:${front.addr.port}/dir`;
  }
  const manage = async (call: string, body: unknown) => {
    const response = await fetch(`http://${address}:${PORT.dnsManagement}/${call}`, {
      method: "POST",
      body: JSON.stringify(body),
    });
    await response.body?.cancel();
    if (!response.ok) throw new Error(`pebble-challtestsrv: ${call} answered ${response.status}`);
  };
  const owned = undo.move();
  return {
    directory,
    caFile: path("ca"),
    address,
    httpPort: PORT.http,
    nameServer: { ipAddr: address, port: PORT.dns },
    requests,
    async root() {
      const response = await fetch(`https://${address}:${PORT.management}/roots/0`, { client: http });
      return await response.text();
    },
    async point(name, { a = [], aaaa = [] }) {
      await manage("add-a", { host: `${name}.`, addresses: a });
      await manage("add-aaaa", { host: `${name}.`, addresses: aaaa });
    },
    failLookup: (name) => manage("set-servfail", { host: `${name}.` }),
    log: () => server.output.text + names.output.text,
    [Symbol.asyncDispose]: () => owned[Symbol.asyncDispose](),
  };
}

interface Running extends AsyncDisposable {
  readonly output: Transcript;
}

function run(program: string, args: readonly string[], env: Readonly<Record<string, string>> = {}): Running {
  const child = new Deno.Command(program, {
    args: [...args],
    env: { ...env },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const output = new Transcript(program, child.stdout);
  const errors = new Transcript(program, child.stderr);
  return {
    output,
    async [Symbol.asyncDispose]() {
      try {
        child.kill("SIGKILL");
      } catch {
        // It has already ended.
      }
      await Promise.all([child.status, output.done, errors.done]);
    },
  };
}

async function accepts(hostname: string, port: number): Promise<void> {
  for (const until = performance.now() + 15_000;;) {
    try {
      return (await Deno.connect({ hostname, port })).close();
    } catch (error) {
      if (performance.now() > until) throw error;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

interface FrontParts {
  readonly cert: string;
  readonly key: string;
  readonly address: string;
  readonly real: string;
  readonly ca: string;
  readonly requests: string[];
  readonly front: Front;
}

function serveFront({ cert, key, address, real, ca, requests, front }: FrontParts): Deno.HttpServer<Deno.NetAddr> {
  return Deno.serve({ cert, key, hostname: address, port: 0, onListen() {} }, async (request) => {
    const url = new URL(request.url);
    const body = request.method === "POST" ? await request.text() : undefined;
    const kind = kindOf(url.pathname);
    const earlier = requests.filter((one) => one === kind).length;
    requests.push(kind);
    const type = request.headers.get("content-type");
    const pass = () =>
      forward(real, ca, request.method, url, { ...(type === null ? {} : { "content-type": type }) }, body);
    const given = await front({ method: request.method, kind, url, payload: payloadOf(body), earlier, pass });
    return given ?? await pass();
  });
}

/** Sends a request with a given Host, which `fetch` cannot set. Pebble compares the signed URL with Host. */
function forward(
  real: string,
  ca: string,
  method: string,
  url: URL,
  headers: Readonly<Record<string, string>>,
  body: string | undefined,
): Promise<Response> {
  const { promise, resolve, reject } = Promise.withResolvers<Response>();
  const target = { method, ca, agent: false, headers: { ...headers, host: url.host } };
  const sent = https.request(real + url.pathname + url.search, target, (answer) => {
    const chunks: Uint8Array[] = [];
    answer.on("data", (chunk: Uint8Array) => chunks.push(chunk));
    answer.on("error", reject);
    answer.on("end", () => {
      const headers = new Headers();
      for (const [name, value] of Object.entries(answer.headers)) {
        for (const one of [value].flat()) if (one !== undefined) headers.append(name, one);
      }
      headers.delete("content-length");
      const status = answer.statusCode!;
      resolve(new Response(status === 204 ? null : new Blob(chunks as BlobPart[]), { status, headers }));
    });
  });
  sent.on("error", reject);
  sent.end(body);
  return promise;
}

const KINDS: readonly (readonly [start: string, kind: string])[] = [
  ["/dir", "directory"],
  ["/nonce-plz", "newNonce"],
  ["/sign-me-up", "newAccount"],
  ["/order-plz", "newOrder"],
  ["/my-order/", "order"],
  ["/authZ/", "authorization"],
  ["/chalZ/", "challenge"],
  ["/finalize-order/", "finalize"],
  ["/certZ/", "certificate"],
  ["/renewal-info/", "renewalInfo"],
];

function kindOf(path: string): string {
  return KINDS.find(([start]) => path.startsWith(start))?.[1] ?? "other";
}

function payloadOf(body: string | undefined): unknown {
  if (body === undefined) return undefined;
  const { payload } = JSON.parse(body) as { payload: string };
  return payload === ""
    ? undefined
    : JSON.parse(new TextDecoder().decode(Uint8Array.fromBase64(payload, { alphabet: "base64url" })));
}

/** Returns Pebble's directory with additional entries. */
export async function extendDirectory(
  { pass, url }: FrontRequest,
  { renewalInfo = false, profiles }: { readonly renewalInfo?: boolean; readonly profiles?: Record<string, string> },
): Promise<Response> {
  const directory = await (await pass()).json();
  if (renewalInfo) directory.renewalInfo = `${url.origin}/renewal-info`;
  if (profiles) directory.meta = { ...directory.meta, profiles };
  return Response.json(directory);
}

/** Returns the serial number of a PEM certificate in upper case. */
export function serialIn(pem: string): string {
  return new X509Certificate(pem).serialNumber;
}
