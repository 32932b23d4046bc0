//! Redirect URIs: which may be registered, which may be followed.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use url::Url;

/// The longest redirect URI that may be registered.
const MAX_LENGTH: usize = 2048;

/// What a value in a query is encoded for: everything but the unreserved characters of RFC 3986 §2.3.
pub const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Schemes that browsers act on themselves, or that reach other machines: never private-use, whatever the
/// configuration says (RFC 9700 §4.11). Lower case.
pub const NEVER_PRIVATE: [&str; 16] = [
    "about",
    "blob",
    "chrome",
    "data",
    "file",
    "filesystem",
    "ftp",
    "ftps",
    "http",
    "https",
    "intent",
    "javascript",
    "vbscript",
    "view-source",
    "ws",
    "wss",
];

/// Which redirect URIs may be registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedirectPolicy {
    /// Private-use schemes that are allowed beside https and loopback http: exact scheme names, lower case. Every
    /// reverse-DNS scheme (one with a dot; RFC 8252 §7.1) is allowed without being listed.
    pub schemes: Vec<String>,
}

impl Default for RedirectPolicy {
    /// The schemes of the known clients.
    fn default() -> Self {
        let known = ["cursor", "vscode", "vscode-insiders", "windsurf", "zed", "claude"];
        Self { schemes: known.map(str::to_owned).to_vec() }
    }
}

/// A redirect URI as a client registered it, string for string.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RegisteredRedirect(String);

/// Why a redirect URI cannot be registered: `invalid_redirect_uri`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RedirectError {
    /// Not an absolute URI, or longer than 2,048 characters.
    #[error("not an absolute URI of at most 2048 characters")]
    NotAbsolute,
    /// RFC 6749 §3.1.2.
    #[error("must not have a fragment")]
    Fragment,
    /// A user name or password in it.
    #[error("must not have a user name or password in it")]
    UserInfo,
    /// Plain http to another machine.
    #[error("http is for loopback (127.0.0.1, [::1], localhost) only; use https")]
    HttpNotLoopback,
    /// A scheme that is neither https, loopback http, nor allowed.
    #[error("the scheme {0} is not allowed; redirect_schemes in the configuration allows more")]
    Scheme(String),
}

/// A redirect URI that was matched against a registered client: the only kind that can be followed.
/// It is never deserialized as such; a record keeps the text and matches it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedirectUri(String);

impl RegisteredRedirect {
    /// Checks one redirect URI of a registration (checklist G3, G4, G7).
    ///
    /// # Errors
    /// [`RedirectError`].
    pub fn check(text: &str, policy: &RedirectPolicy) -> Result<Self, RedirectError> {
        if text.len() > MAX_LENGTH || !text.bytes().all(is_uri_byte) {
            return Err(RedirectError::NotAbsolute);
        }
        if text.contains('#') {
            return Err(RedirectError::Fragment);
        }
        let parsed = Url::parse(text).map_err(|_| RedirectError::NotAbsolute)?;
        let (_, rest) = text.split_once(':').ok_or(RedirectError::NotAbsolute)?;
        if authority(rest).is_some_and(|authority| authority.contains('@')) {
            return Err(RedirectError::UserInfo);
        }
        match parsed.scheme() {
            // An URL parser takes `https:/host` and `https:///host` too, and every one differently.
            "http" | "https" if authority(rest).is_none_or(str::is_empty) => Err(RedirectError::NotAbsolute),
            "https" => Ok(Self(text.to_owned())),
            "http" if Loopback::read(text).is_some() => Ok(Self(text.to_owned())),
            "http" => Err(RedirectError::HttpNotLoopback),
            scheme if !policy.allows(scheme) => Err(RedirectError::Scheme(scheme.to_owned())),
            // `example.com:8080/path` is no URI of the scheme `example.com`, but one that lacks its scheme.
            _ if !rest.starts_with('/') => Err(RedirectError::NotAbsolute),
            _ => Ok(Self(text.to_owned())),
        }
    }

    /// The URI as registered.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `requested` proven against this registration: equal byte for byte, or both `http` on the same loopback
    /// name (`127.0.0.1`, `[::1]`, `localhost`) and different in nothing but the port (RFC 8252 §7.3; A2, A3).
    #[must_use]
    pub fn matches(&self, requested: &str) -> Option<RedirectUri> {
        let proven = self.0 == requested
            || match (Loopback::read(&self.0), Loopback::read(requested)) {
                (Some(registered), Some(requested)) => registered == requested,
                (Some(_) | None, Some(_) | None) => false,
            };
        proven.then(|| RedirectUri(requested.to_owned()))
    }
}

impl RedirectPolicy {
    /// Whether `scheme`, lower-case, may be registered as a private-use scheme.
    fn allows(&self, scheme: &str) -> bool {
        let reverse_dns = scheme.contains('.') && scheme.split('.').all(|label| !label.is_empty());
        !NEVER_PRIVATE.contains(&scheme)
            && (reverse_dns || self.schemes.iter().any(|listed| listed == scheme))
    }
}

/// What must be equal in two loopback redirect URIs: everything but the port (RFC 8252 §7.3). Read textually, so that no
/// parser's idea of equal hosts or paths widens what was registered.
#[derive(PartialEq, Eq)]
struct Loopback<'a> {
    host: &'a str,
    /// Path and query, as written.
    rest: &'a str,
}

impl<'a> Loopback<'a> {
    fn read(text: &'a str) -> Option<Self> {
        let text = text.strip_prefix("http://")?;
        let (authority, rest) = text.split_at(text.find(['/', '?']).unwrap_or(text.len()));
        let host =
            ["127.0.0.1", "[::1]", "localhost"].into_iter().find(|host| authority.starts_with(host))?;
        let port = &authority[host.len()..];
        let safe = rest.bytes().all(|byte| is_uri_byte(byte) && byte != b'#');
        (safe && (port.is_empty() || is_port(port))).then_some(Self { host, rest })
    }
}

/// `:1` to `:65535`.
fn is_port(text: &str) -> bool {
    text.strip_prefix(':').is_some_and(|digits| {
        digits.len() <= 5
            && digits.bytes().all(|byte| byte.is_ascii_digit())
            && digits.parse::<u16>().is_ok_and(|port| port > 0)
    })
}

/// The characters of RFC 3986 §2, `%` included.
const fn is_uri_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}')
}

/// The authority of what follows a scheme's colon, if there is one.
fn authority(rest: &str) -> Option<&str> {
    let rest = rest.strip_prefix("//")?;
    rest.split(['/', '?', '#']).next()
}

impl RedirectUri {
    /// The URI as requested.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What a person should see of it: the host, or for private-use schemes the scheme.
    #[must_use]
    pub fn shown(&self) -> String {
        match Url::parse(&self.0) {
            Ok(url) if !self.is_private_use() => url.host_str().unwrap_or_default().to_owned(),
            Ok(_) | Err(_) => self.scheme().to_owned(),
        }
    }

    /// Whether it leads to a program on the person's own machine by loopback.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        Loopback::read(&self.0).is_some()
    }

    /// Whether it has a private-use scheme: answered by a 200 page with a link (A16).
    #[must_use]
    pub fn is_private_use(&self) -> bool {
        !["http", "https"].iter().any(|web| self.scheme().eq_ignore_ascii_case(web))
    }

    /// The URI with `pairs` appended to its query; an existing query stays as it is (A15).
    #[must_use]
    pub fn with_query(&self, pairs: &[(&str, &str)]) -> String {
        let mut uri = self.0.clone();
        let mut separator = match uri.split_once('?') {
            None => "?",
            Some((_, query)) if query.is_empty() || query.ends_with('&') => "",
            Some(_) => "&",
        };
        for (name, value) in pairs {
            uri.push_str(separator);
            uri.extend(utf8_percent_encode(name, RESERVED));
            uri.push('=');
            uri.extend(utf8_percent_encode(value, RESERVED));
            separator = "&";
        }
        uri
    }

    fn scheme(&self) -> &str {
        self.0.split_once(':').map_or("", |(scheme, _)| scheme)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str) -> Result<RegisteredRedirect, RedirectError> {
        RegisteredRedirect::check(text, &RedirectPolicy::default())
    }

    fn proven(text: &str) -> RedirectUri {
        check(text).unwrap().matches(text).unwrap()
    }

    fn matches(registered: &str, requested: &str) -> bool {
        check(registered).unwrap().matches(requested).is_some()
    }

    // G3, G4, G7
    #[test]
    fn the_redirect_uris_of_real_clients_may_be_registered() {
        for uri in [
            "https://vscode.dev/redirect",
            "https://insiders.vscode.dev/redirect",
            "http://127.0.0.1/",
            "http://127.0.0.1:33418/",
            "cursor://anysphere.cursor-mcp/oauth/callback",
            "https://www.cursor.com/agents/mcp/oauth/callback",
            "http://localhost:8787/callback",
            "https://claude.ai/api/mcp/auth_callback",
            "http://localhost/callback",
            "http://127.0.0.1:6276/oauth/callback",
            "http://[::1]:5000/callback",
            "https://chatgpt.com/connector/oauth/abc_123",
            "vscode://vscode.mcp/did-authenticate?windowId=_blank",
            "com.example.app:/oauth2redirect",
            "http://localhost:3000",
            "HTTPS://Example.com/cb",
        ] {
            assert_eq!(check(uri).map(|registered| registered.as_str().to_owned()).as_deref(), Ok(uri));
        }
    }

    // G3
    #[test]
    fn a_redirect_uri_that_is_no_absolute_uri_is_refused() {
        let long = format!("https://a.example/{}", "a".repeat(2048));
        for uri in [
            "",
            "/callback",
            "//a.example/cb",
            "a.example/cb",
            "example.com:8080/cb",
            "https:a.example/cb",
            "https:/a.example/cb",
            "https:///a.example/cb",
            "https://",
            "http:127.0.0.1/cb",
            "https://a.example/c b",
            " https://a.example/cb",
            "https://a.example/cb\n",
            "https://a.example\\@b.example/cb",
            "https://ä.example/cb",
            "https://a.example/<script>",
            "https://a.example:99999/cb",
            "java\tscript:alert(1)",
            &long,
        ] {
            assert_eq!(check(uri), Err(RedirectError::NotAbsolute), "{uri}");
        }
    }

    // G3
    #[test]
    fn fragments_and_user_names_are_refused() {
        for uri in
            ["https://a.example/cb#", "https://a.example/cb#x", "cursor://x/#y", "http://localhost:1234#x"]
        {
            assert_eq!(check(uri), Err(RedirectError::Fragment), "{uri}");
        }
        for uri in [
            "https://user@a.example/cb",
            "https://@a.example/cb",
            "https://u:p@a.example",
            "http://127.0.0.1:80@evil.example/",
            "http://localhost@evil.example",
            "cursor://user@x/cb",
        ] {
            assert_eq!(check(uri), Err(RedirectError::UserInfo), "{uri}");
        }
    }

    // G3
    #[test]
    fn http_is_for_loopback_only() {
        for uri in [
            "http://a.example/cb",
            "http://localhost.evil.example/cb",
            "http://127.0.0.1.evil.example/cb",
            "http://127.0.0.2/cb",
            "http://127.1/cb",
            "http://0x7f000001/cb",
            "http://0.0.0.0/cb",
            "http://[::]/cb",
            "http://[::ffff:127.0.0.1]/cb",
            "http://LOCALHOST/cb",
            "http://localhost:0/cb",
        ] {
            assert_eq!(check(uri), Err(RedirectError::HttpNotLoopback), "{uri}");
        }
    }

    // G3
    #[test]
    fn only_listed_and_reverse_dns_schemes_are_private_use() {
        for uri in [
            "javascript:alert(1)",
            "JavaScript://x/%0aalert(1)",
            "data:text/html,x",
            "vbscript://x",
            "about:blank",
            "blob:https://a.example/x",
            "file:///etc/passwd",
            "ftp://a.example/",
            "ws://localhost/",
            "unknown://x/cb",
            "localhost:3000/cb",
            "com..example:/cb",
            "cursor.:/cb",
        ] {
            assert!(matches!(check(uri), Err(RedirectError::Scheme(_))), "{uri}: {:?}", check(uri));
        }
        let policy = RedirectPolicy { schemes: vec!["javascript".to_owned(), "unknown".to_owned()] };
        let refused = RegisteredRedirect::check("javascript://x/%0aalert(1)", &policy);
        assert_eq!(refused, Err(RedirectError::Scheme("javascript".to_owned())), "even if it is listed");
        assert!(RegisteredRedirect::check("unknown://x/cb", &policy).is_ok());
    }

    // A2, A3, M10
    #[test]
    fn the_port_of_a_loopback_redirect_may_differ() {
        for (registered, requested) in [
            ("http://127.0.0.1/", "http://127.0.0.1:49152/"),
            ("http://127.0.0.1:33418/", "http://127.0.0.1:1/"),
            ("http://127.0.0.1:3000/cb", "http://127.0.0.1/cb"),
            ("http://[::1]/cb?a=b", "http://[::1]:65535/cb?a=b"),
            ("http://localhost/callback", "http://localhost:51423/callback"),
            ("http://localhost", "http://localhost:80"),
        ] {
            assert!(matches(registered, requested), "{registered} {requested}");
        }
    }

    // A1, A2
    #[test]
    fn anything_else_must_be_equal_byte_for_byte() {
        for (registered, requested) in [
            ("https://a.example/cb", "https://a.example/cb/"),
            ("https://a.example/cb", "https://A.example/cb"),
            ("https://a.example/cb", "https://a.example:443/cb"),
            ("https://a.example/cb", "https://a.example/cb?x=1"),
            ("https://localhost/cb", "https://localhost:8443/cb"),
            ("http://localhost/cb", "https://localhost/cb"),
            ("http://localhost/cb", "http://127.0.0.1/cb"),
            ("http://127.0.0.1/cb", "http://[::1]/cb"),
            ("http://127.0.0.1/cb", "http://127.0.0.1:80@evil.example/cb"),
            ("http://127.0.0.1/cb", "http://127.0.0.1:80:80/cb"),
            ("http://127.0.0.1/cb", "http://127.0.0.1:65536/cb"),
            ("http://127.0.0.1/cb", "http://127.0.0.1:000080/cb"),
            ("http://127.0.0.1/cb", "http://127.0.0.1:+80/cb"),
            ("http://127.0.0.1/cb", "http://127.0.0.1:/cb"),
            ("http://127.0.0.1/cb", "http://127.0.0.1/cb#x"),
            ("http://127.0.0.1/cb", "http://127.0.0.1/./cb"),
            ("http://127.0.0.1/cb", "http://127.0.0.1.evil.example/cb"),
            ("http://127.0.0.1/cb", "http://127.0.0.1\\.evil.example/cb"),
            ("http://localhost/cb", "http://localhost.evil.example/cb"),
            ("http://localhost/cb", "http://localhost:1234#x/cb"),
            ("http://localhost/cb", "HTTP://localhost:1/cb"),
            ("http://[::1]/", "http://[::1]:x/"),
            ("cursor://x/cb", "cursor://x:1/cb"),
            ("cursor://x/cb", "Cursor://x/cb"),
        ] {
            assert!(!matches(registered, requested), "{registered} {requested}");
        }
    }

    // C2
    #[test]
    fn a_person_sees_the_host_or_the_scheme() {
        for (uri, shown, loopback, private_use) in [
            ("https://claude.ai/api/mcp/auth_callback", "claude.ai", false, false),
            ("HTTPS://A.Example:8443/cb", "a.example", false, false),
            ("http://localhost:3000/cb", "localhost", true, false),
            ("http://[::1]/cb", "[::1]", true, false),
            ("cursor://anysphere.cursor-mcp/oauth", "cursor", false, true),
            ("com.example.app:/cb", "com.example.app", false, true),
        ] {
            let uri = proven(uri);
            assert_eq!(
                (uri.shown().as_str(), uri.is_loopback(), uri.is_private_use()),
                (shown, loopback, private_use)
            );
        }
    }

    // A15
    #[test]
    fn an_existing_query_stays_as_it_is() {
        for (uri, expected) in [
            ("https://a.example/cb", "https://a.example/cb?code=a%2Fb%20c"),
            ("https://a.example/cb?", "https://a.example/cb?code=a%2Fb%20c"),
            ("https://a.example/cb?x=%2f+y&z", "https://a.example/cb?x=%2f+y&z&code=a%2Fb%20c"),
            ("https://a.example/cb?x&", "https://a.example/cb?x&code=a%2Fb%20c"),
            ("com.example.app:/cb", "com.example.app:/cb?code=a%2Fb%20c"),
        ] {
            assert_eq!(proven(uri).with_query(&[("code", "a/b c")]), expected);
        }
    }

    proptest! {
        // A2, A3: whatever is matched leads a browser to the same program's host and to the same path.
        #[test]
        fn what_matches_is_the_same_loopback_host_and_path(
            host in "(127\\.0\\.0\\.1|\\[::1\\]|localhost)",
            port in "(:[0-9]{1,5})?",
            tail in "(/cb|/|)",
            between in "[:@.#?\\\\/0-9a-z\\t%]{0,7}",
        ) {
            let Ok(registered) = check(&format!("http://{host}{port}{tail}")) else { return Ok(()) };
            let requested = format!("http://{host}{between}{tail}");
            if registered.matches(&requested).is_some() {
                let (was, is) = (Url::parse(registered.as_str()).unwrap(), Url::parse(&requested).unwrap());
                prop_assert_eq!(was.host(), is.host());
                prop_assert_eq!((was.path(), was.query(), was.fragment()), (is.path(), is.query(), is.fragment()));
                prop_assert_eq!((is.username(), is.password()), ("", None));
            }
        }

        #[test]
        fn every_port_of_a_loopback_redirect_matches(port in 1_u16.., path in "/[a-z/]{0,9}") {
            let requested = format!("http://localhost:{port}{path}");
            let uri = check(&format!("http://localhost{path}")).unwrap().matches(&requested);
            prop_assert_eq!(uri.map(|uri| uri.0), Some(requested));
        }

        #[test]
        fn any_text_is_registered_or_refused(text in any::<String>(), scheme in "[a-z.+]{0,4}://?") {
            for text in [text.clone(), format!("{scheme}{text}"), format!("http://127.0.0.1{text}")] {
                if let Ok(registered) = check(&text) {
                    let uri = registered.matches(&text).unwrap();
                    prop_assert!(Url::parse(&uri.with_query(&[("state", &text)])).is_ok());
                    prop_assert!(!uri.shown().is_empty());
                }
                let _ = check("http://127.0.0.1/cb").unwrap().matches(&text);
            }
        }
    }
}
