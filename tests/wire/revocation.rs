//! A revoked grant ends everywhere, open streams included (R14).

use std::time::{Duration, Instant};

use crate::client::{Client, SignedIn, call, piece};
use crate::process::{Place, plain};
use crate::recorder::Recorder;
use crate::support::redis::Redis;

async fn revoke(client: &Client, signed_in: &SignedIn) {
    let form = [("token", signed_in.refresh.as_str()), ("client_id", signed_in.client.as_str())];
    assert_eq!(client.post("/revoke", &[], &form).await.status, 200);
}

/// The streams of one user end, in time and not cleanly; the other's go on.
async fn cut(at: &Client, revoking: &Client, upstream: &Recorder) {
    let (alice, bob) = (revoking.sign_in("alice").await, revoking.sign_in("bob").await);
    let mut streams = Vec::new();
    for (method, whose) in [("GET", &alice), ("POST", &alice), ("GET", &bob)] {
        let mut stream = at.open(call(method, "/mcp/stream", whose)).await;
        assert_eq!(piece(&mut stream).await.unwrap().unwrap(), "data: open\n\n");
        streams.push(stream);
    }
    let revoked = Instant::now();
    revoke(revoking, &alice).await;
    for stream in &mut streams[..2] {
        assert!(piece(stream).await.unwrap().is_err(), "the client must not take it for the end");
        assert!(revoked.elapsed() < Duration::from_secs(2), "{:?}", revoked.elapsed());
    }
    upstream.closed(2).await;
    let refused = at.send(call("POST", "/mcp", &alice)).await;
    assert_eq!(refused.status, 401);
    assert!(refused.header("www-authenticate").contains("error=\"invalid_token\""), "{refused:?}");
    upstream.tell("still here");
    assert_eq!(piece(&mut streams[2]).await.unwrap().unwrap(), "data: still here\n\n");
    assert_eq!(at.send(call("POST", "/mcp", &bob)).await.status, 200);
}

#[tokio::test]
async fn a_revoked_grants_streams_are_cut() {
    // R14
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let _process = place.start(&plain(upstream.address, ""));
    let client = Client::plain(&place);
    cut(&client, &client, &upstream).await;
}

#[tokio::test]
async fn a_grant_that_another_process_revokes_has_its_streams_cut_here() {
    // R14
    let redis = Redis::start();
    let (place, there, upstream) = (Place::new(), Place::new(), Recorder::start().await);
    let store = format!("store: {}", redis.url());
    let yaml = plain(upstream.address, "").replace("store: file:{folder}/portcullis.db", &store);
    let _here = place.start(&yaml);
    // The same issuer and services behind another port.
    let listen = format!("listen: {{ http: \"127.0.0.1:{}\" }}", there.port);
    let yaml = yaml.replace("listen: { http: \"127.0.0.1:{port}\" }", &listen);
    let _there = there.start(&yaml.replace("{port}", &place.port.to_string()));
    let client = Client::plain(&place);
    cut(&client, &client.at(there.address()), &upstream).await;
}
