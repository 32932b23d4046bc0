//! The people that sign in: what is known of them, who a login of the rules belongs to, and whether a service lets them in
//! now.

use std::time::Duration;

use super::Service;
use super::exchange::Exchange;
use super::grants::{deadline, patiently};
use super::watch::{self, RETRY};
use crate::identity::{Hidden, IdentityError, Person, ProviderToken, SignedIn};
use crate::oauth::{Facts, Known, Subject};
use crate::policy::{AccessRules, Judgement};
use crate::store::{Session, StoreError, UserRecord};
use crate::telemetry::{Audit, Event};
use crate::time::Timestamp;

/// Whether access rules let a user in, by what is known now.
#[derive(Debug)]
pub(super) enum Access {
    /// Yes; the newest facts.
    Admitted(Facts),
    /// No, says a fresh answer of the identity provider, or no answer could change it.
    Lost,
    /// Only a new sign-in can tell; why, in a sentence.
    SignInAgain(String),
    /// The identity provider has been away for too long; when to try again.
    Unavailable(Duration),
}

/// What the rules are tried against at a sign-in. A login that a rule names is pinned to the first subject that comes with
/// it; the pins, not the login of today, decide (F3). What was learned is kept for when it is asked for again.
pub(super) async fn facts(exchange: &Exchange<'_>, signed_in: SignedIn) -> Result<Facts, StoreError> {
    let SignedIn { person, token } = signed_in;
    let store = &exchange.shared.store;
    let login = person.user.login.to_lowercase();
    let subject = &person.user.subject;
    if exchange.site.logins.contains(&login) {
        let owner = patiently(deadline(), || store.pin_login(&login, subject)).await?;
        if owner != *subject {
            let reason = format!("the login {login} is pinned to {owner}");
            exchange.audit(&Audit {
                subject: Some(subject.as_str()),
                reason: Some(&reason),
                ..Audit::of(Event::LoginTaken)
            });
        }
    }
    let pinned = pins(exchange, subject).await?;
    let Person { user, orgs, teams, hidden: _ } = person.clone();
    let facts = Facts { user, pinned, orgs, teams };
    remember(exchange, &facts, &person, &token).await?;
    Ok(facts)
}

/// Why what a rule names is hidden, if something is: worth telling to whom the rules do not let in.
pub(super) fn hiding<'a>(rules: &AccessRules, hidden: &'a [Hidden]) -> Option<&'a IdentityError> {
    let named = |hidden: &&Hidden| rules.memberships().any(|name| name.eq_ignore_ascii_case(&hidden.of));
    hidden.iter().find(named).map(|hidden| &hidden.why)
}

/// The newest facts of a browser's session, if `service` lets that person in: sessions know memberships of hours ago.
pub(super) async fn let_in(
    exchange: &Exchange<'_>,
    service: &Service,
    session: Option<Session>,
) -> Result<Option<Facts>, StoreError> {
    let Some(session) = session else { return Ok(None) };
    let since = session.expires.before(exchange.site.settings.session_life);
    match access(exchange, &service.settings.access, &session.facts, since).await? {
        Access::Admitted(facts) => Ok(Some(facts)),
        Access::Lost | Access::SignInAgain(_) | Access::Unavailable(_) => Ok(None),
    }
}

/// Whether somebody who is signed in is an administrator now: by the pins of this moment, so that nobody is who has the login of
/// one and is somebody else (F3), and nobody stays one whose pin was taken back.
pub(super) async fn is_admin(exchange: &Exchange<'_>, facts: &Facts) -> Result<bool, StoreError> {
    let admins = &exchange.site.settings.admins;
    if *admins == AccessRules::default() {
        return Ok(false);
    }
    let pinned = pins(exchange, &facts.user.subject).await?;
    Ok(admins.admit(&Facts { pinned, ..facts.clone() }).is_ok())
}

/// Whether `rules` let a user in now, of whom `facts` were true at `since`. The identity provider is asked only where its
/// answer matters: not if no rule names an organisation or team, nor if a rule lets in this very user. So an account
/// that was deleted there keeps what the operator gave it by name until its grants end.
pub(super) async fn access(
    exchange: &Exchange<'_>,
    rules: &AccessRules,
    facts: &Facts,
    since: Timestamp,
) -> Result<Access, StoreError> {
    let subject = &facts.user.subject;
    let record = watch::record(exchange.shared, subject, exchange.now);
    let (record, pinned) = tokio::try_join!(record, pins(exchange, subject))?;
    let mut record = record.map(|loaded| loaded.value);
    let by_name = Facts { pinned: pinned.clone(), ..facts.clone() };
    if rules.hang_on_memberships(&by_name)
        && let Some(known) = record.take()
    {
        record = watch::brought_up_to_date(exchange, rules, known).await?;
        if record.as_ref().is_some_and(|record| record.token.is_none()) {
            let provider = exchange.shared.identity().name();
            let why = format!("{provider} no longer accepts this user's sign-in; sign in again");
            return Ok(Access::SignInAgain(why));
        }
    }
    let known = match &record {
        Some(record) => record.known.clone(),
        None => Known::by_facts(facts, since),
    };
    let judgement = exchange.site.settings.freshness.judge(rules, &known, pinned, exchange.now);
    Ok(match (judgement, record) {
        (Judgement::Admitted(facts), _) => Access::Admitted(facts),
        (Judgement::Lost(_), _) => Access::Lost,
        (Judgement::Hidden(of), _) => Access::SignInAgain(format!(
            "{of} hides its members from this server; sign in again to see what can be done"
        )),
        (Judgement::Unknown, Some(record)) => {
            let waited = exchange.now.since(record.known.tried);
            Access::Unavailable(RETRY.saturating_sub(waited).max(Duration::from_secs(1)))
        }
        (Judgement::Unknown, None) => Access::SignInAgain(
            "it is too long ago that this user's memberships were seen; sign in again".to_owned(),
        ),
    })
}

/// The logins of the rules that are this user's.
async fn pins(exchange: &Exchange<'_>, subject: &Subject) -> Result<Vec<String>, StoreError> {
    patiently(deadline(), || exchange.shared.store.pins(subject)).await
}

/// Keeps what the newest sign-in told, and its token: where some rule names an organisation or team, and of people whom a
/// service lets in, so that no stranger fills the store. A token that is never used again is not kept.
async fn remember(
    exchange: &Exchange<'_>,
    facts: &Facts,
    person: &Person,
    token: &ProviderToken,
) -> Result<(), StoreError> {
    let asked = &exchange.site.asked;
    if !asked.memberships() {
        return Ok(());
    }
    let before = watch::record(exchange.shared, &facts.user.subject, exchange.now).await?;
    let is_let_in = exchange.site.services().any(|service| service.access.admit(facts).is_ok());
    if before.is_none() && !is_let_in {
        return Ok(());
    }
    let before = before.as_ref().map(|loaded| &loaded.value.known);
    let answers = watch::answers(asked, person);
    let record = UserRecord {
        known: Known::learn(before, facts.user.clone(), answers, exchange.now),
        token: Some(watch::kept(token)),
        expires: watch::record_end(exchange),
    };
    patiently(deadline(), || exchange.shared.store.save_user(&record)).await
}
