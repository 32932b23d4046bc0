//! How a client proves who it is: T4, T5, V1.

use crate::clients::{JWT_BEARER, SECRET, Signer, basic, credentials, refusal, rig};
use crate::support::rig::{Answer, ISSUER, REDIRECT, Rig, VERIFIER};

const BASIC: &str = "Basic realm=\"portcullis\"";
const GRANT: (&str, &str) = ("grant_type", "client_credentials");

async fn assert_with(rig: &Rig, assertion: &str, more: &[(&str, &str)]) -> Answer {
    let mut form = vec![GRANT, ("client_assertion", assertion), ("client_assertion_type", JWT_BEARER)];
    form.push(("resource", "http://localhost:8080/mcp"));
    form.extend_from_slice(more);
    rig.post("/token", &[], &form).await
}

#[tokio::test]
async fn a_secret_is_proven_by_basic_or_in_the_form() {
    // T5
    let rig = rig().await;
    let encoded = "9d1e4b7c0a35f826%2B9d1e%252F7c0a35f826";
    for header in [basic("ci", SECRET), basic("c%69", encoded), basic("ci", encoded)] {
        for more in [vec![GRANT], vec![GRANT, ("client_id", "ci")]] {
            let answer = rig.post("/token", &[("authorization", &header)], &more).await;
            assert_eq!(answer.status, 200, "{header}: {answer:?}");
        }
    }
    let post = [GRANT, ("client_id", "ci"), ("client_secret", SECRET)];
    assert_eq!(rig.post("/token", &[], &post).await.status, 200);
}

#[tokio::test]
async fn a_wrong_secret_is_401_and_challenged_if_basic_was_used() {
    // T4
    let rig = rig().await;
    let longer = format!("{SECRET}x");
    for wrong in ["", "x", &SECRET[1..], &longer, "9d1e4b7c0a35f826 9d1e/7c0a35f826x"] {
        let answer = rig.post("/token", &[("authorization", &basic("ci", wrong))], &[GRANT]).await;
        assert_eq!(refusal(&answer), (401, "invalid_client".into()), "{wrong}");
        assert_eq!(answer.header("www-authenticate"), BASIC);
        assert_eq!(answer.header("cache-control"), "no-store");
        let form = [GRANT, ("client_id", "ci"), ("client_secret", wrong)];
        let answer = rig.post("/token", &[], &form).await;
        assert_eq!(refusal(&answer), (401, "invalid_client".into()), "{wrong}");
        assert_eq!(answer.headers.get("www-authenticate"), None, "{wrong}");
        assert!(!answer.body.contains(SECRET), "{answer:?}");
    }
}

#[tokio::test]
async fn another_client_s_secret_proves_nothing() {
    // T4
    let text = crate::clients::yaml().replacen(SECRET, &"x".repeat(32), 1);
    let rig = Rig::with(&text).await;
    assert_eq!(refusal(&credentials(&rig, "ci", &[]).await), (401, "invalid_client".into()));
    assert_eq!(credentials(&rig, "server", &[]).await.status, 200);
}

#[tokio::test]
async fn a_confidential_client_must_prove_who_it_is() {
    // T4
    let rig = rig().await;
    for id in ["ci", "deploy"] {
        let named = rig.post("/token", &[], &[GRANT, ("client_id", id)]).await;
        assert_eq!(refusal(&named), (401, "invalid_client".into()), "{id}");
        assert_eq!(named.headers.get("www-authenticate"), None);
    }
    let by_secret = rig.post("/token", &[("authorization", &basic("deploy", SECRET))], &[GRANT]).await;
    assert_eq!(refusal(&by_secret), (401, "invalid_client".into()), "it has keys");
    assert_eq!(by_secret.header("www-authenticate"), BASIC);
    let signed = Signer::new().assertion("a", |claims| {
        claims["iss"] = "ci".into();
        claims["sub"] = "ci".into();
    });
    assert_eq!(refusal(&assert_with(&rig, &signed, &[]).await), (401, "invalid_client".into()), "a secret");
    let nobody = rig.post("/token", &[], &[GRANT]).await;
    assert_eq!(refusal(&nobody), (401, "invalid_client".into()));
    assert_eq!(nobody.header("www-authenticate"), BASIC, "nothing was tried, so it is told what would do");
    let revoke = rig.post("/revoke", &[], &[("token", "x"), ("client_id", "ci")]).await;
    assert_eq!(refusal(&revoke), (401, "invalid_client".into()), "V1");
}

#[tokio::test]
async fn a_public_client_proves_nothing() {
    // T4
    let rig = rig().await;
    let registered = rig.register().await;
    for id in [registered.as_str(), "app"] {
        let form = [("grant_type", "refresh_token"), ("refresh_token", "x")];
        let answer = rig.post("/token", &[("authorization", &basic(id, SECRET))], &form).await;
        assert_eq!(refusal(&answer), (401, "invalid_client".into()), "{id}");
        assert_eq!(answer.header("www-authenticate"), BASIC);
        let post = [form[0], form[1], ("client_id", id), ("client_secret", SECRET)];
        let answer = rig.post("/token", &[], &post).await;
        assert_eq!(refusal(&answer), (401, "invalid_client".into()), "{id}");
        assert_eq!(answer.headers.get("www-authenticate"), None);
        let name = rig.post("/token", &[("authorization", &basic(id, ""))], &form).await;
        assert_eq!(refusal(&name), (400, "invalid_grant".into()), "{id}: its name alone is believed");
    }
}

#[tokio::test]
async fn two_ways_at_once_are_an_invalid_request() {
    // T4, T5
    let rig = rig().await;
    let header = basic("ci", SECRET);
    let by_basic = [("authorization", header.as_str())];
    let assertion = Signer::new().assertion("a", |_| {});
    let asserted = [("client_assertion", assertion.as_str()), ("client_assertion_type", JWT_BEARER)];
    let secret = [("client_id", "ci"), ("client_secret", SECRET)];
    for (headers, form) in [
        (&by_basic[..], [&[GRANT], &secret[..]].concat()),
        (&by_basic[..], [&[GRANT], &asserted[..]].concat()),
        (&[], [&[GRANT], &secret[..], &asserted[..]].concat()),
        (&[by_basic[0], by_basic[0]][..], vec![GRANT]),
        (&by_basic[..], vec![GRANT, ("client_id", "web")]),
        (&[], vec![GRANT, asserted[0], asserted[1], ("client_id", "ci")]),
        (&[], vec![GRANT, asserted[0]]),
        (&[], vec![GRANT, asserted[1], ("client_id", "ci")]),
        (&[], vec![GRANT, secret[0], secret[1], secret[1]]),
    ] {
        let answer = rig.post("/token", headers, &form).await;
        assert_eq!(refusal(&answer), (400, "invalid_request".into()), "{headers:?} {form:?}");
        assert_eq!(answer.headers.get("www-authenticate"), None);
    }
}

#[tokio::test]
async fn an_assertion_proves_its_client_once() {
    // T4; RFC 7523 §3
    let rig = rig().await;
    let signer = Signer::new();
    let first = signer.assertion("one", |_| {});
    assert_eq!(assert_with(&rig, &first, &[]).await.status, 200);
    let again = assert_with(&rig, &first, &[]).await;
    assert_eq!(refusal(&again), (401, "invalid_client".into()), "its jti was used");
    let longer = signer.assertion("one", |claims| claims["exp"] = 1_800_000_200.into());
    assert_eq!(refusal(&assert_with(&rig, &longer, &[]).await).0, 401, "signed anew, and the same jti");
    for (token_id, audience) in [("two", ISSUER.to_owned()), ("three", format!("{ISSUER}/token"))] {
        let next = signer.assertion(token_id, |claims| claims["aud"] = audience.into());
        let answer = assert_with(&rig, &next, &[("client_id", "deploy")]).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

#[tokio::test]
async fn of_eight_uses_of_an_assertion_at_once_one_counts() {
    let rig = rig().await;
    let assertion = Signer::new().assertion("one", |_| {});
    let sent = (0..8).map(|_| assert_with(&rig, &assertion, &[]));
    let mut statuses = Vec::new();
    for answer in futures_join(sent.collect()).await {
        statuses.push(answer.status.as_u16());
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 401, 401, 401, 401, 401, 401, 401]);
}

/// Runs all at once, each a little at a time.
async fn futures_join<F: Future<Output = Answer>>(all: Vec<F>) -> Vec<Answer> {
    let mut all: Vec<_> = all.into_iter().map(|one| (Box::pin(one), None)).collect();
    std::future::poll_fn(move |context| {
        for (future, answer) in all.iter_mut().filter(|(_, answer)| answer.is_none()) {
            if let std::task::Poll::Ready(done) = future.as_mut().poll(context) {
                *answer = Some(done);
            }
        }
        if all.iter().any(|(_, answer)| answer.is_none()) {
            return std::task::Poll::Pending;
        }
        std::task::Poll::Ready(all.iter_mut().filter_map(|(_, answer)| answer.take()).collect())
    })
    .await
}

#[tokio::test]
async fn an_assertion_that_says_something_else_proves_nothing() {
    // T4
    let rig = rig().await;
    let signer = Signer::new();
    let now = 1_800_000_000_u64;
    let changes: [(&str, serde_json::Value, &str); 8] = [
        ("aud", "https://other.example".into(), "aud"),
        ("aud", serde_json::json!([ISSUER, "https://other.example"]), "aud"),
        ("exp", now.into(), "expired"),
        ("exp", (now + 301).into(), "5 minutes"),
        ("iat", (now + 31).into(), "not valid yet"),
        ("nbf", (now + 31).into(), "not valid yet"),
        ("iss", "ci".into(), "iss and sub"),
        ("jti", "".into(), "jti"),
    ];
    for (index, (claim, value, told)) in changes.into_iter().enumerate() {
        let assertion = signer.assertion(&index.to_string(), |claims| claims[claim] = value);
        let answer = assert_with(&rig, &assertion, &[]).await;
        assert_eq!(refusal(&answer), (401, "invalid_client".into()), "{claim}");
        assert_eq!(answer.headers.get("www-authenticate"), None);
        let description = answer.json()["error_description"].as_str().unwrap().to_owned();
        assert!(description.contains(told), "{claim}: {description}");
    }
    let good = signer.assertion("x", |_| {});
    let (unsigned, _) = good.rsplit_once('.').unwrap();
    let unknown = signer.assertion("y", |claims| claims["sub"] = "nobody".into());
    for assertion in [format!("{unsigned}."), format!("{unsigned}.AAAA"), "a.b.c".into(), "x".into(), unknown]
    {
        let answer = assert_with(&rig, &assertion, &[]).await;
        assert_eq!(refusal(&answer), (401, "invalid_client".into()), "{assertion}");
    }
    let saml = [
        GRANT,
        ("client_assertion", good.as_str()),
        ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:saml2-bearer"),
    ];
    assert_eq!(refusal(&rig.post("/token", &[], &saml).await), (401, "invalid_client".into()));
    assert_eq!(assert_with(&rig, &good, &[]).await.status, 200, "none of these used its jti");
}

#[tokio::test]
async fn people_sign_in_with_a_confidential_client_and_a_failed_proof_revokes_nothing() {
    // T4, T8, T13
    let rig = rig().await;
    let header = basic("web", SECRET);
    let wrong = basic("web", &"x".repeat(32));
    let code = rig.code("web", "alice").await;
    let form = [
        ("grant_type", "authorization_code"),
        ("code", code.as_str()),
        ("code_verifier", VERIFIER),
        ("redirect_uri", REDIRECT),
    ];
    for refused in
        [rig.post("/token", &[("authorization", &wrong)], &form).await, rig.redeem("web", &code, &[]).await]
    {
        assert_eq!(refusal(&refused), (401, "invalid_client".into()));
    }
    let tokens = rig.post("/token", &[("authorization", &header)], &form).await;
    assert_eq!(tokens.status, 200, "the code is untouched: {tokens:?}");
    let tokens = tokens.json();
    let refresh = tokens["refresh_token"].as_str().unwrap();
    let form = [("grant_type", "refresh_token"), ("refresh_token", refresh)];
    assert_eq!(refusal(&rig.post("/token", &[("authorization", &wrong)], &form).await).0, 401);
    let access = tokens["access_token"].as_str().unwrap();
    let revoke = rig.post("/revoke", &[("authorization", &wrong)], &[("token", access)]).await;
    assert_eq!(refusal(&revoke), (401, "invalid_client".into()));
    assert_eq!(rig.call(access).await.status, 502, "still admitted");
    let again = rig.post("/token", &[("authorization", &header)], &form).await;
    assert_eq!(again.status, 200, "and still refreshed: {again:?}");
    assert_ne!(again.json()["refresh_token"], refresh);
    let (id, now) =
        (portcullis::oauth::ClientId::parse("web").unwrap(), portcullis::clock::Clock::now(&*rig.clock));
    assert_eq!(rig.shared.store.client(&id, now).await.unwrap(), None, "the store knows nothing of it");
}

#[tokio::test]
async fn a_client_that_the_configuration_has_no_more_is_unknown() {
    // G10
    let rig = rig().await;
    assert_eq!(credentials(&rig, "ci", &[]).await.status, 200);
    let rig = rig.reconfigured(|yaml| yaml.replace("    ci:\n", "    other:\n")).await;
    let answer = credentials(&rig, "ci", &[]).await;
    assert_eq!(refusal(&answer), (401, "invalid_client".into()));
    assert_eq!(answer.header("www-authenticate"), BASIC);
}
