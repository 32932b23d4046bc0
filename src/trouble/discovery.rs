//! A client does not find how to sign in.

use super::{Explanation, Trouble};

pub(super) const TEXTS: &[(Trouble, Explanation)] = &[
    (
        Trouble::PrmMissing,
        Explanation {
            symptom: "No sign-in starts: /.well-known/oauth-protected-resource answers 404, 500 or an empty document.",
            cause: "The server does not publish protected resource metadata (RFC 9728), or a proxy in front does not pass the path.",
            fix: &[
                "The document belongs at /.well-known/oauth-protected-resource followed by the MCP path: https://mcp.example.com/mcp has it at https://mcp.example.com/.well-known/oauth-protected-resource/mcp.",
                "It needs at least `resource` (the URL as it is typed) and `authorization_servers` (one URL); let proxies pass everything under /.well-known/.",
            ],
            portcullis: "Every service has it, made from the configuration.",
            clients: &[
                (
                    "TypeScript SDK",
                    "Resource server does not implement OAuth 2.0 Protected Resource Metadata.",
                ),
                ("Claude", "Couldn't reach the MCP server"),
            ],
        },
    ),
    (
        Trouble::PrmResource,
        Explanation {
            symptom: "Silently no connection, or `does not match expected`.",
            cause: "`resource` in the protected resource metadata is not the URL that was typed: a slash, the path, the port or the scheme differ.",
            fix: &[
                "Make them equal byte by byte: type the URL that `resource` says, or have the server say what is typed (behind a proxy, it must know its public URL).",
            ],
            portcullis: "`resource` is the service's url of the configuration, byte by byte.",
            clients: &[
                ("TypeScript SDK", "Protected resource … does not match expected … (or origin)"),
                ("Python SDK", "Protected resource … does not match expected …"),
                ("VS Code, Gemini CLI, Claude", "compare exactly, and stop"),
            ],
        },
    ),
    (
        Trouble::IssuerMismatch,
        Explanation {
            symptom: "Strict clients refuse after the first metadata document.",
            cause: "`issuer` in the authorization server's metadata is not the URL under which it was found (RFC 8414 §3.3): often only by a slash at the end.",
            fix: &[
                "Make `issuer` and the entry of `authorization_servers` the same bytes, without a slash at the end.",
            ],
            portcullis: "The issuer is one string of the configuration, the same in every document and token.",
            clients: &[("Python SDK, TypeScript SDK v2, rmcp", "stop with an issuer mismatch")],
        },
    ),
    (
        Trouble::NoRegistration,
        Explanation {
            symptom: "`does not support dynamic client registration`.",
            cause: "The authorization server names no `registration_endpoint`, and does not take Client ID Metadata Documents.",
            fix: &[
                "Turn dynamic client registration (RFC 7591) on at the authorization server, or Client ID Metadata Documents (`client_id_metadata_document_supported`).",
                "Else register the client by hand, and enter its id in the client, where that can be done.",
            ],
            portcullis: "It takes registrations and Client ID Metadata Documents.",
            clients: &[
                ("TypeScript SDK", "Incompatible auth server: does not support dynamic client registration"),
                ("VS Code", "asks for a client id"),
            ],
        },
    ),
    (
        Trouble::NoChallenge,
        Explanation {
            symptom: "No sign-in starts: the client only says that it is unauthorized.",
            cause: "A request without a token is not answered 401 with `WWW-Authenticate: Bearer resource_metadata=…`, or a proxy in front takes that header away.",
            fix: &[
                "Let proxies pass 401 and WWW-Authenticate as they are (nginx: no `proxy_intercept_errors`, no error_page for 401).",
                "The server must answer GET, HEAD, POST and DELETE alike.",
            ],
            portcullis: "Every method is answered 401 with the challenge, before a body is read.",
            clients: &[
                ("Gemini CLI", "asks by HEAD first, and needs the header there"),
                ("all", "Unauthorized, and no browser opens"),
            ],
        },
    ),
    (
        Trouble::Cors,
        Explanation {
            symptom: "The MCP Inspector and other clients in a browser fail; the console says that an origin is not allowed.",
            cause: "Well-known documents, token endpoint, registration or the MCP path answer without Access-Control-Allow-Origin, or do not expose WWW-Authenticate and Mcp-Session-Id.",
            fix: &[
                "For Portcullis: list the origin under the service's `origins`.",
                "A proxy in front must pass OPTIONS and must not add CORS headers of its own: twice is as bad as none.",
            ],
            portcullis: "OAuth's endpoints and documents are open to browsers; a service's origins are configuration.",
            clients: &[("MCP Inspector", "Failed to fetch")],
        },
    ),
];
