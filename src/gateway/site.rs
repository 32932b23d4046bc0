//! The immutable part of a gateway: services, hosts, rules, and the documents made of them. A reload replaces it
//! whole.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ipnet::IpNet;
use url::{Position, Url};

use super::configured::Configured;
use super::{ClientSettings, Limits, Service, ServiceSettings};
use crate::host::{is_loopback_name, without_port};
use crate::identity::Asked;
use crate::oauth::{
    AuthorizationServerMetadata, DocumentRules, ProtectedResourceMetadata, RedirectPolicy, Resource, Scopes,
    TokenLives,
};
use crate::policy::{AccessRules, Freshness};

/// What the configuration says of the gateway, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The issuer: an origin, no trailing slash, byte for byte as configured.
    pub issuer: String,
    /// Every service.
    pub services: Vec<ServiceSettings>,
    /// Who sees what went wrong lately; users only.
    pub admins: AccessRules,
    /// Further origins whose browsers may call any service.
    pub origins: Vec<String>,
    /// Which redirect URIs may be registered.
    pub redirects: RedirectPolicy,
    /// How long tokens live.
    pub lives: TokenLives,
    /// How long a browser session lives: 8 hours.
    pub session_life: Duration,
    /// How long the identity provider's answers hold.
    pub freshness: Freshness,
    /// Whose forwarding headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// A container whose port is published on the host's loopback: Host must be a loopback name.
    pub published_on_loopback: bool,
    /// The `dev` identity: requests that carry a forwarding header are answered 403.
    pub dev_identity: bool,
    /// How long the revocation feed may be away before tokens are not believed any more: 5 minutes.
    pub revocation_staleness: Duration,
    /// What an address may ask for, and how much of what strangers make is kept (G8).
    pub limits: Limits,
    /// Whose metadata documents are accepted; `None` for nobody's (M9).
    pub documents: Option<DocumentRules>,
    /// Every configured client.
    pub clients: Vec<ClientSettings>,
    /// Whether clients were moved in that have a secret, so that the metadata says how to send one.
    pub imported_secrets: bool,
}

/// Everything that is looked up on a request's way.
pub struct Site {
    /// As configured.
    pub settings: Settings,
    /// `host[:port]` of the issuer.
    pub(super) issuer_host: String,
    /// X4. Not on a loopback name: browsers would be locked out of plain http at other servers of the same machine.
    pub(super) is_public_https: bool,
    /// The canonical URLs of all services that need a token.
    pub(super) resources: Vec<Resource>,
    /// The clients of the configuration.
    pub(super) configured: Configured,
    /// RFC 8414, the same bytes on every host.
    pub(super) server_metadata: Bytes,
    /// Lower-case logins that some access rule names.
    pub(super) logins: BTreeSet<String>,
    /// What the identity provider is asked about people.
    pub(super) asked: Asked,
    /// Every service.
    all: Vec<Arc<Service>>,
    hosts: BTreeMap<String, Host>,
    /// Host names that are served on https, without a port → `host[:port]` there.
    secure: BTreeMap<String, String>,
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
    ///
    /// # Panics
    /// If the issuer is no URL: settings were not checked.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self::build(settings, None)
    }

    /// The site of another configuration: replicas that stay stand as they stood.
    ///
    /// # Panics
    /// As [`Self::new`].
    #[must_use]
    pub(super) fn following(&self, settings: Settings) -> Self {
        Self::build(settings, Some(self))
    }

    fn build(settings: Settings, before: Option<&Self>) -> Self {
        let configured = Configured::new(&settings.clients);
        let service = |one: &ServiceSettings| {
            let before =
                before.and_then(|before| before.all.iter().find(|old| old.settings.name == one.name));
            let service = Service { clients: configured.of_service(one), ..Service::new(one.clone()) };
            service.following(before.map(Arc::as_ref))
        };
        let services: Vec<_> = settings.services.iter().map(|one| Arc::new(service(one))).collect();
        // A public service needs no token, so none can be asked for.
        let protected = services.iter().filter(|service| !service.settings.public);
        let resources: Vec<_> = protected.map(|service| service.settings.resource.clone()).collect();
        let scopes =
            services.iter().fold(Scopes::default(), |all, service| all.union(&service.known_scopes()));
        let issuer = Url::parse(&settings.issuer).expect("the issuer was checked to be an origin");
        let metadata = AuthorizationServerMetadata::new(&settings.issuer, &scopes, &resources);
        let metadata = if settings.documents.is_some() { metadata.with_documents() } else { metadata };
        let metadata = metadata.with_clients(configured.advertised(settings.imported_secrets));
        let mut site = Self {
            configured,
            issuer_host: authority(&issuer).to_owned(),
            is_public_https: issuer.scheme() == "https"
                && !is_loopback_name(without_port(authority(&issuer))),
            server_metadata: json(&metadata),
            logins: settings
                .services
                .iter()
                .flat_map(|service| service.access.logins())
                .chain(settings.admins.logins())
                .map(str::to_lowercase)
                .collect(),
            asked: Asked {
                orgs: named(&settings.services, |rules| &rules.orgs),
                teams: named(&settings.services, |rules| &rules.teams),
                email: settings.services.iter().any(|service| service.forward_email),
            },
            all: Vec::new(),
            hosts: BTreeMap::new(),
            secure: secure(settings.services.iter().map(|service| &service.url).chain([&issuer])),
            resources,
            settings,
        };
        for service in &services {
            let host =
                site.hosts.entry(authority(&service.settings.url).to_owned()).or_insert_with(Host::empty);
            host.add(service, &site.settings.issuer);
        }
        site.hosts.entry(site.issuer_host.clone()).or_insert_with(Host::empty);
        for host in site.hosts.values_mut() {
            host.finish();
        }
        site.all = services;
        site
    }

    /// The host a request names in `Host` or `:authority`, with its default port or without.
    pub(super) fn host(&self, named: &str) -> Option<(&str, &Host)> {
        let lower;
        let named = if named.bytes().any(|byte| byte.is_ascii_uppercase()) {
            lower = named.to_ascii_lowercase();
            &lower
        } else {
            named
        };
        let bare = named.strip_suffix(":443").or_else(|| named.strip_suffix(":80"));
        // With two ports it is no host.
        let bare = bare.filter(|bare| without_port(bare) == *bare);
        let found = self.hosts.get_key_value(named).or_else(|| self.hosts.get_key_value(bare?));
        found.map(|(name, host)| (name.as_str(), host))
    }

    /// Whether a host name, whatever the port, is one of ours.
    pub(super) fn is_ours(&self, name: &str) -> bool {
        self.hosts.keys().any(|authority| without_port(authority) == name)
    }

    /// The service of a canonical resource.
    pub(super) fn service(&self, resource: &Resource) -> Option<&Arc<Service>> {
        let paths = self.hosts.values().flat_map(|host| &host.paths);
        paths.map(|(_, service)| service).find(|service| service.settings.resource == *resource)
    }

    /// The https URL of a request that came by plain http for `host`, without a port, if we serve that on https.
    pub(super) fn https_location(&self, host: &str, path_and_query: &str) -> Option<String> {
        let served = self.secure.get(&without_port(host).to_ascii_lowercase())?;
        path_and_query.starts_with('/').then(|| format!("https://{served}{path_and_query}"))
    }

    /// Every service, in the order of the configuration.
    pub(super) fn all(&self) -> &[Arc<Service>] {
        &self.all
    }

    /// What the configuration says of every service, in its order.
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
        let Some((_, first)) = self.paths.first() else { return };
        if !self.paths.iter().all(|(_, service)| Arc::ptr_eq(service, first)) {
            return;
        }
        self.only = Some(Arc::clone(first));
        if let Some(document) = self.documents.values().next().cloned() {
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

/// `host[:port]`.
fn authority(url: &Url) -> &str {
    &url[Position::BeforeHost..Position::AfterPort]
}

/// The https URLs' hosts and authorities. A host that is served on several ports is led to the first.
fn secure<'a>(urls: impl Iterator<Item = &'a Url>) -> BTreeMap<String, String> {
    let mut hosts = BTreeMap::new();
    for url in urls.filter(|url| url.scheme() == "https") {
        let authority = authority(url);
        hosts.entry(without_port(authority).to_owned()).or_insert_with(|| authority.to_owned());
    }
    hosts
}

/// What some service's rules name, lower-case, each once.
fn named(services: &[ServiceSettings], rules: impl Fn(&AccessRules) -> &Vec<String>) -> Vec<String> {
    let names: BTreeSet<_> =
        services.iter().flat_map(|service| rules(&service.access)).map(|name| name.to_lowercase()).collect();
    names.into_iter().collect()
}

/// Our documents are structs of strings: serialising them cannot fail.
fn json(document: &impl serde::Serialize) -> Bytes {
    serde_json::to_vec(document).map(Bytes::from).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    fn site(issuer: &str, urls: &[&str]) -> Site {
        let service = |url: &&str| ServiceSettings {
            url: url.parse().unwrap(),
            resource: Resource::from_canonical((*url).to_owned()),
            ..testing::service().settings
        };
        Site::new(Settings {
            issuer: issuer.to_owned(),
            services: urls.iter().map(service).collect(),
            admins: AccessRules::default(),
            origins: Vec::new(),
            redirects: RedirectPolicy::default(),
            lives: TokenLives::default(),
            session_life: Duration::from_hours(8),
            freshness: Freshness::default(),
            trusted_proxies: Vec::new(),
            published_on_loopback: false,
            dev_identity: false,
            revocation_staleness: Duration::from_mins(5),
            limits: Limits::default(),
            documents: None,
            clients: Vec::new(),
            imported_secrets: false,
        })
    }

    #[test]
    fn the_identity_provider_is_asked_about_no_more_than_some_service_needs() {
        let asked = |change: fn(&mut ServiceSettings)| {
            let mut settings = site("https://auth.example.com", &["https://a.example/mcp"]).settings;
            change(&mut settings.services[0]);
            Site::new(settings).asked
        };
        assert_eq!(asked(|service| service.access.users = vec!["octocat".into()]), Asked::default());
        let orgs = asked(|service| service.access.orgs = vec!["Example".into()]);
        assert_eq!(orgs, Asked { orgs: vec!["example".into()], ..Asked::default() });
        let teams = asked(|service| service.access.teams = vec!["Example/Core".into()]);
        assert_eq!(teams, Asked { teams: vec!["example/core".into()], ..Asked::default() });
        assert_eq!(asked(|service| service.forward_email = true), Asked { email: true, ..Asked::default() });
    }

    // X1
    #[test]
    fn plain_http_is_led_to_the_https_port_of_the_same_host() {
        let urls =
            ["https://todo.example.com:8443/mcp", "https://[2001:db8::1]/mcp", "http://plain.example/mcp"];
        let site = site("https://[::1]:8443", &urls);
        let location = |host: &str| site.https_location(host, "/x?y");
        for (host, url) in [
            ("todo.example.com", "https://todo.example.com:8443/x?y"),
            ("Todo.Example.com:80", "https://todo.example.com:8443/x?y"),
            ("[::1]", "https://[::1]:8443/x?y"),
            ("[::1]:8080", "https://[::1]:8443/x?y"),
            ("[2001:db8::1]", "https://[2001:db8::1]/x?y"),
        ] {
            assert_eq!(location(host).as_deref(), Some(url), "{host}");
        }
        for host in
            ["plain.example", "other.example", "todo.example.com:evil", "todo.example.com.", "::1", ""]
        {
            assert_eq!(location(host), None, "{host}");
        }
        assert_eq!(site.https_location("[::1]", "*"), None);
    }

    // D2
    #[test]
    fn only_a_service_that_lives_alone_has_the_hosts_root_document() {
        let (one, two) = ("https://a.example/mcp", "https://a.example/other");
        let alone = site("https://auth.example.com", &[one, "https://b.example/mcp"]);
        let (_, host) = alone.host("a.example").unwrap();
        assert_eq!(host.only.as_ref().map(|only| only.settings.resource.as_str()), Some(one));
        assert_eq!(
            host.document(ProtectedResourceMetadata::ROOT),
            host.document(&ProtectedResourceMetadata::path(&Resource::from_canonical(one.to_owned())))
        );
        assert!(host.document(ProtectedResourceMetadata::ROOT).is_some());
        let shared = site("https://auth.example.com", &[one, two]);
        let (_, host) = shared.host("a.example:443").unwrap();
        assert!(host.only.is_none() && host.document(ProtectedResourceMetadata::ROOT).is_none());
        let (name, host) = shared.host("AUTH.example.com").unwrap();
        assert_eq!(name, shared.issuer_host);
        assert!(host.only.is_none() && host.document(ProtectedResourceMetadata::ROOT).is_none());
    }
}
