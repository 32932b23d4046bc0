"""What every subject is configured with: the same certificate, TLS 1.3 only where it can be said, kept connections to the
upstream, as many threads, no access log."""

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Reserved for tests (RFC 6761), never looked up: every client is told the address.
HOST = "mcp.bench.test"
ISSUER_HOST = "auth.bench.test"
USER = "github:583231"

# What a tool call is like; the answer has 200 bytes.
CALL = json.dumps(
    {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": "echo", "arguments": {"text": "hello"}},
    },
    separators=(",", ":"),
)
_FRAME = '{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":""}]}}'
ANSWER = _FRAME.replace('"text":""', f'"text":"{"x" * (200 - len(_FRAME))}"')
HEADERS = {
    "content-type": "application/json",
    "accept": "application/json, text/event-stream",
    "mcp-protocol-version": "2026-07-28",
    "mcp-method": "tools/call",
    "mcp-name": "echo",
}


@dataclass(frozen=True)
class Place:
    """Where a subject works: its folder, its port, where it passes requests on to, with how many threads."""

    folder: Path
    port: int
    upstream: int
    threads: int
    certificate: Path
    key: Path

    @property
    def resource(self) -> str:
        """The service of every subject, as clients write it."""
        return f"https://{HOST}:{self.port}/mcp"


def upstream(folder: Path, http1: int, http2: int, streams: int, threads: int) -> str:
    """nginx as the server behind: a POST is answered at once, a GET by a stream that stays silent (hold.py)."""
    return f"""
{_nginx_head(folder, threads)}
http {{
{_nginx_folders(folder)}
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 300s;
    server {{
        listen 127.0.0.1:{http1} backlog=4096;
        listen 127.0.0.1:{http2} http2 backlog=4096;
        default_type application/json;
        location / {{
            if ($request_method = GET) {{
                rewrite ^ /stream last;
            }}
            return 200 '{ANSWER}';
        }}
        location = /stream {{
            internal;
            proxy_pass http://127.0.0.1:{streams};
            proxy_http_version 1.1;
            # A server that streams says so, and an nginx in front believes it: its buffers for JSON are left as they are.
            proxy_pass_header X-Accel-Buffering;
            proxy_read_timeout 3600s;
        }}
    }}
}}
"""


def nginx(place: Place) -> str:
    """A plain TLS proxy: nobody is asked who they are."""
    return f"""
{_nginx_head(place.folder, place.threads)}
http {{
{_nginx_folders(place.folder)}
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 300s;
    upstream behind {{
        server 127.0.0.1:{place.upstream};
        keepalive 256;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{place.port} ssl http2 backlog=4096;
        server_name {HOST};
        ssl_certificate {place.certificate};
        ssl_certificate_key {place.key};
        ssl_protocols TLSv1.3;
        ssl_session_tickets on;
        location / {{
            proxy_pass http://behind;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Forwarded-Host $http_host;
            proxy_read_timeout 3600s;
        }}
    }}
}}
"""


def _nginx_head(folder: Path, threads: int) -> str:
    return f"""
user root;
daemon off;
worker_processes {threads};
error_log {folder}/error.log error;
pid {folder}/nginx.pid;
events {{ worker_connections 12000; }}
"""


def _nginx_folders(folder: Path) -> str:
    kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
    return "\n".join(f"    {kind}_temp_path {folder}/{kind};" for kind in kinds)


def haproxy(place: Place, issuer: str, resource: str, key: Path) -> str:
    """The token checked as HAProxy's own guide does it: algorithm, signature, issuer, audience, expiry; then the user told to
    the server behind. There is no revocation to ask. Its threads do not share idle connections to the upstream: 2.6 spins while
    one takes them from another, 2 ms for the first request of each new connection."""
    return f"""
global
    nbthread {place.threads}
    maxconn 9000
    tune.idle-pool.shared off
    ssl-default-bind-options ssl-min-ver TLSv1.3
    ssl-default-bind-ciphersuites TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384
defaults
    mode http
    timeout connect 5s
    timeout client 1h
    timeout server 1h
    timeout http-keep-alive 5m
    http-reuse always
    option forwardfor
frontend front
    bind 127.0.0.1:{place.port} backlog 4096 ssl crt {place.folder}/both.pem alpn h2,http/1.1
    http-request set-var(txn.token) http_auth_bearer
    http-request set-var(txn.alg) var(txn.token),jwt_header_query('$.alg')
    http-request set-var(txn.iss) var(txn.token),jwt_payload_query('$.iss')
    http-request set-var(txn.aud) var(txn.token),jwt_payload_query('$.aud')
    http-request set-var(txn.exp) var(txn.token),jwt_payload_query('$.exp','int')
    http-request set-var(txn.now) date()
    http-request return status 401 unless {{ var(txn.alg) -m str ES256 }}
    http-request return status 401 unless {{ var(txn.iss) -m str {issuer} }}
    http-request return status 401 unless {{ var(txn.aud) -m str {resource} }}
    http-request return status 401 if {{ var(txn.exp),sub(txn.now) -m int lt 0 }}
    http-request return status 401 unless {{ var(txn.token),jwt_verify(txn.alg,"{key}") 1 }}
    http-request del-header authorization
    http-request set-header X-User-Id %[var(txn.token),jwt_payload_query('$.sub')]
    http-request set-header X-User-Name %[var(txn.token),jwt_payload_query('$.preferred_username')]
    http-request set-header X-Forwarded-Proto https
    http-request set-header X-Forwarded-Host %[req.hdr(host)]
    default_backend behind
backend behind
    server one 127.0.0.1:{place.upstream}
"""


def caddy(place: Place) -> str:
    """A plain TLS proxy, as in Caddy's own guide. Its threads are told by GOMAXPROCS."""
    return f"""
{{
    admin off
    auto_https off
    log {{
        output discard
    }}
    servers {{
        protocols h1 h2
    }}
}}
https://{HOST}:{place.port} {{
    bind 127.0.0.1
    tls {place.certificate} {place.key} {{
        protocols tls1.3
    }}
    reverse_proxy 127.0.0.1:{place.upstream} {{
        transport http {{
            keepalive 5m
            keepalive_idle_conns_per_host 256
        }}
    }}
}}
"""


def portcullis(
    place: Place,
    services: dict[str, str],
    store: str | None = None,
    log: str = "warn",
) -> dict[str, Any]:
    """An ordinary configuration: GitHub signs people in (and is never asked here), tokens, identity headers, revocation."""
    behind = f"http://127.0.0.1:{place.upstream}/mcp"
    return {
        "issuer": f"https://{ISSUER_HOST}:{place.port}",
        # Any 64 hex digits: one store is only ever opened with one of them.
        "secret_key": "5e" * 32,
        "store": store or f"file:{place.folder / 'portcullis.db'}",
        "admin_socket": str(place.folder / "admin.sock"),
        "listen": {"https": f"127.0.0.1:{place.port}", "http": []},
        "tls": {"files": [{"certificate": str(place.certificate), "key": str(place.key)}]},
        "identity": {"github": {"client_id": "bench", "client_secret": "bench"}},
        "access": {"users": ["*"]},
        "log": {"filter": log},
        "workers": place.threads,
        # All streams are one user's.
        "services": {
            name: {"url": url, "upstream": behind, "max_streams_per_user": 10_000} for name, url in services.items()
        },
    }


def services(port: int, count: int, apart: bool) -> dict[str, str]:
    """`count` services, on hosts of their own or all on one. The one that is measured is `mcp`; on one host its path is as
    long as all others and stands last, so that it is found last by whoever looks at one after the other."""
    others = range(1, count)
    if apart:
        return {f"s{n:05}": f"https://s{n:05}.bench.test:{port}/mcp" for n in others} | {
            "mcp": f"https://{HOST}:{port}/mcp"
        }
    return {f"s{n:05}": f"https://{HOST}:{port}/s{n:05}/mcp" for n in others} | {
        "mcp": f"https://{HOST}:{port}/z99999/mcp"
    }


def public_key_pem(jwk: dict[str, str]) -> str:
    """A P-256 key of /jwks as PEM (RFC 7518 §6.2, RFC 5480 §2)."""
    if (jwk.get("kty"), jwk.get("crv")) != ("EC", "P-256"):
        raise ValueError(f"not a P-256 key: {jwk.get('kty')} {jwk.get('crv')}")
    x, y = (base64.urlsafe_b64decode(jwk[name] + "=" * (-len(jwk[name]) % 4)) for name in ("x", "y"))
    if (len(x), len(y)) != (32, 32):
        raise ValueError("a coordinate of a P-256 key has 32 bytes")
    # SubjectPublicKeyInfo of id-ecPublicKey with prime256v1, up to the uncompressed point.
    head = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200") + b"\x04"
    text = base64.encodebytes(head + x + y).decode()
    lines = text.replace("\n", "")
    wrapped = "\n".join(lines[at : at + 64] for at in range(0, len(lines), 64))
    return f"-----BEGIN PUBLIC KEY-----\n{wrapped}\n-----END PUBLIC KEY-----\n"


def as_yaml(config: dict[str, Any]) -> str:
    """JSON is YAML, and quoting is then somebody else's business."""
    return "".join(f"{key}: {json.dumps(value)}\n" for key, value in config.items())
