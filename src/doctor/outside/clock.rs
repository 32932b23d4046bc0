//! Whether the clocks of both ends are right: tokens and certificates are good from one moment to another.

use std::time::UNIX_EPOCH;

use url::Url;

use super::View;
use crate::doctor::web::{Answer, Ask};
use crate::doctor::{Remedy, Trial};
use crate::time::Timestamp;
use crate::trouble::Trouble;

/// How much of a difference between clocks nobody minds.
const FORGIVEN: u64 = 30;
/// Who is asked for the time if nobody else is named: sign-ins depend on it, too.
const TIME: &str = "https://github.com/";

/// Compares this machine's clock with the server's and with an independent one's, whose time is handed back.
pub(super) async fn compare(view: &View<'_>, answer: Option<&Answer>, now: Timestamp) -> Option<Timestamp> {
    let independent = match &view.manner.clock {
        Some(url) => Some(url.clone()),
        // What is on this machine has this machine's clock.
        None if view.is_local() => None,
        None => Url::parse(TIME).ok(),
    };
    let source = independent.as_ref().and_then(Url::host_str).unwrap_or_default().to_owned();
    let other = match independent {
        Some(url) => {
            view.examination.begins(&format!("asking {source} for the time"));
            let ask = Ask::new(http::Method::HEAD, &url).past_a_bad_certificate();
            view.web.ask(ask).await.ok().and_then(|answer| date(&answer))
        }
        None => None,
    };
    let server = answer.and_then(date);
    let host = view.url.host_str().unwrap_or_default();
    let mut clocks = Vec::new();
    clocks.extend(server.map(|time| (host, time)));
    clocks.extend(other.map(|time| (source.as_str(), time)));
    if clocks.is_empty() {
        view.not_tried(&[Trouble::Clock], "no server that was asked says what time it is");
        return other;
    }
    let said: Vec<_> =
        clocks.iter().map(|(who, time)| format!("{who}: {}", difference(*time, now))).collect();
    let tried = format!(
        "Date of {}, against this machine's clock",
        super::reach::list(clocks.iter().map(|(who, _)| who))
    );
    let trial = Trial::new(tried, said.join("; "));
    let is_off = |time: Option<Timestamp>| time.map(|time| apart(time, now) > FORGIVEN);
    let set = "`sudo timedatectl set-ntp true`; then `timedatectl` says `System clock synchronized: yes`.";
    let (cause, fix) = match (is_off(server), is_off(other)) {
        (_, Some(true)) => ("This machine's clock is wrong.".to_owned(), format!("On this machine: {set}")),
        (Some(true), Some(false)) => {
            (format!("The clock of {host} is wrong."), format!("On the machine of {host}: {set}"))
        }
        (Some(true), None) => (
            format!("The clock of {host} is wrong, or this machine's is."),
            format!("On both machines: {set}"),
        ),
        (Some(false) | None, Some(false) | None) => {
            view.examination.good(Trouble::Clock, view.subject, trial);
            return other;
        }
    };
    view.examination.bad(Trouble::Clock, view.subject, trial, Remedy::new(cause, [fix]));
    other.or(server)
}

fn date(answer: &Answer) -> Option<Timestamp> {
    let time = httpdate::parse_http_date(answer.header("date")).ok()?;
    Some(Timestamp::from_seconds(time.duration_since(UNIX_EPOCH).ok()?.as_secs()))
}

const fn apart(one: Timestamp, other: Timestamp) -> u64 {
    one.seconds().abs_diff(other.seconds())
}

fn difference(time: Timestamp, now: Timestamp) -> String {
    let apart = apart(time, now);
    if apart <= 1 {
        "no difference".to_owned()
    } else if time > now {
        format!("{apart} s ahead")
    } else {
        format!("{apart} s behind")
    }
}
