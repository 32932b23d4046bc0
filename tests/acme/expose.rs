//! `portcullis expose` on the usual ports, with a certificate by ACME.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use crate::pebble::{Options, Pebble};
use crate::process::{Place, Process};
use crate::support::network::{self, in_a_network_of_its_own, ip};

const HOST: &str = "mcp.gw.test";

fn expose(place: &Place, arguments: &[&str]) -> Process {
    let data = place.folder().join("data");
    let url = format!("https://{HOST}/mcp");
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command.args(["expose", "http://127.0.0.1:9", "--url", &url, "--allow", "octocat"]).args(arguments);
    command.args(["--acme-email", "you@example.com", "--data", data.to_str().unwrap()]);
    command.env("GITHUB_CLIENT_ID", "Ov23liABCDEFGHIJKLMN");
    Process::of(command.env("GITHUB_CLIENT_SECRET", "0123456789abcdef0123456789abcdef01234567"))
}

#[test]
fn it_says_when_the_certificate_is_there_and_shows_it() {
    in_a_network_of_its_own("expose::it_says_when_the_certificate_is_there_and_shows_it", async {
        ip("link set lo up");
        network::resolve(&format!("127.0.0.1 {HOST}\n"));
        let pebble = Pebble::start(Options { http: 80, tls: 443, ..Options::default() });
        let roots = network::folder().join("ca.pem");
        std::fs::copy(pebble.roots(), &roots).unwrap();
        let place = Place::new();
        let directory = ["--acme-directory", &pebble.url(), "--acme-ca-file", roots.to_str().unwrap()];
        let mut gateway = expose(&place, &directory);
        gateway.says("Ctrl-C stops.").await;
        let told = gateway.log();
        for line in [
            format!("Sign-in      GitHub; callback URL of the OAuth app: https://{HOST}/callback\n"),
            "Allowed      octocat\n".to_owned(),
            "Listening    port 443\n".to_owned(),
            "Certificate  there, until 20".to_owned(),
            format!("Paste        https://{HOST}/mcp\n"),
        ] {
            assert!(told.contains(&line), "{line} is not in:\n{told}");
        }
        let address = ([127, 0, 0, 1], 443).into();
        assert_eq!(pebble.visitor().await.gets(address, HOST).await.names, [HOST]);
        gateway.signal("TERM");
        assert_eq!(gateway.ended().await.0, 0);

        // The second time the certificate is in the store; the authority is not asked.
        drop(pebble);
        let again = expose(&place, &directory);
        again.says("Ctrl-C stops.").await;
        assert!(!again.log().contains("ordered"), "{}", again.log());
    });
}

#[test]
fn it_says_what_is_in_the_way_of_the_certificate() {
    in_a_network_of_its_own("expose::it_says_what_is_in_the_way_of_the_certificate", async {
        ip("link set lo up");
        let place = Place::new();
        let gateway = expose(&place, &["--acme-directory", "https://127.0.0.1:9/dir"]);
        gateway.says("Certificate  not yet: ").await;
        assert!(gateway.log().contains("; it is tried again\n"), "{}", gateway.log());
        assert!(!gateway.log().contains("Paste"), "{}", gateway.log());
    });
}

const SECRET: &str = "89abcdef0123456789abcdef0123456789abcdef";

#[test]
fn what_it_asks_for_once_is_kept_for_its_owner_only() {
    in_a_network_of_its_own("expose::what_it_asks_for_once_is_kept_for_its_owner_only", async {
        ip("link set lo up");
        let place = Place::new();
        let data = place.folder().join("data");
        let common = format!(
            "expose http://127.0.0.1:9 --url https://{HOST}/mcp --acme-directory https://127.0.0.1:9/dir --data {}",
            data.display()
        );
        let line = format!("exec {} {common}", env!("CARGO_BIN_EXE_portcullis"));
        let mut command = Command::new("script");
        command.args(["-qec", &line, "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child =
            command.env_remove("GITHUB_CLIENT_ID").env_remove("GITHUB_CLIENT_SECRET").spawn().unwrap();
        let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (mut shown, mut from) = (String::new(), 0);
        for (prompt, answer) in [
            ("Your e-mail address (for the certificate authority): ", "you@example.com\n"),
            ("Client ID of that app: ", "Ov23liABCDEFGHIJKLMN\n"),
            (
                "Client secret of that app (typed unseen): ",
                concat!("89abcdef0123456789abcdef0123456789abcdef", "\n"),
            ),
            ("* for everybody): ", "octocat\n"),
            // Ctrl-C, once it serves.
            ("Certificate  ", "\u{3}"),
        ] {
            while !shown[from..].contains(prompt) {
                let mut bytes = [0; 1024];
                let read = output.read(&mut bytes).unwrap();
                assert!(read > 0, "it ended before {prompt:?}: {shown}");
                shown.push_str(&String::from_utf8_lossy(&bytes[..read]));
            }
            from = shown.len();
            input.write_all(answer.as_bytes()).unwrap();
        }
        output.read_to_string(&mut shown).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0), "{shown}");
        assert!(shown.contains(&format!("Authorization callback URL  https://{HOST}/callback")), "{shown}");
        assert!(!shown.contains(SECRET), "{shown}");
        for (file, kept) in [
            ("acme_email", "you@example.com"),
            ("github_client_id", "Ov23liABCDEFGHIJKLMN"),
            ("github_client_secret", SECRET),
        ] {
            let file = data.join(file);
            assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
            assert_eq!(std::fs::read_to_string(&file).unwrap().trim(), kept);
        }
        let mut again = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        again.args(common.split(' ')).args(["--allow", "octocat"]);
        let again = Process::of(again.env_remove("GITHUB_CLIENT_ID").env_remove("GITHUB_CLIENT_SECRET"));
        again.says("Listening    port 443").await;
    });
}
