//! What the MCP server says to somebody without a token: 401, and where to sign in.

use http::StatusCode;
use url::Url;

use super::View;
use super::challenge::{self, Challenge};
use super::probe::{Asked, Probe};
use crate::doctor::web::Answer;
use crate::doctor::{Remedy, Trial};
use crate::trouble::Trouble;

/// How an MCP server receives strangers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    /// They must sign in.
    Guarded,
    /// They are let in.
    Open,
}

/// What the challenges say.
#[derive(Clone, Debug, Default)]
pub(super) struct Told {
    /// Where the protected resource metadata is.
    pub(super) metadata: Option<Url>,
    /// What to ask for.
    pub(super) scope: Option<String>,
}

/// The server needs no login at all.
pub(super) fn open(view: &View<'_>, asked: &Asked) {
    let found = format!("{}: the server is open", asked.initialize.found());
    let trial = Trial::new(asked.initialize.tried.as_str(), found);
    let cause = "Whoever knows the URL can use the server: it asks nobody to sign in.";
    let fix = ["If that is not meant, put it behind Portcullis, and let nothing else reach it."];
    view.examination.remark(Trouble::NoChallenge, view.subject, trial, Remedy::new(cause, fix));
}

/// What is wrong with an answer to somebody without a token.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Flaw {
    /// Another status than 401.
    Status(StatusCode),
    /// 401 without a bearer challenge.
    None,
    /// A challenge that does not parse.
    Malformed(String),
    /// A bearer challenge without `resource_metadata`.
    Bare,
    /// A `resource_metadata` that is no URL.
    NoUrl(String),
}

impl Flaw {
    fn told(&self) -> String {
        match self {
            Self::Status(status) => format!("{} in place of 401", status.as_u16()),
            Self::None => "401 without `WWW-Authenticate: Bearer`".to_owned(),
            Self::Malformed(why) => format!("401, and WWW-Authenticate does not parse: {why}"),
            Self::Bare => "401, and the challenge has no resource_metadata".to_owned(),
            Self::NoUrl(text) => format!("401, and resource_metadata is no URL: {text}"),
        }
    }
}

/// The bearer challenge of a 401.
fn bearer(answer: &Answer) -> Result<Challenge, Flaw> {
    if answer.status != StatusCode::UNAUTHORIZED {
        return Err(Flaw::Status(answer.status));
    }
    let fields = answer.headers.get_all("www-authenticate").iter().map(http::HeaderValue::as_bytes);
    let challenges = challenge::read(fields).map_err(|why| Flaw::Malformed(why.to_string()))?;
    challenges.into_iter().find(Challenge::is_bearer).ok_or(Flaw::None)
}

/// Whether there is a bearer challenge in a field of `WWW-Authenticate`.
pub(super) fn has_bearer(field: &[u8]) -> bool {
    challenge::read([field]).is_ok_and(|challenges| challenges.iter().any(Challenge::is_bearer))
}

/// What a client learns from an answer.
pub(super) fn told(answer: &Answer) -> Told {
    let Ok(challenge) = bearer(answer) else { return Told::default() };
    let metadata = challenge.parameter("resource_metadata").and_then(|text| Url::parse(text).ok());
    Told { metadata, scope: challenge.parameter("scope").map(str::to_owned) }
}

fn judge(answer: &Answer) -> Result<(), Flaw> {
    let challenge = bearer(answer)?;
    let metadata = challenge.parameter("resource_metadata").ok_or(Flaw::Bare)?;
    match Url::parse(metadata) {
        Ok(url) if url.has_host() => Ok(()),
        Ok(_) | Err(_) => Err(Flaw::NoUrl(metadata.to_owned())),
    }
}

/// Looks at the answers to all requests, and says what they say.
pub(super) fn examine(view: &View<'_>, asked: &Asked) -> Told {
    let mut probes = asked.each().to_vec();
    probes.push(&asked.forged);
    let judged: Vec<(&Probe, Option<Flaw>)> =
        probes.into_iter().filter_map(|probe| Some((probe, judge(probe.answer()?).err()))).collect();
    tell(view, &judged);
    let tellings = judged.iter().filter_map(|(probe, _)| probe.answer()).map(told);
    let mut tellings = tellings.filter(|told| told.metadata.is_some() || told.scope.is_some());
    tellings.next().unwrap_or_default()
}

fn tell(view: &View<'_>, judged: &[(&Probe, Option<Flaw>)]) {
    let flawed: Vec<_> = judged.iter().filter_map(|(probe, flaw)| Some((*probe, flaw.as_ref()?))).collect();
    if flawed.is_empty() {
        let methods = "POST (initialize, server/discover, a token that is none), GET, HEAD, DELETE";
        let found = "401 each time, with a challenge that names the metadata";
        return view.good(Trouble::NoChallenge, format!("{methods} at {}", view.url), found);
    }
    let tried: Vec<_> = flawed.iter().map(|(probe, _)| probe.tried.clone()).collect();
    let found: Vec<_> = flawed
        .iter()
        .map(|(probe, flaw)| {
            format!("{}: {}", probe.tried.split(' ').next().unwrap_or_default(), flaw.told())
        })
        .collect();
    let trial = Trial::new(tried.join("; "), found.join("; "));
    let (cause, fix) = remedy(view, &flawed);
    let grave = flawed.iter().any(|(probe, flaw)| is_grave(probe, flaw));
    let remedy = Remedy::new(cause, fix);
    if grave {
        view.examination.bad(Trouble::NoChallenge, view.subject, trial, remedy);
    } else {
        view.examination.remark(Trouble::NoChallenge, view.subject, trial, remedy);
    }
}

/// Whether sign-ins fail for it. Servers without streams answer GET and DELETE 405 at once, which clients bear; and a challenge may
/// leave it to clients to find the metadata at its well-known place (RFC 9728 §3).
fn is_grave(probe: &Probe, flaw: &Flaw) -> bool {
    match flaw {
        Flaw::Status(status) => {
            probe.tried.starts_with("POST") || !matches!(status.as_u16(), 404 | 405 | 406 | 501)
        }
        Flaw::None | Flaw::Malformed(_) | Flaw::NoUrl(_) => true,
        Flaw::Bare => false,
    }
}

fn remedy(view: &View<'_>, flawed: &[(&Probe, &Flaw)]) -> (String, Vec<String>) {
    let Some((probe, flaw)) = flawed.iter().find(|(probe, flaw)| is_grave(probe, flaw)).or(flawed.first())
    else {
        return Default::default();
    };
    let header =
        format!("WWW-Authenticate: Bearer resource_metadata=\"{}\"", super::resource::inserted(view.url));
    match flaw {
        Flaw::Status(_) if probe.tried.contains("a token that is none") => (
            "A token that is no good any more must be answered 401: only then do clients refresh it or sign in again.".to_owned(),
            vec![format!("Let the server answer 401 with `{header}`, to every token that it does not accept.")],
        ),
        Flaw::Status(status) if probe.tried.starts_with("POST") => (
            format!("{} where a 401 with a challenge must be: clients begin a sign-in at 401 only.", status.as_u16()),
            vec![format!("Let the server, or what guards it, answer whoever has no token 401 with `{header}`.")],
        ),
        Flaw::Status(status) => {
            let method = probe.tried.split(' ').next().unwrap_or_default();
            (
                format!("{method} without a token is answered {}, and not as POST is: clients that begin so (Gemini CLI: HEAD; mcp-remote, rmcp: GET) do not find the sign-in.", status.as_u16()),
                vec![format!("Answer every method 401 with `{header}`, before anything else is looked at.")],
            )
        }
        Flaw::None => (
            "A 401 without a bearer challenge starts no sign-in: the server does not send it, or a proxy in front takes it away.".to_owned(),
            vec![
                format!("The server must send `{header}`."),
                "If it does, and a proxy takes it away: nginx needs `proxy_intercept_errors off;` and `proxy_pass_header WWW-Authenticate;`.".to_owned(),
            ],
        ),
        Flaw::Malformed(_) | Flaw::NoUrl(_) => (
            "Clients cannot read the challenge: its grammar is that of RFC 9110 §11.6.1, and resource_metadata a whole URL in quotes.".to_owned(),
            vec![format!("Send `{header}`.")],
        ),
        Flaw::Bare => (
            "The challenge does not say where the metadata is; clients look at its well-known places, some of them in vain.".to_owned(),
            vec![format!("Send `{header}`.")],
        ),
    }
}
