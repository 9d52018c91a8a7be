/**
 * Writes ClientHellos from SSLv3 to TLS 1.3. Current TLS libraries do not offer the old versions.
 * RFC 6101 (SSLv3), RFC 5246 (TLS 1.2), RFC 8446 (TLS 1.3).
 * @module
 */

/** Protocol versions by name, as they are encoded. */
export const VERSIONS = {
  "SSLv3": 0x0300,
  "TLS 1.0": 0x0301,
  "TLS 1.1": 0x0302,
  "TLS 1.2": 0x0303,
  "TLS 1.3": 0x0304,
} as const;
export type Version = keyof typeof VERSIONS;

/** The suites of TLS 1.3. */
const SUITES_13 = [0x1301, 0x1302, 0x1303];

/** ECDHE suites with an AEAD, which current clients offer in TLS 1.2. */
export const SUITES_MODERN: readonly number[] = [0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8];

/** Older suites that a server may require: CBC, DHE, RSA key exchange, 3DES. */
const SUITES_OLD = [
  ...[0xc009, 0xc013, 0xc00a, 0xc014, 0xc023, 0xc027, 0xc024, 0xc028],
  ...[0x009e, 0x009f, 0xccaa, 0x0033, 0x0039, 0x0067, 0x006b, 0x0032, 0x0038],
  ...[0x009c, 0x009d, 0x002f, 0x0035, 0x003c, 0x003d, 0x0041, 0x0084, 0x000a, 0x0016, 0xc012, 0xc008],
];

/** RC4, forbidden by RFC 7465. */
export const SUITES_RC4: readonly number[] = [0x0005, 0x0004, 0xc011, 0xc007];

/** The content of a ClientHello. */
export interface HelloOptions {
  /** The highest version to offer. With TLS 1.3 it is the only one, unless `either` is set. */
  readonly version: Version;
  /** Offers TLS 1.3 and 1.2, to find out whether the port serves TLS at all. */
  readonly either?: true;
  /** The server name for SNI. Ignored with SSLv3, which has no extensions. */
  readonly serverName?: string;
  /** Default: every suite of the version. */
  readonly suites?: readonly number[];
}

/** Writes a TLS record with a ClientHello. */
export function writeClientHello(options: HelloOptions): Uint8Array<ArrayBuffer> {
  const version = VERSIONS[options.version];
  const newest = version === VERSIONS["TLS 1.3"];
  const suites = options.suites ?? [
    ...(newest ? SUITES_13 : []),
    ...(newest && !options.either ? [] : [...SUITES_MODERN, ...SUITES_OLD, ...SUITES_RC4]),
  ];
  // TLS_EMPTY_RENEGOTIATION_INFO_SCSV (RFC 5746): some servers refuse a hello without it.
  const suiteBytes = [...suites, 0x00ff].flatMap(uint16);
  const body = [
    ...uint16(Math.min(version, VERSIONS["TLS 1.2"])),
    ...crypto.getRandomValues(new Uint8Array(32)),
    // With a session id, middleboxes treat TLS 1.3 as a resumption of TLS 1.2 (RFC 8446 §D.4).
    ...vector8(newest ? [...crypto.getRandomValues(new Uint8Array(32))] : []),
    ...vector16(suiteBytes),
    ...vector8([0]),
    ...(options.version === "SSLv3" ? [] : vector16(writeExtensions(options, version))),
  ];
  const handshake = [1, ...uint24(body.length), ...body];
  const recordVersion = options.version === "SSLv3" ? VERSIONS["SSLv3"] : VERSIONS["TLS 1.0"];
  return new Uint8Array([22, ...uint16(recordVersion), ...vector16(handshake)]);
}

function writeExtensions(options: HelloOptions, version: number): number[] {
  const list: number[] = [];
  const add = (type: number, body: number[]) => list.push(...uint16(type), ...vector16(body));
  if (options.serverName !== undefined) {
    const name = [...new TextEncoder().encode(options.serverName)];
    add(0, vector16([0, ...vector16(name)]));
  }
  // x25519, secp256r1, secp384r1, secp521r1
  add(10, vector16([0x001d, 0x0017, 0x0018, 0x0019].flatMap(uint16)));
  add(11, vector8([0]));
  if (version >= VERSIONS["TLS 1.2"]) {
    const schemes = [
      0x0403,
      0x0503,
      0x0603,
      0x0807,
      0x0804,
      0x0805,
      0x0806,
      0x0809,
      0x080a,
      0x080b,
      0x0401,
      0x0501,
      0x0601,
      0x0203,
      0x0201,
    ];
    add(13, vector16(schemes.flatMap(uint16)));
  }
  if (version === VERSIONS["TLS 1.3"]) {
    const offered = options.either ? [VERSIONS["TLS 1.3"], VERSIONS["TLS 1.2"]] : [VERSIONS["TLS 1.3"]];
    add(43, vector8(offered.flatMap(uint16)));
    // Any 32 bytes are a valid x25519 public key. The private key is not needed: the handshake is not completed.
    const share = [...crypto.getRandomValues(new Uint8Array(32))];
    add(51, vector16([...uint16(0x001d), ...vector16(share)]));
    add(45, vector8([1]));
  }
  return list;
}

function uint16(value: number): number[] {
  return [value >> 8, value & 255];
}

function uint24(value: number): number[] {
  return [value >> 16, (value >> 8) & 255, value & 255];
}

function vector8(bytes: number[]): number[] {
  return [bytes.length, ...bytes];
}

function vector16(bytes: number[]): number[] {
  return [...uint16(bytes.length), ...bytes];
}
