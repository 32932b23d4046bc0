"""An MCP server that knows nothing of OAuth: who calls is told by headers that the gateway sets, and that only it can set here."""

import socket
import sys

import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.transport_security import TransportSecuritySettings

PORT = 3000

mcp = MCPServer("python")


@mcp.tool()
def reverse(text: str) -> str:
    """The text, back to front."""
    return text[::-1]


@mcp.tool()
def whoami(context: Context) -> str:
    """Who calls, as the gateway tells it."""
    headers = context.headers or {}
    return f"{headers.get('x-user-name', '')} ({headers.get('x-user-id', '')})"


if __name__ == "__main__":
    if "--health" in sys.argv:
        socket.create_connection(("127.0.0.1", PORT), 3).close()
    else:
        # The name by which the gateway reaches it, and no other: a rebound DNS name does not get in.
        hosts = TransportSecuritySettings(allowed_hosts=[f"python:{PORT}"])
        app = mcp.streamable_http_app(transport_security=hosts)
        uvicorn.run(app, host="0.0.0.0", port=PORT, log_level="warning")
