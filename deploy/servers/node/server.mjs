// An MCP server that knows nothing of OAuth: who calls is told by headers that the gateway sets, and that only it can set here.
import { createMcpExpressApp } from "@modelcontextprotocol/sdk/server/express.js";
import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js";
import { connect } from "node:net";
import { z } from "zod";

const PORT = 3000;

const text = (value) => ({ content: [{ type: "text", text: value }] });

function server() {
  const mcp = new McpServer({ name: "node", version: "1.0.0" });
  mcp.registerTool(
    "add",
    { description: "The sum of two numbers", inputSchema: { a: z.number(), b: z.number() } },
    ({ a, b }) => text(String(a + b)),
  );
  mcp.registerTool("whoami", { description: "Who calls, as the gateway tells it" }, ({ requestInfo }) => {
    const { "x-user-name": name, "x-user-id": id } = requestInfo.headers;
    return text(`${name} (${id})`);
  });
  return mcp;
}

function health() {
  const socket = connect(PORT, "127.0.0.1", () => process.exit(0));
  socket.on("error", () => process.exit(1));
}

function serve() {
  // The name by which the gateway reaches it, and no other: a rebound DNS name does not get in.
  const app = createMcpExpressApp({ host: "0.0.0.0", allowedHosts: ["node"] });
  // Without sessions: each request has a server of its own, and a restart loses nothing.
  app.post("/mcp", async (request, response) => {
    const mcp = server();
    const transport = new StreamableHTTPServerTransport({ sessionIdGenerator: undefined });
    response.on("close", () => mcp.close());
    await mcp.connect(transport);
    await transport.handleRequest(request, response, request.body);
  });
  app.all("/mcp", (_, response) => response.status(405).set("Allow", "POST").end());
  const listener = app.listen(PORT, "0.0.0.0");
  process.on("SIGTERM", () => {
    listener.close(() => process.exit(0));
    listener.closeIdleConnections();
    setTimeout(() => process.exit(0), 3000).unref();
  });
}

if (process.argv.includes("--health")) health();
else serve();
