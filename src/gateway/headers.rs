//! Which headers pass, and which are ours (design.md §7; P1 to P4).

use std::net::IpAddr;

use http::header::{CONNECTION, CONTENT_SECURITY_POLICY, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::guard::Admission;
use super::{Service, UserIdForm};
use crate::upstream::{Outgoing, Unspeakable};

const X_USER_ID: HeaderName = HeaderName::from_static("x-user-id");
const X_USER_NAME: HeaderName = HeaderName::from_static("x-user-name");
const X_USER_EMAIL: HeaderName = HeaderName::from_static("x-user-email");
pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
pub(super) const MCP_SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");

/// How many headers an answer gets on its way.
const ADDED_TO_ANSWERS: usize = 8;

/// What the upstream is told of a request's origin, in place of what the client says.
pub(super) struct Told<'a> {
    pub(super) service: &'a Service,
    pub(super) admission: &'a Admission,
    pub(super) client: IpAddr,
    pub(super) request_id: &'a HeaderValue,
}

/// Hands on what of a request's headers may go to the upstream: nothing that is for us, for this hop (also what `Connection`
/// names, RFC 9110 §7.6.1), or a claim about who is asking.
pub(super) fn pass_request<'h>(
    headers: &'h HeaderMap,
    mut pass: impl FnMut(&'h HeaderName, &'h HeaderValue),
) {
    let is_named = is_named_by_connection(headers);
    for (name, value) in headers {
        let text = name.as_str();
        let unwanted = is_hop_by_hop(text) || is_ours(text) || is_claim(text) || is_alias(text);
        if !unwanted && !is_named(name) {
            pass(name, value);
        }
    }
}

/// Takes everything out of an answer that is for this hop, or would act on our origin; and tells browsers not to act
/// on the rest.
pub(super) fn clean_response(headers: &mut HeaderMap) {
    remove(headers, |name| is_hop_by_hop(name) || acts_on_our_origin(name));
    headers.reserve(ADDED_TO_ANSWERS);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
}

impl Told<'_> {
    /// Writes our word about the request, in place of what was not handed on (P2).
    ///
    /// # Errors
    /// [`Unspeakable`]: a request is rather not forwarded than without its user.
    pub(super) fn write(&self, outgoing: &mut Outgoing) -> Result<(), Unspeakable> {
        outgoing.add(&X_REQUEST_ID, self.request_id);
        outgoing.add_address(&X_FORWARDED_FOR, self.client);
        outgoing.add(&X_FORWARDED_PROTO, &self.service.scheme);
        outgoing.add(&X_FORWARDED_HOST, &self.service.host);
        for (name, value) in self.who() {
            if let Some(value) = value {
                outgoing.add_text(&name, value)?;
            }
        }
        Ok(())
    }

    /// Writes who is asking, and nothing else, for a proxy that forwards the request itself. What is not told is empty, so that it
    /// takes the place of what a client says all the same.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub(super) fn tell(&self, headers: &mut HeaderMap) -> Result<(), Unspeakable> {
        for (name, value) in self.who() {
            let value = HeaderValue::from_bytes(value.unwrap_or_default().as_bytes());
            headers.insert(name, value.map_err(|_| Unspeakable)?);
        }
        Ok(())
    }

    /// Who is asking: every identity header, and what it says if it says something.
    fn who(&self) -> [(HeaderName, Option<&str>); 3] {
        let none = [(X_USER_ID, None), (X_USER_NAME, None), (X_USER_EMAIL, None)];
        let Some(claims) = self.admission.claims() else { return none };
        let settings = &self.service.settings;
        let id = match settings.user_id {
            UserIdForm::Subject => Some(claims.subject.as_str()),
            // A client that acts on its own has no number, and its name must not be taken for one.
            UserIdForm::Numeric if claims.subject.is_client() => None,
            UserIdForm::Numeric => Some(claims.subject.bare()),
        };
        let email = claims.email.as_deref().filter(|_| settings.forward_email);
        [(X_USER_ID, id), (X_USER_NAME, Some(&claims.login)), (X_USER_EMAIL, email)]
    }
}

/// Removes what is unwanted, and what `Connection` names (RFC 9110 §7.6.1).
fn remove(headers: &mut HeaderMap, unwanted: impl Fn(&str) -> bool) {
    let doomed: Vec<HeaderName> = {
        let is_named = is_named_by_connection(headers);
        headers.keys().filter(|name| unwanted(name.as_str()) || is_named(name)).cloned().collect()
    };
    for name in &doomed {
        headers.remove(name);
    }
}

/// Whether `Connection` names a header.
fn is_named_by_connection(headers: &HeaderMap) -> impl Fn(&HeaderName) -> bool {
    let lines = headers.get_all(CONNECTION);
    let none = lines.iter().next().is_none();
    move |header| {
        let mut named = lines.iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
        !none && named.any(|one| one.trim_ascii().eq_ignore_ascii_case(header.as_str().as_bytes()))
    }
}

fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | "http2-settings"
            | "expect"
    ) || name.starts_with("proxy-")
}

/// Credentials, and what only the gateway may say.
fn is_claim(name: &str) -> bool {
    matches!(name, "authorization" | "cookie" | "origin" | "forwarded" | "x-real-ip" | "x-request-id")
        || name.starts_with("x-forwarded-")
        || name.starts_with("x-user-")
        || is_foreign_claim(name)
}

/// What other gateways say of a user, an address or a route, and servers behind them believe: a server that moved here from
/// behind one must not believe it of a client.
fn is_foreign_claim(name: &str) -> bool {
    const PLACES: [&str; 5] =
        ["true-client-ip", "cf-connecting-ip", "x-client-ip", "x-cluster-client-ip", "x-rewrite-url"];
    // Most headers are told by two letters to be none of these.
    let may_be =
        matches!(name.as_bytes(), [b'x', b'-', ..] | [b'c', b'f', ..] | [b'r', b'e', ..] | [b't', ..]);
    may_be && (PLACES.contains(&name) || name.starts_with("x-original-") || is_foreign_user(name))
}

/// Those of them that say who is asking.
fn is_foreign_user(name: &str) -> bool {
    const NAMES: [&str; 9] = [
        "remote-user",
        "remote-groups",
        "remote-email",
        "remote-name",
        "x-email",
        "x-groups",
        "x-username",
        "x-userinfo",
        "x-wwwauthuser",
    ];
    const FAMILIES: [&str; 11] = [
        "x-remote-",
        "x-auth-request-",
        "x-webauth-",
        "x-authenticated-",
        "x-goog-authenticated-",
        "x-goog-iap-",
        "cf-access-",
        "tailscale-user-",
        "x-amzn-oidc-",
        "x-ms-client-principal",
        "x-client-cert",
    ];
    NAMES.contains(&name) || FAMILIES.iter().any(|family| name.starts_with(family))
}

/// Whether an `X-Forwarded-` header says who is asking, rather than where the request came from.
fn is_forwarded_user(name: &str) -> bool {
    const KINDS: [&str; 7] =
        ["user", "email", "group", "preferred-username", "access-token", "client-cert", "tls-client-cert"];
    let kind = name.strip_prefix("x-forwarded-");
    kind.is_some_and(|kind| KINDS.iter().any(|start| kind.starts_with(start)))
}

/// Another spelling of a header that we write or remove: CGI and WSGI servers do not tell an underscore, and some no
/// other sign, from a hyphen.
fn is_alias(name: &str) -> bool {
    if !name.contains(is_odd) {
        return false;
    }
    let name = plain(name);
    is_hop_by_hop(&name) || is_ours(&name) || is_claim(&name)
}

const fn is_odd(sign: char) -> bool {
    !sign.is_ascii_alphanumeric() && sign != '-'
}

/// A header's name as a server reads it that tells no sign from a hyphen.
pub(super) fn plain(name: &str) -> String {
    name.replace(is_odd, "-")
}

/// Whether a header is a claim about the user that would not be replaced by [`Told::tell`]: another of its family, one that other
/// gateways use, or another spelling of either.
pub(super) fn is_beyond_us(name: &str) -> bool {
    let plain = plain(name);
    let is_replaced = [X_USER_ID, X_USER_NAME, X_USER_EMAIL].iter().any(|header| header == name);
    let is_of_family = plain.starts_with("x-user-") && !is_replaced;
    is_of_family || is_foreign_user(&plain) || is_forwarded_user(&plain)
}

/// What is written anew for the upstream.
fn is_ours(name: &str) -> bool {
    matches!(name, "mcp-session-id" | "host" | "content-length")
}

fn acts_on_our_origin(name: &str) -> bool {
    name.starts_with("access-control-")
        || matches!(
            name,
            "set-cookie"
                | "strict-transport-security"
                | "alt-svc"
                | "clear-site-data"
                | "service-worker-allowed"
                | "www-authenticate"
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_other_gateways_say_of_a_user_or_a_route_is_not_believed_of_a_client() {
        // P2, RFC 9700 §4.13
        for claim in [
            "remote-user",
            "x-remote-user",
            "x-auth-request-email",
            "x-webauth-user",
            "x-authenticated-userid",
            "x-goog-authenticated-user-email",
            "cf-access-authenticated-user-email",
            "tailscale-user-login",
            "x-email",
            "x-groups",
            "x-username",
            "true-client-ip",
            "x-client-ip",
            "x-original-url",
            "x-rewrite-url",
            "x-original-forwarded-for",
        ] {
            assert!(is_claim(claim), "{claim}");
        }
        for alias in ["x_user_id", "x.user.id", "remote_user", "x_forwarded_for", "mcp_session_id"] {
            assert!(is_alias(alias), "{alias}");
        }
        for passing in ["mcp-param-user", "x-api-version", "traceparent", "accept", "last-event-id", "x.y"] {
            assert!(!is_claim(passing) && !is_alias(passing), "{passing}");
        }
    }

    #[test]
    fn who_is_asking_is_told_from_where_a_request_came_from() {
        // P2
        for person in [
            "remote-user",
            "x-remote-user",
            "x-auth-request-preferred-username",
            "x-webauth-user",
            "x-authenticated-userid",
            "x-goog-iap-jwt-assertion",
            "cf-access-jwt-assertion",
            "tailscale-user-login",
            "x-amzn-oidc-identity",
            "x-ms-client-principal-name",
            "x-client-cert",
            "x-email",
            "x-forwarded-user",
            "x-forwarded-groups",
            "x-forwarded-tls-client-cert-info",
            "x-user-roles",
        ] {
            let odd = [person.replace('-', "_"), person.replacen('-', ".", 1), person.replace('-', "~")];
            for name in [&[person.to_owned()][..], &odd].concat() {
                assert!(is_beyond_us(&name) && (is_claim(&name) || is_alias(&name)), "{name}");
            }
        }
        for replaced in ["x-user-id", "x-user-name", "x-user-email"] {
            assert!(!is_beyond_us(replaced), "{replaced}");
        }
        for place in [
            "x-client-ip",
            "x-real-ip",
            "true-client-ip",
            "cf-connecting-ip",
            "x-original-url",
            "x-rewrite-url",
            "x-forwarded-for",
            "x-forwarded-port",
            "x-forwarded-server",
            "x-request-id",
        ] {
            assert!(is_claim(place) && !is_beyond_us(place), "{place}");
        }
    }
}
