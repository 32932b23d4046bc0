//! The figures, in the text format of Prometheus. Those that are known anyway are asked for at each scrape, so that none is old
//! and none outlives its host.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::{CertificateFact, Status};
use crate::upstream::ReplicaFact;

/// Everything that is measured.
pub(super) struct Metrics(Registry);

impl Metrics {
    /// What `status` knows. Whoever counts something registers it here.
    pub(super) fn new(status: Arc<Status>) -> Self {
        let mut registry = Registry::with_prefix("portcullis");
        registry.register_collector(Box::new(Standing(status)));
        Self(registry)
    }

    /// All figures as of now. The same text is good `OpenMetrics` and good Prometheus 0.0.4, which takes its last line for a
    /// comment.
    pub(super) fn text(&self) -> String {
        let mut written = String::new();
        // Writing to a `String` does not fail.
        let _ = text::encode(&mut written, &self.0);
        written
    }
}

/// How it stands with the process.
struct Standing(Arc<Status>);

impl fmt::Debug for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Standing")
    }
}

impl Collector for Standing {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let out = &mut encoder;
        gauges(out, "build_info", VERSION, "version", [(env!("CARGO_PKG_VERSION"), 1)])?;
        gauge(out, "ready", READY, self.0.readiness().ready.into())?;
        let Some(facts) = self.0.facts() else { return Ok(()) };
        gauge(out, "store_up", STORE, (!facts.store_is_away()).into())?;
        if let Some(age) = facts.feed_age() {
            gauge(out, "revocation_feed_age_seconds", FEED, number(age.as_secs()))?;
        }
        certificates(out, &facts.certificates())?;
        replicas(out, &facts.replicas())?;
        counters(out, "requests_refused", REQUESTS, facts.refused_requests())?;
        counters(out, "connections_refused", CONNECTIONS, facts.refused_connections())
    }
}

// Each ends as those do that are registered by themselves.
const VERSION: &str = "What runs here; always 1.";
const READY: &str = "Whether /ready says so.";
const STORE: &str = "Whether the store answered when it was asked last.";
const FEED: &str = "How long ago revocations were read; beyond revocation_staleness, requests get 503.";
const END: &str = "When the certificate that is shown for a host ends; absent while there is none.";
const EXPIRED: &str = "Whether the certificate that is shown for a host has ended.";
const FAILURES: &str = "How often getting a certificate for a host has failed since it last went well.";

const UP: &str = "Whether a replica gets new requests; 0 while it is ejected.";
const OPEN: &str = "Requests that are open at a replica.";
const EJECTIONS: &str = "How often a replica was ejected.";
const PROBES: &str = "How many probes of a replica went wrong.";
const REQUESTS: &str = "How many requests a limit has refused, by the reason in their access lines.";
const CONNECTIONS: &str = "How many connections were refused or given up before they brought a request.";

fn certificates(out: &mut DescriptorEncoder<'_>, facts: &[CertificateFact]) -> fmt::Result {
    let ends = facts.iter().filter_map(|fact| Some((fact.host.as_str(), number(fact.not_after?.seconds()))));
    gauges(out, "certificate_expiry_timestamp_seconds", END, "host", ends)?;
    let expired = facts.iter().map(|fact| (fact.host.as_str(), fact.expired.into()));
    gauges(out, "certificate_expired", EXPIRED, "host", expired)?;
    let failures = facts.iter().map(|fact| (fact.host.as_str(), fact.failures.into()));
    gauges(out, "certificate_renewal_failures", FAILURES, "host", failures)
}

/// A figure of a replica: its name, its help, and what it is.
type Figure = (&'static str, &'static str, fn(&ReplicaFact) -> u64);

/// Nothing where there is none.
fn replicas(out: &mut DescriptorEncoder<'_>, facts: &[ReplicaFact]) -> fmt::Result {
    const GAUGES: [Figure; 2] = [
        ("replica_up", UP, |fact| fact.ejected.is_none().into()),
        ("replica_requests_in_flight", OPEN, |fact| fact.open),
    ];
    const COUNTERS: [Figure; 2] = [
        ("replica_ejections", EJECTIONS, |fact| fact.ejections),
        ("replica_probe_failures", PROBES, |fact| fact.probe_failures),
    ];
    if facts.is_empty() {
        return Ok(());
    }
    for (name, help, figure) in GAUGES {
        let mut family = out.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for fact in facts {
            ConstGauge::new(number(figure(fact))).encode(family.encode_family(&labels(fact))?)?;
        }
    }
    for (name, help, figure) in COUNTERS {
        let mut family = out.encode_descriptor(name, help, None, MetricType::Counter)?;
        for fact in facts {
            ConstCounter::new(figure(fact)).encode(family.encode_family(&labels(fact))?)?;
        }
    }
    Ok(())
}

fn labels(fact: &ReplicaFact) -> [(&'static str, &str); 2] {
    [("service", &fact.service), ("replica", &fact.replica)]
}

/// One figure.
fn gauge(out: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: i64) -> fmt::Result {
    ConstGauge::new(value).encode(out.encode_descriptor(name, help, None, MetricType::Gauge)?)
}

/// One figure for each value of `label`.
fn gauges<'v>(
    out: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    label: &str,
    values: impl IntoIterator<Item = (&'v str, i64)>,
) -> fmt::Result {
    let mut family = out.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (of, value) in values {
        ConstGauge::new(value).encode(family.encode_family(&[(label, of)])?)?;
    }
    Ok(())
}

/// One count for each reason.
fn counters(
    out: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    counts: Vec<(&'static str, u64)>,
) -> fmt::Result {
    let mut family = out.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (reason, count) in counts {
        ConstCounter::new(count).encode(family.encode_family(&[("reason", reason)])?)?;
    }
    Ok(())
}

fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::testing::{Known, expired, failed, good, none, replica, up};
    use super::*;

    #[test]
    fn every_figure_has_its_help_its_type_and_its_value() {
        let certificates = vec![good("a.example"), expired("b.example"), failed(3, none("c.example"))];
        let known = Known { age: Some(Duration::from_secs(7)), certificates, ..Known::default() };
        let told = Metrics::new(up(known)).text();
        let expected = format!(
            "# HELP portcullis_build_info What runs here; always 1.
# TYPE portcullis_build_info gauge
portcullis_build_info{{version=\"{}\"}} 1
# HELP portcullis_ready Whether /ready says so.
# TYPE portcullis_ready gauge
portcullis_ready 1
# HELP portcullis_store_up Whether the store answered when it was asked last.
# TYPE portcullis_store_up gauge
portcullis_store_up 1
# HELP portcullis_revocation_feed_age_seconds How long ago revocations were read; beyond revocation_staleness, requests get 503.
# TYPE portcullis_revocation_feed_age_seconds gauge
portcullis_revocation_feed_age_seconds 7
# HELP portcullis_certificate_expiry_timestamp_seconds When the certificate that is shown for a host ends; absent while there is none.
# TYPE portcullis_certificate_expiry_timestamp_seconds gauge
portcullis_certificate_expiry_timestamp_seconds{{host=\"a.example\"}} 1800000000
portcullis_certificate_expiry_timestamp_seconds{{host=\"b.example\"}} 1800000000
# HELP portcullis_certificate_expired Whether the certificate that is shown for a host has ended.
# TYPE portcullis_certificate_expired gauge
portcullis_certificate_expired{{host=\"a.example\"}} 0
portcullis_certificate_expired{{host=\"b.example\"}} 1
portcullis_certificate_expired{{host=\"c.example\"}} 0
# HELP portcullis_certificate_renewal_failures How often getting a certificate for a host has failed since it last went well.
# TYPE portcullis_certificate_renewal_failures gauge
portcullis_certificate_renewal_failures{{host=\"a.example\"}} 0
portcullis_certificate_renewal_failures{{host=\"b.example\"}} 0
portcullis_certificate_renewal_failures{{host=\"c.example\"}} 3
# HELP portcullis_requests_refused How many requests a limit has refused, by the reason in their access lines.
# TYPE portcullis_requests_refused counter
portcullis_requests_refused_total{{reason=\"body-too-large\"}} 2
portcullis_requests_refused_total{{reason=\"user-requests\"}} 0
# HELP portcullis_connections_refused How many connections were refused or given up before they brought a request.
# TYPE portcullis_connections_refused counter
portcullis_connections_refused_total{{reason=\"per-address\"}} 3
# EOF
",
            env!("CARGO_PKG_VERSION")
        );
        assert_eq!(told, expected);
    }

    #[test]
    fn every_replica_has_its_figures() {
        let why = Some("it cannot be reached");
        let gone =
            ReplicaFact { ejected: why, open: 0, ejections: 3, probe_failures: 7, ..replica("todo-2") };
        let known = Known { replicas: vec![replica("todo-1:3002"), gone], ..Known::default() };
        let told = Metrics::new(up(known)).text();
        let expected = "\
# HELP portcullis_replica_up Whether a replica gets new requests; 0 while it is ejected.
# TYPE portcullis_replica_up gauge
portcullis_replica_up{service=\"todo\",replica=\"todo-1:3002\"} 1
portcullis_replica_up{service=\"todo\",replica=\"todo-2\"} 0
# HELP portcullis_replica_requests_in_flight Requests that are open at a replica.
# TYPE portcullis_replica_requests_in_flight gauge
portcullis_replica_requests_in_flight{service=\"todo\",replica=\"todo-1:3002\"} 2
portcullis_replica_requests_in_flight{service=\"todo\",replica=\"todo-2\"} 0
# HELP portcullis_replica_ejections How often a replica was ejected.
# TYPE portcullis_replica_ejections counter
portcullis_replica_ejections_total{service=\"todo\",replica=\"todo-1:3002\"} 0
portcullis_replica_ejections_total{service=\"todo\",replica=\"todo-2\"} 3
# HELP portcullis_replica_probe_failures How many probes of a replica went wrong.
# TYPE portcullis_replica_probe_failures counter
portcullis_replica_probe_failures_total{service=\"todo\",replica=\"todo-1:3002\"} 0
portcullis_replica_probe_failures_total{service=\"todo\",replica=\"todo-2\"} 7
";
        assert!(told.contains(expected), "{told}");
        assert!(!Metrics::new(up(Known::default())).text().contains("replica"));
    }

    #[test]
    fn before_the_store_was_read_nothing_is_made_up() {
        let told = Metrics::new(Arc::default()).text();
        assert!(told.contains("\nportcullis_ready 0\n"), "{told}");
        assert!(!told.contains("store_up") && !told.contains("certificate"), "{told}");
    }

    #[test]
    fn a_store_that_is_away_is_down() {
        let known = Known { away: true, ..Known::default() };
        let told = Metrics::new(up(known)).text();
        assert!(
            told.contains("\nportcullis_ready 1\n") && told.contains("\nportcullis_store_up 0\n"),
            "{told}"
        );
    }
}
