/** The operator's files while they are replaced, one after the other. */
import { assertEquals, assertRejects } from "@std/assert";
import { StartError } from "../../lib/errors.ts";
import { silent } from "../../lib/log.ts";
import { FilesSource } from "../../lib/tls/certificate_source.ts";
import { peerTest } from "../peers/require.ts";
import { openPki } from "../support/openssl.ts";

peerTest(
  "openssl",
  "a certificate and a key that do not match yet are read again; other problems are reported at once",
  async () => {
    await using pki = await openPki();
    const [old, next] = [await pki.leaf("old"), await pki.leaf("next")];
    const [cert, key] = [pki.path("live.pem"), pki.path("live.key")];
    await using source = new FilesSource({ cert, key }, silent);
    await Deno.copyFile(next.cert, cert);
    await Deno.copyFile(old.key, key);
    const loading = source.load();
    Deno.copyFileSync(next.key, key);
    assertEquals((await loading).key, (await new FilesSource(next, silent).load()).key);

    await Deno.copyFile(old.key, key);
    await assertRejects(
      () => source.load(),
      StartError,
      `Cannot use the key ${key}: it does not belong to the certificate`,
    );
    await Deno.writeTextFile(cert, "no certificate");
    const broken = source.load();
    Deno.copyFileSync(next.cert, cert);
    Deno.copyFileSync(next.key, key);
    await assertRejects(() => broken, StartError, `Cannot read ${cert}`);
  },
);
