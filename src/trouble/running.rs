//! In the long run.

use super::{Explanation, Trouble};

pub(super) const TEXTS: &[(Trouble, Explanation)] = &[
    (
        Trouble::Memory,
        Explanation {
            symptom: "Memory grows.",
            cause: "Open streams hold about 17 KB each, and a client that never closes them adds up.",
            fix: &[
                "See how many are open: `portcullis status`, or `portcullis_streams_open` at /metrics.",
                "Lower `max_streams_per_user` of the service.",
            ],
            portcullis: "Connections, streams, bodies and caches have limits, all in the configuration.",
            clients: &[],
        },
    ),
    (
        Trouble::TraceOne,
        Explanation {
            symptom: "Somebody reports an error, and nobody knows which request it was.",
            cause: "Logs of client, gateway and server have nothing in common.",
            fix: &[
                "Take the id from the error page, the client's log or the answer's `X-Request-ID`, and run `portcullis logs --request ID`.",
            ],
            portcullis: "Every request has an id, in every line, answer, page, and towards the server behind.",
            clients: &[],
        },
    ),
    (
        Trouble::Bundle,
        Explanation {
            symptom: "`Please send diagnostics.`",
            cause: "Whoever helps needs configuration, versions and logs, and must not get secrets.",
            fix: &["`portcullis support-bundle FILE`; read it before you send it: it is text."],
            portcullis: "Everything in it is redacted.",
            clients: &[],
        },
    ),
    (
        Trouble::Backup,
        Explanation {
            symptom: "The machine is gone.",
            cause: "Disks fail.",
            fix: &[
                "Each night: `portcullis backup FILE`, and the file kept elsewhere together with PORTCULLIS_SECRET_KEY.",
                "On the new machine: `portcullis restore FILE`.",
            ],
            portcullis: "A backup has everything that must survive, from a running gateway too.",
            clients: &[],
        },
    ),
    (
        Trouble::Rotate,
        Explanation {
            symptom: "Keys are to be changed each quarter.",
            cause: "Rules of a house, or a key that may have been seen.",
            fix: &[
                "Signing keys rotate by themselves; at once: `portcullis key rotate`.",
                "The secret key: `portcullis rotate-secrets`; nobody is signed out.",
            ],
            portcullis: "Signing keys have a schedule, and clients notice nothing.",
            clients: &[],
        },
    ),
];
