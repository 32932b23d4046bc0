//! Audit events: who signed in, approved, was refused, or lost a grant, and why.

use std::net::IpAddr;

use crate::oauth::GrantId;

/// The target of audit events, for filters.
pub(super) const TARGET: &str = "audit";

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Somebody came back from the identity provider.
    SignedIn,
    /// A person allowed a client to use a service.
    Approved,
    /// No access rule lets the person in.
    NotAllowed,
    /// A grant has ended.
    GrantRevoked,
    /// A login that a rule names came with another subject than the one it is pinned to.
    LoginTaken,
    /// A refresh token was newer than the store's record: the store lost a write.
    StoreLostWrite,
}

/// One event. Never an e-mail address, a code or a token.
#[derive(Clone, Copy, Debug)]
pub struct Audit<'a> {
    /// What.
    pub event: Event,
    /// The user's `sub`.
    pub subject: Option<&'a str>,
    /// The client's id.
    pub client: Option<&'a str>,
    /// The grant.
    pub grant: Option<GrantId>,
    /// The service's URL.
    pub resource: Option<&'a str>,
    /// Why, in words.
    pub reason: Option<&'a str>,
}

impl Event {
    const fn as_str(self) -> &'static str {
        match self {
            Self::SignedIn => "signed in",
            Self::Approved => "approved",
            Self::NotAllowed => "not allowed",
            Self::GrantRevoked => "grant revoked",
            Self::LoginTaken => "login taken",
            Self::StoreLostWrite => "store lost a write",
        }
    }
}

impl Audit<'_> {
    /// An event of which nothing else is known.
    #[must_use]
    pub const fn of(event: Event) -> Self {
        Self { event, subject: None, client: None, grant: None, resource: None, reason: None }
    }

    /// Writes the event, with the client's address and the request's id.
    pub fn write(&self, address: IpAddr, request_id: &str) {
        tracing::info!(
            target: TARGET,
            event = self.event.as_str(),
            sub = self.subject,
            client = self.client,
            grant = self.grant.map(tracing::field::display),
            resource = self.resource,
            reason = self.reason,
            %address,
            request_id,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::Format;
    use super::super::capture::logged;
    use super::*;

    #[test]
    fn an_audit_event_says_who_what_where_and_why() {
        let event = Audit {
            subject: Some("github:1"),
            client: Some("c-1"),
            grant: Some(GrantId::new([0; 16])),
            resource: Some("https://a.example/mcp"),
            reason: Some("a spent code"),
            ..Audit::of(Event::GrantRevoked)
        };
        let text = logged(Format::Json, "info", || event.write([192, 0, 2, 1].into(), "r-1"));
        let mut value: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
        assert!(value.as_object_mut().unwrap().remove("timestamp").is_some());
        assert_eq!(
            value,
            serde_json::json!({
                "level": "INFO", "target": "audit", "event": "grant revoked", "sub": "github:1", "client": "c-1",
                "grant": "AAAAAAAAAAAAAAAAAAAAAA", "resource": "https://a.example/mcp", "reason": "a spent code",
                "address": "192.0.2.1", "request_id": "r-1",
            })
        );
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let text = logged(Format::Text, "info", || {
            Audit::of(Event::NotAllowed).write([192, 0, 2, 1].into(), "r-1");
        });
        let wanted = "audit: event=\"not allowed\" address=192.0.2.1 request_id=\"r-1\"\n";
        assert!(text.ends_with(wanted), "{text}");
    }
}
