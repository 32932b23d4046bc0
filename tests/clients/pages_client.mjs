// Every page that people see, in Chromium: axe-core finds nothing, 360 px are enough, dark and light. Prints one JSON object a
// page, and leaves a screenshot of each in $SHOTS. The pages stay under their own policy: axe-core comes by the debugger.
import { readFileSync } from "node:fs";
import http from "node:http";
import { given, load, step } from "./ts_trace.mjs";

const { chromium } = load("playwright-core");
const axe = readFileSync(load.resolve("axe-core/axe.min.js"), "utf8");
const issuer = given().url.origin;
const { CHROMIUM, SHOTS, ELSEWHERE, GITHUB_ISSUER, GITHUB_PORT } = process.env;
const loopback = "http://localhost:9/callback";

// A GitHub that goes wrong in the way that is asked for.
let mood = "away";
http
  .createServer((request, response) => {
    const url = new URL(request.url, "http://localhost");
    if (url.pathname === "/login/oauth/authorize") {
      const back = new URL(url.searchParams.get("redirect_uri"));
      back.searchParams.set("state", url.searchParams.get("state"));
      back.searchParams.set(...(mood === "denied" ? ["error", "access_denied"] : ["code", "c"]));
      return response.writeHead(302, { location: back.href }).end();
    }
    if (mood === "away") return request.socket.destroy();
    response.setHeader("content-type", "application/json");
    if (!url.pathname.startsWith("/login")) return response.end(JSON.stringify({ id: 7, login: "mallory" }));
    const token = { access_token: "gho_x", token_type: "bearer", scope: "read:user" };
    response.end(JSON.stringify(mood === "stranger" ? token : { error: mood }));
  })
  .listen(Number(GITHUB_PORT), "127.0.0.1");

async function register(at, redirect, name) {
  const body = JSON.stringify({ client_name: name, redirect_uris: [redirect] });
  const answer = await fetch(`${at}/register`, { method: "POST", body });
  return (await answer.json()).client_id;
}

function authorizeUrl(at, client_id, redirect_uri, more = {}) {
  const parameters = {
    response_type: "code",
    client_id,
    redirect_uri,
    code_challenge: "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
    code_challenge_method: "S256",
    state: "s",
    ...more,
  };
  return `${at}/authorize?${new URLSearchParams(parameters)}`;
}

const browser = await chromium.launch({
  executablePath: CHROMIUM,
  args: ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});
const context = await browser.newContext();
const page = await context.newPage();
page.setDefaultTimeout(15_000);
const complaints = [];
page.on("console", (message) => complaints.push(message.text()));

// What is wrong with the page that is open, in each look.
async function look(name) {
  const faults = [];
  if ((await page.evaluate(() => document.styleSheets.length)) !== 1) faults.push("it has no stylesheet");
  for (const colorScheme of ["light", "dark"]) {
    for (const width of [360, 1280]) {
      await page.emulateMedia({ colorScheme });
      await page.setViewportSize({ width, height: 800 });
      const where = `${colorScheme}, ${width} px`;
      const wide = await page.evaluate(() => document.documentElement.scrollWidth);
      if (wide > width) faults.push(`${where}: it is ${wide} px wide`);
      await page.evaluate(axe);
      const { violations } = await page.evaluate(() => globalThis.axe.run(document, { preload: false }));
      for (const { id, nodes } of violations) faults.push(`${where}: ${id}: ${nodes.map((it) => it.html)}`);
      await page.screenshot({ path: `${SHOTS}/${name}-${colorScheme}-${width}.png`, fullPage: true });
    }
  }
  step(name, { title: await page.title(), text: await page.textContent("main"), faults });
}

async function visit(name, url) {
  await page.goto(url);
  await look(name);
}

// Strangers, and what is at an address.
await visit("home of a stranger", `${issuer}/`);
await visit("landing", `${issuer}/echo/mcp`);
await visit("landing on another host", ELSEWHERE);
await visit("not found", `${issuer}/nothing`);
await visit("not found on another host", new URL("/nothing", ELSEWHERE).href);

// Requests that cannot be answered.
const app = await register(issuer, loopback, "Example Desktop");
await visit("client-unknown", authorizeUrl(issuer, "nobody", loopback));
await visit("redirect-mismatch", authorizeUrl(issuer, app, "http://localhost:9/other"));
await visit("redirect-invalid", authorizeUrl(issuer, app, "myapp://callback"));
const web = await register(issuer, "https://app.example.com/callback", "Web App");
await visit("request-invalid", authorizeUrl(issuer, web, "https://app.example.com/callback", { code_challenge: "x" }));
await visit("state-reused", `${issuer}/callback?code=c&state=unknown`);
await page.click("text=More about this");
await look("help");
await page.click("text=All troubles");
await look("help, all");
await visit("help about nothing", `${issuer}/help/nothing`);

// Consent, and the way through it.
const one = { resource: `${issuer}/echo/mcp` };
const described = { resource: ELSEWHERE, scope: "todo:write offline_access" };
await visit("consent", authorizeUrl(issuer, web, "https://app.example.com/callback", described));
await visit("consent on this computer", authorizeUrl(issuer, app, loopback, one));
await visit("consent with a choice", authorizeUrl(issuer, app, loopback));
await page.evaluate(() => (document.querySelector("[name=form_token]").value = "forged"));
await page.check("input[name=chosen_service] >> nth=0");
await page.click("button[value=approve]");
await look("form-expired");
const cursor = "cursor://anysphere.cursor-mcp/oauth/callback";
const editor = await register(issuer, cursor, "Cursor");
await page.goto(authorizeUrl(issuer, editor, cursor, one));
await page.click("button[value=deny]");
await page.waitForSelector("a.button");
await look("handed over, denied");
await page.goto(authorizeUrl(issuer, editor, cursor, one));
await page.click("button[value=approve]");
await page.waitForSelector("input[name=name]");
await look("dev login");
await page.fill("input[name=name]", "alice");
await page.click("button");
await page.waitForSelector("a.button");
await page.click("summary");
await look("handed over");
await visit("consent with a session", authorizeUrl(issuer, app, loopback, one));
await visit("home without connections", `${issuer}/`);

// Two connections within a minute, so that the page speaks of them.
async function connect(client, redirect) {
  await page.goto(authorizeUrl(issuer, client, redirect, one));
  await page.click("button[value=approve]");
  await page.waitForSelector("a.button");
  const code = new URL(await page.getAttribute("a.button", "href")).searchParams.get("code");
  const form = {
    grant_type: "authorization_code",
    client_id: client,
    redirect_uri: redirect,
    code,
    code_verifier: "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
  };
  const answer = await fetch(`${issuer}/token`, { method: "POST", body: new URLSearchParams(form) });
  return (await answer.json()).access_token;
}
const call = async (token) => {
  const headers = { authorization: `Bearer ${token}`, "content-type": "application/json", accept: "application/json, text/event-stream" };
  const about = { protocolVersion: "2025-06-18", capabilities: {}, clientInfo: { name: "pages", version: "1" } };
  const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method: "initialize", params: about });
  return (await fetch(`${issuer}/echo/mcp`, { method: "POST", headers, body })).status;
};
const token = await connect(editor, cursor);
await connect(await register(issuer, "vscode://example.mcp/callback", "Visual Studio Code"), "vscode://example.mcp/callback");
await page.goto(`${issuer}/`);
await page.locator("main details summary").first().click();
await look("home with connections");

const before = await call(token);
const stale = await page.inputValue("[name=grant] >> nth=0");
await page.click("button[aria-label='Disconnect Cursor from echo']");
await page.waitForSelector("#connected");
step("disconnected", { before, after: await call(token), left: await page.locator("button.danger").count(), stale });
await page.evaluate(() => (document.querySelector("[name=grant]").value = "AAAAAAAAAAAAAAAAAAAAAA"));
await page.click("button.danger");
await look("connection-unknown");
await page.goto(`${issuer}/`);
await page.click("button[formaction='/sign-out']");
await page.waitForSelector("button:has-text('Sign in')");
step("signed out", { cookies: (await context.cookies(issuer)).map((it) => it.name) });
await page.evaluate(() => (document.querySelector("[name=form_token]").value = "forged"));
await page.click("button");
await look("page-expired");

// What goes wrong at GitHub, on the way of a client and of the page itself.
const client = await register(GITHUB_ISSUER, loopback, "Example Desktop");
async function throughGitHub(name, wrong) {
  mood = wrong;
  await page.goto(authorizeUrl(GITHUB_ISSUER, client, loopback));
  await page.click("button[value=approve]");
  await page.waitForSelector("#next");
  await look(name);
}
await throughGitHub("github-unreachable", "away");
await throughGitHub("github-credentials", "incorrect_client_credentials");
await throughGitHub("github-callback", "redirect_uri_mismatch");
await throughGitHub("not-allowed", "stranger");
for (const [name, wrong] of [["sign-in denied", "denied"], ["let in nowhere", "stranger"]]) {
  mood = wrong;
  await page.goto(`${GITHUB_ISSUER}/`);
  await page.click("button");
  await page.waitForSelector("#next");
  await look(name);
}

// A person with nothing but a keyboard: Tab and Enter, from the consent page to the client.
const keys = await (await browser.newContext()).newPage();
keys.setDefaultTimeout(15_000);
const focused = () =>
  keys.evaluate(() => {
    const it = document.activeElement;
    const seen = getComputedStyle(it).outlineStyle !== "none" && it.matches(":focus-visible");
    return { what: it.value || it.tagName, seen };
  });
const order = [];
async function tab(until) {
  for (let times = 0; times < 20; times += 1) {
    await keys.keyboard.press("Tab");
    const { what, seen } = await focused();
    order.push(seen ? what : `${what} (not to be seen)`);
    if (what === until) return;
  }
}
await keys.goto(authorizeUrl(issuer, editor, cursor, one));
await tab("approve");
await keys.keyboard.press("Enter");
await keys.waitForSelector("input[name=name]");
await tab("dev");
await keys.keyboard.press("Enter");
await keys.waitForSelector("a.button");
step("by keyboard", { order, title: await keys.title() });

await browser.close();
step("end", { complaints });
process.exit(0);
