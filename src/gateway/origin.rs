//! Browsers: which origins may call a service (S26-http:58-61), and the CORS headers that tell them so.

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue};
use url::Url;

use super::Service;
use crate::host::is_loopback_url;

const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, DELETE, OPTIONS");
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "WWW-Authenticate, Retry-After, Mcp-Session-Id, MCP-Protocol-Version, X-Request-Id",
);
const TWO_HOURS: HeaderValue = HeaderValue::from_static("7200");
const ALLOWED: &str = "Authorization, Content-Type, MCP-Protocol-Version, Mcp-Session-Id, Last-Event-ID, \
                       Mcp-Method, Mcp-Name";

/// What a request's `Origin` means for a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// There is none: no browser, or the same origin.
    Absent,
    /// It may call, and may read the answer.
    Allowed(AllowedOrigin),
    /// 403: somebody's page in a browser, or DNS rebinding. Also `null`, which any sandboxed page can send.
    Refused,
}

/// The one origin whose pages may read a service's answer. Only [`decide`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AllowedOrigin(HeaderValue);

/// Decides on a request's `Origin`: the issuer's, the service's own, loopback (MCP Inspector), and those configured
/// (`origins` for all services, and the service's) may call.
pub(super) fn decide(headers: &HeaderMap, issuer: &str, origins: &[String], service: &Service) -> Origin {
    let mut values = headers.get_all(ORIGIN).iter();
    let (origin, more) = match (values.next(), values.next()) {
        (None, _) => return Origin::Absent,
        (Some(origin), more) => (origin, more.is_some()),
    };
    let known = |text: &str| {
        let configured = origins.iter().chain(&service.settings.origins).map(String::as_str);
        [issuer, &service.origin].into_iter().chain(configured).any(|one| one.eq_ignore_ascii_case(text))
    };
    match origin.to_str() {
        Ok(text) if !more && (known(text) || is_loopback(text)) => {
            Origin::Allowed(AllowedOrigin(origin.clone()))
        }
        Ok(_) | Err(_) => Origin::Refused,
    }
}

/// Exactly `http(s)://` and a loopback name or address, with or without port.
fn is_loopback(origin: &str) -> bool {
    let Ok(url) = Url::parse(origin) else { return false };
    is_loopback_url(&url)
        && matches!(url.scheme(), "http" | "https")
        && url.origin().ascii_serialization().eq_ignore_ascii_case(origin)
}

impl AllowedOrigin {
    /// Headers of an answer. `Vary` is added to what the upstream says.
    pub(super) fn answer(&self, headers: &mut HeaderMap) {
        self.allow(headers);
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    }

    /// Headers of the answer to a preflight: 204, never forwarded. Every `Mcp-Param-*` that the page asks for is allowed.
    pub(super) fn preflight(&self, request: &HeaderMap, headers: &mut HeaderMap) {
        self.allow(headers);
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        headers.insert(ACCESS_CONTROL_MAX_AGE, TWO_HOURS);
        let allowed = params(request).fold(ALLOWED.to_owned(), |all, name| all + ", " + name);
        if let Ok(allowed) = HeaderValue::try_from(allowed) {
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, allowed);
        }
    }

    fn allow(&self, headers: &mut HeaderMap) {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, self.0.clone());
        headers.append(VARY, HeaderValue::from_static("Origin"));
    }
}

/// The `Mcp-Param-*` names among those a preflight asks for.
fn params(request: &HeaderMap) -> impl Iterator<Item = &str> {
    request
        .get_all(ACCESS_CONTROL_REQUEST_HEADERS)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|names| names.split(','))
        .map(str::trim)
        .filter(|name| {
            name.get(..10).is_some_and(|start| start.eq_ignore_ascii_case("mcp-param-"))
                && http::HeaderName::from_bytes(name.as_bytes()).is_ok()
        })
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    fn decided(origins: &[&str]) -> Origin {
        let headers = origins.iter().map(|origin| (ORIGIN, origin.parse().unwrap())).collect();
        let mut service = testing::service();
        service.settings.origins = vec!["https://app.example".into()];
        decide(&headers, testing::ISSUER, &["https://portal.example".to_owned()], &service)
    }

    // P3
    #[test]
    fn known_origins_may_call() {
        assert_eq!(decided(&[]), Origin::Absent);
        for known in [
            testing::ISSUER,
            "https://todo.example.com",
            "https://app.example",
            "https://portal.example",
            "http://localhost:6274",
            "http://127.0.0.1",
            "https://[::1]:8443",
        ] {
            assert_eq!(decided(&[known]), Origin::Allowed(AllowedOrigin(known.parse().unwrap())), "{known}");
        }
    }

    // P3
    #[test]
    fn other_origins_are_refused() {
        for foreign in [
            "null",
            "",
            "https://evil.example",
            "https://todo.example.com.evil.example",
            "https://todo.example.com:8443",
            "http://todo.example.com",
            "http://localhost.evil.example",
            "http://localhost@evil.example",
            "http://evil@localhost",
            "http://localhost/x",
            "http://127.0.0.1.evil.example",
            "http://2130706433",
            "file://localhost",
            "http://10.0.0.1",
        ] {
            assert_eq!(decided(&[foreign]), Origin::Refused, "{foreign}");
        }
        assert_eq!(decided(&[testing::ISSUER, testing::ISSUER]), Origin::Refused, "two headers");
    }

    // requirements §2 item 17
    #[test]
    fn a_preflight_allows_what_mcp_clients_send() {
        let request: HeaderMap = [(
            ACCESS_CONTROL_REQUEST_HEADERS,
            "authorization,mcp-param-region, X-Evil,Mcp-Param-A b".parse().unwrap(),
        )]
        .into_iter()
        .collect();
        let mut headers = HeaderMap::new();
        AllowedOrigin("https://app.example".parse().unwrap()).preflight(&request, &mut headers);
        assert_eq!(headers[ACCESS_CONTROL_ALLOW_ORIGIN], "https://app.example");
        assert_eq!(headers[ACCESS_CONTROL_ALLOW_METHODS], "GET, POST, DELETE, OPTIONS");
        assert_eq!(
            headers[ACCESS_CONTROL_ALLOW_HEADERS],
            "Authorization, Content-Type, MCP-Protocol-Version, Mcp-Session-Id, Last-Event-ID, Mcp-Method, Mcp-Name, mcp-param-region"
        );
        assert_eq!(headers[VARY], "Origin");
        assert!(!headers.contains_key("access-control-allow-credentials"));
    }

    // requirements §2 item 17
    #[test]
    fn an_answer_exposes_the_headers_that_clients_read_and_keeps_the_upstreams_vary() {
        let mut headers: HeaderMap = [(VARY, "Accept".parse().unwrap())].into_iter().collect();
        AllowedOrigin("https://app.example".parse().unwrap()).answer(&mut headers);
        assert_eq!(
            headers[ACCESS_CONTROL_EXPOSE_HEADERS],
            "WWW-Authenticate, Retry-After, Mcp-Session-Id, MCP-Protocol-Version, X-Request-Id"
        );
        assert_eq!(headers.get_all(VARY).iter().collect::<Vec<_>>(), ["Accept", "Origin"]);
    }
}
