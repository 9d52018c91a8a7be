/** The test page in Chromium: over https, on a phone, in the chat, and with a trusted authority. */
import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import { killIn } from "../support/processes.ts";
import { makeFolder, startProgram } from "../support/program.ts";
import { complaintsOf, launchBrowser, requireBrowser, TestPage } from "./browser.ts";
import { requirePeer } from "./require.ts";

const ignore = !requireBrowser();

Deno.test({ name: "Chromium on the test page", ignore }, async (t) => {
  await using program = await startProgram();
  await using browser = await launchBrowser({ accept: program.folder });

  await t.step("loads over https, sends tom, and receives ok", async () => {
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
    await page.getByText("closed with 1000").waitFor();
    await page.getByText("Not connected", { exact: true }).waitFor();
    await test.connect();
    await test.send("again");
    assertEquals(await page.locator("#log .out").allTextContents().then((lines) => lines.length), 2);
    assertEquals(complaints, []);
  });

  await t.step("the content security policy blocks an inline script", async () => {
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

  await t.step("fits a phone, and its controls are large enough to touch", async () => {
    await using context = await browser.newContext({
      viewport: { width: 320, height: 640 },
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
    assertEquals(widths, [320, 320], "the page scrolls sideways");
    for (const control of await page.locator("input:visible, textarea, select:visible, button:visible").all()) {
      if (await control.getAttribute("type") === "file") continue;
      const box = await control.boundingBox();
      assert(
        box !== null && box.height >= 44,
        `${await control.evaluate((element) => element.outerHTML)} is too small`,
      );
    }
    assertEquals(complaints, []);
  });
});

Deno.test({ name: "Chromium: what the test page shows and offers", ignore }, async (t) => {
  await using program = await startProgram(["--app", "./app.ts", "--max-payload", "2KiB"], {
    files: {
      "app.ts": `import { defineApp } from "@wss/wss";
        export default defineApp({
          message(peer, message) {
            if (message.text() === "fail") throw new Error("as asked");
            peer.send(message.rawData);
          },
        });`,
    },
  });
  await using browser = await launchBrowser({ accept: program.folder });
  await using context = await browser.newContext({ permissions: ["clipboard-read", "clipboard-write"] });
  const page = await context.newPage();
  const complaints = complaintsOf(page);
  await page.goto(program.http("/wss"));
  const test = new TestPage(page);

  await t.step("shows the app, the mode and the certificate", async () => {
    const facts = await page.locator("#facts").innerText();
    for (const part of ["./app.ts", "this service terminates TLS", "certs/cert.pem, until 20"]) {
      assert(facts.includes(part), facts);
    }
  });
  await t.step("shows the time and size of a message, and scrolls to the newest line", async () => {
    await test.connect();
    await test.send("größer");
    await test.received(/\d\d:\d\d:\d\d\.\d{3} ← 8 B größer/);
    for (let i = 0; i < 40; i++) await test.send(`line ${i}`);
    await test.received("line 39");
    const last = page.locator("#log li").last();
    await last.waitFor();
    const [line, list] = [await last.boundingBox(), await page.locator("#log").boundingBox()];
    assert(line!.y + line!.height <= list!.y + list!.height + 1);
  });
  await t.step("folds a long message, sends a file, and shows its echo in hex", async () => {
    await test.send("x".repeat(400));
    const long = page.locator("#log .in details").last();
    await long.getByText("x".repeat(300) + "…").waitFor();
    const file = join(program.folder, "some.bin");
    await Deno.writeFile(file, new Uint8Array([0, 1, 2, 0x77, 0x73, 0x73]));
    await page.locator("#file").setInputFiles(file);
    const hex = page.locator("#log .in details").last();
    await page.getByText(/← 6 B binary/).waitFor();
    await hex.locator("summary").click();
    await hex.getByText(/00 01 02 77 73 73 +\.\.\.wss/).waitFor();
  });
  await t.step("explains close codes, and offers the check command", async () => {
    await test.send("y".repeat(3000));
    await page.getByText(/closed with 1009.*longer than the service accepts/).waitFor();
    await test.connect();
    await test.send("fail");
    await page.getByText(/closed with 1011.*the service's app failed/).waitFor();
    await page.getByRole("button", { name: "Copy the check command" }).last().click();
    await page.getByRole("button", { name: "Copied" }).waitFor();
    assertEquals(await page.evaluate("navigator.clipboard.readText()"), `wss check ${program.url}wss`);
  });
  await t.step("offers code for this address to copy", async () => {
    await page.getByText("Connect from your own code").click();
    await page.getByLabel("Language").selectOption({ index: 3 });
    await page.locator("#copy-snippet").click();
    const text = await page.evaluate("navigator.clipboard.readText()") as string;
    assert(text.includes(`with connect("${program.url}wss") as socket:`), text);
  });
  await t.step("sends a subprotocol and a token", async () => {
    await page.getByText("Subprotocols, token, reconnecting").click();
    await page.getByLabel("Token").fill("secret");
    await test.connect();
    await page.getByText("connected, subprotocol wss.v1").waitFor();
    await page.getByRole("button", { name: "Disconnect" }).click();
  });
  await t.step("works with the keyboard alone", async () => {
    await page.getByLabel("Address").focus();
    await page.keyboard.press("Enter");
    await page.locator("#message:focus").waitFor();
    await page.keyboard.type("by hand");
    await page.keyboard.press("Enter");
    await test.received("by hand");
  });
  assertEquals(complaints, []);
});

Deno.test({ name: "Chromium: the page reconnects if the option is set", ignore }, async () => {
  const folder = await Deno.realPath(await makeFolder());
  try {
    const options = ["--mode", "proxied", "--page", "--drain-timeout", "0s"];
    await using program = await startProgram(options, { folder });
    try {
      await using browser = await launchBrowser({});
      await using context = await browser.newContext();
      const page = await context.newPage();
      await page.goto(program.http());
      await page.getByText("Subprotocols, token, reconnecting").click();
      await page.getByLabel("Reconnect when the connection ends").check();
      const test = new TestPage(page);
      await test.connect();
      // A new process takes over the port, and the old process closes its connections.
      program.signal("SIGUSR2");
      await page.getByText(/closed with 1001/).waitFor();
      await page.getByText(/^Connected to/).waitFor();
      await test.send("tom");
      await test.received(/ ok$/);
    } finally {
      killIn(folder);
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
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

Deno.test({ name: "Chromium trusts the authority after certutil adds it", ignore: !hasNss }, async () => {
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
