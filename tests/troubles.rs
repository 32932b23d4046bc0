//! Which test proves which trouble: above each test that makes one stands `// trouble: ID`, and every trouble has one, but for those
//! that nobody can make, which say why.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use portcullis::trouble::Trouble;

/// Troubles that no test makes, with the reason.
const NEVER: [(&str, &str); 4] = [
    ("dependency-missing", "the gateway is one binary: there is nothing that could be missing"),
    ("stdio-died", "there are no stdio upstreams yet; a bridge that died is upstream-down"),
    ("backup", "a question and no trouble: tests/wire/keep.rs saves and restores"),
    ("rotate", "a question and no trouble: tests/wire/keys.rs and rotation.rs rotate"),
];

#[test]
fn every_trouble_is_made_by_a_test_or_says_why_not() {
    let made = made();
    let mut faults = Vec::new();
    for trouble in Trouble::ALL {
        let id = trouble.id();
        let reason = NEVER.iter().find(|(never, _)| *never == id);
        match (made.get(id), reason) {
            (None, None) => faults
                .push(format!("{id}: no test makes it; write `// trouble: {id}` above the one that does")),
            (Some(places), Some(_)) => {
                faults.push(format!("{id}: {} makes it; take it out of NEVER", places.join(", ")));
            }
            (Some(_), None) | (None, Some(_)) => {}
        }
    }
    for (id, places) in made.iter().filter(|(id, _)| Trouble::from_id(id).is_none()) {
        faults.push(format!("{}: there is no trouble {id}", places.join(", ")));
    }
    for (id, reason) in NEVER {
        assert!(Trouble::from_id(id).is_some() && !reason.is_empty(), "NEVER: {id}");
    }
    assert!(faults.is_empty(), "{}\n", faults.join("\n"));
}

#[test]
fn a_word_in_a_comment_counts_above_a_test_only() {
    let text = "// trouble: dns\n// G9\n#[tokio::test(flavor = \"x\")]\nasync fn a() {}\n// trouble: cert\nfn helper() {}\n";
    assert_eq!(ids(text, false), ["dns"]);
    assert_eq!(ids("# trouble: cors\n# trouble: waf\ndef a_case(gateway):\n", true), ["cors", "waf"]);
    assert!(ids("# trouble: cors\nx = 1\n", true).is_empty());
}

/// What people are advised to type is understood by the program.
#[test]
fn every_portcullis_command_of_the_advice_is_one() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut advice = BTreeSet::new();
    for file in ["trouble", "doctor"].into_iter().flat_map(|folder| files(&root.join(folder))) {
        let text = fs::read_to_string(file).unwrap();
        let parts = text.split('`').filter(|part| part.starts_with("portcullis ") && !part.contains('\n'));
        advice.extend(parts.map(str::to_owned));
    }
    assert!(advice.len() > 10, "{advice:?}");
    let faults: Vec<_> = advice.iter().filter_map(|line| misunderstood(line)).collect();
    assert!(faults.is_empty(), "{}\n", faults.join("\n"));
}

#[test]
fn a_subcommand_or_an_option_that_is_none_is_found_in_the_advice() {
    for (line, fault) in [
        ("portcullis nonsense", "there is no portcullis nonsense"),
        ("portcullis key nonsense", "there is no portcullis key nonsense"),
        ("portcullis cert renew {host} --nonsense", "portcullis cert renew has no --nonsense"),
        ("portcullis logs --reqest=ID", "portcullis logs has no --reqest"),
    ] {
        assert_eq!(misunderstood(line).as_deref(), Some(fault));
    }
    for line in [
        "portcullis check",
        "portcullis check portcullis",
        "portcullis key rotate",
        "portcullis logs --request=ID.",
    ] {
        assert_eq!(misunderstood(line), None);
    }
}

/// What the program would not understand of a line that people are advised to type.
fn misunderstood(line: &str) -> Option<String> {
    let is_name = |word: &&str| {
        !word.starts_with('-') && word.chars().all(|one| one.is_ascii_lowercase() || one == '-')
    };
    let words: Vec<_> = line.split_whitespace().skip(1).collect();
    let mut family: Vec<_> = words.iter().copied().take_while(is_name).take(2).collect();
    let first = help(family.get(..1)?);
    // What follows a command without subcommands is its argument.
    if !first.as_ref().is_some_and(|help| help.contains("\nCommands:\n")) {
        family.truncate(1);
    }
    let Some(help) = help(&family) else {
        return Some(format!("there is no portcullis {}", family.join(" ")));
    };
    let options = words.iter().filter(|word| word.starts_with("--"));
    let is_option_end = |c: char| !(c.is_ascii_alphanumeric() || c == '-');
    let mut options = options.filter_map(|word| word.split(is_option_end).next());
    let known: Vec<_> = help.split(is_option_end).collect();
    let unknown = options.find(|option| !known.contains(option))?;
    Some(format!("portcullis {} has no {unknown}", family.join(" ")))
}

/// The help of a command; none if there is no such command.
fn help(words: &[&str]) -> Option<String> {
    let program =
        std::process::Command::new(env!("CARGO_BIN_EXE_portcullis")).args(words).arg("--help").output();
    let program = program.unwrap();
    program.status.success().then(|| String::from_utf8(program.stdout).unwrap())
}

/// Trouble → the files with a test that makes it.
fn made() -> BTreeMap<String, Vec<String>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut made: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in ["src", "tests"].into_iter().flat_map(|folder| files(&root.join(folder))) {
        let name = file.strip_prefix(root).unwrap().display().to_string();
        // This one has examples.
        if name == "tests/troubles.rs" {
            continue;
        }
        for id in ids(&fs::read_to_string(&file).unwrap(), file.extension().is_some_and(|kind| kind == "py"))
        {
            let places = made.entry(id).or_default();
            if !places.contains(&name) {
                places.push(name.clone());
            }
        }
    }
    assert!(made.len() > 30, "the comments are not found: {made:?}");
    made
}

/// The ids in comments right above tests.
fn ids(text: &str, python: bool) -> Vec<String> {
    let (mark, is_test): (&str, fn(&str) -> bool) = if python {
        ("# trouble: ", |line| {
            line.starts_with("def ") || line.starts_with("async def ") || line.starts_with('@')
        })
    } else {
        ("// trouble: ", |line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"))
    };
    let comment = mark.split(' ').next().unwrap();
    let (mut found, mut above) = (Vec::new(), Vec::new());
    for line in text.lines().map(str::trim) {
        if let Some(id) = line.strip_prefix(mark) {
            above.push(id.trim().to_owned());
        } else if is_test(line) {
            found.append(&mut above);
        } else if !line.starts_with(comment) {
            above.clear();
        }
    }
    found
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let is_source = entry.extension().is_some_and(|kind| kind == "rs" || kind == "py");
        // Clients that the tests install are others' code.
        let is_ours = !entry.ends_with("node_modules") && !entry.ends_with("venv");
        if entry.is_dir() && is_ours {
            found.extend(files(&entry));
        } else if is_source {
            found.push(entry);
        }
    }
    found
}
