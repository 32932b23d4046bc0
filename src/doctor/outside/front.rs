//! Who answers: the MCP server, something in front of it, or another URL's server.

use http::StatusCode;
use url::Url;

use super::door::{self, Door};
use super::probe::{Asked, Probe};
use super::words::{another_host, is_about_the_host, named, of_the_host, said};
use super::{View, probe, resource, trust};
use crate::doctor::web::{Answer, Ask};
use crate::doctor::{Remedy, Trial};
use crate::host::Tunnel;
use crate::trouble::Trouble;

/// Whether the MCP server is behind `view.url`; if not, why nothing more can be tried.
pub(super) async fn examine(view: &View<'_>, asked: &Asked) -> Result<Door, String> {
    let stranger = blocked(view, asked);
    let tunnel = tunnel(view, asked);
    if let Some(because) = stranger.or(tunnel) {
        view.not_tried(&[Trouble::WrongUrl], &because);
        return Err(because);
    }
    let doors = [&asked.initialize, &asked.discover].map(|probe| probe.answer().and_then(door));
    if let Some(door) = doors.into_iter().flatten().next() {
        if door == Door::Guarded && !is_guarded_as_mcp_servers_are(view, asked).await {
            something(view, asked);
            return Ok(door);
        }
        let found = format!("{}: an MCP server", asked.initialize.found());
        view.good(Trouble::WrongUrl, asked.initialize.tried.as_str(), found);
        return Ok(door);
    }
    elsewhere(view, asked).await
}

/// Whether a 401 is that of an MCP server: anything else that wants a login answers so, too.
async fn is_guarded_as_mcp_servers_are(view: &View<'_>, asked: &Asked) -> bool {
    let challenges = |probe: &&Probe| {
        let fields = probe.answer().map(|answer| answer.headers.get_all("www-authenticate"));
        fields.into_iter().flatten().any(|field| {
            let begin = field.as_bytes().get(..6).unwrap_or_default();
            begin.eq_ignore_ascii_case(b"bearer") || door::has_bearer(field.as_bytes())
        })
    };
    if asked.each().iter().any(challenges) {
        return true;
    }
    for place in [resource::inserted(view.url), resource::root(view.url)] {
        let probe = probe::probe(view, resource::ask(&place), "").await;
        if probe.answer().is_some_and(|answer| resource::read(&place, answer).is_some()) {
            return true;
        }
    }
    false
}

fn something(view: &View<'_>, asked: &Asked) {
    let found = format!("{}: something that wants a login", asked.initialize.found());
    let trial = Trial::new(asked.initialize.tried.as_str(), found);
    let cause = "It answers 401, as many servers do, with neither a bearer challenge nor protected resource metadata: whether an MCP server is there cannot be told.";
    let fix = ["See that the URL is that of the MCP server, and not of something else on that host."];
    view.examination.remark(Trouble::WrongUrl, view.subject, trial, Remedy::new(cause, fix));
}

/// What kind of door an MCP server's answer is; `None` if no MCP server answered.
pub(super) fn door(answer: &Answer) -> Option<Door> {
    if answer.status == StatusCode::UNAUTHORIZED {
        return Some(Door::Guarded);
    }
    let speaks = answer.json().is_some_and(|message| {
        message.get("jsonrpc").is_some()
            && (message.get("result").is_some() || message.get("error").is_some())
    });
    (speaks && (answer.status.is_success() || answer.status == StatusCode::BAD_REQUEST)).then_some(Door::Open)
}

/// Headers by which those give themselves away who stand in front of servers: the header, what its value has in it, and who it is.
const STRANGERS: &[(&str, &str, &str)] = &[
    ("cf-mitigated", "", "Cloudflare"),
    ("cf-ray", "", "Cloudflare"),
    ("server", "cloudflare", "Cloudflare"),
    ("server", "akamaighost", "Akamai"),
    ("x-akamai-request-id", "", "Akamai"),
    ("x-amzn-waf-action", "", "AWS WAF"),
    ("server", "awselb", "an AWS load balancer"),
    ("x-amz-cf-id", "", "Amazon CloudFront"),
    ("x-sucuri-id", "", "Sucuri"),
    ("server", "sucuri", "Sucuri"),
    ("x-datadome", "", "DataDome"),
    ("server", "datadome", "DataDome"),
    ("x-iinfo", "", "Imperva"),
    ("x-cdn", "imperva", "Imperva"),
    ("server", "ddos-guard", "DDoS-Guard"),
    ("x-vercel-mitigated", "", "Vercel"),
    ("server", "bigip", "F5 BIG-IP"),
    ("x-azure-ref", "", "Azure Front Door"),
    ("server", "fastly", "Fastly"),
    ("server", "qrator", "Qrator"),
];

/// What pages of riddles and refusals say.
const RIDDLES: &[&str] = &[
    "Just a moment...",
    "Attention Required!",
    "Checking your browser",
    "challenge-platform",
    "Access Denied",
    "The requested URL was rejected",
    "Request unsuccessful. Incapsula",
    "captcha",
];

fn stranger(answer: &Answer) -> Option<&'static str> {
    let has = |(name, value, _): &&(&str, &str, &str)| {
        answer.headers.contains_key(*name) && answer.header(name).to_ascii_lowercase().contains(value)
    };
    STRANGERS.iter().find(has).map(|(_, _, who)| *who)
}

/// Who refused in the MCP server's place, if anybody did.
fn refusal(answer: &Answer) -> Option<String> {
    let riddle = answer.headers.contains_key("cf-mitigated") || {
        let text = answer.text();
        answer.is_html() && RIDDLES.iter().any(|riddle| text.contains(riddle))
    };
    let who = stranger(answer);
    // Without a sign of somebody who sorts requests, 503 is what a proxy says whose server is not there.
    let refused = match answer.status.as_u16() {
        403 | 406 | 429 => answer.json().is_none(),
        503 => answer.json().is_none() && who.is_some(),
        _ => false,
    };
    if !(riddle || refused && (who.is_some() || answer.is_html() || answer.status == StatusCode::FORBIDDEN)) {
        return None;
    }
    Some(who.map_or_else(
        || match answer.header("server") {
            "" => "something in front".to_owned(),
            server => format!("something in front (Server: {server})"),
        },
        str::to_owned,
    ))
}

fn blocked(view: &View<'_>, asked: &Asked) -> Option<String> {
    let probes = [&asked.initialize, &asked.discover, &asked.forged];
    let refused = |probe: &&&Probe| probe.answer().is_some_and(|answer| refusal(answer).is_some());
    let Some(probe) = probes.iter().find(refused) else {
        let statuses: Vec<_> = probes.iter().map(|probe| probe.found()).collect();
        let who = asked.initialize.answer().and_then(stranger);
        let who = who.map_or_else(String::new, |who| format!("; {who} is in front, and lets it pass"));
        let tried = format!("{}; {}", asked.initialize.tried, asked.forged.tried);
        view.good(Trouble::Waf, tried, format!("{}{who}", statuses.join("; ")));
        return None;
    };
    let who = probe.answer().and_then(refusal)?;
    let host = view.url.host_str().unwrap_or_default();
    let cause = format!(
        "{who} answers in the MCP server's place: it takes MCP clients for robots, or does not like the request."
    );
    let fix = match who.as_str() {
        "Cloudflare" => vec![
            format!(
                "At Cloudflare: Security, WAF, Custom rules: `(http.host eq \"{host}\")`, action Skip: all managed rules, Bot Fight Mode."
            ),
            format!(
                "Or take it out of the way: DNS, the record of {host}: Proxy status DNS only (the grey cloud)."
            ),
        ],
        _ => vec![format!(
            "In its rules, let requests to {host} pass without a challenge: POST with JSON and an Authorization header, GET with `Accept: text/event-stream`, and everything under /.well-known/."
        )],
    };
    let trial = Trial::new(probe.tried.as_str(), probe.found());
    view.examination.bad(Trouble::Waf, view.subject, trial, Remedy::new(cause, fix));
    Some(format!("{who} answers in the MCP server's place"))
}

/// Why nothing gets through a tunnel, if one is there and is in the way.
fn tunnel(view: &View<'_>, asked: &Asked) -> Option<String> {
    let answer = asked.initialize.answer()?;
    let text = answer.text();
    let ngrok = answer.header("ngrok-error-code");
    let (name, cause, fix) = if !ngrok.is_empty() {
        let cause = format!(
            "ngrok answers in the server's place ({ngrok}): its agent does not run, or the server behind it does not answer."
        );
        (
            "ngrok",
            cause,
            "On the server's machine: `ngrok http 443`, and see that the server listens where it points to.",
        )
    } else if answer.is_html() && text.contains("ngrok") {
        let cause = "ngrok shows its page of warning in place of the server's answer.".to_owned();
        (
            "ngrok",
            cause,
            "Use a paid or reserved domain of ngrok, which has no such page; clients cannot send `ngrok-skip-browser-warning`.",
        )
    } else if answer.status.as_u16() == 530 || (answer.is_html() && text.contains("error code: 1033")) {
        let cause = "Cloudflare knows the tunnel, and no cloudflared is connected to it.".to_owned();
        ("cloudflared", cause, "On the server's machine: `cloudflared tunnel run NAME`.")
    } else {
        return None;
    };
    let trial =
        Trial::new(asked.initialize.tried.as_str(), format!("{}, from {name}", asked.initialize.found()));
    view.examination.bad(Trouble::Tunnel, view.subject, trial, Remedy::new(cause, [fix]));
    Some(format!("{name} answers in the server's place"))
}

/// No tunnel is in the way; that there is one is worth a remark.
pub(super) fn passed(view: &View<'_>, asked: &Asked) {
    let host = view.url.host_str().unwrap_or_default();
    let Some(Tunnel { name, .. }) = Tunnel::of(host) else {
        return view.good(Trouble::Tunnel, asked.initialize.tried.as_str(), "no sign of a tunnel in the way");
    };
    let trial = Trial::new(
        asked.initialize.tried.as_str(),
        format!("{host} is a tunnel of {name}, and lets it pass"),
    );
    let cause =
        "Such a host name lasts as long as the tunnel: every client must be connected anew when it changes.";
    let fix = ["For more than a try, take a host name of your own."];
    view.examination.remark(Trouble::Tunnel, view.subject, trial, Remedy::new(cause, fix));
}

/// Finds out where the MCP server is, and says so. Why nothing more can be tried; unless it is here, and refuses in the wrong way.
async fn elsewhere(view: &View<'_>, asked: &Asked) -> Result<Door, String> {
    let probe = &asked.initialize;
    let trial = |found: String| Trial::new(probe.tried.as_str(), found);
    let Some(answer) = probe.answer() else {
        let cause = "The way to the server is open, and it does not answer a POST with JSON.";
        let fix = ["See the server's own log for that request, and whether it hangs."];
        view.examination.bad(
            Trouble::UpstreamDown,
            view.subject,
            trial(probe.found()),
            Remedy::new(cause, fix),
        );
        view.not_tried(&[Trouble::WrongUrl], "the server does not answer");
        return Err("the server does not answer".to_owned());
    };
    if let Some(because) = unwell(view, probe, answer) {
        view.not_tried(&[Trouble::WrongUrl], because);
        return Err(because.to_owned());
    }
    if is_about_the_host(answer) {
        view.examination.bad(
            Trouble::WrongUrl,
            view.subject,
            trial(said(probe, answer)),
            another_host(view, answer),
        );
        return Err("the server does not take requests for this host".to_owned());
    }
    view.examination.begins("looking for the MCP server at other URLs");
    let says = named(answer).filter(|url| answer.status == StatusCode::NOT_FOUND && url != view.url);
    let mut found = match says {
        Some(url) => Some((url, Kind::Streamable)),
        None => search(view, answer).await,
    };
    if found.is_none() && answer.status == StatusCode::FORBIDDEN && answer.json().is_some() {
        view.not_tried(&[Trouble::WrongUrl], "403 is all that it says, here and at the usual paths");
        return Ok(Door::Guarded);
    }
    if found.is_none() {
        found = of_the_host(view).await.map(|url| (url, Kind::Streamable));
    }
    view.examination.bad(
        Trouble::WrongUrl,
        view.subject,
        trial(said(probe, answer)),
        directions(view, answer, found.as_ref()),
    );
    Err(match found {
        Some((url, _)) => format!("the MCP server is at {url}"),
        None => "no MCP server answers there".to_owned(),
    })
}

/// How to come to where the MCP server is.
fn directions(view: &View<'_>, answer: &Answer, found: Option<&(Url, Kind)>) -> Remedy {
    let (cause, fix) = match found {
        Some((url, Kind::Streamable)) => (
            format!("The MCP server is at {url}, and not at {}.", view.url),
            vec![format!("Give clients `{url}`, byte by byte.")],
        ),
        Some((url, Kind::Events)) => (
            format!("At {url} is a server of the old transport (HTTP with SSE), which clients have given up."),
            vec!["Start the server with streamable HTTP: FastMCP `mcp.run(transport=\"http\")`; for the everything server `streamableHttp`.".to_owned()],
        ),
        None if leads_away(view, answer).is_some() => (
            "Something in front redirects to a sign-in of its own, which MCP clients cannot use.".to_owned(),
            vec!["Let that proxy pass the MCP path and everything under /.well-known/ without its sign-in; Portcullis guards them.".to_owned()],
        ),
        None => (
            format!("No MCP server answers at {}, nor at /mcp, /, /sse of that host.", view.url),
            vec!["Find the path in the server's own documentation or log; the usual ones are /mcp and /.".to_owned()],
        ),
    };
    Remedy::new(cause, fix)
}

/// Why the server, if it is there, does not answer as one: it is not well, or had enough of requests.
fn unwell(view: &View<'_>, probe: &Probe, answer: &Answer) -> Option<&'static str> {
    let trial = Trial::new(probe.tried.as_str(), probe.found());
    if answer.status == StatusCode::TOO_MANY_REQUESTS {
        let wait = answer.header("retry-after").parse::<u64>();
        let wait =
            wait.map_or_else(|_| "Wait a minute".to_owned(), |seconds| format!("Wait {seconds} seconds"));
        let cause = "The server, or something in front of it, counts requests, and there were too many from this address.";
        let fix = [
            format!("{wait}, and run it again."),
            "For Portcullis: the limit stands under `limits`.".to_owned(),
        ];
        view.examination.bad(Trouble::RateLimited, view.subject, trial, Remedy::new(cause, fix));
        return Some("there were too many requests");
    }
    if !answer.status.is_server_error() {
        return None;
    }
    let status = answer.status.as_u16();
    let cause = if matches!(status, 502..=504) && answer.is_html() {
        format!("Something in front says that the server is not there ({status}).")
    } else {
        format!("The server, or what stands in front of it, answers {status}: it is not well.")
    };
    let fix = ["See the server's own log, and the log of the proxy in front of it, for that request."];
    view.examination.bad(Trouble::UpstreamDown, view.subject, trial, Remedy::new(cause, fix));
    Some("the server is not well")
}

fn leads_away(view: &View<'_>, answer: &Answer) -> Option<Url> {
    answer.location(view.url).filter(|to| to.path().trim_matches('/') != view.url.path().trim_matches('/'))
}

enum Kind {
    Streamable,
    Events,
}

/// The first of the likely URLs at which an MCP server answers.
async fn search(view: &View<'_>, answer: &Answer) -> Option<(Url, Kind)> {
    for url in likely(view.url, answer) {
        if trust::leads_inside(view, &url).await {
            continue;
        }
        let asked = probe::probe(view, probe::initialize(&url), "").await;
        if asked.answer().and_then(door).is_some() {
            return Some((url, Kind::Streamable));
        }
    }
    for path in ["/sse", view.url.path()] {
        let mut url = view.url.clone();
        url.set_path(path);
        let get = Ask::get(&url).header("accept", "text/event-stream").without_body();
        let asked = probe::probe(view, get, "").await;
        if asked.answer().is_some_and(|answer| answer.status == StatusCode::OK && answer.is_event_stream()) {
            return Some((url, Kind::Events));
        }
    }
    None
}

fn likely(url: &Url, answer: &Answer) -> Vec<Url> {
    let mut urls: Vec<Url> = answer.location(url).into_iter().collect();
    let bare = url.path().trim_end_matches('/').to_owned();
    for path in
        [bare.clone(), format!("{bare}/"), format!("{bare}/mcp"), "/mcp".into(), "/mcp/".into(), "/".into()]
    {
        let mut other = url.clone();
        other.set_query(None);
        other.set_path(&path);
        urls.push(other);
    }
    if url.scheme() == "http" {
        let secure =
            urls.clone().into_iter().filter_map(|mut url| url.set_scheme("https").ok().map(|()| url));
        urls.extend(secure.collect::<Vec<_>>());
    }
    let mut known = vec![url.clone()];
    urls.retain(|one| {
        let fresh = !known.contains(one);
        known.push(one.clone());
        fresh
    });
    urls
}
