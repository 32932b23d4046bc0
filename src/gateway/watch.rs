//! The user stays under watch (T12): the identity provider is asked again about people whose memberships decide, at most
//! every ten minutes, by one task a user in this process. Two processes that ask at once do no harm; only the renewal
//! of a token that ends needs a lease, for its refresh token works once.
//!
//! What is learned goes into the user's record, and whoever wanted to know reads it there: so a provider that takes its
//! time delays nobody for long, and its answer still counts.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use super::Shared;
use super::exchange::Exchange;
use super::grants::{deadline, patiently};
use crate::identity::{Asked, IdentityError, Person, ProviderToken};
use crate::oauth::{Known, Membership, Subject};
use crate::policy::{AccessRules, Freshness};
use crate::secret::Secret;
use crate::store::{Loaded, StoreError, Swap, UserRecord, UserToken};
use crate::time::Timestamp;

/// How long a request waits for the provider's answer; then the last one holds.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a provider that did not answer is left alone.
pub(super) const RETRY: Duration = Duration::from_mins(1);
/// How long before its end a token is renewed: questions take a while, and clocks differ.
const RENEW_BEFORE: Duration = Duration::from_mins(5);
/// How long one process has for a renewal: asking the provider, and writing what it said.
const RENEWAL: Duration = Duration::from_mins(1);
/// How often another process's renewal is looked for, and how long to wait in between.
const LOOKS: usize = 20;
const PAUSE: Duration = Duration::from_millis(200);
/// How often a record that others write too is tried again.
const ATTEMPTS: usize = 5;

/// Who is being asked about in this process: one question at a time for each.
#[derive(Default)]
pub struct Watch(Mutex<HashMap<Subject, Weak<tokio::sync::Mutex<()>>>>);

impl Watch {
    /// Whoever has the lock may ask; the others wait, and look again.
    fn turn(&self, subject: &Subject) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turn) = turns.get(subject).and_then(Weak::upgrade) {
            return turn;
        }
        turns.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::default();
        turns.insert(subject.clone(), Arc::downgrade(&turn));
        turn
    }
}

/// A user's record. One that cannot be read is as good as none: the next sign-in writes another.
pub(super) async fn record(
    shared: &Shared,
    subject: &Subject,
    now: Timestamp,
) -> Result<Option<Loaded<UserRecord>>, StoreError> {
    match patiently(deadline(), || shared.store.user(subject, now)).await {
        Err(error @ StoreError::Damaged { .. }) => {
            tracing::error!(error = &error as &dyn std::error::Error, sub = %subject, "a user's record is passed over");
            Ok(None)
        }
        read => read,
    }
}

/// The user's record, after the provider was asked if its answers for `rules` are too old. Without a record there is
/// nothing to ask with.
pub(super) async fn brought_up_to_date(
    exchange: &Exchange<'_>,
    rules: &AccessRules,
    record: UserRecord,
) -> Result<Option<UserRecord>, StoreError> {
    let question = Question {
        subject: record.known.user.subject.clone(),
        asked: exchange.site.asked.clone(),
        rules: rules.clone(),
        freshness: exchange.site.settings.freshness,
        now: exchange.now,
        expires: record_end(exchange),
    };
    if question.due(&record).is_none() {
        return Ok(Some(record));
    }
    let subject = question.subject.clone();
    // On the control runtime, where the connections to the provider live, and to its end even if nobody waits any more.
    let asking = exchange.shared.control.spawn(question.ask(Arc::clone(exchange.shared)));
    match tokio::time::timeout(PATIENCE, asking).await {
        Ok(Ok(Ok(()))) => {}
        Ok(Ok(Err(error))) => tracing::warn!(%error, sub = %subject, "an answer could not be kept"),
        Ok(Err(error)) => tracing::error!(%error, sub = %subject, "asking the identity provider failed"),
        Err(_) => {
            tracing::warn!(sub = %subject, "the identity provider takes its time; its last answer holds");
        }
    }
    let again = self::record(exchange.shared, &subject, exchange.now).await?;
    Ok(again.map(|loaded| loaded.value))
}

/// When a record that is written now ends: it outlives every grant that can still begin with it.
pub(super) fn record_end(exchange: &Exchange<'_>) -> Timestamp {
    let settings = &exchange.site.settings;
    exchange.now.after(settings.lives.absolute).after(settings.session_life)
}

/// What a person's answer says of everything that was asked.
pub(super) fn answers(asked: &Asked, person: &Person) -> Vec<(String, Membership)> {
    let membership = |of: &String| {
        if person.orgs.contains(of) || person.teams.contains(of) {
            Membership::Active
        } else if person.hidden.iter().any(|hidden| hidden.of == *of) {
            Membership::Hidden
        } else {
            Membership::Absent
        }
    };
    asked.names().map(|of| (of.clone(), membership(of))).collect()
}

/// A token in the form in which it is kept.
pub(super) fn kept(token: &ProviderToken) -> UserToken {
    UserToken {
        access: token.access.expose().to_owned(),
        ends: token.ends,
        refresh: token.refresh.as_ref().map(|refresh| refresh.expose().to_owned()),
    }
}

fn of_provider(token: &UserToken) -> ProviderToken {
    ProviderToken {
        access: Secret::new(token.access.clone()),
        ends: token.ends,
        refresh: token.refresh.clone().map(Secret::new),
    }
}

/// What is asked about whom, and why.
struct Question {
    subject: Subject,
    asked: Asked,
    rules: AccessRules,
    freshness: Freshness,
    now: Timestamp,
    /// When the record ends that is written then.
    expires: Timestamp,
}

/// Why there is no answer.
enum NoAnswer {
    Provider(IdentityError),
    Store(StoreError),
    /// Another process renews the token, and is not done.
    Elsewhere,
}

impl From<IdentityError> for NoAnswer {
    fn from(error: IdentityError) -> Self {
        Self::Provider(error)
    }
}

impl From<StoreError> for NoAnswer {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Question {
    /// What to ask with, if asking is due: the answers are too old, and the provider has not failed a moment ago.
    fn due<'a>(&self, record: &'a UserRecord) -> Option<&'a UserToken> {
        let known = &record.known;
        let failed_lately = known.tried > known.answered && self.now.since(known.tried) < RETRY;
        let due = !failed_lately && !self.freshness.is_fresh(&self.rules, known, self.now);
        record.token.as_ref().filter(|_| due)
    }

    /// Asks, and writes down what was said. A token that is rejected is read once more, for a newer sign-in or another
    /// process may have replaced it.
    async fn ask(self, shared: Arc<Shared>) -> Result<(), StoreError> {
        let turn = shared.watch.turn(&self.subject);
        let _asking = turn.lock().await;
        let mut rejected = None;
        loop {
            let record = record(&shared, &self.subject, self.now).await?;
            let Some(token) = record.as_ref().and_then(|record| self.due(&record.value)) else {
                return Ok(());
            };
            if rejected.as_ref() == Some(token) {
                return self.give_up(&shared, token).await;
            }
            match self.answer(&shared, token).await {
                Ok(person) => return self.learn(&shared, &person).await,
                Err(NoAnswer::Provider(IdentityError::TokenRejected)) => rejected = Some(token.clone()),
                Err(NoAnswer::Provider(error)) => return self.put_off(&shared, &error).await,
                Err(NoAnswer::Store(error)) => return Err(error),
                Err(NoAnswer::Elsewhere) => return Ok(()),
            }
        }
    }

    async fn answer(&self, shared: &Shared, token: &UserToken) -> Result<Person, NoAnswer> {
        let token = self.renewed(shared, token).await?;
        let person = shared.identity().recheck(&of_provider(&token), &self.asked).await?;
        if person.user.subject == self.subject {
            return Ok(person);
        }
        tracing::error!(sub = %self.subject, found = %person.user.subject, "a token is somebody else's");
        Err(IdentityError::TokenRejected.into())
    }

    /// The token, or the one in its place if it ends soon.
    async fn renewed(&self, shared: &Shared, token: &UserToken) -> Result<UserToken, NoAnswer> {
        if token.ends.is_none_or(|ends| ends > self.now.after(RENEW_BEFORE)) {
            return Ok(token.clone());
        }
        let what = format!("renew {}", self.subject);
        let mine = shared.store.lease(&what, self.now.after(RENEWAL), self.now).await?;
        // After a lock, look again.
        for _ in 0..if mine { 1 } else { LOOKS } {
            let newest = record(shared, &self.subject, self.now).await?.and_then(|record| record.value.token);
            match newest {
                Some(newest) if newest != *token => return Ok(newest),
                Some(_) if mine => {}
                Some(_) => tokio::time::sleep(PAUSE).await,
                None => return Err(IdentityError::TokenRejected.into()),
            }
        }
        if !mine {
            return Err(NoAnswer::Elsewhere);
        }
        let renewed = kept(&shared.identity().renew(&of_provider(token), self.now).await?);
        let replace = |record: UserRecord| {
            let ours = record.token.as_ref() == Some(token);
            ours.then(|| UserRecord { token: Some(renewed.clone()), ..record })
        };
        self.update(shared, replace).await?;
        Ok(renewed)
    }

    async fn learn(&self, shared: &Shared, person: &Person) -> Result<(), StoreError> {
        let learned = |record: UserRecord| {
            // What a sign-in told meanwhile is newer.
            (record.known.answered <= self.now).then(|| {
                let answers = answers(&self.asked, person);
                let known = Known::learn(Some(&record.known), person.user.clone(), answers, self.now);
                UserRecord { known, expires: self.expires.max(record.expires), ..record }
            })
        };
        self.update(shared, learned).await
    }

    /// The provider does not answer, or not now: that is no answer, and the last one holds.
    async fn put_off(&self, shared: &Shared, error: &IdentityError) -> Result<(), StoreError> {
        tracing::warn!(%error, sub = %self.subject, "memberships could not be asked for; the last answer holds");
        let tried = |record: UserRecord| {
            (record.known.tried < self.now)
                .then_some(UserRecord { known: Known { tried: self.now, ..record.known }, ..record })
        };
        self.update(shared, tried).await
    }

    /// The provider no longer accepts the token: it is not asked with it again.
    async fn give_up(&self, shared: &Shared, token: &UserToken) -> Result<(), StoreError> {
        tracing::info!(sub = %self.subject, "the identity provider no longer accepts this user's token");
        let without = |record: UserRecord| {
            (record.token.as_ref() == Some(token)).then_some(UserRecord { token: None, ..record })
        };
        self.update(shared, without).await
    }

    /// Load, decide, commit; nothing to do if `change` says so.
    async fn update(
        &self,
        shared: &Shared,
        change: impl Fn(UserRecord) -> Option<UserRecord>,
    ) -> Result<(), StoreError> {
        for _ in 0..ATTEMPTS {
            let Some(loaded) = record(shared, &self.subject, self.now).await? else { return Ok(()) };
            let Some(new) = change(loaded.value.clone()) else { return Ok(()) };
            match patiently(deadline(), || shared.store.swap_user(&loaded, &new)).await? {
                Swap::Done => return Ok(()),
                Swap::Conflict => {}
            }
        }
        Err(StoreError::Contended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_user_has_one_turn_at_a_time_and_none_is_kept_for_ever() {
        let watch = Watch::default();
        let (ada, bob) = (Subject::new("github", "1"), Subject::new("github", "2"));
        let (one, again, other) = (watch.turn(&ada), watch.turn(&ada), watch.turn(&bob));
        assert!(Arc::ptr_eq(&one, &again) && !Arc::ptr_eq(&one, &other));
        drop((one, again, other));
        drop(watch.turn(&bob));
        assert_eq!(watch.0.lock().unwrap().len(), 1, "what is over is swept with the next");
    }
}
