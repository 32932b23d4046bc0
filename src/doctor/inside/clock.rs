//! The clock, against those of GitHub and the certificate authority.

use std::fs;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::future::join_all;
use http::header::DATE;
use http::{Method, Request};
use url::Url;

use crate::certs::Settings as Tls;
use crate::clock::{Clock as _, SystemClock};
use crate::config::Config;
use crate::doctor::{Examination, Remedy, Trial};
use crate::fetch::{Bounds, Fetcher};
use crate::identity::Settings;
use crate::trouble::Trouble;

const BOUNDS: Bounds = Bounds { body: 256 * 1024, time: Duration::from_secs(6) };
/// What tokens bear, and from when on somebody should look. A `Date` may be a second old.
const BORNE: u64 = 30;
const NOTED: u64 = 5;

/// Asks what time it is.
pub(super) async fn examine(examination: &Examination<'_>, config: &Config) {
    let mut asked: Vec<(Url, Fetcher)> = Vec::new();
    if let Settings::GitHub(github) = &config.identity {
        asked.push((github.api.clone(), Fetcher::new()));
    }
    if let Tls::Acme(acme) = &config.tls
        && let Ok(url) = Url::parse(acme.directory.url())
    {
        let roots = acme.roots.as_ref().and_then(|file| fs::read(file).ok());
        let fetch = roots.and_then(|roots| Fetcher::trusting(&roots).ok()).unwrap_or_default();
        asked.push((url, fetch));
    }
    let told = join_all(asked.iter().map(|(url, fetch)| ask(url, fetch))).await;
    let found = asked.iter().zip(told).find_map(|((url, _), skew)| Some((url, skew?)));
    match found {
        Some((url, skew)) => tell(examination, url, skew),
        None if asked.is_empty() => {
            examination.not_tried(
                &[Trouble::Clock],
                "",
                "there is no clock to compare with: neither GitHub nor ACME is configured",
            );
        }
        None => examination.not_tried(&[Trouble::Clock], "", "nobody told the time"),
    }
}

/// By how many seconds this clock is ahead of the server's.
async fn ask(url: &Url, fetch: &Fetcher) -> Option<i64> {
    let request = Request::builder().method(Method::GET).uri(url.as_str()).body(Bytes::new()).ok()?;
    let answer = fetch.send(request, BOUNDS).await.ok()?;
    let date = httpdate::parse_http_date(answer.headers().get(DATE)?.to_str().ok()?).ok()?;
    let theirs = date.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
    i64::try_from(SystemClock.now().seconds()).ok()?.checked_sub(i64::try_from(theirs).ok()?)
}

fn tell(examination: &Examination<'_>, url: &Url, skew: i64) {
    let host = url.host_str().unwrap_or_default();
    let (by, way) = (skew.unsigned_abs(), if skew < 0 { "behind" } else { "ahead of" });
    let trial = Trial::new(format!("the Date of {host}"), format!("this clock is {by} s {way} it"));
    let cause = format!(
        "This machine's clock is {by} seconds {way} {host}'s. Tokens are valid too early or too late elsewhere, and certificates seem to be."
    );
    let fix = [
        "Have it set by the network: `sudo timedatectl set-ntp true`; then `timedatectl` says `System clock synchronized: yes`.",
    ];
    if by > BORNE {
        examination.bad(Trouble::Clock, "", trial, Remedy::new(cause, fix));
    } else if by > NOTED {
        examination.remark(Trouble::Clock, "", trial, Remedy::new(cause, fix));
    } else {
        examination.good(Trouble::Clock, "", trial);
    }
}
