"""A FastMCP server with an authorization server of its own, as FastMCP's documentation has it. Usage: … --port PORT"""

import argparse

from fastmcp import FastMCP
from fastmcp.server.auth.providers.in_memory import InMemoryOAuthProvider
from mcp.server.auth.settings import ClientRegistrationOptions, RevocationOptions

if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--port", type=int, required=True)
    port = arguments.parse_args().port
    provider = InMemoryOAuthProvider(
        base_url=f"http://localhost:{port}",
        client_registration_options=ClientRegistrationOptions(enabled=True),
        revocation_options=RevocationOptions(enabled=True),
    )
    server = FastMCP("guarded", auth=provider)

    @server.tool
    def echo(text: str) -> str:
        """Says it again."""
        return f"fastmcp says {text}"

    server.run(transport="http", host="localhost", port=port, show_banner=False)
