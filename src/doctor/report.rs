//! What an examination has found, for people's and programs' eyes.

use serde::{Deserialize, Serialize};

use super::{Remedy, Trial};
use crate::trouble::Trouble;

/// How it stands with a trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is not there.
    Good,
    /// Worth knowing.
    Remark,
    /// It is there.
    Bad,
    /// Nobody knows: something else was in the way.
    NotTried,
}

/// What a client shows for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Symptom {
    /// Which.
    pub client: String,
    /// What.
    pub shows: String,
}

impl Symptom {
    pub(super) fn new(client: &str, shows: &str) -> Self {
        Self { client: client.to_owned(), shows: shows.to_owned() }
    }
}

/// How it stands with one trouble of one service, host or file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The trouble's id: `portcullis doctor --explain ID`.
    pub id: String,
    /// The group's heading.
    pub group: String,
    /// The service, host or file; empty if it is about everything.
    pub subject: String,
    /// How it stands.
    pub verdict: Verdict,
    /// What was tried.
    pub tried: String,
    /// What came back; or why nothing was tried.
    pub found: String,
    /// Why; empty if all is well.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cause: String,
    /// What to do, a step a line.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fix: Vec<String>,
    /// Which client shows what for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clients: Vec<Symptom>,
    #[serde(skip)]
    order: usize,
}

impl Finding {
    pub(super) fn new(
        (trouble, subject): (Trouble, &str),
        verdict: Verdict,
        Trial { tried, found }: Trial,
        Remedy { mut cause, mut fix, clients: known }: Remedy,
    ) -> Self {
        let explanation = trouble.explanation();
        let mut clients = Vec::new();
        if verdict == Verdict::Bad {
            if cause.is_empty() {
                explanation.cause.clone_into(&mut cause);
            }
            if fix.is_empty() {
                fix = explanation.fix.iter().map(|step| (*step).to_owned()).collect();
            }
            let all = || explanation.clients.iter().map(|(client, shows)| Symptom::new(client, shows));
            clients = known.unwrap_or_else(|| all().collect());
        }
        Self {
            id: trouble.id().to_owned(),
            group: trouble.group().title().to_owned(),
            subject: subject.to_owned(),
            verdict,
            tried,
            found,
            cause,
            fix,
            clients,
            order: Trouble::ALL.iter().position(|one| *one == trouble).unwrap_or(usize::MAX),
        }
    }
}

/// One step of a client that was played.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Which client.
    pub client: String,
    /// What it does: `GET https://mcp.example.com/.well-known/oauth-protected-resource/mcp`.
    pub request: String,
    /// What comes of it.
    pub answer: String,
    /// Whether it goes on.
    pub ok: bool,
    /// Whether it came as far as this; if not, the step tells what would come of it.
    #[serde(default = "reached")]
    pub reached: bool,
    /// What it shows if it does not.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub shows: String,
}

const fn reached() -> bool {
    true
}

/// How many findings there are of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Troubles that are not there.
    pub good: usize,
    /// What is worth knowing.
    pub remark: usize,
    /// Troubles that are there.
    pub bad: usize,
    /// What nobody knows.
    pub not_tried: usize,
}

/// Everything that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Of this program.
    pub version: String,
    /// What was examined: a file, or a URL.
    pub examined: String,
    /// How many of each kind.
    pub counts: Counts,
    /// In the order of a request's way.
    pub findings: Vec<Finding>,
    /// What the client did that was played, in its order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Step>,
    /// Whether somebody pressed Ctrl-C.
    #[serde(skip)]
    pub interrupted: bool,
}

impl Report {
    pub(super) fn new(examined: &str, mut findings: Vec<Finding>, steps: Vec<Step>) -> Self {
        findings.sort_by(|one, other| (one.order, &one.subject).cmp(&(other.order, &other.subject)));
        let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
        let counts = Counts {
            good: count(Verdict::Good),
            remark: count(Verdict::Remark),
            bad: count(Verdict::Bad),
            not_tried: count(Verdict::NotTried),
        };
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            examined: examined.to_owned(),
            counts,
            findings,
            steps,
            interrupted: false,
        }
    }

    /// Whether nothing is wrong, and no client that was played had to stop.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.counts.bad == 0 && self.steps.iter().all(|step| step.ok || !step.reached)
    }
}
