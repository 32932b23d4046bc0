//! Names: that lead here, elsewhere, nowhere, and where nobody sees from here; in a network of the test's own, with a name server of ours.

use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};

use crate::examined::{Examined, doctor_in};
use crate::process::{Place, Process, plain};
use crate::server::{Mode, Server};
use crate::support::network::{in_a_network_of_its_own, ip};
use crate::zone::Zone;

/// A gateway for `auth.example.com` and `mcp.example.com` at an address of loopback.
fn at(place: &Place, address: &str, server: &Server) -> PathBuf {
    let yaml = plain(server.address, "admin_socket: \"{folder}/admin.sock\"")
        .replace("issuer: http://localhost:{port}", "issuer: https://auth.example.com")
        .replace("http://localhost:{port}/mcp", "https://mcp.example.com/mcp")
        .replace("http: \"127.0.0.1:{port}\"", &format!("https: \"{address}:443\""))
        .replace("tls: off", "tls: { local_ca: \"{folder}/ca\" }")
        .replace(
            "dev: {}",
            "github: { client_id: Iv1.0123456789abcdef, client_secret: x, web_url: \"http://127.0.0.1:9\" }",
        );
    place.write("p.yaml", &yaml)
}

async fn examined(place: &Place, file: &Path) -> Examined {
    let (file, authority) = (file.to_owned(), place.folder().join("ca/ca.pem"));
    let look = move || {
        let authority = authority.to_str().unwrap();
        doctor_in(&file, &["--resolver", "127.0.0.1:53", "--ca", authority], &[])
    };
    tokio::task::spawn_blocking(look).await.unwrap()
}

/// The verdicts on a host's name.
fn names(examined: &Examined, host: &str) -> Vec<String> {
    let of_host = examined.of("dns").into_iter().filter(|finding| finding.text("subject") == host);
    of_host.map(|finding| finding.text("verdict")).collect()
}

// trouble: dns
#[test]
fn a_name_that_leads_to_another_gateway_is_found_and_one_that_nobody_sees_from_here_is_not_taken_for_it() {
    let name = "hosts::a_name_that_leads_to_another_gateway_is_found_and_one_that_nobody_sees_from_here_is_not_taken_for_it";
    in_a_network_of_its_own(name, async {
        ip("link set lo up");
        let (zone, server) = (Zone::default(), Server::start(Mode::Good("/mcp")));
        zone.serve().await;
        let (place, other) = (Place::new(), Place::new());
        let file = at(&place, "127.0.0.1", &server);
        let _gateways =
            [&file, &at(&other, "127.0.0.2", &server)].map(|file| Process::begin(file).listening());
        let lead = |auth: &str, mcp: &str| {
            zone.set("auth.example.com", &[auth]);
            zone.set("mcp.example.com", &[mcp]);
        };

        lead("127.0.0.1", "127.0.0.1");
        let good = examined(&place, &file).await;
        for host in ["auth.example.com", "mcp.example.com"] {
            let verdicts = names(&good, host);
            assert!(!verdicts.is_empty() && verdicts.iter().all(|one| one == "good"), "{:#}", good.report);
        }
        assert!(!good.wrong().contains(&"dns".to_owned()), "{:#}", good.report);

        lead("127.0.0.2", "127.0.0.1");
        let finding = examined(&place, &file).await.only("bad", "dns");
        finding.says("auth.example.com leads to 127.0.0.2, and it is not this gateway that answers there");
        assert!(finding.line("auth.example.com. A").ends_with("A 127.0.0.2"), "{finding:?}");

        // Nobody is there, and it is no address of this machine.
        lead("127.0.0.1", "192.0.2.9");
        let hidden = examined(&place, &file).await;
        assert_eq!(names(&hidden, "mcp.example.com"), ["remark"], "{:#}", hidden.report);
        let remark = hidden.of("dns").into_iter().find(|one| one.text("verdict") == "remark").unwrap();
        assert!(
            remark.line("portcullis doctor --from-outside").contains("https://mcp.example.com/"),
            "{remark:?}"
        );

        zone.remove("mcp.example.com");
        let finding = examined(&place, &file).await.only("bad", "dns");
        finding.says("Nobody on the internet knows where mcp.example.com is");
        assert!(finding.line("mcp.example.com. A").contains("PUBLIC-ADDRESS"), "{finding:?}");
    });
}

// trouble: dns
// trouble: upstream-slow
// trouble: redis-down
// trouble: github-unreachable
#[test]
fn where_nobody_answers_anything_all_of_it_is_told_within_a_quarter_of_a_minute() {
    let name = "hosts::where_nobody_answers_anything_all_of_it_is_told_within_a_quarter_of_a_minute";
    in_a_network_of_its_own(name, async {
        ip("link set lo up");
        ip("addr add 198.51.100.9/32 dev lo");
        // The system takes connections for them, and nobody says a word.
        let _silent = [6379, 443, 3000].map(|port| TcpListener::bind(("198.51.100.9", port)).unwrap());
        let _names = UdpSocket::bind("198.51.100.9:53").unwrap();
        let (place, server) = (Place::new(), Server::start(Mode::Good("/mcp")));
        let file = at(&place, "127.0.0.1", &server);
        let yaml = std::fs::read_to_string(&file).unwrap();
        let yaml = yaml.replace("http://127.0.0.1:9", "https://198.51.100.9");
        let yaml = yaml.replace(&server.address.to_string(), "198.51.100.9:3000");
        let store = yaml.lines().find(|line| line.starts_with("store:")).unwrap();
        std::fs::write(&file, yaml.replace(store, "store: redis://198.51.100.9:6379/0")).unwrap();
        let examined = doctor_in(&file, &["--resolver", "198.51.100.9"], &[]);
        let mut wrong = examined.wrong();
        wrong.sort();
        assert_eq!(
            wrong,
            ["dns", "github-unreachable", "redis-down", "upstream-slow"],
            "{:#}",
            examined.report
        );
        examined.only("bad", "upstream-slow").says("too long");
        examined.only("bad", "redis-down").says("does not answer as Redis does");
    });
}
