//! What the operator reads of registrations that made room for newer ones.

use crate::client::Client;
use crate::process::{Place, plain};
use crate::recorder::Recorder;
use crate::support::rig::request;

#[tokio::test]
async fn an_evicted_registration_stands_in_the_audit_log() {
    // G8
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let more = "limits: { unused_clients: 1 }\nlog: { format: json }";
    let process = place.start(&plain(upstream.address, more));
    let client = Client::plain(&place);
    let register = async |id: &str| {
        let headers = [("content-type", "application/json"), ("x-request-id", id)];
        let body = r#"{"redirect_uris":["http://localhost/cb"]}"#.to_owned();
        client.send(request("POST", "/register", &headers, body)).await.json()["client_id"].clone()
    };
    let first = register("the-first-request").await;
    register("the-second-request").await;
    let event = process.line(|line| line["event"] == "client_evicted").await;
    assert_eq!((&event["target"], &event["client"]), (&"audit".into(), &first));
    assert_eq!((&event["by"], &event["reason"]), (&"gateway".into(), &"limits.unused_clients".into()));
    assert_eq!(event["request_id"], "the-second-request", "the newcomer's");
}
