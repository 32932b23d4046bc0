//! How long a document may be kept, by what its server says of it (RFC 9111 §4.2), within bounds of ours (M6).

use std::time::{Duration, UNIX_EPOCH};

use http::header::{AGE, CACHE_CONTROL, DATE, EXPIRES};
use http::{HeaderMap, HeaderName};

use crate::time::Timestamp;

/// The shortest time, also for a document that says nothing or wants no caching: a sign-in looks at it twice, and a
/// stranger must not make us ask at will.
pub(super) const FLOOR: Duration = Duration::from_mins(5);
/// The longest.
pub(super) const CEILING: Duration = Duration::from_hours(24);

/// How long an answer with these headers, which came at `now`, is fresh.
pub(super) fn life(headers: &HeaderMap, now: Timestamp) -> Duration {
    let said = max_age(headers).or_else(|| until_expires(headers, now)).unwrap_or(Duration::ZERO);
    said.clamp(FLOOR, CEILING)
}

/// `max-age`, less the time that a cache on the way has had it; none at all if it is not to be stored or used again.
fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let lines = headers.get_all(CACHE_CONTROL).iter().filter_map(|line| line.to_str().ok());
    let mut said = None;
    for directive in lines.flat_map(|line| line.split(',')) {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        match name.trim().to_ascii_lowercase().as_str() {
            "no-store" | "no-cache" => return Some(Duration::ZERO),
            "max-age" => said = said.or_else(|| seconds(value.trim().trim_matches('"'))),
            _ => {}
        }
    }
    let age = text(headers, &AGE).and_then(seconds).unwrap_or_default();
    said.map(|said: Duration| said.saturating_sub(age))
}

/// From the server's own `Date`, or from now, to `Expires`; a date that cannot be read is in the past.
fn until_expires(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let expires = date(text(headers, &EXPIRES)?).unwrap_or(Timestamp::from_seconds(0));
    let from = text(headers, &DATE).and_then(date).unwrap_or(now);
    Some(expires.since(from))
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Delta-seconds (RFC 9111 §1.2.2); a number that is too large is a very long time.
fn seconds(text: &str) -> Option<Duration> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().map_or(Duration::MAX, Duration::from_secs))
}

fn date(text: &str) -> Option<Timestamp> {
    let date = httpdate::parse_http_date(text).ok()?;
    Some(Timestamp::from_seconds(date.duration_since(UNIX_EPOCH).ok()?.as_secs()))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    /// 2027-01-15T08:00:00Z, a Friday.
    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    fn minutes(headers: &[(HeaderName, &str)]) -> u64 {
        let map: HeaderMap = headers
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap()))
            .collect();
        life(&map, NOW).as_secs() / 60
    }

    // M6
    #[test]
    fn a_document_is_fresh_as_long_as_it_says_within_bounds() {
        for (value, wanted) in [
            ("max-age=3600", 60),
            ("public, Max-Age=\"3600\"", 60),
            ("max-age=3600, max-age=7200", 60),
            ("max-age=0", 5),
            ("max-age=299", 5),
            ("max-age=31536000", 24 * 60),
            ("max-age=99999999999999999999999", 24 * 60),
            ("max-age=-1", 5),
            ("max-age=soon", 5),
            ("no-store", 5),
            ("no-cache, max-age=3600", 5),
            ("max-age=3600, no-store", 5),
            ("s-maxage=3600", 5),
            ("private, must-revalidate, max-age=600", 10),
            ("", 5),
        ] {
            assert_eq!(minutes(&[(CACHE_CONTROL, value)]), wanted, "{value}");
        }
        assert_eq!(minutes(&[]), 5);
    }

    // M6
    #[test]
    fn the_time_in_another_cache_counts() {
        let age = |age| minutes(&[(CACHE_CONTROL, "max-age=3600"), (AGE, age)]);
        assert_eq!((age("1800"), age("3599"), age("7200"), age("old")), (30, 5, 5, 60));
    }

    // M6
    #[test]
    fn an_expiry_date_counts_from_the_servers_own_date() {
        let (date, in_an_hour) = ("Fri, 15 Jan 2027 08:00:00 GMT", "Fri, 15 Jan 2027 09:00:00 GMT");
        assert_eq!(minutes(&[(EXPIRES, in_an_hour)]), 60);
        assert_eq!(minutes(&[(EXPIRES, in_an_hour), (DATE, "Fri, 15 Jan 2027 08:30:00 GMT")]), 30);
        assert_eq!(minutes(&[(EXPIRES, date)]), 5);
        assert_eq!(minutes(&[(EXPIRES, "0")]), 5);
        assert_eq!(minutes(&[(EXPIRES, "Thu, 15 Jan 2037 08:00:00 GMT")]), 24 * 60);
        assert_eq!(minutes(&[(EXPIRES, in_an_hour), (CACHE_CONTROL, "max-age=600")]), 10);
        assert_eq!(minutes(&[(EXPIRES, in_an_hour), (CACHE_CONTROL, "public")]), 60);
    }
}
