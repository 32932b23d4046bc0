//! Clients, their registration (RFC 7591) and what they change of it later (RFC 7592). Who registers here is public: the
//! answer says `token_endpoint_auth_method: none` whatever was asked, as RFC 7591 §3.2.1 allows.

use std::time::Duration;

use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};
use url::Url;

use super::{
    ClientId, ErrorCode, OAuthError, RedirectError, RedirectPolicy, RedirectUri, RegisteredRedirect,
};
use crate::secret::{Digest, Secret};
use crate::time::Timestamp;

/// A client we know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    /// Its identifier.
    pub id: ClientId,
    /// What it registered, as we apply it.
    pub metadata: ClientMetadata,
    /// When it registered.
    pub issued_at: Timestamp,
    /// When the record ends: a day after registration if unused, later once it has a grant. A configured client never does.
    pub expires: Timestamp,
    /// SHA-256 of the token by which it may read, change and delete its registration (RFC 7592). Absent where there is
    /// none: of clients from before, and of those that did not register.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registration_token: Option<Digest>,
    /// SHA-256 of the secret by which it proves who it is: only of clients that were moved in from another gateway, where every
    /// registration got one. Whoever registers here gets none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Digest>,
}

/// A client's metadata as applied and echoed (G1). Members we do not know are ignored (G5), members we cannot
/// offer are answered with what we do instead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientMetadata {
    /// Exactly the strings that were sent, in order.
    pub redirect_uris: Vec<RegisteredRedirect>,
    /// Shown to people, escaped; never trusted. Control characters and those that turn the direction of writing are
    /// taken out of this and every other text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_name: Option<String>,
    /// https only, else dropped (C9).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_uri: Option<String>,
    /// https only, else dropped (C9). Never fetched, never rendered as an image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logo_uri: Option<String>,
    /// https only, else dropped (C9).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tos_uri: Option<String>,
    /// https only, else dropped (C9).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_uri: Option<String>,
    /// Echoed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub software_id: Option<String>,
    /// Echoed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub software_version: Option<String>,
    /// `native` or `web`; echoed, decides nothing (G7).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub application_type: Option<String>,
    /// Echoed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub contacts: Vec<String>,
    /// The scopes it means to ask for; decides nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// Those of the asked ones that we have; absent means both (`authorization_code`, `refresh_token`).
    pub grant_types: Vec<String>,
    /// `["code"]`.
    pub response_types: Vec<String>,
    /// `none`.
    pub token_endpoint_auth_method: String,
}

impl Client {
    /// How long a registration lives that nobody uses.
    pub const UNUSED: Duration = Duration::from_hours(24);

    /// Whether somebody whom the access rules let in has allowed this client something: its registration then lives longer
    /// than an unused one.
    #[must_use]
    pub fn is_used(&self) -> bool {
        self.expires > self.issued_at.after(Self::UNUSED)
    }
}

/// Bounds on what one registration may hold (G8).
#[derive(Clone, Copy, Debug)]
pub struct ClientLimits {
    /// Redirect URIs in one registration, and contacts likewise.
    pub redirect_uris: usize,
    /// Characters in any one text member.
    pub text: usize,
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self { redirect_uris: 20, text: 2048 }
    }
}

/// Why a registration is refused, each a 400 (RFC 7591 §3.2.2).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistrationError {
    /// `invalid_client_metadata`: not JSON, not an object, or a member of a wrong type. The member's path, and
    /// what was expected.
    #[error("{member}: {expected}")]
    Metadata {
        /// Where.
        member: String,
        /// What stands there instead of what.
        expected: String,
    },
    /// `invalid_redirect_uri`: absent or an empty list.
    #[error("redirect_uris must name at least one URI")]
    NoRedirects,
    /// `invalid_client_metadata`: more than [`ClientLimits::redirect_uris`].
    #[error("too many redirect_uris; at most {0}")]
    TooManyRedirects(usize),
    /// `invalid_redirect_uri`.
    #[error("redirect_uris[{index}]: {why}")]
    Redirect {
        /// Which one, from 0.
        index: usize,
        /// What is wrong with it.
        why: RedirectError,
    },
    /// `invalid_client_metadata`: a client that wants none of our grant types.
    #[error("grant_types has none of authorization_code, refresh_token")]
    GrantTypes,
    /// `invalid_client_metadata`: a client that wants none of our response types.
    #[error("response_types must have code")]
    ResponseTypes,
    /// `invalid_client_metadata`: an update that does not name the client it is for (RFC 7592 §2.2).
    #[error("client_id must be there, and the one of this registration")]
    ClientId,
    /// `invalid_client_metadata`: an update with a member that only we may set (RFC 7592 §2.2).
    #[error("{0} must not be in an update")]
    NotYours(&'static str),
}

/// Reads the JSON body of a registration request and decides what is applied.
///
/// # Errors
/// [`RegistrationError`].
pub fn register(
    body: &[u8],
    policy: &RedirectPolicy,
    limits: ClientLimits,
) -> Result<ClientMetadata, RegistrationError> {
    let asked: Asked = read_object(body)?;
    let texts = Texts { limit: limits.text };
    Ok(ClientMetadata {
        redirect_uris: redirect_uris(asked.redirect_uris, policy, limits)?,
        client_name: texts.clean("client_name", asked.client_name)?,
        client_uri: texts.link("client_uri", asked.client_uri)?,
        logo_uri: texts.link("logo_uri", asked.logo_uri)?,
        tos_uri: texts.link("tos_uri", asked.tos_uri)?,
        policy_uri: texts.link("policy_uri", asked.policy_uri)?,
        software_id: texts.clean("software_id", asked.software_id)?,
        software_version: texts.clean("software_version", asked.software_version)?,
        application_type: asked.application_type.filter(|kind| kind == "native" || kind == "web"),
        contacts: contacts(asked.contacts, texts, limits)?,
        scope: texts.clean("scope", asked.scope)?,
        grant_types: grant_types(asked.grant_types)?,
        response_types: response_types(asked.response_types)?,
        token_endpoint_auth_method: "none".to_owned(),
    })
}

/// Reads the JSON body of an update (RFC 7592 §2.2), which replaces everything: a member that is left out is taken away. The
/// rules are those of a registration.
///
/// # Errors
/// [`RegistrationError`].
pub fn update(
    body: &[u8],
    client: &ClientId,
    policy: &RedirectPolicy,
    limits: ClientLimits,
) -> Result<ClientMetadata, RegistrationError> {
    let own: Own = read_object(body)?;
    if let Some(name) = own.not_theirs() {
        return Err(RegistrationError::NotYours(name));
    }
    if own.client_id.as_deref() != Some(client.as_str()) {
        return Err(RegistrationError::ClientId);
    }
    register(body, policy, limits)
}

impl Client {
    /// Whether `token` is the one that came with this registration.
    #[must_use]
    pub fn is_managed_by(&self, token: &Secret) -> bool {
        self.registration_token.is_some_and(|digest| digest == token.digest())
    }

    /// `requested` proven against what this client registered.
    #[must_use]
    pub fn redirect(&self, requested: &str) -> Option<RedirectUri> {
        self.metadata.redirect_uris.iter().find_map(|registered| registered.matches(requested))
    }

    /// Whether the client may use codes.
    #[must_use]
    pub fn may_authorize(&self) -> bool {
        self.has_grant_type(AUTHORIZATION_CODE)
    }

    /// Whether the client may use refresh tokens (T13).
    #[must_use]
    pub fn may_refresh(&self) -> bool {
        self.has_grant_type(REFRESH_TOKEN)
    }

    /// Whether the client may act on its own (RFC 6749 §4.4): configured ones only, for nobody can register this.
    #[must_use]
    pub fn may_act_alone(&self) -> bool {
        self.has_grant_type(CLIENT_CREDENTIALS)
    }

    fn has_grant_type(&self, name: &str) -> bool {
        self.metadata.grant_types.iter().any(|grant| grant == name)
    }
}

impl From<&RegistrationError> for OAuthError {
    fn from(error: &RegistrationError) -> Self {
        let code = match error {
            RegistrationError::NoRedirects | RegistrationError::Redirect { .. } => {
                ErrorCode::InvalidRedirectUri
            }
            RegistrationError::Metadata { .. }
            | RegistrationError::TooManyRedirects(_)
            | RegistrationError::GrantTypes
            | RegistrationError::ResponseTypes
            | RegistrationError::ClientId
            | RegistrationError::NotYours(_) => ErrorCode::InvalidClientMetadata,
        };
        Self::new(code, error)
    }
}

/// RFC 6749 §4.1.
pub const AUTHORIZATION_CODE: &str = "authorization_code";
/// RFC 6749 §6.
pub const REFRESH_TOKEN: &str = "refresh_token";
/// RFC 6749 §4.4.
pub const CLIENT_CREDENTIALS: &str = "client_credentials";

/// The members of an update that are about the registration itself. `null` is an absent member here too.
#[derive(Deserialize)]
struct Own {
    client_id: Option<String>,
    client_secret: Option<IgnoredAny>,
    registration_access_token: Option<IgnoredAny>,
    registration_client_uri: Option<IgnoredAny>,
    client_secret_expires_at: Option<IgnoredAny>,
    client_id_issued_at: Option<IgnoredAny>,
}

impl Own {
    /// A member that an update must not have. A secret among them: no registered client has one, and none chooses its own.
    fn not_theirs(&self) -> Option<&'static str> {
        let members = [
            ("registration_access_token", &self.registration_access_token),
            ("registration_client_uri", &self.registration_client_uri),
            ("client_secret_expires_at", &self.client_secret_expires_at),
            ("client_id_issued_at", &self.client_id_issued_at),
            ("client_secret", &self.client_secret),
        ];
        members.into_iter().find(|(_, value)| value.is_some()).map(|(name, _)| name)
    }
}

/// A registration as sent: the members we know, each of its type. `null` is an absent member, a member that comes twice is an
/// error (which of the two was meant nobody knows), others are ignored (RFC 7591 §2).
#[derive(Deserialize)]
struct Asked {
    redirect_uris: Option<Vec<String>>,
    client_name: Option<String>,
    client_uri: Option<String>,
    logo_uri: Option<String>,
    tos_uri: Option<String>,
    policy_uri: Option<String>,
    software_id: Option<String>,
    software_version: Option<String>,
    application_type: Option<String>,
    contacts: Option<Vec<String>>,
    scope: Option<String>,
    grant_types: Option<Vec<String>>,
    response_types: Option<Vec<String>>,
    #[serde(rename = "token_endpoint_auth_method")]
    _token_endpoint_auth_method: Option<String>,
}

/// The members of a JSON object that `T` knows.
pub(super) fn read_object<T: DeserializeOwned>(body: &[u8]) -> Result<T, RegistrationError> {
    // serde would take an array for a struct's members in order.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(metadata("body", "must be a JSON object"));
    }
    // serde does not look into the strings of members that nobody asks for.
    let body = std::str::from_utf8(body).map_err(|_| metadata("body", "must be UTF-8"))?;
    let mut json = serde_json::Deserializer::from_str(body);
    let read: T = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let member = if error.inner().is_data() && path != "." { &path } else { "body" };
        metadata(member, &error.inner().to_string())
    })?;
    json.end().map_err(|error| metadata("body", &error.to_string()))?;
    Ok(read)
}

fn metadata(member: &str, expected: &str) -> RegistrationError {
    RegistrationError::Metadata { member: member.to_owned(), expected: expected.to_owned() }
}

fn redirect_uris(
    asked: Option<Vec<String>>,
    policy: &RedirectPolicy,
    limits: ClientLimits,
) -> Result<Vec<RegisteredRedirect>, RegistrationError> {
    let asked = asked.filter(|uris| !uris.is_empty()).ok_or(RegistrationError::NoRedirects)?;
    if asked.len() > limits.redirect_uris {
        return Err(RegistrationError::TooManyRedirects(limits.redirect_uris));
    }
    let check = |(index, uri): (usize, &String)| {
        RegisteredRedirect::check(uri, policy).map_err(|why| RegistrationError::Redirect { index, why })
    };
    asked.iter().enumerate().map(check).collect()
}

/// Reads the members that are text.
#[derive(Clone, Copy)]
struct Texts {
    limit: usize,
}

impl Texts {
    /// The text without what no single line of text needs; `None` if nothing is left.
    fn clean(self, member: &str, text: Option<String>) -> Result<Option<String>, RegistrationError> {
        let Some(text) = text else { return Ok(None) };
        if text.chars().nth(self.limit).is_some() {
            return Err(metadata(member, &format!("must be at most {} characters", self.limit)));
        }
        let clean: String = text.chars().filter(|character| !is_invisible(*character)).collect();
        Ok(Some(clean.trim().to_owned()).filter(|clean| !clean.is_empty()))
    }

    /// An https URL; anything else is dropped (C9).
    fn link(self, member: &str, text: Option<String>) -> Result<Option<String>, RegistrationError> {
        Ok(self.clean(member, text)?.filter(|text| is_https(text)))
    }
}

/// Control characters, and the ones that turn the direction of writing or take no room: a name must not reorder the page
/// around it, nor pretend to be another.
fn is_invisible(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

fn is_https(text: &str) -> bool {
    let plain =
        text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'<' | b'>' | b'\\'));
    let scheme = text.split_once("://").is_some_and(|(scheme, _)| scheme.eq_ignore_ascii_case("https"));
    plain && scheme && Url::parse(text).is_ok_and(|url| url.username().is_empty() && url.password().is_none())
}

fn contacts(
    asked: Option<Vec<String>>,
    texts: Texts,
    limits: ClientLimits,
) -> Result<Vec<String>, RegistrationError> {
    let asked = asked.unwrap_or_default();
    if asked.len() > limits.redirect_uris {
        return Err(metadata("contacts", &format!("must be at most {}", limits.redirect_uris)));
    }
    asked.into_iter().filter_map(|contact| texts.clean("contacts", Some(contact)).transpose()).collect()
}

/// Those of the asked ones that we have, in our order. RFC 7591 §2 has `authorization_code` alone for a default; real clients
/// leave the member out and want to refresh all the same.
fn grant_types(asked: Option<Vec<String>>) -> Result<Vec<String>, RegistrationError> {
    let asked = asked.filter(|grants| !grants.is_empty());
    let wanted = |ours: &str| asked.as_ref().is_none_or(|asked| asked.iter().any(|grant| grant == ours));
    let applied: Vec<String> = [AUTHORIZATION_CODE, REFRESH_TOKEN]
        .into_iter()
        .filter(|ours| wanted(ours))
        .map(str::to_owned)
        .collect();
    if applied.is_empty() { Err(RegistrationError::GrantTypes) } else { Ok(applied) }
}

fn response_types(asked: Option<Vec<String>>) -> Result<Vec<String>, RegistrationError> {
    let asked = asked.filter(|types| !types.is_empty());
    if asked.is_none_or(|asked| asked.iter().any(|kind| kind == "code")) {
        Ok(vec!["code".to_owned()])
    } else {
        Err(RegistrationError::ResponseTypes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::super::testing::client_with;
    use super::*;

    fn read(body: &str) -> Result<ClientMetadata, RegistrationError> {
        register(body.as_bytes(), &RedirectPolicy::default(), ClientLimits::default())
    }

    fn answered(body: &Value) -> Value {
        serde_json::to_value(read(&body.to_string()).unwrap()).unwrap()
    }

    /// The error's code and sentence.
    fn refused(body: &str) -> (&'static str, String) {
        let error = OAuthError::from(&read(body).unwrap_err());
        (error.code.as_str(), error.description)
    }

    fn with(member: &str, value: &Value) -> Value {
        let mut body = json!({ "redirect_uris": ["https://a.example/cb"] });
        body[member] = value.clone();
        body
    }

    // G1, G2, G4, G5: what real clients send, and what they are answered.
    #[test]
    fn the_registrations_of_real_clients_are_accepted() {
        let both = json!(["authorization_code", "refresh_token"]);
        for (sent, applied) in [
            // TS SDK v2 and py 2.x, recorded
            (
                json!({"client_name":"ts-v2","redirect_uris":["http://localhost:4741/callback"],"grant_types":["authorization_code","refresh_token"],"response_types":["code"],"application_type":"native","scope":"mcp:read offline_access"}),
                json!({"application_type": "native", "scope": "mcp:read offline_access"}),
            ),
            // py 1.x, recorded
            (
                json!({"redirect_uris":["http://localhost:4731/callback"],"grant_types":["authorization_code","refresh_token"],"response_types":["code"],"scope":"mcp:read","client_name":"py"}),
                json!({"scope": "mcp:read"}),
            ),
            // VS Code
            (
                json!({"client_name":"Visual Studio Code","client_uri":"https://code.visualstudio.com","redirect_uris":["https://insiders.vscode.dev/redirect","https://vscode.dev/redirect","http://127.0.0.1/","http://127.0.0.1:33418/"],"grant_types":["authorization_code","refresh_token","urn:ietf:params:oauth:grant-type:device_code"],"response_types":["code"],"token_endpoint_auth_method":"none","application_type":"native"}),
                json!({"client_uri": "https://code.visualstudio.com", "application_type": "native"}),
            ),
            // Cursor: application_type web beside a private-use scheme
            (
                json!({"client_name":"Cursor","redirect_uris":["cursor://anysphere.cursor-mcp/oauth/callback","https://www.cursor.com/agents/mcp/oauth/callback","http://localhost:8787/callback"],"grant_types":["authorization_code","refresh_token"],"response_types":["code"],"token_endpoint_auth_method":"none","application_type":"web"}),
                json!({"application_type": "web"}),
            ),
            // Claude: asks for a secret, is answered none
            (
                json!({"client_name":"Claude","redirect_uris":["https://claude.ai/api/mcp/auth_callback","https://claude.com/api/mcp/auth_callback"],"grant_types":["authorization_code","refresh_token"],"response_types":["code"],"token_endpoint_auth_method":"client_secret_post","scope":" offline_access"}),
                json!({"scope": "offline_access"}),
            ),
            // mcp-remote
            (
                json!({"client_name":"MCP CLI Client","client_uri":"https://github.com/modelcontextprotocol/mcp-cli","software_id":"2e6dc280-f3c3-4e01-99a7-8181dbd1d23d","software_version":"0.15.1","redirect_uris":["http://localhost:3335/oauth/callback"],"token_endpoint_auth_method":"none","grant_types":["authorization_code","refresh_token"],"response_types":["code"],"application_type":"native"}),
                json!({"client_uri": "https://github.com/modelcontextprotocol/mcp-cli", "software_id": "2e6dc280-f3c3-4e01-99a7-8181dbd1d23d", "software_version": "0.15.1", "application_type": "native"}),
            ),
        ] {
            let mut expected = json!({
                "client_name": sent["client_name"],
                "redirect_uris": sent["redirect_uris"],
                "grant_types": both,
                "response_types": ["code"],
                "token_endpoint_auth_method": "none",
            });
            expected.as_object_mut().unwrap().extend(applied.as_object().unwrap().clone());
            assert_eq!(answered(&sent), expected);
        }
    }

    // G2, G7, design §5: absent grant types mean both
    #[test]
    fn the_least_registration_gets_every_default() {
        let expected = json!({
            "redirect_uris": ["http://localhost:1/cb"],
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "token_endpoint_auth_method": "none",
        });
        assert_eq!(answered(&json!({"redirect_uris": ["http://localhost:1/cb"]})), expected);
        let nulls = json!({"redirect_uris": ["http://localhost:1/cb"], "client_name": null, "grant_types": null, "contacts": null});
        assert_eq!(answered(&nulls), expected);
    }

    // G5
    #[test]
    fn what_is_unknown_is_ignored_and_not_echoed() {
        let answer = answered(&json!({
            "redirect_uris": ["https://a.example/cb"],
            "client_name#de": "Müller",
            "jwks": {"keys": [[[]]]},
            "application_type": "service",
            "grant_types": ["client_credentials", "refresh_token", "authorization_code", "authorization_code"],
            "response_types": ["id_token", "code"],
            "client_id": "mine",
            "client_secret": "mine",
        }));
        assert_eq!(
            answer,
            json!({
                "redirect_uris": ["https://a.example/cb"],
                "grant_types": ["authorization_code", "refresh_token"],
                "response_types": ["code"],
                "token_endpoint_auth_method": "none",
            })
        );
    }

    // T13
    #[test]
    fn who_does_not_ask_for_refresh_tokens_may_not_refresh() {
        let mut client = client_with(&["https://a.example/cb"]);
        assert!(client.may_refresh() && client.may_authorize());
        let asked = with("grant_types", &json!(["authorization_code"]));
        client.metadata = read(&asked.to_string()).unwrap();
        assert!(!client.may_refresh() && client.may_authorize());
    }

    // G3
    #[test]
    fn bad_redirect_uris_are_refused_by_their_place() {
        let none = ("invalid_redirect_uri", "redirect_uris must name at least one URI".to_owned());
        for body in [r"{}", r#"{"redirect_uris":[]}"#, r#"{"redirect_uris":null}"#] {
            assert_eq!(refused(body), none);
        }
        for (uri, why) in [
            (
                "javascript:alert(1)",
                "the scheme javascript is not allowed; redirect_schemes in the configuration allows more",
            ),
            ("https://a.example/#f", "must not have a fragment"),
            ("https://u:p@a.example/", "must not have a user name or password in it"),
            ("http://a.example/", "http is for loopback (127.0.0.1, [::1], localhost) only; use https"),
            ("/cb", "not an absolute URI of at most 2048 characters"),
        ] {
            let body = json!({"redirect_uris": ["https://a.example/cb", uri]}).to_string();
            assert_eq!(refused(&body), ("invalid_redirect_uri", format!("redirect_uris[1]: {why}")));
        }
    }

    // G8
    #[test]
    fn too_much_is_refused() {
        let many = json!({"redirect_uris": vec!["https://a.example/cb"; 21]}).to_string();
        assert_eq!(
            refused(&many),
            ("invalid_client_metadata", "too many redirect_uris; at most 20".to_owned())
        );
        for member in ["client_name", "client_uri", "software_id", "scope"] {
            assert!(read(&with(member, &json!("ä".repeat(2048))).to_string()).is_ok(), "{member}");
            let sentence = format!("{member}: must be at most 2048 characters");
            let long = with(member, &json!("ä".repeat(2049))).to_string();
            assert_eq!(refused(&long), ("invalid_client_metadata", sentence));
        }
        let contacts = with("contacts", &json!(vec!["a@a.example"; 21])).to_string();
        assert_eq!(
            refused(&contacts),
            ("invalid_client_metadata", "contacts: must be at most 20".to_owned())
        );
    }

    // G6
    #[test]
    fn what_is_no_json_object_of_the_right_types_is_refused() {
        for (body, start) in [
            ("", "body: must be a JSON object"),
            ("[]", "body: must be a JSON object"),
            (r#"[["https://a.example/cb"]]"#, "body: must be a JSON object"),
            ("null", "body: must be a JSON object"),
            ("{", "body: EOF while parsing an object"),
            (r#"{"redirect_uris":["https://a.example/cb"]} x"#, "body: trailing characters"),
            (r#"{"redirect_uris":"https://a.example/cb"}"#, "redirect_uris: invalid type: string"),
            (r#"{"redirect_uris":[1]}"#, "redirect_uris[0]: invalid type: integer '1', expected a string"),
            (r#"{"client_name":{}}"#, "client_name: invalid type: map, expected a string"),
            (r#"{"grant_types":"authorization_code"}"#, "grant_types: invalid type: string"),
            (r#"{"token_endpoint_auth_method":5}"#, "token_endpoint_auth_method: invalid type: integer"),
            (r#"{"client_name":"a","client_name":"b"}"#, "body: duplicate field 'client_name'"),
            (r#"{"client_name":"\ud800"}"#, "body: unexpected end of hex escape"),
        ] {
            let (code, description) = refused(body);
            assert_eq!(code, "invalid_client_metadata", "{body}");
            assert!(description.replace('`', "'").starts_with(start), "{body}: {description}");
        }
        let good = br#"{"redirect_uris":["https://a.example/cb"],"client_name":"?","unknown":"?"}"#;
        let register = |body: &[u8]| register(body, &RedirectPolicy::default(), ClientLimits::default());
        assert!(register(good).is_ok());
        // A member that nobody asks for was once let through whatever its bytes were.
        for at in good.iter().enumerate().filter(|(_, byte)| **byte == b'?').map(|(at, _)| at) {
            let mut bytes = good.to_vec();
            bytes[at] = 0xff;
            assert_eq!(register(&bytes), Err(metadata("body", "must be UTF-8")));
        }
    }

    #[test]
    fn a_client_that_wants_nothing_of_ours_is_refused() {
        let grants = with("grant_types", &json!(["implicit"])).to_string();
        assert_eq!(
            refused(&grants),
            (
                "invalid_client_metadata",
                "grant_types has none of authorization_code, refresh_token".to_owned()
            )
        );
        let responses = with("response_types", &json!(["token"])).to_string();
        assert_eq!(
            refused(&responses),
            ("invalid_client_metadata", "response_types must have code".to_owned())
        );
    }

    // C9
    #[test]
    fn links_that_are_not_https_are_dropped() {
        for link in [
            "javascript:alert(1)",
            "data:image/svg+xml,x",
            "http://a.example/logo.png",
            "https:a.example",
            "//a.example",
            "https://u@a.example/",
            "https://a.example/\"onload=x",
            "https://ä.example/",
            "",
        ] {
            for member in ["client_uri", "logo_uri", "tos_uri", "policy_uri"] {
                assert_eq!(answered(&with(member, &json!(link))).get(member), None, "{link}");
            }
        }
        let link = "HTTPS://a.example/logo.png?x=1#y";
        assert_eq!(answered(&with("logo_uri", &json!(link)))["logo_uri"], link);
    }

    // C9
    #[test]
    fn a_name_is_one_visible_line() {
        let name = " Cl\u{202e}au\u{0}de\r\n<b>\u{200b}\u{2066}ü ";
        assert_eq!(answered(&with("client_name", &json!(name)))["client_name"], "Claude<b>ü");
        assert_eq!(answered(&with("client_name", &json!("\u{202e}\n"))).get("client_name"), None);
        assert_eq!(
            answered(&with("contacts", &json!(["", "a@\na.example"])))["contacts"],
            json!(["a@a.example"])
        );
    }

    // C10
    #[test]
    fn a_stored_client_reads_back_equal() {
        let client = client_with(&["cursor://anysphere.cursor-mcp/oauth/callback", "http://127.0.0.1/"]);
        let stored = serde_json::to_vec(&client).unwrap();
        assert_eq!(serde_json::from_slice::<Client>(&stored).unwrap(), client);
    }

    proptest! {
        #[test]
        fn any_bytes_are_registered_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = register(&bytes, &RedirectPolicy::default(), ClientLimits::default());
        }

        #[test]
        fn any_member_is_registered_or_refused(
            member in "(redirect_uris|client_name|client_uri|grant_types|contacts|scope|[a-z_]{1,9})",
            value in "(\"\\PC{0,9}\"|\\[(\"\\PC{0,9}\",?){0,2}\\]|[0-9.e-]{1,5}|null|true|\\{\\}|\\PC{0,9})",
        ) {
            match read(&format!(r#"{{"redirect_uris":["https://a.example/cb"],"{member}":{value}}}"#)) {
                Ok(metadata) => prop_assert_eq!(metadata.redirect_uris.len(), 1),
                Err(error) => prop_assert!(OAuthError::from(&error).description.len() > 5),
            }
        }
    }

    fn updated(body: &Value) -> Result<ClientMetadata, RegistrationError> {
        let client = ClientId::parse("c1").unwrap();
        update(body.to_string().as_bytes(), &client, &RedirectPolicy::default(), ClientLimits::default())
    }

    // G9, RFC 7592 §2.2
    #[test]
    fn an_update_names_its_client_and_replaces_everything() {
        let body =
            json!({ "client_id": "c1", "redirect_uris": ["https://b.example/cb"], "client_name": "New" });
        let metadata = updated(&body).unwrap();
        assert_eq!(metadata.client_name.as_deref(), Some("New"));
        assert_eq!(
            metadata,
            register(body.to_string().as_bytes(), &RedirectPolicy::default(), ClientLimits::default(),)
                .unwrap(),
            "by the rules of a registration"
        );
        for client_id in [json!(null), json!("c2"), json!("C1"), json!("")] {
            let mut other = body.clone();
            other["client_id"] = client_id;
            assert_eq!(updated(&other), Err(RegistrationError::ClientId), "{other}");
        }
        let mut wrong = body.clone();
        wrong["client_id"] = json!(1);
        assert!(
            matches!(updated(&wrong), Err(RegistrationError::Metadata { member, .. }) if member == "client_id")
        );
        let mut none = body;
        none["redirect_uris"] = json!([]);
        assert_eq!(updated(&none), Err(RegistrationError::NoRedirects));
    }

    // G9, RFC 7592 §2.2
    #[test]
    fn an_update_sets_nothing_that_is_ours() {
        for name in [
            "registration_access_token",
            "registration_client_uri",
            "client_secret_expires_at",
            "client_id_issued_at",
            "client_secret",
        ] {
            let mut body = json!({ "client_id": "c1", "redirect_uris": ["https://b.example/cb"] });
            body[name] = json!("x");
            let error = updated(&body).unwrap_err();
            assert_eq!(error, RegistrationError::NotYours(name));
            assert_eq!(OAuthError::from(&error).code, ErrorCode::InvalidClientMetadata);
            body[name] = json!(null);
            assert!(updated(&body).is_ok(), "null is an absent member");
        }
    }

    // G9
    #[test]
    fn a_registration_is_managed_by_its_own_token_alone() {
        let client = client_with(&["https://a.example/cb"]);
        let token = Secret::random();
        assert!(!client.is_managed_by(&token), "it has none");
        let client = Client { registration_token: Some(token.digest()), ..client };
        assert!(client.is_managed_by(&token) && !client.is_managed_by(&Secret::random()));
        assert!(
            !client.is_managed_by(&Secret::new(token.digest().to_base64url())),
            "nor by what the store has"
        );
    }

    #[test]
    fn nobody_registers_to_act_alone() {
        let body = json!({
            "redirect_uris": ["https://a.example/cb"],
            "grant_types": ["client_credentials", "authorization_code"],
        });
        assert_eq!(read(&body.to_string()).unwrap().grant_types, ["authorization_code"]);
    }
}
