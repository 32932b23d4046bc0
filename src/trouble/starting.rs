//! The gateway does not start, or not well.

use super::{Explanation, Trouble};

pub(super) const TEXTS: &[(Trouble, Explanation)] = &[
    (
        Trouble::EnvMissing,
        Explanation {
            symptom: "The gateway ends at once: a variable is missing.",
            cause: "The configuration names a variable by `${NAME}`, and the process was started without it: .env is incomplete, or whoever starts the process does not read it.",
            fix: &[
                "Run `portcullis check`: it names every missing variable at once, with the line that needs it.",
                "Write the missing lines into .env, and have it read: `env_file: .env` in compose, `EnvironmentFile=` in a systemd unit, `set -a; . ./.env; set +a` in a shell.",
            ],
            portcullis: "Every missing variable is told at once, with file, line and column, before anything is opened.",
            clients: &[],
        },
    ),
    (
        Trouble::EnvShape,
        Explanation {
            symptom: "Discovery or signing in fails later, though everything is set.",
            cause: "A value has not the form that it must have: a URL without https://, quotes or blanks around it, a key that is not 64 hexadecimal digits.",
            fix: &[
                "Run `portcullis check`: it says which value, in which line, and what to write.",
                "In .env, write values without blanks around `=`; `portcullis init` writes both files right.",
            ],
            portcullis: "Values are checked before anything is opened.",
            clients: &[],
        },
    ),
    (
        Trouble::YamlSyntax,
        Explanation {
            symptom: "The configuration cannot be read.",
            cause: "Tabs or a wrong indentation, a key twice, or a key that does not exist.",
            fix: &[
                "Run `portcullis check`: it names line and column, and the key that was probably meant.",
                "Indent by spaces; put values with `#`, `: ` or a leading `*` into quotes.",
            ],
            portcullis: "Unknown and repeated keys are refused, so that no setting is silently without effect.",
            clients: &[],
        },
    ),
    (
        Trouble::PortInUse,
        Explanation {
            symptom: "`address already in use`.",
            cause: "Another process listens on the port: nginx, apache, Caddy, or another gateway.",
            fix: &[
                "See whose it is: `sudo ss -ltnp 'sport = :443'`.",
                "Stop it for good (`sudo systemctl disable --now nginx`), or write another port under `listen` and keep the other proxy in front (see deploy/README.md).",
            ],
            portcullis: "The error names the process, where the system tells it.",
            clients: &[],
        },
    ),
    (
        Trouble::PortDenied,
        Explanation {
            symptom: "`permission denied` on port 443 or 80.",
            cause: "Ports below 1024 need a right that this user has not.",
            fix: &[
                "Give it to this program: `sudo setcap cap_net_bind_service=+ep $(command -v portcullis)`.",
                "With systemd, `AmbientCapabilities=CAP_NET_BIND_SERVICE` in the unit (deploy/systemd has it), or its socket unit.",
            ],
            portcullis: "The error prints the line that grants it.",
            clients: &[],
        },
    ),
    (
        Trouble::GatewayDown,
        Explanation {
            symptom: "Nothing answers on the machine of the gateway, or something that was changed has no effect.",
            cause: "The gateway does not run, hangs, or was not started again after its file was changed.",
            fix: &[
                "Start it: `sudo systemctl start portcullis`, or `just up`, or `portcullis serve FILE`.",
                "If it runs: `sudo systemctl restart portcullis`, or `just restart gateway`; its log says more: `journalctl -u portcullis -n 50`.",
            ],
            portcullis: "It reads its file again by itself; what needs a restart is told in the log, and by doctor.",
            clients: &[("all", "cannot reach the server")],
        },
    ),
    (
        Trouble::DependencyMissing,
        Explanation {
            symptom: "It works here and not in production: a module or a library is missing.",
            cause: "Something that is needed was installed by hand on one machine only.",
            fix: &[
                "Nothing for the gateway itself: it is one binary. For an MCP server, build its image with everything it needs.",
            ],
            portcullis: "It is one binary without anything beside it.",
            clients: &[],
        },
    ),
    (
        Trouble::SecretKeyChanged,
        Explanation {
            symptom: "After a new deployment, nothing that was stored can be read: the gateway does not start.",
            cause: "secret_key is not the one that the store was made with: it was made anew, or .env was lost.",
            fix: &[
                "Write the old key back into PORTCULLIS_SECRET_KEY.",
                "To change it on purpose: the old one as `secret_key_previous`, or `portcullis rotate-secrets`.",
                "If the old key is lost: begin with an empty store; everybody signs in once more.",
            ],
            portcullis: "It refuses to start instead of failing every login, and says which key does not fit.",
            clients: &[],
        },
    ),
    (
        Trouble::RedisDown,
        Explanation {
            symptom: "Registration, sign-in and refresh answer 503; the log says that the store is away.",
            cause: "Redis does not run, has another address or password, or the one side speaks TLS and the other does not.",
            fix: &[
                "Ask it from the same machine, in the same network: `redis-cli -u redis://default:PASSWORD@HOST:6379/0 ping` (its own user is `default`; leave `default:PASSWORD@` out where there is no password).",
                "In compose, name it by its service (`redis:6379`, not localhost); `redis://` is without TLS, `rediss://` with.",
                "A password with characters like @ or / is percent-encoded in the URL.",
            ],
            portcullis: "Access tokens keep working up to `revocation_staleness` while Redis is away; what needs it answers 503 with Retry-After.",
            clients: &[(
                "Claude, Cursor, VS Code",
                "signing in fails, or the connection is lost after an hour",
            )],
        },
    ),
    (
        Trouble::RedisForgets,
        Explanation {
            symptom: "After a restart of Redis everybody has to sign in again.",
            cause: "Redis keeps nothing on disk (no AOF, no RDB), its folder is no volume, or it throws keys away when its memory is full.",
            fix: &[
                "In redis.conf: `appendonly yes`, and `maxmemory-policy noeviction`.",
                "In compose: a volume at /data.",
            ],
            portcullis: "Doctor reads Redis' settings and says what would be lost.",
            clients: &[("all", "asks to sign in again, or says that its client is unknown")],
        },
    ),
    (
        Trouble::RedisSlow,
        Explanation {
            symptom: "Every step of a sign-in is slow.",
            cause: "Redis is far away, busy with something else, or its machine swaps.",
            fix: &[
                "Measure it: `redis-cli -u redis://default:PASSWORD@HOST:6379/0 --latency`.",
                "Put it beside the gateway, and give it to nobody else.",
            ],
            portcullis: "Requests with a token do not touch Redis at all; only registration, sign-in and refresh do.",
            clients: &[],
        },
    ),
    (
        Trouble::StoreFile,
        Explanation {
            symptom: "The gateway does not start: its store cannot be opened.",
            cause: "The file's folder does not exist or cannot be written by this user, the disk is full, or another gateway has the file.",
            fix: &[
                "Make the folder the gateway's own: `sudo install -d -o portcullis -g portcullis -m 700 /var/lib/portcullis`.",
                "Stop the other gateway, or give each a file of its own; several gateways share one Redis.",
            ],
            portcullis: "The file belongs to one process at a time, and is written so that a crash loses nothing.",
            clients: &[],
        },
    ),
];
