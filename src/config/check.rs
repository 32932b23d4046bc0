//! From the raw file to the checked [`Config`]: every area is looked at, whatever the others said, and then what they
//! ask of each other.

use std::collections::BTreeMap;
use std::time::Duration;

use url::Url;

use super::access;
use super::acme;
use super::admin;
use super::clients;
use super::documents;
use super::forward_auth;
use super::identity as identities;
use super::internal;
use super::issuer::{self, Issuer};
use super::limits;
use super::network::{self, Network};
use super::problem::{Findings, Position};
use super::raw::{File, Given, Service};
use super::secrets::{self, Here};
use super::services::{self, Checked, Common};
use super::tunnels;
use super::values::{domain, duration, https, is_loopback, origin, origins};
use super::{Config, hosts};
use crate::oauth::{NEVER_PRIVATE, RedirectPolicy, TokenLives};
use crate::policy::{AccessRules, Freshness};
use crate::trouble::Trouble;
use crate::{certs, gateway, identity, serve, telemetry};

/// Checks everything. `None` only if something was refused.
pub(super) fn check(raw: &File, here: Here<'_>, findings: &mut Findings) -> Option<Config> {
    let issuer = issuer::check(raw, findings);
    let secret_key = secrets::key(raw, here, findings);
    let secret_key_previous = secrets::previous_key(raw, secret_key.as_ref(), here, findings);
    let store = secrets::store(raw, here, findings);
    let admin = admin::check(raw, store.as_ref(), here, findings);
    let network = network::check(raw, issuer.as_ref(), here, findings);
    let internal = internal::check(raw, network.as_ref(), here, findings);
    forward_auth::check_asked(raw, findings);
    let identity = identities::check(raw, here, findings);
    identities::check_dev(raw, issuer.as_ref(), network.as_ref(), findings);
    let services = all_services(raw, findings);
    if let Some(issuer) = &issuer {
        check_reach(issuer, network.as_ref(), &services, findings);
    }
    services::check_places(&services, issuer.as_ref().map(|issuer| &issuer.url), findings);
    remark(issuer.as_ref(), network.as_ref(), &services, findings);
    let telemetry = log(raw, findings);
    let times = Times::check(raw, findings);
    let rotate_keys = rotation(raw, findings);
    let admins = access::admins(raw.admins.as_ref(), identities::provider(raw), findings);
    let origins = origins(raw.origins.as_ref(), findings);
    let redirects = redirects(raw, findings);
    let limits = limits::check(raw, findings);
    let documents = documents::check(raw, findings);
    let clients =
        clients::check(raw, here, clients::Around { services: &services, redirects: &redirects }, findings);
    let workers = workers(raw, findings);
    let (issuer, network, times) = (issuer?, network?, times?);
    let serve = sockets(&network, times.drain, workers?);
    let dev_identity = matches!(identity, Some(identity::Settings::Dev));
    Some(Config {
        gateway: gateway::Settings {
            issuer: issuer.text,
            services: services.into_iter().map(|service| service.settings).collect(),
            admins,
            origins,
            redirects,
            lives: times.lives,
            session_life: times.session,
            freshness: times.freshness,
            trusted_proxies: network.trusted_proxies,
            published_on_loopback: network.published_on_loopback,
            dev_identity,
            revocation_staleness: times.staleness,
            limits: limits?,
            documents: documents?,
            clients: clients?,
            imported_secrets: imported_secrets(raw),
        },
        store: store?,
        admin: admin?,
        serve,
        internal: internal?,
        tls: network.tls,
        identity: identity?,
        telemetry: telemetry?,
        secret_key: secret_key?,
        secret_key_previous,
        rotate_keys,
    })
}

/// `clients.imported_secrets`.
fn imported_secrets(raw: &File) -> bool {
    let clients = raw.clients.as_ref().and_then(|clients| clients.value.as_ref());
    clients.and_then(|clients| clients.imported_secrets.as_ref()).is_some_and(|flag| flag.value == Some(true))
}

fn sockets(network: &Network, drain: Duration, workers: usize) -> serve::Settings {
    let Network { listen, redirect, peers, .. } = network.clone();
    serve::Settings { listen, redirect, peers, drain, workers }
}

fn all_services(raw: &File, findings: &mut Findings) -> Vec<Checked> {
    let provider = identities::provider(raw);
    let access = raw.access.as_ref().map(|given| access::rules(given, provider, findings));
    let empty = BTreeMap::new();
    let (at, services) = match &raw.services {
        None => (Position::start(0), Some(&empty)),
        Some(Given { at, value }) => (*at, value.as_ref()),
    };
    if services.is_some_and(BTreeMap::is_empty) {
        let text = "no service is configured; write services: { NAME: { url: https://HOST/mcp, upstream: http://HOST:PORT/mcp } }";
        findings.refuse(at, text);
    }
    let common = Common { access: access.as_ref(), provider };
    services::check(services.unwrap_or(&empty), common, findings).into_iter().flatten().collect()
}

/// Refuses public URLs whose protocol nobody would speak.
fn check_reach(issuer: &Issuer, network: Option<&Network>, services: &[Checked], findings: &mut Findings) {
    for service in services {
        if service.settings.url.scheme() == "http" && !issuer.is_loopback() {
            let url = https(&service.settings.url);
            findings
                .refuse(service.url_at, format!("http goes with an issuer on localhost only; write {url}"));
        }
    }
    let Some(network) = network else { return };
    let hosts =
        hosts(std::iter::once(&issuer.url).chain(services.iter().map(|service| &service.settings.url)));
    acme::names(network, &hosts, findings);
    let urls = services.iter().map(|service| (service.url_at, &service.settings.url));
    for (at, url) in std::iter::once((issuer.at, &issuer.url)).chain(urls) {
        if network.published_on_loopback && !is_loopback(url) {
            let text = "`published_on_loopback` goes with hosts on localhost only; write a localhost URL, or take that key away";
            findings.refuse(at, text);
        } else if !network.serves(url) && url.scheme() == "https" {
            let text = "nothing speaks https here with `tls: off`; write certificates under `tls`, or the TLS proxy in front \
                        under `trusted_proxies` ([127.0.0.1, \"::1\"] for one on this machine)";
            findings.refuse_as(Trouble::Tunnel, at, text);
        } else if !network.serves(url) {
            findings
                .refuse(at, format!("TLS is on, so this must be https; write {}, or tls: off", https(url)));
        }
    }
}

/// Says what is allowed and yet may not be meant.
fn remark(issuer: Option<&Issuer>, network: Option<&Network>, services: &[Checked], findings: &mut Findings) {
    for Checked { at, access_at, url_at, settings } in services {
        let name = &settings.name;
        if settings.public {
            findings.remark(*at, format!("`{name}` is public: nobody signs in, everybody gets in"));
        } else if settings.access.lets_everybody_in() {
            findings.remark(*access_at, "`access` lets everybody in who can sign in");
        } else if settings.access == AccessRules::default() {
            findings.remark(*at, format!("`{name}` lets nobody in; write access: {{ users: [LOGIN] }}"));
        }
        let Some(issuer) = issuer else { continue };
        if let (Some(one), Some(other)) = (domain(&issuer.url), domain(&settings.url))
            && one != other
        {
            let text = format!("`{name}` is at {other}, the issuer at {one}: is this the right environment?");
            findings.remark_as(Trouble::Environments, *url_at, text);
        }
        let public = origin(&settings.url);
        let circles = |replica: &Url| origin(replica) == public || origin(replica) == issuer.text;
        if settings.upstream.replicas.iter().any(circles) {
            findings.remark(
                *at,
                format!("the upstream of `{name}` is on a host of ours, so requests may go in circles"),
            );
        }
    }
    let (Some(issuer), Some(network)) = (issuer, network) else { return };
    tunnels::remark(issuer, network, services, findings);
    let port = issuer.url.port_or_known_default();
    let reached = network.listen.iter().any(|address| Some(address.port()) == port || address.port() == 0);
    if !reached && network.trusted_proxies.is_empty() && !network.published_on_loopback {
        let port = port.unwrap_or_default();
        findings.remark_as(
            Trouble::Port443,
            issuer.at,
            format!("nothing listens on port {port} of the issuer; is it forwarded to `listen`?"),
        );
    }
    if matches!(network.tls, certs::Settings::LocalCa { .. }) && !issuer.is_loopback() {
        findings
            .remark(network.tls_at, "`local_ca` is for development: only machines that were told trust it");
    }
}

fn log(raw: &File, findings: &mut Findings) -> Option<telemetry::Settings> {
    let default = telemetry::Settings { format: telemetry::Format::Text, filter: "info".into() };
    let Some(log) = &raw.log else { return Some(default) };
    let log = log.value.as_ref()?;
    let format = match &log.format {
        None => Some(default.format),
        Some(given) => match given.value.as_deref() {
            Some("text") => Some(telemetry::Format::Text),
            Some("json") => Some(telemetry::Format::Json),
            Some(other) => {
                findings.refuse(given.at, format!("`{other}` is no form of a log; write text or json"));
                None
            }
            None => None,
        },
    };
    let filter = match &log.filter {
        None => Some(default.filter),
        Some(given) => {
            let filter = given.value.clone()?;
            if let Err(error) = telemetry::check_filter(&filter) {
                findings.refuse(given.at, error.to_string());
            }
            Some(filter)
        }
    };
    Some(telemetry::Settings { format: format?, filter: filter? })
}

/// How long keys are used, `None` for as long as nobody says otherwise. Never shorter than a week, which leaves a key a day to
/// become known and its tokens a day to end.
fn rotation(raw: &File, findings: &mut Findings) -> Option<Duration> {
    const DEFAULT: Duration = Duration::from_hours(90 * 24);
    const LEAST: Duration = Duration::from_hours(7 * 24);
    const MOST: Duration = Duration::from_hours(730 * 24);
    let keys = raw.keys.as_ref().and_then(|keys| keys.value.as_ref());
    let given = keys.and_then(|keys| keys.rotate.as_ref());
    if given.is_some_and(|given| given.value.as_deref() == Some("never")) {
        return None;
    }
    let rotate = duration(given, DEFAULT, findings)?;
    if let (Some(given), false) = (given, (LEAST..=MOST).contains(&rotate)) {
        findings.refuse(given.at, "keys are used for 7d at least and 730d at most; write 90d, or never");
    }
    Some(rotate)
}

/// How long things live and may take.
struct Times {
    lives: TokenLives,
    session: Duration,
    freshness: Freshness,
    staleness: Duration,
    drain: Duration,
}

impl Times {
    fn check(raw: &File, findings: &mut Findings) -> Option<Self> {
        let defaults = TokenLives::default();
        let session = positive_duration(raw.session.as_ref(), Duration::from_hours(8), findings);
        let freshness = freshness(raw, findings);
        let staleness =
            positive_duration(raw.revocation_staleness.as_ref(), Duration::from_mins(5), findings);
        let drain = duration(raw.drain.as_ref(), Duration::from_secs(30), findings);
        let empty = super::raw::Tokens::default();
        let tokens = raw.tokens.as_ref().map_or(Some(&empty), |given| given.value.as_ref())?;
        let access = positive_duration(tokens.access.as_ref(), defaults.access, findings);
        let idle = positive_duration(tokens.refresh_idle.as_ref(), defaults.idle, findings);
        let absolute = positive_duration(tokens.refresh_absolute.as_ref(), defaults.absolute, findings);
        let (access, idle, absolute) = (access?, idle?, absolute?);
        let at = raw.tokens.as_ref().map_or(Position::start(0), |given| given.at);
        if access > TokenLives::LONGEST_ACCESS {
            findings.refuse(
                at,
                "access tokens live for 24h at most; write access: 1h, they are refreshed silently",
            );
        }
        if access > idle || idle > absolute {
            findings.refuse(at, "`access` must not be longer than `refresh_idle`, nor that than `refresh_absolute`; write them in that order");
        }
        let lives = TokenLives { access, idle, absolute, ..defaults };
        Some(Self { lives, session: session?, freshness: freshness?, staleness: staleness?, drain: drain? })
    }
}

/// How often the identity provider is asked again, and how long its last answer holds.
fn freshness(raw: &File, findings: &mut Findings) -> Option<Freshness> {
    let defaults = Freshness::default();
    let recheck = duration(raw.access_recheck.as_ref(), defaults.recheck, findings);
    let grace = duration(raw.access_grace.as_ref(), defaults.grace, findings);
    let (recheck, grace) = (recheck?, grace?);
    let mut refuse = |field: &Option<Given<String>>, text: &str| {
        findings.refuse(field.as_ref().map_or(Position::start(0), |given| given.at), text);
    };
    if recheck < Duration::from_mins(1) {
        refuse(&raw.access_recheck, "GitHub limits how often it may be asked; write 1m at least, or 10m");
    } else if recheck > Duration::from_hours(24) {
        refuse(&raw.access_recheck, "people who left would stay for too long; write 24h at most, or 10m");
    }
    if grace > Duration::from_hours(30 * 24) {
        refuse(&raw.access_grace, "people who left would stay for too long; write 30d at most, or 24h");
    } else if grace < recheck {
        let text =
            "`access_grace` must not be shorter than `access_recheck`; write 10m and 24h, or leave both out";
        refuse(&raw.access_grace, text);
    }
    Some(Freshness { recheck, grace })
}

fn positive_duration(
    field: Option<&Given<String>>,
    default: Duration,
    findings: &mut Findings,
) -> Option<Duration> {
    let read = duration(field, default, findings)?;
    if let (Some(given), true) = (field, read.is_zero()) {
        findings.refuse(given.at, "this is no time at all; write 1s at least");
        return None;
    }
    Some(read)
}

/// A number's value, or `default` if it is absent; `None` if it is refused.
pub(super) fn positive(
    field: Option<&Given<u64>>,
    default: u64,
    name: &str,
    findings: &mut Findings,
) -> Option<u64> {
    let Some(given) = field else { return Some(default) };
    let number = given.value?;
    if number == 0 {
        findings.refuse(given.at, format!("`{name}` is 0; write 1 at least"));
        return None;
    }
    Some(number)
}

fn workers(raw: &File, findings: &mut Findings) -> Option<usize> {
    const MOST: u64 = 1024;
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let number = positive(raw.workers.as_ref(), cores.try_into().ok()?, "workers", findings)?;
    if let (Some(given), true) = (&raw.workers, number > MOST) {
        findings.refuse(
            given.at,
            format!("`workers` is over {MOST}; write the number of cores, or take the key away"),
        );
        return None;
    }
    number.try_into().ok()
}

/// The known clients' private-use schemes, and those that are configured.
fn redirects(raw: &File, findings: &mut Findings) -> RedirectPolicy {
    let mut policy = RedirectPolicy::default();
    for given in raw.redirect_schemes.iter().filter_map(|field| field.value.as_ref()).flatten() {
        let Some(text) = given.value.as_deref() else { continue };
        let scheme = text.split(':').next().unwrap_or_default().to_ascii_lowercase();
        let letters = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
        let refused = if NEVER_PRIVATE.contains(&scheme.as_str()) {
            format!(
                "`{scheme}` is no scheme of a program (https and loopback http need no listing); take it away"
            )
        } else if !scheme.starts_with(|c: char| c.is_ascii_lowercase()) || !scheme.chars().all(letters) {
            format!("`{text}` is no scheme; write one such as cursor, without :// and what follows")
        } else if scheme != text {
            format!("`{text}` is not a bare scheme; write {scheme}")
        } else {
            if !policy.schemes.contains(&scheme) {
                policy.schemes.push(scheme);
            }
            continue;
        };
        findings.refuse(given.at, refused);
    }
    policy
}

/// Puts the services of `services.d` beside those of the file.
pub(super) fn add_services(raw: &mut File, more: Vec<(String, Given<Service>)>, findings: &mut Findings) {
    let Some(first) = more.first().map(|(_, given)| given.at) else { return };
    let services = raw.services.get_or_insert_with(|| Given { at: first, value: Some(BTreeMap::new()) });
    let Some(services) = &mut services.value else { return };
    for (name, given) in more {
        if let Some(other) = services.get(&name) {
            let text = format!("the service `{name}` stands in {} too; keep one", findings.place(other.at));
            findings.refuse(given.at, text);
        } else {
            services.insert(name, given);
        }
    }
}
