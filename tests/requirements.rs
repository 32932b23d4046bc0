//! Which test proves which row of the checklist: `tests/requirements.md`, made from the ids that stand in a comment at each
//! test. `UPDATE_REQUIREMENTS=1 cargo test --test requirements` writes it anew.
//!
//! The checklist is `requirements/rows.txt`. `requirements/later.txt` has the rows that another issue will prove, with the reason;
//! a row with neither a test nor a reason is a fault, and so are a reason that is not needed any more and an id that no row
//! has.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

const ROWS: &str = "tests/requirements/rows.txt";
const LATER: &str = "tests/requirements/later.txt";
const TABLE: &str = "tests/requirements.md";
const UPDATE: &str = "UPDATE_REQUIREMENTS";
const COMMAND: &str = "UPDATE_REQUIREMENTS=1 cargo test --test requirements";

/// Sections whose rows belong to other issues in the main.
const OTHERS: [&str; 2] = ["Proxying", "Transport security"];

#[test]
fn every_row_has_a_test_or_a_reason_and_the_table_says_which() {
    let (sections, tests) = (sections(), proofs());
    let known: BTreeSet<&str> =
        sections.iter().flat_map(|section| section.rows.iter().map(|row| row.0)).collect();
    let mut later = later();
    if std::env::var_os(UPDATE).is_some() {
        later.retain(|id, _| !tests.contains_key(id));
        write_later(&later);
        fs::write(root().join(TABLE), table(&sections, &tests, &later)).unwrap();
    }
    let mut faults = Vec::new();
    for (id, places) in &tests {
        if !known.contains(id.as_str()) {
            faults.push(format!("{} names {id}, which no row has", places.join(", ")));
        }
    }
    for section in &sections {
        for (id, _) in &section.rows {
            match (tests.contains_key(*id), later.get(*id)) {
                (false, None) => {
                    faults.push(format!("{id} has no test: write `// {id}` above the one that proves it"));
                }
                (true, Some(_)) => faults.push(format!("{id} has a test: take it out of {LATER}")),
                (false, Some(reason)) if !reason.contains("issue *") && !OTHERS.contains(&section.name) => {
                    faults.push(format!("{id} in {LATER} must say which `issue *NAME*` it waits for"));
                }
                (true, None) | (false, Some(_)) => {}
            }
        }
    }
    for id in later.keys().filter(|id| !known.contains(id.as_str())) {
        faults.push(format!("{LATER} names {id}, which no row has"));
    }
    if fs::read_to_string(root().join(TABLE)).unwrap_or_default() != table(&sections, &tests, &later) {
        faults.push(format!("{TABLE} is not what the tests say"));
    }
    assert!(faults.is_empty(), "{}\nto write {TABLE} anew: {COMMAND}\n", faults.join("\n"));
}

/// A part of the checklist.
struct Section {
    name: &'static str,
    rows: Vec<(&'static str, &'static str)>,
}

fn sections() -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    for line in include_str!("requirements/rows.txt").lines() {
        if let Some(name) = line.strip_prefix("## ") {
            sections.push(Section { name, rows: Vec::new() });
        } else if !line.starts_with('#') && !line.is_empty() {
            let row = line.split_once(' ').unwrap_or_else(|| panic!("{ROWS}: {line}"));
            assert!(is_id(row.0), "{ROWS}: {line}");
            sections.last_mut().unwrap().rows.push(row);
        }
    }
    assert!(sections.iter().map(|section| section.rows.len()).sum::<usize>() > 120, "{ROWS} is cut");
    sections
}

/// Row → why it has no test yet.
fn later() -> BTreeMap<String, String> {
    let text = fs::read_to_string(root().join(LATER)).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let pair = |line: &str| {
        let (id, reason) = line.split_once(' ').unwrap_or_else(|| panic!("{LATER}: {line}"));
        (id.to_owned(), reason.to_owned())
    };
    lines.map(pair).collect()
}

/// Writes the reasons that are still needed under the comment that the file begins with.
fn write_later(later: &BTreeMap<String, String>) {
    let before = fs::read_to_string(root().join(LATER)).unwrap();
    let mut lines: Vec<_> =
        before.lines().take_while(|line| line.starts_with('#')).map(str::to_owned).collect();
    lines.extend(later.iter().map(|(id, reason)| format!("{id} {reason}")));
    fs::write(root().join(LATER), lines.join("\n") + "\n").unwrap();
}

/// Row → the tests that name it, `file::test`.
fn proofs() -> BTreeMap<String, Vec<String>> {
    let contract = contract();
    let mut proofs: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in ["src", "tests"].into_iter().flat_map(|folder| files(&root().join(folder))) {
        let text = fs::read_to_string(&file).unwrap();
        let path = file.strip_prefix(root()).unwrap().display().to_string();
        let is_rust = file.extension().is_some_and(|kind| kind == "rs");
        let language = if is_rust { &RUST } else { &SCRIPT };
        for (test, ids) in named(&text, language, &contract) {
            for id in ids {
                proofs.entry(id).or_default().insert(format!("{path}::{test}"));
            }
        }
    }
    proofs.into_iter().map(|(id, tests)| (id, tests.into_iter().collect())).collect()
}

/// The sentences of the store's contract: functions that a macro makes tests of.
fn contract() -> BTreeSet<String> {
    let text = fs::read_to_string(root().join("tests/store.rs")).unwrap();
    let list = text.split("\ncontract! {").nth(1).and_then(|rest| rest.split('}').next()).unwrap();
    list.split_whitespace().map(str::to_owned).collect()
}

/// How a language writes comments, functions and tests.
struct Language {
    comments: &'static [&'static str],
    function: &'static str,
    /// How an attribute that makes a test of a function begins.
    test: &'static [&'static str],
    /// How other attributes begin.
    attribute: &'static str,
}

const RUST: Language =
    Language { comments: &["//"], function: "fn ", test: &["#[test]", "#[tokio::test"], attribute: "#[" };
/// The real clients' tests.
const SCRIPT: Language =
    Language { comments: &["#", "//"], function: "def ", test: &["@case"], attribute: "@" };

/// The tests of a file that name rows: in comment lines above their attributes, or anywhere within.
fn named(text: &str, language: &Language, contract: &BTreeSet<String>) -> Vec<(String, Vec<String>)> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let test_at = |number: usize| {
        let name = function(lines[number], language)?;
        let mut above = lines[..number].iter().rev().take_while(|line| goes_with(line, language));
        let is_test = above.any(|line| language.test.iter().any(|test| line.starts_with(test)));
        (is_test || contract.contains(&name)).then_some(name)
    };
    let mut found = Vec::new();
    let mut current = None;
    for (number, line) in lines.iter().enumerate() {
        if function(line, language).is_some() {
            current = test_at(number);
        }
        let comment = language.comments.iter().find_map(|mark| line.strip_prefix(mark));
        let ids = comment.map_or_else(Vec::new, ids);
        if ids.is_empty() {
            continue;
        }
        // A comment above a function belongs to that one, any other to the function it stands in.
        let below = (number..lines.len()).find(|below| !goes_with(lines[*below], language));
        let owner = match below.filter(|below| function(lines[*below], language).is_some()) {
            Some(below) => test_at(below),
            None => current.clone(),
        };
        found.extend(owner.map(|owner| (owner, ids)));
    }
    found
}

/// Whether a line can stand between a comment and its function.
fn goes_with(line: &str, language: &Language) -> bool {
    line.starts_with(language.attribute) || language.comments.iter().any(|comment| line.starts_with(comment))
}

/// The name of the function that begins on a line.
fn function(line: &str, language: &Language) -> Option<String> {
    let (before, after) = line.split_once(language.function)?;
    let words = ["pub", "pub(crate)", "pub(super)", "async", "const", "export"];
    let begins = before.split_whitespace().all(|word| words.contains(&word));
    let name: String = after.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (begins && !name.is_empty()).then_some(name)
}

/// The ids that a comment begins with: `T3`, `D1, D3`, `T9, T10: why`, `R12. And more`.
fn ids(comment: &str) -> Vec<String> {
    let mut ids = Vec::new();
    for part in comment.split(',') {
        let part = part.trim_start();
        let end = part.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(part.len());
        let (id, rest) = part.split_at(end);
        if !is_id(id) || rest.starts_with(['-', '_', '<', '\'']) {
            break;
        }
        ids.push(id.to_owned());
        if !rest.is_empty() {
            break;
        }
    }
    ids
}

/// A capital letter and a number.
fn is_id(text: &str) -> bool {
    let mut characters = text.chars();
    let letter = characters.next().is_some_and(|c| c.is_ascii_uppercase());
    letter && (2..=3).contains(&text.len()) && characters.all(|c| c.is_ascii_digit())
}

fn table(
    sections: &[Section],
    tests: &BTreeMap<String, Vec<String>>,
    later: &BTreeMap<String, String>,
) -> String {
    let mut table = format!(
        "# What is required, and the tests that prove it\n\nWritten by `{COMMAND}` from the comments at the tests; \
         the rows are in `{ROWS}`.\n"
    );
    for section in sections {
        write!(table, "\n## {}\n\n| row | requirement | tests |\n|---|---|---|\n", section.name).unwrap();
        for (id, text) in &section.rows {
            let proof = match (tests.get(*id), later.get(*id)) {
                (Some(tests), _) => {
                    tests.iter().map(|test| format!("`{test}`")).collect::<Vec<_>>().join("<br>")
                }
                (None, Some(reason)) => format!("later: {reason}"),
                (None, None) => "none".to_owned(),
            };
            writeln!(table, "| {id} | {} | {proof} |", text.replace('|', "\\|")).unwrap();
        }
    }
    table
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The sources below a folder, without what is installed there to run them.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !name.starts_with('.') && name != "node_modules" {
            found.extend(files(&path));
        } else if ["rs", "py", "mjs"].iter().any(|kind| path.extension().is_some_and(|one| one == *kind)) {
            found.push(path);
        }
    }
    found
}

#[test]
fn ids_are_read_from_the_beginning_of_a_comment() {
    for (comment, wanted) in [
        (" T3", "T3"),
        (" D1, D3", "D1 D3"),
        (" D15, D16, requirements §2 item 13", "D15 D16"),
        (" T9, T10: races end nobody's grant.", "T9 T10"),
        (" R12. Those that did not", "R12"),
        (" P14, R11 (RFC 9113 §8.2.1)", "P14 R11"),
        (" T6; checked before anything", "T6"),
        (" of T3", ""),
        (" S26-http:582", ""),
        (" RFC 9700", ""),
        (" P9s are", ""),
        ("", ""),
    ] {
        assert_eq!(ids(comment).join(" "), wanted, "{comment:?}");
    }
}

#[test]
fn a_comment_belongs_to_the_test_below_it_or_around_it() {
    let above = "// A1\nfn helper() {}\n\n// A2\n#[test]\nfn above() {}\n\n#[test]\n// A3\nfn between() {}\n";
    let within = "#[tokio::test]\nasync fn within() {\n    // A4\n    let x = 1;\n    // A5: later\n}\n\nfn code() {\n    // A6\n}\n";
    let rust = format!("{above}\n{within}\n// A7\npub(crate) async fn sentence(rig: &Rig) {{}}\n");
    let contract = BTreeSet::from(["sentence".to_owned()]);
    let read = |text, language| -> Vec<String> {
        named(text, language, &contract)
            .into_iter()
            .map(|(test, ids)| format!("{test} {}", ids.join(" ")))
            .collect()
    };
    assert_eq!(read(&rust, &RUST), ["above A2", "between A3", "within A4", "within A5", "sentence A7"]);
    let python =
        "# B1\n@case(timeout=60)\ndef above(bench):\n    pass\n\n# B2\ndef helper():\n    # B3\n    pass\n";
    assert_eq!(read(python, &SCRIPT), ["above B1"]);
}
