//! What a server that is asked at the wrong place says of the right one: in its own words, and in the metadata of its host.

use http::StatusCode;
use url::Url;

use super::probe::Probe;
use super::{View, probe, resource};
use crate::doctor::Remedy;
use crate::doctor::web::Answer;

/// What came, with the server's own words, if it has some.
pub(super) fn said(probe: &Probe, answer: &Answer) -> String {
    match description(answer) {
        Some(words) => format!("{}: {words}", probe.found()),
        None => probe.found(),
    }
}

fn description(answer: &Answer) -> Option<String> {
    Some(answer.json()?.get("error_description")?.as_str()?.to_owned())
}

/// The URL that the server's own words name.
pub(super) fn named(answer: &Answer) -> Option<Url> {
    let words = description(answer)?;
    let url =
        words.split_whitespace().find(|word| word.starts_with("https://") || word.starts_with("http://"))?;
    Url::parse(url.trim_end_matches(['.', ',', ';', ')', '"', '\''])).ok()
}

/// The one MCP server of the host, by the metadata at its root.
pub(super) async fn of_the_host(view: &View<'_>) -> Option<Url> {
    let place = resource::root(view.url);
    let probe = probe::probe(view, resource::ask(&place), "").await;
    let url = Url::parse(&resource::read(&place, probe.answer()?)?.named).ok()?;
    (url != *view.url).then_some(url)
}

/// Whether it is the host that the server does not know: 421, or the guards of SDKs against DNS rebinding.
pub(super) fn is_about_the_host(answer: &Answer) -> bool {
    let guarded = || {
        let text = answer.text().to_ascii_lowercase();
        ["invalid host", "host header", "host not allowed"].iter().any(|words| text.contains(words))
    };
    answer.status == StatusCode::MISDIRECTED_REQUEST
        || (matches!(answer.status.as_u16(), 400 | 403) && !answer.is_html() && guarded())
}

pub(super) fn another_host(view: &View<'_>, answer: &Answer) -> Remedy {
    let host = view.url.host_str().unwrap_or_default();
    let cause = format!(
        "The server does not take requests for the host {host}: it is the host that it does not know, and not the path."
    );
    let mut fix = Vec::new();
    if let Some(url) = named(answer) {
        fix.push(format!("It is reached at `{url}`: give clients a URL of that host."));
    }
    fix.push(format!("Or let it know {host}: a gateway behind a tunnel or proxy needs its public URLs (Portcullis: `issuer` and the service's `url`), an SDK's guard against DNS rebinding its `allowed_hosts`."));
    Remedy::new(cause, fix)
}
