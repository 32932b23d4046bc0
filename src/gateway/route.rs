//! Which endpoint a request is for: by host, then by path. Everything about a target that is not plain is refused
//! here, so that no two readers of a path can disagree.

use std::sync::Arc;

use http::header::TRANSFER_ENCODING;
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderValue, Method};
use percent_encoding::percent_decode_str;

use super::connections::Action;
use super::help::Topic;
use super::{Service, Site, site::Host};
use crate::host::without_port;
use crate::oauth::ClientId;

/// What a request is for.
pub(super) enum Route<'a> {
    /// RFC 8414.
    ServerMetadata,
    /// RFC 9728.
    ResourceMetadata(&'a bytes::Bytes),
    /// A well-known path where nothing is: 404, never an upstream's business (P16, D17).
    NoDocument,
    /// GET and POST at the issuer.
    Authorize,
    /// GET on a service's host: 302 to the issuer (D18).
    AuthorizeAtIssuer(Option<&'a Arc<Service>>),
    /// Where the identity provider sends the browser back to.
    Callback,
    /// RFC 6749 §3.2.
    Token,
    /// RFC 7591 §3.
    Register,
    /// RFC 7592 §2: `/register/<client id>`, at the issuer only, where `registration_client_uri` leads.
    Registration(ClientId),
    /// RFC 7009 §2.
    Revoke,
    /// RFC 7662 §2, at the issuer only.
    Introspect,
    /// RFC 7517 §5.
    Keys,
    /// The `dev` identity's page.
    DevLogin,
    /// The stylesheet of our pages.
    Stylesheet,
    /// What there is to say of troubles: of one, or the list of all.
    Help(Topic),
    /// What the issuer's root shows.
    Home,
    /// What its forms post.
    Connections(Action),
    /// An MCP server.
    Service(&'a Arc<Service>),
    /// A path of a host we serve, where nothing is.
    Nothing(&'a Host),
}

/// Why a request's target is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TargetError {
    /// No `Host`, several, or one that is not what `:authority` says (P14).
    #[error("the request must name one host")]
    Host,
    /// `GET http://host/path`, or `CONNECT`: we are not a forward proxy (P14).
    #[error("the request's target must be a path")]
    Form,
    /// `..`, `//`, encoded slashes and the like.
    #[error("the path must be plain: no empty or dot segments, no encoded slashes")]
    Path,
    /// `TRACE`, whose answer repeats a request as a server behind got it: with what only that may know of the user (RFC 9110
    /// §9.3.8).
    #[error("TRACE is not answered")]
    Trace,
    /// A transfer coding other than `chunked` alone: the server behind would get a coded body and not know of it (RFC 9112
    /// §6.1).
    #[error("the only transfer coding understood is chunked, once")]
    Coding,
    /// A host that is none of ours (P15).
    #[error("this gateway does not serve the host {0}")]
    UnknownHost(String),
    /// The TLS server name is another host (P15).
    #[error("the connection was made for another host")]
    Misdirected,
}

/// The host and path a request names, after they were found plain.
pub(super) struct Target<'a> {
    /// The configured spelling.
    pub(super) host_name: &'a str,
    pub(super) host: &'a Host,
}

/// Finds the host of a request.
///
/// # Errors
/// [`TargetError`].
pub(super) fn target<'a>(
    site: &'a Site,
    parts: &Parts,
    server_name: Option<&str>,
) -> Result<Target<'a>, TargetError> {
    let named = named_host(parts)?;
    // Methods are case-sensitive, and some servers do not know.
    if parts.method.as_str().eq_ignore_ascii_case("TRACE") {
        return Err(TargetError::Trace);
    }
    if !is_coding_plain(parts) {
        return Err(TargetError::Coding);
    }
    if !is_plain(parts.uri.path()) {
        return Err(TargetError::Path);
    }
    if server_name.is_some_and(|name| !name.eq_ignore_ascii_case(without_port(named))) {
        return Err(TargetError::Misdirected);
    }
    let unknown = || match Authority::try_from(named) {
        Ok(_) => TargetError::UnknownHost(named.to_owned()),
        Err(_) => TargetError::Host,
    };
    let (host_name, host) = site.host(named).ok_or_else(unknown)?;
    Ok(Target { host_name, host })
}

/// The endpoint of a request.
pub(super) fn route<'a>(site: &'a Site, target: &Target<'a>, parts: &Parts) -> Route<'a> {
    let path = parts.uri.path();
    let host = target.host;
    if names_well_known(path) {
        return well_known(host, path);
    }
    let at_issuer = target.host_name == site.issuer_host;
    match path {
        "/token" => return Route::Token,
        "/register" => return Route::Register,
        "/authorize" if at_issuer => return Route::Authorize,
        "/authorize" => return Route::AuthorizeAtIssuer(host.only.as_ref()),
        "/callback" if at_issuer => return Route::Callback,
        "/revoke" if at_issuer => return Route::Revoke,
        "/introspect" if at_issuer => return Route::Introspect,
        "/jwks" if at_issuer => return Route::Keys,
        "/dev/login" if at_issuer && site.settings.dev_identity => return Route::DevLogin,
        "/assets/app.css" if at_issuer => return Route::Stylesheet,
        "/help" if at_issuer => return Route::Help(Topic::All),
        "/sign-in" if at_issuer => return Route::Connections(Action::SignIn),
        "/sign-out" if at_issuer => return Route::Connections(Action::SignOut),
        "/disconnect" if at_issuer => return Route::Connections(Action::Disconnect),
        "/" if at_issuer && parts.method != Method::POST => return Route::Home,
        _ => {}
    }
    if let Some(id) = path.strip_prefix("/help/").filter(|_| at_issuer) {
        return Route::Help(Topic::named(id));
    }
    let registration = path.strip_prefix("/register/").filter(|id| at_issuer && !id.contains('/'));
    if let Some(client) = registration.and_then(ClientId::parse) {
        return Route::Registration(client);
    }
    host.service_at(path).map_or(Route::Nothing(host), Route::Service)
}

/// Whether a segment is `.well-known`, however it is written.
fn names_well_known(path: &str) -> bool {
    let decoded = |segment| percent_decode_str(segment).eq(b".well-known".iter().copied());
    path.contains(['.', '%']) && path.split('/').any(decoded)
}

fn well_known<'a>(host: &'a Host, path: &str) -> Route<'a> {
    const SERVER: &str = "/.well-known/oauth-authorization-server";
    match path.strip_prefix(SERVER) {
        Some("") => return Route::ServerMetadata,
        Some(inserted) if host.is_service_path(inserted) => return Route::ServerMetadata,
        Some(_) | None => {}
    }
    host.document(path).map_or(Route::NoDocument, Route::ResourceMetadata)
}

/// The one host a request names (RFC 9112 §3.2, RFC 9113 §8.3.1).
fn named_host(parts: &Parts) -> Result<&str, TargetError> {
    let mut hosts = parts.headers.get_all(http::header::HOST).iter();
    let (host, more) = (hosts.next(), hosts.next());
    if more.is_some() {
        return Err(TargetError::Host);
    }
    let host = host.map(|host| host.to_str().map_err(|_| TargetError::Host)).transpose()?;
    let authority = parts.uri.authority().map(http::uri::Authority::as_str);
    let is_http2 = parts.version >= http::Version::HTTP_2;
    let is_web = matches!(parts.uri.scheme_str(), None | Some("http" | "https"));
    if parts.method.as_str().eq_ignore_ascii_case("CONNECT") || (authority.is_some() && !is_http2) || !is_web
    {
        return Err(TargetError::Form);
    }
    match (authority, host) {
        (Some(authority), Some(host)) if !authority.eq_ignore_ascii_case(host) => Err(TargetError::Host),
        (Some(named), _) | (None, Some(named)) if !named.is_empty() && !named.contains('@') => Ok(named),
        (Some(_) | None, _) => Err(TargetError::Host),
    }
}

/// Whether the body has no transfer coding but `chunked`, which hyper has taken off.
fn is_coding_plain(parts: &Parts) -> bool {
    let mut codings = parts.headers.get_all(TRANSFER_ENCODING).iter();
    let is_chunked = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"chunked");
    codings.next().is_none_or(is_chunked) && codings.next().is_none()
}

/// Whether every reader of `path` sees the same segments in it.
fn is_plain(path: &str) -> bool {
    // Most paths have nothing in them that could be read in two ways.
    let odd = path.contains(['%', '\\']) || path.contains("//") || path.contains("/.");
    path.starts_with('/') && (!odd || has_plain_segments(path))
}

/// The same of a path with escapes, dots or the like in it.
fn has_plain_segments(path: &str) -> bool {
    let lower = path.to_ascii_lowercase();
    let hidden = ["//", "\\", "%2e", "%2f", "%5c", "%7f"].iter().any(|part| lower.contains(part));
    // Servers of the Java world read `..;x` as `..` (a parameter of the segment).
    let lower = lower.replace("%3b", ";");
    let dots = |segment: &str| matches!(segment.split(';').next(), Some("." | ".."));
    !hidden && are_escapes_plain(&lower) && !lower.split('/').any(dots)
}

/// Whether every `%` begins an escape that is whole, and is none of a control character: what decodes it leniently, or writes
/// it into a line of its own, would see another path.
fn are_escapes_plain(lower: &str) -> bool {
    lower.split('%').skip(1).all(|escape| {
        let [high, low, ..] = escape.as_bytes() else { return false };
        (b'2'..=b'f').contains(high) && high.is_ascii_hexdigit() && low.is_ascii_hexdigit()
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_path_is_plain_only_if_no_two_readers_can_disagree() {
        for plain in ["/", "/mcp", "/mcp/", "/a.b/..c", "/mcp/%20x", "/.well-known/x"] {
            assert!(is_plain(plain), "{plain}");
        }
        for odd in [
            "*",
            "",
            "//mcp",
            "/a//b",
            "/a/../b",
            "/a/.",
            "/a/%2e%2E/b",
            "/a/..;/b",
            "/a/.;x=1/b",
            "/a/..%3B/b",
            "/%2ewell-known/x",
            "/a/.%2e",
            "/a%2Fb",
            "/a%5cb",
            "/a\\b",
            "/a%00",
            "/a%0d%0aX-A:%20b",
            "/a%1F",
            "/a%7F",
            "/a%",
            "/a%2",
            "/a%zz",
            "/a%u002e%u002e",
        ] {
            assert!(!is_plain(odd), "{odd}");
        }
    }

    proptest! {
        #[test]
        fn the_short_way_gives_the_long_ways_verdict(path in "/?(/|\\.|a|%2[eEfF]|%5[cC]|%[02]0|\\\\){0,6}") {
            prop_assert_eq!(is_plain(&path), path.starts_with('/') && has_plain_segments(&path));
        }
    }
}
