//! Debian's Caddy as the certificate authority: an implementation that has nothing to do with Let's Encrypt's. It looks at
//! ports 80 and 443 only, so this happens in a network of its own.

use std::process::Command;

use crate::gateway::{HOST, Setup};
use crate::process::Place;
use crate::program::Program;
use crate::support::network::{self, in_a_network_of_its_own, ip};
use crate::visitor::Visitor;

/// `acme_server` with a CA of its own, on a port of its own.
const CADDYFILE: &str = r#"{
	admin off
	auto_https disable_redirects
	skip_install_trust
	storage file_system ./data
	pki {
		ca local {
			name "Caddy of a test"
		}
	}
}
https://localhost:9443 {
	bind 127.0.0.1
	tls internal
	acme_server {
		ca local
	}
}
"#;

async fn comes_by(challenge: &str) {
    ip("link set lo up");
    network::resolve(&format!("127.0.0.1 {HOST}\n"));
    let folder = network::folder();
    std::fs::write(folder.join("Caddyfile"), CADDYFILE).unwrap();
    let mut caddy = Command::new("caddy");
    caddy.args(["run", "--adapter", "caddyfile", "--config", "Caddyfile"]).env("HOME", &folder);
    let caddy = Program::start(caddy, &folder, ([127, 0, 0, 1], 9443).into());
    // The CA is made before anything is listened to.
    let root = folder.join("data/pki/authorities/local/root.crt");
    std::fs::copy(&root, folder.join("ca.pem")).unwrap();
    let acme = format!(
        "email: ops@example.org, directory: \"https://localhost:9443/acme/local/directory\", ca_file: \"{}\", challenge: {challenge}",
        root.display()
    );
    let place = Place::new();
    let gateway = Setup { https: 443, http: 80, ..Setup::at(&place, acme) }.start(place);
    let facts = Visitor::new(&std::fs::read_to_string(root).unwrap()).gets(gateway.https, HOST).await;
    assert!(facts.issuer.starts_with("Caddy of a test"), "{facts:?}");
    assert_eq!(facts.names, [HOST]);
    assert_eq!(gateway.row(HOST).await["serial"], facts.serial);
    assert_eq!(gateway.said("ordering a certificate"), 1);
    assert!(gateway.said(&format!("({challenge})")) >= 1, "{}", gateway.process().log());
    assert!(!caddy.log().contains("panic"));
}

#[test]
fn caddy_issues_by_http_01() {
    // X3
    in_a_network_of_its_own("caddy::caddy_issues_by_http_01", comes_by("http-01"));
}

#[test]
fn caddy_issues_by_tls_alpn_01() {
    // X3
    in_a_network_of_its_own("caddy::caddy_issues_by_tls_alpn_01", comes_by("tls-alpn-01"));
}
