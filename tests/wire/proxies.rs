//! Who is believed about whom: only configured proxies, only about the address next to them.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

use crate::client::{Client, Raw, raw, read_raw};
use crate::process::{Place, plain};
use crate::recorder::Recorder;

/// TLS ends at the proxy 127.0.0.3; the service needs no token, and tells its server the client's address.
fn behind_a_proxy(upstream: SocketAddr, listen: &str) -> String {
    plain(upstream, "trusted_proxies: [127.0.0.3, 10.1.0.0/16]\nlog: { format: json }")
        .replace("http://localhost:{port}", "https://a.example")
        .replace("127.0.0.1:{port}", listen)
        .replace(
            "{ dev: {} }",
            "{ github: { client_id: Ov23li0123456789abcd, client_secret: \"0123456789abcdef\" } }",
        )
        .replace("/mcp\" }", "/mcp\", public: true }")
}

const PROXY: [u8; 4] = [127, 0, 0, 3];
const OTHER: [u8; 4] = [127, 0, 0, 2];

/// Asks from an address of loopback.
async fn from(source: [u8; 4], to: SocketAddr, headers: &str) -> Raw {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((IpAddr::from(source), 0).into()).unwrap();
    let mut stream = socket.connect(to).await.unwrap();
    let asked = format!("GET /mcp HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(asked.as_bytes()).await.unwrap();
    read_raw(&mut stream).await
}

#[tokio::test]
async fn forwarded_addresses_are_believed_of_trusted_peers_only_and_from_the_right() {
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let process = place.start(&behind_a_proxy(upstream.address, "127.0.0.1:{port}"));
    for (source, forwarded, client) in [
        (OTHER, "203.0.113.9", "127.0.0.2"),
        (PROXY, "203.0.113.9", "203.0.113.9"),
        (PROXY, "192.0.2.66, 203.0.113.9", "203.0.113.9"),
        (PROXY, "192.0.2.66, 203.0.113.9, 10.1.2.3, 127.0.0.3", "203.0.113.9"),
        (PROXY, "203.0.113.9\r\nX-Forwarded-For: 10.1.2.3", "203.0.113.9"),
        (PROXY, "203.0.113.9, unknown", "127.0.0.3"),
        (PROXY, "203.0.113.9:4711", "203.0.113.9"),
        (PROXY, "[2001:db8::7]:4711", "2001:db8::7"),
        (PROXY, "::ffff:203.0.113.9", "203.0.113.9"),
        (PROXY, "", "127.0.0.3"),
    ] {
        upstream.forget();
        let headers = format!(
            "X-Request-ID: r-{}\r\nX-Forwarded-For: {forwarded}\r\nX-Real-IP: 192.0.2.66\r\nForwarded: for=192.0.2.66\r\n",
            client.replace(':', "_")
        );
        let answer = from(source, place.address(), &headers).await;
        assert_eq!(answer.statuses(), [200], "{forwarded}: {answer:?}");
        let [seen] = &upstream.requests()[..] else { panic!("{}", upstream.raw()) };
        assert_eq!(seen.all("x-forwarded-for"), [client], "{forwarded}");
        assert_eq!(
            (seen.all("x-forwarded-proto"), seen.all("x-forwarded-host")),
            (vec!["https"], vec!["a.example"])
        );
        assert!(seen.all("x-real-ip").is_empty() && seen.all("forwarded").is_empty(), "{seen:?}");
        let id = format!("r-{}", client.replace(':', "_"));
        assert_eq!(process.line(|line| line["request_id"] == id.as_str()).await["peer"], client);
    }
}

#[tokio::test]
async fn what_the_proxy_was_asked_by_plain_http_is_refused() {
    // X1
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let _process = place.start(&behind_a_proxy(upstream.address, "127.0.0.1:{port}"));
    for proto in ["http", "HTTP", "ws", "https, http", "https\r\nX-Forwarded-Proto: http", ""] {
        let answer = from(PROXY, place.address(), &format!("X-Forwarded-Proto: {proto}\r\n")).await;
        assert_eq!(answer.statuses(), [400], "{proto}: {answer:?}");
        assert!(
            answer.text.contains("the proxy in front was asked by plain http; use the https URL"),
            "{answer:?}"
        );
    }
    assert_eq!(upstream.connections(), 0);
    for headers in ["X-Forwarded-Proto: https\r\n", "X-Forwarded-Proto: HTTPS\r\n", ""] {
        assert_eq!(from(PROXY, place.address(), headers).await.statuses(), [200], "{headers}");
    }
}

/// The machine's own address on the network it would reach the world by; no packet is sent.
fn own_address() -> IpAddr {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect("192.0.2.1:9").expect("a network beside loopback, which this test needs");
    socket.local_addr().unwrap().ip()
}

#[tokio::test]
async fn peers_that_are_no_proxies_of_ours_are_closed_at_once() {
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let _process = place.start(&behind_a_proxy(upstream.address, "0.0.0.0:{port}"));
    let to = SocketAddr::new(own_address(), place.port);
    let mut stream = TcpStream::connect(to).await.unwrap();
    let answer = read_raw(&mut stream).await;
    assert!(answer.closed && answer.text.is_empty(), "{answer:?}");
    let answer = raw(to, "GET /mcp HTTP/1.1\r\nHost: a.example\r\n\r\n").await;
    assert!(answer.closed && answer.text.is_empty(), "{answer:?}");
    assert_eq!(upstream.connections(), 0);
    let answer = raw(place.address(), "GET /mcp HTTP/1.1\r\nHost: a.example\r\n\r\n").await;
    assert_eq!(answer.statuses(), [200], "this machine may connect: {answer:?}");
}

#[tokio::test]
async fn the_dev_identity_lets_nobody_in_through_a_proxy() {
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let _process = place.start(&plain(upstream.address, ""));
    let client = Client::plain(&place);
    let signed_in = client.sign_in("alice").await;
    for name in [
        "Forwarded",
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "X-Real-IP",
        "CF-Connecting-IP",
    ] {
        let bearer = signed_in.bearer();
        for target in ["/mcp", "/authorize", "/.well-known/oauth-authorization-server"] {
            let answer = client.get(target, &[(name, "x"), ("authorization", &bearer)]).await;
            assert_eq!(answer.status, 403, "{name} {target}");
        }
    }
    assert_eq!(upstream.connections(), 0);
}

/// Asks the token endpoint from an address of loopback; status, and whether Retry-After is what is left of half an hour.
async fn token(source: [u8; 4], to: SocketAddr, forwarded: &str) -> (u16, bool) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((IpAddr::from(source), 0).into()).unwrap();
    let mut stream = socket.connect(to).await.unwrap();
    let asked = format!(
        "POST /token HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\nX-Forwarded-For: {forwarded}\r\n\
         X-Real-IP: {forwarded}\r\nForwarded: for={forwarded}\r\nContent-Length: 0\r\n\r\n"
    );
    stream.write_all(asked.as_bytes()).await.unwrap();
    let answer = read_raw(&mut stream).await;
    let [status] = answer.statuses()[..] else { panic!("{answer:?}") };
    let wait = answer.text.lines().find_map(|line| line.strip_prefix("retry-after: ")?.parse().ok());
    (status, wait.is_some_and(|seconds: u64| (1740..=1800).contains(&seconds)))
}

#[tokio::test]
async fn a_limit_is_for_one_client_whatever_it_says_of_itself_and_behind_a_proxy_too() {
    // G8
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let yaml = behind_a_proxy(upstream.address, "127.0.0.1:{port}") + "limits: { token: 2/h }\n";
    let process = place.start(&yaml);
    let to = place.address();
    let reached = |answer: (u16, bool)| match answer {
        (400, false) => false,
        (429, true) => true,
        other => panic!("{other:?}"),
    };
    for (number, forged) in
        ["198.51.100.1", "198.51.100.2", "198.51.100.3", "2001:db8:9::1"].iter().enumerate()
    {
        assert_eq!(
            reached(token(OTHER, to, forged).await),
            number >= 2,
            "{forged} says a peer that nobody trusts"
        );
    }
    for (forwarded, over) in [
        ("203.0.113.9", false),
        ("192.0.2.66, 203.0.113.9", false),
        ("192.0.2.67, 203.0.113.9", true),
        ("192.0.2.68, 203.0.113.9:4711, 10.1.2.3", true),
        ("203.0.113.10", false),
        ("198.51.100.1", false),
        ("2001:db8::1", false),
        ("2001:db8::ffff:2", false),
        ("2001:db8::3", true),
        ("2001:db8:0:1::1", false),
    ] {
        assert_eq!(reached(token(PROXY, to, forwarded).await), over, "{forwarded}");
    }
    for _ in 0..20 {
        token(OTHER, to, "198.51.100.9").await;
    }
    let hit = process.line(|line| line["event"] == "limit_hit" && line["address"] == "2001:db8::3").await;
    assert_eq!((&hit["target"], &hit["reason"]), (&"audit".into(), &"limits.token = 2/h".into()));
    let log = process.log();
    let told = |address: &str| {
        log.lines().filter(|line| line.contains("limit_hit") && line.contains(address)).count()
    };
    assert_eq!((told("\"127.0.0.2\""), told("203.0.113.9\"")), (1, 1), "once a minute: {log}");
}
