// npm @modelcontextprotocol/sdk 1.32.2 with its own OAuth code, all the way; prints one JSON object a step.
import { Provider, given, listen, load, walk } from "./ts_trace.mjs";

const { Client } = load("@modelcontextprotocol/sdk/client/index.js");
const { StreamableHTTPClientTransport } = load("@modelcontextprotocol/sdk/client/streamableHttp.js");
const { UnauthorizedError } = load("@modelcontextprotocol/sdk/client/auth.js");

const options = given();
const { url, arrived } = await listen();
const provider = new Provider("ts1", url);

const open = () => new StreamableHTTPClientTransport(options.url, { authProvider: provider });

const first = open();
try {
  await new Client({ name: "ts1", version: "1.0.0" }).connect(first);
  throw new Error("connected without a login");
} catch (error) {
  if (!(error instanceof UnauthorizedError)) throw error;
}
await first.finishAuth((await arrived).get("code"));
const client = new Client({ name: "ts1", version: "1.0.0" });
const transport = open();
await client.connect(transport);
await walk(client, provider, transport.protocolVersion, options);
