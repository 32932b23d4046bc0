//! What is done for one host, by whoever has the lease on it.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use instant_acme::{CertificateIdentifier, Error};
use rustls_pki_types::CertificateDer;
use tokio_util::sync::CancellationToken;

use super::order::Wanted;
use super::plan::{self, Due, Why};
use super::trouble::Trouble;
use super::{Acme, ELSEWHERE, Host, readable};
use crate::certs::{ChallengeKind, Facts};
use crate::secret;
use crate::store::{Held, Loaded, Renewal, StoreError, Suggested, Swap};
use crate::time::Timestamp;

/// How long a process that is gone keeps a host to itself, and how often one that lives says so.
const LEASE: Duration = Duration::from_secs(30);
const KEEP: Duration = Duration::from_secs(10);
/// How soon an order that takes its time is looked at again.
const SOON: Duration = Duration::from_secs(30);
/// How long what was written down of a host is remembered.
const KEPT: Duration = Duration::from_hours(24 * 365);
/// How often it is tried at once with further nonces; the ACME library tries each request three times.
const NONCES: u32 = 5;
/// How often a record that others write meanwhile is tried.
const ATTEMPTS: usize = 5;

impl Acme {
    /// Does what is due for a host, unless another process does.
    pub(super) async fn work(&self, host: &str, stop: &CancellationToken) {
        let _at_work = AtWork { acme: self, host };
        let _place = tokio::select! {
            place = self.room.acquire() => place,
            () = stop.cancelled() => return,
        };
        let worked = self.with_lease(host, stop).await;
        let now = self.clock.now();
        if let Err(error) = worked.and(self.look().await) {
            tracing::debug!(host, %error, "the store is away");
            self.view().elsewhere.insert(host.to_owned(), now.after(ELSEWHERE));
        }
    }

    async fn with_lease(&self, host: &str, stop: &CancellationToken) -> Result<(), StoreError> {
        let now = self.clock.now();
        let Some(held) = self
            .store
            .hold(&format!("certificate {} {host}", self.settings.directory.url()), now.after(LEASE), now)
            .await?
        else {
            self.view().elsewhere.insert(host.to_owned(), now.after(ELSEWHERE));
            return Ok(());
        };
        let held = Mutex::new(Some(held));
        let worked = tokio::select! {
            worked = self.do_what_is_due(host) => worked,
            () = self.keep_lease(&held) => {
                tracing::warn!(host, "the work on the certificate is left to others: its lease could not be kept");
                Ok(())
            }
            () = stop.cancelled() => Ok(()),
        };
        let held = held.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(held) = held {
            self.store.release(held, self.clock.now()).await?;
        }
        worked
    }

    /// Ends when the lease is lost.
    async fn keep_lease(&self, held: &Mutex<Option<Held>>) {
        let mut end = self.clock.now().after(LEASE);
        loop {
            tokio::time::sleep(KEEP).await;
            let now = self.clock.now();
            let Some(mine) = held.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
            let still_mine = match self.store.keep(&mine, now.after(LEASE)).await {
                Ok(Some(kept)) => {
                    end = now.after(LEASE);
                    kept
                }
                Err(_) if now < end => mine,
                Ok(None) | Err(_) => return,
            };
            *held.lock().unwrap_or_else(PoisonError::into_inner) = Some(still_mine);
        }
    }

    /// Having the lease, looks again: another process may have done it just before.
    async fn do_what_is_due(&self, host: &str) -> Result<(), StoreError> {
        let now = self.clock.now();
        let known = self.read_host(host, now).await?;
        match known.due(now) {
            // What we knew was older: else it would seem to be due for ever.
            Due::Nothing => self.read().await,
            Due::Suggestion => self.ask_when(host, &known).await,
            Due::Order(why) => self.order(host, why, &known).await,
        }
    }

    async fn order(&self, host: &str, why: Why, known: &Host) -> Result<(), StoreError> {
        tracing::info!(
            host,
            directory = self.settings.directory.url(),
            "ordering a certificate: {}",
            why.as_str()
        );
        let current = known.of_directory.as_ref();
        let current = current.and_then(|(facts, key)| Some((facts.clone(), key.cert.first()?.clone())));
        let first = self.challenge(host, &known.renewal);
        let mut last = first;
        let mut got = self.obtain_known(host, first, current.as_ref()).await;
        if let (Err(trouble), 0, Some(other)) = (&got, known.renewal.failures, self.other(host, first))
            && trouble.is_of_challenge()
        {
            tracing::warn!(host, "{trouble}; trying {} instead", other.as_str());
            last = other;
            got = self.obtain_known(host, other, current.as_ref()).await;
        }
        match got {
            Ok(facts) => self.succeeded(host, last, &facts).await,
            Err(trouble) => self.failed(host, last, &trouble, known).await,
        }
    }

    /// Once more with another account, if the server has forgotten ours; and where it was if all it was was a nonce.
    async fn obtain_known(
        &self,
        host: &str,
        challenge: ChallengeKind,
        current: Option<&(Facts, CertificateDer<'static>)>,
    ) -> Result<Facts, Trouble> {
        let wanted = Wanted { host, challenge, current };
        let (mut nonces, mut accounts) = (NONCES, 1);
        loop {
            let got = self.obtain_signed(&wanted).await;
            let left = match &got {
                Err(trouble) if trouble.is_of_nonce() => &mut nonces,
                Err(trouble) if trouble.kind() == Some("accountDoesNotExist") => &mut accounts,
                Ok(_) | Err(_) => return got,
            };
            if *left == 0 {
                return got;
            }
            *left -= 1;
        }
    }

    async fn obtain_signed(&self, wanted: &Wanted<'_>) -> Result<Facts, Trouble> {
        let signed = self.account().await?;
        let got = self.obtain(&signed, wanted).await;
        if let Err(trouble) = &got
            && trouble.kind() == Some("accountDoesNotExist")
        {
            self.forget_account(&signed).await?;
        }
        got
    }

    /// The challenge to begin with: the one that did last, or the one that has not failed last.
    fn challenge(&self, host: &str, renewal: &Renewal) -> ChallengeKind {
        let remembered = renewal.challenge.as_deref().and_then(|text| text.parse().ok());
        let mut possible = self.possible(host);
        match remembered {
            Some(kind) if possible.any(|one| one == kind) => kind,
            Some(_) | None => self.possible(host).next().unwrap_or(ChallengeKind::Http01),
        }
    }

    fn other(&self, host: &str, than: ChallengeKind) -> Option<ChallengeKind> {
        self.possible(host).find(|kind| *kind != than)
    }

    /// An address has no name to shake hands under.
    fn possible(&self, host: &str) -> impl Iterator<Item = ChallengeKind> {
        let address = host.parse::<std::net::IpAddr>().is_ok();
        let kinds = self.settings.challenges.iter().copied();
        kinds.filter(move |kind| !address || *kind == ChallengeKind::Http01)
    }

    async fn succeeded(&self, host: &str, challenge: ChallengeKind, facts: &Facts) -> Result<(), StoreError> {
        let renews = plan::renewal(facts, &Renewal::default());
        tracing::info!(
            host,
            issuer = facts.issuer,
            serial = facts.serial,
            until = facts.not_after.to_rfc3339(),
            renews = renews.to_rfc3339(),
            "the certificate is here, and shown from now on"
        );
        let renewal = Renewal {
            challenge: Some(challenge.as_str().to_owned()),
            next: Some(plan::rest(facts, self.clock.now())),
            ..Renewal::default()
        };
        self.write_down(host, |_| renewal.clone()).await
    }

    async fn failed(
        &self,
        host: &str,
        challenge: ChallengeKind,
        trouble: &Trouble,
        known: &Host,
    ) -> Result<(), StoreError> {
        let now = self.clock.now();
        let next = next_attempt(trouble, known, now);
        let id = trouble.explained().id();
        tracing::warn!(host, next = next.to_rfc3339(), trouble = id, "no certificate: {trouble}");
        let patient = matches!(trouble, Trouble::Unfinished { .. });
        let begin_with = if trouble.is_of_challenge() { self.other(host, challenge) } else { None };
        let begin_with = begin_with.unwrap_or(challenge).as_str().to_owned();
        self.write_down(host, |before| Renewal {
            failures: before.failures.saturating_add(u32::from(!patient)),
            problem: Some(format!("{trouble} [{id}]")),
            next: Some(next),
            challenge: Some(begin_with.clone()),
            ..before
        })
        .await
    }

    /// Asks the server when it wants the certificate renewed (RFC 9773 §4.1).
    async fn ask_when(&self, host: &str, known: &Host) -> Result<(), StoreError> {
        let Some((facts, key)) = &known.of_directory else { return Ok(()) };
        let Some(leaf) = key.cert.first() else { return Ok(()) };
        let now = self.clock.now();
        let before = known.renewal.suggested.as_ref().filter(|suggested| suggested.serial == facts.serial);
        let suggested = match self.suggestion(leaf, facts, now).await {
            Ok(suggested) => {
                if before.and_then(|before| before.window) != suggested.window {
                    let moment = Renewal { suggested: Some(suggested.clone()), ..Renewal::default() };
                    let renews = plan::renewal(facts, &moment).to_rfc3339();
                    let why = suggested.explanation.as_deref();
                    tracing::info!(
                        host,
                        renews,
                        why,
                        "the certificate authority says when to renew the certificate"
                    );
                }
                suggested
            }
            Err(trouble) => {
                tracing::info!(
                    host,
                    "the certificate authority was asked when to renew the certificate: {trouble}"
                );
                // What it said before holds on.
                let failures = before.map_or(0, |before| before.failures).saturating_add(1);
                let chance = u16::from_be_bytes(secret::random());
                let pause = plan::ask_after(trouble.failure(), failures, trouble.wait(), chance);
                Suggested {
                    serial: facts.serial.clone(),
                    window: before.and_then(|before| before.window),
                    again: now.after(pause),
                    explanation: before.and_then(|before| before.explanation.clone()),
                    failures,
                }
            }
        };
        self.write_down(host, |renewal| Renewal { suggested: Some(suggested.clone()), ..renewal }).await
    }

    async fn suggestion(
        &self,
        leaf: &CertificateDer<'static>,
        facts: &Facts,
        now: Timestamp,
    ) -> Result<Suggested, Trouble> {
        let serial = || facts.serial.clone();
        let none =
            |again| Suggested { serial: serial(), window: None, again, explanation: None, failures: 0 };
        let Ok(id) = CertificateIdentifier::try_from(leaf) else {
            return Ok(none(now.after(plan::NO_SUGGESTION)));
        };
        let signed = self.account().await?;
        let (info, retry_after) = match signed.account.renewal_info(&id).await {
            Ok(answer) => answer,
            Err(Error::Unsupported(_)) => return Ok(none(now.after(plan::NO_SUGGESTION))),
            Err(error) => return Err(signed.trouble(error)),
        };
        let moment = |at: time::OffsetDateTime| {
            Timestamp::from_seconds(u64::try_from(at.unix_timestamp()).unwrap_or(0))
        };
        let window = (moment(info.suggested_window.start), moment(info.suggested_window.end));
        if window.1 <= window.0 {
            return Err(Trouble::Strange(Error::Str("a window that ends before it begins")));
        }
        Ok(Suggested {
            window: Some(window),
            explanation: info.explanation_url,
            ..none(plan::ask_again(retry_after, now))
        })
    }

    /// Writes down how it goes, on top of what others have written meanwhile.
    pub(super) async fn write_down(
        &self,
        host: &str,
        change: impl Fn(Renewal) -> Renewal,
    ) -> Result<(), StoreError> {
        for _ in 0..ATTEMPTS {
            let now = self.clock.now();
            let before: Option<Loaded<Renewal>> =
                readable(self.store.renewal(self.ordered(host), now).await)?;
            let after = change(before.as_ref().map(|before| before.value.clone()).unwrap_or_default());
            let swap =
                self.store.swap_renewal(self.ordered(host), before.as_ref(), &after, now.after(KEPT)).await?;
            if swap == Swap::Done {
                return Ok(());
            }
        }
        Err(StoreError::Contended)
    }
}

/// A host that is at work until this is dropped, even by a panic: then it is left alone for a while.
struct AtWork<'a> {
    acme: &'a Acme,
    host: &'a str,
}

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        let mut view = self.acme.view();
        view.at_work.remove(self.host);
        if std::thread::panicking() {
            view.elsewhere.insert(self.host.to_owned(), self.acme.clock.now().after(SOON));
        }
        self.acme.wake.notify_one();
    }
}

/// When it is tried again.
fn next_attempt(trouble: &Trouble, known: &Host, now: Timestamp) -> Timestamp {
    let wait = trouble.wait().unwrap_or_default();
    if matches!(trouble, Trouble::Unfinished { .. }) {
        return now.after(SOON.max(wait));
    }
    let left = known.shown().map(|(facts, _)| facts.not_after.since(now));
    let left = left.filter(|left| !left.is_zero());
    let failures = known.renewal.failures.saturating_add(1);
    let pause = plan::back_off(trouble.failure(), failures, left, u16::from_be_bytes(secret::random()));
    now.after(pause.max(wait))
}
