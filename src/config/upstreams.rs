//! Where a service really is: its replicas, how long they may take, and how they are probed.

use std::time::Duration;

use url::Url;

use super::problem::{Findings, Position};
use super::raw::{Given, Health, Service, Texts};
use super::service_limits;
use super::values::{duration, web_url};
use crate::upstream::{MOST_REPLICAS, Probe, ProbeKind, Settings, name_of};

/// How often replicas are probed.
const EVERY: Duration = Duration::from_secs(10);
const LEAST: Duration = Duration::from_secs(1);
const MOST: Duration = Duration::from_hours(1);

/// The upstream of a service, `at` which something is missing.
pub(super) fn check(at: Position, raw: &Service, findings: &mut Findings) -> Option<Settings> {
    let connect_timeout = duration(raw.connect_timeout.as_ref(), Duration::from_secs(5), findings);
    if let (Some(given), Some(Duration::ZERO)) = (&raw.connect_timeout, connect_timeout) {
        findings.refuse(given.at, "`connect_timeout` is no time at all; write 5s");
    }
    let first_byte_timeout = service_limits::first_byte(raw, findings);
    let probe = probe(raw.health.as_ref(), findings);
    let Some(given) = &raw.upstream else {
        findings.refuse(
            at,
            "`upstream` is missing; write upstream: http://HOST:PORT/mcp, where the MCP server listens",
        );
        return None;
    };
    let replicas = replicas(given, findings)?;
    let (kind, every) = probe?;
    // Where there is only one, nothing depends on how it is.
    let kind = kind.unwrap_or(if replicas.len() > 1 { ProbeKind::Mcp } else { ProbeKind::Off });
    Some(Settings {
        replicas,
        connect_timeout: connect_timeout?,
        first_byte_timeout: first_byte_timeout?,
        probe: Probe { kind, every },
    })
}

/// All URLs, or `None` if one is refused.
fn replicas(given: &Given<Texts>, findings: &mut Findings) -> Option<Vec<Url>> {
    let urls = given.value.as_ref()?;
    if urls.is_empty() {
        findings.refuse(given.at, "`upstream` is an empty list; write http://HOST:PORT/mcp");
        return None;
    }
    if let Some(surplus) = urls.get(MOST_REPLICAS) {
        let text = format!(
            "`upstream` has {} replicas; write {MOST_REPLICAS} at most, of load balancers if need be",
            urls.len()
        );
        findings.refuse(surplus.at, text);
        return None;
    }
    let mut replicas: Vec<(Position, Url)> = Vec::new();
    let mut all = true;
    for one in urls {
        let Some(url) = web_url("upstream", one, "http", findings) else {
            all = false;
            continue;
        };
        if let Some(text) = beside(&replicas, &url, findings) {
            findings.refuse(one.at, text);
            all = false;
        } else {
            replicas.push((one.at, url));
        }
    }
    all.then(|| replicas.into_iter().map(|(_, url)| url).collect())
}

/// What is wrong with a replica beside others: sessions know them by host and port, and paths are mapped for all of them.
fn beside(others: &[(Position, Url)], url: &Url, findings: &Findings) -> Option<String> {
    let name = name_of(url);
    if let Some((at, _)) = others.iter().find(|(_, other)| name_of(other) == name) {
        let place = findings.place(*at);
        return Some(format!("{name} is a replica already ({place}); write another one, or take it away"));
    }
    let (_, first) = others.first()?;
    (first.path() != url.path()).then(|| {
        let (path, wanted) = (url.path(), first.path());
        format!(
            "the path of {name} is {path} and that of the first replica {wanted}; write one path for all of them"
        )
    })
}

/// What is asked, if that is said, and how often.
fn probe(field: Option<&Given<Health>>, findings: &mut Findings) -> Option<(Option<ProbeKind>, Duration)> {
    let Some(given) = field else { return Some((None, EVERY)) };
    let Health { word, probe, every } = given.value.as_ref()?;
    if let Some(word) = word {
        return match word.value.as_deref()? {
            "off" => Some((Some(ProbeKind::Off), EVERY)),
            other => {
                let text =
                    format!("`{other}` is no kind of health; write off, or {{ probe: mcp, every: 10s }}");
                findings.refuse(word.at, text);
                None
            }
        };
    }
    let kind = probe.as_ref().map(|given| kind(given, findings));
    let time = duration(every.as_ref(), EVERY, findings)?;
    if let (Some(given), false) = (every, (LEAST..=MOST).contains(&time)) {
        findings.refuse(given.at, "replicas are probed once in 1s to once in 1h; write 10s");
    }
    match kind {
        Some(None) => None,
        Some(Some(kind)) => Some((Some(kind), time)),
        None => Some((None, time)),
    }
}

fn kind(given: &Given<String>, findings: &mut Findings) -> Option<ProbeKind> {
    match given.value.as_deref()? {
        "mcp" => Some(ProbeKind::Mcp),
        "tcp" => Some(ProbeKind::Tcp),
        "off" => Some(ProbeKind::Off),
        other => {
            findings.refuse(given.at, format!("`{other}` is no kind of probe; write mcp, tcp or off"));
            None
        }
    }
}
