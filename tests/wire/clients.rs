//! What becomes of clients, as the operator reads it in the log and the server behind in its headers.

use serde_json::{Value, json};

use crate::client::Client;
use crate::process::{Place, plain};
use crate::recorder::Recorder;
use crate::support::rig::request;

const SECRET: &str = "9d1e4b7c0a35f8269d1e4b7c0a35f826";
/// `ci:` and [`SECRET`].
const BASIC: &str = "Basic Y2k6OWQxZTRiN2MwYTM1ZjgyNjlkMWU0YjdjMGEzNWY4MjY=";
/// `ci:` and another one.
const WRONG: &str = "Basic Y2k6d3JvbmctYnV0LXNlY3JldA==";

const YAML: &str = "log: { format: json, filter: trace }
clients:
  registered:
    ci:
      name: Nightly CI
      grant_types: [client_credentials]
      secret: 9d1e4b7c0a35f8269d1e4b7c0a35f826
      services: { echo: [mcp] }
      introspect: true
";

/// The audit events of a log, without what differs from run to run.
fn events(log: &str) -> Vec<Value> {
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut events: Vec<Value> = lines.filter(|line| line["target"] == "audit").collect();
    for event in &mut events {
        for member in ["timestamp", "level", "target", "address", "request_id", "grant", "resource"] {
            event.as_object_mut().unwrap().remove(member);
        }
    }
    events
}

/// Registers a client, changes and deletes it; its id and its token.
async fn a_short_life(client: &Client) -> (String, String) {
    let body = json!({ "redirect_uris": ["http://localhost:1/cb"] });
    let registered = client.send(request("POST", "/register", &[], body.to_string())).await.json();
    let text = |member: &str| registered[member].as_str().unwrap().to_owned();
    let (id, token, uri) =
        (text("client_id"), text("registration_access_token"), text("registration_client_uri"));
    let path = uri.strip_prefix(&client.issuer).unwrap();
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str())];
    let update = json!({ "client_id": id, "redirect_uris": ["http://localhost:2/cb"] }).to_string();
    assert_eq!(client.send(request("PUT", path, &headers, update)).await.status, 200);
    assert_eq!(client.send(request("DELETE", path, &headers, String::new())).await.status, 204);
    (id, token)
}

#[tokio::test]
async fn what_becomes_of_a_client_is_audited_and_nothing_secret_is_written() {
    // T16, G9
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let mut process = place.start(&plain(upstream.address, YAML));
    let client = Client::plain(&place);
    let (id, registration_token) = a_short_life(&client).await;
    let grant = [("grant_type", "client_credentials")];
    assert_eq!(client.post("/token", &[("authorization", WRONG)], &grant).await.status, 401);
    let tokens = client.post("/token", &[("authorization", BASIC)], &grant).await.json();
    let access = tokens["access_token"].as_str().unwrap().to_owned();
    let told = client.post("/introspect", &[("authorization", BASIC)], &[("token", &access)]).await;
    assert_eq!(told.json()["active"], true, "{told:?}");
    let bearer = format!("Bearer {access}");
    let answer = client.send(request("POST", "/mcp", &[("authorization", &bearer)], "{}".into())).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let [seen] = &upstream.requests()[..] else { panic!("{}", upstream.raw()) };
    assert_eq!((seen.all("x-user-id"), seen.all("x-user-name")), (vec!["client:ci"], vec!["Nightly CI"]));
    assert_eq!(seen.all("authorization"), [] as [&str; 0], "P1");
    process.signal("TERM");
    let (status, log) = process.ended().await;
    assert_eq!(status, 0, "{log}");
    assert_eq!(
        events(&log),
        [
            json!({ "event": "client_registered", "client": id }),
            json!({ "event": "client_updated", "client": id, "by": "client" }),
            json!({ "event": "client_deleted", "client": id, "by": "client" }),
            json!({ "event": "token_refused", "client": "ci", "reason": "the client secret is wrong" }),
            json!({ "event": "token_issued", "sub": "client:ci", "client": "ci" }),
        ]
    );
    let parts = access.split('.').filter(|part| part.len() > 30);
    let secrets = [SECRET, "wrong-but-secret", &BASIC[6..], &WRONG[6..], &registration_token];
    for secret in secrets.into_iter().chain(parts) {
        assert!(!log.contains(secret), "{secret} in {log}");
    }
}
