//! The servers behind: each replica of each service is asked as a client asks, by the gateway's own way to it, and where that does
//! not go well, in the other ways that a client or an operator might have meant.

mod answer;
mod silent;
mod told;

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use http::StatusCode;
use http::header::WWW_AUTHENTICATE;
use url::Url;

use self::answer::{Met, Server, old_transport, read, tools, words};
use self::told::{Case, Found};
use crate::doctor::{Examination, Remedy, Trial};
use crate::gateway::ServiceSettings;
use crate::mcp::REVISIONS;
use crate::trouble::Trouble;
use crate::upstream::{Interviewer, Question, Reply, UpstreamError, name_of};

/// How long the first answer is waited for.
const FIRST: Duration = Duration::from_secs(6);
/// How long each answer after it.
const NEXT: Duration = Duration::from_secs(2);
/// How long one server is asked things altogether.
const ALTOGETHER: Duration = Duration::from_secs(12);
/// The revision that most clients ask for.
const USUAL: &str = "2025-11-25";
/// One that nobody speaks: a server answers with what it speaks itself.
const UNHEARD_OF: &str = "1999-12-31";

/// Asks every replica of every service.
pub(super) async fn examine(examination: &Examination<'_>, services: &[&ServiceSettings]) {
    let interviewer = Interviewer::default();
    let each = |service| of_service(examination, &interviewer, service);
    join_all(services.iter().copied().map(each)).await;
}

async fn of_service(examination: &Examination<'_>, interviewer: &Interviewer, service: &ServiceSettings) {
    let replicas = &service.upstream.replicas;
    let subject = |url: &Url| match replicas.as_slice() {
        [_] => service.name.clone(),
        _ => format!("{} ({})", service.name, name_of(url)),
    };
    let each = replicas.iter().map(|url| async {
        examination.begins(&format!("asking {} at {}", service.name, name_of(url)));
        let asking = Asking { interviewer, url, until: Instant::now() + ALTOGETHER };
        let found = asking.find_out(service).await;
        let case = Case { examination, service, url, subject: &subject(url) };
        case.tell(&found);
        found
    });
    let found = join_all(each).await;
    tell_differences(examination, service, &found);
}

/// Somebody who asks one server.
struct Asking<'a> {
    interviewer: &'a Interviewer,
    url: &'a Url,
    until: Instant,
}

impl Asking<'_> {
    async fn ask(&self, question: &Question, patience: Duration) -> Result<Reply, UpstreamError> {
        let left = self.until.saturating_duration_since(Instant::now());
        self.interviewer.ask(self.url, question, patience.min(left)).await
    }

    /// The same at another path.
    async fn ask_at(&self, path: &str, question: &Question) -> Option<Reply> {
        let mut url = self.url.clone();
        url.set_path(path);
        self.interviewer.ask(&url, question, NEXT).await.ok()
    }

    /// Whether it is TLS alone that is too much for it.
    async fn answers_without_tls(&self, error: &UpstreamError) -> bool {
        let in_time = !matches!(error, UpstreamError::ConnectTimeout | UpstreamError::AnswerTimeout);
        let mut url = self.url.clone();
        if url.scheme() != "https" || !in_time || url.set_scheme("http").is_err() {
            return false;
        }
        // The port of the one scheme is not that of the other.
        let port = self.url.port_or_known_default();
        url.set_port(port).is_ok()
            && self.interviewer.ask(&url, &Question::initialize(USUAL), NEXT).await.is_ok()
    }

    async fn find_out(&self, service: &ServiceSettings) -> Found {
        let reply = match self.ask(&Question::initialize(USUAL), FIRST).await {
            Ok(reply) => reply,
            Err(error) if self.answers_without_tls(&error).await => return Found::Plain(error),
            Err(error) => return Found::NoAnswer(error),
        };
        match read(&reply) {
            Met::Server(server) => self.get_to_know(server, reply.took).await,
            met @ (Met::Nothing { .. } | Met::Transport(_) | Met::Revision { .. }) => {
                self.ask_further(&reply, met, service).await
            }
            Met::Host(said) => Found::Host { accepted: self.accepted_host().await, said },
            Met::Login if is_ours(&reply, service) => Found::Itself(words(&reply)),
            Met::Login => Found::Login(words(&reply)),
            Met::Failing => Found::Failing(words(&reply)),
        }
    }

    /// What else there is to know of a server that is well. Its session is ended.
    async fn get_to_know(&self, mut server: Server, took: Duration) -> Found {
        let revision = server.revisions.first().cloned().unwrap_or_default();
        let session = server.session.take();
        let ask = |method, id| {
            let question = Question::in_session(method, id, &revision, session.as_ref());
            async move { self.ask(&question, NEXT).await.ok() }
        };
        ask("notifications/initialized", None).await;
        let tools = ask("tools/list", Some(2)).await.as_ref().and_then(tools);
        if let Some(session) = &session {
            // A server that does not end sessions is no trouble; it forgets this one some day.
            drop(self.ask(&Question::end(session), NEXT).await);
        }
        if let Some(Met::Server(modern)) = self.ask(&Question::discover(), NEXT).await.ok().as_ref().map(read)
        {
            let further = modern.revisions.into_iter().filter(|one| *one != revision);
            server.revisions.extend(further.collect::<Vec<_>>());
        }
        Found::Well { server, took, tools, strict: self.takes_its_own_host_only().await }
    }

    /// Whether it refuses requests that name another host: those of clients do, and are never sent as they are.
    async fn takes_its_own_host_only(&self) -> bool {
        let question = Question::discover().to_host("doctor.invalid");
        let reply = self.ask(&question, NEXT).await;
        reply.is_ok_and(|reply| matches!(read(&reply), Met::Host(_)))
    }

    /// Why there is no good answer where one should be.
    async fn ask_further(&self, reply: &Reply, met: Met, service: &ServiceSettings) -> Found {
        if let Ok(modern) = self.ask(&Question::discover(), NEXT).await
            && let Met::Server(server) = read(&modern)
        {
            let tools = self.ask(&Question::alone("tools/list"), NEXT).await.ok().as_ref().and_then(tools);
            return Found::Well {
                server,
                took: modern.took,
                tools,
                strict: self.takes_its_own_host_only().await,
            };
        }
        if let Met::Revision { said, theirs } = met {
            return self.revisions(said, theirs).await;
        }
        if let Some(messages) = self.stream_at(self.url.path()).await {
            let meant = service.paths.iter().any(|path| messages.starts_with(path.as_str()));
            return Found::Old { path: self.url.path().to_owned(), messages, meant };
        }
        if let Met::Transport(said) = met {
            return Found::Transport(said);
        }
        let elsewhere = match &met {
            Met::Nothing { elsewhere } => elsewhere.as_deref(),
            Met::Server(_)
            | Met::Revision { .. }
            | Met::Login
            | Met::Host(_)
            | Met::Transport(_)
            | Met::Failing => None,
        };
        self.look_around(words(reply), elsewhere).await
    }

    /// At which other path there is an MCP server.
    async fn look_around(&self, said: String, elsewhere: Option<&str>) -> Found {
        let paths = self.usual_paths(elsewhere);
        let initialize = Question::initialize(USUAL);
        let at = |path: String| {
            let question = &initialize;
            async move {
                let met = read(&self.ask_at(&path, question).await?);
                matches!(met, Met::Server(_) | Met::Revision { .. } | Met::Login | Met::Transport(_))
                    .then_some(path)
            }
        };
        let found = join_all(paths.iter().cloned().map(at)).await;
        if let Some(path) = found.into_iter().flatten().next() {
            return Found::Path { said, right: Some(path), redirected: elsewhere.is_some() };
        }
        match self.stream_at("/sse").await {
            Some(messages) => Found::Old { path: "/sse".to_owned(), messages, meant: false },
            None => Found::Path { said, right: None, redirected: elsewhere.is_some() },
        }
    }

    /// Where an endpoint usually is, if it is not where the configuration says; first where the server itself sends to.
    fn usual_paths(&self, elsewhere: Option<&str>) -> Vec<String> {
        let path = self.url.path();
        let sent = elsewhere.and_then(|location| self.url.join(location).ok());
        let sent = sent.filter(|url| url.host() == self.url.host()).map(|url| url.path().to_owned());
        let other = path.strip_suffix('/').map_or_else(|| format!("{path}/"), str::to_owned);
        let usual = ["/mcp", "/mcp/", "/"].map(str::to_owned);
        let mut paths = Vec::new();
        for one in sent.into_iter().chain([other]).chain(usual) {
            if !one.is_empty() && one != path && !paths.contains(&one) {
                paths.push(one);
            }
        }
        paths
    }

    /// Where the old transport takes messages, if `path` is its stream.
    async fn stream_at(&self, path: &str) -> Option<String> {
        let reply = self.ask_at(path, &Question::stream()).await?;
        (reply.status == StatusCode::OK).then(|| old_transport(&reply)).flatten()
    }

    /// What a server speaks that does not speak what clients ask for.
    async fn revisions(&self, said: String, mut theirs: Vec<String>) -> Found {
        if theirs.is_empty()
            && let Ok(reply) = self.ask(&Question::initialize(UNHEARD_OF), NEXT).await
        {
            match read(&reply) {
                Met::Server(server) => theirs = server.revisions,
                Met::Revision { theirs: named, .. } => theirs = named,
                Met::Nothing { .. } | Met::Login | Met::Host(_) | Met::Transport(_) | Met::Failing => {}
            }
        }
        Found::Revision { said, theirs }
    }

    /// A host that it takes, of those that lead to it on its own machine.
    async fn accepted_host(&self) -> Option<String> {
        let port = self.url.port_or_known_default()?;
        let own = name_of(self.url);
        for host in [format!("localhost:{port}"), format!("127.0.0.1:{port}")] {
            let reply = self.ask(&Question::initialize(USUAL).to_host(&host), NEXT).await;
            if host != own && reply.is_ok_and(|reply| matches!(read(&reply), Met::Server(_))) {
                return Some(host);
            }
        }
        None
    }
}

/// Whether an answer is of this gateway: its challenge leads to the metadata of a service at the same origin.
fn is_ours(reply: &Reply, service: &ServiceSettings) -> bool {
    let metadata = format!(
        "resource_metadata=\"{}/.well-known/oauth-protected-resource",
        service.url.origin().ascii_serialization()
    );
    let challenges = reply.headers.get_all(WWW_AUTHENTICATE).iter();
    challenges.filter_map(|value| value.to_str().ok()).any(|challenge| challenge.contains(&metadata))
}

/// `1 tool`, `2 tools`.
fn counted(tools: usize) -> String {
    format!("{tools} {}", if tools == 1 { "tool" } else { "tools" })
}

/// Replicas are taken for the same server: where they are not, what a client sees depends on chance.
fn tell_differences(examination: &Examination<'_>, service: &ServiceSettings, found: &[Found]) {
    let mut known = Vec::new();
    for one in found {
        if let Found::Well { server, tools, .. } = one {
            known.push((&server.name, &server.revisions, tools));
        }
    }
    let Some((first, others)) = known.split_first().filter(|(_, others)| !others.is_empty()) else { return };
    if others.iter().all(|other| other == first) {
        return;
    }
    let told = |(name, revisions, tools): &(&String, &Vec<String>, &Option<Vec<String>>)| {
        let tools = tools.as_ref().map_or_else(|| "tools unknown".to_owned(), |tools| counted(tools.len()));
        format!("{name}, {}, {tools}", revisions.join(" "))
    };
    let trial = Trial::new(
        "the same questions to each replica",
        known.iter().map(told).collect::<Vec<_>>().join("; "),
    );
    let remedy = Remedy::new(
        "The replicas are not the same server, so what a client sees depends on which one it meets.",
        [format!("Run one version behind `{}`, or make services of their own of them.", service.name)],
    );
    examination.remark(Trouble::ProtocolVersion, &service.name, trial, remedy);
}
