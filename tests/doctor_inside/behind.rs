//! The servers behind.

use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

use crate::examined::{doctor, doctor_in};
use crate::process::{Place, Process, plain};
use crate::server::{Mode, Server};

/// A stopped gateway with this server behind it.
fn before(place: &Place, server: &Server) -> PathBuf {
    place.write("p.yaml", &plain(server.address, ""))
}

/// The same with another upstream: what a fix says.
fn with_upstream(place: &Place, server: &Server, upstream: &str) -> PathBuf {
    let yaml = plain(server.address, "").replace(&format!("http://{}/mcp", server.address), upstream);
    place.write("p.yaml", &yaml)
}

const WAYS: [&str; 7] = [
    "upstream-down",
    "upstream-slow",
    "upstream-auth",
    "upstream-host",
    "upstream-path",
    "upstream-transport",
    "protocol-version",
];

#[test]
fn a_good_server_is_all_green_and_its_session_is_ended() {
    let (place, server) = (Place::new(), Server::start(Mode::Good("/mcp")));
    let examined = doctor(&before(&place, &server));
    examined.is_green();
    for way in WAYS {
        examined.only("good", way);
    }
    assert_eq!(examined.only("good", "upstream-path").text("found"), "/mcp has an MCP server with 2 tools");
    assert_eq!(examined.only("good", "protocol-version").text("found"), "it speaks 2025-11-25");
    assert!(server.asked().contains(&"DELETE /mcp".to_owned()), "{:?}", server.asked());
}

// trouble: upstream-down
#[test]
fn a_server_that_does_not_run_is_down_until_it_does() {
    let place = Place::new();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let file = place.write("p.yaml", &plain(free, ""));
    let finding = doctor(&file).trouble("upstream-down");
    finding.says(&format!("{free}"));
    assert_eq!(finding.text("subject"), "echo");
    assert!(finding.text("found").contains("refused"), "{finding:?}");
    assert!(finding.fix().contains(&format!("listens on port {}", free.port())), "{finding:?}");
    let server = Server::start(Mode::Good("/mcp"));
    doctor(&before(&place, &server)).is_green();
}

// trouble: upstream-down
#[test]
fn a_host_that_nobody_knows_and_a_server_that_fails_are_told_apart() {
    let (place, server) = (Place::new(), Server::start(Mode::Failing));
    doctor(&before(&place, &server)).trouble("upstream-down").says("with a fault of its own");
    let file = with_upstream(&place, &server, "http://mcp-todo.invalid:3000/mcp");
    let finding = doctor(&file).trouble("upstream-down");
    finding.says("Nobody knows the host mcp-todo.invalid");
    assert_eq!(finding.value("upstream:"), "http://HOST:3000/mcp");
}

// trouble: upstream-path
#[test]
fn a_server_at_another_path_is_found_and_the_line_that_is_right_is_said() {
    for (mode, right) in [(Mode::Good("/"), "/"), (Mode::Good("/mcp/"), "/mcp/"), (Mode::Redirects, "/mcp/")]
    {
        let (place, server) = (Place::new(), Server::start(mode.clone()));
        let finding = doctor(&before(&place, &server)).trouble("upstream-path");
        finding.says(&format!("at {right} and not at /mcp"));
        let line = finding.value("upstream:");
        assert_eq!(line, format!("http://{}{right}", server.address), "{mode:?}");
        doctor(&with_upstream(&place, &server, &line)).is_green();
    }
}

// trouble: upstream-path
#[test]
fn a_path_that_nobody_guesses_is_to_be_looked_up() {
    let (place, server) = (Place::new(), Server::start(Mode::Good("/api/v2/mcp")));
    let finding = doctor(&before(&place, &server)).trouble("upstream-path");
    finding.says("no MCP endpoint at /mcp, nor at");
    let line = finding.value("upstream:").replace("/PATH", "/api/v2/mcp");
    doctor(&with_upstream(&place, &server, &line)).is_green();
}

// trouble: upstream-transport
#[test]
fn a_server_of_the_old_transport_is_recognised_and_can_be_kept() {
    let (place, server) = (Place::new(), Server::start(Mode::Sse));
    let finding = doctor(&before(&place, &server)).trouble("upstream-transport");
    finding.says("old HTTP+SSE");
    assert!(finding.fix().contains("transport=\"streamable-http\""), "{finding:?}");
    assert_eq!(finding.line("paths:"), "paths: [/messages]");
    let upstream = finding.value("upstream:");
    assert_eq!(upstream, format!("http://{}/sse", server.address));
    let yaml = plain(server.address, "").replace(
        &format!("\"http://{}/mcp\"", server.address),
        &format!("\"{upstream}\", paths: [/messages]"),
    );
    let kept = doctor(&place.write("p.yaml", &yaml));
    kept.is_green().only("remark", "upstream-transport");
    server.becomes(Mode::Good("/mcp"));
    doctor(&before(&place, &server)).is_green();
}

// trouble: upstream-transport
#[test]
fn a_server_that_is_in_another_mode_is_told_which_flag_it_wants() {
    let (place, server) = (Place::new(), Server::start(Mode::Stateless));
    let finding = doctor(&before(&place, &server)).trouble("upstream-transport");
    assert!(finding.text("found").contains("Stateless HTTP transport not enabled"), "{finding:?}");
    assert!(finding.fix().contains("stateless_http=True"), "{finding:?}");
    server.becomes(Mode::Good("/mcp"));
    doctor(&before(&place, &server)).is_green();
}

// trouble: upstream-host
#[test]
fn a_server_that_takes_another_host_only_is_named_as_it_knows_itself() {
    let place = Place::new();
    let server = Server::start(Mode::Failing);
    let own = format!("localhost:{}", server.address.port());
    server.becomes(Mode::OnlyFor(own.clone()));
    let finding = doctor(&before(&place, &server)).trouble("upstream-host");
    finding.says(&format!("the gateway asks for {}", server.address));
    assert!(finding.text("found").contains("Invalid Host header"), "{finding:?}");
    assert_eq!(
        finding.line("TransportSecuritySettings"),
        "TransportSecuritySettings(allowed_hosts=[\"127.0.0.1:*\"])"
    );
    let line = finding.value("upstream:");
    assert_eq!(line, format!("http://{own}/mcp"));
    doctor(&with_upstream(&place, &server, &line)).is_green();
}

// trouble: upstream-host
#[test]
fn a_server_that_takes_its_own_host_only_is_no_trouble_for_the_gateway_sends_that() {
    let (place, server) = (Place::new(), Server::start(Mode::Failing));
    server.becomes(Mode::OnlyFor(server.address.to_string()));
    let examined = doctor(&before(&place, &server));
    let told = examined.is_green().only("good", "upstream-host").text("found");
    assert_eq!(told, "it takes its own host only, and the gateway sends that");
}

// trouble: upstream-auth
#[test]
fn a_server_with_a_login_of_its_own_is_told_to_leave_it_to_the_gateway() {
    let (place, server) = (Place::new(), Server::start(Mode::Locked));
    let finding = doctor(&before(&place, &server)).trouble("upstream-auth");
    finding.says("wants a login of its own");
    assert!(finding.fix().contains("leave out `auth=`"), "{finding:?}");
    server.becomes(Mode::Good("/mcp"));
    doctor(&before(&place, &server)).is_green();
}

// trouble: upstream-slow
#[test]
fn a_slow_server_is_remarked_and_one_over_its_limit_is_wrong() {
    let (place, server) = (Place::new(), Server::start(Mode::Slow(Duration::from_millis(1300))));
    let examined = doctor(&before(&place, &server));
    examined.is_green().only("remark", "upstream-slow").says("Over a second");
    let limited = |limit: &str| {
        plain(server.address, "").replace("/mcp\" }", &format!("/mcp\", first_byte_timeout: {limit} }}"))
    };
    let finding = doctor(&place.write("p.yaml", &limited("1s"))).trouble("upstream-slow");
    assert_eq!(finding.line("first_byte_timeout"), "first_byte_timeout: 60s");
    doctor(&place.write("p.yaml", &limited("60s"))).is_green();
}

// trouble: upstream-slow
#[test]
fn a_server_that_never_answers_ends_the_examination_of_itself_only() {
    let (place, server) = (Place::new(), Server::start(Mode::Slow(Duration::from_mins(1))));
    let examined = doctor(&before(&place, &server));
    examined.trouble("upstream-slow").says("too long");
    examined.only("not_tried", "upstream-path");
    examined.only("good", "port-in-use");
    let long = plain(server.address, "").replace("/mcp\" }", "/mcp\", first_byte_timeout: 300s }");
    let finding = doctor(&place.write("p.yaml", &long)).trouble("upstream-slow");
    assert_eq!(finding.line("first_byte_timeout"), "first_byte_timeout: 600s");
}

// trouble: upstream-down
#[test]
fn a_server_without_tls_behind_an_https_url_is_told_with_the_url_that_is_right() {
    let (place, server) = (Place::new(), Server::start(Mode::Good("/mcp")));
    let right = format!("http://{}/mcp", server.address);
    let file = with_upstream(&place, &server, &right.replace("http:", "https:"));
    let finding = doctor(&file).trouble("upstream-down");
    finding.says("speaks plain HTTP, and the URL says https");
    assert_eq!(finding.value("upstream:"), right);
}

// trouble: upstream-path
#[test]
fn a_web_page_and_the_gateway_itself_are_no_mcp_servers_and_are_named() {
    let (place, server) = (Place::new(), Server::start(Mode::Page));
    let finding = doctor(&before(&place, &server)).trouble("upstream-path");
    assert!(finding.text("found").contains("a web page, no MCP server"), "{finding:?}");
    let file = with_upstream(&place, &server, "http://localhost:{port}/mcp");
    let _gateway = Process::begin(&file).listening();
    let finding = doctor(&file).only("bad", "upstream-path");
    finding.says("is the gateway itself");
    assert!(doctor(&file).of("upstream-auth").iter().all(|one| one.text("verdict") == "not_tried"));
}

// trouble: protocol-version
#[test]
fn a_server_without_a_revision_in_common_is_told_with_those_of_both_sides() {
    for mode in [Mode::Speaks("2031-01-01"), Mode::Chooses("2031-01-01")] {
        let (place, server) = (Place::new(), Server::start(mode));
        let finding = doctor(&before(&place, &server)).trouble("protocol-version");
        finding.says("it speaks 2031-01-01");
        let found = finding.text("found");
        assert!(found.contains("2031-01-01") && found.contains("2025-11-25, 2026-07-28"), "{found}");
        assert!(finding.fix().contains("pip install -U mcp"), "{finding:?}");
        server.becomes(Mode::Good("/mcp"));
        doctor(&before(&place, &server)).is_green();
    }
}

// trouble: protocol-version
#[test]
fn replicas_that_are_not_the_same_server_are_remarked() {
    let place = Place::new();
    let (one, other) = (Server::start(Mode::Good("/mcp")), Server::start(Mode::Chooses("2025-03-26")));
    let both = format!("[\"http://{}/mcp\", \"http://{}/mcp\"]", one.address, other.address);
    let yaml = plain(one.address, "").replace(&format!("\"http://{}/mcp\"", one.address), &both);
    let examined = doctor(&place.write("p.yaml", &yaml));
    examined.is_green().only("remark", "protocol-version").says("not the same server");
    let subject = format!("echo ({})", other.address);
    assert!(examined.of("upstream-down").iter().any(|finding| finding.text("subject") == subject));
    other.becomes(Mode::Good("/mcp"));
    let examined = doctor(&place.write("p.yaml", &yaml));
    assert!(examined.of("protocol-version").iter().all(|finding| finding.text("verdict") == "good"));
}

#[test]
fn one_service_can_be_looked_at_alone() {
    let (place, server) = (Place::new(), Server::start(Mode::Good("/mcp")));
    let yaml = plain(server.address, "")
        + "  todo: { url: \"http://localhost:{port}/todo/mcp\", upstream: \"http://127.0.0.1:9/mcp\" }\n";
    let file = place.write("p.yaml", &yaml);
    doctor(&file).trouble("upstream-down");
    doctor_in(&file, &["--service", "echo"], &[]).is_green();
    assert_eq!(doctor_in(&file, &["--service", "todo"], &[]).status, 1);
}
