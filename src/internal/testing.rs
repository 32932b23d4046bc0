//! A gateway whose facts are made up.

use std::sync::Arc;
use std::time::Duration;

use super::{
    Abilities, CertificateFact, Facts, Failure, Lately, Provider, Source, Standing, Status, Store,
    TroubleCount,
};
use crate::time::Timestamp;
use crate::upstream::ReplicaFact;

#[derive(Clone, Default)]
pub(super) struct Known {
    pub(super) away: bool,
    pub(super) stale: bool,
    pub(super) age: Option<Duration>,
    pub(super) certificates: Vec<CertificateFact>,
    pub(super) replicas: Vec<ReplicaFact>,
}

impl Facts for Known {
    fn store_is_away(&self) -> bool {
        self.away
    }

    fn feed_age(&self) -> Option<Duration> {
        self.age
    }

    fn feed_is_stale(&self) -> bool {
        self.stale
    }

    fn refused_requests(&self) -> Vec<(&'static str, u64)> {
        vec![("body-too-large", 2), ("user-requests", 0)]
    }

    fn refused_connections(&self) -> Vec<(&'static str, u64)> {
        vec![("per-address", 3)]
    }

    fn lately(&self) -> Lately {
        let (first, last) = ("2027-01-15T08:00:00Z".to_owned(), "2027-01-15T08:01:00Z".to_owned());
        let failure = Failure {
            at: last.clone(),
            trouble: "not-allowed".into(),
            request_id: "r-1".into(),
            sub: Some("github:1".into()),
            network: "192.0.2.1".into(),
            status: 403,
            times: 2,
            ..Failure::default()
        };
        Lately {
            counts: vec![TroubleCount { trouble: "not-allowed".into(), times: 2, first, last }],
            logins: vec![failure],
            rate_limited: vec![Source { network: "192.0.2.7".into(), times: 12 }],
            ..Lately::default()
        }
    }

    fn certificates(&self) -> Vec<CertificateFact> {
        self.certificates.clone()
    }

    fn standing(&self) -> Standing {
        let identity = Provider { kind: "github".into(), origin: Some("https://github.com".into()) };
        let store = Store { kind: "redis".into(), away: self.away, revocations_age_seconds: None };
        Standing { issuer: "https://auth.example.com".into(), identity, store, services: Vec::new() }
    }

    fn abilities(&self) -> Abilities {
        Abilities { specifications: &["OAuth 2.1", "RFC 9728"], mcp_revisions: &["2025-11-25"] }
    }

    fn replicas(&self) -> Vec<ReplicaFact> {
        self.replicas.clone()
    }
}

/// A process that is up and knows this.
pub(super) fn up(known: Known) -> Arc<Status> {
    let status = Arc::new(Status::default());
    status.store_was_read(Arc::new(known));
    status.accepts();
    status
}

/// 2027-01-15T08:00:00Z
pub(super) const END: Timestamp = Timestamp::from_seconds(1_800_000_000);

pub(super) fn good(host: &str) -> CertificateFact {
    CertificateFact { not_after: Some(END), ..none(host) }
}

pub(super) fn expired(host: &str) -> CertificateFact {
    CertificateFact { expired: true, ..good(host) }
}

/// A host that has no certificate yet.
pub(super) fn none(host: &str) -> CertificateFact {
    CertificateFact { host: host.into(), not_after: None, expired: false, problem: None, failures: 0 }
}

pub(super) fn failed(times: u32, fact: CertificateFact) -> CertificateFact {
    CertificateFact { problem: Some("no DNS record".into()), failures: times, ..fact }
}

/// A replica of the service `todo`, of which nothing bad is known.
pub(super) fn replica(name: &str) -> ReplicaFact {
    ReplicaFact {
        service: "todo".into(),
        replica: name.into(),
        ejected: None,
        open: 2,
        ejections: 0,
        probe_failures: 0,
    }
}
