//! The immutable part of a gateway: services, hosts, rules, and the documents made of them. A reload replaces it
//! whole.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ipnet::IpNet;
use url::Url;

use super::{Service, ServiceSettings};
use crate::oauth::{
    AuthorizationServerMetadata, ProtectedResourceMetadata, RedirectPolicy, Resource, Scopes, TokenLives,
};

/// What the configuration says of the gateway, checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The issuer: an origin, no trailing slash, byte for byte as configured.
    pub issuer: String,
    /// Every service.
    pub services: Vec<ServiceSettings>,
    /// Further origins whose browsers may call any service.
    pub origins: Vec<String>,
    /// Which redirect URIs may be registered.
    pub redirects: RedirectPolicy,
    /// How long tokens live.
    pub lives: TokenLives,
    /// How long a browser session lives: 8 hours.
    pub session_life: Duration,
    /// Whose forwarding headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// A container whose port is published on the host's loopback: Host must be a loopback name.
    pub published_on_loopback: bool,
    /// The `dev` identity: requests that carry a forwarding header are answered 403.
    pub dev_identity: bool,
    /// How long the revocation feed may be away before tokens are not believed any more: 5 minutes.
    pub revocation_staleness: Duration,
    /// Registrations an address may make an hour (G8).
    pub registrations_per_hour: u64,
}

/// Everything that is looked up on a request's way.
pub struct Site {
    /// As configured.
    pub settings: Settings,
    /// `host[:port]` of the issuer.
    pub(super) issuer_host: String,
    /// The canonical URLs of all services.
    pub(super) resources: Vec<Resource>,
    /// RFC 8414, the same bytes on every host.
    pub(super) server_metadata: Bytes,
    /// Lower-case logins that some access rule names.
    pub(super) logins: BTreeSet<String>,
    /// Organisations that some access rule names.
    pub(super) orgs: Vec<String>,
    hosts: BTreeMap<String, Host>,
}

/// What lives under one `host[:port]`.
pub(super) struct Host {
    /// Longest path first.
    paths: Vec<(String, Arc<Service>)>,
    /// Path of a protected resource document → the document (RFC 9728).
    documents: BTreeMap<String, Bytes>,
    /// The service that lives here alone, if it is alone.
    pub(super) only: Option<Arc<Service>>,
}

impl Site {
    /// Prepares everything that requests look up.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let services: Vec<_> =
            settings.services.iter().map(|one| Arc::new(Service::new(one.clone()))).collect();
        let resources: Vec<_> = services.iter().map(|service| service.settings.resource.clone()).collect();
        let scopes =
            services.iter().fold(Scopes::default(), |all, service| all.union(&service.known_scopes()));
        let metadata = AuthorizationServerMetadata::new(&settings.issuer, &scopes, &resources);
        let mut site = Self {
            issuer_host: host_of(&settings.issuer),
            server_metadata: json(&metadata),
            logins: settings
                .services
                .iter()
                .flat_map(|service| service.access.logins())
                .map(str::to_lowercase)
                .collect(),
            orgs: organisations(&settings.services),
            hosts: BTreeMap::new(),
            resources,
            settings,
        };
        for service in &services {
            let host = site.hosts.entry(authority(&service.settings.url)).or_insert_with(Host::empty);
            host.add(service, &site.settings.issuer);
        }
        site.hosts.entry(site.issuer_host.clone()).or_insert_with(Host::empty);
        for host in site.hosts.values_mut() {
            host.finish();
        }
        site
    }

    /// The host a request names in `Host` or `:authority`, with its default port or without.
    pub(super) fn host(&self, named: &str) -> Option<(&str, &Host)> {
        let named = named.to_ascii_lowercase();
        let bare = named.strip_suffix(":443").or_else(|| named.strip_suffix(":80"));
        let found = self.hosts.get_key_value(&named).or_else(|| self.hosts.get_key_value(bare?));
        found.map(|(name, host)| (name.as_str(), host))
    }

    /// The service of a canonical resource.
    pub(super) fn service(&self, resource: &Resource) -> Option<&Arc<Service>> {
        let paths = self.hosts.values().flat_map(|host| &host.paths);
        paths.map(|(_, service)| service).find(|service| service.settings.resource == *resource)
    }

    /// The https URL of a request that came by plain http for `host`, without a port, if we serve that on https.
    pub(super) fn https_location(&self, host: &str, path_and_query: &str) -> Option<String> {
        let named = host.to_ascii_lowercase();
        let urls = self.settings.services.iter().map(|service| service.url.clone());
        let mut urls = urls.chain(Url::parse(&self.settings.issuer));
        let served = urls.find(|url| url.scheme() == "https" && url.host_str() == Some(&named))?;
        path_and_query.starts_with('/').then(|| format!("https://{}{path_and_query}", authority(&served)))
    }

    /// Every service once, by name.
    pub(super) fn services(&self) -> impl Iterator<Item = &ServiceSettings> {
        self.settings.services.iter()
    }
}

impl Host {
    const fn empty() -> Self {
        Self { paths: Vec::new(), documents: BTreeMap::new(), only: None }
    }

    fn add(&mut self, service: &Arc<Service>, issuer: &str) {
        let settings = &service.settings;
        let mut paths = vec![settings.url.path().to_owned()];
        paths.extend(settings.paths.iter().cloned());
        self.paths.extend(paths.into_iter().map(|path| (path, Arc::clone(service))));
        if !settings.public {
            let document =
                ProtectedResourceMetadata::new(&settings.resource, issuer, &settings.scopes, &settings.name);
            self.documents.insert(ProtectedResourceMetadata::path(&settings.resource), json(&document));
        }
    }

    fn finish(&mut self) {
        self.paths.sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
        let mut services: Vec<_> = self.paths.iter().map(|(_, service)| service).collect();
        services.dedup_by(|one, other| Arc::ptr_eq(one, other));
        let first = services.first().map(|service| Arc::clone(service));
        let alone = services.iter().all(|one| first.as_ref().is_some_and(|first| Arc::ptr_eq(one, first)));
        self.only = first.filter(|_| alone);
        if let Some(document) = self.only.as_ref().and_then(|_| self.documents.values().next().cloned()) {
            self.documents.insert(ProtectedResourceMetadata::ROOT.to_owned(), document);
        }
    }

    /// The service whose path is the longest that `path` is or lies under.
    pub(super) fn service_at(&self, path: &str) -> Option<&Arc<Service>> {
        let under = |prefix: &str| match path.strip_prefix(prefix.strip_suffix('/').unwrap_or(prefix)) {
            Some(rest) => rest.is_empty() || rest.starts_with('/'),
            None => false,
        };
        self.paths.iter().find(|(prefix, _)| under(prefix)).map(|(_, service)| service)
    }

    /// The URLs of the services here, each once.
    pub(super) fn urls(&self) -> impl Iterator<Item = &str> {
        let urls: BTreeSet<_> =
            self.paths.iter().map(|(_, service)| service.settings.resource.as_str()).collect();
        urls.into_iter()
    }

    /// The protected resource document at `path`, the root one only where a service lives alone (D2).
    pub(super) fn document(&self, path: &str) -> Option<&Bytes> {
        self.documents.get(path)
    }

    /// Whether a service's own URL has this path: its path-inserted server metadata is answered (D19).
    pub(super) fn is_service_path(&self, path: &str) -> bool {
        self.paths.iter().any(|(_, service)| service.settings.url.path() == path)
    }
}

/// `host[:port]` of an origin that was checked to be one.
fn host_of(origin: &str) -> String {
    Url::parse(origin).map(|url| authority(&url)).unwrap_or_default()
}

fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn organisations(services: &[ServiceSettings]) -> Vec<String> {
    let orgs: BTreeSet<_> = services.iter().flat_map(|service| &service.access.orgs).collect();
    orgs.into_iter().map(|org| org.to_lowercase()).collect()
}

/// Our documents are structs of strings: serialising them cannot fail.
fn json(document: &impl serde::Serialize) -> Bytes {
    serde_json::to_vec(document).map(Bytes::from).unwrap_or_default()
}
