//! What operators and contributors are handed beside the binary: systemd's units, and the recipes of the justfile.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// What `systemd-analyze security` may say at most: 0 is nothing to attack, 10 everything.
const EXPOSURE: f32 = 1.5;

/// The words of the justfile; what is behind them is tried by tests/deploy/run, over a real engine.
const RECIPES: &str = "default init up down restart rebuild pull ps logs exec shell stats status health-check doctor check-env check-ports diagnostic-bundle \
    check-network validate-config validate-compose backup restore rotate-secrets clean-all version demo test lint bench bench-quick micro";

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
fn the_guide_installs_units_that_are_there_under_the_names_they_have() {
    let guide = read("deploy/README.md");
    let (_, section) = guide.split_once("\n## With systemd\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let commands: Vec<_> = section.lines().filter_map(|line| line.strip_prefix("# ")).collect();
    assert!(commands.len() >= 4, "{section}");
    let mut named = 0;
    for command in commands {
        let words: Vec<_> = command.split_whitespace().collect();
        assert!(["install", "portcullis", "chmod", "systemctl", "rm"].contains(&words[0]), "{command}");
        for word in words.iter().filter(|word| word.starts_with("deploy/")) {
            assert!(root().join(word).is_file(), "{command}");
            named += 1;
        }
        for word in words.iter().filter(|word| word.starts_with("portcullis.")) {
            assert!(root().join("deploy/systemd").join(word).is_file(), "{command}");
        }
    }
    assert_eq!(named, 3);
    let unit = read("deploy/systemd/portcullis.service");
    let program = values(&unit, "ExecStart")[0].split(' ').next().unwrap();
    assert!(section.contains(&format!(" {program}\n")), "{program}");
}

/// Each recipe of the justfile with its comment and its commands.
fn recipes(justfile: &str) -> Vec<(String, String, Vec<String>)> {
    let mut recipes: Vec<(String, String, Vec<String>)> = Vec::new();
    let mut above = "";
    for line in justfile.lines().filter(|line| !line.starts_with('[') && !line.starts_with("set ")) {
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
    let mut names: Vec<_> = recipes.iter().map(|(name, ..)| name.as_str()).collect();
    names.sort_unstable();
    let mut wanted: Vec<_> = RECIPES.split_whitespace().collect();
    wanted.sort_unstable();
    assert_eq!(names, wanted);
    for (name, comment, commands) in &recipes {
        assert!(comment.starts_with("# "), "`just --list` says nothing of {name}");
        for command in commands {
            let program = command.split(' ').next().unwrap();
            if ["cargo", "@just"].contains(&program) {
                continue;
            }
            let file = fs::metadata(root().join(program))
                .unwrap_or_else(|error| panic!("{name}: {program}: {error}"));
            assert!(file.permissions().mode() & 0o111 != 0, "{name}: {program} cannot be run");
        }
    }
}

#[test]
fn no_secret_stands_in_a_file_that_is_shipped() {
    let example = read("deploy/.env.example");
    for name in ["PORTCULLIS_SECRET_KEY", "REDIS_PASSWORD", "GITHUB_CLIENT_SECRET"] {
        assert_eq!(values(&example, name), [""], "{name}");
        for file in ["compose.yaml", "compose.local.yaml", "compose.domain.yaml"] {
            for line in read(&format!("deploy/{file}")).lines().filter(|line| line.contains(name)) {
                let asked = [format!("${{{name}"), format!("$${name}")];
                assert!(asked.iter().any(|asked| line.contains(asked)), "{file}: {line}");
            }
        }
    }
}

/// What an operator can set, in the order of the file.
fn names(env: &str) -> Vec<&str> {
    env.lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, _)| name)
        .filter(|name| !name.starts_with('#'))
        .collect()
}

#[test]
fn whatever_the_compose_files_and_configurations_ask_for_stands_in_the_example() {
    let example = read("deploy/.env.example");
    let names = names(&example);
    let mut files =
        vec!["compose.yaml".to_owned(), "compose.local.yaml".to_owned(), "compose.domain.yaml".to_owned()];
    for folder in ["local", "local/services.d", "domain", "domain/services.d"] {
        for entry in fs::read_dir(root().join("deploy/config").join(folder)).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_file() {
                files.push(format!("config/{folder}/{}", entry.file_name().to_str().unwrap()));
            }
        }
    }
    assert_eq!(files.len(), 12);
    // Put in by deploy/scripts/compose, and by `just rotate-secrets` for as long as it takes.
    let ours = ["PORTCULLIS_IDENTITY", "PORTCULLIS_SECRET_KEY_PREVIOUS"];
    for file in files {
        let text = read(&format!("deploy/{file}"));
        for asked in text.split("${").skip(1) {
            let name = asked.split(|c: char| !(c.is_ascii_uppercase() || c == '_')).next().unwrap();
            assert!(names.contains(&name) || ours.contains(&name), "{file}: {name}");
        }
    }
}

#[test]
fn the_three_configurations_of_the_compose_are_good() {
    for (file, issuer) in [
        ("local/dev.yaml", "http://localhost:8080"),
        ("local/github.yaml", "http://localhost:8080"),
        ("domain/portcullis.yaml", "https://auth.mcp.example.com"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_portcullis"))
            .arg("check")
            .arg(root().join("deploy/config").join(file))
            .env_clear()
            .envs([
                ("PORTCULLIS_SECRET_KEY", "5e".repeat(31) + "01"),
                ("REDIS_PASSWORD", "0123456789abcdef".into()),
                ("PORTCULLIS_PORT", "8080".into()),
                ("DOMAIN", "mcp.example.com".into()),
                ("ACME_EMAIL", "ops@example.com".into()),
                ("GITHUB_CLIENT_ID", "Iv1.0123456789abcdef".into()),
                ("GITHUB_CLIENT_SECRET", "0123456789".repeat(4)),
                ("GITHUB_USER", "octocat".into()),
            ])
            .output()
            .unwrap();
        let told = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(output.status.success(), "{told}");
        assert!(told.contains(&format!("good; 3 services, issuer {issuer}")), "{told}");
    }
}

#[test]
fn every_command_of_the_guide_is_one_that_the_rung_tries_on_what_is_there() {
    let (guide, tried) =
        (read("deploy/README.md"), read("tests/deploy/booted") + &read("tests/deploy/rung.py"));
    let recipes = recipes(&read("justfile"));
    let words = guide.split('`').filter_map(|code| code.strip_prefix("just "));
    let blocks = guide.lines().filter_map(|line| line.strip_prefix("$ just "));
    let mut named = 0;
    for command in words.chain(blocks) {
        let name = command.split_whitespace().next().unwrap();
        assert!(recipes.iter().any(|(recipe, ..)| recipe == name), "{command}");
        let ways = [format!("just(\"{name}\""), format!("\"just\", \"{name}\"")];
        assert!(ways.iter().any(|way| tried.contains(way)), "no step of the rung says {name}");
        named += 1;
    }
    assert!(named >= 20, "{named}");
    let root_commands: Vec<_> = guide
        .lines()
        .filter_map(|line| line.strip_prefix("# "))
        .filter(|line| line.contains('/') || line.starts_with("systemctl"))
        .collect();
    assert_eq!(root_commands.len(), 11, "{root_commands:?}");
    for command in root_commands {
        // The binary is put there beforehand, and systemctl is told to be quiet.
        let quiet = command.replace("--now ", "--now --quiet ");
        assert!(
            command.contains("target/release") || tried.contains(&quiet),
            "the rung does not run: {command}"
        );
    }
    for link in guide.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
        assert!(link.starts_with("https://") || root().join("deploy").join(link).exists(), "{link}");
    }
}

// `just up` said in Compose's words that there is no engine, and `just restore` that no backup was named.
#[test]
fn the_recipes_say_what_is_not_there() {
    let folder = TempDir::new().unwrap();
    let (scripts, bin) = (folder.path().join("scripts"), folder.path().join("bin"));
    let copied =
        Command::new("cp").arg("-r").arg(root().join("deploy/scripts")).arg(&scripts).status().unwrap();
    assert!(copied.success());
    fs::create_dir(&bin).unwrap();
    fs::write(folder.path().join(".env"), "REDIS_PASSWORD=x\n").unwrap();
    // An engine that does not run.
    let docker = bin.join("docker");
    fs::write(&docker, "#!/bin/sh\nexit 1\n").unwrap();
    fs::set_permissions(&docker, fs::Permissions::from_mode(0o755)).unwrap();
    let said = |line: &[&str]| {
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
        let output = Command::new(scripts.join(line[0])).args(&line[1..]).env("PATH", path).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{line:?}: {output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let away = "portcullis: the Docker engine cannot be reached\n  systemctl start docker, or: sudo usermod -aG docker $USER\n";
    for line in [&["up"][..], &["compose", "ps"], &["backup"], &["exec", "gateway", "x"], &["rotate-secrets"]]
    {
        assert_eq!(said(line), away, "{line:?}");
    }
    let told = said(&["restore", "WRONG"]);
    assert!(told.starts_with("portcullis: there is no WRONG\n  just restore deploy/backups/"), "{told}");
    let told = said(&["restore"]);
    assert!(told.starts_with("portcullis: which backup?\n"), "{told}");
}

/// A folder as a clone has it, with the scripts and what they read.
fn clone() -> TempDir {
    let folder = TempDir::new().unwrap();
    let copied = Command::new("cp").arg("-r").arg(root().join("deploy")).arg(folder.path()).status().unwrap();
    assert!(copied.success());
    // What whoever works here has made of it.
    drop(fs::remove_file(folder.path().join("deploy/.env")));
    folder
}

/// Whether a script succeeds, and what it says.
fn script(clone: &TempDir, words: &[&str], environment: &[(&str, &str)]) -> (bool, String) {
    let mut command = Command::new(clone.path().join("deploy/scripts").join(words[0]));
    let output = command.args(&words[1..]).envs(environment.iter().copied()).output().unwrap();
    (output.status.success(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

#[test]
fn init_takes_no_secret_from_the_command_line_and_writes_the_environment_s_as_it_is() {
    let clone = clone();
    let file = clone.path().join("deploy/.env");
    for name in ["GITHUB_CLIENT_SECRET", "PORTCULLIS_SECRET_KEY"] {
        let (done, said) = script(&clone, &["init", "GITHUB_USER=o", &format!("{name}=s3cret")], &[]);
        let seen = format!("portcullis: {name} on the command line is seen by everybody on this machine");
        assert!(!done && said.starts_with(&seen) && !said.contains("s3cret"), "{said}");
        assert!(!file.exists());
    }
    let odd = r"a\tb\\c&d";
    let (done, said) = script(&clone, &["init", "GITHUB_USER=octocat"], &[("GITHUB_CLIENT_SECRET", odd)]);
    assert!(done && !said.contains(odd), "{said}");
    let env = fs::read_to_string(&file).unwrap();
    assert_eq!(values(&env, "GITHUB_CLIENT_SECRET"), [odd], "backslashes are characters as others");
    assert_eq!(values(&env, "GITHUB_USER"), ["octocat"]);
    assert_eq!(values(&env, "PORTCULLIS_SECRET_KEY")[0].len(), 64);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn check_env_names_the_line_that_is_none_and_shows_nothing_of_it() {
    let clone = clone();
    let file = clone.path().join("deploy/.env");
    assert!(script(&clone, &["init"], &[]).0);
    let env = fs::read_to_string(&file).unwrap();
    let line = env.lines().count() + 1;
    fs::write(&file, env + "gho_pasted0123\n").unwrap();
    let (done, said) = script(&clone, &["check-env"], &[]);
    assert!(!done && said.contains(&format!("  line {line} is no NAME=VALUE\n")), "{said}");
    assert!(!said.contains("gho_"), "{said}");
}

/// What the guides have people type is understood by the program, flag by flag.
#[test]
fn every_portcullis_command_of_the_guides_is_one() {
    let help = |words: &[&str]| {
        let output =
            Command::new(env!("CARGO_BIN_EXE_portcullis")).args(words).arg("--help").output().unwrap();
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
    };
    let mut commands = 0;
    for guide in ["README.md", "deploy/README.md", "deploy/OPERATIONS.md"] {
        let text = read(guide);
        let lines = text.lines().filter_map(|line| {
            line.strip_prefix("$ ")
                .or(line.strip_prefix("# "))
                .or(line.strip_prefix("$ cargo run --release -- "))
        });
        for line in lines.filter_map(|line| line.strip_prefix("portcullis ")) {
            let line = line.split("   #").next().unwrap();
            let words: Vec<&str> = line.split_whitespace().collect();
            let is_name =
                |word: &str| word.starts_with(char::is_alphabetic) && !word.contains(['.', '/', ':']);
            let plain = words.iter().take(2).take_while(|word| is_name(word));
            let family: Vec<&str> = plain.copied().collect();
            let told = help(&family).or_else(|| help(&family[..1]));
            let told = told.unwrap_or_else(|| panic!("{guide}: {line}"));
            for flag in words.iter().filter(|word| word.starts_with("--")) {
                assert!(
                    told.contains(&format!("{flag} ")) || told.contains(&format!("{flag}\n")),
                    "{guide}: {line}: {flag}"
                );
            }
            commands += 1;
        }
    }
    assert!(commands >= 20, "{commands}");
}
