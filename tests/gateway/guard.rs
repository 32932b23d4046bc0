//! At the resource: R1–R6, R12–R14.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::support::rig::{Answer, Rig, request};

const METADATA: &str = "http://localhost:8080/.well-known/oauth-protected-resource/mcp";

async fn with(rig: &Rig, headers: &[(&str, &str)]) -> Answer {
    rig.send(request("POST", "/mcp", headers, "{not json".into())).await
}

fn invalid(answer: &Answer) {
    assert_eq!(answer.status, 401, "{answer:?}");
    let challenge = answer.header("www-authenticate");
    assert!(
        challenge.starts_with(&format!(
            "Bearer resource_metadata=\"{METADATA}\", scope=\"mcp\", error=\"invalid_token\""
        )),
        "{challenge}"
    );
}

// trouble: no-challenge
#[tokio::test]
async fn every_method_without_a_token_is_challenged_before_a_body_is_read() {
    // R1, R2, R3, D20
    let rig = Rig::dev().await;
    for method in ["GET", "HEAD", "POST", "DELETE", "PUT", "PATCH"] {
        let answer = rig.send(request(method, "/mcp", &[], "{not json".into())).await;
        assert_eq!(answer.status, 401, "{method}");
        assert_eq!(
            answer.header("www-authenticate"),
            format!("Bearer resource_metadata=\"{METADATA}\", scope=\"mcp\"")
        );
    }
    assert_eq!(rig.get("/mcp/deeper", &[]).await.status, 401);
}

#[tokio::test]
async fn what_is_no_bearer_token_of_ours_is_refused() {
    // R4, R13
    let rig = Rig::dev().await;
    let long = "a".repeat(9000);
    for value in ["Bearer x", "bearer   x", "BEARER x.y.z", &format!("Bearer {long}")] {
        invalid(&with(&rig, &[("authorization", value)]).await);
    }
    for value in ["Basic eDp5", "Digest x"] {
        let answer = with(&rig, &[("authorization", value)]).await;
        assert_eq!(
            answer.header("www-authenticate"),
            format!("Bearer resource_metadata=\"{METADATA}\", scope=\"mcp\""),
            "{value}"
        );
    }
    for value in ["Bearer", "Bearer "] {
        invalid(&with(&rig, &[("authorization", value)]).await);
    }
}

#[tokio::test]
async fn a_token_in_the_query_is_never_accepted() {
    // R6
    let rig = Rig::dev().await;
    let client = rig.register().await;
    let token = rig.tokens(&client, "alice").await["access_token"].as_str().unwrap().to_owned();
    let target = format!("/mcp?access_token={token}");
    assert_eq!(rig.send(request("POST", &target, &[], String::new())).await.status, 401);
    let bearer = format!("Bearer {token}");
    let both = rig.send(request("POST", &target, &[("authorization", &bearer)], String::new())).await;
    assert_eq!(both.status, 400);
    let mut twice = request("POST", "/mcp", &[("authorization", &bearer)], String::new());
    twice.headers_mut().append("authorization", bearer.parse().unwrap());
    assert_eq!(rig.send(twice).await.status, 400);
}

#[tokio::test]
async fn the_scheme_is_read_in_any_case_and_with_extra_spaces() {
    // R13
    let rig = Rig::dev().await;
    let client = rig.register().await;
    let token = rig.tokens(&client, "alice").await["access_token"].as_str().unwrap().to_owned();
    for scheme in ["Bearer ", "bearer ", "BEARER   "] {
        let answer = with(&rig, &[("authorization", &format!("{scheme}{token}"))]).await;
        assert_eq!(answer.status, 502, "admitted, and nothing listens behind: {answer:?}");
    }
}

#[tokio::test]
async fn a_token_ends_with_its_hour() {
    // R4
    let rig = Rig::dev().await;
    let client = rig.register().await;
    let token = rig.tokens(&client, "alice").await["access_token"].as_str().unwrap().to_owned();
    assert_eq!(rig.call(&token).await.status, 502);
    rig.clock.advance(Duration::from_hours(1));
    invalid(&rig.call(&token).await);
}

/// The token with another header, payload or signature.
fn forged(token: &str, header: Option<&str>, payload: Option<&str>) -> String {
    let parts: Vec<&str> = token.split('.').collect();
    let part =
        |new: Option<&str>, old: &str| new.map_or_else(|| old.to_owned(), |new| URL_SAFE_NO_PAD.encode(new));
    format!("{}.{}.{}", part(header, parts[0]), part(payload, parts[1]), parts[2])
}

#[tokio::test]
async fn a_token_that_was_touched_is_refused() {
    // R12
    let rig = Rig::dev().await;
    let client = rig.register().await;
    let token = rig.tokens(&client, "alice").await["access_token"].as_str().unwrap().to_owned();
    let header =
        String::from_utf8(URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap()).unwrap();
    let payload =
        String::from_utf8(URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap();
    let swapped = |from: &str, to: &str| {
        let changed = header.replace(from, to);
        assert_ne!(changed, header, "{from}");
        forged(&token, Some(&changed), None)
    };
    let none = format!(
        "{}.{}.",
        URL_SAFE_NO_PAD.encode("{\"alg\":\"none\",\"typ\":\"at+jwt\"}"),
        token.split('.').nth(1).unwrap()
    );
    let cases = [
        none,
        swapped("ES256", "HS256"),
        swapped("at+jwt", "JWT"),
        swapped("\"kid\":\"", "\"kid\":\"x"),
        swapped("{", "{\"crit\":[\"x\"],"),
        swapped("{", "{\"jku\":\"https://evil.example\","),
        forged(&token, None, Some(&payload.replace("dev:alice", "dev:admin"))),
        token[..token.len() - 4].to_owned(),
    ];
    for case in cases {
        invalid(&rig.call(&case).await);
    }
    assert_eq!(rig.call(&token).await.status, 502, "the token itself is good");
}

#[tokio::test]
async fn a_token_signed_by_us_that_says_the_wrong_thing_is_refused() {
    // R4, R5, R12
    use portcullis::oauth::Resource;
    use portcullis::time::Timestamp;
    use portcullis::token::Claims;
    let rig = Rig::dev().await;
    let client = rig.register().await;
    let token = rig.tokens(&client, "alice").await["access_token"].as_str().unwrap().to_owned();
    let keys = rig.shared.signing.load();
    let now = Timestamp::from_seconds(1_800_000_000);
    let good =
        portcullis::token::verify(&token, &keys, "http://localhost:8080", now).unwrap().claims().clone();
    let minute = Duration::from_mins(1);
    let elsewhere = Resource::from_canonical("http://localhost:8080/other".into());
    for wrong in [
        Claims { issuer: "http://localhost:8081".into(), ..good.clone() },
        Claims { issuer: "http://localhost:8080/".into(), ..good.clone() },
        Claims { resource: elsewhere, ..good.clone() },
        Claims { expires: now, ..good.clone() },
        Claims { issued_at: now.after(minute), ..good.clone() },
        Claims { access: "AAAAAAAA".into(), ..good.clone() },
    ] {
        invalid(&rig.call(keys.mint(&wrong).unwrap().expose()).await);
    }
    let again = keys.mint(&good).unwrap();
    assert_eq!(rig.call(again.expose()).await.status, 502, "what it should say is admitted");
}

#[tokio::test]
async fn a_token_for_one_service_is_none_for_another() {
    // R5
    let yaml = crate::support::rig::dev_yaml(([127, 0, 0, 1], 9).into())
        + "  other: { url: \"http://localhost:8080/other\", upstream: \"http://127.0.0.1:9/mcp\" }\n";
    let rig = Rig::with(&yaml).await;
    let client = rig.register().await;
    let token = rig.tokens(&client, "alice").await["access_token"].as_str().unwrap().to_owned();
    assert_eq!(rig.call(&token).await.status, 502);
    let bearer = format!("Bearer {token}");
    let answer = rig.send(request("POST", "/other", &[("authorization", &bearer)], String::new())).await;
    assert_eq!(answer.status, 401);
    assert!(answer.header("www-authenticate").contains("error=\"invalid_token\""));
}

#[tokio::test]
async fn a_foreign_origin_is_refused_and_our_own_and_loopback_pass() {
    // P3, R10
    let rig = Rig::dev().await;
    let client = rig.register().await;
    let bearer = format!("Bearer {}", rig.tokens(&client, "alice").await["access_token"].as_str().unwrap());
    for origin in ["https://evil.example", "null"] {
        for headers in
            [vec![("origin", origin)], vec![("origin", origin), ("authorization", bearer.as_str())]]
        {
            let refused = with(&rig, &headers).await;
            assert_eq!((refused.status.as_u16(), refused.header("www-authenticate")), (403, ""), "{origin}");
            assert!(!refused.body.contains("insufficient_scope"), "{refused:?}");
        }
    }
    for origin in ["http://localhost:8080", "http://localhost:6274", "http://127.0.0.1:6274"] {
        let answer = with(&rig, &[("origin", origin)]).await;
        assert_eq!(answer.status, 401, "{origin}");
        assert_eq!(answer.header("access-control-allow-origin"), origin);
        assert!(answer.header("access-control-expose-headers").contains("WWW-Authenticate"), "{answer:?}");
    }
}

#[tokio::test]
async fn preflights_are_answered_here() {
    let rig = Rig::dev().await;
    let headers = [
        ("origin", "http://localhost:6274"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization, mcp-param-region"),
    ];
    let answer = rig.send(request("OPTIONS", "/mcp", &headers, String::new())).await;
    assert!(answer.status.is_success(), "{answer:?}");
    assert_eq!(answer.header("access-control-allow-origin"), "http://localhost:6274");
    assert!(
        answer.header("access-control-allow-headers").to_lowercase().contains("mcp-param-region"),
        "{answer:?}"
    );
}
