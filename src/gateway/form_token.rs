//! Form tokens: what proves that a form was filled in on a page of ours, in this browser, by whom the page named, and for
//! what it showed. `time . MAC`; nothing is stored for a page that is merely looked at.

use std::time::Duration;

use http::{HeaderMap, Response};

use super::cookies::Kind;
use super::exchange::Exchange;
use super::{Body, reply};
use crate::seal;
use crate::secret::{Key, Secret};
use crate::store::Session;
use crate::time::Timestamp;

/// What the key of form tokens is derived for.
const LABEL: &str = "form token v1";
/// How long a page may stay open before its form is refused.
const LIFE: Duration = Duration::from_hours(1);
/// How far the clock of another process, which made the page, may be ahead.
const SKEW: Duration = Duration::from_secs(30);

/// The browser's form cookie, and the token of one page's forms.
pub(super) struct Issued {
    cookie: Secret,
    pub(super) token: Secret,
}

/// A token for a page's forms. Several tabs share one cookie, which lives on with each page.
pub(super) fn issue(
    exchange: &Exchange<'_>,
    headers: &HeaderMap,
    session: Option<&Session>,
    form: &[&str],
) -> Issued {
    let cookie = exchange.jar().read(headers, Kind::Form, "").unwrap_or_else(Secret::random);
    let key = exchange.shared.sealer.derive(LABEL);
    let token = token(&key, (&cookie, session), form, exchange.now);
    Issued { cookie, token }
}

impl Issued {
    /// Sets the cookie on the page.
    pub(super) fn keep(&self, exchange: &Exchange<'_>, page: &mut Response<Body>) {
        let line = exchange.jar().set(Kind::Form, "", &self.cookie, LIFE);
        reply::add_cookie(page.headers_mut(), &line);
    }
}

/// Whether `token` is one of such a form, made lately for this browser and for who is signed in. An older `secret_key` will do.
pub(super) fn proves(
    exchange: &Exchange<'_>,
    headers: &HeaderMap,
    session: Option<&Session>,
    form: &[&str],
    presented: Option<&str>,
) -> bool {
    let (Some(cookie), Some(presented)) = (exchange.jar().read(headers, Kind::Form, ""), presented) else {
        return false;
    };
    let made = presented.split_once('.').and_then(|(made, _)| made.parse().ok()).map(Timestamp::from_seconds);
    let Some(made) =
        made.filter(|made| *made <= exchange.now.after(SKEW) && exchange.now.since(*made) <= LIFE)
    else {
        return false;
    };
    let presented = Secret::new(presented.to_owned());
    let mut keys = exchange.shared.sealer.derived(LABEL);
    keys.any(|key| token(&key, (&cookie, session), form, made) == presented)
}

/// A MAC over the browser's cookie, the session's user, and what the form is for.
fn token(
    key: &Key,
    (cookie, session): (&Secret, Option<&Session>),
    form: &[&str],
    made: Timestamp,
) -> Secret {
    let time = made.seconds().to_string();
    let subject = session.map_or("", |session| session.facts.user.subject.as_str());
    let mut parts = vec![cookie.expose().as_bytes(), subject.as_bytes(), time.as_bytes()];
    parts.extend(form.iter().map(|part| part.as_bytes()));
    Secret::new(format!("{time}.{}", seal::mac(key, &parts).expose()))
}
