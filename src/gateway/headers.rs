//! Which headers pass, and which are ours (design.md §7; P1 to P4).

use std::net::IpAddr;

use http::header::{CONNECTION, CONTENT_SECURITY_POLICY, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::guard::Admission;
use super::{Service, UserIdForm};

const X_USER_ID: HeaderName = HeaderName::from_static("x-user-id");
const X_USER_NAME: HeaderName = HeaderName::from_static("x-user-name");
const X_USER_EMAIL: HeaderName = HeaderName::from_static("x-user-email");
pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// What the upstream is told of a request's origin, in place of what the client says.
pub(super) struct Told<'a> {
    pub(super) service: &'a Service,
    pub(super) admission: &'a Admission,
    pub(super) client: IpAddr,
    pub(super) request_id: &'a str,
}

/// A value that cannot stand in a header: a user id with control characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unspeakable;

/// Takes everything out of a request that is for us, for this hop, or a claim about who is asking.
pub(super) fn clean_request(headers: &mut HeaderMap) {
    remove(headers, |name| is_hop_by_hop(name) || is_claim(name) || is_alias(name));
}

/// Takes everything out of an answer that is for this hop, or would act on our origin; and tells browsers not to act
/// on the rest.
pub(super) fn clean_response(headers: &mut HeaderMap) {
    remove(headers, |name| is_hop_by_hop(name) || acts_on_our_origin(name));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
}

impl Told<'_> {
    /// Writes our word about the request into cleaned headers (P2).
    ///
    /// # Errors
    /// [`Unspeakable`]: a request is rather not forwarded than without its user.
    pub(super) fn write(&self, headers: &mut HeaderMap) -> Result<(), Unspeakable> {
        headers.insert(X_REQUEST_ID, value(self.request_id)?);
        headers.insert(X_FORWARDED_FOR, value(&self.client.to_string())?);
        headers.insert(X_FORWARDED_PROTO, self.service.scheme.clone());
        headers.insert(X_FORWARDED_HOST, self.service.host.clone());
        self.write_user(headers)
    }

    fn write_user(&self, headers: &mut HeaderMap) -> Result<(), Unspeakable> {
        let Some(claims) = self.admission.claims() else { return Ok(()) };
        let settings = &self.service.settings;
        let id = match settings.user_id {
            UserIdForm::Subject => Some(claims.subject.as_str()),
            // A client that acts on its own has no number, and its name must not be taken for one.
            UserIdForm::Numeric if claims.subject.is_client() => None,
            UserIdForm::Numeric => Some(claims.subject.bare()),
        };
        if let Some(id) = id {
            headers.insert(X_USER_ID, value(id)?);
        }
        headers.insert(X_USER_NAME, value(&claims.login)?);
        if let (true, Some(email)) = (settings.forward_email, &claims.email) {
            headers.insert(X_USER_EMAIL, value(email)?);
        }
        Ok(())
    }
}

/// Names may be UTF-8, control characters not.
fn value(text: &str) -> Result<HeaderValue, Unspeakable> {
    HeaderValue::from_bytes(text.as_bytes()).map_err(|_| Unspeakable)
}

/// Removes what is unwanted, and what `Connection` names (RFC 9110 §7.6.1).
fn remove(headers: &mut HeaderMap, unwanted: impl Fn(&str) -> bool) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .collect();
    let doomed: Vec<HeaderName> = headers.keys().filter(|name| unwanted(name.as_str())).cloned().collect();
    for name in named.iter().chain(&doomed) {
        headers.remove(name);
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
    const NAMES: [&str; 14] = [
        "remote-user",
        "remote-groups",
        "remote-email",
        "remote-name",
        "true-client-ip",
        "cf-connecting-ip",
        "x-client-ip",
        "x-cluster-client-ip",
        "x-rewrite-url",
        "x-email",
        "x-groups",
        "x-username",
        "x-userinfo",
        "x-wwwauthuser",
    ];
    const FAMILIES: [&str; 12] = [
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
        "x-original-",
        "x-client-cert",
    ];
    NAMES.contains(&name) || FAMILIES.iter().any(|family| name.starts_with(family))
}

/// Another spelling of a header that we write or remove: CGI and WSGI servers do not tell an underscore, and some no
/// other sign, from a hyphen.
fn is_alias(name: &str) -> bool {
    let odd = |c: char| !c.is_ascii_alphanumeric() && c != '-';
    if !name.contains(odd) {
        return false;
    }
    let name = name.replace(odd, "-");
    is_hop_by_hop(&name)
        || is_claim(&name)
        || matches!(name.as_str(), "mcp-session-id" | "host" | "content-length")
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
}
