//! `clients.registered`: clients that the operator knows, with a secret, with keys, or public.

use std::collections::BTreeMap;

use super::problem::{Findings, Position};
use super::raw::{Field, File, Given, RegisteredClient, Texts};
use super::secrets::{self, Here, Pair};
use super::services::Checked;
use crate::gateway::{Authentication, ClientSettings};
use crate::oauth::{
    AUTHORIZATION_CODE, CLIENT_CREDENTIALS, Client, ClientId, ClientMetadata, REFRESH_TOKEN, RedirectPolicy,
    RegisteredRedirect, Resource, Scope, Scopes,
};
use crate::secret::Secret;
use crate::time::Timestamp;
use crate::token::{ClientKeys, ClientKeysError};

/// What the clients are held against.
#[derive(Clone, Copy)]
pub(super) struct Around<'a> {
    pub(super) services: &'a [Checked],
    pub(super) redirects: &'a RedirectPolicy,
}

/// The longest id and the longest name: both stand in every token.
const LONGEST: usize = 64;

/// The shortest secret: 32 characters of `openssl rand -hex 16` are 128 bits.
const SHORTEST_SECRET: usize = 32;

/// Checks every client; `None` if one is refused.
pub(super) fn check(
    raw: &File,
    here: Here<'_>,
    around: Around<'_>,
    findings: &mut Findings,
) -> Option<Vec<ClientSettings>> {
    let Some(clients) = &raw.clients else { return Some(Vec::new()) };
    let Some(registered) = &clients.value.as_ref()?.registered else { return Some(Vec::new()) };
    let registered = registered.value.as_ref()?;
    let checked: Vec<_> = registered
        .iter()
        .map(|(id, given)| One { id, at: given.at, here, around }.check(given, findings))
        .collect();
    checked.into_iter().collect()
}

/// One client on its way through the check.
#[derive(Clone, Copy)]
struct One<'a> {
    id: &'a str,
    at: Position,
    here: Here<'a>,
    around: Around<'a>,
}

/// What a client may do, by `grant_types`.
#[derive(Clone, Copy, Default)]
struct Grants {
    code: bool,
    refresh: bool,
    alone: bool,
}

impl Grants {
    fn read(raw: &RegisteredClient, findings: &mut Findings) -> Option<Self> {
        let Some(given) = &raw.grant_types else {
            return Some(Self { code: true, refresh: true, alone: false });
        };
        let mut grants = Self::default();
        let entries = given.value.as_ref()?;
        for entry in entries {
            match entry.value.as_deref()? {
                AUTHORIZATION_CODE => grants.code = true,
                REFRESH_TOKEN => grants.refresh = true,
                CLIENT_CREDENTIALS => grants.alone = true,
                other => {
                    let text = format!(
                        "`{other}` is no grant type here; write authorization_code, refresh_token or client_credentials"
                    );
                    findings.refuse(entry.at, text);
                    return None;
                }
            }
        }
        if entries.is_empty() {
            findings.refuse(given.at, "`grant_types` is an empty list; write one, or take the key away");
            return None;
        }
        if grants.refresh && !grants.code {
            let text = "refresh_token without authorization_code, which alone leads to one; write both, or take it away";
            findings.refuse(given.at, text);
            return None;
        }
        Some(grants)
    }
}

impl One<'_> {
    fn check(self, given: &Given<RegisteredClient>, findings: &mut Findings) -> Option<ClientSettings> {
        let id = self.id(findings);
        let raw = given.value.as_ref()?;
        let name = self.name(raw, findings);
        let grants = Grants::read(raw, findings);
        let redirect_uris = self.redirect_uris(raw, findings);
        let authentication = self.authentication(raw, findings);
        let services = self.services(raw, findings);
        let introspect = raw.introspect.as_ref().is_some_and(|given| given.value == Some(true));
        if let Some(grants) = grants {
            self.check_use(raw, grants, findings);
        }
        if let Some(Authentication::None) = authentication {
            refuse_public(raw, grants.unwrap_or_default(), findings);
        }
        let metadata = metadata(name?, redirect_uris?, grants?, authentication.as_ref()?);
        Some(ClientSettings {
            // It was there before every grant, and outlives them all.
            client: Client {
                id: id?,
                metadata,
                issued_at: Timestamp::from_seconds(0),
                expires: Timestamp::from_seconds(u64::MAX),
                registration_token: None,
                secret: None,
            },
            authentication: authentication?,
            services: services?,
            introspect,
        })
    }

    fn id(self, findings: &mut Findings) -> Option<ClientId> {
        let id = self.id;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        let shown: String = id.chars().take(80).collect();
        let refused = if id.starts_with("c_") {
            "begins with c_, as the ids of clients that register themselves do; write another"
        } else if id.starts_with("https:") || id.starts_with("http:") {
            "is a URL, as the ids of clients with a metadata document are; write a name"
        } else if id.is_empty() || id.len() > LONGEST || !id.bytes().all(plain) {
            "is no client id; write 1 to 64 letters, digits, - . _ and ~"
        } else {
            return ClientId::parse(id);
        };
        findings.refuse(self.at, format!("`{shown}` {refused}"));
        None
    }

    fn name(self, raw: &RegisteredClient, findings: &mut Findings) -> Option<String> {
        let Some(given) = &raw.name else { return Some(self.id.to_owned()) };
        let name = given.value.as_deref()?;
        if name.chars().count() > LONGEST || name.chars().any(char::is_control) {
            findings.refuse(given.at, "`name` is no single line of at most 64 characters; write a short one");
            return None;
        }
        Some(name.to_owned())
    }

    fn redirect_uris(
        self,
        raw: &RegisteredClient,
        findings: &mut Findings,
    ) -> Option<Vec<RegisteredRedirect>> {
        let entries = raw.redirect_uris.as_ref().map_or(Some(&[][..]), |given| given.value.as_deref())?;
        let mut one = |entry: &Given<String>| {
            let text = entry.value.as_deref()?;
            match RegisteredRedirect::check(text, self.around.redirects) {
                Ok(redirect) => Some(redirect),
                Err(why) => {
                    let text = format!(
                        "this redirect URI is refused: {why}; write one such as https://app.example.com/callback"
                    );
                    findings.refuse(entry.at, text);
                    None
                }
            }
        };
        let checked: Vec<_> = entries.iter().map(&mut one).collect();
        checked.into_iter().collect()
    }

    /// Whether what is written is what its grant types need.
    fn check_use(self, raw: &RegisteredClient, grants: Grants, findings: &mut Findings) {
        let id = self.id;
        let is_empty = |field: &Field<Texts>| {
            field.as_ref().is_none_or(|given| given.value.as_ref().is_some_and(Vec::is_empty))
        };
        if grants.code && is_empty(&raw.redirect_uris) {
            let text = format!(
                "`{id}` has no `redirect_uris`; write where it is sent back to, or grant_types: [client_credentials]"
            );
            findings.refuse(self.at, text);
        }
        if let (Some(given), false, false) = (&raw.redirect_uris, grants.code, is_empty(&raw.redirect_uris)) {
            let text = "`redirect_uris` without the grant type authorization_code; add it, or take them away";
            findings.refuse(given.at, text);
        }
        let no_service =
            raw.services.as_ref().is_none_or(|given| given.value.as_ref().is_some_and(BTreeMap::is_empty));
        if grants.alone && no_service {
            let text =
                format!("`{id}` may use no service on its own; write services: {{ SERVICE: [SCOPE] }}");
            findings.refuse(self.at, text);
        }
        let services = raw.services.as_ref().filter(|given| given.value.is_some());
        if let (Some(given), false) = (services, grants.alone) {
            let text = "`services` without the grant type client_credentials; add it, or take them away";
            findings.refuse(given.at, text);
        }
    }

    fn authentication(self, raw: &RegisteredClient, findings: &mut Findings) -> Option<Authentication> {
        let secret = raw.secret.is_some() || raw.secret_file.is_some();
        let keys = [raw.jwks.as_ref().map(|given| given.at), raw.jwks_file.as_ref().map(|given| given.at)];
        match (secret, keys) {
            (false, [None, None]) => Some(Authentication::None),
            (true, [None, None]) => self.secret(raw, findings).map(Authentication::Secret),
            (true, [Some(at), _] | [None, Some(at)]) => {
                findings.refuse(at, "a secret and keys stand here both; keep one");
                None
            }
            (false, [Some(_), Some(at)]) => {
                findings.refuse(at, "`jwks` and `jwks_file` stand here both; keep one");
                None
            }
            (false, [Some(_), None] | [None, Some(_)]) => self.keys(raw, findings).map(Authentication::Keys),
        }
    }

    fn secret(self, raw: &RegisteredClient, findings: &mut Findings) -> Option<Secret> {
        let pair = Pair {
            name: "secret",
            value: &raw.secret,
            file: &raw.secret_file,
            section: self.at,
            example: "secret: ${CLIENT_SECRET}",
        };
        let given = secrets::secret(&pair, self.here, findings)?;
        let secret = given.value?;
        let text = secret.expose();
        let refused = if text.chars().count() < SHORTEST_SECRET {
            let length = text.chars().count();
            format!(
                "the secret has {length} characters; write 32 at least, such as `openssl rand -hex 32` prints"
            )
        } else if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            "the secret has spaces or other characters than ASCII; write what `openssl rand -hex 32` prints"
                .into()
        } else {
            return Some(secret);
        };
        findings.refuse(given.at, refused);
        None
    }

    fn keys(self, raw: &RegisteredClient, findings: &mut Findings) -> Option<ClientKeys> {
        let (at, set) = match (&raw.jwks, &raw.jwks_file) {
            (Some(given), _) => (given.at, given.value.clone()?),
            (None, Some(given)) => (given.at, self.key_file(given, findings)?),
            (None, None) => return None,
        };
        let advice = match ClientKeys::read(&set) {
            Ok(keys) => return Some(keys),
            Err(error @ ClientKeysError::NotASet) => (error, "write the public keys so"),
            Err(error @ ClientKeysError::Private) => {
                (error, "make a new one, and write its public part alone")
            }
            Err(error @ ClientKeysError::TooMany) => (error, "take the old ones away"),
            Err(error @ ClientKeysError::NoneUsable) => (error, "add one"),
        };
        findings.refuse(at, format!("the client's keys: {}; {}", advice.0, advice.1));
        None
    }

    fn key_file(self, given: &Given<String>, findings: &mut Findings) -> Option<serde_json::Value> {
        let path = self.here.path(given.value.as_deref()?);
        let shown = path.display();
        let text = match self.here.surroundings.read(&path) {
            Ok(bytes) => match serde_json::from_slice(&bytes) {
                Ok(set) => return Some(set),
                // The parser's own words could repeat what may be a private key.
                Err(error) => {
                    format!("{shown} is no JSON (line {}); write a JWK Set into it", error.line())
                }
            },
            Err(error) => {
                format!("{shown} cannot be read ({error}); write a file that is there and readable")
            }
        };
        findings.refuse(given.at, text);
        None
    }

    fn services(self, raw: &RegisteredClient, findings: &mut Findings) -> Option<BTreeMap<Resource, Scopes>> {
        let Some(given) = &raw.services else { return Some(BTreeMap::new()) };
        let mut one = |(name, given): (&String, &Given<Texts>)| self.service(name, given, findings);
        let checked: Vec<_> = given.value.as_ref()?.iter().map(&mut one).collect();
        checked.into_iter().collect()
    }

    fn service(
        self,
        name: &str,
        given: &Given<Texts>,
        findings: &mut Findings,
    ) -> Option<(Resource, Scopes)> {
        let found = self.around.services.iter().find(|service| service.settings.name == name);
        let shown: String = name.chars().take(80).collect();
        let Some(service) = found.map(|found| &found.settings) else {
            findings.refuse(given.at, format!("there is no service `{shown}`; write one of `services`"));
            return None;
        };
        if service.public {
            let text = format!("`{shown}` is public, so no token is needed there; take it away");
            findings.refuse(given.at, text);
            return None;
        }
        let known = service.scopes.union(&service.implies.mentioned());
        let mut one = |entry: &Given<String>| {
            let text = entry.value.as_deref()?;
            let scope = Scope::parse(text).filter(|scope| known.contains(scope.as_str()));
            if scope.is_none() {
                let text = format!("`{shown}` has no scope `{text}`; write one of its own: {known}");
                findings.refuse(entry.at, text);
            }
            scope
        };
        let scopes: Vec<_> = given.value.as_ref()?.iter().map(&mut one).collect();
        let scopes: Scopes = scopes.into_iter().collect::<Option<Vec<_>>>()?.into_iter().collect();
        if !service.implies.expand(&scopes).contains_all(&service.scopes) {
            let text = format!(
                "without what every request to `{shown}` needs, all are refused; add {}",
                service.scopes
            );
            findings.refuse(given.at, text);
            return None;
        }
        Some((service.resource.clone(), scopes))
    }
}

/// What a client may not do that proves nothing.
fn refuse_public(raw: &RegisteredClient, grants: Grants, findings: &mut Findings) {
    let needs = "write secret, secret_file, jwks or jwks_file";
    if let (Some(given), true) = (&raw.grant_types, grants.alone) {
        findings
            .refuse(given.at, format!("client_credentials needs a client that proves who it is; {needs}"));
    }
    if let Some(Given { at, value: Some(true) }) = &raw.introspect {
        findings.refuse(*at, format!("`introspect` needs a client that proves who it is; {needs}"));
    }
}

fn metadata(
    name: String,
    redirect_uris: Vec<RegisteredRedirect>,
    grants: Grants,
    authentication: &Authentication,
) -> ClientMetadata {
    let types = [
        (AUTHORIZATION_CODE, grants.code),
        (REFRESH_TOKEN, grants.refresh),
        (CLIENT_CREDENTIALS, grants.alone),
    ];
    let method = match authentication {
        Authentication::None => "none",
        Authentication::Secret(_) => "client_secret_basic",
        Authentication::Keys(_) => "private_key_jwt",
    };
    ClientMetadata {
        redirect_uris,
        client_name: Some(name),
        client_uri: None,
        logo_uri: None,
        tos_uri: None,
        policy_uri: None,
        software_id: None,
        software_version: None,
        application_type: None,
        contacts: Vec::new(),
        scope: None,
        grant_types: types.iter().filter(|(_, may)| *may).map(|(name, _)| (*name).to_owned()).collect(),
        response_types: if grants.code { vec!["code".to_owned()] } else { Vec::new() },
        token_endpoint_auth_method: method.to_owned(),
    }
}
