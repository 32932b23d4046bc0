//! When what is to be done for a host's certificate. Pure: the present moment and chance are arguments.

use std::time::Duration;

use crate::certs::Facts;
use crate::secret::Digest;
use crate::store::{Renewal, Suggested};
use crate::time::Timestamp;

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Nothing now.
    Nothing,
    /// The server is asked when it wants the certificate renewed (RFC 9773).
    Suggestion,
    /// A certificate is ordered.
    Order(Why),
}

/// Why a certificate is ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// There is none of the directory that is configured.
    None,
    /// The one there is has ended.
    Expired,
    /// It ends soon.
    Ending,
    /// The server wants it: the certificate may be revoked.
    Suggested,
    /// An operator wants it.
    Asked,
}

impl Why {
    /// As the log says it.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::None => "there is none of this directory yet",
            Self::Expired => "the one there is has expired",
            Self::Ending => "the one there is ends soon",
            Self::Suggested => "the certificate authority wants it renewed",
            Self::Asked => "an operator asked for it",
        }
    }
}

/// What is due now for a host that has this certificate of the directory, or none.
pub(super) fn due(facts: Option<&Facts>, renewal: &Renewal, now: Timestamp) -> Due {
    let why = match facts {
        _ if renewal.asked => Some(Why::Asked),
        None => Some(Why::None),
        Some(facts) => ending(facts, renewal, now),
    };
    if let Some(why) = why {
        return if renewal.next.is_some_and(|next| now < next) { Due::Nothing } else { Due::Order(why) };
    }
    let suggested = facts.and_then(|facts| suggested(facts, renewal));
    let again = suggested.map_or(now, |suggested| suggested.again);
    if now < again { Due::Nothing } else { Due::Suggestion }
}

/// Why there should be another certificate, if there should.
fn ending(facts: &Facts, known: &Renewal, now: Timestamp) -> Option<Why> {
    if facts.not_after <= now {
        Some(Why::Expired)
    } else if now < renewal(facts, known) {
        None
    } else {
        Some(if now < by_life(facts) { Why::Suggested } else { Why::Ending })
    }
}

/// When a certificate is renewed: in the window that the server suggests, else when two thirds of its life are over; each at a
/// moment that is the certificate's own, so that all processes agree and not all certificates come at once.
pub(super) fn renewal(facts: &Facts, renewal: &Renewal) -> Timestamp {
    match suggested(facts, renewal).and_then(|suggested| suggested.window) {
        // RFC 9773 §4.2: uniformly at random in it. But no server's mistake lets a certificate run out.
        Some((start, end)) => {
            part_of(start, end, share(facts)).min(part_of(facts.not_before, facts.not_after, LATEST))
        }
        None => by_life(facts),
    }
}

/// Nine tenths, of 2^16.
const LATEST: u16 = 58_982;
/// Two thirds, of 2^16.
const TWO_THIRDS: u16 = 43_690;

/// Two thirds of the life, and up to a thirtieth earlier.
fn by_life(facts: &Facts) -> Timestamp {
    let jitter = share(facts) / 30;
    part_of(facts.not_before, facts.not_after, TWO_THIRDS - jitter)
}

/// The moment at which so many 65,536ths of the time from `start` to `end` are over.
fn part_of(start: Timestamp, end: Timestamp, share: u16) -> Timestamp {
    let length = u128::from(end.since(start).as_secs());
    let part = (length * u128::from(share)) >> 16;
    start.after(Duration::from_secs(u64::try_from(part).unwrap_or(u64::MAX)))
}

/// A number that looks random and belongs to the certificate.
fn share(facts: &Facts) -> u16 {
    let digest = Digest::of(facts.serial.as_bytes()).to_base64url();
    digest.bytes().fold(0, |share: u16, byte| share.wrapping_mul(31).wrapping_add(u16::from(byte)))
}

/// What the server says of this very certificate.
fn suggested<'a>(facts: &Facts, renewal: &'a Renewal) -> Option<&'a Suggested> {
    renewal.suggested.as_ref().filter(|suggested| suggested.serial == facts.serial)
}

/// Until when a certificate that has just come is not renewed, whatever the server suggests of it: one that wanted all of them
/// renewed at once would be asked without end.
pub(super) fn rest(facts: &Facts, now: Timestamp) -> Timestamp {
    now.after((facts.not_after.since(now) / 10).min(HOUR))
}

/// What kind of failure it was, for how long to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The server, or the store, is away: asking again costs nobody anything.
    Away,
    /// The server refused: authorities count how often.
    Refused,
}

/// How long to wait after `failures` of them in a row: twice as long each time, up to a day, and never so long that a
/// certificate which has `left` to live runs out for it. `share` is chance.
pub(super) fn back_off(kind: Failure, failures: u32, left: Option<Duration>, share: u16) -> Duration {
    let (first, longest) = match kind {
        Failure::Away => (Duration::from_secs(10), HOUR),
        Failure::Refused => (5 * MINUTE, DAY),
    };
    let doubled = first.saturating_mul(1 << failures.saturating_sub(1).min(20));
    let longest = left.map_or(longest, |left| longest.min((left / 4).max(10 * MINUTE)));
    let pause = doubled.min(longest);
    // From three quarters of it to the whole.
    pause.saturating_sub(pause / 4 * u32::from(share) / u32::from(u16::MAX))
}

/// How long a server may make us wait by `Retry-After`.
pub(super) const LONGEST_RETRY: Duration = Duration::from_hours(7 * 24);

/// When to ask for a suggestion again (RFC 9773 §4.3.2 names six hours), as the server says, within reason.
pub(super) fn ask_again(retry_after: Duration, now: Timestamp) -> Timestamp {
    now.after(retry_after.clamp(MINUTE, DAY))
}

/// When to ask again if the server makes no suggestions, or cannot be expected to answer (RFC 9773 §4.3.3).
pub(super) const NO_SUGGESTION: Duration = Duration::from_hours(6);
/// How many questions without an answer count as bad luck.
const TRIES: u32 = 4;

/// How long to wait after so many `failures` in a row to be told when to renew (RFC 9773 §4.3.3): of a server that is away ever
/// longer, then, as of one that refuses, until it counts as one without suggestions. `wait` is what the server says.
pub(super) fn ask_after(kind: Failure, failures: u32, wait: Option<Duration>, share: u16) -> Duration {
    let pause = match kind {
        Failure::Away if failures <= TRIES => back_off(kind, failures.saturating_add(5), None, share),
        Failure::Away | Failure::Refused => NO_SUGGESTION,
    };
    pause.max(wait.unwrap_or_default().min(DAY))
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_seconds(1_800_000_000);

    fn facts(life: Duration) -> Facts {
        Facts {
            issuer: "CA".into(),
            serial: "01:02".into(),
            names: vec!["a.example".into()],
            not_before: START,
            not_after: START.after(life),
        }
    }

    fn suggested(window: Option<(Timestamp, Timestamp)>, again: Timestamp) -> Renewal {
        let suggested = Suggested { serial: "01:02".into(), window, again, explanation: None, failures: 0 };
        Renewal { suggested: Some(suggested), ..Renewal::default() }
    }

    const NEVER: Timestamp = Timestamp::from_seconds(u64::MAX);

    #[test]
    fn a_host_without_certificate_gets_one_and_waits_after_a_failure() {
        assert_eq!(due(None, &Renewal::default(), START), Due::Order(Why::None));
        let failed = Renewal { failures: 1, next: Some(START.after(MINUTE)), ..Renewal::default() };
        assert_eq!(due(None, &failed, START), Due::Nothing);
        assert_eq!(due(None, &failed, START.after(MINUTE)), Due::Order(Why::None));
        let asked = Renewal { asked: true, next: None, ..failed };
        assert_eq!(due(None, &asked, START), Due::Order(Why::Asked), "an operator does not wait");
        assert_eq!(due(Some(&facts(90 * DAY)), &asked, START), Due::Order(Why::Asked));
        let failed = Renewal { next: Some(START.after(MINUTE)), ..asked };
        assert_eq!(due(Some(&facts(90 * DAY)), &failed, START), Due::Nothing, "but between two attempts");
    }

    #[test]
    fn a_certificate_is_renewed_when_two_thirds_of_its_life_are_over() {
        for life in [90 * DAY, 6 * DAY, DAY / 2, HOUR] {
            let facts = facts(life);
            let none = suggested(None, NEVER);
            let moment = renewal(&facts, &none);
            let over = moment.since(START).as_secs_f64() / life.as_secs_f64();
            assert!((2.0 / 3.0 - 1.0 / 30.0..=2.0 / 3.0).contains(&over), "{life:?} {over}");
            assert_eq!(due(Some(&facts), &none, moment.before(Duration::from_secs(1))), Due::Nothing);
            assert_eq!(due(Some(&facts), &none, moment), Due::Order(Why::Ending));
            assert_eq!(due(Some(&facts), &none, facts.not_after), Due::Order(Why::Expired));
        }
    }

    #[test]
    fn not_all_certificates_are_renewed_at_once() {
        let moments: std::collections::BTreeSet<_> = (0..100)
            .map(|serial| Facts { serial: format!("{serial:02x}"), ..facts(90 * DAY) })
            .map(|facts| renewal(&facts, &Renewal::default()))
            .collect();
        assert!(moments.len() > 90, "{}", moments.len());
        let spread = moments.last().unwrap().since(*moments.first().unwrap());
        assert!(spread > 2 * DAY && spread <= 3 * DAY, "{spread:?}");
    }

    #[test]
    fn the_server_s_window_decides_but_never_lets_a_certificate_run_out() {
        let facts = facts(90 * DAY);
        let day = |day: u32| START.after(day * DAY);
        let early = suggested(Some((day(20), day(22))), NEVER);
        let moment = renewal(&facts, &early);
        assert!(day(20) <= moment && moment < day(22));
        assert_eq!(due(Some(&facts), &early, moment), Due::Order(Why::Suggested));
        assert_eq!(due(Some(&facts), &early, moment.before(Duration::from_secs(1))), Due::Nothing);
        let past = suggested(Some((day(0), START)), NEVER);
        assert_eq!(due(Some(&facts), &past, START), Due::Order(Why::Suggested), "revoked");
        let late = suggested(Some((day(100), day(200))), NEVER);
        assert!(renewal(&facts, &late) <= day(81));
        let of_another = Facts { serial: "03".into(), ..facts.clone() };
        assert_eq!(due(Some(&of_another), &past, START), Due::Suggestion, "another certificate's window");
    }

    #[test]
    fn a_suggestion_is_asked_for_when_the_last_one_is_old() {
        let facts = facts(90 * DAY);
        assert_eq!(due(Some(&facts), &Renewal::default(), START), Due::Suggestion);
        let told = suggested(None, START.after(HOUR));
        assert_eq!(due(Some(&facts), &told, START), Due::Nothing);
        assert_eq!(due(Some(&facts), &told, START.after(HOUR)), Due::Suggestion);
    }

    #[test]
    fn a_certificate_that_has_just_come_is_left_alone() {
        let long = facts(90 * DAY);
        let past = suggested(Some((START.before(HOUR), START)), NEVER);
        let resting = Renewal { next: Some(rest(&long, START)), ..past };
        assert_eq!(due(Some(&long), &resting, START.after(59 * MINUTE)), Due::Nothing);
        assert_eq!(due(Some(&long), &resting, START.after(HOUR)), Due::Order(Why::Suggested));
        assert_eq!(rest(&facts(HOUR), START).since(START), 6 * MINUTE);
    }

    #[test]
    fn pauses_double_up_to_a_day_and_are_spread() {
        let pause = |failures| back_off(Failure::Refused, failures, None, 0);
        assert_eq!((pause(1), pause(2), pause(3)), (5 * MINUTE, 10 * MINUTE, 20 * MINUTE));
        assert_eq!((pause(20), pause(u32::MAX)), (DAY, DAY));
        assert_eq!(back_off(Failure::Refused, 20, None, u16::MAX), DAY * 3 / 4);
        let away = |failures| back_off(Failure::Away, failures, None, 0);
        assert_eq!((away(1), away(2), away(40)), (Duration::from_secs(10), Duration::from_secs(20), HOUR));
    }

    #[test]
    fn what_ends_soon_is_tried_more_often() {
        let pause = |left| back_off(Failure::Refused, 20, Some(left), 0);
        assert_eq!(pause(30 * DAY), DAY);
        assert_eq!(pause(DAY), DAY / 4);
        assert_eq!(pause(MINUTE), 10 * MINUTE);
    }

    #[test]
    fn a_server_s_wish_when_to_be_asked_is_heard_within_reason() {
        let again = |seconds| ask_again(Duration::from_secs(seconds), START).since(START);
        assert_eq!((again(0), again(7200), again(10_000_000)), (MINUTE, 2 * HOUR, DAY));
    }
}
