//! `limits`: rates such as `1000/h`, and how much of what strangers make is kept.

use std::num::NonZeroU32;
use std::time::Duration;

use super::check::positive;
use super::connections;
use super::problem::Findings;
use super::raw::{self, File, Given};
use super::values::parse_duration;
use crate::gateway::{Limit, Limits, Rate};

/// More at once than any machine answers in a second.
const MOST: u32 = 1_000_000;
const LONGEST: Duration = Duration::from_hours(24);
/// Records of a stranger's that are kept at most: a few gigabytes.
const MOST_KEPT: u64 = 1_000_000;

/// The limits, or what of them is not at fault.
pub(super) fn check(raw: &File, findings: &mut Findings) -> Option<Limits> {
    let Some(given) = &raw.limits else { return Some(Limits::default()) };
    let keys = given.value.as_ref()?;
    let mut limits = Limits::default();
    let mut refused = false;
    for (limit, rate) in Limit::ALL.into_iter().zip(&mut limits.rates) {
        match one_rate(limit, field(keys, limit), findings) {
            Some(checked) => *rate = checked,
            None => refused = true,
        }
    }
    let unused = kept(keys.unused_clients.as_ref(), limits.unused_clients, "unused_clients", findings);
    let open = kept(keys.open_sign_ins.as_ref(), limits.open_sign_ins, "open_sign_ins", findings);
    let connections = connections::check(keys, findings);
    let body_pause = connections::time("body_pause", keys.body_pause.as_ref(), limits.body_pause, findings);
    if refused {
        return None;
    }
    Some(Limits {
        unused_clients: unused?,
        open_sign_ins: open?,
        connections: connections?,
        body_pause: body_pause?,
        ..limits
    })
}

const fn field(keys: &raw::Limits, limit: Limit) -> Option<&Given<String>> {
    match limit {
        Limit::Register => keys.register.as_ref(),
        Limit::Authorize => keys.authorize.as_ref(),
        Limit::SignIn => keys.sign_in.as_ref(),
        Limit::Document => keys.document.as_ref(),
        Limit::Callback => keys.callback.as_ref(),
        Limit::Token => keys.token.as_ref(),
        Limit::Revoke => keys.revoke.as_ref(),
        Limit::Introspect => keys.introspect.as_ref(),
        Limit::Pages => keys.pages.as_ref(),
    }
}

/// A rate; `Some(None)` is `off`, `None` is refused.
#[expect(clippy::option_option, reason = "refused, off, or a rate")]
fn one_rate(limit: Limit, field: Option<&Given<String>>, findings: &mut Findings) -> Option<Option<Rate>> {
    let Some(given) = field else { return Some(Some(limit.default_rate())) };
    let text = given.value.as_deref()?;
    if text == "off" {
        return Some(None);
    }
    let rate = parse_rate(text);
    if rate.is_none() {
        let text = format!(
            "`{text}` is no rate; write a number from 1 to {MOST} and a time of 24h at most, such as 1000/h or 20/10m, or off"
        );
        findings.refuse(given.at, text);
    }
    rate.map(Some)
}

fn parse_rate(text: &str) -> Option<Rate> {
    let (count, period) = text.split_once('/')?;
    let digits = !count.is_empty() && count.bytes().all(|byte| byte.is_ascii_digit());
    let count: NonZeroU32 = digits.then(|| count.parse().ok())??;
    let bare = !period.starts_with(|c: char| c.is_ascii_digit());
    let period = if bare { parse_duration(&format!("1{period}")) } else { parse_duration(period) }?;
    let fits = count.get() <= MOST && !period.is_zero() && period <= LONGEST;
    fits.then_some(Rate { count, period })
}

fn kept(field: Option<&Given<u64>>, default: u64, name: &str, findings: &mut Findings) -> Option<u64> {
    let number = positive(field, default, name, findings)?;
    if let (Some(given), true) = (field, number > MOST_KEPT) {
        findings.refuse(
            given.at,
            format!("`{name}` is over {MOST_KEPT}, which no store should be filled with; write less"),
        );
        return None;
    }
    Some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_and_a_time() {
        let read = |text| parse_rate(text).map(|rate| (rate.count.get(), rate.period.as_secs()));
        assert_eq!(read("1000/h"), Some((1000, 3600)));
        assert_eq!(read("1/s"), Some((1, 1)));
        assert_eq!(read("20/10m"), Some((20, 600)));
        assert_eq!(read("1000000/d"), Some((1_000_000, 86_400)));
        for wrong in [
            "",
            "/",
            "10",
            "10/",
            "/h",
            "0/h",
            "-1/h",
            "+1/h",
            "1.5/h",
            "10 /h",
            "10/ h",
            "10/hour",
            "10/0s",
            "10/25h",
            "10/h/s",
            "1000001/s",
            "10/1",
            "h/10",
            "99999999999/h",
            "10/-1h",
            "1O/h",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn every_default_is_written_as_it_is_read() {
        for limit in Limit::ALL {
            let rate = limit.default_rate();
            assert_eq!(parse_rate(&rate.to_string()), Some(rate));
        }
    }
}
