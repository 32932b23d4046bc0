//! What the audit log says of tokens: item by item, after the deed, and never a secret.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use portcullis::clock::Clock;
use portcullis::oauth::TokenLives;
use portcullis::store::Swap;
use portcullis::token::RefreshToken;
use serde_json::Value;
use tracing::Dispatch;
use tracing::field::{Field, Visit};
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use crate::support::rig::{RESOURCE, Rig, VERIFIER};

pub(crate) type Fields = BTreeMap<String, String>;

/// The audit events of this test's thread, on which the whole rig runs.
pub(crate) struct Log {
    events: Arc<Mutex<Vec<Fields>>>,
    _recording: DefaultGuard,
}

impl Log {
    pub(crate) fn start() -> Self {
        LazyLock::force(&ANOTHER);
        let recorder = Recorder::default();
        let events = Arc::clone(&recorder.0);
        let recording = tracing::subscriber::set_default(tracing_subscriber::registry().with(recorder));
        Self { events, _recording: recording }
    }

    /// The events since the last call.
    pub(crate) fn take(&self) -> Vec<Fields> {
        std::mem::take(&mut self.events.lock().unwrap())
    }

    /// Their names.
    fn names(&self) -> Vec<String> {
        self.take().iter().map(|event| event["event"].clone()).collect()
    }
}

/// While there is but one subscriber, `tracing` asks only the thread that comes to an event first whether anybody listens:
/// a test without a log would answer for all others. A second one that never goes away makes it ask all of them.
static ANOTHER: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(tracing_subscriber::registry()));

#[derive(Default)]
struct Recorder(Arc<Mutex<Vec<Fields>>>);

impl<S: tracing::Subscriber> Layer<S> for Recorder {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() == "audit" {
            let mut reader = Reader(Fields::new());
            event.record(&mut reader);
            self.0.lock().unwrap().push(reader.0);
        }
    }
}

struct Reader(Fields);

impl Visit for Reader {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }
}

fn text(tokens: &Value, name: &str) -> String {
    tokens[name].as_str().unwrap().to_owned()
}

/// The event, its client, and further fields; the request's own are checked and taken away.
fn event(mut event: Fields) -> Fields {
    assert_eq!(event.remove("address").as_deref(), Some("127.0.0.1"));
    assert_eq!(event.remove("request_id").unwrap().len(), 22);
    event
}

fn fields(of: &[(&str, &str)]) -> Fields {
    of.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Alice's grant to one client.
struct World {
    rig: Rig,
    log: Log,
    client: String,
    code: String,
    first: Value,
}

impl World {
    async fn of(rig: Rig) -> Self {
        let log = Log::start();
        let client = rig.register().await;
        let code = rig.code(&client, "alice").await;
        log.take();
        let first = rig.redeem(&client, &code, &[]).await.json();
        Self { rig, log, client, code, first }
    }

    async fn new() -> Self {
        Self::of(Rig::dev().await).await
    }

    /// The first tokens' event was not looked at.
    async fn signed_in() -> Self {
        let world = Self::new().await;
        world.log.take();
        world
    }

    fn grant(&self) -> String {
        RefreshToken::parse(&text(&self.first, "refresh_token")).unwrap().grant().to_string()
    }

    /// What every event of the grant says.
    fn of_grant(&self, event: &str, more: &[(&str, &str)]) -> Fields {
        let grant = self.grant();
        let known = [
            ("event", event),
            ("sub", "dev:alice"),
            ("client", &self.client),
            ("grant", &grant),
            ("resource", RESOURCE),
        ];
        fields(&[&known, more].concat())
    }

    /// Refreshes; the next refresh token.
    async fn next(&self, token: &str) -> String {
        let answer = self.rig.refresh(&self.client, token, &[]).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        text(&answer.json(), "refresh_token")
    }

    /// Refreshes, and then the store forgets it; the token that is now newer than the store's record.
    async fn forgotten(&self) -> String {
        let first = text(&self.first, "refresh_token");
        let (id, now) = (RefreshToken::parse(&first).unwrap().grant(), self.rig.clock.now());
        let store = &self.rig.shared.store;
        let older = store.grant(id, now).await.unwrap().unwrap();
        let newest = self.next(&first).await;
        let newer = store.grant(id, now).await.unwrap().unwrap();
        let restored = store.swap_grant(&newer, &older.value, &TokenLives::default()).await.unwrap();
        assert_eq!(restored, Swap::Done);
        self.log.take();
        newest
    }
}

#[tokio::test]
async fn tokens_are_told_with_who_and_what_for() {
    // T8, T10
    let world = World::new().await;
    let [issued] = &world.log.take()[..] else { panic!() };
    assert_eq!(event(issued.clone()), world.of_grant("token_issued", &[]));
    let first = text(&world.first, "refresh_token");
    let second = world.next(&first).await;
    let [refreshed] = &world.log.take()[..] else { panic!() };
    assert_eq!(event(refreshed.clone()), world.of_grant("token_refreshed", &[]));
    assert_eq!(world.next(&first).await, second);
    let [replayed] = &world.log.take()[..] else { panic!() };
    assert_eq!(event(replayed.clone()), world.of_grant("refresh_replayed", &[]));
}

#[tokio::test]
async fn a_reused_refresh_token_is_told_as_such_and_as_the_end_of_its_grant() {
    // T9
    let world = World::signed_in().await;
    let first = text(&world.first, "refresh_token");
    let third = world.next(&world.next(&first).await).await;
    world.log.take();
    assert_eq!(world.rig.refresh(&world.client, &first, &[]).await.status, 400);
    let [refused] = &world.log.take()[..] else { panic!() };
    let reason = "the refresh token was replaced; use the newest one";
    let within_the_grace =
        fields(&[("event", "token_refused"), ("client", &world.client), ("reason", reason)]);
    assert_eq!(event(refused.clone()), within_the_grace);
    world.rig.clock.advance(Duration::from_secs(61));
    assert_eq!(world.rig.refresh(&world.client, &first, &[]).await.status, 400);
    let [theft, revoked] = &world.log.take()[..] else { panic!() };
    let reason = ("reason", "the refresh token was used before; the grant is revoked, sign in again");
    assert_eq!(event(theft.clone()), world.of_grant("refresh_reused", &[reason]));
    assert_eq!(event(revoked.clone()), world.of_grant("grant_revoked", &[("by", "gateway"), reason]));
    assert_eq!(world.rig.refresh(&world.client, &third, &[]).await.status, 400);
    assert_eq!(world.log.names(), ["token_refused"], "it is revoked once");
}

#[tokio::test]
async fn a_code_that_comes_twice_is_told_as_the_end_of_its_grant() {
    // T3
    let world = World::signed_in().await;
    assert_eq!(world.rig.redeem(&world.client, &world.code, &[]).await.status, 400);
    let [revoked] = &world.log.take()[..] else { panic!() };
    let revoked = event(revoked.clone());
    let reason = revoked["reason"].clone();
    assert!(reason.contains("code") && reason.contains("used"), "{reason}");
    assert_eq!(revoked, world.of_grant("grant_revoked", &[("by", "gateway"), ("reason", &reason)]));
}

#[tokio::test]
async fn a_grant_that_the_access_rules_end_is_told_so() {
    let World { rig, log, client, code, first } = World::signed_in().await;
    let rig = rig.reconfigured(|yaml| yaml.replace("users: [\"*\"]", "users: [bob]")).await;
    let world = World { rig, log, client, code, first };
    assert_eq!(world.rig.refresh(&world.client, &text(&world.first, "refresh_token"), &[]).await.status, 400);
    let [revoked] = &world.log.take()[..] else { panic!() };
    let reason = "the access rules no longer let this user in; the grant is revoked";
    let told = world.of_grant("grant_revoked", &[("by", "access rules"), ("reason", reason)]);
    assert_eq!(event(revoked.clone()), told);
}

#[tokio::test]
async fn a_grant_that_its_client_ends_is_told_once() {
    // R14
    let world = World::signed_in().await;
    let token = text(&world.first, "access_token");
    for _ in 0..2 {
        let form = [("token", token.as_str()), ("client_id", &world.client)];
        assert_eq!(world.rig.post("/revoke", &[], &form).await.status, 200);
    }
    let [revoked] = &world.log.take()[..] else { panic!() };
    assert_eq!(event(revoked.clone()), world.of_grant("grant_revoked", &[("by", "client")]));
}

#[tokio::test]
async fn a_known_client_that_is_refused_is_told_with_the_reason_and_without_what_it_sent() {
    // T16
    let world = World::signed_in().await;
    let (client, first) = (world.client.as_str(), text(&world.first, "refresh_token"));
    let at = first.len() - 9;
    let other = if &first[at..=at] == "A" { "B" } else { "A" };
    let broken = format!("{}{other}{}", &first[..at], &first[at + 1..]);
    let other = format!("{}.{}", &world.code[..22], "A".repeat(43));
    let code = |code| vec![("grant_type", "authorization_code"), ("code", code), ("code_verifier", VERIFIER)];
    let refresh = |token| vec![("grant_type", "refresh_token"), ("refresh_token", token)];
    for (form, reason) in [
        (vec![], "grant_type is missing"),
        (
            vec![("grant_type", "password")],
            "grant_type must be authorization_code, refresh_token or client_credentials",
        ),
        (code("secret-code"), "this is no code of ours"),
        (code(&other), "there is no such code"),
        (refresh("secret-token"), "this is no refresh token of ours"),
        (refresh(&broken), "this refresh token is not one of this client"),
        (vec![("grant_type", "refresh_token")], "refresh_token is missing"),
    ] {
        let form: Vec<_> = form.into_iter().chain([("client_id", client)]).collect();
        let answer = world.rig.post("/token", &[], &form).await;
        assert_eq!(answer.status, 400, "{answer:?}");
        let [refused] = &world.log.take()[..] else { panic!("{form:?}") };
        let told = fields(&[("event", "token_refused"), ("client", client), ("reason", reason)]);
        assert_eq!(event(refused.clone()), told);
    }
    let stranger = [("grant_type", "refresh_token"), ("refresh_token", &first), ("client_id", "c_stranger")];
    assert_eq!(world.rig.post("/token", &[], &stranger).await.status, 401);
    assert_eq!(world.log.names(), [""; 0], "a stranger may say anything, and fills no log of ours");
    world.next(&first).await;
    assert_eq!(world.log.names(), ["token_refreshed"], "none of these ended the grant");
}

#[tokio::test]
async fn a_write_that_the_store_lost_is_told_with_the_refresh_that_shows_it() {
    // T15
    let world = World::signed_in().await;
    let newest = world.forgotten().await;
    world.next(&newest).await;
    let [lost, refreshed] = &world.log.take()[..] else { panic!() };
    assert_eq!(event(lost.clone()), world.of_grant("store_lost_write", &[]));
    assert_eq!(event(refreshed.clone()), world.of_grant("token_refreshed", &[]));
}

// It was told by the decision, which is taken once more after a conflict.
#[tokio::test]
async fn of_two_that_show_a_lost_write_the_one_that_commits_tells_it() {
    // T15
    let world = World::signed_in().await;
    let newest = world.forgotten().await;
    let (one, other) = tokio::join!(world.next(&newest), world.next(&newest));
    assert_eq!(one, other);
    let mut names = world.log.names();
    names.sort();
    assert_eq!(names, ["refresh_replayed", "store_lost_write", "token_refreshed"]);
}

#[tokio::test]
async fn a_lost_write_is_told_even_if_the_store_s_answer_to_the_next_one_is_lost() {
    // T15
    let (rig, store) = Rig::forgetful().await;
    let world = World::of(rig).await;
    let newest = world.forgotten().await;
    store.lose_the_next_answer();
    world.next(&newest).await;
    assert_eq!(world.log.names(), ["store_lost_write", "token_refreshed"]);
}
