//! The gateway cannot be reached.

use super::{Explanation, Trouble};

pub(super) const TEXTS: &[(Trouble, Explanation)] = &[
    (
        Trouble::Dns,
        Explanation {
            symptom: "Clients cannot connect, and no certificate is issued.",
            cause: "The host has no A or AAAA record, or one that leads to another machine.",
            fix: &[
                "At your DNS provider, create an A record (and AAAA, if the machine has IPv6) of each host of the configuration, the issuer's too, with this machine's public address.",
                "Old records last as long as their TTL; an AAAA record that leads elsewhere hurts those who have IPv6.",
            ],
            portcullis: "Doctor looks every host up, and asks each address whether this gateway answers there.",
            clients: &[("Claude", "Couldn't reach the MCP server")],
        },
    ),
    (
        Trouble::Port443,
        Explanation {
            symptom: "`ECONNREFUSED`, or a client refuses a URL with a port such as :8080.",
            cause: "Nothing listens on port 443 there, a firewall closes it, or the server listens on another port: Claude connects to port 443 only.",
            fix: &[
                "Open ports 443 and 80 to the internet, in the machine's firewall and at the provider: `sudo ufw allow 443/tcp`, `sudo ufw allow 80/tcp`.",
                "Put the server behind Portcullis and give clients the URL without a port, e.g. https://mcp.example.com/mcp.",
            ],
            portcullis: "It listens on 443 for every MCP server behind it.",
            clients: &[
                (
                    "Claude",
                    "Couldn't reach the MCP server; connections come from 160.79.104.0/21, so a server on a private network is never reached",
                ),
                ("Claude Desktop", "ECONNREFUSED 127.0.0.1:443"),
            ],
        },
    ),
    (
        Trouble::WrongUrl,
        Explanation {
            symptom: "`Failed to connect`, or 404.",
            cause: "The URL is not the MCP server's: / instead of /mcp, http instead of https, or a slash too many.",
            fix: &[
                "Paste the service's URL exactly as it stands in the configuration; `portcullis status` lists them.",
                "Open the host in a browser: the page there shows the right URL.",
            ],
            portcullis: "A browser gets a page with the right URL, a program a 404 that names it.",
            clients: &[("Claude", "Couldn't reach the MCP server"), ("Cursor", "Failed to connect")],
        },
    ),
    (
        Trouble::Cert,
        Explanation {
            symptom: "TLS warnings, or the handshake fails.",
            cause: "There is no certificate yet, it has ended, is not for this host, or nobody trusts who issued it (a staging or local authority).",
            fix: &[
                "See what the certificate authority said: `portcullis cert list`; then mend DNS, open port 80 (or 443 for tls-alpn-01), or take a CAA record away.",
                "Once mended: `portcullis cert renew HOST`.",
                "A directory of staging issues certificates for tests only: write `letsencrypt` under tls.acme.directory.",
            ],
            portcullis: "It gets and renews certificates by itself, and a failed renewal never takes a working one away.",
            clients: &[
                (
                    "Node clients",
                    "UNABLE_TO_VERIFY_LEAF_SIGNATURE, CERT_HAS_EXPIRED, or ERR_TLS_CERT_ALTNAME_INVALID",
                ),
                ("Python clients", "CERTIFICATE_VERIFY_FAILED"),
            ],
        },
    ),
    (
        Trouble::Clock,
        Explanation {
            symptom: "Tokens are `not yet valid`, or certificates seem to have ended.",
            cause: "The machine's clock is wrong by more than half a minute.",
            fix: &[
                "Let it be set from the network: `sudo timedatectl set-ntp true`; then `timedatectl` says `System clock synchronized: yes`.",
            ],
            portcullis: "30 seconds of difference are forgiven; doctor compares the clock with those of other servers.",
            clients: &[],
        },
    ),
    (
        Trouble::Waf,
        Explanation {
            symptom: "403 at the first request with a token, or a page with a riddle.",
            cause: "A CDN or firewall in front (Cloudflare, Akamai, a provider's) takes MCP clients for robots.",
            fix: &[
                "At Cloudflare: Security, WAF, a custom rule that skips Bot Fight Mode and managed challenges for the service's host; or turn the proxy (the orange cloud) off for it.",
                "Let POST with JSON and event streams through, and turn buffering of answers off.",
            ],
            portcullis: "Doctor recognises answers that are not the gateway's.",
            clients: &[
                ("Claude", "Couldn't reach the MCP server"),
                ("all", "403 after a login that went well"),
            ],
        },
    ),
    (
        Trouble::Tunnel,
        Explanation {
            symptom: "Metadata names another host or scheme than the one that was typed, or the connection is refused.",
            cause: "A tunnel or proxy (ngrok, cloudflared, nginx) stands in front, and the configuration does not know of it.",
            fix: &[
                "Write the public URLs into `issuer` and each service's `url`; they are never taken from a request.",
                "Write the proxy's address into `trusted_proxies`, and let it pass Host, X-Forwarded-For and X-Forwarded-Proto.",
            ],
            portcullis: "The issuer is configuration and never derived from a request.",
            clients: &[("strict clients", "issuer mismatch, or a resource that does not match")],
        },
    ),
];
