//! Modules point one way: every `crate::x` in `src` must be an edge that this table allows.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Module → what it may name. `trouble` may be named by everything, a module may name itself.
const ALLOWED: &[(&str, &str)] = &[
    ("secret", ""),
    ("time", ""),
    ("trouble", ""),
    ("host", ""),
    ("clock", "secret time"),
    ("seal", "secret time"),
    ("oauth", "secret time"),
    ("mcp", "secret time seal"),
    ("policy", "oauth secret"),
    ("token", "oauth seal clock secret time"),
    ("store", "oauth seal clock secret time"),
    ("fetch", "host clock secret time"),
    ("identity", "oauth fetch secret time"),
    ("upstream", "mcp oauth clock secret time"),
    ("certs", "store fetch clock secret time"),
    ("pages", "oauth"),
    ("telemetry", "oauth secret time clock"),
    (
        "gateway",
        "oauth policy mcp token store identity fetch upstream pages telemetry seal host clock secret time",
    ),
    ("tasks", "gateway token store identity upstream certs telemetry oauth seal clock secret time"),
    ("serve", "gateway certs telemetry clock secret time"),
    ("config", "gateway store serve certs identity upstream telemetry policy oauth token secret time"),
    ("echo", ""),
    ("cli", "*"),
    ("main", "*"),
    ("lib", "*"),
];

#[test]
fn modules_point_one_way() {
    let table: BTreeMap<&str, BTreeSet<&str>> =
        ALLOWED.iter().map(|(module, may)| (*module, may.split_whitespace().collect())).collect();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    let mut edges = 0;
    for file in rust_files(&source) {
        let module = module_of(&source, &file);
        let may = table.get(module.as_str()).unwrap_or_else(|| panic!("{module} is not in the table"));
        for named in named_modules(&code_of(&file)) {
            edges += 1;
            let allowed =
                named == module || named == "trouble" || may.contains("*") || may.contains(named.as_str());
            if !allowed {
                wrong.push(format!("{} names crate::{named}", file.strip_prefix(&source).unwrap().display()));
            }
        }
    }
    assert!(edges > 50, "only {edges} edges found: this test reads nothing any more");
    assert!(wrong.is_empty(), "edges that the house does not allow:\n{}", wrong.join("\n"));
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
