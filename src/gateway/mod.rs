//! The request's way: [`Gateway::handle`] routes a request to an endpoint of ours or, through the guard, to a server
//! behind. It returns a response, never an error.

mod address;
mod authorize;
mod bearer;
mod body;
mod caching;
mod callback;
mod client_auth;
mod client_configuration;
mod clients;
mod configured;
mod connections;
mod consent;
mod cookies;
mod dev_login;
mod discovery;
mod documents;
mod exchange;
mod form;
mod form_token;
mod forward;
mod grants;
mod guard;
mod headers;
mod help;
mod home;
mod in_flight;
mod introspection;
mod keep_alive;
mod key_rings;
mod keys;
mod limits;
mod mcp_endpoint;
mod operator;
mod origin;
mod paths;
mod people;
mod registration;
mod reply;
mod revocation;
mod revocations;
mod route;
mod service;
mod sign_in;
mod sign_in_errors;
mod site;
mod streams;
#[cfg(test)]
mod testing;
mod token_endpoint;
mod verify;
mod watch;
mod workers;

use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

use arc_swap::ArcSwap;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;

use crate::clock::Clock;
use crate::identity::Identity;
use crate::mcp::SessionSealer;
use crate::seal::Sealer;
use crate::secret;
use crate::store::Store;
use crate::telemetry::{Endpoint, Lately, Note, Refusals, RequestIds, Subject, Tally};
use crate::token::{RefreshKeys, SigningKeys, TokenCache};
use crate::trouble::Trouble;
use crate::upstream::{self, RequestBody};

use exchange::{Exchange, Waiting, noted};
use route::{Route, TargetError};

pub use body::{Body, BodyError, Finish, Lasting};
pub use configured::{Authentication, ClientSettings};
pub use documents::{DocumentSource, Documents};
pub use in_flight::{InFlight, ServiceLimits};
pub use key_rings::{KeyStatus, keep_keys, list_keys, rotate_keys};
pub use keys::{KeyRingError, LastReload, load_refresh_keys, load_session_keys, load_signing_keys};
pub use limits::{Buckets, ConnectionLimits, Limit, Limits, Rate};
pub use operator::{Inspection, IssueError, Issued, Operator, TokenKind, Unknown, Wanted};
pub use revocations::Revocations;
pub use service::{Service, ServiceSettings, UserIdForm};
pub use site::{Settings, Site};
pub use watch::Watch;
pub use workers::{Asked, Traffic, Workers};

/// What survives a reload and is shared by all workers.
pub struct Shared {
    /// Clients, flows, sessions, grants.
    pub store: Store,
    /// Keys of access tokens; the active one signs, all are trusted.
    pub signing: ArcSwap<SigningKeys>,
    /// When the keys were read again last.
    pub last_reload: LastReload,
    /// Keys of refresh tokens.
    pub refresh: ArcSwap<RefreshKeys>,
    /// Keys of session ids.
    pub sessions: ArcSwap<SessionSealer>,
    /// Which grants were revoked lately.
    pub revocations: Revocations,
    /// How much each client address has asked lately.
    pub limits: Buckets,
    /// How much each user has open at each service.
    pub in_flight: InFlight,
    /// How often a limit has refused something.
    pub refusals: Refusals,
    /// What its workers count.
    pub workers: Workers,
    /// What went wrong lately.
    pub lately: Lately,
    /// What clients say of themselves at URLs of theirs.
    pub documents: Documents,
    /// Who signs people in; a reload may bring other credentials.
    pub identity: ArcSwap<Arc<dyn Identity>>,
    /// About whom it is being asked again.
    pub watch: Watch,
    /// Derives the form token's key.
    pub sealer: Sealer,
    /// The present moment.
    pub clock: Arc<dyn Clock>,
    /// Where background work runs.
    pub control: tokio::runtime::Handle,
}

impl Shared {
    /// Who signs people in.
    pub(crate) fn identity(&self) -> Arc<dyn Identity> {
        Arc::clone(&self.identity.load())
    }
}

/// What one worker owns: no other core touches it.
pub struct Worker {
    /// Connections to upstreams.
    pub pool: upstream::Pool,
    /// Tokens this worker has verified.
    pub tokens: Arc<TokenCache>,
    /// What it counts.
    pub tally: Arc<Tally>,
    /// Names its requests.
    pub request_ids: RequestIds,
}

/// Verified tokens that a worker remembers: about 1 KB each.
const REMEMBERED_TOKENS: usize = 10_000;

impl Worker {
    /// A worker without connections that has seen no token yet, and whose figures nobody asks for: [`Workers::hire`] makes those that
    /// somebody does.
    #[must_use]
    pub fn new() -> Self {
        Self {
            pool: upstream::Pool::new(),
            tokens: Arc::new(TokenCache::new(REMEMBERED_TOKENS)),
            tally: Arc::default(),
            request_ids: RequestIds::new(secret::random()),
        }
    }
}

impl Default for Worker {
    fn default() -> Self {
        Self::new()
    }
}

/// How a request arrived.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// The connection's other end.
    pub peer: SocketAddr,
    /// Whether it came by TLS here.
    pub tls: bool,
    /// The TLS server name, lower-case.
    pub server_name: Option<String>,
}

/// The gateway: everything between a parsed request and its response.
pub struct Gateway {
    site: ArcSwap<Site>,
    shared: Arc<Shared>,
}

impl Gateway {
    /// A gateway for `site`.
    #[must_use]
    pub fn new(site: Site, shared: Arc<Shared>) -> Self {
        Self { site: ArcSwap::from_pointee(site), shared }
    }

    /// Answers by another configuration from the next request on; those on their way keep theirs, open streams go on, and
    /// replicas stand as they stood.
    pub fn replace(&self, settings: Settings) {
        let site = self.site.load().following(settings);
        self.site.store(Arc::new(site));
    }

    /// Every service of this moment.
    #[must_use]
    pub fn services(&self) -> Vec<Arc<Service>> {
        self.site.load().all().to_vec()
    }

    /// What was asked since the process began, of each service and each endpoint.
    #[must_use]
    pub fn traffic(&self) -> Vec<Traffic> {
        workers::traffic(&self.shared.workers, &self.site.load())
    }

    /// What all workers share.
    #[must_use]
    pub const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The gateway as its operator works with it, with the site of this moment.
    #[must_use]
    pub fn operator(&self) -> Operator {
        Operator::new(self.site.load_full(), Arc::clone(&self.shared))
    }

    /// Answers one request.
    pub async fn handle(
        &self,
        worker: &Worker,
        arrival: &Arrival,
        request: Request<Incoming>,
    ) -> Response<Body> {
        // Whatever is answered, and by whom: a body that nobody has read is read out when it is dropped.
        let request = request.map(RequestBody::from);
        // Not a count of its own: all cores would write to the same line of memory.
        let site = self.site.load();
        let exchange = Exchange::begin(&site, &self.shared, worker, arrival, &request);
        let (subject, reply) = {
            let (subject, way) = lead(&exchange, arrival, request);
            let waiting = Waiting::of(&exchange, subject);
            let reply = match way {
                Way::Done(reply) => *reply,
                Way::Service(service, request) => mcp_endpoint::endpoint(&exchange, service, request).await,
                Way::Ours(answer) => answer.await,
            };
            waiting.end();
            (subject, reply)
        };
        exchange.end(subject, reply)
    }

    /// Whether revocations were read so long ago that no token is believed.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        let staleness = self.site.load().settings.revocation_staleness;
        !self.shared.revocations.is_fresh(staleness, self.shared.clock.now())
    }

    /// What a connection that is accepted now may take.
    #[must_use]
    pub fn connection_limits(&self) -> ConnectionLimits {
        self.site.load().settings.limits.connections
    }

    /// Whether `peer` is one of `trusted_proxies`.
    #[must_use]
    pub fn is_trusted_proxy(&self, peer: IpAddr) -> bool {
        address::is_trusted(&self.site.load().settings, peer)
    }

    /// What plain HTTP on the redirect port is answered with: the https URL for a `host`, without its port, that we serve.
    #[must_use]
    pub fn https_location(&self, host: &str, path_and_query: &str) -> Option<String> {
        self.site.load().https_location(host, path_and_query)
    }
}

/// Where a request goes.
enum Way<'a> {
    /// Nowhere: this is the answer.
    Done(Box<Response<Body>>),
    /// To a server behind. Boxed: each future on the way would hold the whole request once more.
    Service(&'a Arc<Service>, Box<Request<RequestBody>>),
    /// To an endpoint of ours that asks the store. Boxed: else every request to a service would carry room for the largest of
    /// them along.
    Ours(Pin<Box<dyn Future<Output = Response<Body>> + Send + 'a>>),
}

fn done<'a>(answer: Response<Body>) -> Way<'a> {
    Way::Done(Box::new(answer))
}

/// Finds a request's way, and what it is for; answers what needs no waiting.
fn lead<'a>(
    exchange: &'a Exchange<'a>,
    arrival: &Arrival,
    request: Request<RequestBody>,
) -> (Subject, Way<'a>) {
    let elsewhere = Subject::Endpoint(Endpoint::Elsewhere);
    if let Some(refusal) = address::refuse(exchange, &request) {
        return (elsewhere, done(refusal));
    }
    let (parts, body) = request.into_parts();
    let target = match route::target(exchange.site, &parts, arrival.server_name.as_deref()) {
        Ok(target) => target,
        Err(error) => return (elsewhere, done(refuse_target(exchange, &error))),
    };
    let route = route::route(exchange.site, &target, &parts);
    let subject = workers::subject(&route);
    let request = Request::from_parts(parts, body);
    if *request.method() == Method::OPTIONS {
        return (subject, done(discovery::preflight(exchange, &route, &request)));
    }
    if let Err(hit) = limits::admit(exchange, &route) {
        let refusal = limits::refuse(exchange, authorize::wants_json(request.headers()), hit);
        return (subject, done(refusal));
    }
    (subject, follow(exchange, route, request))
}

/// One line a route.
fn follow<'a>(exchange: &'a Exchange<'a>, route: Route<'a>, request: Request<RequestBody>) -> Way<'a> {
    match route {
        Route::ServerMetadata => done(discovery::server_metadata(exchange.site, &request)),
        Route::ResourceMetadata(document) => done(discovery::resource_metadata(document, &request)),
        Route::NoDocument => done(discovery::no_document()),
        Route::Keys => done(discovery::keys(exchange, &request)),
        Route::Authorize => Way::Ours(Box::pin(authorize::endpoint(exchange, request))),
        Route::AuthorizeAtIssuer(only) => done(authorize::at_issuer(exchange.site, only, &request)),
        Route::Callback => Way::Ours(Box::pin(async move { callback::endpoint(exchange, &request).await })),
        Route::Token => Way::Ours(Box::pin(token_endpoint::endpoint(exchange, request))),
        Route::Register => Way::Ours(Box::pin(registration::endpoint(exchange, request))),
        Route::Registration(client) => {
            Way::Ours(Box::pin(
                async move { client_configuration::endpoint(exchange, &client, request).await },
            ))
        }
        Route::Revoke => Way::Ours(Box::pin(revocation::endpoint(exchange, request))),
        Route::Introspect => Way::Ours(Box::pin(introspection::endpoint(exchange, request))),
        Route::DevLogin => Way::Ours(Box::pin(dev_login::endpoint(exchange, request))),
        Route::Stylesheet => done(home::stylesheet(&request)),
        Route::Help(topic) => done(help::page(exchange, topic, &request)),
        Route::Home => Way::Ours(Box::pin(async move { connections::page(exchange, &request).await })),
        Route::Connections(action) => Way::Ours(Box::pin(connections::act(exchange, action, request))),
        Route::Service(service) => Way::Service(service, Box::new(request)),
        Route::Nothing(host) => done(home::nothing(exchange, host, &request)),
    }
}

fn refuse_target(exchange: &Exchange<'_>, error: &TargetError) -> Response<Body> {
    let (status, code, text) = match error {
        TargetError::Trace => {
            let answer = reply::not_allowed("GET, HEAD, POST, DELETE, OPTIONS");
            return noted(answer, Note { reason: Some("invalid_request"), ..Note::default() });
        }
        TargetError::Coding => (StatusCode::NOT_IMPLEMENTED, "invalid_request", error.to_string()),
        TargetError::Host | TargetError::Form | TargetError::Path => {
            (StatusCode::BAD_REQUEST, "invalid_request", error.to_string())
        }
        TargetError::UnknownHost(_) | TargetError::Misdirected => {
            let text = format!("{error}; it is reached at {}", exchange.site.settings.issuer);
            let (code, trouble) = ("unknown_host", Trouble::Tunnel);
            let help = exchange.help(trouble);
            return reply::problem_of(StatusCode::MISDIRECTED_REQUEST, (code, trouble), &text, &help);
        }
    };
    noted(reply::problem(status, code, &text), Note { reason: Some(code), ..Note::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The size of what a function returns, which is not called.
    fn size_of_future<'a, F>(
        _: impl Fn(&'a Gateway, &'a Worker, &'a Arrival, Request<Incoming>) -> F,
    ) -> usize {
        size_of::<F>()
    }

    /// It is moved, and on HTTP/2 allocated, for every request.
    #[test]
    fn a_request_s_future_stays_small() {
        let size = size_of_future(Gateway::handle);
        assert!(size <= 3 * 1024, "{size} bytes");
    }
}
