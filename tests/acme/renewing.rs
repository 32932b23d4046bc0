//! Renewal, over months that pass on a test's clock: the gateway's by libfaketime, the double's by the same file.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use portcullis::certs::Facts;

use crate::double::{AcmeDouble, Failure, Proof, Resource, Suggestion};
use crate::faketime::FakeTime;
use crate::gateway::{Gateway, HOST, Setup};
use crate::process::Place;
use crate::visitor::Visitor;

const HOUR: u64 = 60 * 60;
const DAY: u64 = 24 * HOUR;

/// An authority and a gateway on one clock.
struct World {
    time: Arc<FakeTime>,
    double: AcmeDouble,
    gateway: Gateway,
}

impl World {
    async fn start(more: &str, prepare: impl FnOnce(&AcmeDouble)) -> Self {
        let time = Arc::new(FakeTime::new());
        let clock = Arc::clone(&time);
        let (place, double) = (Place::new(), AcmeDouble::start(move || clock.now()).await);
        double.prove(Proof::Looked {
            http: SocketAddr::from(([127, 0, 0, 1], place.second)),
            tls: SocketAddr::from(([127, 0, 0, 1], place.port)),
        });
        prepare(&double);
        let acme = format!("email: ops@example.org, directory: \"{}\"{more}", double.directory());
        let setup = Setup { environment: time.environment(), ..Setup::at(&place, acme) };
        let gateway = setup.start(place);
        Self { time, double, gateway }
    }

    /// What is shown to a client that takes it for `at`.
    async fn shown_at(&self, at: u64) -> std::io::Result<Facts> {
        Visitor::at(&self.double.root(), at).shown(self.gateway.https, HOST).await
    }

    /// What is shown to a client with the same clock, once it is another one than `old`.
    async fn another(&self, old: Option<&Facts>) -> Facts {
        let visitor = Visitor::at(&self.double.root(), self.time.now() + 5);
        let is_new = |facts: &Facts| old.is_none_or(|old| old.serial != facts.serial);
        visitor.waits((self.gateway.https, HOST), Duration::from_secs(20), is_new).await
    }

    /// Long enough for the gateway to have looked at everything.
    async fn quiet(&self) {
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
}

#[tokio::test]
async fn a_certificate_is_renewed_in_time_and_the_old_one_shown_until_then() {
    // X3
    let world = World::start("", AcmeDouble::without_renewal_info).await;
    let first = world.another(None).await;
    let row = world.gateway.row_that(HOST, |row| row["state"] == "valid").await;
    let (renews, ends) = (row["renews"].as_str().unwrap(), row["not_after"].as_str().unwrap());
    assert!(renews < ends, "{row}");
    // Two thirds of ninety days, and up to three days earlier.
    world.time.advance(56 * DAY);
    world.quiet().await;
    assert_eq!(world.double.orders().len(), 1);
    world.double.prove(Proof::Pending);
    world.time.advance(5 * DAY);
    world.double.until(|double| double.requests_to(Resource::Challenge).len() == 2).await;
    assert_eq!(world.shown_at(world.time.now()).await.unwrap().serial, first.serial, "while it is ordered");
    world.double.prove(Proof::Believed);
    let second = world.another(Some(&first)).await;
    assert!(second.not_after > first.not_after);
    let orders = world.double.orders();
    assert_eq!(orders.len(), 2);
    assert_eq!(orders[1].replaces, None, "this authority has not heard of it");
    world.quiet().await;
    assert_eq!(world.double.orders().len(), 2, "once");
}

#[tokio::test]
async fn an_expired_certificate_is_shown_while_the_authority_is_away() {
    // X3
    let world = World::start("", AcmeDouble::without_renewal_info).await;
    let first = world.another(None).await;
    world.double.fail(Resource::Directory, Failure::HangUp, u32::MAX);
    world.time.advance(85 * DAY);
    world.gateway.says("no certificate: the certificate authority cannot be reached").await;
    assert_eq!(world.shown_at(world.time.now()).await.unwrap().serial, first.serial);
    assert_eq!(world.gateway.said("THE CERTIFICATE HAS EXPIRED"), 0);
    world.time.advance(6 * DAY);
    world.gateway.says("THE CERTIFICATE HAS EXPIRED").await;
    let was_valid = first.not_after.seconds() - HOUR;
    assert_eq!(world.shown_at(was_valid).await.unwrap().serial, first.serial, "it is shown on");
    let told = world.shown_at(world.time.now()).await.unwrap_err().to_string();
    assert!(told.contains("certificate expired"), "{told}");
    assert_eq!(world.gateway.row(HOST).await["state"], "expired");
    world.double.heal();
    world.time.advance(DAY);
    world.another(Some(&first)).await;
    assert_eq!(world.gateway.row_that(HOST, |row| row["failures"] == 0).await["state"], "valid");
}

#[tokio::test]
async fn a_window_in_the_past_has_a_certificate_replaced_at_once() {
    // X3, RFC 9773 §4.2: this is how a revocation is announced.
    let world = World::start(", profile: short", |double| double.profiles(&["short", "long"])).await;
    let first = world.another(None).await;
    world.double.until(|double| !double.requests_to(Resource::RenewalInfo).is_empty()).await;
    let now = world.time.now();
    let revoked = Suggestion {
        window: (now - 2 * DAY, now - DAY),
        retry_after: 6 * HOUR,
        explanation: Some("https://ca.example/incident".into()),
    };
    world.double.suggest_for(&first.serial, revoked);
    world.quiet().await;
    assert_eq!(world.double.orders().len(), 1, "nobody has asked again yet");
    world.time.advance(6 * HOUR + 60);
    let second = world.another(Some(&first)).await;
    let (orders, issued) = (world.double.orders(), world.double.issued());
    assert_eq!(orders.len(), 2);
    assert_eq!(orders[1].replaces.as_ref(), Some(&issued[0].id));
    let profiles: Vec<_> = orders.iter().map(|order| order.profile.as_deref()).collect();
    assert_eq!(profiles, [Some("short"), Some("short")]);
    world.gateway.says("https://ca.example/incident").await;
    // The new one has its own window.
    world.double.until(|double| double.requests_to(Resource::RenewalInfo).len() >= 3).await;
    let asked = world.double.requests_to(Resource::RenewalInfo);
    assert!(asked.last().unwrap().path.ends_with(&issued[1].id), "{asked:?}");
    assert_ne!(first.serial, second.serial);
    world.quiet().await;
    assert_eq!(world.double.orders().len(), 2);
}

#[tokio::test]
async fn the_authority_is_asked_about_renewal_as_often_as_it_says() {
    // RFC 9773 §4.3.2
    let now = FakeTime::new().now();
    let later =
        Suggestion { window: (now + 50 * DAY, now + 51 * DAY), retry_after: 3 * HOUR, explanation: None };
    let world = World::start("", |double| double.suggest(later)).await;
    world.another(None).await;
    let asked = |double: &AcmeDouble| double.requests_to(Resource::RenewalInfo).len();
    world.double.until(|double| asked(double) == 1).await;
    world.time.advance(2 * HOUR);
    world.quiet().await;
    assert_eq!(asked(&world.double), 1);
    world.time.advance(HOUR + 60);
    world.double.until(|double| asked(double) == 2).await;
    let renews = world.gateway.row(HOST).await["renews"].as_str().unwrap().to_owned();
    let renews = seconds_of(&renews);
    assert!((now + 50 * DAY..=now + 51 * DAY).contains(&renews), "{renews}");
    // It is renewed then, and says what it replaces.
    world.time.advance(52 * DAY);
    world.double.until(|double| double.orders().len() == 2).await;
    assert_eq!(world.double.orders()[1].replaces, Some(world.double.issued()[0].id.clone()));
}

#[tokio::test]
async fn what_has_been_replaced_already_is_replaced_all_the_same() {
    let world = World::start("", |_| ()).await;
    let first = world.another(None).await;
    world.double.fail(Resource::NewOrder, Failure::Problem(409, "alreadyReplaced", None), 1);
    world.gateway.renew(HOST).await;
    world.another(Some(&first)).await;
    let asked = world.double.requests_to(Resource::NewOrder);
    let said: Vec<_> = asked.iter().map(|seen| (seen.status, seen.payload["replaces"].is_string())).collect();
    assert_eq!(said, [(201, false), (409, true), (201, false)]);
}

#[tokio::test]
async fn a_rate_limit_is_waited_out() {
    // X3
    let limited = |double: &AcmeDouble| {
        double.fail(Resource::NewOrder, Failure::rate_limited(30 * HOUR), 1);
    };
    let world = World::start(", challenge: http-01", limited).await;
    world.gateway.says("nothing is to be done but to wait").await;
    let row = world.gateway.row_that(HOST, |row| row["failures"] == 1).await;
    let next = seconds_of(row["next_try"].as_str().unwrap());
    assert!((world.time.now() + 29 * HOUR..world.time.now() + 31 * HOUR).contains(&next), "{row}");
    world.time.advance(29 * HOUR);
    world.quiet().await;
    assert_eq!(world.double.requests_to(Resource::NewOrder).len(), 1);
    world.time.advance(HOUR + 60);
    world.another(None).await;
}

#[tokio::test]
async fn a_certificate_that_is_due_from_its_first_moment_is_not_ordered_on_and_on() {
    // An authority's mistake, or a clock that is wrong: neither must use up the week's certificates.
    let now = FakeTime::new().now();
    let past = Suggestion { window: (now - 2 * DAY, now - DAY), retry_after: 60, explanation: None };
    let world = World::start("", |double| double.suggest(past)).await;
    world.another(None).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let orders = world.double.orders().len();
    assert!(orders <= 2, "{orders} orders in ten seconds");
}

/// Seconds of the epoch of an RFC 3339 moment in UTC.
fn seconds_of(text: &str) -> u64 {
    let number = |from: usize, to: usize| text[from..to].parse::<u64>().unwrap();
    let month = time::Month::try_from(u8::try_from(number(5, 7)).unwrap()).unwrap();
    let (year, day) = (i32::try_from(number(0, 4)).unwrap(), u8::try_from(number(8, 10)).unwrap());
    let date = time::Date::from_calendar_date(year, month, day).unwrap();
    let midnight = u64::try_from(date.midnight().assume_utc().unix_timestamp()).unwrap();
    midnight + number(11, 13) * HOUR + number(14, 16) * 60 + number(17, 19)
}
