//! What the operator is told of token requests. Everything here is told after the store's answer: what was merely
//! decided may still be decided again.

use super::{Issue, Refused};
use crate::gateway::exchange::Exchange;
use crate::oauth::{Client, Grant, GrantState, OAuthError, RefreshFact, RevocationReason};
use crate::telemetry::{Audit, Event};

/// The events of a refresh that succeeds.
pub(super) const fn of_refresh(fact: RefreshFact) -> &'static [Event] {
    match fact {
        RefreshFact::Advanced | RefreshFact::Ours => &[Event::TokenRefreshed],
        RefreshFact::LostWrite => &[Event::StoreLostWrite, Event::TokenRefreshed],
        RefreshFact::Replayed => &[Event::RefreshReplayed],
    }
}

/// Tells of tokens that are about to be sent.
pub(super) fn issued(exchange: &Exchange<'_>, issue: &Issue) {
    for event in issue.events {
        exchange.audit(&Audit::of_grant(*event, &issue.grant));
    }
}

/// Tells why a client that is known here got no tokens, and passes it on. A store that is away, or a fault of our own, is
/// no refusal: the error log has it.
pub(super) fn refused(exchange: &Exchange<'_>, client: &Client, refused: Refused) -> Refused {
    match &refused {
        Refused::Revoked(error, grant) => ended(exchange, error, grant),
        Refused::Missing(_) | Refused::GrantType | Refused::MayNot(_) | Refused::Rule(..) => {
            exchange.audit(&Audit {
                client: Some(client.id.as_str()),
                reason: Some(&refused.to_string()),
                ..Audit::of(Event::TokenRefused)
            });
        }
        // That the identity provider is away says nothing of this client.
        Refused::Body(_)
        | Refused::Client(_)
        | Refused::Store(_)
        | Refused::Unconfirmed(_)
        | Refused::Key(_) => {}
    }
    refused
}

/// A grant that this request has ended (T3, T9).
fn ended(exchange: &Exchange<'_>, error: &OAuthError, grant: &Grant) {
    let GrantState::Revoked { reason, .. } = grant.state else { return };
    let audit = |event, by| {
        exchange.audit(&Audit { by, reason: Some(&error.description), ..Audit::of_grant(event, grant) });
    };
    if reason == RevocationReason::RefreshReused {
        audit(Event::RefreshReused, None);
    }
    audit(Event::GrantRevoked, Some(reason.by()));
}
