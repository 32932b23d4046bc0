//! A gateway that runs, and one that cannot be asked.

use std::process::Command;

use crate::examined::{doctor, run};
use crate::process::{Place, Process, plain};
use crate::server::{Mode, Server};

fn good() -> Server {
    Server::start(Mode::Good("/mcp"))
}

#[test]
fn a_clean_running_gateway_is_green_inside_and_outside() {
    let (place, server) = (Place::new(), good());
    let file = place.write("p.yaml", &plain(server.address, ""));
    let _gateway = Process::begin(&file).listening();
    let examined = doctor(&file);
    examined.is_green();
    assert!(examined.of("dns").iter().all(|finding| finding.text("verdict") == "good"));
    for id in ["port-in-use", "memory", "dependency-missing", "rate-limited", "client-unknown"] {
        assert!(
            examined.of(id).iter().all(|finding| finding.text("verdict") == "good"),
            "{id}: {:#}",
            examined.report
        );
    }
    let found = |id: &str| examined.of(id).iter().map(|finding| finding.text("found")).collect::<String>();
    assert!(
        found("port-in-use").starts_with("portcullis (process ")
            && found("client-unknown").contains("not once")
    );
    let paste = format!("what to paste into MCP clients: http://localhost:{}/mcp", place.port);
    assert!(examined.of("wrong-url").iter().any(|finding| finding.text("found") == paste));
    assert!(examined.only("good", "memory").text("found").contains("MiB of memory, 0 open streams"));
}

#[test]
fn one_examination_is_no_trouble_to_the_next_and_says_once_whether_clients_can_register() {
    let (place, server) = (Place::new(), good());
    let two = plain(server.address, "")
        + &format!(
            "  two: {{ url: \"http://localhost:{{port}}/two\", upstream: \"http://{}/mcp\" }}\n",
            server.address
        );
    let file = place.write("p.yaml", &two);
    let _gateway = Process::begin(&file).listening();
    let told = |id: &str| {
        let examined = doctor(&file);
        examined.is_green();
        let findings = examined.report["findings"].as_array().unwrap().clone();
        let verdicts =
            findings.iter().map(|one| (one["id"].clone(), one["subject"].clone(), one["verdict"].clone()));
        let registered = examined.of(id).into_iter().map(|one| (one.text("verdict"), one.text("found")));
        (verdicts.collect::<Vec<_>>(), registered.collect::<Vec<_>>())
    };
    let (first, registered) = told("redirect-invalid");
    let good: Vec<_> = registered.iter().filter(|(verdict, _)| verdict == "good").collect();
    assert_eq!(good.len(), 1, "{registered:?}");
    assert_eq!(good[0].1, "all are registered");
    assert!(registered.iter().any(|(_, found)| found.contains("another service of the same issuer")));
    for _ in 0..2 {
        let (next, _) = told("redirect-invalid");
        let differ: Vec<_> = next.iter().filter(|one| !first.contains(one)).collect();
        assert!(next.len() == first.len() && differ.is_empty(), "{differ:#?}");
    }
}

// trouble: memory
#[test]
fn a_gateway_that_has_nearly_all_the_files_open_that_it_may_have_is_told() {
    let (place, server) = (Place::new(), good());
    let file = place.write("p.yaml", &plain(server.address, ""));
    let gateway = Process::begin(&file).listening();
    let may_have = |files: usize| {
        let mut program = Command::new("prlimit");
        let limit = format!("--nofile={files}:");
        let done = program.arg("--pid").arg(gateway.id().to_string()).arg(limit).status();
        assert!(done.expect("prlimit is missing: apt-get install util-linux").success());
    };
    let open = std::fs::read_dir(format!("/proc/{}/fd", gateway.id())).unwrap().count();
    may_have(open + 3);
    let finding = doctor(&file).only("bad", "memory");
    finding.says("Nearly as many files are open as may be");
    assert_eq!(finding.line("LimitNOFILE"), "LimitNOFILE=1048576");
    may_have(1000);
    doctor(&file).is_green().only("remark", "memory").says("Only 1000 files");
    may_have(8192);
    doctor(&file).is_green().only("good", "memory");
}

// trouble: token-401
// trouble: client-unknown
#[test]
fn what_went_wrong_lately_is_counted() {
    let (place, server) = (Place::new(), good());
    let file = place.write("p.yaml", &plain(server.address, ""));
    let _gateway = Process::begin(&file).listening();
    for _ in 0..3 {
        ask(&place, &["-H", "Authorization: Bearer nonsense", "-X", "POST"], "/mcp");
        ask(&place, &["-d", "grant_type=authorization_code&client_id=gone&code=x"], "/token");
    }
    let examined = doctor(&file);
    examined.is_green();
    for id in ["token-401", "client-unknown"] {
        let finding = examined.only("remark", id);
        assert!(finding.text("found").starts_with("3 times, last at "), "{finding:?}");
        assert!(!finding.fix().is_empty());
    }
}

fn ask(place: &Place, arguments: &[&str], path: &str) {
    let url = format!("http://localhost:{}{path}", place.port);
    let done = Command::new("curl").args(["-s", "-o", "/dev/null"]).args(arguments).arg(url).status();
    assert!(done.expect("curl is missing: apt-get install curl").success());
}

#[test]
fn a_gateway_without_a_socket_and_one_of_another_user_are_findings_and_no_crash() {
    let (place, server) = (Place::new(), good());
    let file = place.write("p.yaml", &plain(server.address, "admin_socket: off"));
    let gateway = Process::begin(&file).listening();
    let examined = doctor(&file);
    // The file belongs to the gateway, which cannot be asked whether it is that one.
    assert_eq!(examined.wrong(), Vec::<String>::new(), "{:#}", examined.report);
    let why = examined.only("not_tried", "rate-limited").text("found");
    assert!(why.contains("neither listen.internal nor admin_socket"), "{why}");
    let remark = examined.only("remark", "gateway-down");
    remark.says("The gateway runs and cannot be asked");
    assert!(remark.fix().contains("`listen: { internal: localhost:9400 }`"), "{remark:?}");
    examined.only("good", "port-in-use");
    assert!(!examined.report.to_string().contains("sudo kill"), "{:#}", examined.report);
    examined.only("good", "no-challenge");
    drop(gateway);

    let file = place.write("p.yaml", &plain(server.address, ""));
    let _gateway = Process::begin(&file).listening();
    let copy = place.folder().join("portcullis");
    std::fs::copy(env!("CARGO_BIN_EXE_portcullis"), &copy).unwrap();
    open_to_everybody(place.folder());
    let mut other = Command::new("setpriv");
    other.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&copy);
    other.args(["doctor", "--json", "--config"]).arg(&file).env_remove("PORTCULLIS_CONFIG");
    let examined = run(&mut other);
    let why = examined.only("not_tried", "rate-limited").text("found");
    assert!(why.contains("not to be used by this user"), "{why}");
    assert_eq!((examined.wrong(), examined.status), (Vec::new(), 0), "{:#}", examined.report);
    examined.only("remark", "gateway-down");
    examined.only("good", "no-challenge");
}

// trouble: gateway-down
#[test]
fn a_gateway_that_hangs_is_told_and_nobody_waits_for_it() {
    let (place, server) = (Place::new(), good());
    let file = place.write("p.yaml", &plain(server.address, ""));
    let gateway = Process::begin(&file).listening();
    let signal = |name: &str| {
        assert!(Command::new("kill").args([name, &gateway.id().to_string()]).status().unwrap().success());
    };
    signal("-STOP");
    let examined = doctor(&file);
    signal("-CONT");
    examined.trouble("gateway-down").says("runs and does not answer");
    assert!(examined.only("not_tried", "rate-limited").text("found").contains("does not answer"));
    doctor(&file).is_green().only("good", "gateway-down");
}

// trouble: gateway-down
#[test]
fn a_gateway_that_was_not_started_again_after_a_change_is_told_to_be() {
    let (place, server) = (Place::new(), good());
    let yaml = plain(server.address, "admin_socket: \"{folder}/admin.sock\"");
    let gateway = Process::begin(&place.write("p.yaml", &yaml)).listening();
    // In another file, which nobody reads again.
    let changed = yaml.replace("issuer: http://localhost", "issuer: http://127.0.0.1");
    let changed =
        changed + "  todo: { url: \"http://localhost:{port}/todo\", upstream: \"http://127.0.0.1:9/mcp\" }\n";
    let examined = doctor(&place.write("changed.yaml", &changed));
    let finding = examined.only("bad", "gateway-down");
    finding.says("another issuer and set of services than the file says");
    assert_eq!(finding.line("sudo systemctl"), "sudo systemctl restart portcullis");
    drop(gateway);
}

fn open_to_everybody(folder: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_configuration_that_is_not_there_cannot_be_looked_at() {
    let place = Place::new();
    let mut program = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    let output = program.args(["doctor", "--config"]).arg(place.folder().join("none.yaml")).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--from-outside URL"));
}
