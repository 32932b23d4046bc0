//! The configuration: whatever `portcullis check` says of it, as findings.

use std::path::Path;

use super::Inside;
use crate::doctor::{Examination, Remedy, Trial};
use crate::trouble::{Group, Trouble};

/// What a configuration can have wrong.
const WAYS: [Trouble; 3] = [Trouble::EnvMissing, Trouble::EnvShape, Trouble::YamlSyntax];

/// Tells every problem, and of a good configuration what is worth knowing.
pub(super) fn tell(examination: &Examination<'_>, inside: &Inside<'_>) {
    let file = inside.file.display().to_string();
    let tried = format!("portcullis check {file}");
    let lines = match inside.checked {
        Ok(_) => &[][..],
        Err(problems) => problems.lines(),
    };
    for line in lines {
        let (place, text) = in_two(line);
        let (plain, _) = named(text);
        let (cause, fix) = plain.split_once("; ").unwrap_or((plain, ""));
        let fix = match missing(text) {
            Some(name) => fix_for_variable(inside.file, place, name),
            None => fix_for(place, fix),
        };
        let remedy = Remedy::new(ended(&capitalised(cause)), fix);
        examination.bad(problem(text), place, Trial::new(tried.as_str(), plain), remedy);
    }
    for way in WAYS.into_iter().filter(|way| lines.iter().all(|line| problem(in_two(line).1) != *way)) {
        examination.good(way, &file, Trial::new(tried.as_str(), "nothing of this kind is wrong"));
    }
    for line in inside.checked.iter().flat_map(|checked| &checked.remarks) {
        let (place, text) = in_two(line);
        let trouble = remark(text);
        let trial = Trial::new(tried.as_str(), named(text).0);
        if let Some((cause, fix)) = text.split_once("; ").filter(|_| text.contains("lets nobody in")) {
            let cause = format!("{}: nobody can use it.", capitalised(cause));
            examination.bad(trouble, place, trial, Remedy::new(cause, fix_for(place, fix)));
            continue;
        }
        examination.remark(trouble, place, trial, Remedy::new("", [fix_for_remark(text, trouble)]));
    }
    let remarks = inside.checked.as_ref().map(|checked| checked.remarks.as_slice()).unwrap_or_default();
    if inside.checked.is_ok() && remarks.iter().all(|line| remark(in_two(line).1) != Trouble::Environments) {
        let found = "issuer and services are of one domain";
        examination.good(Trouble::Environments, &file, Trial::new("issuer and service URLs", found));
    }
}

/// Without a configuration nothing else is known.
pub(super) fn rest_not_tried(examination: &Examination<'_>) {
    let is_told = |trouble: &Trouble| {
        WAYS.contains(trouble) || *trouble == Trouble::DependencyMissing || trouble.group() == Group::Running
    };
    let rest: Vec<_> = Trouble::ALL.iter().copied().filter(|trouble| !is_told(trouble)).collect();
    examination.not_tried(&rest, "", "the configuration is not good");
}

fn fix_for(place: &str, fix: &str) -> Vec<String> {
    let fix = if fix.is_empty() { "mend it" } else { fix };
    vec![ended(&format!("{place}: {fix}"))]
}

/// As a sentence.
fn ended(text: &str) -> String {
    if text.ends_with(['.', '?', '!']) { text.to_owned() } else { format!("{text}.") }
}

/// What lets people in on purpose is not mended by letting more of them in.
fn fix_for_remark(text: &str, trouble: Trouble) -> &'static str {
    if text.contains("lets everybody in") {
        "If that is not meant, name who may come in: `access: { users: [LOGIN] }`, or `access: { orgs: [ORG] }`."
    } else if text.contains("is public") {
        "If that is not meant, take `public: true` away, and write `access: { users: [LOGIN] }`."
    } else {
        trouble.explanation().fix.first().copied().unwrap_or_default()
    }
}

/// The variable that is missing, if it is that.
fn missing(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("environment variable ")?;
    problem(text).eq(&Trouble::EnvMissing).then(|| rest.split(' ').next())?
}

/// Where a missing variable is, or should be written.
fn fix_for_variable(configuration: &Path, place: &str, name: &str) -> Vec<String> {
    let folder = configuration.parent().filter(|folder| !folder.as_os_str().is_empty());
    let file = folder.unwrap_or(Path::new(".")).join(".env");
    let shown = file.display();
    let read = format!(
        "`set -a; . {shown}; set +a` in a shell, `EnvironmentFile=` in a systemd unit, `env_file:` in compose"
    );
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    if text.lines().any(|line| sets(line, name)) {
        return vec![format!("{place}: {name} is in {shown}, which was not read: {read}.")];
    }
    vec![format!("{place}: set it: write the line `{name}=VALUE` into {shown}, and have that read: {read}.")]
}

/// Whether a line of .env gives `name` a value.
fn sets(line: &str, name: &str) -> bool {
    let line = line.trim_start();
    let line = line.strip_prefix("export ").unwrap_or(line);
    line.split_once('=').is_some_and(|(before, value)| before.trim() == name && !value.trim().is_empty())
}

/// `file:line:column` and what is wrong there; of a whole file, its name.
fn in_two(line: &str) -> (&str, &str) {
    line.split_once(": ").unwrap_or(("", line))
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// The text, and the trouble whose id stands behind it.
fn named(text: &str) -> (&str, Option<Trouble>) {
    let named = text.strip_suffix(']').and_then(|text| text.rsplit_once(" ["));
    let trouble = named.and_then(|(text, id)| Some((text, Trouble::from_id(id)?)));
    trouble.map_or((text, None), |(text, trouble)| (text, Some(trouble)))
}

/// Of which kind a problem is: what names no trouble is a value of a wrong form.
fn problem(text: &str) -> Trouble {
    named(text).1.unwrap_or(Trouble::EnvShape)
}

/// Likewise of a remark; what names no trouble is known by its words.
fn remark(text: &str) -> Trouble {
    let known = || WORDS.iter().find(|(words, _)| text.contains(words)).map(|(_, trouble)| *trouble);
    named(text).1.or_else(known).unwrap_or(Trouble::EnvShape)
}

const WORDS: [(&str, Trouble); 6] = [
    ("`local_ca`", Trouble::Cert),
    ("go in circles", Trouble::UpstreamDown),
    ("lets nobody in", Trouble::NotAllowed),
    ("lets everybody in", Trouble::NotAllowed),
    ("is public", Trouble::NotAllowed),
    ("is nobody", Trouble::NotAllowed),
];
