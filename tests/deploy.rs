//! What operators and contributors are handed beside the binary: systemd's units, and the recipes of the justfile.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// What `systemd-analyze security` may say at most: 0 is nothing to attack, 10 everything.
const EXPOSURE: f32 = 1.5;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap()
}

fn analyze(arguments: &[&str], unit: &Path) -> String {
    let mut program = Command::new("systemd-analyze");
    let output = program.args(arguments).arg(unit).env("SYSTEMD_COLORS", "0").output();
    let output = output.expect("systemd-analyze is missing: apt-get install systemd");
    let told = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&told));
    String::from_utf8(told).unwrap()
}

/// The units, with the binary of this build.
fn units() -> TempDir {
    let folder = TempDir::new().unwrap();
    for name in ["portcullis.service", "portcullis.socket"] {
        let unit = read(&format!("deploy/systemd/{name}"));
        let unit = unit.replace("/usr/bin/portcullis", env!("CARGO_BIN_EXE_portcullis"));
        fs::write(folder.path().join(name), unit).unwrap();
    }
    folder
}

#[test]
fn systemd_understands_the_units_and_finds_them_hardened() {
    let folder = units();
    for name in ["portcullis.service", "portcullis.socket"] {
        assert_eq!(analyze(&["verify"], &folder.path().join(name)), "", "{name}");
    }
    let told = analyze(&["security", "--offline=true"], &folder.path().join("portcullis.service"));
    let (_, overall) = told.rsplit_once("Overall exposure level for portcullis.service: ").unwrap();
    let exposure: f32 = overall.split_whitespace().next().unwrap().parse().unwrap();
    assert!(exposure <= EXPOSURE, "{told}");
}

/// The values of a key of a unit.
fn values<'a>(unit: &'a str, key: &str) -> Vec<&'a str> {
    unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect()
}

#[test]
fn the_sockets_are_those_that_the_gateway_listens_at_unless_it_is_told_otherwise() {
    let unit = read("deploy/systemd/portcullis.socket");
    // `:443` and `:80` are every address of both families.
    assert_eq!(values(&unit, "ListenStream"), ["443", "80"]);
    assert_eq!(values(&unit, "BindIPv6Only"), ["both"]);
}

#[test]
fn systemd_waits_longer_than_the_drain_that_is_usual() {
    let unit = read("deploy/systemd/portcullis.service");
    let stop: u64 = values(&unit, "TimeoutStopSec")[0].parse().unwrap();
    let yaml = read("config/portcullis.yaml");
    let drain = yaml.lines().find_map(|line| line.strip_prefix("drain: ")?.strip_suffix('s')).unwrap();
    assert!(stop > drain.parse::<u64>().unwrap() + 10, "{stop}");
}

#[test]
fn the_readme_installs_units_that_are_there_under_the_names_they_have() {
    let readme = read("README.md");
    let (_, section) = readme.split_once("\n**With systemd**").unwrap();
    let section = section.split("\n**").next().unwrap();
    let commands: Vec<_> = section.lines().filter_map(|line| line.strip_prefix("# ")).collect();
    assert!(commands.len() >= 4, "{section}");
    let mut named = 0;
    for command in commands {
        let words: Vec<_> = command.split_whitespace().collect();
        assert!(["install", "systemctl"].contains(&words[0]), "{command}");
        for word in words.iter().filter(|word| word.starts_with("deploy/")) {
            assert!(root().join(word).is_file(), "{command}");
            named += 1;
        }
        for word in words.iter().filter(|word| word.starts_with("portcullis.")) {
            assert!(root().join("deploy/systemd").join(word).is_file(), "{command}");
        }
    }
    assert_eq!(named, 2);
    let unit = read("deploy/systemd/portcullis.service");
    let program = values(&unit, "ExecStart")[0].split(' ').next().unwrap();
    assert!(section.contains(&format!(" {program}\n")), "{program}");
}

/// Each recipe of the justfile with its comment and its commands.
fn recipes(justfile: &str) -> Vec<(String, String, Vec<String>)> {
    let mut recipes: Vec<(String, String, Vec<String>)> = Vec::new();
    let mut above = "";
    for line in justfile.lines() {
        if let Some(command) = line.strip_prefix("    ") {
            recipes.last_mut().unwrap().2.push(command.to_owned());
        } else if let Some((name, _)) = line.split_once(':').filter(|_| !line.starts_with('#')) {
            let name = name.split(' ').next().unwrap().to_owned();
            recipes.push((name, above.to_owned(), Vec::new()));
        }
        above = line;
    }
    recipes
}

#[test]
fn every_recipe_is_explained_and_runs_what_is_there() {
    let recipes = recipes(&read("justfile"));
    let names: Vec<_> = recipes.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(names, ["test", "bench", "bench-quick", "micro"]);
    for (name, comment, commands) in &recipes {
        assert!(comment.starts_with("# "), "`just --list` says nothing of {name}");
        for command in commands {
            let program = command.split(' ').next().unwrap();
            if program == "cargo" {
                continue;
            }
            let file = fs::metadata(root().join(program))
                .unwrap_or_else(|error| panic!("{name}: {program}: {error}"));
            assert!(file.permissions().mode() & 0o111 != 0, "{name}: {program} cannot be run");
        }
    }
}
