//! A person does not get through the sign-in.

use super::{Explanation, Trouble};

pub(super) const TEXTS: &[(Trouble, Explanation)] = &[
    (
        Trouble::GithubUnreachable,
        Explanation {
            symptom: "The sign-in ends with a page that GitHub cannot be reached.",
            cause: "The gateway's machine or container may not connect outwards, has no DNS, or GitHub has a bad day.",
            fix: &[
                "From where the gateway runs: `curl -sSI https://github.com` and `curl -sSI https://api.github.com`.",
                "Let it reach both by https, port 443; see https://www.githubstatus.com for the rest.",
            ],
            portcullis: "The person is told and can try again; nothing is granted meanwhile, and nothing lost.",
            clients: &[],
        },
    ),
    (
        Trouble::GithubCredentials,
        Explanation {
            symptom: "`incorrect_client_credentials`, after the person has signed in at GitHub.",
            cause: "client_id or client_secret is not that of the OAuth app.",
            fix: &[
                "At GitHub: Settings, Developer settings, OAuth Apps, the app: compare the client ID, and generate a new client secret.",
                "Write both into .env (GITHUB_CLIENT_ID, GITHUB_CLIENT_SECRET) and restart the gateway: `sudo systemctl restart portcullis`, or `just up`. A reload does not read .env again.",
            ],
            portcullis: "Doctor tries them; at run time the person's page and the log say it.",
            clients: &[],
        },
    ),
    (
        Trouble::GithubCallback,
        Explanation {
            symptom: "GitHub says that the redirect_uri is not associated with this application.",
            cause: "The Authorization callback URL of the OAuth app is not the issuer's /callback.",
            fix: &[
                "At GitHub: Settings, Developer settings, OAuth Apps, the app: set Authorization callback URL to what `portcullis check` prints, e.g. `https://auth.example.com/callback`.",
            ],
            portcullis: "`check` prints the URL, doctor tries it, and the page shows the exact line.",
            clients: &[],
        },
    ),
    (
        Trouble::NotAllowed,
        Explanation {
            symptom: "403 after a good sign-in.",
            cause: "No rule under `access` lets this person in; or an organisation hides its members from the OAuth app (single sign-on, or restricted applications).",
            fix: &[
                "The operator adds the login to `access.users`, or an organisation or team of theirs.",
                "A member of an organisation: at GitHub, Settings, Applications, Authorized OAuth Apps, this application, Organization access: Grant or Request.",
            ],
            portcullis: "The page says who you are, which rules were tried, and whom to ask.",
            clients: &[("all", "access_denied")],
        },
    ),
    (
        Trouble::SignInRefused,
        Explanation {
            symptom: "The sign-in ends with: you were not signed in.",
            cause: "The person, or the provider, said no.",
            fix: &["Try again, and allow the application at the provider; or take another account there."],
            portcullis: "Nothing is granted without a yes.",
            clients: &[("all", "access_denied")],
        },
    ),
    (
        Trouble::StateExpired,
        Explanation {
            symptom: "The page says that the sign-in took too long.",
            cause: "More than ten minutes passed at the sign-in, or cookies are blocked.",
            fix: &["Go back to the application and connect again.", "Allow cookies for the issuer's host."],
            portcullis: "The page tells the way on; what was granted before is not undone.",
            clients: &[],
        },
    ),
    (
        Trouble::StateReused,
        Explanation {
            symptom: "The page says that the sign-in was finished already.",
            cause: "The back button, a page opened twice, or a link taken to another browser.",
            fix: &[
                "If the application says that it is connected, all is well; else connect again, in the browser that opens.",
            ],
            portcullis: "A sign-in counts once; the earlier success is not undone.",
            clients: &[],
        },
    ),
    (
        Trouble::LoginHijacked,
        Explanation {
            symptom: "The sign-in ends in the wrong place.",
            cause: "The answer does not go to the redirect URI that was asked for, or comes from another issuer (mix-up).",
            fix: &[
                "Do not go on; tell the operator. At an authorization server: keep the redirect URI in the request's state, bound to the browser, and send `iss` (RFC 9207).",
            ],
            portcullis: "State and cookie decide where an answer goes, and nothing that the provider says.",
            clients: &[("SDKs", "state or iss mismatch")],
        },
    ),
    (
        Trouble::RedirectDead,
        Explanation {
            symptom: "The browser shows nothing after the approval, or the client goes on waiting.",
            cause: "Nobody handles cursor:// or vscode:// on this computer, the client's listener on localhost has ended, or the browser runs on another machine than the client.",
            fix: &[
                "Click the link on the page again, and allow the browser to open the application.",
                "With a client on another machine (SSH, container): forward its port, e.g. `ssh -L 33418:localhost:33418 HOST`, or sign in in a browser there.",
                "Connect again from the application: it opens a new listener.",
            ],
            portcullis: "With private schemes the page stays, with the link and what to check for each client.",
            clients: &[
                ("Cursor, VS Code", "wait for the sign-in"),
                ("mcp-remote, Claude Code", "the browser says that localhost refused the connection"),
            ],
        },
    ),
    (
        Trouble::RedirectMismatch,
        Explanation {
            symptom: "The page says that the client did not register this redirect URI.",
            cause: "The client remembers an old registration, or one of another address of this server.",
            fix: &[
                "mcp-remote: delete the folder ~/.mcp-auth, then start it again.",
                "Visual Studio Code: run the command `Authentication: Remove Dynamic Authentication Providers`, then start the server again.",
                "Claude Desktop and claude.ai: remove the connector and add it again; if that does not help, add it by another host name of this server.",
                "Cursor and Claude Code: remove the MCP server, then add it again.",
            ],
            portcullis: "Nothing is sent to an unregistered address; the page names the client and how to clear its memory.",
            clients: &[],
        },
    ),
    (
        Trouble::RedirectInvalid,
        Explanation {
            symptom: "Registration or authorization fails: the redirect URI is not allowed.",
            cause: "Its scheme is none that is allowed here, it is http on another machine, or has a fragment.",
            fix: &["If you trust the client, add its scheme to `redirect_schemes`."],
            portcullis: "https, http on loopback, schemes with a dot, and those of known clients are allowed.",
            clients: &[("all", "invalid_redirect_uri")],
        },
    ),
    (
        Trouble::RequestInvalid,
        Explanation {
            symptom: "The page says that the application asked in a way that cannot be answered.",
            cause: "The application's request is none of OAuth 2.1: without PKCE (S256), with another response_type than code, or with a parameter twice.",
            fix: &[
                "Update the application: requests without PKCE come from old versions.",
                "If it is your own: the page, and error_description, say which parameter is wrong.",
            ],
            portcullis: "Nothing is granted, and the person is never sent to an address that nobody has vouched for.",
            clients: &[("all", "invalid_request, unsupported_response_type or invalid_scope")],
        },
    ),
    (
        Trouble::ClientDocument,
        Explanation {
            symptom: "The page says that the application's description of itself cannot be used.",
            cause: "The client names itself by a URL (Client ID Metadata Document), and what is there cannot be fetched or does not fit it.",
            fix: &[
                "Open the client_id in a browser: it must be JSON whose client_id is that same URL.",
                "The gateway must be allowed to reach it by https; addresses of private networks are never asked.",
            ],
            portcullis: "Such documents are fetched under bounds, and kept as long as they say.",
            clients: &[],
        },
    ),
    (
        Trouble::TwoClients,
        Explanation {
            symptom: "Two login tabs.",
            cause: "Two clients connect to the same server at once: mcp-remote in a configuration file beside a native connector.",
            fix: &[
                "Keep one of them: remove the mcp-remote entry from claude_desktop_config.json, or the connector.",
            ],
            portcullis: "Doctor and the connections page tell when two clients of one person came within a minute.",
            clients: &[("Claude Desktop", "two browser tabs")],
        },
    ),
    (
        Trouble::ConnectionUnknown,
        Explanation {
            symptom: "The page says that there is no such connection.",
            cause: "It has ended meanwhile.",
            fix: &["Open your connections again: they show what is connected now."],
            portcullis: "Whatever was to be ended is ended.",
            clients: &[],
        },
    ),
];
