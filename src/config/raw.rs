//! The file as written: what `serde_yaml` fills, before anything in it is checked. [`super::shape`] describes the same
//! keys once more, for people; a test holds the two together.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::problem::Position;

/// A value, and where it stands. `value` is `None` if it was refused already, so that nothing more is said of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Given<T> {
    pub(super) at: Position,
    pub(super) value: Option<T>,
}

/// A key that may be absent.
pub(super) type Field<T> = Option<Given<T>>;

/// One text or several.
pub(super) type Texts = Vec<Given<String>>;

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_field_names, reason = "they are the keys as people write them")]
pub(super) struct File {
    pub(super) issuer: Field<String>,
    pub(super) secret_key: Field<String>,
    pub(super) secret_key_file: Field<String>,
    pub(super) secret_key_previous: Field<String>,
    pub(super) secret_key_previous_file: Field<String>,
    pub(super) store: Field<String>,
    pub(super) store_file: Field<String>,
    pub(super) store_prefix: Field<String>,
    pub(super) admin_socket: Field<String>,
    pub(super) listen: Field<Listen>,
    pub(super) tls: Field<Tls>,
    pub(super) trusted_proxies: Field<Texts>,
    pub(super) published_on_loopback: Field<bool>,
    pub(super) identity: Field<Identity>,
    pub(super) access: Field<Access>,
    pub(super) admins: Field<Texts>,
    pub(super) access_recheck: Field<String>,
    pub(super) access_grace: Field<String>,
    pub(super) origins: Field<Texts>,
    pub(super) redirect_schemes: Field<Texts>,
    pub(super) tokens: Field<Tokens>,
    pub(super) keys: Field<Keys>,
    pub(super) session: Field<String>,
    pub(super) revocation_staleness: Field<String>,
    pub(super) log: Field<Log>,
    pub(super) drain: Field<String>,
    pub(super) limits: Field<Limits>,
    pub(super) clients: Field<Clients>,
    pub(super) workers: Field<u64>,
    pub(super) services: Field<BTreeMap<String, Given<Service>>>,
}

/// `listen`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Listen {
    pub(super) https: Field<Texts>,
    pub(super) http: Field<Texts>,
    pub(super) internal: Field<Texts>,
    pub(super) internal_token: Field<String>,
    pub(super) internal_token_file: Field<String>,
}

/// `tls`: a word, or one of the keys.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tls {
    /// What stands there instead of keys.
    pub(super) word: Field<String>,
    pub(super) files: Field<Vec<Given<CertificateFiles>>>,
    pub(super) local_ca: Field<String>,
    pub(super) acme: Field<Acme>,
}

/// `tls.acme`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Acme {
    pub(super) email: Field<String>,
    pub(super) directory: Field<String>,
    pub(super) ca_file: Field<String>,
    pub(super) eab: Field<ExternalAccount>,
    pub(super) profile: Field<String>,
    pub(super) challenge: Field<String>,
}

/// `tls.acme.eab`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExternalAccount {
    pub(super) kid: Field<String>,
    pub(super) key: Field<String>,
    pub(super) key_file: Field<String>,
}

/// One of `tls.files`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CertificateFiles {
    pub(super) certificate: Field<String>,
    pub(super) key: Field<String>,
}

/// `identity`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Identity {
    pub(super) github: Field<GitHub>,
    pub(super) dev: Field<Dev>,
}

/// `identity.github`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GitHub {
    pub(super) client_id: Field<String>,
    pub(super) client_secret: Field<String>,
    pub(super) client_secret_file: Field<String>,
    pub(super) web_url: Field<String>,
    pub(super) api_url: Field<String>,
}

/// `identity.dev`: nothing to say.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Dev {}

/// `access`, of all services or of one.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Access {
    pub(super) users: Field<Texts>,
    pub(super) orgs: Field<Texts>,
    pub(super) teams: Field<Texts>,
}

/// `tokens`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tokens {
    pub(super) access: Field<String>,
    pub(super) refresh_idle: Field<String>,
    pub(super) refresh_absolute: Field<String>,
}

/// `keys`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Keys {
    pub(super) rotate: Field<String>,
}

/// `log`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Log {
    pub(super) format: Field<String>,
    pub(super) filter: Field<String>,
}

/// `limits`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Limits {
    pub(super) register: Field<String>,
    pub(super) authorize: Field<String>,
    pub(super) sign_in: Field<String>,
    pub(super) callback: Field<String>,
    pub(super) token: Field<String>,
    pub(super) revoke: Field<String>,
    pub(super) document: Field<String>,
    pub(super) introspect: Field<String>,
    pub(super) pages: Field<String>,
    pub(super) unused_clients: Field<u64>,
    pub(super) open_sign_ins: Field<u64>,
    pub(super) connections: Field<u64>,
    pub(super) connections_per_address: Field<u64>,
    pub(super) handshake: Field<String>,
    pub(super) head: Field<String>,
    pub(super) idle: Field<String>,
    pub(super) body_pause: Field<String>,
    pub(super) header_bytes: Field<u64>,
    pub(super) header_count: Field<u64>,
    pub(super) streams_per_connection: Field<u64>,
}

/// `clients`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Clients {
    pub(super) documents: Field<Documents>,
    pub(super) registered: Field<BTreeMap<String, Given<RegisteredClient>>>,
    pub(super) imported_secrets: Field<bool>,
}

/// `clients.documents`: a word, or these keys.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Documents {
    /// What stands there instead of keys.
    pub(super) word: Field<String>,
    pub(super) allow: Field<Texts>,
    pub(super) deny: Field<Texts>,
    pub(super) max_bytes: Field<u64>,
}

/// One of `clients.registered`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RegisteredClient {
    pub(super) name: Field<String>,
    pub(super) redirect_uris: Field<Texts>,
    pub(super) grant_types: Field<Texts>,
    pub(super) secret: Field<String>,
    pub(super) secret_file: Field<String>,
    pub(super) jwks: Field<serde_json::Value>,
    pub(super) jwks_file: Field<String>,
    pub(super) services: Field<BTreeMap<String, Given<Texts>>>,
    pub(super) introspect: Field<bool>,
}

/// One of `services`, or a whole file in `services.d`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Service {
    pub(super) url: Field<String>,
    pub(super) upstream: Field<Texts>,
    pub(super) paths: Field<Texts>,
    pub(super) scopes: Field<Texts>,
    pub(super) implies: Field<BTreeMap<String, Given<Texts>>>,
    pub(super) describe: Field<BTreeMap<String, Given<String>>>,
    pub(super) public: Field<bool>,
    pub(super) access: Field<Access>,
    pub(super) forward_email: Field<bool>,
    pub(super) user_id: Field<String>,
    pub(super) origins: Field<Texts>,
    pub(super) health: Field<Health>,
    pub(super) connect_timeout: Field<String>,
    pub(super) first_byte_timeout: Field<String>,
    pub(super) sse_keep_alive: Field<String>,
    pub(super) forward_auth: Field<bool>,
    pub(super) max_body_bytes: Field<u64>,
    pub(super) max_requests: Field<u64>,
    pub(super) max_requests_per_user: Field<u64>,
    pub(super) max_streams: Field<u64>,
    pub(super) max_streams_per_user: Field<u64>,
}

/// A service's `health`: a word, or these keys.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Health {
    /// What stands there instead of keys.
    pub(super) word: Field<String>,
    pub(super) probe: Field<String>,
    pub(super) every: Field<String>,
}
