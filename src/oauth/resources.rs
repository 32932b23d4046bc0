//! Resource indicators (RFC 8707): a service's canonical URL, and the spellings clients use for it.

use std::fmt;

use serde::{Deserialize, Serialize};
use url::Url;

use super::{ErrorCode, OAuthError};

/// A service's public URL, byte for byte as configured: PRM `resource`, token `aud`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Resource(String);

/// Why a `resource` parameter names no service.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResourceError {
    /// No service has this URL.
    #[error("no service here has the URL {0}")]
    Unknown(String),
    /// Several `resource` parameters that mean different services.
    #[error("several resources were named; ask for one at a time")]
    Several,
}

impl Resource {
    /// A resource from a checked configuration or a record of ours.
    #[must_use]
    pub const fn from_canonical(url: String) -> Self {
        Self(url)
    }

    /// The canonical URL.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The one of `known` that all of `named` mean. Accepted: the canonical spelling, other case in scheme
    /// and host, a default port, one trailing slash more or less, a query, and the bare origin when
    /// just one of `known` lives on that host. `Ok(None)` if `named` is empty.
    ///
    /// # Errors
    /// [`ResourceError`]: `invalid_target` on the wire.
    pub fn find<'a, 'k>(
        named: impl Iterator<Item = &'a str>,
        known: impl Iterator<Item = &'k Self> + Clone,
    ) -> Result<Option<&'k Self>, ResourceError> {
        let known: Vec<&Self> = known.collect();
        let mut found = None;
        for name in named {
            let one = Self::find_one(name, &known).ok_or_else(|| ResourceError::Unknown(name.to_owned()))?;
            if found.is_some_and(|other| other != one) {
                return Err(ResourceError::Several);
            }
            found = Some(one);
        }
        Ok(found)
    }

    /// The one of `known` that `name` means: the closest spelling that is unambiguous.
    fn find_one<'k>(name: &str, known: &[&'k Self]) -> Option<&'k Self> {
        if let Some(exact) = known.iter().find(|resource| resource.0 == name) {
            return Some(exact);
        }
        let name = Spelling::read(name)?;
        let spelt = known.iter().filter_map(|resource| Some((*resource, Spelling::read(&resource.0)?)));
        let there: Vec<_> = spelt.filter(|(_, spelling)| spelling.origin == name.origin).collect();
        let only = |fits: &dyn Fn(&str) -> bool| {
            let mut fitting = there.iter().filter(|(_, spelling)| fits(spelling.path));
            fitting.next().filter(|_| fitting.next().is_none()).map(|(resource, _)| *resource)
        };
        only(&|path| path == name.path)
            .or_else(|| only(&|path| differ_in_a_slash(path, name.path)))
            .or_else(|| only(&|_| name.path == "/"))
    }
}

/// A URL taken apart as far as spellings may differ. Everything else that a URL parser would smooth away (dot segments, other
/// forms of an address, backslashes, user names) is no spelling of a resource.
struct Spelling<'a> {
    /// Scheme and host lower-case, the port unless it is the scheme's own.
    origin: String,
    /// As written, from the first slash to the query; `/` if there is none.
    path: &'a str,
}

impl<'a> Spelling<'a> {
    fn read(text: &'a str) -> Option<Self> {
        if !text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
            return None;
        }
        let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
        // Without `//` right behind the scheme a URL parser finds the host elsewhere than we would.
        let (_, rest) =
            text.split_once("://").filter(|(scheme, _)| scheme.eq_ignore_ascii_case(url.scheme()))?;
        let (rest, _query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let path = if path.is_empty() { "/" } else { path };
        let same_host = authority_host(authority).eq_ignore_ascii_case(url.host_str()?);
        same_host.then(|| Self { origin: url.origin().ascii_serialization(), path })
    }
}

/// An authority without its port. A user name stays, so that it is found to be no host.
fn authority_host(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        Some(_) | None => authority,
    }
}

/// Whether one path is the other and one slash.
fn differ_in_a_slash(one: &str, other: &str) -> bool {
    one.strip_suffix('/') == Some(other) || other.strip_suffix('/') == Some(one)
}

impl From<&ResourceError> for OAuthError {
    fn from(error: &ResourceError) -> Self {
        Self::new(ErrorCode::InvalidTarget, error)
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn known(urls: &[&str]) -> Vec<Resource> {
        urls.iter().map(|url| Resource::from_canonical((*url).to_owned())).collect()
    }

    fn find<'k>(named: &[&str], known: &'k [Resource]) -> Result<Option<&'k str>, ResourceError> {
        Resource::find(named.iter().copied(), known.iter()).map(|found| found.map(Resource::as_str))
    }

    // A5, A6, requirements §2 item 4
    #[test]
    fn every_equivalent_spelling_means_the_canonical_resource() {
        let known = known(&["https://fetch.example.com/mcp", "https://todo.example.com/mcp"]);
        for named in [
            "https://fetch.example.com/mcp",
            "HTTPS://Fetch.Example.COM/mcp",
            "https://fetch.example.com:443/mcp",
            "https://fetch.example.com/mcp/",
            "https://fetch.example.com/mcp?utm_source=x",
            "https://fetch.example.com/mcp/?a=/b",
            "https://fetch.example.com",
            "https://fetch.example.com/",
            "https://fetch.example.com?utm_source=x",
            "https://fetch.example.com:443/?",
        ] {
            assert_eq!(find(&[named], &known), Ok(Some("https://fetch.example.com/mcp")), "{named}");
        }
    }

    // A5
    #[test]
    fn anything_else_is_unknown() {
        let known = known(&["https://fetch.example.com/mcp", "http://localhost:8080/mcp"]);
        for named in [
            "https://other.example.com/mcp",
            "http://fetch.example.com/mcp",
            "https://fetch.example.com:8443/mcp",
            "https://fetch.example.com/MCP",
            "https://fetch.example.com/mcp//",
            "https://fetch.example.com/mcpx",
            "https://fetch.example.com/mcp/x",
            "https:/fetch.example.com://fetch.example.com/mcp",
            "https:fetch.example.com/mcp?://fetch.example.com/mcp",
            "https://fetch.example.com/mcp#",
            "https://fetch.example.com/mcp#fragment",
            "https://fetch.example.com#/mcp",
            "https://fetch.example.com//mcp",
            "https://fetch.example.com/x/../mcp",
            "https://fetch.example.com/%2e/mcp",
            "https://fetch.example.com/%6dcp",
            "https://user@fetch.example.com/mcp",
            "https://@fetch.example.com/mcp",
            "https://fetch.example.com@evil.example/mcp",
            "https://fetch.example.com.evil.example/mcp",
            "https://fetch.example.com\\mcp",
            "https:fetch.example.com/mcp",
            "https:///fetch.example.com/mcp",
            " https://fetch.example.com/mcp",
            "https://fetch.example.com/m\tcp",
            "https://fetch.ex%61mple.com/mcp",
            "https://ﬀetch.example.com/mcp",
            "http://127.0.0.1:8080/mcp",
            "fetch.example.com/mcp",
            "/mcp",
            "urn:mcp",
            "wss://fetch.example.com/mcp",
        ] {
            assert_eq!(find(&[named], &known), Err(ResourceError::Unknown(named.to_owned())), "{named}");
        }
    }

    #[test]
    fn the_origin_alone_means_nothing_where_several_services_live() {
        let known = known(&["https://tools.example.com/time/mcp", "https://tools.example.com/fetch/mcp"]);
        for origin in ["https://tools.example.com", "https://tools.example.com/"] {
            assert_eq!(find(&[origin], &known), Err(ResourceError::Unknown(origin.to_owned())));
        }
        assert_eq!(
            find(&["https://tools.example.com/time/mcp/"], &known),
            Ok(Some("https://tools.example.com/time/mcp"))
        );
    }

    #[test]
    fn a_canonical_url_may_end_in_a_slash_or_be_an_origin() {
        let known = known(&["https://a.example/mcp/", "https://b.example/", "https://b.example/mcp"]);
        assert_eq!(find(&["https://a.example/mcp"], &known), Ok(Some("https://a.example/mcp/")));
        assert_eq!(find(&["https://a.example/mcp//"], &known), Ok(Some("https://a.example/mcp/")));
        assert_eq!(find(&["https://b.example"], &known), Ok(Some("https://b.example/")));
    }

    #[test]
    fn the_exact_spelling_wins_over_a_slash() {
        let known = known(&["https://a.example/mcp", "https://a.example/mcp/"]);
        assert_eq!(find(&["https://a.example/mcp/"], &known), Ok(Some("https://a.example/mcp/")));
        assert_eq!(find(&["https://A.example/mcp"], &known), Ok(Some("https://a.example/mcp")));
    }

    // A12
    #[test]
    fn several_spellings_of_one_resource_are_one_and_different_ones_are_refused() {
        let known = known(&["https://a.example/mcp", "https://b.example/mcp"]);
        let same = ["https://a.example/mcp", "https://A.EXAMPLE/mcp/", "https://a.example"];
        assert_eq!(find(&same, &known), Ok(Some("https://a.example/mcp")));
        assert_eq!(find(&["https://a.example", "https://b.example"], &known), Err(ResourceError::Several));
        assert_eq!(
            find(&["https://a.example", "https://c.example"], &known),
            Err(ResourceError::Unknown("https://c.example".to_owned()))
        );
        assert_eq!(find(&[], &known), Ok(None));
    }

    #[test]
    fn a_resource_that_is_named_wrong_is_invalid_target_in_ascii() {
        let error = OAuthError::from(&ResourceError::Unknown("https://\"ä".to_owned()));
        assert_eq!(error.code, ErrorCode::InvalidTarget);
        assert_eq!(error.description, "no service here has the URL https://'?");
    }

    proptest! {
        #[test]
        fn any_text_is_found_or_unknown(named in any::<String>()) {
            let known = known(&["https://a.example/mcp"]);
            prop_assert!(find(&[&named], &known) != Err(ResourceError::Several));
        }

        #[test]
        fn what_is_found_leads_to_the_same_origin(
            tail in "[:@/?#.%2ea-c\\\\]{0,12}",
            before in "(https?|HTTPS|ftp)://(u@)?(a|b|A)(\\.example)?",
        ) {
            let known = known(&["https://a.example/mcp", "https://b.example/"]);
            let named = format!("{before}{tail}");
            if let Ok(Some(found)) = find(&[&named], &known) {
                prop_assert_eq!(Url::parse(&named).unwrap().origin(), Url::parse(found).unwrap().origin());
            }
        }
    }
}
