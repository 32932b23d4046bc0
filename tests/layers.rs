//! Modules point one way: `TABLE` says which module names which others, and is the truth: every `crate::x` in `src` stands
//! in it, and every edge in it is used.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Module → the modules it names, besides itself. The command line puts everything together, so it may name anything.
const TABLE: &[(&str, &str)] = &[
    ("secret", ""),
    ("time", ""),
    ("host", ""),
    ("histogram", ""),
    ("trouble", ""),
    ("clock", "time"),
    ("seal", "secret"),
    ("oauth", "secret time"),
    ("mcp", "seal secret"),
    ("policy", "oauth time"),
    ("token", "oauth seal secret time"),
    ("store", "clock histogram oauth seal secret time trouble"),
    ("fetch", "host"),
    ("identity", "fetch oauth secret time trouble"),
    ("timer", ""),
    ("upstream", "timer trouble"),
    ("certs", "secret time"),
    ("acme", "certs clock fetch secret store time trouble"),
    ("pages", "trouble"),
    ("telemetry", "histogram oauth secret time trouble"),
    (
        "gateway",
        "clock fetch host identity mcp oauth pages policy seal secret store telemetry time timer token trouble upstream",
    ),
    ("internal", "histogram host secret store telemetry time upstream"),
    ("admin", "acme certs clock gateway internal oauth secret store telemetry time"),
    ("tasks", "acme certs clock gateway oauth secret store time upstream"),
    ("serve", "certs gateway telemetry time timer"),
    (
        "config",
        "admin certs fetch gateway host identity internal oauth policy secret serve store telemetry time token trouble upstream",
    ),
    ("echo", ""),
    ("heap", ""),
    (
        "doctor",
        "certs clock config fetch gateway host identity internal mcp seal secret serve store time trouble upstream",
    ),
    ("cli", ANYTHING),
    ("main", ""),
    ("lib", ""),
];

const ANYTHING: &str = "*";

#[test]
fn modules_point_one_way() {
    let table: BTreeMap<&str, BTreeSet<&str>> =
        TABLE.iter().map(|(module, names)| (*module, names.split_whitespace().collect())).collect();
    let found = edges();
    let mut faults = Vec::new();
    for module in found.keys().filter(|module| !table.contains_key(module.as_str())) {
        faults.push(format!("src/{module} has no row in the table: add one, with what it may name"));
    }
    for (module, allowed) in &table {
        let Some(named) = found.get(*module) else {
            faults.push(format!("the table has a row for `{module}`, which does not exist: take it away"));
            continue;
        };
        if allowed.contains(ANYTHING) {
            continue;
        }
        for (name, files) in named.iter().filter(|(name, _)| !allowed.contains(name.as_str())) {
            faults.push(format!(
                "`{module}` names `{name}` (in {}): turn it round, or allow it in the table if the house does",
                files.join(", ")
            ));
        }
        for name in allowed.iter().filter(|name| !named.contains_key(**name)) {
            faults.push(format!(
                "`{module}` may name `{name}` and never does: take it out of the row of `{module}`"
            ));
        }
    }
    assert!(faults.is_empty(), "src and the table in tests/layers.rs differ:\n{}\n", faults.join("\n"));
}

/// For each module of `src` the modules it names, with the files that do.
fn edges() -> BTreeMap<String, BTreeMap<String, Vec<String>>> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut edges: BTreeMap<String, BTreeMap<String, Vec<String>>> = BTreeMap::new();
    for file in
        rust_files(&source).into_iter().filter(|file| !is_for_tests(file.strip_prefix(&source).unwrap()))
    {
        let module = module_of(&source, &file);
        let named = edges.entry(module.clone()).or_default();
        for name in named_modules(&code_of(&file)).into_iter().filter(|name| *name != module) {
            let relative = file.strip_prefix(&source).unwrap().display().to_string();
            named.entry(name).or_default().push(relative);
        }
    }
    edges
}

/// Unit tests in files of their own, and what they share, may reach further.
fn is_for_tests(file: &Path) -> bool {
    file.components()
        .any(|part| ["tests", "tests.rs", "testing.rs"].iter().any(|name| part.as_os_str() == *name))
}

#[test]
fn grouped_and_nested_imports_are_seen() {
    let code =
        "use crate::{store, oauth::{A, B}};\nuse crate::time::Timestamp;\nfn f(x: crate::seal::Key) {}";
    let named: Vec<_> = named_modules(code).into_iter().collect();
    assert_eq!(named, ["oauth", "seal", "store", "time"]);
}

/// The file without comments and without its unit tests, which may reach further.
fn code_of(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn named_modules(code: &str) -> BTreeSet<String> {
    let mut named = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let joined = at > 0 && code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$');
        let rest = &code[at + "crate::".len()..];
        if joined {
            continue;
        }
        match rest.strip_prefix('{') {
            Some(group) => named.extend(top_level_names(group)),
            None => named.extend([identifier(rest)]),
        }
    }
    // Macros exported at the root and items of the root itself start in capitals or are none of the modules.
    named.retain(|name| name.starts_with(|c: char| c.is_ascii_lowercase()));
    named
}

/// The first identifiers of `a, b::{c, d}, e}`.
fn top_level_names(group: &str) -> Vec<String> {
    let mut names = Vec::new();
    let (mut depth, mut start) = (0, true);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => start = true,
            _ if start && !c.is_whitespace() => {
                names.push(identifier(&group[at..]));
                start = false;
            }
            _ => {}
        }
    }
    names
}

fn identifier(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

fn module_of(source: &Path, file: &Path) -> String {
    let relative = file.strip_prefix(source).unwrap();
    let first = relative.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { rust_files(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect()
}
