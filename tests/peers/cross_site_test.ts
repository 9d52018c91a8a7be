/** The origin check against pages of other sites in Chromium, with and without cookies. */
import { assertEquals } from "@std/assert";
import { type Program, startProgram } from "../support/program.ts";
import { launchProfile, type Profile, requireBrowser } from "./browser.ts";

const ignore = !requireBrowser();
/** A name that the browser resolves to this machine. Its pages belong to another site. */
const OTHER = "other.example";
const FLAGS = [`--host-resolver-rules=MAP ${OTHER} 127.0.0.1`];
/** A session cookie that browsers also send from pages of other sites. */
const COOKIE = { name: "session", value: "secret", path: "/", sameSite: "None", secure: true } as const;

/** A website with one empty page. */
function serveSite(): Deno.HttpServer<Deno.NetAddr> {
  const html = { headers: { "content-type": "text/html" } };
  return Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, () => new Response("<!DOCTYPE html>", html));
}

/** Connects from a page of an origin. Returns `ok`, or the reason that the service logged. */
async function ask({ context }: Profile, origin: string, program: Program, cookie: boolean): Promise<string> {
  await context.clearCookies();
  if (cookie) await context.addCookies([{ ...COOKIE, domain: "localhost" }]);
  await using page = await context.newPage();
  await page.goto(origin);
  const known = program.stderr.text.length;
  const answer = await page.evaluate(`new Promise((resolve) => {
    const socket = new WebSocket(${JSON.stringify(program.url)});
    socket.onopen = () => socket.send("tom");
    socket.onmessage = ({ data }) => resolve(data);
    socket.onclose = ({ code }) => resolve("closed " + code);
  })`);
  if (answer !== "closed 1006") return String(answer);
  const refused = await program.stderr.until(/"message":"refused","status":403,"reason":"([^"]*)"/, known);
  return refused[1]!;
}

const HIJACKING = /with the user's cookies or credentials: cross-site WebSocket hijacking/;
const LOOPBACK = /listens on loopback and accepts only pages of this machine/;

Deno.test({ name: "a page of another site, in Chromium", ignore }, async (t) => {
  await using site = serveSite();
  const other = `http://${OTHER}:${site.addr.port}`;
  const sibling = `http://localhost:${site.addr.port}`;

  await t.step("on loopback: refuses other hosts' pages, and accepts other local pages without cookies", async () => {
    await using program = await startProgram();
    await using browser = await launchProfile({ accept: program.folder, flags: FLAGS });
    assertEquals(await ask(browser, program.http(), program, false), "ok");
    assertEquals(await ask(browser, program.http(), program, true), "ok");
    assertMatches(await ask(browser, other, program, false), LOOPBACK);
    assertMatches(await ask(browser, other, program, true), HIJACKING);
    assertEquals(await ask(browser, sibling, program, false), "ok");
    assertMatches(
      await ask(browser, sibling, program, true),
      /cross-site WebSocket hijacking\. The page was loaded without TLS/,
    );
  });

  await t.step("on every address: accepts another site only without cookies", async () => {
    await using program = await startProgram(["--host", "0.0.0.0", "--page"]);
    await using browser = await launchProfile({ accept: program.folder, flags: FLAGS });
    assertEquals(await ask(browser, other, program, false), "ok");
    assertMatches(await ask(browser, other, program, true), HIJACKING);
  });

  await t.step("with --origin: accepts the named site even with cookies, and no other site", async () => {
    await using program = await startProgram(["--origin", other]);
    await using browser = await launchProfile({ accept: program.folder, flags: FLAGS });
    assertEquals(await ask(browser, other, program, true), "ok");
    assertMatches(await ask(browser, sibling, program, false), /may not connect: --origin allows/);
  });
});

function assertMatches(answer: string, pattern: RegExp): void {
  if (!pattern.test(answer)) throw new Error(`"${answer}" does not match ${pattern}`);
}
