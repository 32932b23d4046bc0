//! What a browser lets clients in a page do: preflights as it sends them, from the Inspector's own origin.

use http::Method;
use url::Url;

use super::authority::Authority;
use super::probe::{self, Probe};
use super::resource::{self, Resource};
use super::{Client, View};
use crate::doctor::web::{Answer, Ask};
use crate::doctor::{Remedy, Trial};
use crate::trouble::Trouble;

/// Where the MCP Inspector's page comes from.
const ORIGIN: &str = "http://localhost:6274";

struct Flaw {
    tried: String,
    found: String,
    /// Whether browsers refuse it for being there twice.
    twice: bool,
}

/// Sends all preflights.
pub(super) async fn examine(view: &View<'_>, resource: &Resource, authority: &Authority) {
    view.examination.begins("asking as a browser does (CORS)");
    let mut asked: Vec<(Url, &'static str, &'static str)> = vec![
        (resource.at.clone(), "GET", "mcp-protocol-version"),
        (authority.at.clone(), "GET", "mcp-protocol-version"),
    ];
    asked.extend(authority.endpoint("token_endpoint").map(|url| (url, "POST", "content-type")));
    asked.extend(authority.endpoint("registration_endpoint").map(|url| (url, "POST", "content-type")));
    let headers = "authorization, content-type, mcp-protocol-version, mcp-session-id";
    asked.push((view.url.clone(), "POST", headers));
    let mut flaws = Vec::new();
    for (url, method, headers) in &asked {
        flaws.extend(preflight(view, url, method, headers).await);
    }
    flaws.extend(readable(view, resource::ask(&resource.at)).await);
    flaws.extend(exposed(view).await);
    tell(view, &flaws);
}

async fn preflight(view: &View<'_>, url: &Url, method: &str, headers: &str) -> Option<Flaw> {
    let ask = Ask::new(Method::OPTIONS, url)
        .header("origin", ORIGIN)
        .header("access-control-request-method", method)
        .header("access-control-request-headers", headers);
    let probe = probe::probe(view, ask, &format!("preflight of {method} from {ORIGIN}")).await;
    let Some(answer) = probe.answer() else { return Some(flaw(&probe, probe.found())) };
    if !answer.status.is_success() {
        return Some(flaw(&probe, probe.found()));
    }
    if let Some(found) = origin(answer) {
        return Some(flaw(&probe, found));
    }
    let allowed = answer.header("access-control-allow-headers").to_ascii_lowercase();
    let allowed: Vec<_> = allowed.split(',').map(str::trim).collect();
    let lacks = |name: &&str| {
        // A `*` stands for every header but Authorization (Fetch §4.10).
        !(allowed.contains(name) || allowed.contains(&"*") && *name != "authorization")
    };
    let missing: Vec<_> = headers.split(", ").filter(lacks).collect();
    if missing.is_empty() {
        return None;
    }
    Some(flaw(&probe, format!("Access-Control-Allow-Headers lacks {}", missing.join(", "))))
}

fn flaw(probe: &Probe, found: String) -> Flaw {
    let twice = probe.answer().is_some_and(|answer| origins(answer) > 1);
    Flaw { tried: probe.tried.clone(), found, twice }
}

fn origins(answer: &Answer) -> usize {
    answer.headers.get_all("access-control-allow-origin").iter().count()
}

/// What is wrong with the allowed origin.
fn origin(answer: &Answer) -> Option<String> {
    match (origins(answer), answer.header("access-control-allow-origin")) {
        (0, _) => Some(format!("{}, without Access-Control-Allow-Origin", answer.summary())),
        (1, "*" | ORIGIN) => None,
        (1, other) => Some(format!("Access-Control-Allow-Origin: {other}")),
        (many, _) => Some(format!("Access-Control-Allow-Origin {many} times")),
    }
}

/// Whether a page may read the answer itself, too.
async fn readable(view: &View<'_>, ask: Ask) -> Option<Flaw> {
    let probe = probe::probe(view, ask.header("origin", ORIGIN), &format!("from {ORIGIN}")).await;
    let found = origin(probe.answer()?)?;
    Some(flaw(&probe, found))
}

/// Whether a page may read the challenge of a 401.
async fn exposed(view: &View<'_>) -> Option<Flaw> {
    let ask = probe::initialize(view.url).header("origin", ORIGIN);
    let probe = probe::probe(view, ask, &format!("initialize from {ORIGIN}")).await;
    let answer = probe.answer()?;
    if let Some(found) = origin(answer) {
        return Some(flaw(&probe, found));
    }
    let exposed = answer.header("access-control-expose-headers").to_ascii_lowercase();
    let shown = exposed.split(',').any(|name| matches!(name.trim(), "www-authenticate" | "*"));
    (!shown).then(|| flaw(&probe, "Access-Control-Expose-Headers lacks WWW-Authenticate".to_owned()))
}

fn tell(view: &View<'_>, flaws: &[Flaw]) {
    let Some(first) = flaws.first() else {
        let tried = format!(
            "preflights from {ORIGIN} of the documents, the token endpoint, the registration and the MCP path"
        );
        return view.good(Trouble::Cors, tried, "all are allowed, and WWW-Authenticate is exposed");
    };
    let found: Vec<_> = flaws.iter().map(|flaw| format!("{}: {}", flaw.tried, flaw.found)).collect();
    let trial = Trial::new(first.tried.as_str(), found.join("; "));
    let twice = flaws.iter().any(|flaw| flaw.twice);
    let (cause, fix) = if twice {
        (
            "Access-Control-Allow-Origin comes twice, which browsers refuse: the server sends it, and a proxy in front adds another.",
            vec!["Take the header out of the proxy's configuration (nginx: the `add_header Access-Control-Allow-Origin` line).".to_owned()],
        )
    } else {
        (
            "A page of another origin may not ask there: the Inspector and other clients in a browser fail; those outside of browsers do not mind.",
            vec![
                format!(
                    "Answer OPTIONS with `Access-Control-Allow-Origin: *`, `Access-Control-Allow-Methods: GET, POST, DELETE`, `Access-Control-Allow-Headers: authorization, content-type, mcp-protocol-version, mcp-session-id`, and everything else with `Access-Control-Expose-Headers: WWW-Authenticate, Mcp-Session-Id`."
                ),
                format!("For Portcullis: `origins: [\"{ORIGIN}\"]` under the service."),
            ],
        )
    };
    let remedy = Remedy::new(cause, fix);
    // Only clients in a browser suffer: it is wrong where one of them is meant, or where somebody tried and failed.
    if twice || view.manner.client == Some(Client::Inspector) {
        view.examination.bad(Trouble::Cors, view.subject, trial, remedy);
    } else {
        view.examination.remark(Trouble::Cors, view.subject, trial, remedy);
    }
}
