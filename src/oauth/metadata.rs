//! The two discovery documents: RFC 8414 for the issuer, RFC 9728 for each service.

use serde::Serialize;

use super::{Resource, Scopes};

/// Authorization server metadata (RFC 8414 §2). Only what is there is advertised (D16).
#[derive(Clone, Debug, Serialize)]
pub struct AuthorizationServerMetadata {
    issuer: String,
    #[serde(flatten)]
    endpoints: Endpoints,
    scopes_supported: Vec<String>,
    response_types_supported: [&'static str; 1],
    response_modes_supported: [&'static str; 1],
    grant_types_supported: Vec<&'static str>,
    token_endpoint_auth_methods_supported: Vec<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    token_endpoint_auth_signing_alg_values_supported: Vec<&'static str>,
    revocation_endpoint_auth_methods_supported: Vec<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    revocation_endpoint_auth_signing_alg_values_supported: Vec<&'static str>,
    #[serde(flatten)]
    introspection: Option<Introspection>,
    code_challenge_methods_supported: [&'static str; 1],
    authorization_response_iss_parameter_supported: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    client_id_metadata_document_supported: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    protected_resources: Vec<String>,
}

/// Where and how a resource server asks about tokens (RFC 7662); never without authentication.
#[derive(Clone, Debug, Serialize)]
#[expect(clippy::struct_field_names, reason = "they are the members as RFC 8414 §2 names them")]
struct Introspection {
    introspection_endpoint: String,
    introspection_endpoint_auth_methods_supported: Vec<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    introspection_endpoint_auth_signing_alg_values_supported: Vec<&'static str>,
}

/// What the configured clients bring along. Some clients choose `client_secret_post` as soon as it is advertised and then wait
/// for a secret from their registration, so only what one of the configured clients uses is advertised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "one for each thing that may be advertised")]
pub struct ConfiguredClients {
    /// One has a secret.
    pub secrets: bool,
    /// One has keys.
    pub keys: bool,
    /// One acts on its own.
    pub client_credentials: bool,
    /// One may introspect.
    pub introspection: bool,
}

/// The endpoints' URLs.
#[derive(Clone, Debug, Serialize)]
pub struct Endpoints {
    /// RFC 6749 §3.1.
    pub authorization_endpoint: String,
    /// RFC 6749 §3.2.
    pub token_endpoint: String,
    /// RFC 7591 §3.
    pub registration_endpoint: String,
    /// RFC 7009 §2.
    pub revocation_endpoint: String,
    /// RFC 7517 §5.
    pub jwks_uri: String,
}

/// Protected resource metadata (RFC 9728 §2).
#[derive(Clone, Debug, Serialize)]
pub struct ProtectedResourceMetadata {
    resource: String,
    authorization_servers: [String; 1],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    scopes_supported: Vec<String>,
    bearer_methods_supported: [&'static str; 1],
    resource_name: String,
}

impl AuthorizationServerMetadata {
    /// The document of `issuer` (no trailing slash), whose endpoints are at `/authorize`, `/token`, `/register`, `/revoke`
    /// and `/jwks` of it. `scopes` are those of all services; `offline_access` is added here (and only here: D5).
    #[must_use]
    pub fn new(issuer: &str, scopes: &Scopes, resources: &[Resource]) -> Self {
        let mut scopes_supported = basic(scopes);
        scopes_supported.push(OFFLINE_ACCESS.to_owned());
        Self {
            issuer: issuer.to_owned(),
            endpoints: Endpoints::of(issuer),
            scopes_supported,
            response_types_supported: ["code"],
            response_modes_supported: ["query"],
            grant_types_supported: vec!["authorization_code", "refresh_token"],
            token_endpoint_auth_methods_supported: vec!["none"],
            token_endpoint_auth_signing_alg_values_supported: Vec::new(),
            revocation_endpoint_auth_methods_supported: vec!["none"],
            revocation_endpoint_auth_signing_alg_values_supported: Vec::new(),
            introspection: None,
            code_challenge_methods_supported: ["S256"],
            authorization_response_iss_parameter_supported: true,
            client_id_metadata_document_supported: false,
            protected_resources: resources.iter().map(Resource::to_string).collect(),
        }
    }
}

impl AuthorizationServerMetadata {
    /// Says that a client may name itself by the URL of its metadata document (D14).
    #[must_use]
    pub const fn with_documents(mut self) -> Self {
        self.client_id_metadata_document_supported = true;
        self
    }

    /// Says what the configured clients bring along; `none` stays, and stays first (D12).
    #[must_use]
    pub fn with_clients(mut self, clients: ConfiguredClients) -> Self {
        let methods = clients.methods();
        let algorithms = clients.algorithms();
        if clients.client_credentials {
            self.grant_types_supported.push(super::CLIENT_CREDENTIALS);
        }
        self.token_endpoint_auth_methods_supported.extend(&methods);
        self.token_endpoint_auth_signing_alg_values_supported.clone_from(&algorithms);
        self.revocation_endpoint_auth_methods_supported.extend(&methods);
        self.revocation_endpoint_auth_signing_alg_values_supported.clone_from(&algorithms);
        self.introspection = clients.introspection.then(|| Introspection {
            introspection_endpoint: format!("{}/introspect", self.issuer),
            introspection_endpoint_auth_methods_supported: methods,
            introspection_endpoint_auth_signing_alg_values_supported: algorithms,
        });
        self
    }
}

impl ConfiguredClients {
    fn methods(self) -> Vec<&'static str> {
        let secrets = ["client_secret_basic", "client_secret_post"].into_iter().filter(|_| self.secrets);
        secrets.chain(self.keys.then_some("private_key_jwt")).collect()
    }

    fn algorithms(self) -> Vec<&'static str> {
        ["ES256", "RS256", "EdDSA"].into_iter().filter(|_| self.keys).collect()
    }
}

impl Endpoints {
    /// Those of an issuer without trailing slash.
    fn of(issuer: &str) -> Self {
        Self {
            authorization_endpoint: format!("{issuer}/authorize"),
            token_endpoint: format!("{issuer}/token"),
            registration_endpoint: format!("{issuer}/register"),
            revocation_endpoint: format!("{issuer}/revoke"),
            jwks_uri: format!("{issuer}/jwks"),
        }
    }
}

impl ProtectedResourceMetadata {
    /// Where the document of a host with one service is (D2).
    pub const ROOT: &str = "/.well-known/oauth-protected-resource";

    /// The document of one service: `scopes` are the basic ones (D6), `name` is for people.
    #[must_use]
    pub fn new(resource: &Resource, issuer: &str, scopes: &Scopes, name: &str) -> Self {
        Self {
            resource: resource.to_string(),
            authorization_servers: [issuer.to_owned()],
            scopes_supported: basic(scopes),
            bearer_methods_supported: ["header"],
            resource_name: name.to_owned(),
        }
    }

    /// The path of a resource's document: `/.well-known/oauth-protected-resource` and the resource's path (RFC 9728
    /// §3.1); a bare `/` path adds nothing.
    #[must_use]
    pub fn path(resource: &Resource) -> String {
        let after_scheme = resource.as_str().split_once("://").map_or("", |(_, rest)| rest);
        let path =
            after_scheme.split(['?', '#']).next().and_then(|rest| rest.find('/').map(|at| &rest[at..]));
        let path = path.filter(|path| *path != "/").unwrap_or_default();
        format!("/.well-known/oauth-protected-resource{path}")
    }
}

/// Asked for by clients that want a refresh token; belongs in the authorization server's document alone (D5).
const OFFLINE_ACCESS: &str = "offline_access";

fn basic(scopes: &Scopes) -> Vec<String> {
    scopes.iter().map(|scope| scope.as_str().to_owned()).filter(|scope| scope != OFFLINE_ACCESS).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{json, to_value};

    use super::*;

    fn resource(url: &str) -> Resource {
        Resource::from_canonical(url.to_owned())
    }

    // D8, D9, D11, D12, D13, D15, D16, requirements §2 item 13
    #[test]
    fn the_issuer_s_document_says_what_there_is_and_nothing_else() {
        let resources = [resource("https://fetch.example.com/mcp")];
        let scopes = Scopes::parse("todo:write mcp");
        let document = AuthorizationServerMetadata::new("https://auth.example.com", &scopes, &resources);
        assert_eq!(
            to_value(document).unwrap(),
            json!({
                "issuer": "https://auth.example.com",
                "authorization_endpoint": "https://auth.example.com/authorize",
                "token_endpoint": "https://auth.example.com/token",
                "registration_endpoint": "https://auth.example.com/register",
                "revocation_endpoint": "https://auth.example.com/revoke",
                "jwks_uri": "https://auth.example.com/jwks",
                "scopes_supported": ["mcp", "todo:write", "offline_access"],
                "response_types_supported": ["code"],
                "response_modes_supported": ["query"],
                "grant_types_supported": ["authorization_code", "refresh_token"],
                "token_endpoint_auth_methods_supported": ["none"],
                "revocation_endpoint_auth_methods_supported": ["none"],
                "code_challenge_methods_supported": ["S256"],
                "authorization_response_iss_parameter_supported": true,
                "protected_resources": ["https://fetch.example.com/mcp"],
            })
        );
    }

    // D14
    #[test]
    fn metadata_documents_are_advertised_only_where_they_are_read() {
        let plain = AuthorizationServerMetadata::new("https://b.example", &Scopes::default(), &[]);
        let member = |document| to_value(document).unwrap()["client_id_metadata_document_supported"].clone();
        assert_eq!(member(plain.clone()), json!(null));
        assert_eq!(member(plain.with_documents()), json!(true));
    }

    // D12, D15, D16
    #[test]
    fn what_only_configured_clients_use_is_advertised_only_beside_them() {
        let plain = AuthorizationServerMetadata::new("https://a.example", &Scopes::default(), &[]);
        let document = |clients| to_value(plain.clone().with_clients(clients)).unwrap();
        assert_eq!(document(ConfiguredClients::default()), to_value(&plain).unwrap());
        let all =
            ConfiguredClients { secrets: true, keys: true, client_credentials: true, introspection: true };
        let methods = json!(["client_secret_basic", "client_secret_post", "private_key_jwt"]);
        let with_none = json!(["none", "client_secret_basic", "client_secret_post", "private_key_jwt"]);
        let algorithms = json!(["ES256", "RS256", "EdDSA"]);
        let both = document(all);
        for (member, value) in [
            ("grant_types_supported", &json!(["authorization_code", "refresh_token", "client_credentials"])),
            ("token_endpoint_auth_methods_supported", &with_none),
            ("token_endpoint_auth_signing_alg_values_supported", &algorithms),
            ("revocation_endpoint_auth_methods_supported", &with_none),
            ("revocation_endpoint_auth_signing_alg_values_supported", &algorithms),
            ("introspection_endpoint", &json!("https://a.example/introspect")),
            ("introspection_endpoint_auth_methods_supported", &methods),
            ("introspection_endpoint_auth_signing_alg_values_supported", &algorithms),
        ] {
            assert_eq!(&both[member], value, "{member}");
        }
        let keys = document(ConfiguredClients { keys: true, ..ConfiguredClients::default() });
        assert_eq!(keys["token_endpoint_auth_methods_supported"], json!(["none", "private_key_jwt"]));
        assert_eq!(keys.get("introspection_endpoint"), None);
        let secrets = document(ConfiguredClients { secrets: true, ..ConfiguredClients::default() });
        assert_eq!(secrets.get("token_endpoint_auth_signing_alg_values_supported"), None);
        assert_eq!(secrets["grant_types_supported"], json!(["authorization_code", "refresh_token"]));
    }

    // D3, D4, D5, D6, D7
    #[test]
    fn a_service_s_document_is_byte_equal_and_minimal() {
        let scopes = Scopes::parse("mcp offline_access");
        let url = resource("https://Fetch.example.com/mcp/");
        let document = ProtectedResourceMetadata::new(&url, "https://auth.example.com", &scopes, "Fetch");
        assert_eq!(
            to_value(document).unwrap(),
            json!({
                "resource": "https://Fetch.example.com/mcp/",
                "authorization_servers": ["https://auth.example.com"],
                "scopes_supported": ["mcp"],
                "bearer_methods_supported": ["header"],
                "resource_name": "Fetch",
            })
        );
    }

    // D6
    #[test]
    fn an_empty_array_is_left_out() {
        let none = Scopes::default();
        let url = resource("https://a.example/mcp");
        let service =
            to_value(ProtectedResourceMetadata::new(&url, "https://b.example", &none, "a")).unwrap();
        assert_eq!(service.get("scopes_supported"), None);
        let issuer = to_value(AuthorizationServerMetadata::new("https://b.example", &none, &[])).unwrap();
        assert_eq!(issuer.get("protected_resources"), None);
        assert_eq!(issuer["scopes_supported"], json!(["offline_access"]));
    }

    // D1, D2
    #[test]
    fn the_document_s_path_has_the_resource_s_path_behind_it() {
        for (url, path) in [
            ("https://a.example/mcp", "/.well-known/oauth-protected-resource/mcp"),
            ("https://a.example/time/mcp/", "/.well-known/oauth-protected-resource/time/mcp/"),
            ("https://a.example:8443/mcp?x=/y", "/.well-known/oauth-protected-resource/mcp"),
            ("https://a.example/", "/.well-known/oauth-protected-resource"),
            ("https://a.example", "/.well-known/oauth-protected-resource"),
            ("https://a.example?x=/y", "/.well-known/oauth-protected-resource"),
        ] {
            assert_eq!(ProtectedResourceMetadata::path(&resource(url)), path, "{url}");
        }
    }
}
