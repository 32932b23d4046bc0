//! Audit events: who signed in, approved, was refused, or lost a grant, and why. Never a token, a code, a secret or an
//! e-mail address.
//!
//! | event | when | fields |
//! |---|---|---|
//! | `client_registered` | somebody registered a client (RFC 7591) | `client` |
//! | `client_updated` | a client changed its registration (RFC 7592) | `client` |
//! | `client_deleted` | a registration was deleted | `client` `by` |
//! | `client_evicted` | an unused registration made room for a newer one | `client` `by` `reason` |
//! | `login_started` | a browser was sent to the identity provider | `client` `resource` |
//! | `login_succeeded` | somebody came back from the identity provider | `sub` `client` `resource` |
//! | `login_refused` | no access rule lets the person in, or the identity provider said no | `sub` `client` `resource` `reason` |
//! | `login_taken` | a login of the access rules came with another account than the one it is pinned to | `sub` `client` `reason` |
//! | `login_unpinned` | an operator gave a login of the access rules free: it is the next one's who signs in with it | `sub` `by` |
//! | `logout` | a person ended the browser's session | `sub` |
//! | `consent_given` | a person allowed a client to use a service | `sub` `client` `grant` `resource` |
//! | `consent_denied` | a person did not | `sub` `client` `resource` |
//! | `token_issued` | the first tokens of a grant | `sub` `client` `grant` `resource` |
//! | `token_refreshed` | further ones, for the newest refresh token | `sub` `client` `grant` `resource` |
//! | `token_refused` | a code, a refresh token or a client's proof was not accepted | `client` `reason` |
//! | `refresh_replayed` | a refresh token came again within its grace and got the same successor | `sub` `client` `grant` `resource` |
//! | `refresh_reused` | a refresh token came again after its grace: somebody else may have it; `grant_revoked` follows | `sub` `client` `grant` `resource` `reason` |
//! | `grant_revoked` | a grant has ended | `sub` `client` `grant` `resource` `by` `reason` |
//! | `key_rotated` | a key took the place of another | `by` `reason` |
//! | `limit_hit` | a rate limit refuses requests of this address | `client` `reason` |
//! | `log_level_changed` | an operator has the log say more or less, or that is over | `by` `reason` |
//! | `store_lost_write` | a refresh token is newer than the store's record: the store has lost a write, as in a failover | `sub` `client` `grant` `resource` |
//!
//! Every line has `timestamp`, `level` (`INFO`), `target` (`audit`) and `event`; one that a request has caused also `address`
//! and `request_id`, and `trace_id` if its `traceparent` names one. A field whose value is not known is left out. deploy/OPERATIONS.md says the same to operators.

use std::net::IpAddr;

use super::TraceId;
use crate::oauth::{Grant, GrantId};

/// The target of audit events, for filters.
pub(super) const TARGET: &str = "audit";

/// What happened. The names are an interface: operators filter by them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// `client_registered`: somebody registered a client (RFC 7591).
    ClientRegistered,
    /// `client_updated`: a client changed its registration (RFC 7592 §2.2).
    ClientUpdated,
    /// `client_deleted`: a registration was deleted, by whom.
    ClientDeleted,
    /// `client_evicted`: an unused registration made room for a newer one.
    ClientEvicted,
    /// `login_started`: a browser was sent to the identity provider.
    LoginStarted,
    /// `login_succeeded`: somebody came back from the identity provider.
    LoginSucceeded,
    /// `login_refused`: no access rule lets the person in, or the identity provider said no; the rule, or what it said.
    LoginRefused,
    /// `login_taken`: a login that a rule names came with another subject than the one it is pinned to.
    LoginTaken,
    /// `login_unpinned`: a login of the access rules is nobody's now; whose it was.
    LoginUnpinned,
    /// `logout`: a person ended the browser's session.
    Logout,
    /// `consent_given`: a person allowed a client to use a service.
    ConsentGiven,
    /// `consent_denied`: a person did not.
    ConsentDenied,
    /// `token_issued`: the first tokens of a grant.
    TokenIssued,
    /// `token_refreshed`: further ones.
    TokenRefreshed,
    /// `token_refused`: a code, a refresh token or a client's proof was not accepted; why.
    TokenRefused,
    /// `refresh_replayed`: a refresh token came again within its grace and got the same successor.
    RefreshReplayed,
    /// `refresh_reused`: a refresh token came again after its grace; the grant is revoked (RFC 9700 §4.14.2).
    RefreshReused,
    /// `grant_revoked`: a grant has ended, by whom.
    GrantRevoked,
    /// `key_rotated`: a key took the place of another.
    KeyRotated,
    /// `limit_hit`: a rate limit refused requests of this address; which.
    LimitHit,
    /// `log_level_changed`: the log says more or less from now on; who wants it, and for how long.
    LogLevelChanged,
    /// `store_lost_write`: a refresh token was newer than the store's record.
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
    /// Who did it: `client`, `person`, `operator`, `access rules`, `gateway`.
    pub by: Option<&'a str>,
    /// Why, in words.
    pub reason: Option<&'a str>,
}

impl Event {
    /// Its name in the log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClientRegistered => "client_registered",
            Self::ClientUpdated => "client_updated",
            Self::ClientDeleted => "client_deleted",
            Self::ClientEvicted => "client_evicted",
            Self::LoginStarted => "login_started",
            Self::LoginSucceeded => "login_succeeded",
            Self::LoginRefused => "login_refused",
            Self::LoginTaken => "login_taken",
            Self::LoginUnpinned => "login_unpinned",
            Self::Logout => "logout",
            Self::ConsentGiven => "consent_given",
            Self::ConsentDenied => "consent_denied",
            Self::TokenIssued => "token_issued",
            Self::TokenRefreshed => "token_refreshed",
            Self::TokenRefused => "token_refused",
            Self::RefreshReplayed => "refresh_replayed",
            Self::RefreshReused => "refresh_reused",
            Self::GrantRevoked => "grant_revoked",
            Self::KeyRotated => "key_rotated",
            Self::LimitHit => "limit_hit",
            Self::LogLevelChanged => "log_level_changed",
            Self::StoreLostWrite => "store_lost_write",
        }
    }
}

impl<'a> Audit<'a> {
    /// An event of which nothing else is known.
    #[must_use]
    pub const fn of(event: Event) -> Self {
        Self { event, subject: None, client: None, grant: None, resource: None, by: None, reason: None }
    }

    /// An event of a grant: its user, client and service.
    #[must_use]
    pub fn of_grant(event: Event, grant: &'a Grant) -> Self {
        Self {
            subject: Some(grant.facts.user.subject.as_str()),
            client: Some(grant.client.as_str()),
            grant: Some(grant.id),
            resource: Some(grant.resource.as_str()),
            ..Self::of(event)
        }
    }

    /// Writes an event of a request, with the client's address, the request's id, and its trace's.
    pub fn write(&self, address: IpAddr, request_id: &str, trace: Option<TraceId>) {
        self.emit(Some(address), Some(request_id), trace);
    }

    /// Writes an event that no request has caused: the operator's, or the gateway's own.
    pub fn write_alone(&self) {
        self.emit(None, None, None);
    }

    fn emit(&self, address: Option<IpAddr>, request_id: Option<&str>, trace: Option<TraceId>) {
        tracing::info!(
            target: TARGET,
            event = self.event.as_str(),
            sub = self.subject,
            client = self.client,
            grant = self.grant.map(tracing::field::display),
            resource = self.resource,
            by = self.by,
            reason = self.reason,
            address = address.map(tracing::field::display),
            request_id,
            trace_id = trace.as_ref().map(TraceId::as_str),
        );
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

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
        let text = logged(Format::Json, "info", || event.write([192, 0, 2, 1].into(), "r-1", None));
        let mut value: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
        assert!(value.as_object_mut().unwrap().remove("timestamp").is_some());
        assert_eq!(
            value,
            serde_json::json!({
                "level": "INFO", "target": "audit", "event": "grant_revoked", "sub": "github:1", "client": "c-1",
                "grant": "AAAAAAAAAAAAAAAAAAAAAA", "resource": "https://a.example/mcp", "reason": "a spent code",
                "address": "192.0.2.1", "request_id": "r-1",
            })
        );
    }

    /// The rows of a table of events, by the event's name.
    fn rows<'a>(text: &'a str, indent: &str) -> BTreeMap<&'a str, &'a str> {
        let lines = text.lines().filter_map(|line| line.strip_prefix(indent));
        let rows = lines.filter_map(|line| Some((line.strip_prefix("| `")?.split_once('`')?.0, line)));
        rows.collect()
    }

    #[test]
    fn both_tables_have_every_event_and_the_fields_that_there_are() {
        let source = include_str!("audit.rs");
        let readme = include_str!("../../deploy/OPERATIONS.md");
        let section = readme.split_once("\n## Audit events\n").unwrap().1.split("\n## ").next().unwrap();
        let (ours, theirs) = (rows(source, "//! "), rows(section, ""));
        assert_eq!(ours, theirs, "the table above and the one for operators");
        let names: BTreeSet<_> = source
            .lines()
            .filter_map(|line| {
                line.trim().strip_prefix("Self::")?.split_once(" => \"")?.1.strip_suffix("\",")
            })
            .collect();
        assert!(names.contains("grant_revoked"), "{names:?}");
        assert_eq!(ours.keys().copied().collect::<BTreeSet<_>>(), names);
        for row in ours.values() {
            let fields = row.split('|').nth(3).unwrap().split_whitespace();
            for field in fields {
                let known = ["`sub`", "`client`", "`grant`", "`resource`", "`by`", "`reason`"];
                assert!(known.contains(&field), "{field} in {row}");
            }
        }
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let text = logged(Format::Text, "info", || {
            Audit::of(Event::LoginRefused).write([192, 0, 2, 1].into(), "r-1", None);
        });
        let wanted = "audit: event=\"login_refused\" address=192.0.2.1 request_id=\"r-1\"\n";
        assert!(text.ends_with(wanted), "{text}");
    }
}
