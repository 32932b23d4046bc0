//! Tokens are not given or not believed.

use super::{Explanation, Trouble};

pub(super) const TEXTS: &[(Trouble, Explanation)] = &[
    (
        Trouble::ExchangeFailed,
        Explanation {
            symptom: "The sign-in went well, and then the client fails: `invalid_grant` at the token endpoint.",
            cause: "The code was used twice, is older than a minute, is another client's, or its PKCE verifier does not fit.",
            fix: &[
                "Connect again. If it happens each time: the client sends the code twice (two processes share one listener), or a proxy repeats POST requests.",
            ],
            portcullis: "error_description says which of them it was; a code that comes twice revokes what it gave.",
            clients: &[("SDKs", "invalid_grant"), ("Claude", "Authorization with the MCP server failed")],
        },
    ),
    (
        Trouble::RefreshFailed,
        Explanation {
            symptom: "It works for an hour, then the client asks to sign in again.",
            cause: "The refresh token was revoked, is too old, or was used again long after its successor (which looks like theft).",
            fix: &[
                "Sign in again. If it happens each hour: two copies of the client share one refresh token; let each sign in by itself.",
                "How long they live stands under `tokens`.",
            ],
            portcullis: "Refreshing twice at once and lost answers are forgiven; error_description and the audit log tell the rest apart.",
            clients: &[("all", "asks to sign in again after an hour")],
        },
    ),
    (
        Trouble::ClientUnknown,
        Explanation {
            symptom: "`invalid_client`, again and again; or a page that the application is not registered.",
            cause: "The registration has expired unused, or the store was emptied.",
            fix: &[
                "In the application, remove this MCP server and add it again: it then registers anew. With mcp-remote, delete the folder ~/.mcp-auth first.",
                "If it is many clients at once: the store has lost its contents (see redis-forgets).",
            ],
            portcullis: "401 `invalid_client` makes clients register anew by themselves.",
            clients: &[
                ("Claude", "registers anew by itself"),
                ("mcp-remote", "goes on with its old id until ~/.mcp-auth is deleted"),
            ],
        },
    ),
    (
        Trouble::ClientUnproven,
        Explanation {
            symptom: "`invalid_client` for a client that is configured here.",
            cause: "Its secret or its signed assertion is wrong, missing, used before, or not of the kind that the configuration names.",
            fix: &[
                "Compare it with `clients` in the configuration: the way of authentication, the secret, or the public key.",
                "A client without a secret sends its client_id alone, and neither a secret nor an assertion.",
            ],
            portcullis: "error_description says what was wrong with the proof.",
            clients: &[("all", "invalid_client")],
        },
    ),
    (
        Trouble::TokenUnaccepted,
        Explanation {
            symptom: "Always 401, with a token.",
            cause: "The token has expired, was issued by another issuer or for another service, or its grant was revoked.",
            fix: &[
                "`portcullis token inspect TOKEN` says which claim, what was expected and what was found.",
                "Tokens of one environment are good in that one only: sign in at the right one.",
            ],
            portcullis: "The challenge's error_description says why.",
            clients: &[("all", "signs in again, or stops with 401")],
        },
    ),
    (
        Trouble::ScopeMissing,
        Explanation {
            symptom: "403 `insufficient_scope`.",
            cause: "The token has not the scope that the service wants: it was not asked for, or not granted.",
            fix: &[
                "`portcullis token inspect TOKEN --service S` says which scopes are missing.",
                "Let the client sign in again: the challenge lists what is needed.",
            ],
            portcullis: "The challenge carries the union of what is granted and what is needed.",
            clients: &[("TypeScript SDK v1", "403 after trying upscoping")],
        },
    ),
    (
        Trouble::Environments,
        Explanation {
            symptom: "A token of development is tried in production, or the other way round.",
            cause: "One issuer serves both, or a client was pointed at the other.",
            fix: &["Give each environment its own issuer, its own OAuth app at GitHub and its own store."],
            portcullis: "A token is good for one service of one issuer only.",
            clients: &[("all", "401")],
        },
    ),
    (
        Trouble::RateLimited,
        Explanation {
            symptom: "429.",
            cause: "A client in a loop, a script, or many people behind one address.",
            fix: &[
                "Wait as long as Retry-After says; `portcullis doctor` shows which limit was hit and by whom.",
                "Raise the limit if they are people: its key, under `limits` or of the service, stands in the answer.",
            ],
            portcullis: "The answer has Retry-After, and names the limit and its key in the configuration.",
            clients: &[("all", "HTTP 429")],
        },
    ),
];
