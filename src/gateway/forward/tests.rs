use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::super::guard::{self, Admission};
use super::super::testing::{self, NOW};
use super::super::{BodyError, Finish, Service};
use super::*;
use crate::clock::SystemClock;
use crate::oauth::Subject;
use crate::seal::Sealer;
use crate::secret::Key;
use crate::store::Revocation;
use crate::token::Claims;
use crate::upstream::testing::{incoming, read_request};

mod standing;

/// A front that forwards whatever comes, under one admission.
struct Front {
    service: Service,
    admission: Admission,
    pool: Pool,
    sessions: ArcSwap<SessionSealer>,
    revocations: Revocations,
    finished: Arc<Mutex<Vec<(u64, bool)>>>,
    now: Timestamp,
}

struct Finished(Arc<Mutex<Vec<(u64, bool)>>>);

impl Finish for Finished {
    fn finish(&mut self, bytes: u64, complete: bool) {
        self.0.lock().unwrap().push((bytes, complete));
    }
}

impl Front {
    fn new(upstream: SocketAddr, change: impl FnOnce(&mut Service, &mut Claims)) -> Self {
        let (mut service, mut claims) = (testing::service(), testing::claims());
        service.settings.upstream.replicas = vec![format!("http://{upstream}/inner").parse().unwrap()];
        change(&mut service, &mut claims);
        service.target = Service::new(service.settings.clone()).target;
        let service = service.following(None);
        let admission = if service.settings.public {
            guard::tests::public()
        } else {
            guard::tests::admission(&service, &claims)
        };
        let sealer = SessionSealer::new(vec![Sealer::new(Key::new([1; 32]))]);
        Self {
            service,
            admission,
            pool: Pool::new(),
            sessions: ArcSwap::from_pointee(sealer),
            revocations: Revocations::new(),
            finished: Arc::default(),
            now: NOW,
        }
    }

    async fn answer(&self, request: Request<hyper::body::Incoming>) -> Response<Body> {
        let way = Forwarding {
            told: Told {
                service: &self.service,
                admission: &self.admission,
                client: Ipv4Addr::new(192, 0, 2, 7).into(),
                request_id: &HeaderValue::from_static("r-1"),
            },
            pool: &self.pool,
            sessions: &self.sessions,
            revocations: &self.revocations,
            body_pause: Duration::from_secs(30),
            clock: &SystemClock,
            now: self.now,
        };
        match forward(&way, Box::new(request.map(RequestBody::from))).await {
            Ok(answer) => answer.map(|body| body.on_end(Box::new(Finished(Arc::clone(&self.finished))))),
            Err(error) => {
                let text = format!("{error} {:?}", error.finding());
                let mut answer = Response::new(Body::Full(Bytes::from(text)));
                *answer.status_mut() = error.status();
                answer
            }
        }
    }

    async fn listen(self) -> (SocketAddr, Arc<Self>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let front = Arc::new(self);
        let shared = Arc::clone(&front);
        tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let front = Arc::clone(&shared);
                let service = service_fn(move |request| {
                    let front = Arc::clone(&front);
                    async move { Ok::<_, Infallible>(front.answer(request).await) }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(tcp), service));
            }
        });
        (address, front)
    }
}

/// An upstream that gives every request the same answer and keeps what it read.
async fn upstream(answer: &'static str) -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (seen, requests) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let (mut tcp, _) = listener.accept().await.unwrap();
            let seen = seen.clone();
            tokio::spawn(async move {
                while let Some(request) = read_request(&mut tcp).await {
                    seen.send(request).unwrap();
                    tcp.write_all(answer.as_bytes()).await.unwrap();
                    if answer.contains("Connection: close") {
                        return;
                    }
                }
            });
        }
    });
    (address, requests)
}

/// Sends `request` raw and reads until the connection ends.
async fn ask(front: SocketAddr, request: &str) -> String {
    let mut tcp = TcpStream::connect(front).await.unwrap();
    tcp.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).await.unwrap();
    answer
}

/// Reads until what was read ends with `end`.
async fn read_until(tcp: &mut TcpStream, end: &str) -> String {
    let mut read = String::new();
    while !read.ends_with(end) {
        let mut some = [0; 1024];
        let count =
            tokio::time::timeout(Duration::from_secs(2), tcp.read(&mut some)).await.expect(&read).unwrap();
        assert!(count > 0, "ended after {read:?}");
        read.push_str(std::str::from_utf8(&some[..count]).unwrap());
    }
    read
}

fn get(more: &str) -> String {
    format!("GET /mcp HTTP/1.1\r\nHost: todo.example.com\r\nConnection: close\r\n{more}\r\n")
}

fn post(more: &str) -> String {
    format!(
        "POST /mcp HTTP/1.1\r\nHost: todo.example.com\r\nConnection: close\r\nContent-Length: 2\r\n{more}\r\n{{}}"
    )
}

fn header<'a>(message: &'a str, name: &str) -> Option<&'a str> {
    let (head, _) = message.split_once("\r\n\r\n").unwrap();
    head.lines().find_map(|line| {
        let (key, value) = line.split_once(": ")?;
        key.eq_ignore_ascii_case(name).then_some(value)
    })
}

/// The header lines of a message, sorted.
fn lines(message: &str) -> Vec<&str> {
    let mut lines: Vec<_> = message.split_once("\r\n\r\n").unwrap().0.lines().skip(1).collect();
    lines.sort_unstable();
    lines
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";

const HOSTILE: &str = "Authorization: Bearer secret\r\nCookie: a=b\r\nOrigin: https://todo.example.com\r\n\
    Forwarded: for=1.1.1.1\r\nX-Forwarded-For: 1.1.1.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: evil.example\r\n\
    X-Forwarded-Prefix: /x\r\nX-Real-IP: 1.1.1.1\r\nX-User-Id: admin\r\nX-User-Name: admin\r\nX-User-Email: a@b.c\r\n\
    X-User-Groups: root\r\nX_User_Id: admin\r\nX-User_Name: admin\r\nX_Forwarded_For: 1.1.1.1\r\nx_request_id: 1\r\n\
    Mcp_Session_Id: stolen\r\nX-Request-Id: theirs\r\nConnection: X-Drop-Me, keep-alive\r\nX-Drop-Me: 1\r\n\
    Keep-Alive: timeout=5\r\nTE: trailers\r\nTrailer: X-User-Id\r\nUpgrade: websocket\r\nProxy-Authorization: Basic YTpi\r\n\
    Proxy-Connection: keep-alive\r\n";

const INNOCENT: &str = "Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: 2025-06-18\r\nMcp-Method: tools/call\r\n\
    Mcp-Name: add\r\nMcp-Param-Region: =?base64?ZXU=?=\r\nLast-Event-ID: 42\r\ntraceparent: 00-1-2-01\r\nX-Unknown: yes\r\n";

// P1, P2, P3, P4
#[tokio::test]
async fn an_upstream_is_told_what_the_gateway_says_and_nothing_a_client_claims() {
    let (address, mut requests) = upstream(OK).await;
    let (front, _) = Front::new(address, |_, _| {}).listen().await;
    ask(front, &post(&format!("{HOSTILE}{INNOCENT}"))).await;
    let request = requests.recv().await.unwrap();
    let host = format!("host: {address}");
    let mut expected = vec![
        "accept: application/json, text/event-stream",
        "content-length: 2",
        "last-event-id: 42",
        "mcp-method: tools/call",
        "mcp-name: add",
        "mcp-param-region: =?base64?ZXU=?=",
        "mcp-protocol-version: 2025-06-18",
        "traceparent: 00-1-2-01",
        "x-forwarded-for: 192.0.2.7",
        "x-forwarded-host: todo.example.com",
        "x-forwarded-proto: https",
        "x-request-id: r-1",
        "x-unknown: yes",
        "x-user-id: github:583231",
        "x-user-name: octocat",
        &host,
    ];
    expected.sort_unstable();
    assert_eq!(lines(&request), expected);
    assert!(request.starts_with("POST /inner HTTP/1.1\r\n"), "{request}");
    assert!(request.ends_with("\r\n\r\n{}"), "{request}");
}

// P2
#[tokio::test]
async fn a_public_service_is_told_of_no_user_at_all() {
    let (address, mut requests) = upstream(OK).await;
    let (front, _) = Front::new(address, |service, _| service.settings.public = true).listen().await;
    ask(front, &get(HOSTILE)).await;
    let request = requests.recv().await.unwrap();
    let host = format!("host: {address}");
    let mut expected = vec![
        "x-forwarded-for: 192.0.2.7",
        "x-forwarded-host: todo.example.com",
        "x-forwarded-proto: https",
        "x-request-id: r-1",
        &host,
    ];
    expected.sort_unstable();
    assert_eq!(lines(&request), expected);
}

#[tokio::test]
async fn the_bare_id_and_the_address_are_told_where_the_service_wants_them() {
    let (address, mut requests) = upstream(OK).await;
    let front = Front::new(address, |service, _| {
        service.settings.user_id = crate::gateway::UserIdForm::Numeric;
        service.settings.forward_email = true;
    });
    let (front, _) = front.listen().await;
    ask(front, &get("")).await;
    let request = requests.recv().await.unwrap();
    assert_eq!(header(&request, "x-user-id"), Some("583231"));
    assert_eq!(header(&request, "x-user-email"), Some("octocat@example.com"));
}

#[tokio::test]
async fn a_client_that_acts_on_its_own_is_told_by_its_name_and_never_as_a_number() {
    for (form, told) in [
        (crate::gateway::UserIdForm::Subject, Some("client:ci")),
        (crate::gateway::UserIdForm::Numeric, None),
    ] {
        let (address, mut requests) = upstream(OK).await;
        let front = Front::new(address, |service, claims| {
            service.settings.user_id = form;
            claims.subject = Subject::from_text("client:ci".into());
            claims.login = "Nightly CI".into();
            service.clients = [(claims.subject.clone(), claims.scopes.clone())].into();
        });
        let (front, _) = front.listen().await;
        ask(front, &get("X-User-Id: 1\r\n")).await;
        let request = requests.recv().await.unwrap();
        assert_eq!(
            (header(&request, "x-user-id"), header(&request, "x-user-name")),
            (told, Some("Nightly CI"))
        );
    }
}

#[tokio::test]
async fn a_user_who_cannot_be_named_is_not_forwarded() {
    let (address, mut requests) = upstream(OK).await;
    let front =
        Front::new(address, |_, claims| claims.subject = Subject::from_text("dev:a\r\nX-Admin: 1".into()));
    let (front, _) = front.listen().await;
    let answer = ask(front, &get("")).await;
    assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
    assert!(requests.try_recv().is_err());
}

// P2: a trailer is a header too.
#[tokio::test]
async fn trailers_do_not_pass() {
    let (address, mut requests) = upstream(OK).await;
    let (front, _) = Front::new(address, |_, _| {}).listen().await;
    let request = "POST /mcp HTTP/1.1\r\nHost: todo.example.com\r\nConnection: close\r\nTrailer: X-User-Id\r\n\
                   Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX-User-Id: admin\r\n\r\n";
    ask(front, request).await;
    let request = requests.recv().await.unwrap();
    assert!(request.ends_with("\r\n\r\n2\r\n{}\r\n0\r\n\r\n"), "{request}");
    assert!(!request.contains("admin"), "{request}");
}

#[tokio::test]
async fn path_and_query_are_mapped() {
    let (address, mut requests) = upstream(OK).await;
    let (front, _) =
        Front::new(address, |service, _| service.settings.paths = vec!["/messages".into()]).listen().await;
    for (asked, forwarded) in [
        ("/mcp", "/inner"),
        ("/mcp?a=b%20c&d", "/inner?a=b%20c&d"),
        ("/mcp/x%2fy/", "/inner/x%2fy/"),
        ("/messages?session_id=1", "/messages?session_id=1"),
    ] {
        let request = get("").replace("GET /mcp ", &format!("GET {asked} "));
        ask(front, &request).await;
        let request = requests.recv().await.unwrap();
        assert!(request.starts_with(&format!("GET {forwarded} HTTP/1.1\r\n")), "{request}");
    }
    let answer = ask(front, &get("").replace("/mcp", "/mcpx")).await;
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    assert!(requests.try_recv().is_err());
}

#[tokio::test]
async fn an_answer_loses_what_would_act_on_our_origin() {
    let (address, _requests) = upstream(
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\nConnection: X-Hop\r\nX-Hop: 1\r\n\
         Keep-Alive: timeout=5\r\nSet-Cookie: a=b\r\nAccess-Control-Allow-Origin: *\r\nStrict-Transport-Security: max-age=1\r\n\
         Alt-Svc: h3\r\nClear-Site-Data: \"*\"\r\nService-Worker-Allowed: /\r\nWWW-Authenticate: Basic\r\n\
         Proxy-Authenticate: Basic\r\nContent-Security-Policy: default-src *\r\nX-Content-Type-Options: no\r\n\
         Trailer: X\r\nUpgrade: h2c\r\nX-Accel-Buffering: no\r\nCache-Control: no-cache\r\nVary: Accept\r\n\r\nok",
    )
    .await;
    let (front, _) = Front::new(address, |_, _| {}).listen().await;
    let answer = ask(front, &get("")).await;
    let mut lines = lines(&answer);
    lines.retain(|line| !line.starts_with("date: "));
    assert_eq!(
        lines,
        [
            "cache-control: no-cache",
            "connection: close",
            "content-length: 2",
            "content-security-policy: sandbox",
            "content-type: text/html",
            "vary: Accept",
            "x-accel-buffering: no",
            "x-content-type-options: nosniff",
        ]
    );
    assert!(answer.ends_with("\r\n\r\nok"));
}

// P8, P17
#[tokio::test]
async fn an_upstreams_own_errors_pass_with_their_bodies() {
    for (line, answer) in [
        ("404 Not Found", "HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\n{1}"),
        (
            "405 Method Not Allowed",
            "HTTP/1.1 405 Method Not Allowed\r\nAllow: POST\r\nContent-Length: 3\r\n\r\n{1}",
        ),
        ("400 Bad Request", "HTTP/1.1 400 Bad Request\r\nContent-Length: 3\r\n\r\n{1}"),
        ("403 Forbidden", "HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\n\r\n{1}"),
        ("500 Internal Server Error", "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 3\r\n\r\n{1}"),
    ] {
        let (address, _requests) = upstream(answer).await;
        let (front, _) = Front::new(address, |_, _| {}).listen().await;
        let answer = ask(front, &post("")).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {line}\r\n")), "{answer}");
        assert!(answer.ends_with("\r\n\r\n{1}"), "{answer}");
    }
    let (address, _requests) = upstream("HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n").await;
    let (front, _) = Front::new(address, |_, _| {}).listen().await;
    let answer = ask(front, &post("")).await;
    assert!(answer.starts_with("HTTP/1.1 202 Accepted\r\n") && answer.ends_with("\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn an_upstream_that_wants_its_own_login_is_a_bad_gateway() {
    for answer in [
        "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n",
    ] {
        let (address, _requests) = upstream(answer).await;
        let (front, _) = Front::new(address, |_, _| {}).listen().await;
        let answer = ask(front, &post("")).await;
        assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
        assert!(answer.ends_with("Some(\"upstream-auth\")"), "{answer}");
        assert_eq!(header(&answer, "www-authenticate"), None);
    }
}

#[tokio::test]
async fn an_upstream_that_switches_protocols_or_is_away_is_a_bad_gateway() {
    let (address, _requests) =
        upstream("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
            .await;
    let (front, _) = Front::new(address, |_, _| {}).listen().await;
    let answer = ask(front, &get("Upgrade: websocket\r\nConnection: Upgrade\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (front, _) = Front::new(nobody, |_, _| {}).listen().await;
    let answer = ask(front, &post("")).await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    assert!(answer.ends_with("Some(\"upstream-down\")"), "{answer}");
    assert!(!answer.contains("127.0.0.1"), "the address is nobody's business: {answer}");
}

// Redirects are not followed, and lead to the public URL.
#[tokio::test]
async fn a_redirect_passes_with_a_public_location() {
    let (address, mut requests) = upstream(
        "HTTP/1.1 307 Temporary Redirect\r\nLocation: /inner/?x=1\r\nContent-Location: https://elsewhere.example/a\r\n\
         Content-Length: 0\r\n\r\n",
    )
    .await;
    let (front, _) = Front::new(address, |_, _| {}).listen().await;
    let answer = ask(front, &post("")).await;
    assert!(answer.starts_with("HTTP/1.1 307 "), "{answer}");
    assert_eq!(header(&answer, "location"), Some("https://todo.example.com/mcp/?x=1"));
    assert_eq!(header(&answer, "content-location"), Some("https://elsewhere.example/a"));
    requests.recv().await.unwrap();
    assert!(requests.try_recv().is_err(), "it was followed");
}

// P11
#[tokio::test]
async fn a_session_id_is_sealed_on_its_way_out_and_opened_on_its_way_back() {
    let (address, mut requests) =
        upstream("HTTP/1.1 200 OK\r\nMcp-Session-Id: upstream-1\r\nContent-Length: 2\r\n\r\n{}").await;
    let (front, _) = Front::new(address, |_, _| {}).listen().await;
    let answer = ask(front, &post("")).await;
    let sealed = header(&answer, "mcp-session-id").unwrap().to_owned();
    assert!(!answer.contains("upstream-1"), "{answer}");
    requests.recv().await.unwrap();
    for version in ["2025-11-25", "2026-07-28"] {
        ask(front, &post(&format!("Mcp-Session-Id: {sealed}\r\nMCP-Protocol-Version: {version}\r\n"))).await;
        let request = requests.recv().await.unwrap();
        assert_eq!(header(&request, "mcp-session-id"), Some("upstream-1"));
    }

    let thief = Front::new(address, |_, claims| claims.subject = Subject::new("github", "666"));
    let (thief, _) = thief.listen().await;
    for invented in [sealed.as_str(), "upstream-1", "", &format!("{sealed}\r\nMcp-Session-Id: {sealed}")] {
        let answer = ask(thief, &post(&format!("Mcp-Session-Id: {invented}\r\n"))).await;
        assert!(answer.starts_with("HTTP/1.1 404 "), "{invented}: {answer}");
    }
    let answer =
        ask(front, &post(&format!("Mcp-Session-Id: {sealed}\r\nMcp-Session-Id: {sealed}\r\n"))).await;
    assert!(answer.starts_with("HTTP/1.1 404 "), "two of them: {answer}");
    assert!(requests.try_recv().is_err(), "a foreign session reached the upstream");
}

// P9, P11
#[tokio::test]
async fn a_foreign_session_id_means_nothing_in_the_era_without_sessions() {
    let (address, mut requests) = upstream(OK).await;
    let (front, _) = Front::new(address, |_, _| {}).listen().await;
    let answer =
        ask(front, &post("Mcp-Session-Id: upstream-1\r\nMCP-Protocol-Version: 2026-07-28\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(header(&requests.recv().await.unwrap(), "mcp-session-id"), None);
}

// A session lives on one upstream.
#[tokio::test]
async fn a_session_of_another_replica_has_ended() {
    let (address, _requests) =
        upstream("HTTP/1.1 200 OK\r\nMcp-Session-Id: upstream-1\r\nContent-Length: 2\r\n\r\n{}").await;
    let (front, _) = Front::new(address, |_, _| {}).listen().await;
    let answer = ask(front, &post("")).await;
    let sealed = header(&answer, "mcp-session-id").unwrap().to_owned();
    let (elsewhere, mut requests) = upstream(OK).await;
    let (front, _) = Front::new(elsewhere, |_, _| {}).listen().await;
    let answer = ask(front, &post(&format!("Mcp-Session-Id: {sealed}\r\n"))).await;
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    assert!(requests.try_recv().is_err());
}

const SSE: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

/// A client and an upstream with a request under way between them: the upstream has read it and answered `head`.
async fn under_way(
    front: Front,
    listener: &TcpListener,
    request: &str,
    head: &str,
) -> (TcpStream, TcpStream, Arc<Front>) {
    let (address, front) = front.listen().await;
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(request.as_bytes()).await.unwrap();
    let (mut upstream, _) = listener.accept().await.unwrap();
    read_request(&mut upstream).await.unwrap();
    upstream.write_all(head.as_bytes()).await.unwrap();
    read_until(&mut client, "\r\n\r\n").await;
    (client, upstream, front)
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Whether the connection ends within two seconds, whatever is said before.
async fn ends(tcp: &mut TcpStream) -> String {
    let mut rest = Vec::new();
    let _either_way =
        tokio::time::timeout(Duration::from_secs(2), tcp.read_to_end(&mut rest)).await.expect("still open");
    String::from_utf8(rest).unwrap()
}

// P5
#[tokio::test]
async fn events_pass_one_by_one_and_byte_for_byte() {
    let (listener, address) = listener().await;
    let (mut client, mut upstream, front) =
        under_way(Front::new(address, |_, _| {}), &listener, &get(""), SSE).await;
    let mut sent = 0;
    for event in [
        ": hello\n\n",
        "id: 7\nretry: 3000\nevent: message\ndata: {\"a\":\n",
        "data: 1}\n\n",
        ":\r\n\r\n",
        "data: \u{20ac}\n\n",
    ] {
        let chunk = format!("{:X}\r\n{event}\r\n", event.len());
        upstream.write_all(chunk.as_bytes()).await.unwrap();
        assert_eq!(
            read_until(&mut client, "\r\n").await.trim_end_matches("\r\n"),
            chunk.trim_end_matches("\r\n")
        );
        sent += event.len() as u64;
    }
    upstream.write_all(b"0\r\n\r\n").await.unwrap();
    assert_eq!(ends(&mut client).await, "0\r\n\r\n");
    assert_eq!(*front.finished.lock().unwrap(), [(sent, true)]);
}

#[tokio::test]
async fn a_request_body_passes_before_it_is_complete() {
    let (listener, address) = listener().await;
    let (front, _) = Front::new(address, |_, _| {}).listen().await;
    let mut client = TcpStream::connect(front).await.unwrap();
    client
        .write_all(b"POST /mcp HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        .await
        .unwrap();
    let (mut upstream, _) = listener.accept().await.unwrap();
    read_until(&mut upstream, "3\r\nabc\r\n").await;
    client.write_all(b"1\r\nd\r\n0\r\n\r\n").await.unwrap();
    read_until(&mut upstream, "1\r\nd\r\n0\r\n\r\n").await;
}

// P6
#[tokio::test]
async fn a_client_that_goes_away_ends_the_upstream_request() {
    let (listener, address) = listener().await;
    let (client, mut upstream, front) =
        under_way(Front::new(address, |_, _| {}), &listener, &post(""), SSE).await;
    drop(client);
    ends(&mut upstream).await;
    assert_eq!(*front.finished.lock().unwrap(), [(0, false)]);

    let (address, _) = Front::new(address, |_, _| {}).listen().await;
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(post("").as_bytes()).await.unwrap();
    let (mut upstream, _) = listener.accept().await.unwrap();
    read_request(&mut upstream).await.unwrap();
    drop(client);
    ends(&mut upstream).await;
}

#[tokio::test]
async fn an_upstream_that_breaks_off_never_looks_like_a_clean_end() {
    let (listener, address) = listener().await;
    let (mut client, mut upstream, front) =
        under_way(Front::new(address, |_, _| {}), &listener, &post(""), SSE).await;
    upstream.write_all(b"2\r\nok\r\n").await.unwrap();
    read_until(&mut client, "2\r\nok\r\n").await;
    drop(upstream);
    assert_eq!(ends(&mut client).await, "", "no last chunk");
    assert_eq!(*front.finished.lock().unwrap(), [(2, false)]);

    let short = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n";
    let (mut client, upstream, front) =
        under_way(Front::new(address, |_, _| {}), &listener, &post(""), short).await;
    drop(upstream);
    assert_eq!(ends(&mut client).await, "", "ten bytes were promised");
    assert_eq!(*front.finished.lock().unwrap(), [(0, false)]);
}

// P7
#[tokio::test]
async fn an_upstream_that_breaks_off_before_its_answer_is_asked_once() {
    let (address, mut requests) = upstream("Connection: close").await;
    let (front, _) = Front::new(address, |_, _| {}).listen().await;
    let answer = ask(front, &post("")).await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    requests.recv().await.unwrap();
    assert!(requests.try_recv().is_err());
}

fn revocation() -> Revocation {
    Revocation { grant: testing::claims().grant, at: NOW, until: None }
}

// R14
#[tokio::test]
async fn a_revoked_grants_streams_are_cut() {
    for request in [get(""), post("")] {
        let (listener, address) = listener().await;
        let (mut client, mut upstream, front) =
            under_way(Front::new(address, |_, _| {}), &listener, &request, SSE).await;
        upstream.write_all(b"2\r\nok\r\n").await.unwrap();
        read_until(&mut client, "2\r\nok\r\n").await;
        front.revocations.insert(Revocation {
            grant: crate::oauth::GrantId::new([37; 16]),
            at: NOW,
            until: None,
        });
        upstream.write_all(b"2\r\nok\r\n").await.unwrap();
        read_until(&mut client, "2\r\nok\r\n").await;
        front.revocations.insert(revocation());
        assert_eq!(ends(&mut client).await, "", "no last chunk");
        ends(&mut upstream).await;
        assert_eq!(*front.finished.lock().unwrap(), [(4, false)]);
    }
}

// R14: an upstream that never pauses would not let the cutter be woken.
#[tokio::test]
async fn a_frame_that_is_ready_does_not_pass_once_the_grant_is_revoked() {
    let (address, _requests) = upstream(OK).await;
    let front = Front::new(address, |_, _| {});
    for revoked in [false, true] {
        let request = Outgoing::new(Method::GET, PathAndQuery::from_static("/inner"), incoming("").await);
        let answer = front.pool.send(&front.service.upstream, None, request).await.unwrap().response;
        tokio::time::sleep(Duration::from_millis(50)).await;
        let cutter = Cutter::new(Term::new(&testing::claims(), Life::Answer, NOW), &front.revocations);
        let mut body = Body::stream(answer.into_body(), Some(cutter));
        if revoked {
            front.revocations.insert(revocation());
        }
        let frame = body.frame().await.unwrap().map(|frame| frame.into_data().unwrap());
        match frame {
            Ok(data) => assert!(!revoked && data == "{}", "{data:?}"),
            Err(error) => assert!(revoked && matches!(error, BodyError::Revoked), "{error}"),
        }
    }
}

// R14
#[tokio::test]
async fn a_grant_revoked_while_the_upstream_works_gets_no_answer() {
    let (listener, address) = listener().await;
    let (address, front) = Front::new(address, |_, _| {}).listen().await;
    let asked = tokio::spawn(async move { ask(address, &post("")).await });
    let (mut upstream, _) = listener.accept().await.unwrap();
    read_request(&mut upstream).await.unwrap();
    front.revocations.insert(revocation());
    upstream.write_all(OK.as_bytes()).await.unwrap();
    let answer = asked.await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
}

#[tokio::test]
async fn a_standing_stream_ends_a_minute_after_its_token_and_a_running_answer_does_not() {
    for (request, standing) in [
        (get(""), true),
        (post("MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: subscriptions/listen\r\n"), true),
        (post("Mcp-Method: tools/call\r\n"), false),
    ] {
        let (listener, address) = listener().await;
        let mut front = Front::new(address, |_, _| {});
        // One second of the minute is left.
        front.now = testing::claims().expires.after(Duration::from_secs(59));
        let (mut client, mut upstream, front) = under_way(front, &listener, &request, SSE).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        upstream.write_all(b"2\r\nok\r\n").await.unwrap();
        read_until(&mut client, "2\r\nok\r\n").await;
        tokio::time::sleep(Duration::from_millis(700)).await;
        let sent = upstream.write_all(b"2\r\nok\r\n0\r\n\r\n").await;
        let rest = ends(&mut client).await;
        assert_eq!(rest, if standing { "" } else { "2\r\nok\r\n0\r\n\r\n" }, "{request} {sent:?}");
        assert_eq!(front.finished.lock().unwrap()[0].1, !standing);
    }
}

// HEAD and 204 have no body; a length that the upstream gave stays.
#[tokio::test]
async fn answers_without_a_body_keep_their_headers() {
    let (address, _requests) = upstream("HTTP/1.1 200 OK\r\nContent-Length: 123\r\n\r\n").await;
    let (front, state) = Front::new(address, |_, _| {}).listen().await;
    let answer = ask(front, &get("").replace("GET", "HEAD")).await;
    assert_eq!(header(&answer, "content-length"), Some("123"));
    assert!(answer.ends_with("\r\n\r\n"));
    assert_eq!(*state.finished.lock().unwrap(), [(0, true)]);
    let (address, _requests) = upstream("HTTP/1.1 204 No Content\r\n\r\n").await;
    let (front, _) = Front::new(address, |_, _| {}).listen().await;
    let answer = ask(front, &post("")).await;
    assert!(answer.starts_with("HTTP/1.1 204 ") && answer.ends_with("\r\n\r\n"), "{answer}");
    assert_eq!(header(&answer, "transfer-encoding"), None);
    assert_eq!(header(&answer, "content-length"), None);
}

/// A service with these replicas, of which nobody probes any.
fn replicated(replicas: &[SocketAddr], paths: &[&str]) -> (Service, Admission) {
    let mut service = testing::service();
    service.settings.upstream.replicas =
        replicas.iter().map(|address| format!("http://{address}/inner").parse().unwrap()).collect();
    service.settings.paths = paths.iter().map(|path| (*path).to_owned()).collect();
    let service = service.following(None);
    let admission = guard::tests::admission(&service, &testing::claims());
    (service, admission)
}

// P11
#[tokio::test]
async fn a_session_whose_replica_has_been_away_for_a_minute_has_ended() {
    let (listener, gone) = listener().await;
    drop(listener);
    let (other, _requests) = upstream(OK).await;
    let (service, _) = replicated(&[gone, other], &[]);
    let replica = service.upstream.replica(&gone.to_string()).unwrap();
    let ask = async || {
        let request = Outgoing::new(Method::POST, PathAndQuery::from_static("/inner"), incoming("{}").await);
        Pool::new().send(&service.upstream, Some(replica), request).await.err().unwrap()
    };
    let now = Moment::now();
    let soon = now.after(Duration::from_secs(59));
    let long = now.after(Duration::from_secs(65));
    let told = no_answer(ask().await, Bound::Session(replica), soon);
    assert_eq!((told.status(), told.finding()), (StatusCode::BAD_GATEWAY, Some("upstream-down")));
    let told = no_answer(ask().await, Bound::Session(replica), long);
    assert_eq!((told.status(), told.finding()), (StatusCode::NOT_FOUND, None));
    for bound in [Bound::User(replica), Bound::Nobody] {
        assert_eq!(no_answer(ask().await, bound, long).status(), StatusCode::BAD_GATEWAY);
    }
    let broken = UpstreamError::BrokeOff("in the middle".into());
    let told = no_answer(broken, Bound::Session(replica), long);
    assert_eq!(told.status(), StatusCode::BAD_GATEWAY, "it was there after all");
}

#[tokio::test]
async fn what_one_user_sends_to_further_paths_meets_at_one_replica() {
    let ((one, mut at_one), (two, mut at_two)) = (upstream(OK).await, upstream(OK).await);
    let (service, admission) = replicated(&[one, two], &["/sse", "/messages"]);
    let front = Front { service, admission, ..Front::new(one, |_, _| {}) };
    let (address, _front) = front.listen().await;
    for _ in 0..6 {
        ask(address, &get("").replace("/mcp", "/sse")).await;
        ask(address, &post("").replace("/mcp", "/messages?sessionId=1")).await;
    }
    let counts = [at_one.len(), at_two.len()];
    assert!(counts == [0, 12] || counts == [12, 0], "{counts:?}");
    for _ in 0..12 {
        ask(address, &post("")).await;
    }
    assert!(at_one.len() >= 4 && at_two.len() >= 4, "the others are spread");
    at_one.close();
    at_two.close();
}
