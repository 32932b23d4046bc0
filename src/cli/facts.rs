//! What the internal listener tells of a running gateway, from those who know it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Response};
use http_body_util::{BodyExt as _, Collected};

use crate::admin::certs::Keepers;
use crate::certs::Facts;
use crate::gateway::{Gateway, Shared, Worker};
use crate::internal::{self, CertificateFact, Judge, Verdict};
use crate::store::Renewal;
use crate::time::Timestamp;
use crate::upstream::ReplicaFact;

/// Those who know it.
pub(super) struct Witnesses {
    pub(super) shared: Arc<Shared>,
    pub(super) gateway: Arc<Gateway>,
    pub(super) keepers: Keepers,
}

impl internal::Facts for Witnesses {
    fn store_is_away(&self) -> bool {
        self.shared.revocations.is_missing()
    }

    fn feed_age(&self) -> Option<Duration> {
        self.shared.revocations.age(self.shared.clock.now())
    }

    fn feed_is_stale(&self) -> bool {
        self.gateway.is_stale()
    }

    fn refused_requests(&self) -> Vec<(&'static str, u64)> {
        self.shared.refusals.requests()
    }

    fn refused_connections(&self) -> Vec<(&'static str, u64)> {
        self.shared.refusals.connections()
    }

    fn certificates(&self) -> Vec<CertificateFact> {
        let now = self.shared.clock.now();
        if let Some(acme) = &self.keepers.acme {
            let standings = acme.standings().into_iter();
            return standings
                .map(|standing| fact(standing.host, standing.facts.as_ref(), standing.renewal, now))
                .collect();
        }
        let Some(certificates) = &self.keepers.certificates else { return Vec::new() };
        let hosts = certificates.hosts();
        // Every host has one here, or nothing would have started; of one that cannot be read nothing is known.
        let read = |host: &String| {
            let facts = Facts::of(&certificates.shown(host)?.cert)?;
            Some(fact(host.clone(), Some(&facts), Renewal::default(), now))
        };
        hosts.iter().filter_map(read).collect()
    }

    fn replicas(&self) -> Vec<ReplicaFact> {
        let services = self.gateway.services();
        services.iter().flat_map(|service| service.upstream.facts()).collect()
    }
}

fn fact(host: String, facts: Option<&Facts>, renewal: Renewal, now: Timestamp) -> CertificateFact {
    let not_after = facts.map(|facts| facts.not_after);
    CertificateFact {
        host,
        not_after,
        expired: not_after.is_some_and(|end| end <= now),
        problem: renewal.problem,
        failures: renewal.failures,
    }
}

/// Who decides on requests that another proxy forwards: the gateway, with what else each of its workers has for itself.
pub(super) struct Verifier {
    pub(super) gateway: Arc<Gateway>,
    pub(super) worker: Worker,
}

impl Judge for Verifier {
    fn is_on(&self) -> bool {
        self.gateway.verifies()
    }

    fn trusts(&self, peer: IpAddr) -> bool {
        self.gateway.is_trusted_proxy(peer)
    }

    fn verdict(&self, peer: SocketAddr, asked: HeaderMap) -> Verdict<'_> {
        Box::pin(async move {
            let (parts, body) = self.gateway.verify(&self.worker, peer, asked).await.into_parts();
            // It is known already: nothing is waited for, and nothing can break off.
            let body = body.collect().await.map(Collected::to_bytes).unwrap_or_default();
            Response::from_parts(parts, body)
        })
    }
}
