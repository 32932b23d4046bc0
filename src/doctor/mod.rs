//! Doctor: plays a client against a gateway (or any MCP server), looks at the configuration and at what the gateway needs, and says of
//! each trouble whether it is there: what was tried, what came back, why, and what to do.
//!
//! A check is an async function that tells what it finds to the [`Examination`]; what depends on a check gets what it found as a
//! value, and where there is none says [`Examination::not_tried`]. So everything runs side by side that does not wait for another.

pub mod inside;
pub mod outside;
mod report;
pub mod web;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::trouble::Trouble;

pub use report::{Counts, Finding, Report, Step, Symptom, Verdict};

/// Who is told how an examination goes on.
pub trait Progress: Send + Sync {
    /// Something begins that may take a while: `what` is a clause, e.g. `asking auth.example.com for its certificate`.
    fn begins(&self, what: &str);

    /// Something was found.
    fn found(&self, finding: &Finding);
}

/// Tells nobody.
impl Progress for () {
    fn begins(&self, _: &str) {}
    fn found(&self, _: &Finding) {}
}

/// What was tried, and what came back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trial {
    /// What: `POST https://fetch.example.com/mcp without a token`.
    pub tried: String,
    /// What came of it: `401 without WWW-Authenticate`.
    pub found: String,
}

impl Trial {
    /// `found` came of `tried`.
    pub fn new(tried: impl Into<String>, found: impl Into<String>) -> Self {
        Self { tried: tried.into(), found: found.into() }
    }
}

/// Why it is so and what to do, where more is known than the trouble's explanation says; empty where not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remedy {
    /// In a sentence or two.
    pub cause: String,
    /// A step a line, with the exact line to type or paste.
    pub fix: Vec<String>,
    /// Which client shows what for it, where the trouble's explanation speaks of another kind of it.
    pub clients: Option<Vec<Symptom>>,
}

impl Remedy {
    /// That, and these steps.
    pub fn new(cause: impl Into<String>, fix: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { cause: cause.into(), fix: fix.into_iter().map(Into::into).collect(), clients: None }
    }

    /// Of this kind of the trouble these clients show this, and no others.
    #[must_use]
    pub fn shown(mut self, clients: &[(&str, &str)]) -> Self {
        self.clients = Some(clients.iter().map(|(client, shows)| Symptom::new(client, shows)).collect());
        self
    }
}

/// An examination that goes on: findings are collected from all checks.
pub struct Examination<'a> {
    progress: &'a dyn Progress,
    findings: Mutex<Vec<Finding>>,
    steps: Mutex<Vec<Step>>,
    interrupted: AtomicBool,
}

impl<'a> Examination<'a> {
    /// One that has just begun.
    #[must_use]
    pub const fn new(progress: &'a dyn Progress) -> Self {
        Self {
            progress,
            findings: Mutex::new(Vec::new()),
            steps: Mutex::new(Vec::new()),
            interrupted: AtomicBool::new(false),
        }
    }

    /// Something begins that may take a while.
    pub fn begins(&self, what: &str) {
        self.progress.begins(what);
    }

    /// The trouble is not there. `subject` is the service, host or file that it is about, or empty.
    pub fn good(&self, trouble: Trouble, subject: &str, trial: Trial) {
        self.add((trouble, subject), Verdict::Good, trial, Remedy::default());
    }

    /// Worth knowing, and no reason to fail.
    pub fn remark(&self, trouble: Trouble, subject: &str, trial: Trial, remedy: Remedy) {
        self.add((trouble, subject), Verdict::Remark, trial, remedy);
    }

    /// The trouble is there.
    pub fn bad(&self, trouble: Trouble, subject: &str, trial: Trial, remedy: Remedy) {
        self.add((trouble, subject), Verdict::Bad, trial, remedy);
    }

    /// It cannot be told, because of something else: `because` is a clause.
    pub fn not_tried(&self, troubles: &[Trouble], subject: &str, because: &str) {
        for trouble in troubles {
            self.add((*trouble, subject), Verdict::NotTried, Trial::new("", because), Remedy::default());
        }
    }

    /// A client that is played has made a step.
    pub fn step(&self, step: Step) {
        self.steps.lock().unwrap_or_else(PoisonError::into_inner).push(step);
    }

    /// Somebody pressed Ctrl-C.
    pub fn interrupt(&self) {
        self.interrupted.store(true, Ordering::Relaxed);
    }

    fn add(&self, about: (Trouble, &str), verdict: Verdict, trial: Trial, remedy: Remedy) {
        let trial = Trial { tried: bounded(trial.tried), found: bounded(trial.found) };
        let fix = remedy.fix.into_iter().map(bounded).collect();
        let remedy = Remedy { cause: bounded(remedy.cause), fix, clients: remedy.clients };
        let finding = Finding::new(about, verdict, trial, remedy);
        self.progress.found(&finding);
        self.findings.lock().unwrap_or_else(PoisonError::into_inner).push(finding);
    }

    /// Everything that was found, in the order of a request's way.
    #[must_use]
    pub fn conclude(self, examined: &str) -> Report {
        let findings = self.findings.into_inner().unwrap_or_else(PoisonError::into_inner);
        let steps = self.steps.into_inner().unwrap_or_else(PoisonError::into_inner);
        Report { interrupted: self.interrupted.into_inner(), ..Report::new(examined, findings, steps) }
    }
}

/// As much of a text as anybody reads: parts of it may be a stranger's.
fn bounded(text: String) -> String {
    const MOST: usize = 1500;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_come_in_the_order_of_a_request_s_way_and_are_counted() {
        let examination = Examination::new(&());
        examination.bad(
            Trouble::UpstreamDown,
            "todo",
            Trial::new("POST http://todo:3000/mcp", "connection refused"),
            Remedy::default(),
        );
        examination.good(Trouble::Dns, "b.example", Trial::new("A and AAAA of b.example", "192.0.2.1"));
        examination.not_tried(&[Trouble::Cert], "a.example", "a.example has no address");
        examination.bad(
            Trouble::Dns,
            "a.example",
            Trial::new("A and AAAA", "none"),
            Remedy::new("C.", ["F."]),
        );
        let report = examination.conclude("a gateway");
        let ids: Vec<_> = report.findings.iter().map(|one| (one.id.as_str(), one.subject.as_str())).collect();
        assert_eq!(
            ids,
            [("dns", "a.example"), ("dns", "b.example"), ("cert", "a.example"), ("upstream-down", "todo")]
        );
        assert_eq!(report.counts, Counts { good: 1, remark: 0, bad: 2, not_tried: 1 });
        assert!(!report.is_healthy());
        assert_eq!(
            (report.findings[0].cause.as_str(), &report.findings[0].fix[..]),
            ("C.", &["F.".to_owned()][..])
        );
    }

    #[test]
    fn a_check_may_know_better_what_clients_show() {
        let examination = Examination::new(&());
        let remedy = Remedy::new("C.", ["F."]).shown(&[("Python SDK", "stops")]);
        examination.bad(Trouble::IssuerMismatch, "", Trial::default(), remedy);
        examination.bad(Trouble::Cert, "", Trial::default(), Remedy::default().shown(&[]));
        let report = examination.conclude("");
        assert!(report.findings[0].clients.is_empty());
        assert_eq!(report.findings[1].clients, [Symptom::new("Python SDK", "stops")]);
    }

    #[test]
    fn what_a_stranger_says_is_cut_where_nobody_reads_on() {
        let examination = Examination::new(&());
        let long = "é".repeat(100_000);
        examination.bad(Trouble::Dns, "", Trial::new(&*long, &*long), Remedy::new(&*long, [&*long]));
        let finding = &examination.conclude("").findings[0];
        for text in [&finding.tried, &finding.found, &finding.cause, &finding.fix[0]] {
            assert_eq!(text.chars().count(), 1501);
        }
    }

    #[test]
    fn what_is_bad_has_a_cause_and_a_fix_though_nobody_gave_one() {
        let examination = Examination::new(&());
        examination.bad(Trouble::UpstreamAuth, "todo", Trial::default(), Remedy::default());
        examination.good(Trouble::UpstreamDown, "todo", Trial::default());
        let report = examination.conclude("");
        let explanation = Trouble::UpstreamAuth.explanation();
        assert_eq!(report.findings[1].cause, explanation.cause);
        assert_eq!(report.findings[1].fix, explanation.fix);
        assert_eq!(report.findings[1].clients.len(), explanation.clients.len());
        assert!(report.findings[0].cause.is_empty() && report.findings[0].fix.is_empty());
    }
}
