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

// trouble: cert
#[test]
fn what_keeps_the_certificate_authority_from_issuing_is_told_with_its_own_word_port_80_and_caa() {
    let name =
        "hosts::what_keeps_the_certificate_authority_from_issuing_is_told_with_its_own_word_port_80_and_caa";
    in_a_network_of_its_own(name, async {
        ip("link set lo up");
        let (zone, server) = (Zone::default(), Server::start(Mode::Good("/mcp")));
        zone.serve().await;
        for host in ["auth.example.com", "mcp.example.com"] {
            zone.set(host, &["127.0.0.1"]);
            zone.issue(host, &["letsencrypt.org"]);
        }
        let place = Place::new();
        let tls = "tls: { acme: { email: ops@example.com, challenge: http-01 } }";
        let ordered = |http: &str| {
            let file = at(&place, "127.0.0.1", &server);
            let yaml = std::fs::read_to_string(&file).unwrap();
            let lines = yaml.lines().map(|line| match line {
                line if line.starts_with("tls:") => tls.to_owned(),
                line if line.starts_with("listen:") => {
                    format!("listen: {{ https: \"127.0.0.1:443\", http: \"127.0.0.1:{http}\" }}")
                }
                line => line.to_owned(),
            });
            std::fs::write(&file, lines.collect::<Vec<_>>().join("\n")).unwrap();
            file
        };
        let told = |examined: &Examined, words: &str| {
            let of_host =
                examined.of("cert").into_iter().filter(|one| one.text("subject") == "mcp.example.com");
            let found = of_host.clone().find(|one| one.text("cause").contains(words));
            found.unwrap_or_else(|| panic!("no {words}: {:#?}", of_host.collect::<Vec<_>>()))
        };
        let look = async |file: &Path| {
            let file = file.to_owned();
            let look = move || doctor_in(&file, &["--resolver", "127.0.0.1:53"], &[]);
            tokio::task::spawn_blocking(look).await.unwrap()
        };

        let file = ordered("80");
        let gateway = Process::begin(&file).listening();
        let examined = look(&file).await;
        assert_eq!(told(&examined, "The certificate authority has not issued").text("verdict"), "bad");
        let good = examined.of("cert").into_iter().filter(|one| one.text("verdict") == "good");
        let good: Vec<_> = good.map(|finding| finding.text("found")).collect();
        for words in ["this gateway answers on port 80", "letsencrypt.org"] {
            assert!(good.iter().any(|found| found.contains(words)), "{:#}", examined.report);
        }
        drop(gateway);

        for host in ["auth.example.com", "mcp.example.com"] {
            zone.issue(host, &["other-authority.example"]);
        }
        let file = ordered("8081");
        let _gateway = Process::begin(&file).listening();
        let examined = look(&file).await;
        assert_eq!(told(&examined, "Port 80 is closed").line("sudo ufw"), "sudo ufw allow 80/tcp");
        let record = told(&examined, "A CAA record allows certificates of other-authority.example only");
        assert_eq!(record.line("mcp.example.com."), "mcp.example.com. CAA 0 issue \"letsencrypt.org\"");
        let _other = Server::at(([127, 0, 0, 1], 80).into(), Mode::Good("/mcp"));
        told(&look(&file).await, "Another server answers on port 80");
    });
}
