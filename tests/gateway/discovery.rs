//! What clients read before anything else: D1–D20, P16, CORS.

use serde_json::json;

use crate::support::rig::{ISSUER, RESOURCE, Rig, request};

pub(crate) const TWO_HOSTS: &str = "issuer: https://auth.example.com
secret_key: 5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a
store: file:{folder}/portcullis.db
listen: { http: \"localhost:8080\" }
tls: off
trusted_proxies: [127.0.0.1]
identity: { github: { client_id: Ov23liABCDEFGHIJKLMN, client_secret: 0123456789abcdef0123456789abcdef01234567 } }
access: { users: [octocat] }
services:
  fetch: { url: \"https://fetch.example.com/mcp\", upstream: \"http://127.0.0.1:9/mcp\", scopes: [fetch:read] }
  one: { url: \"https://tools.example.com/one/mcp\", upstream: \"http://127.0.0.1:9/mcp\" }
  two: { url: \"https://tools.example.com/two/mcp\", upstream: \"http://127.0.0.1:9/mcp\" }
";

// trouble: prm-404
// trouble: prm-resource
#[tokio::test]
async fn the_resource_document_is_exactly_this() {
    // D1, D3, D4, D6, D7
    let rig = Rig::dev().await;
    let answer = rig.get("/.well-known/oauth-protected-resource/mcp", &[]).await;
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, "application/json"));
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    assert_eq!(
        answer.json(),
        json!({
            "resource": RESOURCE,
            "authorization_servers": [ISSUER],
            "scopes_supported": ["mcp"],
            "bearer_methods_supported": ["header"],
            "resource_name": "echo",
        })
    );
}

// trouble: prm-404
#[tokio::test]
async fn the_root_document_is_there_only_where_a_service_lives_alone() {
    // D2
    let rig = Rig::with(TWO_HOSTS).await;
    let root = "/.well-known/oauth-protected-resource";
    let alone = rig.get(root, &[("host", "fetch.example.com")]).await;
    assert_eq!(alone.json()["resource"], "https://fetch.example.com/mcp");
    let shared = rig.get(root, &[("host", "tools.example.com")]).await;
    assert_eq!(shared.status, 404);
    let second = rig.get(&format!("{root}/two/mcp"), &[("host", "tools.example.com")]).await;
    assert_eq!(second.json()["resource"], "https://tools.example.com/two/mcp");
}

// trouble: issuer-mismatch
// trouble: no-registration
#[tokio::test]
async fn the_server_document_is_exactly_this() {
    // D8, D9, D11, D12, D13, D14, D15, D5
    let rig = Rig::dev().await;
    let answer = rig.get("/.well-known/oauth-authorization-server", &[]).await;
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, "application/json"));
    assert_eq!(
        answer.json(),
        json!({
            "issuer": ISSUER,
            "authorization_endpoint": format!("{ISSUER}/authorize"),
            "token_endpoint": format!("{ISSUER}/token"),
            "registration_endpoint": format!("{ISSUER}/register"),
            "revocation_endpoint": format!("{ISSUER}/revoke"),
            "jwks_uri": format!("{ISSUER}/jwks"),
            "scopes_supported": ["mcp", "offline_access"],
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": ["authorization_code", "refresh_token"],
            "token_endpoint_auth_methods_supported": ["none"],
            "revocation_endpoint_auth_methods_supported": ["none"],
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": true,
            "client_id_metadata_document_supported": true,
            "protected_resources": [RESOURCE],
        })
    );
}

#[tokio::test]
async fn every_advertised_endpoint_is_there() {
    // D16
    let rig = Rig::dev().await;
    let document = rig.get("/.well-known/oauth-authorization-server", &[]).await.json();
    let endpoints = document
        .as_object()
        .unwrap()
        .iter()
        .filter(|(name, _)| name.ends_with("_endpoint") || *name == "jwks_uri");
    let mut seen = 0;
    for (name, url) in endpoints {
        let path = url.as_str().unwrap().strip_prefix(ISSUER).unwrap().to_owned();
        let answer = rig.get(&path, &[]).await;
        assert_ne!(answer.status, 404, "{name}");
        seen += 1;
    }
    assert_eq!(seen, 5);
}

// trouble: issuer-mismatch
#[tokio::test]
async fn every_host_serves_the_one_true_server_document() {
    // D18, D19
    let rig = Rig::with(TWO_HOSTS).await;
    for (host, path) in [
        ("auth.example.com", "/.well-known/oauth-authorization-server"),
        ("fetch.example.com", "/.well-known/oauth-authorization-server"),
        ("fetch.example.com", "/.well-known/oauth-authorization-server/mcp"),
        ("tools.example.com", "/.well-known/oauth-authorization-server/two/mcp"),
    ] {
        let answer = rig.get(path, &[("host", host)]).await;
        assert_eq!(answer.json()["issuer"], "https://auth.example.com", "{host}{path}");
    }
}

// trouble: no-registration
#[tokio::test]
async fn on_a_service_host_clients_register_and_ask_for_tokens_in_place() {
    // D18
    let rig = Rig::with(TWO_HOSTS).await;
    let host = ("host", "fetch.example.com");
    let body = json!({ "redirect_uris": ["http://127.0.0.1/cb"] }).to_string();
    let json = ("content-type", "application/json");
    let registered = rig.send(request("POST", "/register", &[host, json], body)).await;
    assert_eq!((registered.status.as_u16(), registered.header("access-control-allow-origin")), (201, "*"));
    let client = registered.json()["client_id"].as_str().unwrap().to_owned();
    let form = [("grant_type", "authorization_code"), ("client_id", &client), ("code", "x")];
    let known = rig.post("/token", &[host], &form).await;
    assert_eq!((known.status.as_u16(), known.json()["error"].as_str()), (400, Some("invalid_grant")));
    let unknown = rig.post("/token", &[host], &[("client_id", "c_x")]).await;
    assert_eq!((unknown.status.as_u16(), unknown.json()["error"].as_str()), (401, Some("invalid_client")));
    for elsewhere in ["/callback", "/revoke", "/jwks"] {
        assert_eq!(rig.get(elsewhere, &[host]).await.status, 404, "{elsewhere} is the issuer's alone");
    }
}

// trouble: prm-404
// trouble: prm-resource
#[tokio::test]
async fn the_document_that_a_challenge_names_is_there_and_is_the_services() {
    // D1, D3, D20
    let rig = Rig::with(TWO_HOSTS).await;
    for (host, path) in
        [("fetch.example.com", "/mcp"), ("tools.example.com", "/one/mcp"), ("tools.example.com", "/two/mcp")]
    {
        for asked in [path.to_owned(), format!("{path}/deeper?x=y")] {
            let refused = rig.get(&asked, &[("host", host)]).await;
            let challenge = refused.header("www-authenticate");
            let named = challenge.split('"').nth(1).unwrap();
            assert_eq!(named, format!("https://{host}/.well-known/oauth-protected-resource{path}"));
            let target = named.strip_prefix(&format!("https://{host}")).unwrap();
            let document = rig.get(target, &[("host", host)]).await.json();
            assert_eq!(document["resource"], format!("https://{host}{path}"));
            assert_eq!(document["authorization_servers"], json!(["https://auth.example.com"]));
        }
    }
}

#[tokio::test]
async fn browsers_are_told_to_stay_with_https_except_on_loopback() {
    // X4
    let rig = Rig::with(TWO_HOSTS).await;
    for (host, path) in [
        ("auth.example.com", "/"),
        ("auth.example.com", "/authorize"),
        ("auth.example.com", "/token"),
        ("fetch.example.com", "/mcp"),
        ("fetch.example.com", "/a%2Fb"),
        ("foreign.example.com", "/"),
    ] {
        let answer = rig.get(path, &[("host", host)]).await;
        assert_eq!(answer.header("strict-transport-security"), "max-age=31536000", "{host}{path}");
    }
    // There it would lock other servers of the same machine out.
    assert_eq!(Rig::dev().await.get("/", &[]).await.header("strict-transport-security"), "");
}

#[tokio::test]
async fn on_a_service_host_authorize_leads_to_the_issuer_with_the_resource_filled_in() {
    // D18
    let rig = Rig::with(TWO_HOSTS).await;
    let host = [("host", "fetch.example.com")];
    let answer = rig.get("/authorize?client_id=c&state=a%2Fb", &host).await;
    assert_eq!(answer.status, 302);
    let location = "https://auth.example.com/authorize?client_id=c&state=a%2Fb&resource=https%3A%2F%2Ffetch.example.com%2Fmcp";
    assert_eq!(answer.header("location"), location);
    let named = rig.get("/authorize?resource=x", &host).await;
    assert_eq!(named.header("location"), "https://auth.example.com/authorize?resource=x");
    let ambiguous = rig.get("/authorize?a=b", &[("host", "tools.example.com")]).await;
    assert_eq!(ambiguous.header("location"), "https://auth.example.com/authorize?a=b");
}

#[tokio::test]
async fn well_known_paths_are_a_document_or_404_and_never_an_upstream_s() {
    // D10, D17, P16
    let rig = Rig::dev().await;
    for path in [
        "/.well-known/openid-configuration",
        "/.well-known/oauth-authorization-server/other",
        "/.well-known/oauth-protected-resource/other",
        "/mcp/.well-known/openid-configuration",
        "/.well-known/",
    ] {
        let answer = rig.get(path, &[]).await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("access-control-allow-origin")),
            (404, "*"),
            "{path}"
        );
        assert_eq!(answer.json()["error"], "not_found");
    }
}

#[tokio::test]
async fn a_head_request_is_answered_like_get_and_a_post_is_told_what_is_allowed() {
    let rig = Rig::dev().await;
    let path = "/.well-known/oauth-authorization-server";
    let head = rig.send(request("HEAD", path, &[], String::new())).await;
    assert_eq!((head.status.as_u16(), head.body.as_str()), (200, ""));
    let post = rig.send(request("POST", path, &[], String::new())).await;
    assert_eq!((post.status.as_u16(), post.header("allow")), (405, "GET, HEAD, OPTIONS"));
}

// trouble: cors
#[tokio::test]
async fn browsers_may_read_every_oauth_endpoint() {
    let rig = Rig::dev().await;
    for path in ["/token", "/register", "/revoke", "/.well-known/oauth-authorization-server", "/jwks"] {
        let headers = [
            ("origin", "https://inspector.example"),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "content-type, mcp-protocol-version"),
        ];
        let answer = rig.send(request("OPTIONS", path, &headers, String::new())).await;
        assert_eq!(answer.status, 204, "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), "*", "{path}");
        assert_eq!(
            answer.header("access-control-allow-headers"),
            "content-type, mcp-protocol-version",
            "{path}"
        );
    }
}

#[tokio::test]
async fn the_key_set_has_the_public_half_only() {
    // V3
    let rig = Rig::dev().await;
    let keys = rig.get("/jwks", &[]).await.json();
    let key = &keys["keys"][0];
    assert_eq!(
        (&key["kty"], &key["crv"], &key["alg"], &key["use"]),
        (&json!("EC"), &json!("P-256"), &json!("ES256"), &json!("sig"))
    );
    assert!(key["kid"].is_string() && key["x"].is_string() && key.get("d").is_none(), "{key}");
}

#[tokio::test]
async fn odd_targets_and_foreign_hosts_are_refused() {
    // P14, P15
    let rig = Rig::dev().await;
    for path in ["/a/../mcp", "//mcp", "/mcp%2f..", "/%2e%2e/mcp", "/mcp%5Cx"] {
        let answer = rig.send(request("GET", path, &[], String::new())).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.json()["error"]),
            (400, &json!("invalid_request")),
            "{path}"
        );
    }
    let foreign = rig.get("/mcp", &[("host", "evil.example")]).await;
    assert_eq!(foreign.status, 421);
    let absolute = rig.get("http://localhost:8080/mcp", &[]).await;
    assert_eq!(absolute.status, 400);
}
