//! Audit events: who signed in, consented, was refused, or lost a grant, and why.

use std::net::IpAddr;

/// The target of audit events, for filters.
pub(super) const TARGET: &str = "audit";

/// Writes one audit event, such as `login`, `consent`, `refused`, `token reuse`, `grant revoked`: the user's `sub`, the
/// client's id, the client's address, and why. Never an e-mail address, a code or a token.
pub fn audit(
    event: &'static str,
    subject: Option<&str>,
    client: Option<&str>,
    address: Option<IpAddr>,
    reason: &str,
) {
    let address = address.map(tracing::field::display);
    tracing::info!(target: TARGET, event, sub = subject, client, address, reason);
}

#[cfg(test)]
mod tests {
    use super::super::Format;
    use super::super::capture::logged;
    use super::*;

    #[test]
    fn an_audit_event_says_who_what_where_and_why() {
        let text = logged(Format::Json, "info", || {
            audit("token reuse", Some("github:1"), Some("c-1"), Some([192, 0, 2, 1].into()), "a spent code");
        });
        let mut value: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
        assert!(value.as_object_mut().unwrap().remove("timestamp").is_some());
        assert_eq!(
            value,
            serde_json::json!({
                "level": "INFO", "target": "audit", "event": "token reuse", "sub": "github:1", "client": "c-1",
                "address": "192.0.2.1", "reason": "a spent code",
            })
        );
    }

    #[test]
    fn nobody_and_nowhere_are_left_out() {
        let text = logged(Format::Text, "info", || audit("refused", None, None, None, "no rule lets you in"));
        assert!(text.ends_with("audit: event=\"refused\" reason=\"no rule lets you in\"\n"), "{text}");
    }
}
