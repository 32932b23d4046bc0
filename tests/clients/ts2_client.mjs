// npm @modelcontextprotocol/client 2.4.0 with its own OAuth code, all the way; prints one JSON object a step.
import { Provider, given, listen, load, walk } from "./ts_trace.mjs";

const { Client, StreamableHTTPClientTransport, UnauthorizedError } = load("@modelcontextprotocol/client");

const options = given();
const { url, arrived } = await listen();
const provider = new Provider("ts2", url);
const mode = ["auto", "legacy"].includes(options.era) ? options.era : { pin: options.era };
const make = () => new Client({ name: "ts2", version: "1.0.0" }, { versionNegotiation: { mode } });
const open = () => new StreamableHTTPClientTransport(options.url, { authProvider: provider });

const first = open();
try {
  await make().connect(first);
  throw new Error("connected without a login");
} catch (error) {
  if (!(error instanceof UnauthorizedError)) throw error;
}
await first.finishAuth(await arrived);
const client = make();
await client.connect(open());
await walk(client, provider, client.getNegotiatedProtocolVersion(), options);
