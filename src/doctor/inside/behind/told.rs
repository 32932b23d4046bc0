//! What is told of a server behind: a finding for each way in which it could be wrong, with the line that mends it.

use std::time::Duration;

use url::Url;

use super::answer::Server;
use super::{FIRST, REVISIONS};
use crate::doctor::{Examination, Remedy, Trial};
use crate::gateway::ServiceSettings;
use crate::trouble::Trouble;
use crate::upstream::{UpstreamError, name_of};

/// How long a server may take before people notice.
const NOTICED: Duration = Duration::from_secs(1);

/// What came of asking a server.
#[derive(Debug)]
pub(super) enum Found {
    /// It is well.
    Well {
        server: Server,
        /// How long `initialize` took.
        took: Duration,
        /// The names of its tools, if it told them.
        tools: Option<Vec<String>>,
        /// Whether it refuses requests for another host.
        strict: bool,
    },
    /// Nothing came back.
    NoAnswer(UpstreamError),
    /// Nothing came back by TLS, and something without.
    Plain(UpstreamError),
    /// It answers with a fault of its own.
    Failing(String),
    /// It wants a login of its own.
    Login(String),
    /// It is this gateway.
    Itself(String),
    /// It does not take its own address for a host; which one it takes instead.
    Host { said: String, accepted: Option<String> },
    /// It speaks none of the revisions that pass.
    Revision { said: String, theirs: Vec<String> },
    /// Its endpoint is not here, but there.
    Path { said: String, right: Option<String>, redirected: bool },
    /// The old transport, with its stream here and its messages there; whether the configuration knows.
    Old { path: String, messages: String, meant: bool },
    /// Another mode of transport, in its words.
    Transport(String),
}

/// The ways in which it could be wrong, in the order in which they are found out.
const WAYS: [Trouble; 7] = [
    Trouble::UpstreamDown,
    Trouble::UpstreamSlow,
    Trouble::UpstreamAuth,
    Trouble::UpstreamHost,
    Trouble::UpstreamPath,
    Trouble::UpstreamTransport,
    Trouble::ProtocolVersion,
];

/// One replica of a service.
pub(super) struct Case<'a> {
    pub(super) examination: &'a Examination<'a>,
    pub(super) service: &'a ServiceSettings,
    pub(super) url: &'a Url,
    pub(super) subject: &'a str,
}

impl Case<'_> {
    /// Tells all of it.
    pub(super) fn tell(&self, found: &Found) {
        match found {
            Found::Well { server, took, tools, strict } => {
                self.well(server, *took, tools.as_deref(), *strict);
            }
            Found::NoAnswer(error) => self.no_answer(error),
            Found::Plain(error) => self.plain(error),
            Found::Failing(said) => self.failing(said),
            Found::Login(said) => self.login(said),
            Found::Itself(said) => self.itself(said),
            Found::Host { said, accepted } => self.host(said, accepted.as_deref()),
            Found::Revision { said, theirs } => self.revision(said, theirs),
            Found::Path { said, right, redirected } => self.path(said, right.as_deref(), *redirected),
            Found::Old { path, messages, meant } => self.old_transport(path, messages, *meant),
            Found::Transport(said) => self.transport(said),
        }
    }

    fn well(&self, server: &Server, took: Duration, tools: Option<&[String]>, strict: bool) {
        self.good(Trouble::UpstreamDown, &format!("{} answers", self.named(server)));
        self.tell_of_time(took);
        self.good(Trouble::UpstreamAuth, "it wants no login of its own");
        let host = if strict {
            "it takes its own host only, and the gateway sends that"
        } else {
            "it takes its own host"
        };
        self.good(Trouble::UpstreamHost, host);
        let tools = match tools {
            Some([_]) => "an MCP server with 1 tool".to_owned(),
            Some(tools) => format!("an MCP server with {}", super::counted(tools.len())),
            None => "an MCP server that lists no tools".to_owned(),
        };
        self.good(Trouble::UpstreamPath, &format!("{} has {tools}", self.url.path()));
        self.good(Trouble::UpstreamTransport, "Streamable HTTP");
        if server.revisions.iter().any(|one| REVISIONS.contains(&one.as_str())) {
            self.good(Trouble::ProtocolVersion, &format!("it speaks {}", server.revisions.join(", ")));
        } else {
            self.no_revision("it answers in a revision that does not pass", &server.revisions);
        }
    }

    fn named(&self, server: &Server) -> String {
        if server.name.is_empty() { name_of(self.url).to_owned() } else { server.name.clone() }
    }

    fn tell_of_time(&self, took: Duration) {
        let limit = self.service.upstream.first_byte_timeout;
        let trial = self.trial(&format!("answered after {} ms", took.as_millis()));
        if limit.is_some_and(|limit| took > limit) {
            self.bad(Trouble::UpstreamSlow, trial, self.too_slow());
        } else if took > NOTICED {
            self.remark(
                Trouble::UpstreamSlow,
                trial,
                Remedy::new("Over a second is felt at every call.", [LOOK_AT_LOAD]),
            );
        } else {
            self.examination.good(Trouble::UpstreamSlow, self.subject, trial);
        }
    }

    fn failing(&self, said: &str) {
        let cause = "It runs, and answers with a fault of its own.";
        let remedy = Remedy::new(cause, [format!("Look into its log; try it by `curl -i {}`.", self.url)]);
        self.bad(Trouble::UpstreamDown, self.trial(said), remedy);
        self.untried_after(&[Trouble::UpstreamDown], "it answers with a fault of its own");
    }

    fn login(&self, said: &str) {
        self.good(Trouble::UpstreamDown, "it answers");
        let cause = "The server behind wants a login of its own, though the gateway has verified who asks. Clients would sign in again and again.";
        let fix = [
            "Turn its own authentication off (FastMCP: leave out `auth=`; others: unset their API key): only the gateway reaches it.",
            "Keep its port away from everybody else: `expose:` instead of `ports:` in compose, or 127.0.0.1.",
        ];
        self.bad(Trouble::UpstreamAuth, self.trial(said), Remedy::new(cause, fix));
        self.untried_after(&[Trouble::UpstreamDown, Trouble::UpstreamAuth], "it wants a login first");
    }

    fn itself(&self, said: &str) {
        self.good(Trouble::UpstreamDown, "it answers");
        let cause = format!(
            "{} is the gateway itself: the service sends requests to its own public side, and not to an MCP server.",
            name_of(self.url)
        );
        let fix = "Write the address of the MCP server: `upstream: http://127.0.0.1:3000/mcp`, or `upstream: http://NAME:3000/mcp` in compose.";
        self.bad(Trouble::UpstreamPath, self.trial(said), Remedy::new(cause, [fix]));
        self.untried_after(&[Trouble::UpstreamDown, Trouble::UpstreamPath], "it is the gateway itself");
    }

    fn host(&self, said: &str, accepted: Option<&str>) {
        self.good(Trouble::UpstreamDown, "it answers");
        let name = name_of(self.url);
        let cause = format!(
            "The server protects itself against DNS rebinding and takes requests for certain hosts only; the gateway asks for {name}."
        );
        let host = self.url.host_str().unwrap_or_default();
        let allow =
            format!("Allow its name there: `TransportSecuritySettings(allowed_hosts=[\"{host}:*\"])`.");
        let fix = match accepted {
            Some(accepted) => {
                let line = format!("`upstream: {}://{accepted}{}`", self.url.scheme(), self.url.path());
                vec![format!("If it runs on this machine, name it as it knows itself: {line}."), allow]
            }
            None => vec![allow],
        };
        let trial = Trial::new(format!("{} with `Host: {name}`", self.tried()), said);
        self.bad(Trouble::UpstreamHost, trial, Remedy::new(cause, fix));
        self.untried_after(&[Trouble::UpstreamDown, Trouble::UpstreamHost], "it does not take the host");
    }

    fn path(&self, said: &str, right: Option<&str>, redirected: bool) {
        self.good(Trouble::UpstreamDown, "it answers");
        let path = self.url.path();
        let redirect =
            if redirected { " A redirect is not followed: a POST must not be sent twice." } else { "" };
        let remedy = if let Some(right) = right {
            let mut url = self.url.clone();
            url.set_path(right);
            let cause = format!("The server has its endpoint at {right} and not at {path}.{redirect}");
            Remedy::new(cause, [format!("Write `upstream: {url}`.")])
        } else {
            let cause = format!(
                "There is no MCP endpoint at {path}, nor at another usual path (/mcp, /mcp/, /, /sse).{redirect}"
            );
            let fix = format!(
                "Find its path in its log or documentation, and write it: `upstream: {}/PATH`.",
                self.origin()
            );
            Remedy::new(cause, [fix])
        };
        self.bad(Trouble::UpstreamPath, self.trial(said), remedy);
        self.untried_after(
            &[Trouble::UpstreamDown, Trouble::UpstreamPath],
            "there is no MCP endpoint at this path",
        );
    }

    fn old_transport(&self, path: &str, messages: &str, meant: bool) {
        self.good(Trouble::UpstreamDown, "it answers");
        let first = messages.split('/').find(|part| !part.is_empty()).unwrap_or("messages");
        let trial = Trial::new(
            format!("GET {}{path}", self.origin()),
            format!("an event stream that sends messages to {messages}"),
        );
        let modern = "Start it with Streamable HTTP: `mcp.run(transport=\"streamable-http\")` (FastMCP: `transport=\"http\"`), \
                      `--outputTransport streamableHttp` (supergateway).";
        if meant {
            let cause = "This server speaks the old HTTP+SSE transport only, and the configuration passes it; Claude and ChatGPT do not speak it any more.";
            self.remark(Trouble::UpstreamTransport, trial, Remedy::new(cause, [modern]));
        } else {
            let cause = "The server speaks the old HTTP+SSE transport only; clients speak Streamable HTTP.";
            let keep = format!(
                "To keep the old transport: `upstream: {}{path}` with `paths: [/{first}]`.",
                self.origin()
            );
            self.bad(Trouble::UpstreamTransport, trial, Remedy::new(cause, [modern.to_owned(), keep]));
        }
        self.untried_after(
            &[Trouble::UpstreamDown, Trouble::UpstreamTransport],
            "it speaks another transport",
        );
    }

    fn transport(&self, said: &str) {
        self.good(Trouble::UpstreamDown, "it answers");
        let cause = "It speaks JSON-RPC, and does not take what a client of Streamable HTTP says first: it runs in another mode.";
        let fix = [
            "Start it with Streamable HTTP: `mcp.run(transport=\"streamable-http\", stateless_http=True)` (FastMCP), `--outputTransport \
             streamableHttp` (supergateway), `streamableHttp` (server-everything).",
        ];
        self.bad(Trouble::UpstreamTransport, self.trial(said), Remedy::new(cause, fix));
        self.untried_after(&[Trouble::UpstreamDown, Trouble::UpstreamTransport], "it runs in another mode");
    }

    fn revision(&self, said: &str, theirs: &[String]) {
        self.good(Trouble::UpstreamDown, "it answers");
        self.no_revision(said, theirs);
        self.untried_after(
            &[Trouble::UpstreamDown, Trouble::ProtocolVersion],
            "there is no revision in common",
        );
    }

    fn no_revision(&self, said: &str, theirs: &[String]) {
        let theirs = if theirs.is_empty() { "does not say which".to_owned() } else { theirs.join(", ") };
        let found = format!(
            "{said}; the server speaks: {theirs}; clients speak and the gateway passes: {}",
            REVISIONS.join(", ")
        );
        let cause = format!("Clients and this server have no revision of MCP in common: it speaks {theirs}.");
        let newest = REVISIONS.last().copied().unwrap_or_default();
        let fix = [
            format!(
                "Update the SDK that it is made with (Python: `pip install -U mcp`, TypeScript: `npm install @modelcontextprotocol/sdk@latest`), so that it speaks one of {}.",
                REVISIONS.join(", ")
            ),
            format!("If it is newer than {newest}: update the gateway."),
        ];
        self.bad(Trouble::ProtocolVersion, self.trial(&found), Remedy::new(cause, fix));
    }

    pub(super) fn too_slow(&self) -> Remedy {
        let limit = self.service.upstream.first_byte_timeout;
        let limit = limit.map_or_else(
            || "it has no limit here".to_owned(),
            |limit| format!("its limit here is {} s", limit.as_secs()),
        );
        let cause = format!(
            "The server takes too long to begin its first answer ({limit}; doctor waits {} s).",
            FIRST.as_secs()
        );
        let mut fix = vec![LOOK_AT_LOAD.to_owned()];
        if let Some(limit) = self.service.upstream.first_byte_timeout {
            let more = (limit.as_secs() * 2).max(60);
            fix.push(format!("If it needs the time: raise `first_byte_timeout: {more}s` of the service."));
        }
        Remedy::new(cause, fix)
    }

    fn tried(&self) -> String {
        format!("POST {} initialize", self.url)
    }

    pub(super) fn trial(&self, found: &str) -> Trial {
        Trial::new(self.tried(), found)
    }

    pub(super) fn good(&self, trouble: Trouble, found: &str) {
        self.examination.good(trouble, self.subject, self.trial(found));
    }

    fn remark(&self, trouble: Trouble, trial: Trial, remedy: Remedy) {
        self.examination.remark(trouble, self.subject, trial, remedy);
    }

    pub(super) fn bad(&self, trouble: Trouble, trial: Trial, remedy: Remedy) {
        self.examination.bad(trouble, self.subject, trial, remedy);
    }

    pub(super) fn untried_after(&self, tried: &[Trouble], because: &str) {
        let rest: Vec<_> = WAYS.into_iter().filter(|way| !tried.contains(way)).collect();
        self.examination.not_tried(&rest, self.subject, because);
    }

    pub(super) fn port(&self) -> u16 {
        self.url.port_or_known_default().unwrap_or_default()
    }

    fn origin(&self) -> String {
        format!("{}://{}", self.url.scheme(), name_of(self.url))
    }
}

const LOOK_AT_LOAD: &str = "Look at its load and its log; give it a second replica: `upstream: [http://one:3000/mcp, http://two:3000/mcp]`.";
