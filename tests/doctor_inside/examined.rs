//! What the real `portcullis doctor --json` says, and what becomes of it when its advice is followed.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

/// The longest that an examination may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// A report, and the exit status.
pub(crate) struct Examined {
    pub(crate) status: i32,
    pub(crate) report: Value,
}

/// One finding.
#[derive(Clone, Debug)]
pub(crate) struct Finding(pub(crate) Value);

/// Examines the gateway of `file`.
pub(crate) fn doctor(file: &Path) -> Examined {
    doctor_in(file, &[], &[])
}

/// The same with further arguments, and variables in its environment.
pub(crate) fn doctor_in(file: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Examined {
    let mut program = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    program.args(["doctor", "--json", "--config"]).arg(file).args(arguments);
    run(program.env_remove("PORTCULLIS_CONFIG").envs(environment.iter().copied()))
}

/// What a doctor's command says.
pub(crate) fn run(program: &mut Command) -> Examined {
    let begun = Instant::now();
    let output = program.output().unwrap();
    assert!(begun.elapsed() < PATIENCE, "it took {:?}", begun.elapsed());
    let text = String::from_utf8(output.stdout).unwrap();
    let report = serde_json::from_str(&text)
        .unwrap_or_else(|_| panic!("no JSON: {text}{}", String::from_utf8_lossy(&output.stderr)));
    Examined { status: output.status.code().unwrap(), report }
}

impl Examined {
    fn findings(&self) -> impl Iterator<Item = Finding> {
        self.report["findings"].as_array().unwrap().iter().map(|finding| Finding(finding.clone()))
    }

    /// The findings of a trouble.
    pub(crate) fn of(&self, id: &str) -> Vec<Finding> {
        self.findings().filter(|finding| finding.text("id") == id).collect()
    }

    /// The only finding of a trouble that has this verdict.
    pub(crate) fn only(&self, verdict: &str, id: &str) -> Finding {
        let all: Vec<_> = self.of(id).into_iter().filter(|one| one.text("verdict") == verdict).collect();
        assert_eq!(all.len(), 1, "{verdict} {id} in {:#}", self.report);
        all[0].clone()
    }

    /// Whether the gateway does not run, which most of these tests do not start.
    pub(crate) fn is_stopped(&self) -> bool {
        self.of("gateway-down").iter().any(|one| one.text("cause").starts_with("The gateway does not run"))
    }

    /// The ids of what is wrong, each once; but for a gateway that was not started.
    pub(crate) fn wrong(&self) -> Vec<String> {
        let stopped = self.is_stopped();
        let bad = self.findings().filter(|finding| finding.text("verdict") == "bad");
        let bad = bad.filter(|finding| !(stopped && finding.text("id") == "gateway-down"));
        let mut ids: Vec<_> = bad.map(|finding| finding.text("id")).collect();
        ids.dedup();
        ids
    }

    /// The one trouble that there is; exit status and counts agree.
    pub(crate) fn trouble(&self, id: &str) -> Finding {
        assert_eq!(self.wrong(), [id], "{:#}", self.report);
        assert_eq!(self.status, 1);
        self.only("bad", id)
    }

    /// Nothing is wrong, but that the gateway may not have been started.
    pub(crate) fn is_green(&self) -> &Self {
        assert_eq!(
            (self.wrong(), self.status),
            (Vec::new(), i32::from(self.is_stopped())),
            "{:#}",
            self.report
        );
        self
    }
}

impl Finding {
    /// A member's text.
    pub(crate) fn text(&self, name: &str) -> String {
        self.0[name].as_str().unwrap_or_default().to_owned()
    }

    /// All of the fix.
    pub(crate) fn fix(&self) -> String {
        let steps = self.0["fix"].as_array().into_iter().flatten();
        steps.map(|step| step.as_str().unwrap()).collect::<Vec<_>>().join("\n")
    }

    /// The first line of the fix in backquotes that begins so.
    pub(crate) fn line(&self, beginning: &str) -> String {
        let fix = self.fix();
        let quoted = fix.split('`').skip(1).step_by(2).find(|line| line.starts_with(beginning));
        quoted.unwrap_or_else(|| panic!("no {beginning} in {self:?}")).to_owned()
    }

    /// The same without its beginning: the value to write.
    pub(crate) fn value(&self, key: &str) -> String {
        self.line(key).strip_prefix(key).unwrap().trim().to_owned()
    }

    /// The cause has this in it.
    pub(crate) fn says(&self, words: &str) -> &Self {
        assert!(self.text("cause").contains(words), "{words:?} is not in {self:?}");
        self
    }
}
