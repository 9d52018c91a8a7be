/**
 * Two network namespaces connected by a veth pair. A test can set the link down. Packets are then lost without an error.
 * @module
 */
import { peersRequired } from "../peers/require.ts";

/** The near end's address, where a service listens. */
export const NEAR = "10.99.0.1";
const FAR = "10.99.0.2";
const NEAR_MAC = "02:00:00:00:00:01";

/** The two namespaces and their link. Disposing of it removes both namespaces. */
export class VethLink implements AsyncDisposable {
  readonly #near: string;
  readonly #far: string;

  private constructor(id: string) {
    this.#near = `wss-near-${id}`;
    this.#far = `wss-far-${id}`;
  }

  /**
   * Creates the link. Without `ip`, or without the permission to use it, prints a message and returns undefined.
   * @throws {Error} in that case if WSS_TEST_PEERS=required
   */
  static async open(): Promise<VethLink | undefined> {
    const id = crypto.randomUUID().slice(0, 8);
    const link = new VethLink(id);
    const [near, far] = [link.#near, link.#far];
    // The neighbour entries are fixed: a failed address resolution would be reported to the sender as an error.
    const [nearMac, farMac] = [NEAR_MAC, "02:00:00:00:00:02"];
    try {
      await ip("netns", "add", near);
      await ip("netns", "add", far);
      await ip(
        "-n",
        near,
        "link",
        "add",
        "veth0",
        "address",
        nearMac,
        "type",
        "veth",
        "peer",
        "name",
        "veth0",
        "address",
        farMac,
        "netns",
        far,
      );
      for (const [name, own, other, mac] of [[near, NEAR, FAR, farMac], [far, FAR, NEAR, nearMac]] as const) {
        await ip("-n", name, "address", "add", `${own}/30`, "dev", "veth0");
        await ip("-n", name, "link", "set", "lo", "up");
        await ip("-n", name, "link", "set", "veth0", "up");
        await ip("-n", name, "neighbour", "replace", other, "lladdr", mac, "nud", "permanent", "dev", "veth0");
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

  /** The command prefix that runs a program at the near end. */
  get near(): readonly string[] {
    return ["ip", "netns", "exec", this.#near];
  }

  /** The command prefix that runs a program at the far end. */
  get far(): readonly string[] {
    return ["ip", "netns", "exec", this.#far];
  }

  /** Sets the link down at the far end. The interface at the near end stays up, and the packets it sends are lost. */
  async setDown(): Promise<void> {
    await ip("-n", this.#far, "route", "add", "blackhole", `${NEAR}/32`);
    await ip("-n", this.#far, "link", "set", "veth0", "down");
  }

  /** Sets the link up again. */
  async setUp(): Promise<void> {
    await ip("-n", this.#far, "link", "set", "veth0", "up");
    await ip("-n", this.#far, "neighbour", "replace", NEAR, "lladdr", NEAR_MAC, "nud", "permanent", "dev", "veth0");
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
