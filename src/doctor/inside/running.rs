//! What the running gateway says of itself: how it stands, and what went wrong lately.

use std::collections::BTreeSet;

use procfs::process::{LimitValue, Process};

use super::{Inside, Silence};
use crate::config::Config;
use crate::doctor::{Examination, Remedy, Trial};
use crate::internal::{Lately, Report, Standing};
use crate::serve::owners;
use crate::trouble::Trouble;

/// What only a running gateway can tell.
const LATELY: [Trouble; 9] = [
    Trouble::TwoClients,
    Trouble::ExchangeFailed,
    Trouble::RefreshFailed,
    Trouble::ClientUnknown,
    Trouble::TokenUnaccepted,
    Trouble::ScopeMissing,
    Trouble::RateLimited,
    Trouble::SessionLost,
    Trouble::Memory,
];

const TRIED: &str = "asking the running gateway";
/// When the feed of revocations is late.
const LATE_FEED: u64 = 10;
/// So many open files are few for a gateway, and so much of them in use is much.
const FEW_FILES: u64 = 4096;
const MUCH_IN_USE: u64 = 80;

/// Tells it.
pub(super) fn examine(examination: &Examination<'_>, inside: &Inside<'_>, config: Option<&Config>) {
    match inside.running {
        Ok(report) => {
            tell_of_version(examination, report);
            if let Some(standing) = &report.standing {
                tell_of_standing(examination, standing);
                if let Some(config) = config {
                    tell_of_process(examination, config, standing);
                }
            }
            tell_of_state(examination, report);
            tell_of_lately(examination, report);
        }
        Err(Silence::Stopped(_)) => examination.not_tried(&LATELY, "", "the gateway does not run"),
        Err(Silence::Hanging(_)) => examination.not_tried(&LATELY, "", "the gateway does not answer"),
        Err(Silence::Unasked(why)) => {
            examination.not_tried(&LATELY, "", &format!("the running gateway cannot be asked: {why}"));
        }
    }
}

fn tell_of_version(examination: &Examination<'_>, report: &Report) {
    let own = env!("CARGO_PKG_VERSION");
    let trial = Trial::new(
        "the versions of this program and of the running gateway",
        format!("{own} and {}", report.version),
    );
    if report.version == own {
        examination.good(Trouble::DependencyMissing, "", trial);
        return;
    }
    let cause = format!(
        "The gateway that runs is version {}, and this program is {own}: it was not started again after an update.",
        report.version
    );
    let fix = ["Start it again: `sudo systemctl restart portcullis`, or `just up`."];
    examination.remark(Trouble::DependencyMissing, "", trial, Remedy::new(cause, fix));
}

fn tell_of_state(examination: &Examination<'_>, report: &Report) {
    if report.state == "serving" {
        return;
    }
    let found = format!("{}: {}", report.state, report.readiness.waiting_for.join("; "));
    let cause = "It is not ready, so nobody gets through to it yet, or any more.";
    let fix = [
        "Wait a moment and look again; if it stays so, its log says why: `journalctl -u portcullis`, or `just logs gateway`.",
    ];
    examination.remark(Trouble::Port443, "", Trial::new(TRIED, found), Remedy::new(cause, fix));
}

fn tell_of_standing(examination: &Examination<'_>, standing: &Standing) {
    let store = &standing.store;
    let trouble = if store.kind == "redis" { Trouble::RedisDown } else { Trouble::StoreFile };
    let age = store.revocations_age_seconds;
    let found = age.map_or_else(|| "never".to_owned(), |age| format!("{age} s ago"));
    let trial = Trial::new(TRIED, format!("revocations were read {found}"));
    if store.away {
        let cause = "The running gateway does not reach its store: nobody can sign in or refresh, and tokens work until `revocation_staleness` has passed.";
        let fix = [
            "If the doctor reaches it, the gateway was started with another address or network: start it again.",
        ];
        examination.bad(trouble, "the running gateway", trial, Remedy::new(cause, fix));
    } else if age.is_none_or(|age| age > LATE_FEED) {
        let cause = "Revocations of other processes are read late, so a revoked token works for longer here.";
        let fix = ["See how the machine stands: `uptime`, and `portcullis status`."];
        examination.remark(trouble, "the running gateway", trial, Remedy::new(cause, fix));
    } else {
        examination.good(trouble, "the running gateway", trial);
    }
    for service in &standing.services {
        for replica in service.replicas.iter().filter(|replica| replica.health == "ejected") {
            let why = replica.problem.as_deref().unwrap_or("it was not well");
            let subject = format!("{} ({})", service.name, replica.name);
            let cause =
                format!("The gateway sends {} nothing, while others can take it: {why}.", replica.name);
            let fix = ["See whether it runs, and its log; it is taken back by itself once it answers."];
            let trial = Trial::new(TRIED, format!("ejected: {why}"));
            examination.bad(Trouble::UpstreamDown, &subject, trial, Remedy::new(cause, fix));
        }
    }
}

/// Memory and open files of the process that has our ports.
fn tell_of_process(examination: &Examination<'_>, config: &Config, standing: &Standing) {
    let mut ports = config.serve.listen.iter().chain(&config.internal.listen).map(std::net::SocketAddr::port);
    let owner = ports.find_map(|port| owners(port).into_iter().find(crate::serve::Owner::is_this_program));
    let figures = owner.and_then(|owner| figures(owner.pid));
    let streams: usize = standing.services.iter().map(|service| service.streams).sum();
    let Some(Figures { rss, files, limit }) = figures else {
        examination.not_tried(
            &[Trouble::Memory],
            "",
            "the system does not show the gateway's process to this user",
        );
        return;
    };
    let found = format!("{} MiB of memory, {streams} open streams, {files} of {limit} files", rss >> 20);
    let trial = Trial::new("the gateway's process", found);
    if limit > 0 && files * 100 / limit >= MUCH_IN_USE {
        let cause = "Nearly as many files are open as may be: every connection is one, and soon none is taken any more.";
        let fix = [
            "Allow more: `LimitNOFILE=1048576` in the unit, `ulimits: { nofile: 1048576 }` in compose.",
            "Or lower `max_streams_per_user` of the service.",
        ];
        examination.bad(Trouble::Memory, "", trial, Remedy::new(cause, fix));
    } else if limit < FEW_FILES {
        let cause =
            format!("Only {limit} files may be open at once, and every connection and stream is one.");
        let fix =
            ["Allow more: `LimitNOFILE=1048576` in the unit, `ulimits: { nofile: 1048576 }` in compose."];
        examination.remark(Trouble::Memory, "", trial, Remedy::new(cause, fix));
    } else {
        examination.good(Trouble::Memory, "", trial);
    }
}

struct Figures {
    rss: u64,
    files: u64,
    limit: u64,
}

fn figures(pid: i32) -> Option<Figures> {
    let process = Process::new(pid).ok()?;
    let rss = process.status().ok()?.vmrss? * 1024;
    let files = u64::try_from(process.fd_count().ok()?).ok()?;
    let limit = match process.limits().ok()?.max_open_files.soft_limit {
        LimitValue::Unlimited => u64::MAX,
        LimitValue::Value(limit) => limit,
    };
    Some(Figures { rss, files, limit })
}

/// What requests have met since the start. It is history: worth knowing, and no reason to fail.
fn tell_of_lately(examination: &Examination<'_>, report: &Report) {
    let lately = &report.lately;
    let mut met = BTreeSet::new();
    for count in &lately.counts {
        let Some(trouble) = Trouble::from_id(&count.trouble) else { continue };
        met.insert(trouble);
        let times = if count.times == 1 { "once".to_owned() } else { format!("{} times", count.times) };
        let found = format!("{times}, last at {}{}", count.last, whom(lately, trouble));
        let explanation = trouble.explanation();
        let mut fix: Vec<String> = explanation.fix.iter().map(|step| (*step).to_owned()).collect();
        if trouble == Trouble::RateLimited {
            fix.insert(0, limits(report));
        }
        let remedy = Remedy::new(explanation.cause, fix);
        examination.remark(trouble, "lately", Trial::new("what went wrong since the start", found), remedy);
    }
    for trouble in LATELY.into_iter().filter(|trouble| *trouble != Trouble::Memory && !met.contains(trouble))
    {
        let trial = Trial::new("what went wrong since the start", "not once");
        examination.good(trouble, "lately", trial);
    }
}

/// At which services, and by which clients or networks.
fn whom(lately: &Lately, trouble: Trouble) -> String {
    let all = [&lately.logins, &lately.tokens, &lately.upstreams, &lately.others];
    let failures: Vec<_> =
        all.into_iter().flatten().filter(|failure| failure.trouble == trouble.id()).collect();
    let listed = |name: &str, values: BTreeSet<&str>| {
        const MOST: usize = 4;
        let few: Vec<_> = values.iter().copied().take(MOST).collect();
        let more = if values.len() > MOST { " and others" } else { "" };
        if few.is_empty() { String::new() } else { format!("; {name} {}{more}", few.join(", ")) }
    };
    let services = failures.iter().filter_map(|failure| failure.service.as_deref()).collect();
    let clients = failures.iter().filter_map(|failure| failure.client.as_deref()).collect();
    let networks = lately.rate_limited.iter().map(|source| source.network.as_str());
    let networks = if trouble == Trouble::RateLimited { networks.collect() } else { BTreeSet::new() };
    format!("{}{}{}", listed("at", services), listed("by", clients), listed("from", networks))
}

/// Which limits were hit, by their names in the access lines.
fn limits(report: &Report) -> String {
    let hit = report.refused.iter().map(|refused| format!("{} ({} times)", refused.reason, refused.times));
    let hit: Vec<_> = hit.collect();
    if hit.is_empty() {
        "The log names the limit: its `limit_hit` lines have it as `reason` (`journalctl -u portcullis | grep limit_hit`, or `just logs gateway`).".into()
    } else {
        format!("Limits that were hit: {}.", hit.join(", "))
    }
}
