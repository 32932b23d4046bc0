//! Configuration and ports.

use std::net::TcpListener;
use std::process::Command;

use crate::examined::{doctor, doctor_in, run};
use crate::process::{Place, Process, plain};
use crate::server::{Mode, Server};

// trouble: gateway-down
#[test]
fn a_clean_gateway_that_does_not_run_is_told_how_to_start_it_and_the_rest_is_green() {
    let (place, server) = (Place::new(), Server::start(Mode::Good("/mcp")));
    let file = place.write("p.yaml", &plain(server.address, ""));
    let examined = doctor(&file);
    examined.is_green();
    let finding = examined.only("bad", "gateway-down");
    finding.says("The gateway does not run");
    assert_eq!(finding.line("portcullis serve"), format!("portcullis serve {}", file.display()));
    assert!(finding.fix().contains("`sudo systemctl start portcullis`, or `just up`"), "{finding:?}");
    assert_eq!(examined.status, 1);
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
    assert_eq!(findings[0].line("DOCTOR_KEY="), "DOCTOR_KEY=VALUE");
    let beside = place.folder().join(".env");
    std::fs::write(&beside, format!("DOCTOR_KEY={}\n", "5a".repeat(32))).unwrap();
    let unread = doctor(&file).of("env-missing").remove(0);
    assert!(unread.fix().contains(&format!("DOCTOR_KEY is in {}, which was not read", beside.display())));
    assert_eq!(unread.line("set -a"), format!("set -a; . {}; set +a", beside.display()));
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
    assert!(!finding.fix().contains("?.") && !finding.text("cause").contains("?."), "{finding:?}");
    doctor(&place.write("p.yaml", &good)).is_green();
}

// trouble: not-allowed
#[test]
fn a_service_that_nobody_may_use_is_wrong_and_one_for_everybody_is_a_remark_that_narrows() {
    let (place, server) = (Place::new(), Server::start(Mode::Good("/mcp")));
    let good = plain(server.address, "");
    let finding = doctor(&place.write("p.yaml", &good)).only("remark", "not-allowed");
    assert!(finding.line("access:").contains("users: [LOGIN]"), "{finding:?}");
    let nobody = doctor(&place.write("p.yaml", &good.replace("access: { users: [\"*\"] }\n", "")));
    nobody.trouble("not-allowed").says("nobody can use it");
    let narrow = good.replace("[\"*\"]", "[octocat]");
    assert!(doctor(&place.write("p.yaml", &narrow)).is_green().of("not-allowed").is_empty());
}

// trouble: cert
#[test]
fn certificate_files_are_read_as_the_gateway_reads_them() {
    let (place, server) = (Place::new(), Server::start(Mode::Good("/mcp")));
    let [certificate, key] = ["a.crt", "a.key"].map(|name| place.folder().join(name));
    let yaml = plain(server.address, "")
        .replace("http://localhost", "https://localhost")
        .replace("listen: { http:", "listen: { https:")
        .replace(
            "tls: off",
            "tls: { files: [{ certificate: \"{folder}/a.crt\", key: \"{folder}/a.key\" }] }",
        );
    let file = place.write("p.yaml", &yaml);
    let make = |host: &str, end: i32| {
        let mut params = rcgen::CertificateParams::new(vec![host.to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(end, 1, 1);
        let pair = rcgen::KeyPair::generate().unwrap();
        std::fs::write(&certificate, params.self_signed(&pair).unwrap().pem()).unwrap();
        std::fs::write(&key, pair.serialize_pem()).unwrap();
    };
    make("other.example", 2090);
    let finding = doctor(&file).trouble("cert");
    finding.says("None of the files has a certificate for localhost");
    assert!(finding.fix().contains(&certificate.display().to_string()), "{finding:?}");
    let refused = place.run("serve", &yaml).1;
    assert!(refused.contains("more: portcullis doctor --explain cert"), "{refused}");
    make("localhost", 2021);
    let finding = doctor(&file).trouble("cert");
    finding.says("ended at 2021-01-01");
    assert!(!finding.fix().contains("cert renew"), "{finding:?}");
    make("localhost", 2090);
    doctor(&file).is_green().only("good", "cert");
    let _gateway = Process::begin(&file).listening();
    make("localhost", 2021);
    let on = doctor(&file);
    assert!(on.of("cert").iter().any(|one| one.text("cause").contains("its files were not replaced")));
    std::fs::write(&key, rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap();
    let on = doctor(&file);
    let told =
        |one: &crate::examined::Finding| one.text("cause").contains("does not belong to its certificate");
    assert!(on.of("cert").iter().any(told), "{:#}", on.report);
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
