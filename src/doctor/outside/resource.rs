//! The protected resource metadata (RFC 9728): where it is, and whether it speaks of the URL that was typed.

use serde_json::Value;
use url::Url;

use super::door::Told;
use super::probe::{self, Probe};
use super::{View, trust};
use crate::doctor::web::{Answer, Ask};
use crate::doctor::{Remedy, Trial};
use crate::trouble::Trouble;

/// The path of the document, and where the resource's own path is put behind.
const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// The document, as far as it is of use.
#[derive(Clone, Debug)]
pub(super) struct Resource {
    /// Where it was.
    pub(super) at: Url,
    /// The issuer that it names first.
    pub(super) issuer: String,
    /// What can be asked for.
    pub(super) scopes: Option<String>,
    /// `resource`, which clients send along.
    pub(super) named: String,
}

/// Where the document of `url` is by itself (RFC 9728 §3.1).
pub(super) fn inserted(url: &Url) -> Url {
    let mut place = url.clone();
    place.set_fragment(None);
    place.set_path(&format!("{WELL_KNOWN}{}", url.path().trim_end_matches('/')));
    place
}

/// Where clients look last.
pub(super) fn root(url: &Url) -> Url {
    let mut place = inserted(url);
    place.set_query(None);
    place.set_path(WELL_KNOWN);
    place
}

/// Fetches the document as clients do.
pub(super) fn ask(url: &Url) -> Ask {
    Ask::get(url).header("accept", "application/json").header("mcp-protocol-version", probe::LEGACY)
}

/// What is wrong with a document.
fn flaw(answer: &Answer) -> Option<String> {
    if answer.status != http::StatusCode::OK {
        return Some(answer.summary());
    }
    let Some(document) = answer.json().filter(Value::is_object) else {
        return Some(format!("{}, and no JSON object", answer.summary()));
    };
    let missing = lacks(&document)?;
    if document.as_object().is_some_and(serde_json::Map::is_empty) {
        return Some("an empty document, {}".to_owned());
    }
    Some(format!("a document without {missing}"))
}

/// What a document must have, and has not.
fn lacks(document: &Value) -> Option<&'static str> {
    let has_resource = document.get("resource").is_some_and(Value::is_string);
    match (has_resource, issuer(document).is_some()) {
        (true, true) => None,
        (false, false) => Some("resource and authorization_servers"),
        (false, true) => Some("resource"),
        (true, false) => Some("authorization_servers"),
    }
}

fn issuer(document: &Value) -> Option<&str> {
    document.get("authorization_servers")?.get(0)?.as_str()
}

/// What `answer` holds, if it is of use.
pub(super) fn read(at: &Url, answer: &Answer) -> Option<Resource> {
    if flaw(answer).is_some() {
        return None;
    }
    let document = answer.json()?;
    let scopes = document.get("scopes_supported").and_then(Value::as_array);
    let scopes = scopes.map(|all| all.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "));
    Some(Resource {
        at: at.clone(),
        issuer: issuer(&document)?.to_owned(),
        scopes: scopes.filter(|scopes| !scopes.is_empty()),
        named: document.get("resource")?.as_str()?.to_owned(),
    })
}

/// Finds the document and judges it.
pub(super) async fn examine(view: &View<'_>, told: &Told) -> Option<Resource> {
    view.examination.begins("fetching the protected resource metadata");
    let mut places = vec![inserted(view.url), root(view.url)];
    if let Some(named) = &told.metadata {
        if trust::leads_inside(view, named).await {
            astray(view, named);
            return None;
        }
        places.retain(|place| place != named);
        places.insert(0, named.clone());
    }
    places.dedup();
    let mut probes = Vec::new();
    for place in &places {
        probes.push(probe::probe(view, ask(place), "").await);
    }
    let flaws: Vec<_> =
        probes.iter().map(|probe| probe.answer().map_or_else(|| Some(probe.found()), flaw)).collect();
    let Some(at) = first(told, &probes, &flaws) else {
        missing(view, told, &probes, &flaws);
        view.not_tried(&[Trouble::PrmResource], "there is no protected resource metadata");
        return None;
    };
    let (place, probe) = (places.get(at)?, probes.get(at)?);
    let resource = read(place, probe.answer()?)?;
    present(view, (place, probe), (&places, &flaws));
    compare(view, probe, &resource);
    Some(resource)
}

/// The challenge leads where nobody of the internet gets, or should be led to.
fn astray(view: &View<'_>, named: &Url) {
    let trial = Trial::new(format!("POST {}", view.url), format!("resource_metadata=\"{named}\""));
    let cause = format!(
        "The challenge names {named}, and {}: a server behind a proxy may not know its own URL. It was not asked.",
        trust::INSIDE
    );
    let fix = [format!("The challenge must name `{}`; tell the server its public URL.", inserted(view.url))];
    view.examination.bad(Trouble::PrmMissing, view.subject, trial, Remedy::new(cause, fix));
    view.not_tried(&[Trouble::PrmResource], "the challenge names no place that may be asked");
}

/// Which of the documents clients take. What the challenge names is taken or nothing; else the next is tried after 4xx only.
fn first(told: &Told, probes: &[Probe], flaws: &[Option<String>]) -> Option<usize> {
    if told.metadata.is_some() {
        return flaws.first()?.is_none().then_some(0);
    }
    for (at, (probe, flaw)) in probes.iter().zip(flaws).enumerate() {
        if flaw.is_none() {
            return Some(at);
        }
        if !probe.answer()?.status.is_client_error() {
            return None;
        }
    }
    None
}

fn missing(view: &View<'_>, told: &Told, probes: &[Probe], flaws: &[Option<String>]) {
    let tried: Vec<_> = probes.iter().map(|probe| probe.tried.clone()).collect();
    let found: Vec<_> = flaws.iter().map(|flaw| flaw.clone().unwrap_or_else(|| "good".to_owned())).collect();
    let trial = Trial::new(tried.join("; "), found.join("; "));
    let place = told.metadata.clone().unwrap_or_else(|| inserted(view.url));
    let found_at = flaws.iter().position(Option::is_none).and_then(|at| probes.get(at));
    if let (Some(named), Some(found_at)) = (&told.metadata, found_at)
        && named.origin() != view.url.origin()
    {
        let remedy = another_host(view, named, found_at);
        return view.examination.bad(Trouble::PrmMissing, view.subject, trial, remedy);
    }
    let broken = probes.first().and_then(Probe::answer);
    let incomplete = broken.filter(|answer| answer.status == http::StatusCode::OK);
    let lacks =
        incomplete.and_then(Answer::json).filter(Value::is_object).and_then(|document| lacks(&document));
    let cause = if let (Some(lacks), Some(_)) = (lacks, &told.metadata) {
        format!("The challenge names {place}, and the document is there: it lacks {lacks}.")
    } else if let Some(lacks) = lacks {
        format!("The document is at {place}: it lacks {lacks}.")
    } else if told.metadata.is_some() {
        format!("The challenge names {place}, and there is no metadata there.")
    } else if broken.is_some_and(|answer| answer.status.is_server_error()) {
        format!("{place} fails ({}), and clients stop there.", found.first().cloned().unwrap_or_default())
    } else {
        "Nobody says where to sign in: there is no protected resource metadata (RFC 9728) for this URL."
            .to_owned()
    };
    let document = format!(
        "{{\"resource\": \"{}\", \"authorization_servers\": [\"https://auth.example.com\"]}}",
        view.url
    );
    let mut fix = vec![format!(
        "`{place}` must answer 200, Content-Type application/json: `{document}`, with your authorization server's issuer."
    )];
    if lacks.is_none() {
        fix.push("If the server has it, a proxy in front does not pass /.well-known/: let it.".to_owned());
    }
    view.examination.bad(Trouble::PrmMissing, view.subject, trial, Remedy::new(cause, fix));
}

/// The document is where it belongs, and the challenge sends clients elsewhere.
fn another_host(view: &View<'_>, named: &Url, found_at: &Probe) -> Remedy {
    let at = found_at.tried.trim_start_matches("GET ");
    let host = named.host_str().unwrap_or_default();
    let cause = format!(
        "The document is at {at}; the challenge points to another host, {host}, where clients look in vain: the server does not know its public URL."
    );
    let public = view.url.origin().ascii_serialization();
    let fix = format!(
        "Set the server's public URL: FastMCP `base_url=\"{public}\"`, Python SDK `resource_server_url=\"{}\"`; the challenge must say `resource_metadata=\"{at}\"`.",
        view.url
    );
    Remedy::new(cause, [fix])
}

fn present(view: &View<'_>, (place, probe): (&Url, &Probe), (places, flaws): (&[Url], &[Option<String>])) {
    let Some(answer) = probe.answer() else { return };
    let trial = Trial::new(probe.tried.as_str(), probe.found());
    let own = inserted(view.url);
    let absent = places.iter().zip(flaws).any(|(place, flaw)| *place == own && flaw.is_some());
    if answer.media_type() != "application/json" {
        let cause = "The document is no application/json: strict clients do not read it.";
        let fix = ["Send `Content-Type: application/json`."];
        return view.examination.remark(Trouble::PrmMissing, view.subject, trial, Remedy::new(cause, fix));
    }
    if absent {
        let cause = format!(
            "The document is at {place} only; Claude looks at {own} too, and some clients there alone."
        );
        let fix = [format!("Serve it at `{own}` as well.")];
        return view.examination.remark(Trouble::PrmMissing, view.subject, trial, Remedy::new(cause, fix));
    }
    view.examination.good(Trouble::PrmMissing, view.subject, trial);
}

/// How `resource` and the URL that was typed differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Match {
    /// By nothing.
    Exact,
    /// The URL lies below `resource`, which SDKs accept.
    Below,
    /// They have nothing to do with each other.
    None,
}

/// Compares as clients do: as URLs, for that is what was typed.
pub(super) fn matches(resource: &str, url: &Url) -> Match {
    let Ok(named) = Url::parse(resource) else { return Match::None };
    if resource == url.as_str() || (named == *url && url.path() == "/") {
        return Match::Exact;
    }
    let (mut above, mut below) = (named.path().to_owned(), url.path().to_owned());
    for path in [&mut above, &mut below] {
        if !path.ends_with('/') {
            path.push('/');
        }
    }
    if named.origin() == url.origin() && below.starts_with(&above) { Match::Below } else { Match::None }
}

/// What differs, in a word.
fn difference(resource: &str, url: &Url) -> &'static str {
    let Ok(named) = Url::parse(resource) else { return "it is no URL" };
    if named.as_str().trim_end_matches('/') == url.as_str().trim_end_matches('/')
        && named.as_str() != url.as_str()
    {
        return "a slash at the end";
    }
    if named == *url {
        return "the spelling: small and capital letters, or the standard port";
    }
    if named.host() != url.host() {
        return "the host";
    }
    if named.scheme() != url.scheme() {
        return "the scheme";
    }
    if named.port_or_known_default() != url.port_or_known_default() {
        return "the port";
    }
    if named.path().eq_ignore_ascii_case(url.path()) {
        return "small and capital letters in the path";
    }
    if named.path() == url.path() { "the query" } else { "the path" }
}

fn compare(view: &View<'_>, probe: &Probe, resource: &Resource) {
    let named = &resource.named;
    let trial = Trial::new(probe.tried.as_str(), format!("\"resource\": \"{named}\""));
    let how = matches(named, view.url);
    if how == Match::Exact {
        return view.examination.good(Trouble::PrmResource, view.subject, trial);
    }
    let what = difference(named, view.url);
    let who = match how {
        Match::Below => "VS Code and Gemini CLI compare exactly and stop, as Claude does; the SDKs accept it",
        Match::Exact | Match::None => "every client stops",
    };
    let cause = format!(
        "`resource` is {named} and the URL that was typed is {}: they differ by {what}; {who}.",
        view.url
    );
    let mut fix = vec![format!("Let the document say `\"resource\": \"{}\"`.", view.url)];
    if what == "a slash at the end" {
        fix.push(format!("Or give clients `{named}`, if the server answers there without a redirect."));
    } else if how == Match::None && !behind_a_proxy(named, view.url) {
        fix.push(format!("Or give clients `{named}`, if that is where they should go."));
    }
    if behind_a_proxy(named, view.url) {
        let tunnel = "The server makes its own URL from the request, and does not know of the tunnel or proxy in front of it.";
        let fix = [
            format!("Tell the server its public URL: `{}` (FastMCP: `base_url=`, Python SDK: `resource_server_url=`; Portcullis: the service's `url`).", view.url),
            "Or let it believe the proxy's `X-Forwarded-Proto` and `X-Forwarded-Host` (uvicorn: `--proxy-headers --forwarded-allow-ips=…`).".to_owned(),
        ];
        view.examination.bad(Trouble::Tunnel, view.subject, trial.clone(), Remedy::new(tunnel, fix));
    }
    let mut remedy = Remedy::new(cause, fix);
    if how == Match::Below {
        remedy = remedy.shown(&[("VS Code, Gemini CLI, Claude", "compare exactly, and stop")]);
    }
    view.examination.bad(Trouble::PrmResource, view.subject, trial, remedy);
}

/// Whether `named` is what a server calls itself that knows its inner address only.
pub(super) fn behind_a_proxy(named: &str, url: &Url) -> bool {
    let Ok(named) = Url::parse(named) else { return false };
    if crate::host::is_loopback_url(url) {
        return false;
    }
    let inner =
        named.host_str().is_some_and(|host| crate::host::is_loopback_name(host) || !host.contains('.'));
    let plain = named.scheme() == "http" && url.scheme() == "https";
    (plain && named.host() == url.host()) || (inner && named.host() != url.host())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn the_document_is_where_rfc_9728_puts_it() {
        for (resource, own) in [
            ("https://a.example/mcp", "https://a.example/.well-known/oauth-protected-resource/mcp"),
            ("https://a.example/mcp/", "https://a.example/.well-known/oauth-protected-resource/mcp"),
            ("https://a.example/", "https://a.example/.well-known/oauth-protected-resource"),
            (
                "https://a.example:8443/x/y?z=1",
                "https://a.example:8443/.well-known/oauth-protected-resource/x/y?z=1",
            ),
        ] {
            assert_eq!(inserted(&url(resource)).as_str(), own);
        }
        assert_eq!(
            root(&url("https://a.example/x?y")).as_str(),
            "https://a.example/.well-known/oauth-protected-resource"
        );
    }

    #[test]
    fn a_resource_is_the_typed_url_or_above_it_or_another() {
        let typed = url("https://a.example/mcp");
        for (resource, how, what) in [
            ("https://a.example/mcp", Match::Exact, "the query"),
            ("https://a.example/mcp/", Match::Below, "a slash at the end"),
            ("https://a.example", Match::Below, "the path"),
            ("https://a.example/", Match::Below, "the path"),
            (
                "https://A.example/mcp",
                Match::Below,
                "the spelling: small and capital letters, or the standard port",
            ),
            (
                "https://a.example:443/mcp",
                Match::Below,
                "the spelling: small and capital letters, or the standard port",
            ),
            ("https://a.example/MCP", Match::None, "small and capital letters in the path"),
            ("https://a.example/mcp2", Match::None, "the path"),
            ("http://a.example/mcp", Match::None, "the scheme"),
            ("https://a.example:8443/mcp", Match::None, "the port"),
            ("https://b.example/mcp", Match::None, "the host"),
            ("a.example/mcp", Match::None, "it is no URL"),
        ] {
            assert_eq!(matches(resource, &typed), how, "{resource}");
            if how != Match::Exact {
                assert_eq!(difference(resource, &typed), what, "{resource}");
            }
        }
        assert_eq!(matches("https://a.example", &url("https://a.example")), Match::Exact);
    }

    #[test]
    fn inner_addresses_give_a_proxy_away() {
        let typed = url("https://a.example/mcp");
        for inner in [
            "http://a.example/mcp",
            "http://localhost:8000/mcp",
            "http://127.0.0.1:8000/mcp",
            "http://app:3000/mcp",
        ] {
            assert!(behind_a_proxy(inner, &typed), "{inner}");
        }
        for other in ["https://b.example/mcp", "https://a.example/", "nothing"] {
            assert!(!behind_a_proxy(other, &typed), "{other}");
        }
        assert!(!behind_a_proxy("http://localhost:8000/mcp", &url("http://127.0.0.1:8000/mcp")));
    }
}
