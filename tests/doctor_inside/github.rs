//! GitHub, and the clock.

use std::path::PathBuf;
use std::process::Command;

use crate::examined::{doctor, doctor_in, run};
use crate::process::{Place, plain};
use crate::server::{Mode, Server};
use crate::support::github::{CLIENT_ID, CLIENT_SECRET, Failure, FakeGitHub};

/// A stopped gateway at which people sign in at this GitHub.
struct Case {
    place: Place,
    server: Server,
    github: FakeGitHub,
}

impl Case {
    async fn new() -> Self {
        let github = FakeGitHub::start().await;
        github.user(583_231, "octocat");
        github.approve_as("octocat");
        Self { place: Place::new(), server: Server::start(Mode::Good("/mcp")), github }
    }

    /// Its configuration, with this id and secret.
    fn with(&self, id: &str, secret: &str) -> PathBuf {
        let web = self.github.url();
        let identity = format!(
            "identity: {{ github: {{ client_id: \"{id}\", client_secret: \"{secret}\", web_url: \"{web}\" }} }}"
        );
        let yaml = plain(self.server.address, "")
            .replace("identity: { dev: {} }", &identity)
            .replace("\"*\"", "octocat");
        self.place.write("p.yaml", &yaml)
    }

    fn good(&self) -> PathBuf {
        self.with(CLIENT_ID, CLIENT_SECRET)
    }

    fn callback(&self) -> String {
        format!("http://localhost:{}/callback", self.place.port)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_github_that_knows_us_is_green() {
    let case = Case::new().await;
    case.github.callback(&case.callback());
    let examined = doctor(&case.good());
    examined.is_green();
    for id in ["github-credentials", "github-callback", "clock"] {
        examined.only("good", id);
    }
    assert_eq!(examined.of("github-unreachable").len(), 2, "{:#}", examined.report);
    assert!(!examined.report.to_string().contains(CLIENT_SECRET));
}

// trouble: github-unreachable
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_github_that_is_down_or_not_well_is_told() {
    let case = Case::new().await;
    case.github.fail("/login", Failure::Status(503));
    let finding = doctor(&case.good()).trouble("github-unreachable");
    finding.says("is not well");
    assert!(finding.fix().contains("githubstatus.com"), "{finding:?}");
    case.github.heal();
    doctor(&case.good()).is_green();

    let Case { place, server, github } = case;
    let web = github.url();
    drop(github);
    let identity = format!(
        "identity: {{ github: {{ client_id: \"{CLIENT_ID}\", client_secret: \"{CLIENT_SECRET}\", web_url: \"{web}\" }} }}"
    );
    let yaml = plain(server.address, "").replace("identity: { dev: {} }", &identity);
    let examined = doctor(&place.write("p.yaml", &yaml));
    assert_eq!(examined.wrong(), ["github-unreachable"], "{:#}", examined.report);
    let findings = examined.of("github-unreachable");
    findings[0].says("the connection is refused");
    let port = web.port().unwrap();
    assert!(findings[0].fix().contains(&format!("127.0.0.1, port {port}")), "{findings:?}");
    examined.only("not_tried", "github-credentials");
}

// trouble: github-credentials
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_secret_is_found_though_github_says_so_with_200() {
    let case = Case::new().await;
    let examined = doctor(&case.with(CLIENT_ID, "wrong-one"));
    let finding = examined.trouble("github-credentials");
    finding.says("with this secret (it says so with HTTP 200)");
    assert_eq!(finding.text("found"), "200 OK with error \"incorrect_client_credentials\"");
    let apps = case.github.url().join("settings/developers").unwrap();
    assert!(
        finding.fix().contains(apps.as_str()) && finding.fix().contains("`GITHUB_CLIENT_SECRET=`"),
        "{finding:?}"
    );
    assert!(!examined.report.to_string().contains("wrong-one"));
    doctor(&case.with("Iv1.fedcba9876543210", CLIENT_SECRET))
        .trouble("github-credentials")
        .says("never gave out");
    doctor(&case.good()).is_green();
}

// trouble: github-callback
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_callback_than_the_registered_one_is_told_with_the_line_to_paste() {
    let case = Case::new().await;
    case.github.callback("https://old.example.com/callback");
    let finding = doctor(&case.good()).trouble("github-callback");
    finding.says("the callback URL https://old.example.com/callback");
    let line = finding.line("http://localhost");
    assert_eq!(line, case.callback());
    case.github.callback(&line);
    doctor(&case.good()).is_green();
    // Some say so at the token endpoint, with HTTP 200.
    case.github.fail("/login/oauth/access_token", Failure::Error("redirect_uri_mismatch"));
    assert_eq!(doctor(&case.good()).trouble("github-callback").line("http://localhost"), case.callback());
}

// trouble: github-callback
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_github_wants_a_login_first_the_line_to_compare_is_said() {
    let case = Case::new().await;
    case.github.ask();
    let remark = doctor(&case.good()).is_green().only("remark", "github-callback");
    remark.says("cannot be told from here");
    assert_eq!(remark.line("http://localhost"), case.callback());
}

// trouble: not-allowed
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_that_names_nobody_is_remarked_and_one_that_lets_nobody_in_is_wrong() {
    let case = Case::new().await;
    let file = case.good();
    let good = std::fs::read_to_string(&file).unwrap();
    doctor(&file).is_green().only("good", "not-allowed");
    std::fs::write(&file, good.replace("octocat", "octocatt")).unwrap();
    let finding = doctor(&file).only("remark", "not-allowed");
    finding.says("`access.users` names octocatt");
    // Whoever takes the name is an administrator then.
    std::fs::write(&file, format!("{good}\nadmins: [octocattt, \"github:1\"]\n")).unwrap();
    doctor(&file).only("remark", "not-allowed").says("`admins` names octocattt");
    std::fs::write(&file, good.replace("access: { users: [octocat] }", "")).unwrap();
    let finding = doctor(&file).only("bad", "not-allowed");
    assert!(finding.text("found").contains("lets nobody in"), "{finding:?}");
}

// trouble: clock
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_wrong_is_told_by_how_much() {
    let case = Case::new().await;
    let mut program = Command::new("faketime");
    program.args(["-f", "+120s", env!("CARGO_BIN_EXE_portcullis"), "doctor", "--json", "--config"]);
    let examined = run(program.arg(case.good()).env_remove("PORTCULLIS_CONFIG"));
    let finding = examined.trouble("clock");
    finding.says("seconds ahead of 127.0.0.1");
    assert_eq!(finding.line("sudo timedatectl"), "sudo timedatectl set-ntp true");
    doctor_in(&case.good(), &[], &[]).is_green().only("good", "clock");
}
