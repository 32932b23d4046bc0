// A person in Chromium, from the consent page to the client's own address; prints one JSON object a step. The CSP, the cookies
// and the Origin of a form are the browser's business, which no stub shows.
import http from "node:http";
import { given, load, step } from "./ts_trace.mjs";

const { chromium } = load("playwright-core");
const resource = given().url.href;
const issuer = new URL(resource).origin;

const arrivals = [];
const listener = http.createServer((request, response) => {
  arrivals.push(request.url);
  response.end("back at the client");
});
await new Promise((ready) => listener.listen(0, "localhost", ready));
const loopback = `http://localhost:${listener.address().port}/callback`;

async function authorizeUrl(redirect) {
  const body = JSON.stringify({ client_name: "Chromium", redirect_uris: [redirect] });
  const answer = await fetch(`${issuer}/register`, { method: "POST", body });
  const { client_id } = await answer.json();
  const parameters = {
    response_type: "code",
    client_id,
    redirect_uri: redirect,
    code_challenge: "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
    code_challenge_method: "S256",
    state: "x/y",
    resource,
  };
  return `${issuer}/authorize?${new URLSearchParams(parameters)}`;
}

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM,
  args: ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});
// The local CA is proven by the SDK clients; a profile that trusts it would need tools of the desktop.
const context = await browser.newContext({ ignoreHTTPSErrors: true });
const page = await context.newPage();
page.setDefaultTimeout(15_000);
const complaints = [];
page.on("console", (message) => complaints.push(message.text()));

await page.goto(await authorizeUrl(loopback));
await page.click("button[value=approve]");
await page.fill("input[name=name]", "alice");
await page.click("button");
await page.waitForURL(`${loopback}**`);
step("signed in", { arrived: arrivals.at(-1), cookies: await context.cookies(issuer) });

await page.goto(await authorizeUrl(loopback));
const known = (await page.textContent("main")).includes("You are signed in as alice");
await page.click("button[value=approve]");
await page.waitForURL(`${loopback}**`);
step("one click", { known, arrived: arrivals.at(-1) });

await page.goto(await authorizeUrl("cursor://anysphere.cursor-mcp/oauth/callback"));
await page.click("button[value=approve]");
await page.waitForSelector("a.button");
step("handed over", { link: await page.getAttribute("a.button", "href"), at: page.url() });

await page.goto(await authorizeUrl(loopback));
await page.click("button[value=deny]");
await page.waitForURL(`${loopback}**`);
step("declined", { arrived: arrivals.at(-1), complaints });

await browser.close();
listener.close();
