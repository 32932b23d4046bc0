//! The people that sign in: what is known of them, and who a login of the rules belongs to.

use super::exchange::Exchange;
use super::grants::{deadline, patiently};
use crate::identity::SignedIn;
use crate::oauth::Facts;
use crate::store::StoreError;
use crate::telemetry::{Audit, Event};

/// What the rules are tried against. A login that a rule names is pinned to the first subject that comes with it; the
/// pins, not the login of today, decide (F3).
pub(super) async fn facts(exchange: &Exchange<'_>, signed_in: SignedIn) -> Result<Facts, StoreError> {
    let SignedIn { user, orgs, hidden: _ } = signed_in;
    let store = &exchange.shared.store;
    let login = user.login.to_lowercase();
    if exchange.site.logins.contains(&login) {
        let owner = patiently(deadline(), || store.pin_login(&login, &user.subject)).await?;
        if owner != user.subject {
            let reason = format!("the login {login} is pinned to {owner}");
            exchange.audit(&Audit {
                subject: Some(user.subject.as_str()),
                reason: Some(&reason),
                ..Audit::of(Event::LoginTaken)
            });
        }
    }
    let pinned = patiently(deadline(), || store.pins(&user.subject)).await?;
    Ok(Facts { user, pinned, orgs, teams: Vec::new() })
}
