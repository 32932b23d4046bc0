//! The MCP server does not answer as it should.

use super::{Explanation, Trouble};

pub(super) const TEXTS: &[(Trouble, Explanation)] = &[
    (
        Trouble::UpstreamDown,
        Explanation {
            symptom: "502 after a sign-in that went well.",
            cause: "The MCP server behind does not run, has another host or port than `upstream` says, or is in another network; a container's localhost is the container itself.",
            fix: &[
                "See whether it runs: `docker compose ps`, its log, and `curl -i UPSTREAM` from where the gateway runs.",
                "In compose, name it by its service: `upstream: http://mcp-fetch:3000/mcp`, and let it listen on 0.0.0.0.",
            ],
            portcullis: "The answer is a JSON-RPC error that names the service, and never its address.",
            clients: &[("Claude", "connects, and then has no tools"), ("all", "HTTP 502")],
        },
    ),
    (
        Trouble::UpstreamSlow,
        Explanation {
            symptom: "504, or every call takes seconds.",
            cause: "The MCP server takes longer than its time limit to accept a connection or to begin its answer.",
            fix: &[
                "Look at its load and its log; give it a second replica (`upstream:` takes a list).",
                "If it needs the time: raise `connect_timeout` or `first_byte_timeout` of the service.",
            ],
            portcullis: "/metrics has durations by service; a replica that does not answer gets no new requests.",
            clients: &[("all", "HTTP 504, or a timeout of their own")],
        },
    ),
    (
        Trouble::RequestBody,
        Explanation {
            symptom: "413 or 408 for a call with much in it.",
            cause: "The request's body is larger than the service's `max_body_bytes`, or it stopped coming in the middle.",
            fix: &[
                "If calls may be that large: raise `max_body_bytes` of the service.",
                "408: the client or the network stalls; `limits.body_pause` says how long a pause may be.",
            ],
            portcullis: "Bodies are passed on as they come, up to that limit, so that no caller fills the memory of a server behind.",
            clients: &[("all", "HTTP 413 or 408")],
        },
    ),
    (
        Trouble::UpstreamPath,
        Explanation {
            symptom: "404, or a redirect, from the server behind.",
            cause: "The MCP server has its endpoint at another path than `upstream` says: /mcp, /, or /mcp/ with a slash at the end.",
            fix: &[
                "Write the path into `upstream`, as the doctor found it: `upstream: http://mcp-fetch:3000/mcp`.",
            ],
            portcullis: "Redirects of a server behind are never followed, since a POST must not be sent twice; doctor tries the usual paths.",
            clients: &[("all", "HTTP 404, or Session terminated")],
        },
    ),
    (
        Trouble::UpstreamHost,
        Explanation {
            symptom: "421 or 403 from a Python server: Invalid Host header, or Invalid Origin header.",
            cause: "The server protects itself against DNS rebinding, and takes requests for certain hosts only.",
            fix: &[
                "Name it by a host that it accepts (`upstream: http://127.0.0.1:8000/mcp`), or allow the name there: `TransportSecuritySettings(allowed_hosts=[\"mcp-fetch:*\"])`.",
            ],
            portcullis: "Host becomes the server's own, and Origin is checked at the gateway and then left out.",
            clients: &[("all", "HTTP 421 or 403 after a sign-in that went well")],
        },
    ),
    (
        Trouble::UpstreamAuth,
        Explanation {
            symptom: "502 at once, or the client asks to sign in again and again.",
            cause: "The server behind wants a token of its own and answers 401, though the gateway has verified the request.",
            fix: &[
                "Turn its own authentication off: it is reached through the gateway only.",
                "If it must have a key of its own, let whatever starts it disable that check for the gateway's network.",
            ],
            portcullis: "Its 401 becomes a 502 with this id, so that clients do not throw their tokens away.",
            clients: &[("all", "HTTP 502")],
        },
    ),
    (
        Trouble::UpstreamTransport,
        Explanation {
            symptom: "`stateless HTTP transport not enabled`, 405, or an event stream where an answer should be.",
            cause: "The server runs in another transport mode: the old HTTP+SSE, or stdio behind a bridge.",
            fix: &[
                "Start it with Streamable HTTP: `mcp.run(transport=\"streamable-http\")` or `transport=\"http\"` (FastMCP), `--outputTransport streamableHttp` (supergateway), `streamableHttp` (server-everything).",
                "To keep the old transport: `upstream: http://server:3000/sse` as the URL's path, with `paths: [/messages]`.",
            ],
            portcullis: "Both transports pass; doctor recognises the old one.",
            clients: &[("Claude, ChatGPT", "speak Streamable HTTP, and fail with the old transport alone")],
        },
    ),
    (
        Trouble::ProtocolVersion,
        Explanation {
            symptom: "`initialize` fails: unsupported protocol version.",
            cause: "Client and server have no revision of MCP in common.",
            fix: &["Update the older of the two; the server's SDK decides which revisions it speaks."],
            portcullis: "All revisions pass; doctor lists those of both sides.",
            clients: &[("all", "Unsupported protocol version")],
        },
    ),
    (
        Trouble::SessionLost,
        Explanation {
            symptom: "404 in the middle of a session.",
            cause: "The MCP server was restarted and has forgotten its sessions, or the session is another user's.",
            fix: &["Clients begin a new session by themselves; else, reconnect in the client."],
            portcullis: "Sessions are sealed to their user and replica; an unknown one is answered 404, as MCP wants it.",
            clients: &[("all", "Session not found, once")],
        },
    ),
    (
        Trouble::StdioDied,
        Explanation {
            symptom: "The subprocess of a stdio server is gone.",
            cause: "It crashed, lacks a package, or ran into a memory limit.",
            fix: &[
                "Read its log at the bridge that starts it (supergateway or another), and run its command by hand.",
            ],
            portcullis: "Servers on stdio stand behind a bridge for now; the gateway sees the bridge's answers.",
            clients: &[("all", "HTTP 502, or no tools")],
        },
    ),
];
