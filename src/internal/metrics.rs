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

use prometheus_client::encoding::NoLabelSet;
use serde::{Deserialize, Serialize};

use super::{CertificateFact, Facts, Standing as Known, Status, TrafficFact};
use crate::histogram::Durations;
use crate::store::OperationFact;
use crate::upstream::ReplicaFact;

/// All figures of one moment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Figures {
    /// As Prometheus reads them.
    pub text: String,
}

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
        counters(out, "connections_refused", CONNECTIONS, facts.refused_connections())?;
        traffic(out, &facts.traffic())?;
        open(out, &facts.standing())?;
        operations(out, &facts.store_operations())?;
        process(out, facts)
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

const ASKED: &str = "How many requests a service was asked, with the statuses that their clients saw.";
const TOOK: &str = "How long requests to a service took, from their heads to the ends of their answers; without streams that stand open.";
const REFUSALS: &str =
    "How many requests to a service were refused or failed, by the reason in their access lines.";
const UPSTREAM: &str =
    "How many requests had no answer from the server behind, by the finding that explains it.";
const ENDPOINT_ASKED: &str = "How many requests the gateway answered itself, by what they were for.";
const ENDPOINT_TOOK: &str = "How long the gateway took to answer requests itself.";
const ENDPOINT_REFUSALS: &str = "How many requests that the gateway answers itself were refused or failed, by the reason in their access lines.";
const IN_FLIGHT: &str = "Requests that are open at a service, without streams.";
const STREAMS: &str = "Streams that stand open at a service.";
const LOOKUPS: &str = "How often a token had been verified before (hit), and how often not (miss).";
const TOKENS: &str = "Verified tokens that are remembered, in all workers together.";
const STORE_TOOK: &str = "How long the store took, by what it was asked, also where it failed.";
const STORE_ERRORS: &str = "How often the store did not do what it was asked.";
const MEMORY: &str = "Memory of the process.";
const FILES: &str = "Files that the process has open, connections among them.";

fn traffic(out: &mut DescriptorEncoder<'_>, all: &[TrafficFact]) -> fmt::Result {
    let kinds = [
        ("service", [("requests", ASKED), ("request_duration_seconds", TOOK), ("refusals", REFUSALS)]),
        (
            "endpoint",
            [
                ("endpoint_requests", ENDPOINT_ASKED),
                ("endpoint_duration_seconds", ENDPOINT_TOOK),
                ("endpoint_refusals", ENDPOINT_REFUSALS),
            ],
        ),
    ];
    for (kind, [(asked, asked_help), (took, took_help), (refused, refused_help)]) in kinds {
        let facts: Vec<_> = all.iter().filter(|fact| fact.kind == kind).collect();
        let mut family = out.encode_descriptor(asked, asked_help, None, MetricType::Counter)?;
        for fact in &facts {
            for (method, status, count) in fact.sum.requests() {
                let labels = [(kind, fact.name.as_str()), ("method", method), ("status", status)];
                ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
            }
        }
        let lengths = facts.iter().map(|fact| ((kind, fact.name.as_str()), &fact.sum.durations));
        histograms(out, (took, took_help), lengths)?;
        refusals(out, (refused, refused_help, "reason"), &facts, |_| true)?;
    }
    let services: Vec<_> = all.iter().filter(|fact| fact.kind == "service").collect();
    refusals(out, ("upstream_failures", UPSTREAM, "finding"), &services, |reason| {
        reason.starts_with("upstream-")
    })
}

fn refusals(
    out: &mut DescriptorEncoder<'_>,
    (name, help, label): (&str, &str, &str),
    facts: &[&TrafficFact],
    wanted: impl Fn(&str) -> bool,
) -> fmt::Result {
    let mut family = out.encode_descriptor(name, help, None, MetricType::Counter)?;
    for fact in facts {
        for (reason, count) in fact.sum.refusals.iter().filter(|(reason, _)| wanted(reason)) {
            let labels = [(fact.kind, fact.name.as_str()), (label, reason)];
            ConstCounter::new(*count).encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

fn histograms<'f>(
    out: &mut DescriptorEncoder<'_>,
    (name, help): (&str, &str),
    all: impl IntoIterator<Item = ((&'static str, &'f str), &'f Durations)>,
) -> fmt::Result {
    let mut family = out.encode_descriptor(name, help, None, MetricType::Histogram)?;
    for (label, durations) in all {
        let labels = [label];
        let mut histogram = family.encode_family(&labels)?;
        let steps = durations.steps();
        histogram.encode_histogram::<NoLabelSet>(durations.sum(), durations.count(), &steps, None)?;
    }
    Ok(())
}

/// What is open at each service that is configured now.
fn open(out: &mut DescriptorEncoder<'_>, Known { services, .. }: &Known) -> fmt::Result {
    let count = |count: usize| number(count as u64);
    let requests = services.iter().map(|service| (service.name.as_str(), count(service.requests)));
    gauges(out, "requests_in_flight", IN_FLIGHT, "service", requests)?;
    let streams = services.iter().map(|service| (service.name.as_str(), count(service.streams)));
    gauges(out, "streams_open", STREAMS, "service", streams)
}

fn operations(out: &mut DescriptorEncoder<'_>, facts: &[OperationFact]) -> fmt::Result {
    let lengths = facts.iter().map(|fact| (("operation", fact.operation), &fact.durations));
    histograms(out, ("store_operation_duration_seconds", STORE_TOOK), lengths)?;
    let mut family = out.encode_descriptor("store_errors", STORE_ERRORS, None, MetricType::Counter)?;
    for fact in facts {
        let labels = [("operation", fact.operation)];
        ConstCounter::new(fact.errors).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

fn process(out: &mut DescriptorEncoder<'_>, facts: &dyn Facts) -> fmt::Result {
    let tokens = facts.tokens();
    let mut family = out.encode_descriptor("token_cache_lookups", LOOKUPS, None, MetricType::Counter)?;
    for (result, count) in [("hit", tokens.hits), ("miss", tokens.misses)] {
        ConstCounter::new(count).encode(family.encode_family(&[("result", result)])?)?;
    }
    gauge(out, "token_cache_tokens", TOKENS, number(tokens.remembered))?;
    let Some(process) = facts.process() else { return Ok(()) };
    gauge(out, "resident_memory_bytes", MEMORY, number(process.resident))?;
    gauge(out, "open_files", FILES, number(process.files))
}

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

    use http::StatusCode;

    use super::super::ProcessFact;
    use super::super::testing::{Known, expired, failed, good, none, replica, up};
    use super::*;
    use crate::telemetry::{Endpoint, MethodClass, Subject, Tally, added_up};

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
# HELP portcullis_requests ",
            env!("CARGO_PKG_VERSION")
        );
        assert!(told.starts_with(&expected), "{told}");
        assert!(told.ends_with("\n# EOF\n"), "{told}");
    }

    #[test]
    fn what_was_asked_is_told_by_service_and_by_endpoint() {
        let tally = Arc::<Tally>::default();
        let (service, token) = (Subject::Service(0), Subject::Endpoint(Endpoint::Token));
        tally.answered(service, MethodClass::Write, (StatusCode::OK, None));
        tally.took(service, Duration::from_micros(1_500));
        tally.answered(service, MethodClass::Read, (StatusCode::BAD_GATEWAY, Some("upstream-down")));
        tally.answered(token, MethodClass::Write, (StatusCode::BAD_REQUEST, Some("invalid_grant")));
        let mut sums = added_up(&[tally]);
        let mut fact = |kind, name: &str, subject| TrafficFact {
            kind,
            name: name.into(),
            sum: sums.remove(&subject).unwrap(),
        };
        let traffic = vec![fact("service", "a\"b", service), fact("endpoint", "token", token)];
        let process = Some(ProcessFact { resident: 42, files: 7 });
        let told = Metrics::new(up(Known { traffic, process, ..Known::default() })).text();
        for line in [
            "portcullis_requests_total{service=\"a\\\"b\",method=\"write\",status=\"200\"} 1",
            "portcullis_requests_total{service=\"a\\\"b\",method=\"read\",status=\"502\"} 1",
            "portcullis_request_duration_seconds_sum{service=\"a\\\"b\"} 0.0015",
            "portcullis_request_duration_seconds_count{service=\"a\\\"b\"} 1",
            "portcullis_request_duration_seconds_bucket{le=\"0.001\",service=\"a\\\"b\"} 0",
            "portcullis_request_duration_seconds_bucket{le=\"0.0025\",service=\"a\\\"b\"} 1",
            "portcullis_request_duration_seconds_bucket{le=\"+Inf\",service=\"a\\\"b\"} 1",
            "portcullis_refusals_total{service=\"a\\\"b\",reason=\"upstream-down\"} 1",
            "portcullis_upstream_failures_total{service=\"a\\\"b\",finding=\"upstream-down\"} 1",
            "portcullis_endpoint_requests_total{endpoint=\"token\",method=\"write\",status=\"400\"} 1",
            "portcullis_endpoint_refusals_total{endpoint=\"token\",reason=\"invalid_grant\"} 1",
            "portcullis_token_cache_lookups_total{result=\"hit\"} 5",
            "portcullis_token_cache_tokens 1",
            "portcullis_resident_memory_bytes 42",
            "portcullis_open_files 7",
        ] {
            assert!(told.lines().any(|one| one == line), "{line}: {told}");
        }
        assert!(!told.contains("upstream_failures_total{endpoint"), "{told}");
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
