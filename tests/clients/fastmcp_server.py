"""A FastMCP server as people write them, with no idea of OAuth. Usage: fastmcp_server.py --port PORT"""

import argparse

from fastmcp import FastMCP

server = FastMCP("plain")


@server.tool
def echo(text: str) -> str:
    """Says it again."""
    return f"fastmcp says {text}"


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--port", type=int, required=True)
    server.run(transport="http", host="127.0.0.1", port=arguments.parse_args().port, show_banner=False)
