//! Client ID Metadata Documents (draft-ietf-oauth-client-id-metadata-document-02): a client's id is the URL of a JSON
//! document in which it says what it would otherwise register. Here: which ids are such URLs, whose documents are
//! accepted, and what a document must say. Fetching and keeping them is done elsewhere.

use serde::Deserialize;
use serde::de::IgnoredAny;
use url::{Host, Url};

use super::clients::read_object;
use super::{ClientId, ClientLimits, ClientMetadata, RedirectPolicy, RegistrationError, register};

/// A client id that is the URL of a document (§3, M1): https, the standard port, a host name, a path, and written so
/// that every parser reads the same in it. Ids are compared byte for byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentUrl {
    id: ClientId,
    url: Url,
    host: String,
}

/// Why an id that looks like a URL cannot be one of a document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DocumentUrlError {
    /// Another scheme.
    #[error("a client_id that is a URL must begin with https://")]
    NotHttps,
    /// §3.
    #[error("the URL must not have a fragment")]
    Fragment,
    /// §3.
    #[error("the URL must not have a user name or password in it")]
    UserInfo,
    /// §3; a bare `/` names a site and not a document.
    #[error("the URL must have a path, such as /client.json")]
    NoPath,
    /// §3, percent-encoded ones too.
    #[error("the URL must not have . or .. for a part of its path")]
    DotSegment,
    /// Anything else than 443, which a stranger could have us knock at.
    #[error("the URL must be on the standard port")]
    Port,
    /// An IP address, for which there is no domain to show to a person or to trust.
    #[error("the URL must have a host name, not an address")]
    Address,
    /// One label, or a dot at the end: no name that is the same everywhere.
    #[error("the URL must have a full host name, such as app.example.com")]
    Name,
    /// No URL at all.
    #[error("the client_id is no URL")]
    NotAUrl,
    /// Two parsers might read two things in it.
    #[error("the URL must be written as {0}")]
    NotNormal(String),
}

impl DocumentUrl {
    /// Whether an id means to be the URL of a document. Ids that we issue never do.
    #[must_use]
    pub fn is_meant_by(id: &ClientId) -> bool {
        id.as_str().contains("://")
    }

    /// Reads an id.
    ///
    /// # Errors
    /// [`DocumentUrlError`].
    pub fn parse(id: &ClientId) -> Result<Self, DocumentUrlError> {
        let text = id.as_str();
        let rest = text.strip_prefix("https://").ok_or(DocumentUrlError::NotHttps)?;
        if text.contains('#') {
            return Err(DocumentUrlError::Fragment);
        }
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(DocumentUrlError::UserInfo);
        }
        let path = path.split('?').next().unwrap_or_default();
        if path.len() < 2 {
            return Err(DocumentUrlError::NoPath);
        }
        if path.split('/').any(is_dot_segment) {
            return Err(DocumentUrlError::DotSegment);
        }
        let url = Url::parse(text).map_err(|_| DocumentUrlError::NotAUrl)?;
        let host = match url.host() {
            Some(Host::Domain(name)) if name.contains('.') && !name.ends_with('.') => name.to_owned(),
            Some(Host::Domain(_)) | None => return Err(DocumentUrlError::Name),
            Some(Host::Ipv4(_) | Host::Ipv6(_)) => return Err(DocumentUrlError::Address),
        };
        if url.port().is_some() {
            return Err(DocumentUrlError::Port);
        }
        if url.as_str() != text {
            return Err(DocumentUrlError::NotNormal(url.into()));
        }
        Ok(Self { id: id.clone(), url, host })
    }

    /// The client's id, which is the URL as written.
    #[must_use]
    pub const fn id(&self) -> &ClientId {
        &self.id
    }

    /// Where to fetch it.
    #[must_use]
    pub const fn url(&self) -> &Url {
        &self.url
    }

    /// The domain that speaks for the client: lower-case, `xn--` where it is not ASCII.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }
}

/// `.` or `..`, with `%2e` for a dot as URL parsers take it.
fn is_dot_segment(segment: &str) -> bool {
    matches!(segment.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..")
}

/// Whose documents are accepted (M9), and how large they may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentRules {
    /// Only these, unless there are none: then everybody's.
    pub allow: Vec<HostPattern>,
    /// Not these, whatever is allowed.
    pub deny: Vec<HostPattern>,
    /// Most bytes of a document; §6.6 recommends 5 KB.
    pub max_bytes: usize,
}

impl Default for DocumentRules {
    /// Everybody's: the consent page shows whose.
    fn default() -> Self {
        Self { allow: Vec::new(), deny: Vec::new(), max_bytes: 5 * 1024 }
    }
}

impl DocumentRules {
    /// Whether documents of `host` are accepted.
    #[must_use]
    pub fn admit(&self, host: &str) -> bool {
        let names = |patterns: &[HostPattern]| patterns.iter().any(|pattern| pattern.matches(host));
        (self.allow.is_empty() || names(&self.allow)) && !names(&self.deny)
    }
}

/// A host name, or `*.example.com` for every name below it, but not itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPattern(String);

impl HostPattern {
    /// Reads a pattern; `None` if it is none. Names are lower-case ASCII with a dot in them.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let name = text.strip_prefix("*.").unwrap_or(text);
        let label = |label: &str| {
            let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            (1..=63).contains(&label.len()) && label.bytes().all(plain)
        };
        let numeric = name.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
        let good = name.len() <= 253 && name.contains('.') && name.split('.').all(label) && !numeric;
        good.then(|| Self(text.to_owned()))
    }

    fn matches(&self, host: &str) -> bool {
        match self.0.strip_prefix('*') {
            Some(end) => host.len() > end.len() && host.ends_with(end),
            None => host == self.0,
        }
    }
}

/// Why a document cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// What would be wrong with a registration too.
    #[error(transparent)]
    Metadata(#[from] RegistrationError),
    /// M2.
    #[error("client_id is missing; it must be the document's own URL")]
    NoId,
    /// M2: whoever can put a file on a host must not speak for another one.
    #[error("client_id is {0}; it must be the document's own URL, character for character")]
    OtherId(String),
    /// M2.
    #[error("client_name is missing")]
    NoName,
    /// M8: everybody can read the document.
    #[error("there is a client_secret in it, which everybody can read; take it out")]
    Secret,
    /// M8: nobody has given it a secret.
    #[error("{0} needs a secret, which a client of this kind cannot have; offer none instead")]
    SecretMethod(String),
    /// Proofs of key possession are verified for clients of the configuration only. To let a client that asks for one
    /// in without it would be less than it was promised.
    #[error(
        "{0} is not verified here for metadata documents; list none in token_endpoint_auth_methods_supported beside it"
    )]
    Method(String),
}

/// The members of a document that a registration does not have.
#[derive(Deserialize)]
struct Stated {
    client_id: Option<String>,
    client_secret: Option<IgnoredAny>,
    client_secret_expires_at: Option<IgnoredAny>,
    token_endpoint_auth_method: Option<String>,
    /// OpenID Connect Relying Party Metadata Choices, which the document of `ChatGPT` uses.
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
}

impl Stated {
    /// M7: `none` is used wherever it is among what a client can do, and where it says nothing.
    fn check_method(self) -> Result<(), DocumentError> {
        let choices = self.token_endpoint_auth_methods_supported.unwrap_or_default();
        let methods: Vec<String> = self.token_endpoint_auth_method.into_iter().chain(choices).collect();
        if methods.is_empty() || methods.iter().any(|method| method == "none") {
            return Ok(());
        }
        let secret = |method: &String| method.starts_with("client_secret_");
        match methods.iter().find(|method| !secret(method)) {
            Some(method) => Err(DocumentError::Method(method.clone())),
            None => Err(DocumentError::SecretMethod(methods.into_iter().next().unwrap_or_default())),
        }
    }
}

/// Reads the document at `url` as if it were a registration. What we do not know of is ignored, what we do not offer is
/// left out (M7).
///
/// # Errors
/// [`DocumentError`].
pub fn read_document(
    url: &DocumentUrl,
    body: &[u8],
    policy: &RedirectPolicy,
    limits: ClientLimits,
) -> Result<ClientMetadata, DocumentError> {
    let mut stated: Stated = read_object(body)?;
    let id = stated.client_id.take().ok_or(DocumentError::NoId)?;
    if id != url.id.as_str() {
        return Err(DocumentError::OtherId(id));
    }
    if stated.client_secret.is_some() || stated.client_secret_expires_at.is_some() {
        return Err(DocumentError::Secret);
    }
    stated.check_method()?;
    let metadata = register(body, policy, limits)?;
    if metadata.client_name.is_none() {
        return Err(DocumentError::NoName);
    }
    Ok(metadata)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    const URL: &str = "https://app.example.com/client.json";

    fn url(text: &str) -> Result<DocumentUrl, DocumentUrlError> {
        DocumentUrl::parse(&ClientId::parse(text).unwrap())
    }

    fn read_at(at: &str, body: &str) -> Result<ClientMetadata, DocumentError> {
        read_document(&url(at).unwrap(), body.as_bytes(), &RedirectPolicy::default(), ClientLimits::default())
    }

    fn read(body: &Value) -> Result<ClientMetadata, DocumentError> {
        read_at(URL, &body.to_string())
    }

    /// The least good document, with `member` in it.
    fn with(member: &str, value: Value) -> Value {
        let mut body =
            json!({ "client_id": URL, "client_name": "App", "redirect_uris": ["http://localhost/cb"] });
        body[member] = value;
        body
    }

    fn told(body: &Value) -> String {
        read(body).unwrap_err().to_string()
    }

    // M1
    #[test]
    fn a_documents_url_has_a_host_name_and_a_path() {
        for good in [
            URL,
            "https://claude.ai/oauth/mcp-oauth-client-metadata",
            "https://app.example.com/a//b/",
            "https://app.example.com/.well-known/client?v=1",
            "https://app.example.com/...",
            "https://xn--mnchen-3ya.example/c",
        ] {
            let url = url(good).unwrap_or_else(|error| panic!("{good}: {error}"));
            assert_eq!((url.id().as_str(), url.url().as_str()), (good, good));
        }
        assert_eq!(url("https://app.example.com/c").unwrap().host(), "app.example.com");
    }

    // M1
    #[test]
    fn every_other_url_is_refused_for_its_own_reason() {
        use DocumentUrlError as E;
        for (bad, why) in [
            ("http://app.example.com/c", E::NotHttps),
            ("HTTPS://app.example.com/c", E::NotHttps),
            ("ftp://app.example.com/c", E::NotHttps),
            ("https://app.example.com/c#f", E::Fragment),
            ("https://app.example.com/c#", E::Fragment),
            ("https://user@app.example.com/c", E::UserInfo),
            ("https://user:pw@app.example.com/c", E::UserInfo),
            ("https://@app.example.com/c", E::UserInfo),
            ("https://evil.example\\@app.example.com/c", E::UserInfo),
            ("https://app.example.com", E::NoPath),
            ("https://app.example.com/", E::NoPath),
            ("https://app.example.com?x", E::NoPath),
            ("https://app.example.com/?x", E::NoPath),
            ("https://app.example.com/./c", E::DotSegment),
            ("https://app.example.com/a/../c", E::DotSegment),
            ("https://app.example.com/a/..", E::DotSegment),
            ("https://app.example.com/a/%2e%2E/c", E::DotSegment),
            ("https://app.example.com/a/.%2e", E::DotSegment),
            ("https://app.example.com:8443/c", E::Port),
            ("https://app.example.com:80/c", E::Port),
            ("https://93.184.216.34/c", E::Address),
            ("https://2130706433/c", E::Address),
            ("https://0x7f.1/c", E::Address),
            ("https://[::1]/c", E::Address),
            ("https://[2606:4700::1111]/c", E::Address),
            ("https://localhost/c", E::Name),
            ("https://intranet/c", E::Name),
            ("https://app.example.com./c", E::Name),
            ("https:///c", E::Name),
            ("https://[::1/c", E::NotAUrl),
            ("https://app.example.com:443/c", E::NotNormal("https://app.example.com/c".to_owned())),
            ("https://App.Example.com/c", E::NotNormal("https://app.example.com/c".to_owned())),
            ("https://ex%61mple.com/c", E::NotNormal("https://example.com/c".to_owned())),
            ("https://app.example.com/a\\b", E::NotNormal("https://app.example.com/a/b".to_owned())),
            ("https://app.example.com/\"c\"", E::NotNormal("https://app.example.com/%22c%22".to_owned())),
        ] {
            match (url(bad), why) {
                // `https:///c` is the host `c` to this parser: refused all the same.
                (Err(E::NoPath), E::Name) if bad == "https:///c" => {}
                (outcome, why) => assert_eq!(outcome, Err(why), "{bad}"),
            }
        }
    }

    // M1
    #[test]
    fn only_an_id_with_a_scheme_means_to_be_a_document() {
        for (id, meant) in [
            ("https://a.example/c", true),
            ("http://a.example/c", true),
            ("https://", true),
            ("c_AAAAAAAAAAAAAAAAAAAAAA", false),
            ("my-agent", false),
            ("https:a", false),
        ] {
            assert_eq!(DocumentUrl::is_meant_by(&ClientId::parse(id).unwrap()), meant, "{id}");
        }
    }

    /// The documents that real clients publish, as they were in autumn 2026.
    const REAL: [&str; 5] = [
        include_str!("../../tests/documents/claude.json"),
        include_str!("../../tests/documents/claude-code.json"),
        include_str!("../../tests/documents/vscode.json"),
        include_str!("../../tests/documents/chatgpt.json"),
        include_str!("../../tests/documents/codex.json"),
    ];

    // M2, M7
    #[test]
    fn the_documents_of_real_clients_are_accepted() {
        for text in REAL {
            let sent: Value = serde_json::from_str(text).unwrap();
            let id = sent["client_id"].as_str().unwrap();
            let read = read_at(id, text).unwrap_or_else(|error| panic!("{id}: {error}"));
            let applied = serde_json::to_value(read).unwrap();
            for member in ["client_name", "client_uri", "redirect_uris", "application_type", "logo_uri"] {
                assert_eq!(applied.get(member), sent.get(member), "{id} {member}");
            }
            assert_eq!(applied["token_endpoint_auth_method"], "none", "{id}");
            assert_eq!(applied["grant_types"], json!(["authorization_code", "refresh_token"]), "{id}");
        }
    }

    // M3, M10
    #[test]
    fn a_loopback_redirect_without_a_port_matches_any_port() {
        let read = |text: &str, requested: &str| {
            let sent: Value = serde_json::from_str(text).unwrap();
            let metadata = read_at(sent["client_id"].as_str().unwrap(), text).unwrap();
            metadata.redirect_uris.iter().any(|one| one.matches(requested).is_some())
        };
        let [claude, claude_code, vscode, chatgpt, codex] = REAL;
        for (document, requested) in [
            (claude, "https://claude.ai/api/mcp/auth_callback"),
            (claude_code, "http://localhost:51423/callback"),
            (claude_code, "http://127.0.0.1:1/callback"),
            (vscode, "http://127.0.0.1:49152/"),
            (vscode, "https://vscode.dev/redirect"),
            (chatgpt, "https://chatgpt.com/connector_platform_oauth_redirect"),
            (codex, "http://localhost:1455/callback"),
            (codex, "http://127.0.0.1:1455/callback"),
        ] {
            assert!(read(document, requested), "{requested}");
        }
        for (document, requested) in [
            (claude_code, "http://localhost:51423/other"),
            (claude_code, "http://[::1]:51423/callback"),
            (claude, "https://claude.ai:8443/api/mcp/auth_callback"),
            (vscode, "http://localhost:33418/"),
        ] {
            assert!(!read(document, requested), "{requested}");
        }
    }

    // M2
    #[test]
    fn a_document_must_name_itself_and_its_client() {
        for (body, sentence) in [
            (with("client_id", json!(null)), "client_id is missing; it must be the document's own URL"),
            (
                with("client_id", json!("https://app.example.com/client.json/")),
                "client_id is https://app.example.com/client.json/; it must be the document's own URL, character for character",
            ),
            (
                with("client_id", json!("https://APP.example.com/client.json")),
                "client_id is https://APP.example.com/client.json; it must be the document's own URL, character for character",
            ),
            (
                with("client_id", json!(7)),
                "client_id: invalid type: integer `7`, expected a string at line 1 column 14",
            ),
            (with("client_name", json!(null)), "client_name is missing"),
            (with("client_name", json!(" \u{200b} ")), "client_name is missing"),
            (with("redirect_uris", json!(null)), "redirect_uris must name at least one URI"),
            (with("redirect_uris", json!([])), "redirect_uris must name at least one URI"),
            (
                with("redirect_uris", json!(["javascript://x/%0aalert(1)"])),
                "redirect_uris[0]: the scheme javascript is not allowed; redirect_schemes in the configuration allows more",
            ),
            (
                with("grant_types", json!(["client_credentials"])),
                "grant_types has none of authorization_code, refresh_token",
            ),
        ] {
            assert_eq!(told(&body), sentence);
        }
    }

    // M2
    #[test]
    fn what_is_no_json_object_is_refused() {
        for body in [
            "",
            "[]",
            "null",
            "\"x\"",
            "<!doctype html>",
            "{",
            "{\"client_id\":\"a\",\"client_id\":\"b\"}",
            "{} {}",
        ] {
            assert!(matches!(read_at(URL, body), Err(DocumentError::Metadata(_))), "{body}");
        }
    }

    // M7
    #[test]
    fn none_is_used_wherever_it_is_offered() {
        for (method, choices) in [
            (json!(null), json!(null)),
            (json!("none"), json!(null)),
            (json!(null), json!(["none"])),
            (json!("private_key_jwt"), json!(["none", "private_key_jwt"])),
            (json!("client_secret_basic"), json!(["none"])),
            (json!("none"), json!(["private_key_jwt"])),
            (json!("none"), json!([])),
        ] {
            let mut body = with("token_endpoint_auth_method", method);
            body["token_endpoint_auth_methods_supported"] = choices;
            assert_eq!(read(&body).unwrap().token_endpoint_auth_method, "none", "{body}");
        }
    }

    // M8
    #[test]
    fn a_client_that_needs_a_secret_is_refused() {
        let secret = "needs a secret, which a client of this kind cannot have; offer none instead";
        let method = "token_endpoint_auth_method";
        for name in ["client_secret_basic", "client_secret_post", "client_secret_jwt"] {
            assert_eq!(told(&with(method, json!(name))), format!("{name} {secret}"));
        }
        let choices = with("token_endpoint_auth_methods_supported", json!(["client_secret_post"]));
        assert_eq!(told(&choices), format!("client_secret_post {secret}"));
        for member in ["client_secret", "client_secret_expires_at"] {
            assert_eq!(
                told(&with(member, json!("x"))),
                "there is a client_secret in it, which everybody can read; take it out"
            );
        }
        let key = "private_key_jwt is not verified here for metadata documents; list none in token_endpoint_auth_methods_supported beside it";
        assert_eq!(told(&with(method, json!("private_key_jwt"))), key);
        let mut both = with(method, json!("client_secret_post"));
        both["token_endpoint_auth_methods_supported"] = json!(["private_key_jwt"]);
        assert_eq!(told(&both), key);
    }

    // M9
    #[test]
    fn the_rules_say_whose_documents_are_accepted() {
        let rules = |allow: &[&str], deny: &[&str]| {
            let parse = |list: &[&str]| list.iter().map(|text| HostPattern::parse(text).unwrap()).collect();
            DocumentRules { allow: parse(allow), deny: parse(deny), ..DocumentRules::default() }
        };
        let open = rules(&[], &["evil.example", "*.evil.example"]);
        let closed = rules(&["claude.ai", "*.example.com"], &["bad.example.com"]);
        for (rules, host, admitted) in [
            (&open, "claude.ai", true),
            (&open, "evil.example", false),
            (&open, "a.b.evil.example", false),
            (&open, "notevil.example", true),
            (&closed, "claude.ai", true),
            (&closed, "x.claude.ai", false),
            (&closed, "a.example.com", true),
            (&closed, "a.b.example.com", true),
            (&closed, "example.com", false),
            (&closed, ".example.com", false),
            (&closed, "aexample.com", false),
            (&closed, "bad.example.com", false),
            (&closed, "vscode.dev", false),
        ] {
            assert_eq!(rules.admit(host), admitted, "{host}");
        }
    }

    // M9
    #[test]
    fn a_pattern_is_a_name_or_all_names_below_one() {
        for good in ["claude.ai", "*.example.com", "a-b.example", "xn--mnchen-3ya.example"] {
            assert!(HostPattern::parse(good).is_some(), "{good}");
        }
        for bad in [
            "",
            "*",
            "*.",
            ".",
            "localhost",
            "*.com.",
            "a..b",
            "Claude.ai",
            "a.*.example",
            "**.example.com",
            "https://claude.ai",
            "claude.ai/",
            "claude.ai:443",
            "10.0.0.1",
            "*.0.0.1",
            "[::1]",
            "münchen.example",
            "a b.example",
            "a_b.example",
        ] {
            assert_eq!(HostPattern::parse(bad), None, "{bad}");
        }
    }

    proptest! {
        // M1: whatever is accepted leads to the host that is shown, by https, on the standard port.
        #[test]
        fn what_is_accepted_has_one_reading(
            authority in "[a-z.@:%0-9\\\\\\[\\]-]{0,12}(app\\.example)?[:@.0-9]{0,4}",
            path in "[/a-z.%2eE?#\\\\]{0,9}",
        ) {
            let text = format!("https://{authority}{path}");
            if let Ok(url) = url(&text) {
                let parsed = Url::parse(&text).unwrap();
                prop_assert_eq!(parsed.host_str(), Some(url.host()));
                prop_assert_eq!((parsed.port(), parsed.username(), parsed.password()), (None, "", None));
                let start = format!("https://{}/", url.host());
                prop_assert!(text.starts_with(&start), "{}", text);
                prop_assert!(parsed.fragment().is_none() && parsed.path().len() > 1);
            }
        }

        #[test]
        fn any_body_is_read_or_refused(body in "\\PC{0,60}", member in "[a-z_]{1,12}") {
            let _ = read_at(URL, &body);
            let _ = read(&with(&member, json!(body)));
        }
    }
}
