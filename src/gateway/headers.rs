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
            UserIdForm::Subject => claims.subject.as_str(),
            UserIdForm::Numeric => claims.subject.bare(),
        };
        headers.insert(X_USER_ID, value(id)?);
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
        "connection" | "keep-alive" | "te" | "trailer" | "transfer-encoding" | "upgrade" | "expect"
    ) || name.starts_with("proxy-")
}

/// Credentials, and what only the gateway may say.
fn is_claim(name: &str) -> bool {
    matches!(name, "authorization" | "cookie" | "origin" | "forwarded" | "x-real-ip" | "x-request-id")
        || name.starts_with("x-forwarded-")
        || name.starts_with("x-user-")
}

/// A spelling with underscores of a header that we write or remove: CGI and WSGI servers do not tell the two apart.
fn is_alias(name: &str) -> bool {
    if !name.contains('_') {
        return false;
    }
    let name = name.replace('_', "-");
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
