//! What the log says of a request, and what it never says.

use crate::client::{Client, SignedIn, call, http2_on, tls, whole};
use crate::process::{Place, plain, secure};
use crate::recorder::Recorder;
use crate::support::rig::request;

const EVERYTHING: &str = "log: { format: json, filter: trace }";

#[tokio::test]
async fn a_request_id_goes_in_out_upstream_and_into_the_access_line() {
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let process = place.start(&plain(upstream.address, "log: { format: json }"));
    let client = Client::plain(&place);
    let signed_in = client.sign_in("alice").await;
    let long = "x".repeat(65);
    for (sent, kept) in
        [("req_1.2-3", true), ("a b", false), ("<script>", false), (long.as_str(), false), ("", false)]
    {
        upstream.forget();
        let mut asked = call("POST", "/mcp/x?secret=1", &signed_in);
        asked.headers_mut().insert("x-request-id", sent.parse().unwrap());
        let answer = client.send(asked).await;
        let id = answer.header("x-request-id");
        assert_eq!(id == sent, kept, "{sent}: {id}");
        assert_eq!(id.len(), if kept { sent.len() } else { 22 }, "{id}");
        let [seen] = &upstream.requests()[..] else { panic!("{}", upstream.raw()) };
        assert_eq!(seen.all("x-request-id"), [id]);
        let mut line = process.line(|line| line["target"] == "access" && line["request_id"] == id).await;
        let fields = line.as_object_mut().unwrap();
        assert!(fields.remove("timestamp").unwrap().is_string());
        assert!(fields.remove("duration_ms").unwrap().is_number());
        let expected = serde_json::json!({
            "level": "INFO", "target": "access", "request_id": id, "method": "POST", "host": client.host(),
            "path": "/mcp/x", "status": 200, "bytes": answer.body.len(), "service": "echo", "sub": "dev:alice",
            "client": signed_in.client, "peer": "127.0.0.1",
        });
        assert_eq!(line, expected);
    }
}

#[tokio::test]
async fn refused_requests_have_an_id_and_a_line_too() {
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let process = place.start(&plain(upstream.address, "log: { format: json }"));
    let client = Client::plain(&place);
    for (target, host, status, reason, trouble) in [
        ("/mcp", client.host(), 401, "no_token", None),
        ("/nowhere", client.host(), 404, "not_found", Some("wrong-url")),
        ("/mcp", "unknown.example", 421, "unknown_host", Some("tunnel")),
    ] {
        let answer = client.get(target, &[("host", host)]).await;
        assert_eq!(answer.status, status);
        let id = answer.header("x-request-id").to_owned();
        assert_eq!(id.len(), 22);
        let line = process.line(|line| line["target"] == "access" && line["request_id"] == id.as_str()).await;
        assert_eq!((&line["status"], &line["reason"]), (&status.into(), &reason.into()), "{line}");
        assert_eq!(line.get("trouble").and_then(serde_json::Value::as_str), trouble, "{line}");
        assert_eq!(line["host"], host);
    }
}

/// Everything a client and a browser do, and everything they do wrong.
async fn a_busy_hour(client: &Client) -> (SignedIn, Vec<String>) {
    let signed_in = client.sign_in("alice").await;
    let mut secrets = signed_in.secrets.clone();
    client.send(call("POST", "/mcp", &signed_in)).await;
    client.send(call("POST", "/mcp/break", &signed_in)).await;
    let refresh = async |token: &str| {
        let form =
            [("grant_type", "refresh_token"), ("client_id", &signed_in.client), ("refresh_token", token)];
        client.post("/token", &[], &form).await
    };
    let refreshed = refresh(&signed_in.refresh).await;
    assert_eq!(refreshed.status, 200, "{refreshed:?}");
    let token = |name: &str| refreshed.json()[name].as_str().unwrap().to_owned();
    secrets.extend([token("access_token"), token("refresh_token")]);
    refresh("rt_wrong-refresh-token").await;
    let code = [
        ("grant_type", "authorization_code"),
        ("client_id", &signed_in.client),
        ("code", "wrong-code-1234"),
        ("code_verifier", "wrong-verifier-01234567890123456789012345678901"),
    ];
    client.post("/token", &[("authorization", "Basic d3Jvbmc6cGFzc3dvcmQ=")], &code).await;
    for value in ["Bearer wrong-bearer-token", "Basic d3Jvbmc6YmFzaWM=", "wrong-scheme-and-all"] {
        let headers = [("authorization", value), ("cookie", "session=wrong-cookie-value"), ("x-secret", "s")];
        client.send(request("POST", "/mcp?access_token=wrong-query-token", &headers, String::new())).await;
        client
            .send(request(
                "GET",
                "/callback?code=wrong-query-code&state=wrong-query-state",
                &headers,
                String::new(),
            ))
            .await;
        client
            .send(request("GET", "/authorize?state=wrong-query-state&client_id=c", &headers, String::new()))
            .await;
    }
    let form = [("token", token("refresh_token")), ("client_id", signed_in.client.clone())];
    let form = form.each_ref().map(|(name, value)| (*name, value.as_str()));
    assert_eq!(client.post("/revoke", &[], &form).await.status, 200);
    let told = client.send(call("POST", "/mcp", &signed_in)).await;
    assert_eq!(told.status, 401, "{told:?}");
    secrets.extend(
        [
            "wrong-refresh-token",
            "wrong-code-1234",
            "wrong-verifier",
            "wrong-bearer-token",
            "d3Jvbmc6",
            "wrong:basic",
            "wrong-scheme-and-all",
            "wrong-cookie-value",
            "wrong-query-token",
            "wrong-query-code",
            "wrong-query-state",
        ]
        .map(str::to_owned),
    );
    (signed_in, secrets)
}

#[tokio::test]
async fn no_secret_is_written_to_the_log_at_any_level() {
    // T16, X4
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let yaml = secure(upstream.address).replace("workers: 1", EVERYTHING);
    let mut process = place.start(&yaml);
    let client = Client::secure(&place);
    let (signed_in, mut secrets) = a_busy_hour(&client).await;
    let mut http2 = http2_on(tls(&place, "localhost", &[b"h2"]).await.unwrap()).await;
    for target in ["/mcp?access_token=wrong-query-token", "/callback?code=wrong-query-code"] {
        let mut asked = call("GET", "/mcp", &signed_in);
        *asked.uri_mut() = format!("{}{target}", client.issuer).parse().unwrap();
        asked.headers_mut().insert("cookie", "session=wrong-cookie-value".parse().unwrap());
        whole(http2.send_request(asked.map(Into::into)).await.unwrap()).await;
    }
    // A part of a token is as good as the whole to who can guess the rest.
    let parts: Vec<_> = secrets.iter().flat_map(|secret| secret.split('.')).map(str::to_owned).collect();
    secrets.extend(parts.into_iter().filter(|part| part.len() > 30));
    secrets.push("5a".repeat(32));
    process.signal("TERM");
    let (status, log) = process.ended().await;
    assert_eq!(status, 0, "{log}");
    for secret in &secrets {
        assert!(!log.contains(secret.as_str()), "{secret} in {log}");
    }
    assert!(secrets.len() > 25, "{secrets:?}");
    for said in ["login_succeeded", "consent_given", "grant_revoked", &signed_in.client, "\"TRACE\""] {
        assert!(log.contains(said), "{said}: {log}");
    }
}
