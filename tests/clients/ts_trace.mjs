// What both Node clients share: the trace they print, the browser they open, and the listener the answer comes to.
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { parseArgs } from "node:util";

// The packages live in the test cache, not beside this file, and an ESM import would only look here.
export const load = createRequire(`${process.env.CLIENT_MODULES}/`);

export const step = (name, facts = {}) => console.log(JSON.stringify({ step: name, ...facts }));

const digest = (token) => createHash("sha256").update(token ?? "").digest("hex").slice(0, 12);

export function given() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      tool: { type: "string", default: "echo" },
      arguments: { type: "string", default: "{}" },
      era: { type: "string", default: "legacy" },
      steps: { type: "string", default: "expire,revoke" },
    },
  });
  return { ...values, arguments: JSON.parse(values.arguments), url: new URL(positionals[0]) };
}

// The client's own loopback address, where the browser brings the code.
export async function listen() {
  let arrive;
  const arrived = new Promise((resolve) => (arrive = resolve));
  const server = createServer((request, response) => {
    response.end("You may close this window.");
    arrive(new URL(request.url, "http://127.0.0.1").searchParams);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { url: `http://127.0.0.1:${server.address().port}/callback`, arrived };
}

// Both SDKs' OAuthClientProvider. Opens $BROWSER for the first login; a second one is what a revoked client asks for.
export class Provider {
  sets = 0;
  logins = 0;
  kept = {};

  constructor(name, redirectUrl) {
    this.redirectUrl = redirectUrl;
    this.clientMetadata = {
      client_name: name,
      redirect_uris: [redirectUrl],
      grant_types: ["authorization_code", "refresh_token"],
      response_types: ["code"],
    };
  }

  state = () => (this.kept.state ??= createHash("sha256").update(this.redirectUrl).digest("base64url"));
  clientInformation = () => this.kept.client;
  saveClientInformation = (client) => void (this.kept.client = client);
  tokens = () => this.kept.tokens;
  saveTokens = (tokens) => {
    this.kept.tokens = tokens;
    this.kept.since = Date.now();
    this.sets += 1;
  };
  codeVerifier = () => this.kept.verifier;
  saveCodeVerifier = (verifier) => void (this.kept.verifier = verifier);
  discoveryState = () => this.kept.discovery;
  saveDiscoveryState = (discovery) => void (this.kept.discovery = discovery);
  invalidateCredentials = (scope) => {
    for (const it of scope === "all" ? Object.keys(this.kept) : [scope]) delete this.kept[it];
  };

  redirectToAuthorization(url) {
    this.logins += 1;
    if (this.logins > 1) {
      step("asked to log in again");
      process.exit(0);
    }
    step("login", { authorize: url.origin + url.pathname, parameters: [...url.searchParams.keys()].sort() });
    const [command, ...rest] = process.env.BROWSER.split(" ");
    spawn(command, [...rest, url.href], { stdio: ["ignore", 2, 2] });
  }

  facts() {
    const it = this.kept.tokens;
    const { expires_in, scope } = it;
    return { token_sets: this.sets, access: digest(it.access_token), refresh: digest(it.refresh_token), expires_in, scope };
  }

  // A token's life is time itself, so this can only wait; the second is for the whole seconds of `exp`.
  untilExpired() {
    const end = this.kept.since + this.kept.tokens.expires_in * 1000 + 1000;
    return new Promise((resolve) => setTimeout(resolve, Math.max(0, end - Date.now())));
  }

  async revoke(issuer) {
    const body = { token: this.kept.tokens.refresh_token, client_id: this.kept.client.client_id };
    const answer = await fetch(`${issuer}/revoke`, { method: "POST", body: new URLSearchParams(body) });
    return answer.status;
  }
}

// The way through once the client is connected, the same for both SDKs.
export async function walk(client, provider, era, { url, tool, arguments: args, steps }) {
  step("connected", { era, ...provider.facts() });
  step("listed", { tools: (await client.listTools()).tools.map((it) => it.name).sort() });
  const result = await client.callTool({ name: tool, arguments: args });
  step("called", { content: result.content.map((it) => it.text ?? it.type), error: Boolean(result.isError) });
  if (steps.includes("expire")) {
    await provider.untilExpired();
    const again = await client.callTool({ name: tool, arguments: args });
    step("called after expiry", { error: Boolean(again.isError), logins: provider.logins, ...provider.facts() });
  }
  if (steps.includes("revoke")) {
    step("revoked", { status: await provider.revoke(url.origin) });
    await client.callTool({ name: tool, arguments: args });
    step("called after revocation");
  }
  process.exit(0);
}
