//! Clients that the operator wrote into the configuration: who they are, how they prove it, and what they may do on their
//! own. They are part of the [`super::Site`], never of the store.

use std::collections::BTreeMap;

use super::ServiceSettings;
use crate::oauth::{Client, ClientId, ConfiguredClients, Resource, Scopes, Subject};
use crate::secret::Secret;
use crate::token::ClientKeys;

/// What the configuration says of a client, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientSettings {
    /// The client as every other: its id, its name, where it is sent back to. It never expires.
    pub client: Client,
    /// How it proves who it is.
    pub authentication: Authentication,
    /// What it may get by `client_credentials`: the service, and the scopes there.
    pub services: BTreeMap<Resource, Scopes>,
    /// Whether it may introspect tokens (RFC 7662).
    pub introspect: bool,
}

/// How a client proves who it is (RFC 6749 §2.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// Not at all: it is public.
    None,
    /// By a secret, as `client_secret_basic` or `client_secret_post`, as it likes.
    Secret(Secret),
    /// By a signature, `private_key_jwt`.
    Keys(ClientKeys),
}

/// Every configured client, by its id.
#[derive(Clone, Debug, Default)]
pub(super) struct Configured(BTreeMap<ClientId, ClientSettings>);

impl Configured {
    pub(super) fn new(clients: &[ClientSettings]) -> Self {
        Self(clients.iter().map(|one| (one.client.id.clone(), one.clone())).collect())
    }

    pub(super) fn get(&self, id: &ClientId) -> Option<&ClientSettings> {
        self.0.get(id)
    }

    /// What the server's metadata says of them, and of those that were moved in, some `with_secrets`.
    pub(super) fn advertised(&self, with_secrets: bool) -> ConfiguredClients {
        let any = |is: &dyn Fn(&ClientSettings) -> bool| self.0.values().any(is);
        ConfiguredClients {
            secrets: with_secrets || any(&|one| matches!(one.authentication, Authentication::Secret(_))),
            keys: any(&|one| matches!(one.authentication, Authentication::Keys(_))),
            client_credentials: any(&|one| one.client.may_act_alone()),
            introspection: any(&|one| one.introspect),
        }
    }

    /// The clients that may act on their own at a service, each with all that its scopes there imply.
    pub(super) fn of_service(&self, service: &ServiceSettings) -> BTreeMap<Subject, Scopes> {
        let alone = self.0.values().filter(|one| one.client.may_act_alone());
        let there = alone.filter_map(|one| {
            let scopes = one.services.get(&service.resource)?;
            Some((Subject::of_client(&one.client.id), service.implies.expand(scopes)))
        });
        there.collect()
    }
}
