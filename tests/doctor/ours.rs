//! Our own gateway, the real binary over TLS, with a real MCP server behind it: nothing is to be found.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use url::Url;

use crate::client::Client;
use crate::process::{Place, secure};
use crate::support::rig::encode;
use crate::world::Report;

/// `portcullis echo-server`, ended with the test.
struct Echo(Child, SocketAddr);

impl Echo {
    fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_portcullis"))
            .args(["echo-server", "--port", "0"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.split(' ').find_map(|word| Url::parse(word).ok()).unwrap();
        Self(child, ([127, 0, 0, 1], url.port().unwrap()).into())
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn doctor(place: &Place, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    let url = format!("https://localhost:{}/mcp", place.port);
    command.args(["doctor", "--from-outside", &url, "--json", "--ca"]).arg(place.folder().join("ca/ca.pem"));
    command.args(more).env_remove("PORTCULLIS_CONFIG").stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

async fn run(mut command: Command) -> Report {
    Report::of(&tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap())
}

#[tokio::test]
async fn nothing_is_wrong_with_our_own_gateway() {
    let (place, echo) = (Place::new(), Echo::start());
    let _process = place.start(&secure(echo.1));
    run(doctor(&place, &["--register"])).await.is_green(&[]);
    for client in ["vscode", "cursor", "inspector"] {
        run(doctor(&place, &["--as", client])).await.is_green(&[]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_sign_in_at_our_own_gateway_is_good_to_its_end() {
    let (place, echo) = (Place::new(), Echo::start());
    let _process = place.start(&secure(echo.1));
    let mut child = doctor(&place, &["--login"]).spawn().unwrap();
    let told = BufReader::new(child.stderr.take().unwrap());
    let page = tokio::task::spawn_blocking(move || {
        told.lines().map(Result::unwrap).find_map(|line| Url::parse(line.trim()).ok()).unwrap()
    });
    let page = page.await.unwrap();
    let back = sign_in(&Client::secure(&place), &page).await;
    let said = Arc::new(Mutex::new(String::new()));
    let heard = Arc::clone(&said);
    let report = tokio::task::spawn_blocking(move || {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", back.port().unwrap())).unwrap();
        let target = &back[url::Position::BeforePath..];
        std::io::Write::write_all(
            &mut stream,
            format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes(),
        )
        .unwrap();
        stream.read_to_string(&mut heard.lock().unwrap()).unwrap();
        Report::of(&child.wait_with_output().unwrap())
    });
    let report = report.await.unwrap();
    report.is_green(&[]);
    for id in ["redirect-dead", "exchange-failed", "token-401", "refresh-failed"] {
        report.told("good", id);
    }
    assert!(said.lock().unwrap().contains("can be closed"));
}

/// The browser's part at the gateway with the `dev` identity; where it is sent back to.
async fn sign_in(client: &Client, page: &Url) -> Url {
    let target = |url: &str| url.strip_prefix(&client.issuer).unwrap().to_owned();
    let shown = client.get(&target(page.as_str()), &[]).await;
    assert_eq!(shown.status, 200, "{shown:?}");
    let (form_token, form_cookie) = (shown.input("form_token"), shown.cookies());
    let asked: Vec<(String, String)> = page.query_pairs().into_owned().collect();
    let mut form: Vec<(&str, &str)> =
        asked.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    form.extend([("form_token", form_token.as_str()), ("decision", "approve")]);
    assert!(!encode(&form).is_empty());
    let browser = [("cookie", form_cookie.as_str()), ("origin", client.issuer.as_str())];
    let approved = client.post("/authorize", &browser, &form).await;
    let (state, flow) = (approved.location("state").unwrap(), approved.cookies());
    let browser = [("origin", client.issuer.as_str())];
    let named = client.post("/dev/login", &browser, &[("name", "alice"), ("state", &state)]).await;
    let back = client.get(&target(named.header("location")), &[("cookie", &flow)]).await;
    Url::parse(back.header("location")).unwrap()
}
