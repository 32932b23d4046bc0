//! `/verify`: what a proxy is told that forwards requests itself. The verdict is the guard's: R1, R4, R7, R14, P2, P3, P14.

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body_util::BodyExt as _;
use portcullis::gateway::Worker;
use serde_json::{Value, json};

use crate::support::rig::{Answer, Rig, request};

const SECRET: &str = "9d1e4b7c0a35f8269d1e4b7c0a35f826";
const PROXY: ([u8; 4], u16) = ([127, 0, 0, 3], 50_000);
const CHALLENGE: &str = "Bearer resource_metadata=\"https://todo.example.com/.well-known/oauth-protected-resource/mcp\", scope=\"todo:read\"";

/// `todo` is forwarded by a proxy, `open` too and needs no token, `own` goes through the gateway.
fn yaml() -> String {
    format!(
        "issuer: https://auth.example.com
secret_key: {key}
store: file:{{folder}}/portcullis.db
listen: {{ http: \"localhost:8080\", internal: \"localhost:9400\" }}
tls: off
trusted_proxies: [127.0.0.3]
identity: {{ github: {{ client_id: Ov23li0123456789abcd, client_secret: \"0123456789abcdef\" }} }}
access: {{ users: [octocat] }}
clients:
  registered:
    ci: {{ name: \"CI é\", grant_types: [client_credentials], secret: {SECRET}, services: {{ todo: [\"todo:read\"], own: [mcp] }} }}
services:
  todo:
    url: https://todo.example.com/mcp
    upstream: http://127.0.0.1:9/mcp
    scopes: [\"todo:read\"]
    implies: {{ \"todo:write\": [\"todo:read\"] }}
    forward_auth: true
  open: {{ url: \"https://open.example.com/mcp\", upstream: \"http://127.0.0.1:9/mcp\", public: true, forward_auth: true }}
  own: {{ url: \"https://own.example.com/mcp\", upstream: \"http://127.0.0.1:9/mcp\" }}
",
        key = "5a".repeat(32)
    )
}

async fn rig() -> Rig {
    Rig::with(&yaml()).await
}

fn basic() -> String {
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("ci:{SECRET}")))
}

async fn token(rig: &Rig, service: &str) -> String {
    let basic = basic();
    let headers = [("host", "auth.example.com"), ("x-forwarded-proto", "https"), ("authorization", &basic)];
    let resource = format!("https://{service}.example.com/mcp");
    let answer =
        rig.post("/token", &headers, &[("grant_type", "client_credentials"), ("resource", &resource)]).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["access_token"].as_str().unwrap().to_owned()
}

/// What every proxy says of a request to `todo`.
const USUAL: [(&str, &str); 5] = [
    ("x-forwarded-method", "POST"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-host", "todo.example.com"),
    ("x-forwarded-uri", "/mcp"),
    ("x-forwarded-for", "203.0.113.9"),
];

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let pair = |(name, value): &(&str, &str)| {
        let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
        (HeaderName::from_bytes(name.as_bytes()).unwrap(), value)
    };
    let mut all: HeaderMap = [("host", "127.0.0.1:9400"), ("user-agent", "x")].iter().map(pair).collect();
    for (name, value) in pairs.iter().map(pair) {
        all.append(name, value);
    }
    all
}

async fn asked_by(rig: &Rig, peer: ([u8; 4], u16), pairs: &[(&str, &str)]) -> Answer {
    let worker = Worker::new();
    let (parts, body) =
        rig.gateway.verify(&worker, SocketAddr::from(peer), headers(pairs)).await.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let body = String::from_utf8_lossy(&bytes).into_owned();
    Answer { status: parts.status, headers: parts.headers, body }
}

/// Asks with the usual headers, of which those in `changed` say something else, or nothing at all if they are empty; then `more`.
async fn asked(rig: &Rig, changed: &[(&str, &str)], more: &[(&str, &str)]) -> Answer {
    let mut pairs: Vec<_> = USUAL.to_vec();
    for (name, value) in changed {
        match pairs.iter_mut().find(|(usual, _)| usual == name) {
            Some(pair) => pair.1 = value,
            None => pairs.push((name, value)),
        }
    }
    pairs.retain(|(_, value)| !value.is_empty());
    pairs.extend_from_slice(more);
    asked_by(rig, PROXY, &pairs).await
}

fn problem(answer: &Answer, status: u16, error: &str, description: &str) {
    is_told(answer, status, &json!({ "error": error, "error_description": description }));
}

/// The same of a trouble that people can read about.
fn problem_of(trouble: &str, answer: &Answer, status: u16, error: &str, description: &str) {
    let help = format!("https://auth.example.com/help/{trouble}");
    is_told(answer, status, &json!({ "error": error, "error_description": description, "error_uri": help }));
}

fn is_told(answer: &Answer, status: u16, expected: &Value) {
    assert_eq!((answer.status.as_u16(), &answer.json()), (status, expected), "{answer:?}");
    for name in ["x-user-id", "x-user-name", "x-user-email"] {
        assert!(answer.headers.get(name).is_none(), "{name}");
    }
}

fn rpc(answer: &Answer, status: u16, message: &str) -> Value {
    let body = answer.json();
    assert_eq!((answer.status.as_u16(), body["error"]["message"].as_str()), (status, Some(message)));
    body
}

fn identity(answer: &Answer) -> [&str; 3] {
    ["x-user-id", "x-user-name", "x-user-email"].map(|name| {
        let value = answer.headers.get(name).unwrap_or_else(|| panic!("{name} is not set: {answer:?}"));
        std::str::from_utf8(value.as_bytes()).unwrap()
    })
}

#[tokio::test]
async fn an_admitted_request_has_every_identity_header_even_if_empty() {
    // P2, R1
    let rig = rig().await;
    let bearer = format!("Bearer {}", token(&rig, "todo").await);
    let forged = [("x-user-id", "github:1"), ("x-user-name", "root"), ("x-user-email", "root@example.com")];
    let with_token = [&forged[..], &[("authorization", bearer.as_str())]].concat();
    for uri in ["/mcp", "/mcp/", "/mcp/deeper?x=y", "/mcp?access=1"] {
        for method in ["GET", "POST", "DELETE", "PUT"] {
            let changed = [("x-forwarded-uri", uri), ("x-forwarded-method", method)];
            let answer = asked(&rig, &changed, &with_token).await;
            assert_eq!((answer.status.as_u16(), answer.body.as_str()), (200, ""), "{method} {uri}");
            assert_eq!(identity(&answer), ["client:ci", "CI é", ""], "{method} {uri}");
            assert_eq!(answer.header("cache-control"), "no-store");
            assert!(answer.headers.contains_key("x-request-id"));
        }
    }
    let public = asked(&rig, &[("x-forwarded-host", "open.example.com")], &with_token).await;
    assert_eq!((public.status.as_u16(), identity(&public)), (200, ["", "", ""]));
    let id = asked(&rig, &[], &[("authorization", &bearer), ("x-request-id", "from-the-proxy-1")]).await;
    assert_eq!(id.header("x-request-id"), "from-the-proxy-1");
}

#[tokio::test]
async fn a_refusal_is_what_the_gateway_itself_would_answer() {
    // R1, R4, R5, R6, R7, R14
    let rig = rig().await;
    let (todo, own) = (token(&rig, "todo").await, token(&rig, "own").await);
    let bearer = |token: &str| format!("Bearer {token}");
    let cases = [
        vec![],
        vec![("authorization".to_owned(), "Basic eDp5".to_owned())],
        vec![("authorization".to_owned(), "Bearer x".to_owned())],
        vec![("authorization".to_owned(), bearer(&own))],
        vec![("authorization".to_owned(), bearer(&todo)), ("authorization".to_owned(), bearer(&todo))],
        vec![("accept".to_owned(), "text/html".to_owned())],
        vec![
            ("origin".to_owned(), "https://evil.example".to_owned()),
            ("authorization".to_owned(), bearer(&todo)),
        ],
        vec![("origin".to_owned(), "http://localhost:6274".to_owned())],
    ];
    for case in &cases {
        for (method, uri) in [("POST", "/mcp"), ("GET", "/mcp/deeper"), ("POST", "/mcp?access_token=x")] {
            let own: Vec<_> = case.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let mut direct = own.clone();
            direct.extend([("host", "todo.example.com"), ("x-forwarded-proto", "https")]);
            let expected = rig.send(request(method, uri, &direct, String::new())).await;
            let changed = [("x-forwarded-method", method), ("x-forwarded-uri", uri)];
            let mut told = asked(&rig, &changed, &own).await;
            assert!(told.status.is_client_error(), "{case:?} {uri}");
            let mut headers = expected.headers.clone();
            for own in ["x-request-id", "date", "content-length"] {
                headers.remove(own);
                told.headers.remove(own);
            }
            // A page names the request.
            let without_id = |body: &str| body.lines().filter(|line| !line.contains("Request ")).count();
            assert_eq!((told.status, &told.headers), (expected.status, &headers), "{case:?} {uri}");
            assert_eq!(without_id(&told.body), without_id(&expected.body), "{case:?} {uri}");
        }
    }
    let nobody = asked(&rig, &[], &[]).await;
    rpc(&nobody, 401, "no token");
    assert_eq!(nobody.header("www-authenticate"), CHALLENGE);

    // R7: the service asks for more than the token has.
    rig.reload(|yaml| {
        let both = "[\"todo:read\", \"todo:write\"]";
        let client = yaml.replace("todo: [\"todo:read\"]", &format!("todo: {both}"));
        client.replace("scopes: [\"todo:read\"]", &format!("scopes: {both}"))
    });
    let lacking = asked(&rig, &[], &[("authorization", &bearer(&todo))]).await;
    rpc(&lacking, 403, "the token lacks a scope");
    let challenge = lacking.header("www-authenticate");
    assert!(
        challenge.contains("scope=\"todo:read todo:write\", error=\"insufficient_scope\""),
        "{challenge}"
    );

    rig.pass(Duration::from_secs(3601));
    let expired = asked(&rig, &[], &[("authorization", &bearer(&todo))]).await;
    assert_eq!(expired.status, 401);
    assert!(expired.header("www-authenticate").contains("error=\"invalid_token\""), "{expired:?}");
}

#[tokio::test]
async fn a_revoked_token_is_refused_at_once_and_no_token_is_believed_without_news() {
    // R14
    let rig = rig().await;
    let bearer = format!("Bearer {}", token(&rig, "todo").await);
    let asks = async || asked(&rig, &[], &[("authorization", &bearer)]).await;
    assert_eq!(asks().await.status, 200);
    rig.clock.advance(Duration::from_mins(6));
    let stale = asks().await;
    rpc(&stale, 503, "revocations are not known");
    assert_eq!(stale.header("retry-after"), "2");
    rig.pass(Duration::from_secs(1));
    assert_eq!(asks().await.status, 200);
    let headers = [("host", "auth.example.com"), ("x-forwarded-proto", "https"), ("authorization", &basic())];
    let token = bearer.strip_prefix("Bearer ").unwrap();
    assert_eq!(rig.post("/revoke", &headers, &[("token", token)]).await.status, 200);
    let revoked = asks().await;
    rpc(&revoked, 401, "the grant was revoked");
}

#[tokio::test]
async fn only_trusted_proxies_may_ask() {
    let rig = rig().await;
    let bearer = format!("Bearer {}", token(&rig, "todo").await);
    let mut pairs = USUAL.to_vec();
    pairs.push(("authorization", &bearer));
    assert_eq!(asked_by(&rig, PROXY, &pairs).await.status, 200);
    for peer in [[127, 0, 0, 1], [127, 0, 0, 2], [10, 0, 0, 1]] {
        let refused = asked_by(&rig, (peer, 50_000), &pairs).await;
        problem(&refused, 403, "forbidden", "this is for the proxies that are listed under trusted_proxies");
    }
}

#[tokio::test]
async fn a_request_that_is_not_described_exactly_once_is_refused() {
    // P14
    let rig = rig().await;
    let bearer = format!("Bearer {}", token(&rig, "todo").await);
    let token = ("authorization", bearer.as_str());
    for (name, shown) in [
        ("x-forwarded-host", "X-Forwarded-Host"),
        ("x-forwarded-uri", "X-Forwarded-Uri"),
        ("x-forwarded-method", "X-Forwarded-Method"),
        ("x-forwarded-proto", "X-Forwarded-Proto"),
    ] {
        let expected = format!("the proxy must send {shown} once");
        problem(&asked(&rig, &[(name, "")], &[token]).await, 400, "invalid_request", &expected);
        let usual = USUAL.iter().find(|(usual, _)| *usual == name).unwrap();
        problem(&asked(&rig, &[], &[token, *usual]).await, 400, "invalid_request", &expected);
        let other = name.replace('-', "_");
        let expected = format!(
            "{other} says the same as the X-Forwarded- headers in other words; have the proxy take it away"
        );
        problem(&asked(&rig, &[], &[token, (&other, usual.1)]).await, 400, "invalid_request", &expected);
    }
    for other in [
        "x-original-uri",
        "x-original-url",
        "x-original-method",
        "x-original-host",
        "x-rewrite-url",
        "x_original_uri",
        "x.original.url",
    ] {
        let expected = format!(
            "{other} says the same as the X-Forwarded- headers in other words; have the proxy take it away"
        );
        problem(&asked(&rig, &[], &[token, (other, "/mcp")]).await, 400, "invalid_request", &expected);
    }
    for uri in ["mcp", "https://todo.example.com/mcp", "*", "/mcp#/x", "/mcp x", "/é"] {
        let answer = asked(&rig, &[("x-forwarded-uri", uri)], &[token]).await;
        problem(&answer, 400, "invalid_request", "X-Forwarded-Uri is not what it should be");
    }
    let answer = asked(&rig, &[("x-forwarded-method", "PO ST")], &[token]).await;
    problem(&answer, 400, "invalid_request", "X-Forwarded-Method is not what it should be");
    for proto in ["http", "ws", "https, http"] {
        let answer = asked(&rig, &[("x-forwarded-proto", proto)], &[token]).await;
        let text = "the proxy in front was asked by plain http; use the https URL";
        problem_of("tunnel", &answer, 400, "invalid_request", text);
    }
}

#[tokio::test]
async fn what_only_portcullis_may_answer_is_not_verified() {
    let rig = rig().await;
    let bearer = format!("Bearer {}", token(&rig, "todo").await);
    let token = ("authorization", bearer.as_str());
    let ours = "Portcullis answers this itself; have the proxy pass it on to Portcullis instead of asking";
    for (host, uri) in [
        ("todo.example.com", "/token"),
        ("todo.example.com", "/register"),
        ("todo.example.com", "/authorize?x=y"),
        ("todo.example.com", "/.well-known/oauth-protected-resource/mcp"),
        ("todo.example.com", "/mcp/.well-known/x"),
        ("auth.example.com", "/callback"),
        ("auth.example.com", "/jwks"),
    ] {
        let answer = asked(&rig, &[("x-forwarded-host", host), ("x-forwarded-uri", uri)], &[token]).await;
        problem(&answer, 403, "not_verified", ours);
    }
    // A preflight is answered here, never forwarded.
    let preflight = asked(&rig, &[("x-forwarded-method", "OPTIONS")], &[token]).await;
    problem(&preflight, 403, "not_verified", ours);
    let off = asked(&rig, &[("x-forwarded-host", "own.example.com")], &[token]).await;
    let text = "own: forward_auth is not on; have the proxy pass requests on to Portcullis";
    problem(&off, 403, "not_verified", text);
    let nothing = asked(&rig, &[("x-forwarded-uri", "/mcpx")], &[token]).await;
    let text = "nothing is at this address; the MCP server's URL is https://todo.example.com/mcp";
    problem_of("wrong-url", &nothing, 404, "not_found", text);
    let unknown = asked(&rig, &[("x-forwarded-host", "evil.example")], &[token]).await;
    let text = "this gateway does not serve the host evil.example; it is reached at https://auth.example.com";
    problem_of("tunnel", &unknown, 421, "unknown_host", text);
    let odd = "the path must be plain: no empty or dot segments, no encoded slashes";
    for uri in ["/mcp/../x", "//mcp", "/mcp%2fx", "/mcp/..;/x"] {
        problem(&asked(&rig, &[("x-forwarded-uri", uri)], &[token]).await, 400, "invalid_request", odd);
    }
    let trace = asked(&rig, &[("x-forwarded-method", "TRACE")], &[token]).await;
    assert_eq!(trace.status, 405);
}

#[tokio::test]
async fn a_session_that_nobody_guards_and_a_claim_that_nobody_replaces_are_refused() {
    // P2, P11
    let rig = rig().await;
    let bearer = format!("Bearer {}", token(&rig, "todo").await);
    let token = ("authorization", bearer.as_str());
    let session = ("mcp-session-id", "another-user-s");
    let text = "todo: a request in a session (Mcp-Session-Id) must go through Portcullis, which sees to it that it is its user's";
    for version in [None, Some("2025-11-25"), Some("latest")] {
        let mut more = vec![token, session];
        more.extend(version.map(|version| ("mcp-protocol-version", version)));
        problem(&asked(&rig, &[], &more).await, 403, "not_verified", text);
    }
    let modern = asked(&rig, &[], &[token, session, ("mcp-protocol-version", "2026-07-28")]).await;
    assert_eq!(modern.status, 200, "there it means nothing");
    for odd in ["mcp_session_id", "mcp-session_id", "mcp.session.id"] {
        let text = format!("{odd} reads like Mcp-Session-Id, and is not; do not send it");
        for version in ["2025-11-25", "2026-07-28"] {
            let more = [token, (odd, "another-user-s"), ("mcp-protocol-version", version)];
            problem(&asked(&rig, &[], &more).await, 400, "invalid_request", &text);
        }
    }
    for claim in [
        "x_user_id",
        "x-user_id",
        "x-user-roles",
        "x-user-",
        "x.user.email",
        "remote-user",
        "remote_user",
        "Remote.Groups",
        "x-remote-user",
        "x-auth-request-email",
        "x_auth_request_email",
        "x-webauth-user",
        "x-authenticated-userid",
        "x-goog-iap-jwt-assertion",
        "cf-access-authenticated-user-email",
        "tailscale-user-login",
        "x-email",
        "x-forwarded-user",
        "x_forwarded_email",
        "x-client-cert",
    ] {
        let claim = &claim.to_ascii_lowercase();
        let text = format!(
            "{claim} reads like the name of an identity header, and is not replaced by ours; do not send it"
        );
        problem(&asked(&rig, &[], &[token, (claim, "root")]).await, 400, "invalid_request", &text);
    }
    // Proxies say these of a request, not of its user.
    for place in ["x-client-ip", "x-real-ip", "cf-connecting-ip", "x-forwarded-port", "x-forwarded-server"] {
        assert_eq!(asked(&rig, &[], &[token, (place, "192.0.2.1")]).await.status, 200, "{place}");
    }
}
