/** Chromium on the test page: over https, on a phone, in the chat, and with the authority really trusted. */
import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import { makeFolder, startProgram } from "../support/program.ts";
import { complaintsOf, launchBrowser, requireBrowser, TestPage } from "./browser.ts";
import { requirePeer } from "./require.ts";

const ignore = !requireBrowser();

Deno.test({ name: "Chromium on the test page", ignore }, async (t) => {
  await using program = await startProgram();
  await using browser = await launchBrowser({ accept: program.folder });

  await t.step("loads it over https, sends tom, sees ok", async () => {
    await using context = await browser.newContext();
    const page = await context.newPage();
    const complaints = complaintsOf(page);
    await page.goto(program.http());
    assertEquals(await page.title(), "wss");
    assertEquals(await page.getByLabel("Address").inputValue(), program.url);
    const test = new TestPage(page);
    await test.connect();
    await test.send("tom");
    await test.received(/ ok$/);

    await page.getByRole("button", { name: "Disconnect" }).click();
    await page.getByText(/closed: 1000/).waitFor();
    await page.getByText("not connected").waitFor();
    await test.connect();
    await test.send("again");
    assertEquals(await page.locator("#log .out").allTextContents().then((lines) => lines.length), 2);
    assertEquals(complaints, []);
  });

  await t.step("its policy holds: what is inline or from elsewhere does not run", async () => {
    await using context = await browser.newContext();
    const page = await context.newPage();
    const complaints = complaintsOf(page);
    await page.goto(program.http());
    await page.evaluate(`{
      const script = document.createElement("script");
      script.textContent = "document.title = 'injected'";
      document.body.append(script);
    }`);
    assertEquals(await page.title(), "wss");
    assert(complaints.some((text) => text.includes("Content Security Policy")), complaints.join("\n"));
  });

  await t.step("fits a phone, and its controls are large enough for a thumb", async () => {
    await using context = await browser.newContext({
      viewport: { width: 360, height: 640 },
      deviceScaleFactor: 2,
      isMobile: true,
      hasTouch: true,
    });
    const page = await context.newPage();
    const complaints = complaintsOf(page);
    await page.goto(program.http());
    const test = new TestPage(page);
    await test.connect();
    await test.send("a long line without a space ".replaceAll(" ", "-").repeat(20));
    await test.received(/ ok$/);
    const widths = await page.evaluate("[document.documentElement.scrollWidth, innerWidth]");
    assertEquals(widths, [360, 360], "it scrolls sideways");
    for (const control of await page.locator("input, button").all()) {
      const box = await control.boundingBox();
      assert(
        box !== null && box.height >= 44,
        `${await control.evaluate((element) => element.outerHTML)} is too small`,
      );
    }
    assertEquals(complaints, []);
  });
});

Deno.test({ name: "Chromium: two people in the chat", ignore }, async () => {
  await using program = await startProgram(["--app", "chat"]);
  await using browser = await launchBrowser({ accept: program.folder });
  await using context = await browser.newContext();
  const open = async () => {
    const page = await context.newPage();
    await page.goto(program.http());
    return new TestPage(page);
  };
  const [anna, ben] = [await open(), await open()];
  await anna.connect();
  await anna.send("/name Anna");
  await anna.send("/who");
  await anna.received("in lobby: Anna");
  await ben.connect();
  await ben.send("/name Ben");
  await ben.send("/who");
  await ben.received("in lobby: Anna, Ben");
  await ben.send("hello, <b>Anna</b>");
  await anna.received("Ben: hello, <b>Anna</b>");
  await ben.page.close();
  await anna.received("* Ben left lobby");
});

const hasNss = !ignore && requirePeer("sh", "-c", "command -v certutil");

Deno.test({ name: "Chromium trusts the authority as the program tells", ignore: !hasNss }, async () => {
  await using program = await startProgram();
  const home = await makeFolder();
  try {
    const database = `sql:${join(home, ".pki/nssdb")}`;
    await Deno.mkdir(join(home, ".pki/nssdb"), { recursive: true });
    const add = ["-d", database, "-A", "-t", "C,,", "-n", "wss-development", "-i", program.ca];
    for (const args of [["-N", "-d", database, "--empty-password"], add]) {
      const { success } = await new Deno.Command("certutil", { args, stdin: "null" }).output();
      assert(success, args.join(" "));
    }
    await using browser = await launchBrowser({ home });
    const page = await browser.newPage();
    await page.goto(program.http());
    const test = new TestPage(page);
    await test.connect();
    await test.send("tom");
    await test.received(/ ok$/);
  } finally {
    await Deno.remove(home, { recursive: true });
  }
});
