//! A client, played: it asks what it asks in its order, is as strict as it is, and stops where it stops.

use std::sync::atomic::{AtomicBool, Ordering};

use http::Method;
use url::Url;

use super::authority::{self, Authority};
use super::door::{self, Door, Told};
use super::resource::{self, Match, Resource};
use super::{Client, View, front, probe, trust};
use crate::doctor::Step;
use crate::doctor::web::{Answer, Ask};
use crate::host::is_loopback_url;

/// Where a client runs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Runs {
    /// At its maker's, from where it connects to port 443 only.
    Elsewhere,
    /// On the person's computer.
    Here,
    /// In a page there.
    InABrowser,
}

/// How a client differs from others.
struct Habits {
    name: &'static str,
    agent: &'static str,
    runs: Runs,
    /// Takes `resource` only if it is the typed URL.
    exact: bool,
    /// Names itself by this document where that is understood.
    document: Option<&'static str>,
    /// Does not begin where `S256` is not listed.
    wants_s256: bool,
    /// What it shows when it stops.
    shows: &'static str,
}

const fn habits(client: Client) -> Habits {
    match client {
        Client::Claude => Habits {
            name: "Claude",
            agent: "Claude-User",
            runs: Runs::Elsewhere,
            exact: true,
            document: Some("https://claude.ai/oauth/mcp-oauth-client-metadata"),
            wants_s256: true,
            shows: "Couldn't reach the MCP server",
        },
        Client::ChatGpt => Habits {
            name: "ChatGPT",
            agent: "openai-mcp/1.0.0",
            runs: Runs::Elsewhere,
            exact: false,
            document: Some("https://chatgpt.com/oauth/ID/client.json"),
            wants_s256: true,
            shows: "Error fetching OAuth configuration",
        },
        Client::VsCode => Habits {
            name: "VS Code",
            agent: "node",
            runs: Runs::Here,
            exact: true,
            document: Some("https://vscode.dev/oauth/client-metadata.json"),
            wants_s256: false,
            shows: "Error populating auth metadata; then it asks for a client id",
        },
        Client::Cursor => Habits {
            name: "Cursor",
            agent: "node",
            runs: Runs::Here,
            exact: false,
            document: None,
            wants_s256: true,
            shows: "Failed to connect",
        },
        Client::Inspector => Habits {
            name: "MCP Inspector",
            agent: "node",
            runs: Runs::InABrowser,
            exact: false,
            document: None,
            wants_s256: true,
            shows: "Failed to fetch, or Incompatible auth server",
        },
    }
}

/// Stops here.
struct Stop;

struct Walk<'a> {
    view: &'a View<'a>,
    habits: Habits,
    /// Whether a sign-in comes after it.
    signs_in: bool,
    /// Whether the client has stopped; what would come after is looked at all the same.
    stopped: AtomicBool,
}

/// What comes after the first request.
const LATER: [&str; 4] = [
    "fetches the protected resource metadata",
    "fetches the authorization server's metadata",
    "registers",
    "opens the browser",
];

/// Plays the client that `view` names, if it names one.
pub(super) async fn walk(view: &View<'_>, signs_in: bool) {
    let Some(client) = view.manner.client else { return };
    let walk = Walk { view, habits: habits(client), signs_in, stopped: AtomicBool::new(false) };
    if let Err(left) = walk.all().await {
        for request in left {
            walk.step((*request).to_owned(), String::new(), false);
        }
    }
}

impl Walk<'_> {
    /// Everything; if there is no way on, what is left.
    async fn all(&self) -> Result<(), &'static [&'static str]> {
        let left = |done: usize| move |Stop| LATER.get(done..).unwrap_or_default();
        self.connect(self.view.url).await.map_err(left(0))?;
        let Some(told) = self.first().await.map_err(left(0))? else { return Ok(()) };
        let resource = self.resource(&told).await.map_err(left(1))?;
        self.compare(&resource);
        let authority = self.authority(&resource).await.map_err(left(2))?;
        self.judge(&authority);
        self.register(&authority);
        let page = authority.text("authorization_endpoint").unwrap_or_default();
        if page.is_empty() {
            self.bar("opens the browser", "the metadata has no authorization_endpoint");
        } else if !authority.endpoint("authorization_endpoint").is_some_and(|page| trust::is_page(&page)) {
            self.bar(format!("opens the browser at {page}"), "no page that a browser may be sent to");
        } else if self.signs_in {
            self.ok(format!("opens the browser at {page}"), "the sign-in is among the findings");
        } else {
            let answer = "as far as can be seen without a sign-in; `--login` goes on";
            self.ok(format!("opens the browser at {page}"), answer);
        }
        Ok(())
    }

    fn ok(&self, request: impl Into<String>, answer: impl Into<String>) {
        self.step(request.into(), answer.into(), true);
    }

    /// The client stops, and there is no way on.
    fn stop<T>(&self, request: impl Into<String>, answer: impl Into<String>) -> Result<T, Stop> {
        self.bar(request, answer);
        Err(Stop)
    }

    /// The client stops; one that is less strict would go on.
    fn bar(&self, request: impl Into<String>, answer: impl Into<String>) {
        self.step(request.into(), answer.into(), false);
        self.stopped.store(true, Ordering::Relaxed);
    }

    fn step(&self, request: String, answer: String, ok: bool) {
        let reached = !self.stopped.load(Ordering::Relaxed);
        let answer = match (reached, answer.as_str()) {
            (true, _) => answer,
            (false, "") => "not reached".to_owned(),
            (false, _) => format!("{answer} (were it reached)"),
        };
        let shows = if ok || !reached { String::new() } else { self.habits.shows.to_owned() };
        let client = self.habits.name.to_owned();
        self.view.examination.step(Step { client, request, answer, ok, reached, shows });
    }

    fn dress(&self, ask: Ask) -> Ask {
        let ask = ask.header("user-agent", self.habits.agent);
        if self.habits.runs == Runs::InABrowser { ask.header("origin", "http://localhost:6274") } else { ask }
    }

    /// Asks; certificates must be good, as for the client itself.
    async fn ask(&self, ask: Ask) -> Result<(String, Answer), Stop> {
        let ask = self.dress(ask);
        let shown = ask.shown();
        if trust::leads_inside(self.view, ask.url()).await {
            return self.stop(shown, trust::INSIDE);
        }
        let url = ask.url().clone();
        match self.view.web.ask(ask).await {
            Ok(answer) => {
                if let Some(end) = probe::end(&url, &answer) {
                    drop(self.view.web.ask(self.dress(end)).await);
                }
                Ok((shown, answer))
            }
            Err(fault) => self.stop(shown, fault.to_string()),
        }
    }

    async fn connect(&self, url: &Url) -> Result<(), Stop> {
        if self.habits.runs != Runs::Elsewhere {
            return Ok(());
        }
        let request = format!("connects to {} from the internet", url.host_str().unwrap_or_default());
        if is_loopback_url(url) {
            self.bar(request, "the host is this machine itself, which nobody else can reach");
            return Ok(());
        }
        if url.scheme() != "https" || url.port_or_known_default() != Some(443) {
            self.bar(request, format!("{url} is not https on port 443"));
            return Ok(());
        }
        let addresses = self.view.web.addresses(url.host_str().unwrap_or_default()).await;
        match addresses {
            Ok(_) => self.ok(request, "https on port 443"),
            Err(fault) => return self.stop(request, fault.to_string()),
        }
        Ok(())
    }

    /// The first request; `None` if that is all there is to it.
    async fn first(&self) -> Result<Option<Told>, Stop> {
        let url = self.view.url;
        if self.habits.runs == Runs::InABrowser {
            self.preflight(url).await?;
        }
        let (request, answer) = self.ask(probe::initialize(url)).await?;
        match front::door(&answer) {
            Some(Door::Guarded) => {
                self.ok(format!("{request} (initialize)"), answer.summary());
                Ok(Some(door::told(&answer)))
            }
            Some(Door::Open) => {
                self.ok(format!("{request} (initialize)"), "it is let in, and needs no sign-in");
                Ok(None)
            }
            None => self.stop(format!("{request} (initialize)"), answer.summary()),
        }
    }

    async fn preflight(&self, url: &Url) -> Result<(), Stop> {
        let ask = Ask::new(Method::OPTIONS, url)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "content-type, mcp-protocol-version");
        let (request, answer) = self.ask(ask).await?;
        let origin = answer.header("access-control-allow-origin");
        if answer.status.is_success() && matches!(origin, "*" | "http://localhost:6274") {
            self.ok(request, answer.summary());
            return Ok(());
        }
        self.bar(request, format!("{}, and the page's origin is not allowed (set the Inspector to connect via its proxy, or allow it)", answer.summary()));
        Ok(())
    }

    async fn resource(&self, told: &Told) -> Result<Resource, Stop> {
        let url = self.view.url;
        let mut places = match &told.metadata {
            Some(named) => vec![named.clone()],
            None => vec![resource::inserted(url), resource::root(url)],
        };
        places.dedup();
        let last = places.len();
        for (at, place) in places.into_iter().enumerate() {
            let (request, answer) = self.ask(resource::ask(&place)).await?;
            match resource::read(&place, &answer) {
                Some(resource) => {
                    self.ok(request, answer.summary());
                    return Ok(resource);
                }
                None if at + 1 < last && answer.status.is_client_error() => {
                    self.ok(request, format!("{}; looks elsewhere", answer.summary()));
                }
                None => return self.stop(request, format!("{}, and no metadata of use", answer.summary())),
            }
        }
        Err(Stop)
    }

    fn compare(&self, found: &Resource) {
        let request = format!("compares `resource` with {}", self.view.url);
        match resource::matches(&found.named, self.view.url) {
            Match::Exact => self.ok(request, "the same"),
            Match::Below if !self.habits.exact => {
                self.ok(request, format!("{}, which is above it", found.named));
            }
            Match::Below | Match::None => self.bar(request, found.named.clone()),
        }
    }

    async fn authority(&self, found: &Resource) -> Result<Authority, Stop> {
        let Ok(issuer) = Url::parse(&found.issuer) else {
            return self.stop("looks for the authorization server", format!("{} is no URL", found.issuer));
        };
        self.connect(&issuer).await?;
        let places = authority::places(&issuer);
        let last = places.len();
        for (at, (_, place)) in places.into_iter().enumerate() {
            let (request, answer) = self.ask(authority::ask(&place)).await?;
            let document =
                answer.json().filter(|document| answer.status.is_success() && document.is_object());
            match document {
                Some(document) => {
                    self.ok(request, answer.summary());
                    let (issuer, resource) = (found.issuer.clone(), found.named.clone());
                    let refused = Vec::new();
                    return Ok(Authority { at: place, issuer, document, scope: None, resource, refused });
                }
                None if at + 1 < last && answer.status.is_client_error() => {
                    self.ok(request, format!("{}; looks elsewhere", answer.summary()));
                }
                None => return self.stop(request, format!("{}, and no metadata", answer.summary())),
            }
        }
        Err(Stop)
    }

    fn judge(&self, authority: &Authority) {
        let said = authority.text("issuer").unwrap_or_default();
        let request = format!("compares `issuer` with {}", authority.issuer);
        if said.trim_end_matches('/') == authority.issuer.trim_end_matches('/') {
            self.ok(request, "the same");
        } else {
            self.bar(request, said);
        }
        let s256 = authority.lists("code_challenge_methods_supported", "S256");
        if self.habits.wants_s256 && s256 != Some(true) {
            self.bar("looks for PKCE with S256", "code_challenge_methods_supported does not list it");
        }
    }

    fn register(&self, authority: &Authority) {
        let documents = authority.says("client_id_metadata_document_supported");
        let public = authority.lists("token_endpoint_auth_methods_supported", "none") == Some(true);
        if let Some(document) = self.habits.document.filter(|_| documents && public) {
            return self
                .ok(format!("names itself by {document}"), "client_id_metadata_document_supported, none");
        }
        match authority.text("registration_endpoint") {
            Some(endpoint) => {
                self.ok(
                    format!("registers by POST {endpoint}"),
                    "not done here; `--register` does it for all clients",
                );
            }
            None => self.bar("looks for a way to register", "there is no registration_endpoint"),
        }
    }
}
