/**
 * Two network namespaces and a cable between them that can be pulled: what is sent then is lost, and nobody says so.
 * @module
 */
import { peersRequired } from "../peers/require.ts";

/** The near end's address, where a service listens. */
export const NEAR = "10.99.0.1";
const FAR = "10.99.0.2";
const NEAR_MAC = "02:00:00:00:00:01";

/** Disposing of it removes both. */
export class VethLink implements AsyncDisposable {
  readonly #near: string;
  readonly #far: string;

  private constructor(id: string) {
    this.#near = `wss-near-${id}`;
    this.#far = `wss-far-${id}`;
  }

  /** Undefined, loudly, where there is no `ip` or no right to use it. @throws {Error} then with WSS_TEST_PEERS=required */
  static async open(): Promise<VethLink | undefined> {
    const id = crypto.randomUUID().slice(0, 8);
    const link = new VethLink(id);
    const [near, far] = [link.#near, link.#far];
    // Fixed hardware addresses: a neighbour that no longer answers would be an error that somebody hears of.
    const [nearMac, farMac] = [NEAR_MAC, "02:00:00:00:00:02"];
    try {
      await ip("netns", "add", near);
      await ip("netns", "add", far);
      await ip(
        "-n",
        near,
        "link",
        "add",
        "cable",
        "address",
        nearMac,
        "type",
        "veth",
        "peer",
        "name",
        "cable",
        "address",
        farMac,
        "netns",
        far,
      );
      for (const [name, own, other, mac] of [[near, NEAR, FAR, farMac], [far, FAR, NEAR, nearMac]] as const) {
        await ip("-n", name, "address", "add", `${own}/30`, "dev", "cable");
        await ip("-n", name, "link", "set", "lo", "up");
        await ip("-n", name, "link", "set", "cable", "up");
        await ip("-n", name, "neighbour", "replace", other, "lladdr", mac, "nud", "permanent", "dev", "cable");
      }
      return link;
    } catch (error) {
      await link[Symbol.asyncDispose]();
      if (peersRequired()) throw error;
      // deno-lint-ignore no-console -- shows which test was skipped
      console.warn(`SKIPPED: no network namespaces here: ${error instanceof Error ? error.message : error}`);
      return undefined;
    }
  }

  /** What a command line is put behind to run at the near end. */
  get near(): readonly string[] {
    return ["ip", "netns", "exec", this.#near];
  }

  /** And at the far end. */
  get far(): readonly string[] {
    return ["ip", "netns", "exec", this.#far];
  }

  /** Pulls the cable at the far end: the near end's interface stays up and loses what it sends. */
  async pull(): Promise<void> {
    await ip("-n", this.#far, "route", "add", "blackhole", `${NEAR}/32`);
    await ip("-n", this.#far, "link", "set", "cable", "down");
  }

  /** Puts it back. */
  async plug(): Promise<void> {
    await ip("-n", this.#far, "link", "set", "cable", "up");
    await ip("-n", this.#far, "neighbour", "replace", NEAR, "lladdr", NEAR_MAC, "nud", "permanent", "dev", "cable");
    await ip("-n", this.#far, "route", "delete", "blackhole", `${NEAR}/32`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const name of [this.#near, this.#far]) await ip("netns", "delete", name).catch(() => {});
  }
}

async function ip(...args: string[]): Promise<void> {
  const { success, stderr } = await new Deno.Command("ip", { args, stdin: "null", stdout: "null" }).output();
  if (!success) throw new Error(`ip ${args.join(" ")}: ${new TextDecoder().decode(stderr).trim()}`);
}
