//! Configuration and ports.

use std::net::TcpListener;
use std::process::Command;

use crate::examined::{doctor, doctor_in, run};
use crate::process::{Place, plain};
use crate::server::{Mode, Server};

#[test]
fn a_clean_stopped_gateway_is_green() {
    let (place, server) = (Place::new(), Server::start(Mode::Good("/mcp")));
    let examined = doctor(&place.write("p.yaml", &plain(server.address, "")));
    examined.is_green();
    for id in ["env-missing", "env-shape", "yaml-syntax", "port-in-use", "port-denied", "store-file", "dns"] {
        examined.only("good", id);
    }
    assert!(examined.only("not_tried", "rate-limited").text("found").contains("does not run"));
}

// trouble: env-missing
#[test]
fn every_missing_variable_is_a_finding_with_its_place() {
    let (place, server) = (Place::new(), Server::start(Mode::Good("/mcp")));
    let yaml = plain(server.address, "")
        .replace(&"5a".repeat(32), "${DOCTOR_KEY}")
        .replace("[\"*\"]", "[\"${DOCTOR_USER}\"]");
    let file = place.write("p.yaml", &yaml);
    let examined = doctor(&file);
    assert_eq!(
        (examined.wrong(), examined.status),
        (vec!["env-missing".to_owned()], 1),
        "{:#}",
        examined.report
    );
    let findings = examined.of("env-missing");
    assert_eq!(findings.len(), 2, "{findings:?}");
    findings[0].says("The environment variable DOCTOR_KEY is not set");
    assert!(findings[0].text("subject").ends_with("p.yaml:2:13"), "{findings:?}");
    assert!(findings[0].fix().contains("set it"), "{findings:?}");
    assert!(examined.only("not_tried", "upstream-down").text("found").contains("configuration"));
    let set = [("DOCTOR_KEY", "5a".repeat(32)), ("DOCTOR_USER", "*".to_owned())];
    doctor_in(&file, &[], &set.each_ref().map(|(name, value)| (*name, value.as_str()))).is_green();
}

// trouble: env-shape
#[test]
fn a_value_of_the_wrong_form_is_told_with_what_to_write() {
    let (place, server) = (Place::new(), Server::start(Mode::Good("/mcp")));
    let good = plain(server.address, "");
    let finding =
        doctor(&place.write("p.yaml", &good.replace(&"5a".repeat(32), "5a5a"))).trouble("env-shape");
    finding.says("secret key has 4 characters");
    assert!(finding.fix().contains("`openssl rand -hex 32`"), "{finding:?}");
    assert!(finding.text("subject").ends_with("p.yaml:2:13"), "{finding:?}");
    let bare = good.replace("issuer: http://", "issuer: ");
    doctor(&place.write("p.yaml", &bare)).only("bad", "env-shape").says("has no protocol");
    doctor(&place.write("p.yaml", &good)).is_green();
}

// trouble: yaml-syntax
#[test]
fn tabs_and_unknown_keys_are_told_with_line_and_column() {
    let (place, server) = (Place::new(), Server::start(Mode::Good("/mcp")));
    let good = plain(server.address, "");
    let finding = doctor(&place.write("p.yaml", &good.replace("  echo:", "\techo:"))).trouble("yaml-syntax");
    finding.says("A tab");
    assert!(finding.fix().contains("two for each level"), "{finding:?}");
    let finding =
        doctor(&place.write("p.yaml", &good.replace("services:", "servces:"))).only("bad", "yaml-syntax");
    finding.says("`servces` is no key");
    assert!(finding.fix().contains("`services`"), "{finding:?}");
    doctor(&place.write("p.yaml", &good)).is_green();
}

// trouble: environments
#[test]
fn hosts_of_different_domains_are_remarked() {
    let (place, server) = (Place::new(), Server::start(Mode::Good("/mcp")));
    let yaml = plain(server.address, "")
        .replace("issuer: http://localhost:{port}", "issuer: https://auth.example.com")
        .replace("url: \"http://localhost:{port}/mcp\"", "url: \"https://echo.example.net/mcp\"")
        .replace("tls: off", "tls: off\ntrusted_proxies: [127.0.0.1]")
        .replace(
            "dev: {}",
            "github: { client_id: Iv1.0123456789abcdef, client_secret: x, web_url: \"http://127.0.0.1:9\" }",
        );
    let remarked = doctor(&place.write("p.yaml", &yaml)).only("remark", "environments");
    assert!(remarked.text("found").contains("is this the right environment"), "{remarked:?}");
    let same = yaml.replace("echo.example.net", "echo.example.com");
    doctor(&place.write("p.yaml", &same)).only("good", "environments");
}

// trouble: port-in-use
#[test]
fn a_taken_port_is_told_with_the_process_that_has_it() {
    let (place, server) = (Place::new(), Server::start(Mode::Good("/mcp")));
    let file = place.write("p.yaml", &plain(server.address, ""));
    let other = TcpListener::bind(place.address()).unwrap();
    let finding = doctor(&file).trouble("port-in-use");
    finding.says(&format!("(process {})", std::process::id()));
    assert_eq!(finding.line("sudo kill"), format!("sudo kill {}", std::process::id()));
    drop(other);
    doctor(&file).is_green();
}

// trouble: port-denied
#[test]
fn a_port_that_this_user_may_not_have_is_told_with_the_line_that_grants_it() {
    let (place, server) = (Place::new(), Server::start(Mode::Good("/mcp")));
    let low = plain(server.address, "").replace("http: \"127.0.0.1:{port}\"", "http: \"127.0.0.1:{second}\"");
    let file = place.write("p.yaml", &low.replace("{second}", "81"));
    // Tests may run as root, who has every right.
    let unprivileged = |file: &std::path::Path| {
        let mut program = Command::new("setpriv");
        program.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        program.arg(program_for_everybody(place.folder())).args(["doctor", "--json", "--config"]).arg(file);
        program.env_remove("PORTCULLIS_CONFIG");
        run(&mut program)
    };
    open_to_everybody(place.folder());
    let examined = unprivileged(&file);
    let finding = examined.only("bad", "port-denied");
    finding.says("Port 81 needs a right");
    let program = program_for_everybody(place.folder());
    assert_eq!(
        finding.line("sudo setcap"),
        format!("sudo setcap cap_net_bind_service=+ep {}", program.display())
    );
    let granted = Command::new("setcap").arg("cap_net_bind_service=+ep").arg(&program).status();
    assert!(granted.expect("setcap is missing: apt-get install libcap2-bin").success());
    unprivileged(&file).only("good", "port-denied");
}

/// A copy of the program that every user may run, and that may be given rights.
fn program_for_everybody(folder: &std::path::Path) -> std::path::PathBuf {
    let copy = folder.join("portcullis");
    if !copy.exists() {
        std::fs::copy(env!("CARGO_BIN_EXE_portcullis"), &copy).unwrap();
    }
    copy
}

fn open_to_everybody(folder: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o777)).unwrap();
}
