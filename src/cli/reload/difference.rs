//! What a new configuration means for a process that works by an old one: what can be put to work, what waits for a restart, and
//! what is refused. Pure. Each type of settings is taken apart here by name, so that no new key is forgotten.

use std::fmt;

use crate::config::Config;
use crate::gateway::{self, ClientSettings, ServiceLimits, ServiceSettings};
use crate::identity;
use crate::{certs, serve, telemetry, upstream};

/// What comes of a new configuration.
#[derive(Debug)]
pub(super) struct Difference {
    /// What is in use then: the new one, but for what waits for a restart.
    pub(super) then: Config,
    /// In what that differs from what is in use now.
    pub(super) changes: Changes,
    /// The keys that wait for a restart.
    pub(super) waiting: Vec<&'static str>,
}

/// Why nothing of a new configuration is put to work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    /// Tokens would be of two issuers.
    #[error(
        "`issuer` was {before} and is {after} now, and a process knows tokens of one issuer only; nothing of this \
         configuration is put to work before a restart"
    )]
    Issuer { before: String, after: String },
    /// People of one provider would meet rules that are about those of another.
    #[error(
        "`identity` is another provider now, and its access rules are about other people; nothing of this configuration is \
         put to work before a restart"
    )]
    Provider,
}

/// Compares what is in use with a new configuration.
///
/// # Errors
/// [`Refused`].
pub(super) fn between(before: &Config, after: Config) -> Result<Difference, Refused> {
    if before.gateway.issuer != after.gateway.issuer {
        let (before, after) = (before.gateway.issuer.clone(), after.gateway.issuer);
        return Err(Refused::Issuer { before, after });
    }
    if !is_same_provider(&before.identity, &after.identity) {
        return Err(Refused::Provider);
    }
    let waiting = waiting(before, &after);
    let then = then(before, after);
    Ok(Difference { changes: Changes::between(before, &then), waiting, then })
}

/// Whether the same people sign in: by which credentials of ours does not matter.
fn is_same_provider(before: &identity::Settings, after: &identity::Settings) -> bool {
    match (before, after) {
        (identity::Settings::GitHub(before), identity::Settings::GitHub(after)) => before.web == after.web,
        (identity::Settings::Dev, identity::Settings::Dev) => true,
        (identity::Settings::GitHub(_), identity::Settings::Dev)
        | (identity::Settings::Dev, identity::Settings::GitHub(_)) => false,
    }
}

/// Whether a process can go over to other certificates: from files to files.
fn can_follow(before: &certs::Settings, after: &certs::Settings) -> bool {
    before == after || matches!((before, after), (certs::Settings::Files(_), certs::Settings::Files(_)))
}

/// The keys whose change a running process cannot follow.
fn waiting(before: &Config, after: &Config) -> Vec<&'static str> {
    let serve::Settings { listen, redirect, peers, drain, workers } = &before.serve;
    let network = &before.gateway;
    differing(&[
        ("secret_key", before.secret_key != after.secret_key),
        ("secret_key_previous", before.secret_key_previous != after.secret_key_previous),
        ("store", before.store != after.store),
        ("admin_socket", before.admin != after.admin),
        ("listen", (listen, redirect) != (&after.serve.listen, &after.serve.redirect)),
        ("listen.internal", before.internal != after.internal),
        ("tls", !can_follow(&before.tls, &after.tls)),
        // Who may connect is known to the listeners.
        (
            "trusted_proxies",
            *peers != after.serve.peers && network.trusted_proxies != after.gateway.trusted_proxies,
        ),
        ("published_on_loopback", network.published_on_loopback != after.gateway.published_on_loopback),
        ("log.format", before.telemetry.format != after.telemetry.format),
        ("drain", *drain != after.serve.drain),
        ("workers", *workers != after.serve.workers),
    ])
}

/// The new configuration, with what cannot change as it was.
fn then(before: &Config, after: Config) -> Config {
    let before = before.clone();
    let are_same_peers = before.serve.peers == after.serve.peers;
    let Config {
        gateway,
        store: _,
        admin: _,
        serve: _,
        internal: _,
        tls,
        identity,
        telemetry,
        secret_key: _,
        secret_key_previous: _,
        rotate_keys,
    } = after;
    Config {
        gateway: gateway::Settings {
            trusted_proxies: if are_same_peers {
                gateway.trusted_proxies
            } else {
                before.gateway.trusted_proxies
            },
            published_on_loopback: before.gateway.published_on_loopback,
            ..gateway
        },
        tls: if can_follow(&before.tls, &tls) { tls } else { before.tls },
        identity,
        telemetry: telemetry::Settings { filter: telemetry.filter, format: before.telemetry.format },
        rotate_keys,
        store: before.store,
        admin: before.admin,
        serve: before.serve,
        internal: before.internal,
        secret_key: before.secret_key,
        secret_key_previous: before.secret_key_previous,
    }
}

/// What is put to work, in words; nothing secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    services: Named,
    clients: Named,
    keys: Vec<&'static str>,
}

/// What came, went and changed by name, with the keys in which it changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Named {
    added: Vec<String>,
    removed: Vec<String>,
    changed: Vec<(String, Vec<&'static str>)>,
}

impl Changes {
    fn between(before: &Config, then: &Config) -> Self {
        let (old, new) = (&before.gateway, &then.gateway);
        let id = |client: &ClientSettings| client.client.id.to_string();
        let mut keys = gateway_keys(old, new);
        keys.extend(differing(&[
            ("identity", before.identity != then.identity),
            ("tls.files", before.tls != then.tls),
            ("keys.rotate", before.rotate_keys != then.rotate_keys),
            ("log.filter", before.telemetry.filter != then.telemetry.filter),
        ]));
        Self {
            services: Named::between(&old.services, &new.services, |one| one.name.clone(), service_keys),
            clients: Named::between(&old.clients, &new.clients, id, |_, _| Vec::new()),
            keys,
        }
    }

    /// Whether nothing changes.
    pub(super) fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

impl Named {
    fn between<T: PartialEq>(
        before: &[T],
        after: &[T],
        name: impl Fn(&T) -> String,
        keys: impl Fn(&T, &T) -> Vec<&'static str>,
    ) -> Self {
        let find = |all: &[T], wanted: &T| all.iter().position(|one| name(one) == name(wanted));
        let missing = |from: &[T], all: &[T]| -> Vec<String> {
            from.iter().filter(|one| find(all, one).is_none()).map(&name).collect()
        };
        let changed = |one: &T| {
            let then = &after[find(after, one)?];
            (one != then).then(|| (name(one), keys(one, then)))
        };
        Self {
            added: missing(after, before),
            removed: missing(before, after),
            changed: before.iter().filter_map(changed).collect(),
        }
    }

    fn told(&self, what: &str) -> Vec<String> {
        let with_keys = |(name, keys): &(String, Vec<&'static str>)| match keys.as_slice() {
            [] => name.clone(),
            keys => format!("{name} ({})", keys.join(", ")),
        };
        let changed: Vec<_> = self.changed.iter().map(with_keys).collect();
        [("added", &self.added), ("removed", &self.removed), ("changed", &changed)]
            .into_iter()
            .filter(|(_, names)| !names.is_empty())
            .map(|(deed, names)| format!("{what} {deed}: {}", names.join(", ")))
            .collect()
    }
}

/// `services added: a, b; services changed: c (access); changed: limits`
impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = self.services.told("services");
        parts.extend(self.clients.told("clients"));
        if !self.keys.is_empty() {
            parts.push(format!("changed: {}", self.keys.join(", ")));
        }
        f.write_str(&parts.join("; "))
    }
}

/// The keys of a service that differ.
fn service_keys(before: &ServiceSettings, after: &ServiceSettings) -> Vec<&'static str> {
    let ServiceSettings {
        name: _,
        resource,
        url,
        paths,
        upstream: upstream::Settings { replicas, connect_timeout, first_byte_timeout, probe },
        scopes,
        implies,
        describe,
        access,
        public,
        forward_email,
        user_id,
        origins,
        sse_keep_alive,
        limits: ServiceLimits { body, requests, user_requests, streams, user_streams },
        forward_auth,
    } = before;
    let limits = &after.limits;
    differing(&[
        ("url", (resource, url) != (&after.resource, &after.url)),
        ("upstream", *replicas != after.upstream.replicas),
        ("health", *probe != after.upstream.probe),
        ("paths", *paths != after.paths),
        ("scopes", *scopes != after.scopes),
        ("implies", *implies != after.implies),
        ("describe", *describe != after.describe),
        ("public", *public != after.public),
        ("access", *access != after.access),
        ("forward_email", *forward_email != after.forward_email),
        ("user_id", *user_id != after.user_id),
        ("origins", *origins != after.origins),
        ("connect_timeout", *connect_timeout != after.upstream.connect_timeout),
        ("first_byte_timeout", *first_byte_timeout != after.upstream.first_byte_timeout),
        ("sse_keep_alive", *sse_keep_alive != after.sse_keep_alive),
        ("forward_auth", *forward_auth != after.forward_auth),
        ("max_body_bytes", *body != limits.body),
        ("max_requests", *requests != limits.requests),
        ("max_requests_per_user", *user_requests != limits.user_requests),
        ("max_streams", *streams != limits.streams),
        ("max_streams_per_user", *user_streams != limits.user_streams),
    ])
}

/// The keys of the gateway that differ, without services and clients.
fn gateway_keys(before: &gateway::Settings, after: &gateway::Settings) -> Vec<&'static str> {
    let gateway::Settings {
        issuer: _,
        services: _,
        admins,
        origins,
        redirects,
        lives,
        session_life,
        freshness,
        trusted_proxies,
        published_on_loopback: _,
        dev_identity: _,
        revocation_staleness,
        limits,
        documents,
        clients: _,
        imported_secrets,
    } = before;
    differing(&[
        ("trusted_proxies", *trusted_proxies != after.trusted_proxies),
        ("access_recheck", freshness.recheck != after.freshness.recheck),
        ("access_grace", freshness.grace != after.freshness.grace),
        ("admins", *admins != after.admins),
        ("origins", *origins != after.origins),
        ("redirect_schemes", *redirects != after.redirects),
        ("tokens", *lives != after.lives),
        ("session", *session_life != after.session_life),
        ("revocation_staleness", *revocation_staleness != after.revocation_staleness),
        ("limits", *limits != after.limits),
        ("clients.documents", *documents != after.documents),
        ("clients.imported_secrets", *imported_secrets != after.imported_secrets),
    ])
}

/// The keys of which it is true that they differ.
fn differing(keys: &[(&'static str, bool)]) -> Vec<&'static str> {
    keys.iter().filter(|(_, differs)| *differs).map(|(key, _)| *key).collect()
}

#[cfg(test)]
mod tests;
