//! Why there is no certificate, in words that an operator can act on.

use std::time::Duration;

use instant_acme::{Error, Problem};

use super::http::Answered;
use super::plan::{Failure, LONGEST_RETRY};
use crate::certs::{ChallengeKind, Unusable};
use crate::fetch::FetchError;
use crate::store::StoreError;
use crate::trouble;

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// The ACME server does not answer.
    #[error("the certificate authority cannot be reached ({})", causes(source.as_ref()))]
    Away {
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
        /// `Retry-After`.
        wait: Option<Duration>,
    },
    /// It refuses (RFC 8555 §6.7).
    #[error("the certificate authority says: {}{}", .0.detail, advice(&.0.kind))]
    Refused(Refusal),
    /// It did not find what proves that the host is ours.
    #[error("{} failed, the certificate authority says: {}{}", challenge.as_str(), refusal.detail, advice_by(*challenge, &refusal.kind))]
    Unproven {
        /// The challenge.
        challenge: ChallengeKind,
        /// What it says of it.
        refusal: Refusal,
    },
    /// It has no such challenge for the host.
    #[error("the certificate authority does not offer {}; write another `challenge` under tls.acme", .0.as_str())]
    NotOffered(ChallengeKind),
    /// It takes longer than we wait at a time.
    #[error("the certificate authority is still at work on the order")]
    Unfinished {
        /// `Retry-After`.
        wait: Option<Duration>,
    },
    /// The order came to nothing, and it does not say why.
    #[error("the order was turned down without a reason")]
    Invalid,
    /// It answers what is not ACME.
    #[error(
        "the certificate authority answers what cannot be understood ({0}); is `directory` the URL of an ACME directory?"
    )]
    Strange(#[source] Error),
    /// What it issued cannot be used.
    #[error("what the certificate authority issued cannot be used: {0}")]
    Unusable(#[from] Unusable),
    /// The store is away.
    #[error("what has to be written down cannot be: {}", causes(.0))]
    Store(#[from] StoreError),
    /// A key or a request cannot be made, or what was stored is none.
    #[error("{0}; please report it, it is a fault of Portcullis")]
    Ours(&'static str),
}

/// A problem document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The last part of its type: `rateLimited`.
    pub(super) kind: String,
    /// In the server's words.
    pub(super) detail: String,
    /// `Retry-After`.
    pub(super) wait: Option<Duration>,
}

impl Refusal {
    pub(super) fn of(problem: &Problem, wait: Option<Duration>) -> Self {
        let kind = problem.r#type.as_deref().unwrap_or("");
        let kind = kind.rsplit(':').next().unwrap_or(kind).to_owned();
        let mut detail = problem.detail.clone().unwrap_or_else(|| kind.clone());
        for part in &problem.subproblems {
            detail = format!("{detail}; {}", part.detail.as_deref().unwrap_or_default());
        }
        Self { kind, detail: tidy(&detail), wait }
    }
}

/// One line of bounded length: it goes into the log, and onto an operator's terminal.
fn tidy(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut short: String = plain.take(500).collect();
    while short.ends_with(['.', ' ']) {
        short.pop();
    }
    short
}

impl Trouble {
    /// What the ACME library says; `wait` is the last `Retry-After`.
    pub(super) fn of(error: Error, wait: Option<Duration>) -> Self {
        if matches!(error, Error::Timeout(_)) {
            return Self::Unfinished { wait };
        }
        if let Error::Other(source) = &error
            && (source.is::<FetchError>() || source.is::<Answered>())
        {
            return Self::Away { source: error.into(), wait };
        }
        let Error::Api(problem) = error else { return Self::Strange(error) };
        let refusal = Refusal::of(&problem, wait);
        let is_theirs = problem.status.is_some_and(|status| status >= 500);
        if is_theirs || matches!(refusal.kind.as_str(), "badNonce" | "serverInternal") {
            Self::Away { source: problem.into(), wait }
        } else {
            Self::Refused(refusal)
        }
    }

    /// The problem document, if it is one.
    const fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) | Self::Unproven { refusal, .. } => Some(refusal),
            Self::Away { .. }
            | Self::NotOffered(_)
            | Self::Unfinished { .. }
            | Self::Invalid
            | Self::Strange(_)
            | Self::Unusable(_)
            | Self::Store(_)
            | Self::Ours(_) => None,
        }
    }

    /// The kind of the problem document.
    pub(super) fn kind(&self) -> Option<&str> {
        self.refusal().map(|refusal| refusal.kind.as_str())
    }

    /// Whether it was a nonce, again and again: the next one may be good (RFC 8555 §6.5), and nobody counts how often it is tried.
    pub(super) fn is_of_nonce(&self) -> bool {
        let Self::Away { source, .. } = self else { return false };
        let problem = source.downcast_ref::<Problem>().and_then(|problem| problem.r#type.as_deref());
        problem.is_some_and(|kind| kind.ends_with(":badNonce"))
    }

    /// How much it matters to try again.
    pub(super) const fn failure(&self) -> Failure {
        match self {
            Self::Away { .. } | Self::Unfinished { .. } | Self::Store(_) => Failure::Away,
            Self::Refused(_)
            | Self::Unproven { .. }
            | Self::NotOffered(_)
            | Self::Invalid
            | Self::Strange(_)
            | Self::Unusable(_)
            | Self::Ours(_) => Failure::Refused,
        }
    }

    /// How long the server wants to be left alone.
    pub(super) fn wait(&self) -> Option<Duration> {
        let wait = match self {
            Self::Away { wait, .. } | Self::Unfinished { wait } => *wait,
            Self::Refused(refusal) | Self::Unproven { refusal, .. } => refusal.wait,
            Self::NotOffered(_)
            | Self::Invalid
            | Self::Strange(_)
            | Self::Unusable(_)
            | Self::Store(_)
            | Self::Ours(_) => None,
        };
        wait.map(|wait| wait.min(LONGEST_RETRY))
    }

    /// Whether all it takes may be time: then whoever comes next goes on with the order.
    pub(super) fn leaves_the_order(&self) -> bool {
        matches!(self, Self::Unfinished { .. } | Self::Away { .. } | Self::Store(_))
            || self.kind() == Some("rateLimited")
    }

    /// Which of the troubles that people can read about it is.
    pub(super) fn explained(&self) -> trouble::Trouble {
        match self {
            Self::Store(error) => error.trouble(),
            Self::Unusable(Unusable::Expired) => trouble::Trouble::Clock,
            Self::Refused(Refusal { kind, .. }) | Self::Unproven { refusal: Refusal { kind, .. }, .. }
                if kind == "dns" =>
            {
                trouble::Trouble::Dns
            }
            Self::Away { .. }
            | Self::Refused(_)
            | Self::Unproven { .. }
            | Self::NotOffered(_)
            | Self::Unfinished { .. }
            | Self::Invalid
            | Self::Strange(_)
            | Self::Unusable(Unusable::Unreadable | Unusable::Key | Unusable::Host)
            | Self::Ours(_) => trouble::Trouble::Cert,
        }
    }

    /// Whether another challenge may do where this one did not.
    pub(super) const fn is_of_challenge(&self) -> bool {
        matches!(self, Self::Unproven { .. } | Self::NotOffered(_))
    }
}

/// What to do about a problem (RFC 8555 §6.7).
fn advice(kind: &str) -> &'static str {
    match kind {
        "rateLimited" => "; nothing is to be done but to wait, and it is tried again by itself",
        "externalAccountRequired" => "; write eab: { kid: ..., key: ... } under tls.acme",
        "invalidContact" | "unsupportedContact" => "; write another `email` under tls.acme",
        "rejectedIdentifier" | "unsupportedIdentifier" => {
            "; it has no certificates for this name: write another host, or another `directory` under tls.acme"
        }
        "caa" => {
            "; a CAA record of the domain names other certificate authorities: add this one, or take the record away"
        }
        "invalidProfile" => "; write another `profile` under tls.acme, or none",
        "userActionRequired" => "; it wants its terms to be agreed to by hand",
        "unauthorized" | "accountDoesNotExist" => "; is the account still in order there?",
        _ => "",
    }
}

/// The same for a challenge that failed.
fn advice_by(challenge: ChallengeKind, kind: &str) -> &'static str {
    match (kind, challenge) {
        ("dns", _) => "; create an A or AAAA record of the name that leads to this machine",
        ("connection", ChallengeKind::Http01) => {
            "; the name's DNS record must lead to this machine, and port 80 must be open from the internet"
        }
        ("connection", ChallengeKind::TlsAlpn01) => {
            "; the name's DNS record must lead to this machine, and port 443 must be open from the internet"
        }
        ("unauthorized" | "incorrectResponse" | "tls" | "malformed", ChallengeKind::Http01) => {
            "; something else answered on port 80: does the name's DNS record lead to this machine, and nothing stand in front of it?"
        }
        ("unauthorized" | "incorrectResponse" | "tls" | "malformed", ChallengeKind::TlsAlpn01) => {
            "; something else answered on port 443: does the name's DNS record lead to this machine, and nothing stand in front that \
             terminates TLS?"
        }
        _ => advice(kind),
    }
}

/// An error with its sources.
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(why) = source {
        text = format!("{text}: {why}");
        source = why.source();
    }
    tidy(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(kind: &str, status: u16) -> Error {
        let json = serde_json::json!({
            "type": format!("urn:ietf:params:acme:error:{kind}"), "detail": "So it\nis.", "status": status,
        });
        Error::Api(serde_json::from_value(json).unwrap())
    }

    #[test]
    fn problem_documents_are_told_with_what_to_do() {
        for (kind, told) in [
            (
                "rateLimited",
                "the certificate authority says: So it is; nothing is to be done but to wait, and it is tried again by itself",
            ),
            (
                "caa",
                "the certificate authority says: So it is; a CAA record of the domain names other certificate authorities: add this one, or take the record away",
            ),
            ("compound", "the certificate authority says: So it is"),
        ] {
            let trouble = Trouble::of(problem(kind, 403), Some(Duration::from_hours(2)));
            assert_eq!(trouble.to_string(), told);
            assert_eq!((trouble.kind(), trouble.failure()), (Some(kind), Failure::Refused));
            assert_eq!(trouble.wait(), Some(Duration::from_hours(2)));
        }
        let long = Trouble::of(problem("rateLimited", 429), Some(Duration::from_hours(10_000)));
        assert_eq!(long.wait(), Some(LONGEST_RETRY));
    }

    #[test]
    fn a_server_in_trouble_is_asked_again_soon() {
        for error in [
            problem("serverInternal", 500),
            problem("malformed", 503),
            problem("badNonce", 400),
            Error::Other(Box::new(FetchError::Timeout)),
            Error::Other(Box::new(Answered(http::StatusCode::BAD_GATEWAY))),
        ] {
            assert_eq!(Trouble::of(error, None).failure(), Failure::Away);
        }
        let strange = Trouble::of(Error::Str("no nonce"), None);
        assert_eq!(strange.failure(), Failure::Refused);
        assert!(strange.to_string().contains("is `directory` the URL of an ACME directory?"), "{strange}");
    }

    #[test]
    fn a_failed_challenge_says_which_port_and_what_to_look_at() {
        let unproven = |challenge, kind: &str| {
            let refusal = Refusal { kind: kind.into(), detail: "D".into(), wait: None };
            Trouble::Unproven { challenge, refusal }.to_string()
        };
        assert_eq!(
            unproven(ChallengeKind::Http01, "connection"),
            "http-01 failed, the certificate authority says: D; the name's DNS record must lead to this machine, and port 80 must be \
             open from the internet"
        );
        assert!(
            unproven(ChallengeKind::TlsAlpn01, "unauthorized")
                .contains("something else answered on port 443")
        );
        assert!(unproven(ChallengeKind::TlsAlpn01, "dns").contains("create an A or AAAA record"));
    }

    // trouble: cert
    // trouble: dns
    // trouble: clock
    #[test]
    fn each_is_explained_under_the_id_of_what_has_to_be_mended() {
        let unproven = |kind: &str| {
            let refusal = Refusal { kind: kind.into(), detail: "D".into(), wait: None };
            Trouble::Unproven { challenge: ChallengeKind::Http01, refusal }
        };
        for (trouble, id) in [
            (unproven("dns"), "dns"),
            (unproven("connection"), "cert"),
            (Trouble::of(problem("caa", 403), None), "cert"),
            (Trouble::Unusable(Unusable::Expired), "clock"),
            (Trouble::Unusable(Unusable::Key), "cert"),
            (Trouble::Store(StoreError::Contended), "redis-down"),
        ] {
            assert_eq!(trouble.explained().id(), id, "{trouble}");
        }
    }
}
