//! `portcullis init` with the real binary: what it writes is good as it stands, and it never writes over anything.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

const ID: &str = "Ov23liABCDEFGHIJKLMN";
const SECRET: &str = "0123456789abcdef0123456789abcdef01234567";
const FLAGS: [&str; 10] = [
    "--domain",
    "example.com",
    "--email",
    "you@example.com",
    "--github-client-id",
    ID,
    "--allow",
    "octocat",
    "--service",
    "fetch=http://localhost:3000/mcp",
];

/// The binary in `folder`, in an environment without anything of the developer's.
fn portcullis(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command.args(arguments).current_dir(folder).stdin(Stdio::null());
    for name in [
        "PORTCULLIS_CONFIG",
        "PORTCULLIS_SECRET_KEY",
        "PORTCULLIS_SECRET_KEY_PREVIOUS",
        "GITHUB_CLIENT_ID",
        "GITHUB_CLIENT_SECRET",
        "REDIS_PASSWORD",
    ] {
        command.env_remove(name);
    }
    command
}

fn init(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = portcullis(folder, &["init"]);
    command.args(arguments).env("GITHUB_CLIENT_SECRET", SECRET);
    command
}

fn told(output: &Output) -> (String, String, Option<i32>) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr), output.status.code())
}

fn refused(command: &mut Command) -> (String, i32) {
    let (out, errors, code) = told(&command.output().unwrap());
    assert_eq!(out, "");
    (errors, code.unwrap())
}

fn mode(file: &Path) -> u32 {
    fs::metadata(file).unwrap().permissions().mode() & 0o777
}

/// Runs `line` in a shell that has read `.env` as we tell people to.
fn with_variables(folder: &Path, line: &str) -> Output {
    let path = Path::new(env!("CARGO_BIN_EXE_portcullis")).parent().unwrap();
    let path = format!("{}:{}", path.display(), std::env::var("PATH").unwrap());
    let line = format!("set -a; . ./.env; set +a; {line}");
    Command::new("sh").args(["-c", &line]).current_dir(folder).env("PATH", path).output().unwrap()
}

#[test]
fn what_it_writes_is_good_and_what_is_left_to_do_is_told() {
    let folder = TempDir::new().unwrap();
    let (out, errors, code) = told(&init(folder.path(), &FLAGS).arg("--store=file:p.db").output().unwrap());
    assert_eq!((errors.as_str(), code), ("", Some(0)));
    assert_eq!(
        out,
        "Written:
     ./portcullis.yaml  the configuration
     ./.env  its secrets, for their owner only; keep a copy of the secret key

1. At GitHub: Make an OAuth app at https://github.com/settings/applications/new
       Homepage URL                https://auth.example.com
       Authorization callback URL  https://auth.example.com/callback
   and generate a client secret on its page.

2. In your DNS, with this machine's public address (AAAA for IPv6):
     auth.example.com   A  ADDRESS
     fetch.example.com  A  ADDRESS
   or for all of them, and those to come:
     *.example.com      A  ADDRESS
   Ports 443 and 80 of this machine must be reached from the internet.

3. Check and start it:
     set -a; . ./.env; set +a
     portcullis check ./portcullis.yaml
     portcullis serve ./portcullis.yaml
   A service manager brings the variables itself:
     systemd   EnvironmentFile={folder}/.env
               (with the unit in deploy/systemd: install -m 600 ./.env /etc/portcullis/.env)
     compose   env_file: ./.env

Then paste into an MCP client:
     https://fetch.example.com/mcp
"
        .replace("{folder}", &fs::canonicalize(folder.path()).unwrap().display().to_string())
    );
    assert_eq!(
        (mode(&folder.path().join(".env")), mode(&folder.path().join("portcullis.yaml"))),
        (0o600, 0o644)
    );
    let checked = told(&with_variables(folder.path(), "portcullis check ./portcullis.yaml"));
    let good = "./portcullis.yaml: good; 1 service, issuer https://auth.example.com, callback URL for the OAuth app at GitHub: \
                https://auth.example.com/callback\n";
    assert_eq!(checked, (good.to_owned(), String::new(), Some(0)));
    let yaml = fs::read_to_string(folder.path().join("portcullis.yaml")).unwrap();
    assert!(!yaml.contains(SECRET) && !yaml.contains(ID), "{yaml}");
    let env = fs::read_to_string(folder.path().join(".env")).unwrap();
    let key = env
        .lines()
        .find_map(|line| line.strip_prefix("PORTCULLIS_SECRET_KEY='")?.strip_suffix('\''))
        .unwrap();
    assert!(key.len() == 64 && key.bytes().all(|byte| byte.is_ascii_hexdigit()), "{env}");
}

// It was refused: the configuration did not read the key of before.
#[test]
fn the_secret_key_of_what_it_wrote_can_be_changed() {
    let folder = TempDir::new().unwrap();
    let (_, errors, code) = told(&init(folder.path(), &FLAGS).arg("--store=file:p.db").output().unwrap());
    assert_eq!((errors.as_str(), code), ("", Some(0)));
    let (out, errors, code) = told(&portcullis(folder.path(), &["rotate-secrets"]).output().unwrap());
    assert_eq!((errors.as_str(), code), ("", Some(0)));
    assert!(out.starts_with("A new secret key stands in .env, the key of before as PORTCULLIS_"), "{out}");
    let checked = told(&with_variables(folder.path(), "portcullis check ./portcullis.yaml"));
    assert_eq!((checked.1.as_str(), checked.2), ("", Some(0)));
}

#[test]
fn nothing_is_written_where_one_of_the_files_is() {
    for there in [".env", "portcullis.yaml"] {
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join(there), "mine").unwrap();
        let text = format!(
            "portcullis: ./{there} is there already, and nothing is overwritten; move it away, or choose another folder with --dir\n"
        );
        assert_eq!(refused(&mut init(folder.path(), &FLAGS)), (text, 1));
        let files: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(files, [there]);
        assert_eq!(fs::read_to_string(folder.path().join(there)).unwrap(), "mine");
    }
}

#[test]
fn everything_that_is_missing_is_told_at_once() {
    let folder = TempDir::new().unwrap();
    let (errors, code) = refused(init(folder.path(), &[]).env_remove("GITHUB_CLIENT_SECRET"));
    assert_eq!(
        errors,
        "portcullis: init also needs --service NAME=URL; --domain DOMAIN; --email EMAIL; --github-client-id ID, or \
         GITHUB_CLIENT_ID in the environment; GITHUB_CLIENT_SECRET in the environment, or --github-client-secret-file FILE; \
         --allow USER, --allow-org ORGANISATION or --allow-team ORGANISATION/TEAM (nobody can be asked here)\n"
    );
    assert_eq!(code, 2);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn everything_that_is_wrong_is_told_at_once_in_the_words_of_check() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("empty"), "\n").unwrap();
    let arguments = [
        "--domain",
        "https://example.com",
        "--email",
        "you",
        "--allow",
        "@octocat",
        "--allow-org",
        "a/b",
        "--allow-team",
        "a",
        "--service",
        "fetch",
        "--service",
        "A=http://h",
        "--service",
        "a=h:1",
        "--service",
        "b=http://h",
        "--service",
        "b=http://h",
        "--github-client-id",
        "a b",
        "--github-client-secret-file",
        "empty",
        "--store",
        "redis://:hunter2@h/0",
    ];
    let (errors, code) = refused(&mut init(folder.path(), &arguments));
    assert_eq!(
        errors,
        "portcullis: --store: there is a password in it, which everybody on this machine sees; write ${REDIS_PASSWORD} in its \
         place, in single quotes, and set REDIS_PASSWORD
portcullis: --service: `fetch` is no service; write NAME=URL, such as fetch=http://localhost:3000/mcp
portcullis: --service: `A` is no name for a service; write lower-case letters, digits and hyphens
portcullis: --service: `h:1` has no protocol; write http://h:1
portcullis: --service: `b` is there twice; keep one
portcullis: --domain: `https://example.com` is not a domain; write the name alone, such as example.com
portcullis: --email: `you` is no e-mail address; write one, such as you@YOUR-DOMAIN
portcullis: --github-client-id: this has a space in it; copy it from the app's page at GitHub
portcullis: --github-client-secret-file: empty: this cannot be used: it is empty; copy it from the app's page at GitHub
portcullis: --allow: `@octocat` is no login; write octocat without the @
portcullis: --allow-org: `a/b` is no organisation; write the organisation alone
portcullis: --allow-team: `a` is no team; write ORGANISATION/TEAM, such as example/platform
"
    );
    assert_eq!(code, 2);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_secret_on_the_command_line_is_refused_and_not_repeated() {
    let folder = TempDir::new().unwrap();
    let (errors, code) =
        refused(init(folder.path(), &FLAGS).args(["--github-client-secret", "hunter2hunter2"]));
    assert_eq!(
        errors,
        "portcullis: --github-client-secret: a secret on the command line is seen by everybody on this machine and stays in the \
         shell's history; set GITHUB_CLIENT_SECRET, or write --github-client-secret-file FILE; and make another secret, since \
         this one was seen\n"
    );
    assert_eq!(code, 2);
}

#[test]
fn what_makes_no_configuration_is_told_as_check_would() {
    let folder = TempDir::new().unwrap();
    let (errors, code) = refused(init(folder.path(), &FLAGS).args(["--store", "/var/lib/p.db"]));
    assert_eq!(
        errors,
        "portcullis: ./portcullis.yaml:13:8: `store` has no protocol; write file: before the path [env-shape]\n"
    );
    assert_eq!(code, 78);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn local_needs_only_a_server_and_serves() {
    let folder = TempDir::new().unwrap();
    let arguments = ["--local", "--service", "echo=http://localhost:3000/mcp", "--dir", "in here"];
    let (out, errors, code) = told(&init(folder.path(), &arguments).output().unwrap());
    assert_eq!((errors.as_str(), code), ("", Some(0)));
    assert!(
        out.contains(
            "\n     set -a; . 'in here/.env'; set +a\n     portcullis check 'in here/portcullis.yaml'\n"
        ),
        "{out}"
    );
    assert!(out.ends_with("     http://localhost:8080/echo/mcp\n"), "{out}");
    let inside = folder.path().join("in here");
    let (out, errors, _) = told(&with_variables(&inside, "portcullis check"));
    assert_eq!(
        out,
        "portcullis.yaml: good; 1 service, issuer http://localhost:8080, any name signs in without a password\n"
    );
    assert_eq!(errors, "portcullis.yaml:21:1: `access` lets everybody in who can sign in\n");
    let (errors, code) = refused(init(folder.path(), &["--local"]).args(["--domain", "example.com"]));
    assert!(
        errors.starts_with("error: the argument '--local' cannot be used with '--domain <DOMAIN>'\n"),
        "{errors}"
    );
    assert_eq!(code, 2);
}

/// Values that are read wrongly by whoever reads them carelessly.
const ODD: [&str; 5] = ["a$HOME#b", "\"q\"`x`$$", "it's#", "b\\s\"q\"'\\", "x=$(id)"];

#[test]
fn an_odd_value_is_the_same_for_a_shell_systemd_and_compose() {
    for odd in ODD {
        let folder = TempDir::new().unwrap();
        let mut command = init(folder.path(), &FLAGS);
        command.args(["--store", "redis://:${REDIS_PASSWORD}@localhost:6379/0"]);
        command.env("REDIS_PASSWORD", "a b").env("GITHUB_CLIENT_SECRET", odd);
        let (out, errors, code) = told(&command.output().unwrap());
        assert_eq!((errors.as_str(), code), ("", Some(0)), "{odd}");
        assert!(out.starts_with("Written:"), "{out}");
        let by_shell =
            with_variables(folder.path(), "printf '%s %s' \"$GITHUB_CLIENT_SECRET\" \"$REDIS_PASSWORD\"");
        assert_eq!(String::from_utf8(by_shell.stdout).unwrap(), format!("{odd} a b"));
        by_systemd(folder.path(), odd);
        by_compose(folder.path(), odd);
    }
    let folder = TempDir::new().unwrap();
    let (errors, code) = refused(init(folder.path(), &FLAGS).env("GITHUB_CLIENT_SECRET", "it's$"));
    assert_eq!(
        errors,
        "portcullis: GITHUB_CLIENT_SECRET: this cannot be used: it has both one of ' \\ and one of $ ` in it, which no quoting \
         brings alike through a shell, systemd and compose; copy it from the app's page at GitHub\n"
    );
    assert_eq!(code, 2);
}

/// systemd reads os-release by the same code as an `EnvironmentFile=`, and tells of a condition whether it holds.
fn by_systemd(folder: &Path, value: &str) {
    let value = value.replace('\\', "\\\\").replace('"', "\\\"");
    let condition = format!("ConditionOSRelease=\"GITHUB_CLIENT_SECRET={value}\"");
    let mut analyze = Command::new("systemd-analyze");
    analyze.args(["condition", &condition]).env("SYSTEMD_OS_RELEASE", folder.join(".env"));
    let output = analyze.output().expect("systemd-analyze is missing: apt-get install systemd");
    assert!(output.status.success(), "{condition}: {}", String::from_utf8_lossy(&output.stderr));
}

fn by_compose(folder: &Path, value: &str) {
    let compose = "services: { a: { image: x, env_file: [.env] } }\nversion: '3.9'\n";
    fs::write(folder.join("compose.yaml"), compose).unwrap();
    let Ok(output) = Command::new("docker-compose").args(["config"]).current_dir(folder).output() else {
        eprintln!(
            "docker-compose is missing, so how it reads .env was NOT tested: apt-get install docker-compose"
        );
        return;
    };
    let read: serde_yaml::Value = serde_yaml::from_slice(&output.stdout).unwrap();
    // What it prints is to be read by it again.
    let read =
        read["services"]["a"]["environment"]["GITHUB_CLIENT_SECRET"].as_str().unwrap().replace("$$", "$");
    assert_eq!(read, value);
}

/// Answers `answers` to the prompts that come, at a terminal; all that stood on it.
fn at_a_terminal(folder: &Path, arguments: &str, answers: &[(&str, &str)]) -> (String, Option<i32>) {
    typed(folder, &format!("{} init {arguments}", env!("CARGO_BIN_EXE_portcullis")), answers)
}

/// The same of any line of a shell.
fn typed(folder: &Path, line: &str, answers: &[(&str, &str)]) -> (String, Option<i32>) {
    let mut command = Command::new("script");
    command
        .args(["-qec", line, "/dev/null"])
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    command.env_remove("GITHUB_CLIENT_ID").env_remove("GITHUB_CLIENT_SECRET");
    let mut child = command.spawn().expect("script is missing: apt-get install bsdutils");
    let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let (mut shown, mut from) = (String::new(), 0);
    for (prompt, answer) in answers {
        while !shown[from..].contains(prompt) {
            let mut bytes = [0; 1024];
            let read = output.read(&mut bytes).unwrap();
            assert!(read > 0, "it ended before {prompt:?}: {shown}");
            shown.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
        }
        from = shown.len();
        input.write_all(answer.as_bytes()).unwrap();
        input.write_all(b"\n").unwrap();
    }
    output.read_to_string(&mut shown).unwrap();
    drop(input);
    (shown.replace('\r', ""), child.wait().unwrap().code())
}

#[test]
fn at_a_terminal_it_asks_until_the_answer_is_right_and_shows_no_secret() {
    let folder = TempDir::new().unwrap();
    let answers = [
        ("Your domain (people sign in at auth.DOMAIN, servers are at NAME.DOMAIN): ", "https://x"),
        ("NAME.DOMAIN): ", "Example.com"),
        ("Your e-mail address (for the certificate authority): ", "you@example.com"),
        ("Client ID of that app: ", ID),
        ("Client secret of that app (typed unseen): ", SECRET),
        ("* for everybody): ", "octocat, @other"),
        ("* for everybody): ", "octocat, other"),
        ("Name of your first MCP server (such as fetch): ", "fetch"),
        ("Where it listens (such as http://localhost:3000/mcp): ", "3000"),
        ("Where it listens (such as http://localhost:3000/mcp): ", "http://localhost:3000/mcp"),
    ];
    let (shown, code) = at_a_terminal(folder.path(), "", &answers);
    assert_eq!(code, Some(0), "{shown}");
    for line in [
        "\n`https://x` is not a domain; write the name alone, such as example.com\n",
        "    Authorization callback URL  https://auth.example.com/callback\n",
        "\n`@other` is no login; write other without the @\n",
        "\n`3000` is not a URL; write http://localhost:3000/mcp\n",
    ] {
        assert!(shown.contains(line), "{line} is not in:\n{shown}");
    }
    assert!(shown.contains(ID) && !shown.contains(SECRET), "{shown}");
    let yaml = fs::read_to_string(folder.path().join("portcullis.yaml")).unwrap();
    assert!(
        yaml.contains("\n  users: [octocat, other]\n") && yaml.contains("issuer: https://auth.example.com\n"),
        "{yaml}"
    );
    let env = fs::read_to_string(folder.path().join(".env")).unwrap();
    assert!(env.contains(&format!("\nGITHUB_CLIENT_SECRET='{SECRET}'\n")), "{env}");
    let (errors, code) = at_a_terminal(TempDir::new().unwrap().path(), "--yes --local", &[]);
    assert_eq!(
        (errors.as_str(), code),
        ("portcullis: init --local also needs --service NAME=URL (nobody can be asked here)\n", Some(2))
    );
    let (told, code) = at_a_terminal(TempDir::new().unwrap().path(), "--local", &[("fetch): ", "\u{4}")]);
    assert!(told.ends_with("portcullis: the input ended before everything was answered\n"), "{told}");
    assert_eq!(code, Some(1));
}

#[test]
fn a_secret_that_is_typed_is_cancelled_by_ctrl_c_and_the_terminal_is_as_before() {
    let folder = TempDir::new().unwrap();
    let init = format!("{} init", env!("CARGO_BIN_EXE_portcullis"));
    let line = format!("stty -a >before; ({init}); code=$?; stty -a >after; exit $code");
    let answers = [
        ("NAME.DOMAIN): ", "example.com"),
        ("(for the certificate authority): ", "you@example.com"),
        ("Client ID of that app: ", ID),
        ("(typed unseen): ", "half of it\u{3}"),
    ];
    let (shown, code) = typed(folder.path(), &line, &answers);
    assert_eq!(code, Some(130), "{shown}");
    assert!(!shown.contains("half of it"), "{shown}");
    let read = |file: &str| fs::read_to_string(folder.path().join(file)).unwrap();
    assert!(read("before").contains(" echo ") && read("before").contains("isig"), "{}", read("before"));
    assert_eq!(read("after"), read("before"));
    assert!(!folder.path().join(".env").exists());
}

#[test]
fn at_a_terminal_expose_asks_for_its_url_until_it_is_right() {
    let folder = TempDir::new().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let line = format!("{} expose http://h:1 --dev --data .", env!("CARGO_BIN_EXE_portcullis"));
    let answers = [
        ("client (such as http://localhost:8080/mcp): ", "http://localhost:8080"),
        ("client (such as http://localhost:8080/mcp): ", "http://localhost:8080/mcp"),
    ];
    let (shown, code) = typed(folder.path(), &line, &answers);
    assert!(shown.contains("\na path is needed; write http://localhost:8080/mcp\n"), "{shown}");
    // Then it goes on, as far as this folder lets it.
    assert!(shown.contains("\nportcullis: others can look into "), "{shown}");
    assert_eq!(code, Some(1));
}
