//! What the internal listener tells of a running gateway, from those who know it.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::{HeaderMap, Response};
use http_body_util::{BodyExt as _, Collected};

use crate::admin::certs::Keepers;
use crate::certs::Facts;
use crate::config::Config;
use crate::gateway::{Gateway, Service, Shared, Worker};
use crate::identity;
use crate::internal::{
    self, Abilities, CertificateFact, Failure, Judge, Lately, Provider, Source, Standing, TroubleCount,
    Verdict,
};
use crate::mcp::REVISIONS;
use crate::oauth::SPECIFICATIONS;
use crate::store::{self, Renewal};
use crate::telemetry::{Remembered, Told};
use crate::time::Timestamp;
use crate::upstream::ReplicaFact;

/// Those who know it.
pub(super) struct Witnesses {
    pub(super) shared: Arc<Shared>,
    pub(super) gateway: Arc<Gateway>,
    pub(super) keepers: Keepers,
    pub(super) settled: Settled,
}

/// What no reload changes.
pub(super) struct Settled {
    issuer: String,
    identity: Provider,
    /// `redis` or `file`.
    store: &'static str,
}

impl Settled {
    pub(super) fn of(config: &Config) -> Self {
        let identity = match &config.identity {
            identity::Settings::Dev => Provider { kind: "dev".into(), origin: None },
            identity::Settings::GitHub(github) => {
                Provider { kind: "github".into(), origin: Some(github.web.origin().ascii_serialization()) }
            }
        };
        let store = match &config.store {
            store::Settings::Embedded { .. } => "file",
            store::Settings::Redis { .. } => "redis",
        };
        Self { issuer: config.gateway.issuer.clone(), identity, store }
    }
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

    fn lately(&self) -> Lately {
        lately(self.shared.lately.told())
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

    fn standing(&self) -> Standing {
        let Settled { issuer, identity, store } = &self.settled;
        let store = internal::Store {
            kind: (*store).to_owned(),
            away: self.store_is_away(),
            revocations_age_seconds: self.feed_age().map(|age| age.as_secs()),
        };
        let services = self.gateway.services();
        Standing {
            issuer: issuer.clone(),
            identity: identity.clone(),
            store,
            services: services.iter().map(|service| self.service(service)).collect(),
        }
    }

    fn abilities(&self) -> Abilities {
        Abilities { specifications: &SPECIFICATIONS, mcp_revisions: &REVISIONS }
    }

    fn replicas(&self) -> Vec<ReplicaFact> {
        let services = self.gateway.services();
        services.iter().flat_map(|service| service.upstream.facts()).collect()
    }
}

impl Witnesses {
    fn service(&self, service: &Service) -> internal::Service {
        let settings = &service.settings;
        let (requests, streams) = self.shared.in_flight.open(&settings.name);
        let known: Vec<_> = service.upstream.facts().collect();
        let replica = |name: &str| {
            let fact = known.iter().find(|fact| fact.replica == name);
            let problem = fact.and_then(|fact| fact.ejected);
            let health = match (fact, problem) {
                (None, _) => "unknown",
                (Some(_), None) => "up",
                (Some(_), Some(_)) => "ejected",
            };
            internal::Replica {
                name: name.to_owned(),
                health: health.into(),
                problem: problem.map(Into::into),
            }
        };
        internal::Service {
            name: settings.name.clone(),
            url: settings.resource.to_string(),
            public: settings.public,
            forward_auth: settings.forward_auth,
            requests,
            streams,
            replicas: service.upstream.replicas().iter().map(|one| replica(one.name())).collect(),
        }
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

fn lately(told: Told) -> Lately {
    let counts = told.counts.iter().map(|count| TroubleCount {
        trouble: count.trouble.to_string(),
        times: count.times,
        first: count.first.to_rfc3339(),
        last: count.last.to_rfc3339(),
    });
    let all = |remembered: Vec<Remembered>| remembered.into_iter().map(failure).collect();
    let limited = told.limited.into_iter();
    Lately {
        counts: counts.collect(),
        logins: all(told.logins),
        tokens: all(told.tokens),
        upstreams: all(told.upstreams),
        others: all(told.others),
        rate_limited: limited.map(|(network, times)| Source { network, times }).collect(),
        left_out: told.left_out,
    }
}

fn failure(Remembered { failure, times }: Remembered) -> Failure {
    Failure {
        at: failure.at.to_rfc3339(),
        trouble: failure.trouble.to_string(),
        request_id: failure.request_id,
        service: failure.service,
        client: failure.client,
        sub: failure.subject,
        network: failure.network,
        status: failure.status,
        times,
    }
}

/// Who decides on requests that another proxy forwards: the gateway, with what else each of its workers has for itself.
pub(super) struct Verifier {
    gateway: Arc<Gateway>,
    /// Once somebody has asked: few gateways are asked ever.
    worker: OnceLock<Worker>,
}

impl Verifier {
    pub(super) const fn new(gateway: Arc<Gateway>) -> Self {
        Self { gateway, worker: OnceLock::new() }
    }
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
            let worker = self.worker.get_or_init(Worker::new);
            let (parts, body) = self.gateway.verify(worker, peer, asked).await.into_parts();
            // It is known already: nothing is waited for, and nothing can break off.
            let body = body.collect().await.map(Collected::to_bytes).unwrap_or_default();
            Response::from_parts(parts, body)
        })
    }
}
