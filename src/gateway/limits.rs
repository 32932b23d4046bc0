//! Rate limits by client address (G8): what each endpoint's limit is called and where it is applied, and what somebody is
//! told who has reached one. Each process counts for itself, without a store, before a body is read; what makes the
//! store grow is also counted by all processes together.

mod buckets;
mod connections;

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderValue, Response, StatusCode};

use super::discovery::open_to_all;
use super::exchange::{Exchange, noted, refused_page};
use super::route::Route;
use super::{Body, reply};
use crate::oauth::ErrorCode;
use crate::pages::Problem;
use crate::seal;
use crate::secret;
use crate::store::StoreError;
use crate::telemetry::{Audit, Event, Note, RequestRefusal};
use crate::time::Timestamp;
use crate::trouble::Trouble;

pub use buckets::Buckets;
pub use connections::ConnectionLimits;

/// What is limited for each client address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Limit {
    /// `POST /register` and what is done with a registration; counted by all processes together, too.
    Register,
    /// `/authorize`: the consent page and its form.
    Authorize,
    /// Sign-ins that are begun at the identity provider; counted by all processes together, too.
    SignIn,
    /// Metadata documents of clients that are fetched.
    Document,
    /// `/callback`.
    Callback,
    /// `/token`.
    Token,
    /// `/revoke`.
    Revoke,
    /// `/introspect`.
    Introspect,
    /// Our own pages, and what a person does there: signs in, disconnects a client, signs out.
    Pages,
}

/// So many in so long. As many may come at once; each that is used up comes back after its part of the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub count: NonZeroU32,
    /// In how long: whole seconds, one at least.
    pub period: Duration,
}

/// Every limit, as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// In the order of [`Limit::ALL`]; `None` is `off`.
    pub rates: [Option<Rate>; Limit::ALL.len()],
    /// Registrations that nobody has used yet; beyond it the oldest goes.
    pub unused_clients: u64,
    /// Sign-ins on their way through the identity provider; beyond it the oldest goes.
    pub open_sign_ins: u64,
    /// What connections may take.
    pub connections: ConnectionLimits,
    /// How long a client may pause in the middle of a body that goes to a service.
    pub body_pause: Duration,
}

impl Limit {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Register,
        Self::Authorize,
        Self::SignIn,
        Self::Document,
        Self::Callback,
        Self::Token,
        Self::Revoke,
        Self::Introspect,
        Self::Pages,
    ];

    /// Its key under `limits`.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::Authorize => "authorize",
            Self::SignIn => "sign_in",
            Self::Document => "document",
            Self::Callback => "callback",
            Self::Token => "token",
            Self::Revoke => "revoke",
            Self::Introspect => "introspect",
            Self::Pages => "pages",
        }
    }

    /// What it is unless configured: so much that 5,000 people behind one address do not notice, by the arithmetic in
    /// config/portcullis.yaml.
    #[must_use]
    pub const fn default_rate(self) -> Rate {
        const HOUR: Duration = Duration::from_hours(1);
        const MINUTE: Duration = Duration::from_mins(1);
        match self {
            Self::Register | Self::SignIn => Rate::new(20_000, HOUR),
            Self::Authorize | Self::Callback | Self::Revoke | Self::Pages => Rate::new(6_000, MINUTE),
            // Few documents are wanted, and what was fetched is kept: whoever wants many means to use us against others.
            Self::Document => Rate::new(10, MINUTE),
            Self::Token | Self::Introspect => Rate::new(30_000, MINUTE),
        }
    }

    /// The limit of a request: the one place where an endpoint is given one. Documents, redirects and what a token guards
    /// have none, for they touch no store.
    const fn of(route: &Route<'_>) -> Option<Self> {
        match route {
            Route::Register | Route::Registration(_) => Some(Self::Register),
            Route::Authorize => Some(Self::Authorize),
            Route::Callback => Some(Self::Callback),
            Route::Token => Some(Self::Token),
            Route::Revoke => Some(Self::Revoke),
            Route::Introspect => Some(Self::Introspect),
            Route::Home | Route::Connections(_) | Route::DevLogin => Some(Self::Pages),
            Route::ServerMetadata
            | Route::ResourceMetadata(_)
            | Route::NoDocument
            | Route::AuthorizeAtIssuer(_)
            | Route::Keys
            | Route::Stylesheet
            | Route::Help(_)
            | Route::Service(_)
            | Route::Nothing(_) => None,
        }
    }

    /// Whether a person in a browser is told, rather than a client.
    const fn is_for_people(self) -> bool {
        match self {
            Self::Authorize | Self::SignIn | Self::Document | Self::Callback | Self::Pages => true,
            Self::Register | Self::Token | Self::Revoke | Self::Introspect => false,
        }
    }
}

impl Rate {
    /// `count` in `period`; zero counts as one.
    #[must_use]
    pub const fn new(count: u32, period: Duration) -> Self {
        let count = match NonZeroU32::new(count) {
            Some(count) => count,
            None => NonZeroU32::MIN,
        };
        Self { count, period }
    }
}

/// As it is configured: `1000/h`, `20/10m`.
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.period.as_secs().max(1);
        let units = [(24 * 60 * 60, "d"), (60 * 60, "h"), (60, "m"), (1, "s")];
        let (length, unit) =
            units.into_iter().find(|(length, _)| seconds.is_multiple_of(*length)).unwrap_or((1, "s"));
        match seconds / length {
            1 => write!(f, "{}/{unit}", self.count),
            several => write!(f, "{}/{several}{unit}", self.count),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            rates: Limit::ALL.map(|limit| Some(limit.default_rate())),
            unused_clients: 100_000,
            open_sign_ins: 100_000,
            connections: ConnectionLimits::default(),
            body_pause: Duration::from_secs(30),
        }
    }
}

impl Limits {
    /// The rate of `limit`; `None` if it is off.
    #[must_use]
    pub fn rate(&self, limit: Limit) -> Option<Rate> {
        let configured = Limit::ALL.iter().zip(self.rates).find(|(one, _)| **one == limit);
        configured.and_then(|(_, rate)| rate)
    }
}

/// A limit was reached: 429.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many requests from this address: limits.{} is {rate}; try again in {} s", .limit.key(), .wait.as_secs())]
pub(super) struct Hit {
    limit: Limit,
    rate: Rate,
    /// In whole seconds; then the next request is let through.
    pub(super) wait: Duration,
}

/// Counts a request against the limit of its endpoint, in this process.
pub(super) fn admit(exchange: &Exchange<'_>, route: &Route<'_>) -> Result<(), Hit> {
    Limit::of(route).map_or(Ok(()), |limit| take(exchange, limit))
}

/// Counts one more that makes the store grow, for all processes together.
///
/// # Errors
/// [`StoreError`].
pub(super) async fn count(exchange: &Exchange<'_>, limit: Limit) -> Result<Result<(), Hit>, StoreError> {
    let Some(rate) = exchange.site.settings.limits.rate(limit) else { return Ok(Ok(())) };
    let name = shared_counter(&exchange.shared.sealer, limit, &exchange.network());
    let (window, most) = shared_window(rate);
    if exchange.shared.store.count(&name, window, exchange.now).await? <= most {
        return Ok(Ok(()));
    }
    let hit = Hit { limit, rate, wait: until_next_window(window, exchange.now) };
    tell(exchange, hit);
    Ok(Err(hit))
}

/// Counts one more in this process.
pub(super) fn take(exchange: &Exchange<'_>, limit: Limit) -> Result<(), Hit> {
    let Some(rate) = exchange.site.settings.limits.rate(limit) else { return Ok(()) };
    let taken = exchange.shared.limits.take(limit, exchange.network(), rate, exchange.now);
    taken.map_err(|wait| {
        let hit = Hit { limit, rate, wait };
        tell(exchange, hit);
        hit
    })
}

/// The audit event, once a minute for a limit and an address: who loops must not fill the log as well.
fn tell(exchange: &Exchange<'_>, hit: Hit) {
    if exchange.shared.limits.tells(hit.limit, exchange.network(), exchange.now) {
        let reason = format!("limits.{} = {}", hit.limit.key(), hit.rate);
        exchange.audit(&Audit { reason: Some(&reason), ..Audit::of(Event::LimitHit) });
    }
}

/// How many counters there are for one limit, whatever strangers do.
const COUNTERS: u64 = 16_384;

/// The windows that all processes share, and how many are let through in one: ten minutes at least, so that few are there at
/// a time; and twice the rate, which is what a process of its own lets through: all at once, and what came back meanwhile.
fn shared_window(rate: Rate) -> (Duration, u64) {
    let window = rate.period.max(Duration::from_mins(10));
    let (seconds, period) = (window.as_secs(), rate.period.as_secs().max(1));
    (window, 2 * u64::from(rate.count.get()) * seconds / period)
}

/// The counter of a network. Networks are put together by a MAC, so that nobody can find one that shares another's. Two that
/// do share one have one allowance for both: with a default of thousands neither notices the other, and whoever uses up
/// an allowance on purpose takes it from one network in 16,384, until the window ends.
fn shared_counter(sealer: &seal::Sealer, limit: Limit, network: &str) -> String {
    let key = sealer.derive("limits v1");
    let tag = seal::mac(&key, &[limit.key().as_bytes(), network.as_bytes()]);
    let bytes = secret::base64url::<32>(tag.expose()).unwrap_or_default();
    let number = bytes.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes)) % COUNTERS;
    format!("limit:{}:{number}", limit.key())
}

/// The store's windows follow each other from the epoch on.
fn until_next_window(period: Duration, now: Timestamp) -> Duration {
    let length = period.as_secs().max(1);
    Duration::from_secs(length - now.seconds() % length)
}

/// 429: a page for people unless a program asks for `json`, OAuth's JSON for clients, readable to scripts where the endpoint is.
pub(super) fn refuse(exchange: &Exchange<'_>, json: bool, hit: Hit) -> Response<Body> {
    exchange.shared.refusals.request(RequestRefusal::RateLimited);
    let mut answer = if hit.limit.is_for_people() && !json {
        let problem = Problem::rate_limited(hit.wait.as_secs(), hit.limit.key(), &hit.rate.to_string());
        refused_page(exchange, StatusCode::TOO_MANY_REQUESTS, &problem)
    } else {
        let trouble = Trouble::RateLimited;
        let told = reply::oauth(exchange, ErrorCode::TemporarilyUnavailable, hit, Some(trouble));
        noted(reply::json(StatusCode::TOO_MANY_REQUESTS, &told), Note::of_trouble(trouble))
    };
    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(hit.wait.as_secs()));
    if hit.limit.is_for_people() { answer } else { open_to_all(answer) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Key;

    #[test]
    fn a_rate_is_shown_as_it_is_written() {
        let shown = |count, seconds| Rate::new(count, Duration::from_secs(seconds)).to_string();
        assert_eq!(shown(1000, 3600), "1000/h");
        assert_eq!(shown(20, 600), "20/10m");
        assert_eq!(shown(1, 1), "1/s");
        assert_eq!(shown(5, 90), "5/90s");
        assert_eq!(shown(7, 86_400), "7/d");
    }

    #[test]
    fn every_limit_has_a_key_and_a_rate_of_its_own() {
        let keys: std::collections::BTreeSet<_> = Limit::ALL.iter().map(|limit| limit.key()).collect();
        assert_eq!(keys.len(), Limit::ALL.len());
        let mut limits = Limits::default();
        let callback = Limit::ALL.iter().position(|limit| *limit == Limit::Callback).unwrap();
        limits.rates[callback] = None;
        assert_eq!(limits.rate(Limit::Callback), None);
        assert_eq!(limits.rate(Limit::Token), Some(Limit::Token.default_rate()));
    }

    // G8: many /64s make no more counters than there are.
    #[test]
    fn strangers_share_a_fixed_number_of_counters_that_only_we_can_tell() {
        let (ours, other) = (seal::Sealer::new(Key::new([1; 32])), seal::Sealer::new(Key::new([2; 32])));
        let names = |sealer| -> Vec<String> {
            let networks = (0..2000).map(|number| format!("2001:db8:{number:x}:1::/64"));
            networks.map(|network| shared_counter(sealer, Limit::Register, &network)).collect()
        };
        let (one, two) = (names(&ours), names(&other));
        assert_eq!(one, names(&ours));
        let same = one.iter().zip(&two).filter(|(a, b)| a == b).count();
        assert!(same < 20, "another key, another arrangement: {same}");
        for name in &one {
            let number: u64 = name.strip_prefix("limit:register:").unwrap().parse().unwrap();
            assert!(number < COUNTERS);
        }
        let distinct: std::collections::BTreeSet<_> = one.iter().collect();
        assert!(distinct.len() > 1500, "they are spread: {}", distinct.len());
        assert_ne!(
            shared_counter(&ours, Limit::SignIn, "192.0.2.1"),
            shared_counter(&ours, Limit::Register, "192.0.2.1")
        );
    }

    #[test]
    fn all_processes_together_let_through_what_one_alone_may() {
        let shared = |count, seconds| {
            let (window, most) = shared_window(Rate::new(count, Duration::from_secs(seconds)));
            (window.as_secs(), most)
        };
        assert_eq!(shared(20_000, 3600), (3600, 40_000));
        assert_eq!(shared(1, 600), (600, 2));
        assert_eq!(shared(10, 60), (600, 200));
        assert_eq!(shared(1, 7 * 60), (600, 2));
        assert_eq!(shared(1_000_000, 1), (600, 1_200_000_000));
    }

    #[test]
    fn a_window_ends_when_the_stores_does() {
        let hour = Duration::from_hours(1);
        let wait = |now| until_next_window(hour, Timestamp::from_seconds(now)).as_secs();
        assert_eq!((wait(7200), wait(7201), wait(10_799)), (3600, 3599, 1));
    }
}
