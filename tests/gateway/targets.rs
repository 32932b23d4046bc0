//! How a request came, and what it is for: P14, P15, X1.

use crate::support::rig::Rig;

#[tokio::test]
async fn a_refused_target_is_told_why() {
    // P14: the description was empty.
    let rig = Rig::dev().await;
    let path = "the path must be plain: no empty or dot segments, no encoded slashes";
    for (target, host, status, why) in [
        ("/mcp/%2e%2e/x", "localhost:8080", 400, path),
        ("//mcp", "localhost:8080", 400, path),
        ("/mcp", "x@localhost:8080", 400, "the request must name one host"),
        (
            "/mcp",
            "other.example",
            421,
            "this gateway does not serve the host other.example; it is reached at http://localhost:8080",
        ),
    ] {
        let answer = rig.get(target, &[("host", host)]).await;
        assert_eq!(answer.status, status, "{target}");
        assert_eq!(answer.json()["error_description"], why);
    }
}

#[tokio::test]
async fn an_ipv6_host_has_an_https_url_too() {
    // X1: its last colon was taken for a port's, and the redirect answered 404.
    let yaml = crate::support::rig::dev_yaml(([127, 0, 0, 1], 9).into())
        .replace("http://localhost:8080", "https://[::1]:8443")
        .replace("tls: off", "tls: { local_ca: \"{folder}/ca\" }")
        .replace("{ http: \"localhost:8080\" }", "{ https: \"localhost:8443\", http: [] }");
    let rig = Rig::with(&yaml).await;
    let location = |host: &str| rig.gateway.https_location(host, "/mcp?a=b");
    assert_eq!(location("[::1]").as_deref(), Some("https://[::1]:8443/mcp?a=b"));
    for other in ["[::2]", "[", "::1", "localhost"] {
        assert_eq!(location(other), None, "{other}");
    }
}

#[tokio::test]
async fn one_forwarded_proto_that_is_http_is_enough_to_refuse() {
    // X1: only the first line was looked at, which may be the client's own.
    let github = "{ github: { client_id: Ov23li0123456789abcd, client_secret: \"0123456789abcdef\" } }";
    let yaml = crate::support::rig::dev_yaml(([127, 0, 0, 1], 9).into())
        .replace("{ dev: {} }", &format!("{github}\ntrusted_proxies: [127.0.0.1]"));
    let rig = Rig::with(&yaml).await;
    let document = "/.well-known/oauth-authorization-server";
    for (protos, status) in [
        (&[][..], 200),
        (&["https"], 200),
        (&["HTTPS", "https"], 200),
        (&["http"], 400),
        (&["https", "http"], 400),
        (&["https, http"], 400),
    ] {
        let headers: Vec<_> = protos.iter().map(|proto| ("x-forwarded-proto", *proto)).collect();
        let answer = rig.get(document, &headers).await;
        assert_eq!(answer.status, status, "{protos:?}: {answer:?}");
    }
}
