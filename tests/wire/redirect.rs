//! The plain port beside TLS: it sends people to https, and lets no token work (X1).

use crate::client::raw;
use crate::process::{Place, secure};
use crate::recorder::Recorder;

#[tokio::test]
async fn the_plain_port_redirects_our_hosts_and_nothing_else() {
    // X1
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let _process = place.start(&secure(upstream.address));
    let address = ([127, 0, 0, 1], place.second).into();
    let port = place.port;
    for (host, target, location) in [
        (
            format!("localhost:{}", place.second),
            "/mcp?a=b%20c",
            format!("https://localhost:{port}/mcp?a=b%20c"),
        ),
        ("localhost".into(), "/", format!("https://localhost:{port}/")),
        ("OTHER.example".into(), "/mcp", format!("https://other.example:{port}/mcp")),
    ] {
        for method in ["GET", "POST"] {
            let asked = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n");
            let answer = raw(address, &asked).await;
            assert!(answer.text.starts_with("HTTP/1.1 308 Permanent Redirect\r\n"), "{answer:?}");
            assert!(answer.text.contains(&format!("\r\nlocation: {location}\r\n")), "{answer:?}");
            assert!(answer.closed, "{answer:?}");
        }
    }
    for head in [
        "GET / HTTP/1.1\r\nHost: unknown.example\r\n",
        "GET / HTTP/1.1\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\nHost: unknown.example\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: localhost\r\n",
        "GET http://unknown.example/ HTTP/1.1\r\nHost: unknown.example\r\n",
    ] {
        let answer = raw(address, &format!("{head}\r\n")).await;
        assert!(answer.text.starts_with("HTTP/1.1 404 Not Found\r\n"), "{head}: {answer:?}");
        assert!(!answer.text.contains("location:"), "{head}: {answer:?}");
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn a_token_over_plain_http_is_refused_and_never_redirected() {
    // X1
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let _process = place.start(&secure(upstream.address));
    let address = ([127, 0, 0, 1], place.second).into();
    for host in ["localhost", "other.example", "unknown.example"] {
        let asked = format!(
            "POST /mcp HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer x\r\nContent-Length: 0\r\n\r\n"
        );
        let answer = raw(address, &asked).await;
        assert!(answer.text.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer:?}");
        assert!(!answer.text.contains("location:"), "{answer:?}");
        assert!(answer.text.contains("Consider the token leaked: revoke it"), "{answer:?}");
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn an_ipv6_address_is_redirected_like_a_name() {
    // X1: its colons were taken for a port's.
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let yaml = secure(upstream.address).replace("//localhost", "//[::1]");
    let yaml = yaml.split("  other:").next().unwrap();
    let _process = place.start(yaml);
    let address = ([127, 0, 0, 1], place.second).into();
    for host in ["[::1]".to_owned(), format!("[::1]:{}", place.second)] {
        let answer = raw(address, &format!("GET /mcp HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        let location = format!("\r\nlocation: https://[::1]:{}/mcp\r\n", place.port);
        assert!(answer.text.contains(&location), "{host}: {answer:?}");
    }
}
