//! `portcullis status`: how it stands with a running gateway, at a glance.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Args;

use super::admin::{Failure, Reach, colours, print_json, run as told};
use super::door::{Question, in_time};
use super::table::plain;
use crate::internal::{Lately, Replica, Report, Service, Standing, TroubleCount};
use crate::trouble::Trouble;

/// `portcullis status`.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{STATUS}"))]
pub struct Arguments {
    #[command(flatten)]
    reach: Reach,
}

const EXAMPLES: &str = "Examples:
  portcullis status
  portcullis status --config /etc/portcullis/portcullis.yaml --json";

const STATUS: &str = "It is asked at the admin socket, or at listen.internal, which without internal_token tells of what went wrong lately the counts only.
Exit status: 0 it runs, and this is how it stands; 1 it does not, or cannot be asked.";

/// What is asked.
const QUESTION: Question = Question { path: "/status", verb: "gateway/status", of_people: true };

/// The command.
#[must_use]
pub fn run(arguments: &Arguments) -> ExitCode {
    told(|| {
        let reach = arguments.reach.clone();
        let report = in_time(move || reach.door()?.ask::<Report>(QUESTION)).and_then(|report| report);
        let report = report.map_err(Failure::Refused)?;
        if arguments.reach.json {
            print_json(&report)?;
        } else {
            write!(io::stdout(), "{}", text(&report, colours()))?;
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// How wide the names at the left are.
const NAMES: usize = 14;

/// What a person reads, with colours or without.
fn text(report: &Report, colours: bool) -> String {
    let paint = |text: &str, colour: &str| {
        if colours { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    };
    let readiness = &report.readiness;
    let (state, colour) = match (readiness.ready, readiness.degraded.is_empty()) {
        (true, true) => ("ready", "32"),
        (true, false) => ("ready, but degraded", "33"),
        (false, _) => ("not ready", "31"),
    };
    let mut lines = Lines::default();
    let up = length(report.uptime_seconds);
    lines.add(
        "portcullis",
        &format!("{}, {}, up {up}: {}", report.version, report.state, paint(state, colour)),
    );
    if let Some(bytes) = report.memory_bytes {
        lines.add("memory", &format!("{} MB", bytes / 1_000_000));
    }
    for line in &readiness.degraded {
        lines.add("degraded", &paint(&plain(line), "33"));
    }
    for line in &readiness.waiting_for {
        lines.add("waiting for", &paint(&plain(line), "33"));
    }
    if let Some(standing) = &report.standing {
        stand(standing, &mut lines);
    }
    for certificate in &report.certificates {
        let until = match &certificate.not_after {
            Some(end) if certificate.expired => paint(&format!("expired at {end}"), "31"),
            Some(end) => format!("until {end}"),
            None => paint("none yet", "33"),
        };
        lines.add("certificates", &format!("{}  {until}", plain(&certificate.host)));
    }
    let refused: Vec<_> =
        report.refused.iter().map(|one| format!("{} {}", one.times, plain(&one.reason))).collect();
    if !refused.is_empty() {
        lines.add("refused", &refused.join(", "));
    }
    went_wrong(&report.lately, &mut lines);
    for (name, list) in [("specifications", &report.specifications), ("MCP", &report.mcp_revisions)] {
        lines.add(name, &plain(&list.join(", ")));
    }
    lines.text
}

fn stand(standing: &Standing, lines: &mut Lines) {
    let Standing { issuer, identity, store, services } = standing;
    lines.add("issuer", &plain(issuer));
    let at = identity.origin.as_ref().map(|origin| format!(" at {}", plain(origin))).unwrap_or_default();
    lines.add("identity", &format!("{}{at}", plain(&identity.kind)));
    let read = match store.revocations_age_seconds {
        Some(age) => format!("revocations read {} ago", length(age)),
        None => "revocations not read yet".to_owned(),
    };
    let away = if store.away { "away, " } else { "" };
    lines.add("store", &format!("{}: {away}{read}", plain(&store.kind)));
    let width = services.iter().map(|service| service.name.chars().count()).max().unwrap_or(0);
    for service in services {
        lines.add("services", &describe(service, width));
        for replica in &service.replicas {
            lines.add("services", &format!("{:width$}  {}", "", behind(replica)));
        }
    }
}

/// Every trouble that was met, with the first thing to do about it.
fn went_wrong(lately: &Lately, lines: &mut Lines) {
    for TroubleCount { trouble, times, last, first: _ } in &lately.counts {
        let known = Trouble::from_id(trouble).and_then(|trouble| trouble.explanation().fix.first());
        let fix = known.map(|fix| format!(": {fix}")).unwrap_or_default();
        let times = if *times == 1 { "once".to_owned() } else { format!("{times} times, the last") };
        lines.add("lately", &format!("{} {times} at {}{fix}", plain(trouble), plain(last)));
    }
    let sources = lately.rate_limited.iter().map(|one| format!("{} ({})", plain(&one.network), one.times));
    let sources: Vec<_> = sources.collect();
    if !sources.is_empty() {
        lines.add("lately", &format!("limits were reached by {}", sources.join(", ")));
    }
}

fn describe(service: &Service, width: usize) -> String {
    let Service { name, url, public, forward_auth, requests, streams, .. } = service;
    let mut told = format!(
        "{:width$}  {}: {}, {}",
        plain(name),
        plain(url),
        count(*requests, "request"),
        count(*streams, "stream")
    );
    for (is, what) in [(*public, "; public"), (*forward_auth, "; forwarded by another proxy")] {
        if is {
            told += what;
        }
    }
    told
}

fn behind(replica: &Replica) -> String {
    let problem = replica.problem.as_ref().map(|problem| format!(": {}", plain(problem))).unwrap_or_default();
    match replica.health.as_str() {
        // Where nobody looks there is nothing to say.
        "unknown" => plain(&replica.name),
        health => format!("{} {}{problem}", plain(&replica.name), plain(health)),
    }
}

fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// A length of time in its two largest units.
fn length(seconds: u64) -> String {
    let units = [(86_400, "d"), (3600, "h"), (60, "m"), (1, "s")];
    let mut left = seconds;
    let mut parts = Vec::new();
    for (unit, name) in units {
        if left >= unit {
            parts.push(format!("{}{name}", left / unit));
            left %= unit;
        }
    }
    parts.truncate(2);
    if parts.is_empty() { "0s".to_owned() } else { parts.join(" ") }
}

/// Names at the left, each once, and what there is to say of them.
#[derive(Default)]
struct Lines {
    text: String,
    last: &'static str,
}

impl Lines {
    fn add(&mut self, name: &'static str, value: &str) {
        let shown = if self.last == name { "" } else { name };
        self.last = name;
        self.text += format!("{shown:NAMES$}  {value}").trim_end();
        self.text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::internal::{Provider, Readiness, Source, Store};

    fn report() -> Report {
        let replica = |name: &str, health: &str, problem: Option<&str>| Replica {
            name: name.into(),
            health: health.into(),
            problem: problem.map(Into::into),
        };
        let todo = Service {
            name: "todo".into(),
            url: "https://todo.example.com/mcp".into(),
            requests: 1,
            streams: 3,
            replicas: vec![
                replica("todo-1:3002", "up", None),
                replica("todo-2:3002", "ejected", Some("it cannot be reached")),
            ],
            ..Service::default()
        };
        let fetch = Service {
            name: "fetching".into(),
            url: "https://fetch.example.com/mcp".into(),
            public: true,
            forward_auth: true,
            replicas: vec![replica("fetch:3000", "unknown", None)],
            ..Service::default()
        };
        Report {
            version: "1.2.3".into(),
            state: "serving".into(),
            uptime_seconds: 90_061,
            memory_bytes: Some(21_900_000),
            readiness: Readiness { ready: true, ..Readiness::default() },
            standing: Some(Standing {
                issuer: "https://auth.example.com".into(),
                identity: Provider { kind: "github".into(), origin: Some("https://github.com".into()) },
                store: Store { kind: "redis".into(), away: false, revocations_age_seconds: Some(1) },
                services: vec![fetch, todo],
            }),
            specifications: vec!["OAuth 2.1".into(), "RFC 6750".into()],
            mcp_revisions: vec!["2025-11-25".into()],
            ..Report::default()
        }
    }

    #[test]
    fn a_person_reads_everything_at_a_glance() {
        let expected = "\
portcullis      1.2.3, serving, up 1d 1h: ready
memory          21 MB
issuer          https://auth.example.com
identity        github at https://github.com
store           redis: revocations read 1s ago
services        fetching  https://fetch.example.com/mcp: 0 requests, 0 streams; public; forwarded by another proxy
                          fetch:3000
                todo      https://todo.example.com/mcp: 1 request, 3 streams
                          todo-1:3002 up
                          todo-2:3002 ejected: it cannot be reached
specifications  OAuth 2.1, RFC 6750
MCP             2025-11-25
";
        assert_eq!(text(&report(), false), expected);
    }

    #[test]
    fn what_is_wrong_comes_first_and_in_colour_and_does_nothing_to_the_terminal() {
        let mut report = report();
        report.readiness.degraded = vec!["the store is\x1b[2J away".into()];
        let text = text(&report, true);
        let mut lines = text.lines();
        assert_eq!(
            lines.next().unwrap(),
            "portcullis      1.2.3, serving, up 1d 1h: \x1b[33mready, but degraded\x1b[0m"
        );
        assert_eq!(lines.next().unwrap(), "memory          21 MB");
        assert_eq!(lines.next().unwrap(), "degraded        \x1b[33mthe store is?[2J away\x1b[0m");
    }

    #[test]
    fn what_went_wrong_lately_is_told_with_what_to_do() {
        let count = |trouble: &str, times| TroubleCount {
            trouble: trouble.into(),
            times,
            first: "2027-01-15T08:00:00Z".into(),
            last: "2027-01-15T09:00:00Z".into(),
        };
        let lately = Lately {
            counts: vec![count("not-allowed", 1), count("rate-limited", 7), count("of\x1ba newer one", 2)],
            rate_limited: vec![
                Source { network: "192.0.2.1".into(), times: 5 },
                Source { network: "2001:db8:1:2::/64".into(), times: 2 },
            ],
            ..Lately::default()
        };
        let text = text(&Report { lately, ..Report::default() }, false);
        let lines: Vec<_> = text.lines().skip(1).take(4).collect();
        assert_eq!(
            lines,
            [
                "lately          not-allowed once at 2027-01-15T09:00:00Z: The operator adds the login to `access.users`, or an \
                 organisation or team of theirs.",
                "                rate-limited 7 times, the last at 2027-01-15T09:00:00Z: Wait as long as Retry-After says; \
                 `portcullis doctor` shows which limit was hit and by whom.",
                "                of?a newer one 2 times, the last at 2027-01-15T09:00:00Z",
                "                limits were reached by 192.0.2.1 (5), 2001:db8:1:2::/64 (2)",
            ]
        );
    }

    #[test]
    fn lengths_have_two_units_at_most() {
        for (seconds, shown) in
            [(0, "0s"), (59, "59s"), (61, "1m 1s"), (3600, "1h"), (3_661, "1h 1m"), (172_805, "2d 5s")]
        {
            assert_eq!(length(seconds), shown);
        }
    }
}
