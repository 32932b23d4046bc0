//! A service: one MCP server as the public sees it, and where it really is.

use std::collections::BTreeMap;
use std::time::Duration;

use http::HeaderValue;
use http::uri::PathAndQuery;
use url::{Position, Url};

use super::{ServiceLimits, paths};
use crate::oauth::{Hierarchy, ProtectedResourceMetadata, Resource, Scopes, Subject};
use crate::policy::AccessRules;
use crate::token::Claims;
use crate::upstream::{self, Upstream};

/// What the configuration says of a service, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceSettings {
    /// The key under `services`.
    pub name: String,
    /// The canonical public URL, byte for byte as configured.
    pub resource: Resource,
    /// The same, parsed.
    pub url: Url,
    /// Further paths on the same host, e.g. `/sse`.
    pub paths: Vec<String>,
    /// Where requests go.
    pub upstream: upstream::Settings,
    /// What any request needs; `mcp` if not configured.
    pub scopes: Scopes,
    /// Which scopes contain which.
    pub implies: Hierarchy,
    /// What scopes allow, in words for people.
    pub describe: BTreeMap<String, String>,
    /// Who may use it.
    pub access: AccessRules,
    /// Whether requests need no token at all.
    pub public: bool,
    /// Whether the upstream is told the e-mail address.
    pub forward_email: bool,
    /// The form of `X-User-Id`.
    pub user_id: UserIdForm,
    /// Further origins whose browsers may call it.
    pub origins: Vec<String>,
    /// After how long a pause a comment is written into an event stream; `None` is never.
    pub sse_keep_alive: Option<Duration>,
    /// How much may be sent to it, and be open at it.
    pub limits: ServiceLimits,
    /// Whether another proxy forwards its requests, and asks about each at `/verify`.
    pub forward_auth: bool,
}

/// The form in which an upstream is told who the user is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UserIdForm {
    /// `github:583231`.
    #[default]
    Subject,
    /// `583231`.
    Numeric,
}

/// A service as requests meet it: its settings and what is made of them once, at start.
#[derive(Clone, Debug)]
pub struct Service {
    /// As configured.
    pub settings: ServiceSettings,
    /// What is counted of it has this number, for as long as the process runs.
    pub(super) number: usize,
    /// Its replicas, and how they stand.
    pub upstream: Upstream,
    /// `https://host[:port]` of its URL.
    pub origin: String,
    /// The token's `acc`.
    pub access: String,
    /// The URL of its protected resource metadata (D20).
    pub metadata_url: String,
    /// The upstream's path for a request to exactly the service's URL, which most are.
    pub(super) target: PathAndQuery,
    /// `X-Forwarded-Proto` for the upstream.
    pub(super) scheme: HeaderValue,
    /// `X-Forwarded-Host` for the upstream: `host[:port]`.
    pub(super) host: HeaderValue,
    /// The configured clients that may act on their own here, and with which scopes.
    pub(super) clients: BTreeMap<Subject, Scopes>,
}

impl Service {
    /// Prepares a service.
    pub(super) fn new(settings: ServiceSettings) -> Self {
        let origin = settings.url.origin().ascii_serialization();
        let spoken = |part: &str| HeaderValue::from_str(part).expect("a URL is visible ASCII");
        let target = paths::to_upstream(&settings, settings.url.path()).unwrap_or_default();
        Self {
            upstream: Upstream::new(&settings.name, &settings.upstream, None),
            target: PathAndQuery::try_from(target).expect("a URL's path is one"),
            access: settings.access.fingerprint(),
            metadata_url: format!("{origin}{}", ProtectedResourceMetadata::path(&settings.resource)),
            origin,
            scheme: spoken(settings.url.scheme()),
            host: spoken(&settings.url[Position::BeforeHost..Position::AfterPort]),
            clients: BTreeMap::new(),
            number: 0,
            settings,
        }
    }

    /// The same, and its replicas stand as they stood in the service `before`.
    pub(super) fn following(self, before: Option<&Self>) -> Self {
        let before = before.map(|before| &before.upstream);
        Self { upstream: Upstream::new(&self.settings.name, &self.settings.upstream, before), ..self }
    }

    /// Whether a client that acts on its own still may, with these scopes. Of people the access rules decide, which `acc` stands
    /// for.
    pub(super) fn still_lets_act(&self, claims: &Claims) -> bool {
        let is_allowed = |scopes: &Scopes| scopes.contains_all(&claims.scopes);
        !claims.subject.is_client() || self.clients.get(&claims.subject).is_some_and(is_allowed)
    }

    /// Every scope this service gives a meaning.
    pub(super) fn known_scopes(&self) -> Scopes {
        self.settings.scopes.union(&self.settings.implies.mentioned())
    }

    /// What is granted when `asked` was asked for: the basic scopes always, known ones as asked, and an echo of
    /// `offline_access` (A7).
    pub(super) fn grantable(&self, asked: &Scopes) -> Scopes {
        let offline = Scopes::parse("offline_access");
        let known = self.known_scopes().union(&offline);
        self.settings.scopes.union(&asked.intersection(&known))
    }
}
