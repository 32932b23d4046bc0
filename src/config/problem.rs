//! What is to be said of a configuration, and where: refusals and remarks are collected here while the check goes
//! on, so that all of them are told at once.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::trouble::Trouble;

/// A place in one of the files; lines and columns (in characters) count from 1. Line 0 is the file as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
pub(super) struct Position {
    /// Which file, by its number in [`Findings`].
    pub(super) file: usize,
    pub(super) line: usize,
    pub(super) column: usize,
}

impl Position {
    /// A file's first character: where a missing key is reported.
    pub(super) const fn start(file: usize) -> Self {
        Self { file, line: 1, column: 1 }
    }

    /// A file that there is no place in: it cannot be read.
    pub(super) const fn whole(file: usize) -> Self {
        Self { file, line: 0, column: 0 }
    }
}

/// What is wrong at one place, and what to write instead; never with a secret in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    at: Position,
    text: String,
    /// What `portcullis doctor --explain` knows of it.
    trouble: Option<Trouble>,
}

/// Refusals and remarks as they are found.
#[derive(Debug)]
pub(super) struct Findings {
    files: Vec<PathBuf>,
    refusals: Vec<Finding>,
    remarks: Vec<Finding>,
}

impl Findings {
    /// Nothing found yet in `file`, which gets number 0.
    pub(super) fn of(file: &Path) -> Self {
        Self { files: vec![file.to_owned()], refusals: Vec::new(), remarks: Vec::new() }
    }

    /// One more file; its number.
    pub(super) fn add_file(&mut self, file: &Path) -> usize {
        self.files.push(file.to_owned());
        self.files.len() - 1
    }

    /// Refuses the configuration for what stands at `at`.
    pub(super) fn refuse(&mut self, at: Position, text: impl Into<String>) {
        self.refusals.push(Finding { at, text: text.into(), trouble: None });
    }

    /// The same of a trouble that people meet wherever there is a configuration.
    pub(super) fn refuse_as(&mut self, trouble: Trouble, at: Position, text: impl Into<String>) {
        self.refusals.push(Finding { at, text: text.into(), trouble: Some(trouble) });
    }

    /// The same of what is no YAML, or not the YAML that is read here.
    pub(super) fn refuse_yaml(&mut self, at: Position, text: impl Into<String>) {
        self.refuse_as(Trouble::YamlSyntax, at, text);
    }

    /// Says something that is worth knowing but no reason to refuse.
    pub(super) fn remark(&mut self, at: Position, text: impl Into<String>) {
        self.remarks.push(Finding { at, text: text.into(), trouble: None });
    }

    /// The same of what may become a trouble.
    pub(super) fn remark_as(&mut self, trouble: Trouble, at: Position, text: impl Into<String>) {
        self.remarks.push(Finding { at, text: text.into(), trouble: Some(trouble) });
    }

    /// `name:line`, to name one place in a text about another one.
    pub(super) fn place(&self, at: Position) -> String {
        format!(
            "{}:{}",
            self.files.get(at.file).map_or("?".into(), |file| file.display().to_string()),
            at.line
        )
    }

    /// Whether nothing was refused so far.
    pub(super) const fn is_clean(&self) -> bool {
        self.refusals.is_empty()
    }

    /// The first refusal's text alone, without its place.
    pub(super) fn first_refusal(self) -> Option<String> {
        self.refusals.into_iter().next().map(|finding| finding.text)
    }

    /// `value` and the remarks, or the refusals if there are any (or no value).
    pub(super) fn conclude<T>(self, value: Option<T>) -> Result<(T, Vec<String>), Problems> {
        let Self { files, refusals, remarks } = self;
        match value {
            Some(value) if refusals.is_empty() => Ok((value, lines(&files, remarks))),
            Some(_) | None => Err(Problems { lines: lines(&files, refusals) }),
        }
    }
}

/// The findings as lines, by position.
fn lines(files: &[PathBuf], mut findings: Vec<Finding>) -> Vec<String> {
    findings.sort();
    // An alias repeats what it stands for, and its faults with it.
    findings.dedup();
    findings.iter().map(|finding| line(files, finding)).collect()
}

fn line(files: &[PathBuf], Finding { at, text, trouble }: &Finding) -> String {
    let file = files.get(at.file).map_or("?".into(), |file| file.display().to_string());
    // A value from the environment can bring line breaks; a finding is one line.
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let id = trouble.map(|trouble| format!(" [{trouble}]")).unwrap_or_default();
    if at.line == 0 {
        format!("{file}: {text}{id}")
    } else {
        format!("{file}:{}:{}: {text}{id}", at.line, at.column)
    }
}

/// Why a configuration is refused: every problem, by position, each as `file:line:column: what is wrong; what to
/// write [id of the trouble]`. A program that meets it ends with [`Problems::EXIT_CODE`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Problems {
    lines: Vec<String>,
}

impl Problems {
    /// `EX_CONFIG` of sysexits.h.
    pub const EXIT_CODE: u8 = 78;

    /// The problems, one line each.
    #[must_use]
    pub fn lines(&self) -> &[String] {
        &self.lines
    }
}

impl fmt::Display for Problems {
    /// One problem a line, without a line break at the end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines.join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: usize, column: usize) -> Position {
        Position { file: 0, line, column }
    }

    #[test]
    fn problems_are_sorted_by_position_and_said_once() {
        let mut findings = Findings::of(Path::new("p.yaml"));
        findings.refuse(at(10, 1), "third");
        findings.refuse(at(9, 12), "second");
        findings.refuse(at(9, 2), "first");
        findings.refuse(at(9, 12), "second");
        let problems = findings.conclude(Some(())).unwrap_err();
        assert_eq!(problems.to_string(), "p.yaml:9:2: first\np.yaml:9:12: second\np.yaml:10:1: third");
    }

    #[test]
    fn a_problem_of_a_whole_file_has_no_line() {
        let mut findings = Findings::of(Path::new("p.yaml"));
        findings.refuse(at(1, 1), "missing");
        findings.refuse(Position::whole(0), "unreadable");
        let problems = findings.conclude(Some(())).unwrap_err();
        assert_eq!(problems.lines(), ["p.yaml: unreadable", "p.yaml:1:1: missing"]);
    }

    #[test]
    fn remarks_are_told_only_when_nothing_is_refused() {
        let mut findings = Findings::of(Path::new("p.yaml"));
        findings.remark(at(1, 1), "by the way");
        assert_eq!(findings.conclude(Some(())).unwrap().1, ["p.yaml:1:1: by the way"]);
    }

    #[test]
    fn a_trouble_stands_at_the_end_of_its_line() {
        let mut findings = Findings::of(Path::new("p.yaml"));
        findings.refuse_as(Trouble::EnvMissing, at(2, 3), "NAME is not set");
        assert_eq!(
            findings.conclude(Some(())).unwrap_err().lines(),
            ["p.yaml:2:3: NAME is not set [env-missing]"]
        );
    }

    #[test]
    fn a_line_break_in_a_value_does_not_make_two_lines() {
        let mut findings = Findings::of(Path::new("p.yaml"));
        findings.refuse(at(1, 1), "bad\nvalue");
        assert_eq!(findings.conclude(Some(())).unwrap_err().lines(), ["p.yaml:1:1: bad value"]);
    }
}
