//! The main job over certificates by ACME, on ports 443 and 80: a client that trusts only that authority finds out by itself where to
//! sign in, signs somebody in with GitHub, and talks to the MCP server.

use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use url::Url;

use crate::client::{http1_on, whole};
use crate::gateway::{Gateway, Setup};
use crate::pebble::{Options, Pebble};
use crate::process::{Place, free_port};
use crate::support::github::FakeGitHub;
use crate::support::network::{self, in_a_network_of_its_own, ip};
use crate::support::rig::{Answer, CHALLENGE, REDIRECT, VERIFIER, encode, request};
use crate::visitor::Visitor;

const HOSTS: [&str; 2] = ["auth.gw.test", "echo.gw.test"];

/// The diagnostic MCP server; ended by its id when dropped.
struct Upstream(Child);

impl Upstream {
    fn start(port: u16) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        command.args(["echo-server", "--port", &port.to_string()]).stdin(Stdio::null()).stdout(Stdio::null());
        Self(command.spawn().unwrap())
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A gateway on the usual ports with certificates by Pebble, and everything around it. Inside a network of its own.
pub(crate) struct World {
    pub(crate) gateway: Gateway,
    pub(crate) pebble: Pebble,
    github: FakeGitHub,
    _upstream: Upstream,
}

impl World {
    pub(crate) async fn start() -> Self {
        ip("link set lo up");
        network::resolve(&HOSTS.map(|host| format!("127.0.0.1 {host}\n")).concat());
        let pebble = Pebble::start(Options { http: 80, tls: 443, ..Options::default() });
        std::fs::copy(pebble.roots(), network::folder().join("ca.pem")).unwrap();
        let github = FakeGitHub::start().await;
        github.user(583_231, "octocat");
        github.approve_as("octocat");
        let (place, port) = (Place::new(), free_port());
        let setup = Setup {
            https: 443,
            http: 80,
            hosts: &HOSTS,
            github: format!(", web_url: \"{}\", api_url: \"{}\"", github.url(), github.api()),
            upstream: format!("http://127.0.0.1:{port}/mcp"),
            ..Setup::at(&place, pebble.acme(""))
        };
        let upstream = Upstream::start(port);
        Self { gateway: setup.start(place), pebble, github, _upstream: upstream }
    }
}

/// What fetches URLs, and trusts one root.
struct Browser {
    visitor: Visitor,
    gateway: std::net::SocketAddr,
}

impl Browser {
    async fn send(&self, method: &str, url: &str, headers: &[(&str, &str)], body: String) -> Answer {
        let url: Url = url.parse().unwrap();
        let host = url.host_str().unwrap();
        let mut all = vec![("host", host)];
        all.extend_from_slice(headers);
        let target = url.query().map_or_else(|| url.path().into(), |query| format!("{}?{query}", url.path()));
        let asked = request(method, &target, &all, body).map(Into::into);
        let stream = self.visitor.connect(self.gateway, host).await.unwrap();
        whole(http1_on(stream).await.send_request(asked).await.unwrap()).await
    }

    async fn get(&self, url: &str, headers: &[(&str, &str)]) -> Answer {
        self.send("GET", url, headers, String::new()).await
    }

    async fn document(&self, url: &str) -> Value {
        let answer = self.get(url, &[]).await;
        assert_eq!(answer.status, 200, "{url}: {answer:?}");
        answer.json()
    }

    async fn form(&self, url: &str, headers: &[(&str, &str)], form: &[(&str, &str)]) -> Answer {
        let mut all = vec![("content-type", "application/x-www-form-urlencoded")];
        all.extend_from_slice(headers);
        self.send("POST", url, &all, encode(form)).await
    }

    async fn call(&self, url: &str, token: Option<&str>, message: &Value) -> Answer {
        let bearer = format!("Bearer {}", token.unwrap_or_default());
        let mut headers = vec![
            ("content-type", "application/json"),
            ("accept", "application/json, text/event-stream"),
            ("mcp-protocol-version", "2025-06-18"),
        ];
        headers.extend(token.map(|_| ("authorization", bearer.as_str())));
        self.send("POST", url, &headers, message.to_string()).await
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

/// From the challenge of the guard to the access token.
async fn sign_in(browser: &Browser, world: &World, refused: &Answer) -> String {
    let challenge = refused.header("www-authenticate");
    let (_, resource) = challenge.split_once("resource_metadata=\"").unwrap();
    let resource = browser.document(resource.split('"').next().unwrap()).await;
    let issuer = text(&resource["authorization_servers"][0]);
    let metadata = browser.document(&format!("{issuer}/.well-known/oauth-authorization-server")).await;
    let (endpoint, resource) = (|name: &str| text(&metadata[name]), text(&resource["resource"]));
    let client = json!({ "client_name": "Login", "redirect_uris": [REDIRECT] }).to_string();
    let json = [("content-type", "application/json")];
    let registered = browser.send("POST", &endpoint("registration_endpoint"), &json, client).await;
    assert_eq!(registered.status, 201, "{registered:?}");
    let client = text(&registered.json()["client_id"]);
    let query = [
        ("response_type", "code"),
        ("client_id", &client),
        ("redirect_uri", REDIRECT),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
        ("state", "state"),
        ("resource", &resource),
    ];
    let authorize = endpoint("authorization_endpoint");
    let page = browser.get(&format!("{authorize}?{}", encode(&query)), &[]).await;
    assert_eq!(page.status, 200, "{page:?}");
    let (form_token, cookie) = (page.input("form_token"), page.cookies());
    let mut form = query.to_vec();
    form.extend([("form_token", form_token.as_str()), ("decision", "approve")]);
    let approved = browser.form(&authorize, &[("cookie", &cookie), ("origin", &issuer)], &form).await;
    assert_eq!(approved.status, 303, "{approved:?}");
    let back = at_github(world, approved.header("location")).await;
    let done = browser.get(&back, &[("cookie", &approved.cookies())]).await;
    let code = done.location("code").unwrap();
    let form = [
        ("grant_type", "authorization_code"),
        ("client_id", &client),
        ("code", &code),
        ("redirect_uri", REDIRECT),
        ("code_verifier", VERIFIER),
    ];
    let tokens = browser.form(&endpoint("token_endpoint"), &[], &form).await;
    assert_eq!(tokens.status, 200, "{tokens:?}");
    text(&tokens.json()["access_token"])
}

/// GitHub approves, and says where to go on.
async fn at_github(world: &World, location: &str) -> String {
    let url: Url = location.parse().unwrap();
    let address = world.github.address();
    assert_eq!(url.authority(), address.to_string());
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let target = format!("{}?{}", url.path(), url.query().unwrap());
    let headers = [("host", "github"), ("user-agent", "a browser")];
    let asked = request("GET", &target, &headers, String::new()).map(Into::into);
    let answer = whole(http1_on(stream).await.send_request(asked).await.unwrap()).await;
    assert_eq!(answer.status, 302, "{answer:?}");
    answer.header("location").to_owned()
}

#[test]
fn a_client_that_trusts_only_the_authority_signs_in_and_calls_a_tool() {
    // X1
    let name = "login::a_client_that_trusts_only_the_authority_signs_in_and_calls_a_tool";
    in_a_network_of_its_own(name, async {
        let world = World::start().await;
        let (visitor, gateway) = (world.pebble.visitor().await, world.gateway.https);
        for host in HOSTS {
            assert_eq!(visitor.gets(gateway, host).await.names, [host], "a certificate a host");
        }
        let (browser, url) = (Browser { visitor, gateway }, "https://echo.gw.test/mcp");
        let initialize = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
            "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": { "name": "login", "version": "1" },
        }});
        let refused = browser.call(url, None, &initialize).await;
        assert_eq!(refused.status, 401, "{refused:?}");
        let token = sign_in(&browser, &world, &refused).await;
        let begun = browser.call(url, Some(&token), &initialize).await;
        assert_eq!(begun.status, 200, "{begun:?}");
        assert!(begun.body.contains("\"serverInfo\""), "{begun:?}");
        // Port 80 leads there.
        assert_eq!(world.gateway.plain("echo.gw.test", "/mcp").await, "HTTP/1.1 308 Permanent Redirect");
    });
}

#[test]
fn every_answer_over_https_says_that_https_is_to_be_used() {
    // X4, RFC 6797 §7.1
    in_a_network_of_its_own("login::every_answer_over_https_says_that_https_is_to_be_used", async {
        let world = World::start().await;
        let (visitor, gateway) = (world.pebble.visitor().await, world.gateway.https);
        for host in HOSTS {
            visitor.gets(gateway, host).await;
        }
        let browser = Browser { visitor, gateway };
        for url in
            ["https://auth.gw.test/", "https://echo.gw.test/mcp", "https://echo.gw.test/.well-known/nothing"]
        {
            let answer = browser.get(url, &[]).await;
            assert!(answer.header("strict-transport-security").contains("max-age="), "{url}: {answer:?}");
        }
    });
}
