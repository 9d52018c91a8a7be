import { assertEquals } from "@std/assert";
import { Admission, type AdmissionRefusal, type Slot } from "../../lib/handshake/connection_limits.ts";
import { seeded } from "../support/seeded.ts";

function admitted(verdict: Slot | AdmissionRefusal): Slot {
  if (!verdict.ok) throw new Error(`refused: ${verdict.reason}`);
  return verdict;
}

function refused(verdict: Slot | AdmissionRefusal): AdmissionRefusal {
  if (verdict.ok) throw new Error("admitted");
  return verdict;
}

Deno.test("admission: a refusal contains the limit that was reached, its value and Retry-After", () => {
  const total = new Admission({ maxConnections: 2, maxConnectionsPerAddress: 0 });
  admitted(total.admit("192.0.2.1"));
  admitted(total.admit("192.0.2.1"));
  assertEquals(refused(total.admit("192.0.2.9")), {
    ok: false,
    status: 503,
    limit: "maxConnections",
    max: 2,
    retryAfter: 10,
    reason: "connection limit reached (2)",
  });

  const each = new Admission({ maxConnectionsPerAddress: 1 });
  admitted(each.admit("192.0.2.1"));
  const refusal = refused(each.admit("192.0.2.1"));
  assertEquals([refusal.limit, refusal.max, refusal.retryAfter], ["maxConnectionsPerAddress", 1, 10]);
  assertEquals(refusal.reason, "connection limit of one client address reached (1)");
  admitted(each.admit("192.0.2.2"));
});

Deno.test("admission: counts IPv6 clients by /64, IPv4-mapped addresses as IPv4, and clients without an address only in the total", () => {
  const admission = new Admission({ maxConnections: 7, maxConnectionsPerAddress: 1 });
  admitted(admission.admit("2001:db8:0:1::a"));
  assertEquals(admission.admit("2001:db8:0:1:ffff::b").ok, false);
  assertEquals(admission.admit("2001:DB8::1:0:0:0:C").ok, false);
  admitted(admission.admit("2001:db8:0:2::a"));
  admitted(admission.admit("192.0.2.1"));
  assertEquals(admission.admit("::ffff:192.0.2.1").ok, false);
  for (let i = 0; i < 4; i++) admitted(admission.admit(undefined));
  assertEquals(refused(admission.admit(undefined)).limit, "maxConnections");
});

Deno.test("admission: admits every connection if no limit is set", () => {
  const admission = new Admission({ maxConnections: undefined, maxConnectionsPerAddress: 0 });
  for (let i = 0; i < 10_000; i++) admitted(admission.admit("192.0.2.1"));
  assertEquals([admission.open, admission.clients], [10_000, 1]);
});

Deno.test("admission: a second release has no effect", () => {
  const admission = new Admission({ maxConnections: 3, maxConnectionsPerAddress: 2 });
  const first = admitted(admission.admit("192.0.2.1"));
  admitted(admission.admit("192.0.2.1"));
  first.release();
  first.release();
  assertEquals(admission.open, 1);
  admitted(admission.admit("192.0.2.1"));
  assertEquals(admission.admit("192.0.2.1").ok, false);
});

Deno.test("admission: counts stay exact in any order of opening and closing", () => {
  for (let seed = 1; seed <= 20; seed++) {
    const random = seeded(seed);
    const most = 5 + random(30);
    const mostEach = 1 + random(6);
    const admission = new Admission({ maxConnections: most, maxConnectionsPerAddress: mostEach });
    const open: { client: string; slot: Slot }[] = [];
    for (let step = 0; step < 3_000; step++) {
      if (random(100) < 55) {
        const network = random(12);
        const v6 = network >= 6;
        const client = `${v6 ? "net" : "host"} ${network}`;
        const verdict = admission.admit(v6 ? `2001:db8:0:${network}::${random(9_999)}` : `192.0.2.${network}`);
        const held = open.filter((one) => one.client === client).length;
        assertEquals(verdict.ok, open.length < most && held < mostEach, `seed ${seed} step ${step}`);
        if (verdict.ok) open.push({ client, slot: verdict });
      } else if (open.length > 0) {
        const [gone] = open.splice(random(open.length), 1);
        gone!.slot.release();
        if (random(3) === 0) gone!.slot.release();
      }
      assertEquals(admission.open, open.length, `seed ${seed} step ${step}`);
      assertEquals(admission.clients, new Set(open.map((one) => one.client)).size, `seed ${seed} step ${step}`);
    }
    for (const { slot } of open) slot.release();
    assertEquals([admission.open, admission.clients], [0, 0], `seed ${seed}`);
  }
});
