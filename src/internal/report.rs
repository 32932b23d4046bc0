//! What `/status` and `portcullis status` tell: everything that is known of a running gateway at once, and no secret. It is put
//! together here for both; what is not known is left out.

use serde::{Deserialize, Serialize};

use super::{CertificateFact, Facts, Readiness, Stage};

/// How it stands with a gateway. Moments are RFC 3339.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Of this program.
    pub version: String,
    /// `starting`, `serving` or `stopping`.
    pub state: String,
    /// How long this process has run.
    pub uptime_seconds: u64,
    /// How much memory it has, where the system tells it.
    #[serde(default)]
    pub memory_bytes: Option<u64>,
    /// As `/ready` tells it.
    #[serde(flatten)]
    pub readiness: Readiness,
    /// What is known once the store was read.
    #[serde(flatten)]
    pub standing: Option<Standing>,
    /// How it stands with the certificate of each host; empty without TLS.
    #[serde(default)]
    pub certificates: Vec<Certificate>,
    /// How often a limit has refused something, by the reason; those that have not are left out.
    #[serde(default)]
    pub refused: Vec<Refused>,
    /// What went wrong lately.
    #[serde(default)]
    pub lately: Lately,
    /// What is supported: OAuth 2.1 and its RFCs.
    pub specifications: Vec<String>,
    /// The revisions of MCP that pass.
    pub mcp_revisions: Vec<String>,
}

/// What a gateway tells of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The issuer.
    pub issuer: String,
    /// Who signs people in.
    pub identity: Provider,
    /// Where things are kept.
    pub store: Store,
    /// Every service, in the order of the configuration.
    pub services: Vec<Service>,
}

/// Who signs people in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provider {
    /// `github` or `dev`.
    pub kind: String,
    /// Where people sign in, if it is elsewhere.
    pub origin: Option<String>,
}

/// Where things are kept; never its address, which may have a password in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Store {
    /// `redis` or `file`.
    pub kind: String,
    /// Whether it did not answer when it was asked last.
    pub away: bool,
    /// How long ago revocations were read.
    pub revocations_age_seconds: Option<u64>,
}

/// A service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// What people paste into their MCP client.
    pub url: String,
    /// Whether nobody signs in for it.
    pub public: bool,
    /// Whether another proxy forwards its requests.
    pub forward_auth: bool,
    /// Requests that are open at it, without streams.
    pub requests: usize,
    /// Streams that stand open.
    pub streams: usize,
    /// The servers behind it.
    pub replicas: Vec<Replica>,
}

/// A server behind a service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replica {
    /// `host:port`.
    pub name: String,
    /// `up`, `ejected`, or `unknown`: where there is one only, and it is not probed, requests alone find out.
    pub health: String,
    /// Why it is ejected.
    pub problem: Option<String>,
}

/// How it stands with a host's certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// The host.
    pub host: String,
    /// When the one that is shown ends; nothing if there is none.
    pub not_after: Option<String>,
    /// Whether it has ended.
    pub expired: bool,
    /// Why getting another one failed last.
    pub problem: Option<String>,
}

/// How often a limit has refused something.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// As in the access lines, or of connections.
    pub reason: String,
    /// How often, since the start.
    pub times: u64,
}

/// What went wrong lately, in this process. The last failures of each kind stand there the newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lately {
    /// Every trouble that was met since the start.
    pub counts: Vec<TroubleCount>,
    /// Sign-ins that did not end well.
    pub logins: Vec<Failure>,
    /// Tokens that were not given or not believed.
    pub tokens: Vec<Failure>,
    /// Servers behind that did not answer as they should.
    pub upstreams: Vec<Failure>,
    /// Everything else: wrong URLs, a store that is away.
    pub others: Vec<Failure>,
    /// The networks that reached a rate limit most often.
    pub rate_limited: Vec<Source>,
    /// Failures that were counted, and for which there was no time to write more down.
    pub left_out: u64,
}

impl Report {
    /// For whoever shows nothing: counts, and neither people nor requests.
    pub(super) fn for_anybody(self) -> Self {
        let Lately { counts, left_out, .. } = self.lately;
        Self { lately: Lately { counts, left_out, ..Lately::default() }, ..self }
    }
}

/// How often a trouble was met.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TroubleCount {
    /// Its id.
    pub trouble: String,
    /// How often.
    pub times: u64,
    /// When for the first time.
    pub first: String,
    /// When for the last time.
    pub last: String,
}

/// A request that failed, or several alike, of which this is the last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// When.
    pub at: String,
    /// Why: a trouble's id.
    pub trouble: String,
    /// As in the log.
    pub request_id: String,
    /// The service's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The client's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// The user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub: Option<String>,
    /// Where it came from; of an IPv6 address the network.
    pub network: String,
    /// The HTTP status.
    pub status: u16,
    /// How often the like was seen.
    pub times: u64,
}

/// A network, and how often at most it reached a limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The address; of IPv6 without its host part.
    pub network: String,
    /// How often.
    pub times: u64,
}

/// What every gateway of this version is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Abilities {
    /// OAuth 2.1 and its RFCs.
    pub specifications: &'static [&'static str],
    /// The revisions of MCP that pass.
    pub mcp_revisions: &'static [&'static str],
}

/// Puts together what is known.
pub(super) fn report(
    stage: Stage,
    readiness: Readiness,
    facts: Option<&dyn Facts>,
    uptime_seconds: u64,
) -> Report {
    let abilities = facts.map(Facts::abilities).unwrap_or_default();
    let owned = |names: &[&str]| names.iter().map(ToString::to_string).collect();
    Report {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        state: match stage {
            Stage::Starting => "starting",
            Stage::Accepting => "serving",
            Stage::Stopping => "stopping",
        }
        .to_owned(),
        uptime_seconds,
        memory_bytes: facts.and_then(Facts::process).map(|process| process.resident),
        readiness,
        standing: facts.map(Facts::standing),
        certificates: facts
            .map(Facts::certificates)
            .unwrap_or_default()
            .into_iter()
            .map(certificate)
            .collect(),
        refused: facts.map(refused).unwrap_or_default(),
        lately: facts.map(Facts::lately).unwrap_or_default(),
        specifications: owned(abilities.specifications),
        mcp_revisions: owned(abilities.mcp_revisions),
    }
}

fn certificate(fact: CertificateFact) -> Certificate {
    let CertificateFact { host, not_after, expired, problem, failures: _ } = fact;
    Certificate { host, not_after: not_after.map(crate::time::Timestamp::to_rfc3339), expired, problem }
}

fn refused(facts: &dyn Facts) -> Vec<Refused> {
    let all = facts.refused_requests().into_iter().chain(facts.refused_connections());
    let some = all.filter(|(_, times)| *times > 0);
    some.map(|(reason, times)| Refused { reason: reason.to_owned(), times }).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{Known, expired, failed, none, up};
    use super::*;

    #[test]
    fn everything_that_is_known_is_told_and_no_more() {
        let certificates = vec![expired("a.example"), failed(1, none("b.example"))];
        let mut told = serde_json::to_value(up(Known { certificates, ..Known::default() }).report()).unwrap();
        assert!(told["uptime_seconds"].is_u64());
        told["uptime_seconds"] = 0.into();
        let expected = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "state": "serving",
            "uptime_seconds": 0,
            "memory_bytes": null,
            "ready": true,
            "degraded": ["a.example: the certificate has expired at 2027-01-15T08:00:00Z"],
            "waiting_for": ["b.example: the certificate authority has not issued yet; last problem: no DNS record"],
            "issuer": "https://auth.example.com",
            "identity": { "kind": "github", "origin": "https://github.com" },
            "store": { "kind": "redis", "away": false, "revocations_age_seconds": null },
            "services": [],
            "certificates": [
                { "host": "a.example", "not_after": "2027-01-15T08:00:00Z", "expired": true, "problem": null },
                { "host": "b.example", "not_after": null, "expired": false, "problem": "no DNS record" },
            ],
            "refused": [{ "reason": "body-too-large", "times": 2 }, { "reason": "per-address", "times": 3 }],
            "lately": {
                "counts": [{
                    "trouble": "not-allowed", "times": 2,
                    "first": "2027-01-15T08:00:00Z", "last": "2027-01-15T08:01:00Z",
                }],
                "logins": [{
                    "at": "2027-01-15T08:01:00Z", "trouble": "not-allowed", "request_id": "r-1", "sub": "github:1",
                    "network": "192.0.2.1", "status": 403, "times": 2,
                }],
                "tokens": [], "upstreams": [], "others": [],
                "rate_limited": [{ "network": "192.0.2.7", "times": 12 }],
                "left_out": 0,
            },
            "specifications": ["OAuth 2.1", "RFC 9728"],
            "mcp_revisions": ["2025-11-25"],
        });
        assert_eq!(told, expected);
        assert_eq!(serde_json::from_value::<Report>(told).unwrap().standing.unwrap().store.kind, "redis");
    }

    #[test]
    fn before_the_store_was_read_nothing_is_made_up() {
        let report = super::super::Status::default().report();
        assert_eq!(
            (report.state.as_str(), report.readiness.ready, report.standing.as_ref()),
            ("starting", false, None)
        );
        let told = serde_json::to_string(&report).unwrap();
        assert!(!told.contains("issuer") && !told.contains("store\":"), "{told}");
        assert_eq!(serde_json::from_str::<Report>(&told).unwrap(), report, "and it can be read back");
    }
}
