//! One order (RFC 8555 §7.4), from its beginning to the certificate. Every step that must not be lost is in the store before the
//! next is taken, so that another process, or this one after a restart, goes on where it was.

use std::time::Duration;

use instant_acme::{
    AuthorizationStatus, CertificateIdentifier, ChallengeStatus, ChallengeType, Identifier, NewOrder, Order,
    OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use rustls_pki_types::CertificateDer;

use super::account::Signed;
use super::trouble::{Refusal, Trouble};
use super::{Acme, readable};
use crate::certs::{self, ChallengeKind, Facts, Unusable};
use crate::secret::to_base64url;
use crate::store::{AcmeOrder, OpenChallenge, StoredCertificate};

/// How long we wait at a time for a challenge to be looked at, and for a certificate: the server says how often to ask.
const PATIENCE: RetryPolicy =
    RetryPolicy::new().initial_delay(Duration::from_millis(400)).backoff(1.3).timeout(Duration::from_mins(2));
/// How long an order is remembered; the server forgets it sooner.
const ORDER_LIFE: Duration = Duration::from_hours(24 * 7);
/// How long a challenge is answered at most.
const CHALLENGE_LIFE: Duration = Duration::from_hours(1);
/// How long a certificate is remembered after its end: it is shown until there is another.
const KEPT: Duration = Duration::from_hours(24 * 365);

/// A certificate that is wanted.
pub(super) struct Wanted<'a> {
    pub(super) host: &'a str,
    /// How it is to be proven that the host is ours.
    pub(super) challenge: ChallengeKind,
    /// The certificate there is, if it came from this directory.
    pub(super) current: Option<&'a (Facts, CertificateDer<'static>)>,
}

impl Acme {
    /// Gets a certificate: goes on with the order that was begun, or begins one. It is in the store when this returns.
    pub(super) async fn obtain(&self, signed: &Signed, wanted: &Wanted<'_>) -> Result<Facts, Trouble> {
        let (mut order, begun) = match self.resume(signed, wanted).await? {
            Some(resumed) => resumed,
            None => self.begin(signed, wanted).await?,
        };
        let challenge = begun.challenge.parse().unwrap_or(wanted.challenge);
        let proven = self.prove(signed, &mut order, Wanted { challenge, ..*wanted }).await;
        let chain = match proven {
            Ok(()) => self.finish(signed, &mut order, wanted.host, &begun).await,
            Err(trouble) => Err(trouble),
        };
        if !chain.as_ref().is_err_and(Trouble::leaves_the_order) {
            self.close(&mut order, wanted.host).await;
            if chain.is_err() {
                self.store.forget_acme_order(self.ordered(wanted.host)).await?;
            }
        }
        self.keep(wanted.host, chain?, begun).await
    }

    /// The order that was begun, if something can still come of it.
    async fn resume(
        &self,
        signed: &Signed,
        wanted: &Wanted<'_>,
    ) -> Result<Option<(Order, AcmeOrder)>, Trouble> {
        let host = wanted.host;
        let begun = readable(self.store.acme_order(self.ordered(host), self.clock.now()).await)?;
        let Some(begun) = begun else { return Ok(None) };
        match signed.account.order(begun.url.clone()).await.map_err(|error| signed.trouble(error)) {
            Ok(mut order) => {
                if !is_over(signed, &mut order, wanted).await? {
                    tracing::info!(host, "going on with the order that was begun before");
                    return Ok(Some((order, begun)));
                }
            }
            Err(trouble @ (Trouble::Away { .. } | Trouble::Strange(_))) => return Err(trouble),
            Err(trouble) if trouble.kind() == Some("accountDoesNotExist") => return Err(trouble),
            Err(_) => {}
        }
        self.store.forget_acme_order(self.ordered(host)).await?;
        Ok(None)
    }

    async fn begin(&self, signed: &Signed, wanted: &Wanted<'_>) -> Result<(Order, AcmeOrder), Trouble> {
        let key = KeyPair::generate().map_err(|_| Trouble::Ours("no key can be made"))?;
        let order = self.new_order(signed, wanted).await?;
        let begun = AcmeOrder {
            url: order.url().to_owned(),
            key: key.serialize_pem(),
            challenge: wanted.challenge.as_str().to_owned(),
        };
        let until = self.clock.now().after(ORDER_LIFE);
        self.store.save_acme_order(self.ordered(wanted.host), &begun, until).await?;
        Ok((order, begun))
    }

    /// A new order, which says what it replaces where the server can hear that (RFC 9773 §5).
    async fn new_order(&self, signed: &Signed, wanted: &Wanted<'_>) -> Result<Order, Trouble> {
        let identifiers = [identifier(wanted.host)];
        let new = || match &self.settings.profile {
            Some(profile) => NewOrder::new(&identifiers).profile(profile),
            None => NewOrder::new(&identifiers),
        };
        if let Some(replaced) =
            wanted.current.and_then(|(_, current)| CertificateIdentifier::try_from(current).ok())
        {
            let trouble = match signed.account.new_order(&new().replaces(replaced)).await {
                Ok(order) => return Ok(order),
                Err(error) => signed.trouble(error),
            };
            // Else it has been replaced already, or the server does not know it, or knows nothing of replacing.
            let is_refused = matches!(trouble, Trouble::Refused(_) | Trouble::Strange(_));
            if !is_refused || matches!(trouble.kind(), Some("rateLimited" | "accountDoesNotExist")) {
                return Err(trouble);
            }
            tracing::debug!(host = wanted.host, "ordered as if nothing was replaced: {trouble}");
        }
        signed.account.new_order(&new()).await.map_err(|error| signed.trouble(error))
    }

    /// Shows that the host is ours, if that is not known yet.
    async fn prove(&self, signed: &Signed, order: &mut Order, wanted: Wanted<'_>) -> Result<(), Trouble> {
        if order.state().status != OrderStatus::Pending {
            return Ok(());
        }
        self.answer(signed, order, &wanted).await?;
        match order.poll_ready(&PATIENCE).await {
            Ok(OrderStatus::Invalid) => Err(why_invalid(order, wanted.challenge).await),
            Ok(_) => Ok(()),
            Err(error) => {
                let trouble = signed.trouble(error);
                if !matches!(trouble, Trouble::Refused(_)) || trouble.leaves_the_order() {
                    return Err(trouble);
                }
                let told = why_invalid(order, wanted.challenge).await;
                Err(if matches!(told, Trouble::Invalid) { trouble } else { told })
            }
        }
    }

    /// Has the challenges answered, and tells the server so.
    async fn answer(&self, signed: &Signed, order: &mut Order, wanted: &Wanted<'_>) -> Result<(), Trouble> {
        let Wanted { host, challenge: kind, .. } = *wanted;
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization.map_err(|error| signed.trouble(error))?;
            match authorization.status {
                AuthorizationStatus::Pending => {}
                AuthorizationStatus::Valid => continue,
                // The next look at the order says so, and why.
                AuthorizationStatus::Invalid
                | AuthorizationStatus::Revoked
                | AuthorizationStatus::Expired
                | AuthorizationStatus::Deactivated => return Ok(()),
            }
            let mut challenge = authorization.challenge(type_of(kind)).ok_or(Trouble::NotOffered(kind))?;
            let proof = challenge.key_authorization();
            let until = self.clock.now().after(CHALLENGE_LIFE);
            let token = challenge.token.clone();
            match kind {
                ChallengeKind::Http01 => {
                    let open = OpenChallenge::Http01 { host, token: &token };
                    self.store.open_challenge(open, proof.as_str(), until).await?;
                }
                ChallengeKind::TlsAlpn01 => {
                    let digest = to_base64url(proof.digest().as_ref());
                    self.store.open_challenge(OpenChallenge::TlsAlpn01 { host }, &digest, until).await?;
                }
            }
            if challenge.status == ChallengeStatus::Pending {
                tracing::info!(
                    host,
                    challenge = kind.as_str(),
                    "asked the certificate authority to look that the host is ours"
                );
                challenge.set_ready().await.map_err(|error| signed.trouble(error))?;
            }
        }
        Ok(())
    }

    /// Answers the challenges of an order no more. What cannot be taken away ends by itself.
    async fn close(&self, order: &mut Order, host: &str) {
        let mut tokens = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(Ok(authorization)) = authorizations.next().await {
            tokens.extend(authorization.challenges.iter().map(|challenge| challenge.token.clone()));
        }
        let http = tokens.iter().map(|token| OpenChallenge::Http01 { host, token });
        for challenge in http.chain([OpenChallenge::TlsAlpn01 { host }]) {
            if let Err(error) = self.store.close_challenge(challenge).await {
                tracing::debug!(host, %error, "a challenge stays open until it ends by itself");
            }
        }
    }

    /// Has the certificate made; the chain in PEM.
    async fn finish(
        &self,
        signed: &Signed,
        order: &mut Order,
        host: &str,
        begun: &AcmeOrder,
    ) -> Result<String, Trouble> {
        if order.state().status == OrderStatus::Ready {
            let request = signing_request(host, &begun.key)?;
            order.finalize_csr(&request).await.map_err(|error| signed.trouble(error))?;
        }
        match order.poll_certificate(&PATIENCE).await {
            Ok(chain) => Ok(chain),
            Err(_) if order.state().status == OrderStatus::Invalid => Err(match &order.state().error {
                Some(problem) => Trouble::Refused(Refusal::of(problem, None)),
                None => Trouble::Invalid,
            }),
            Err(error) => Err(signed.trouble(error)),
        }
    }

    /// Writes the certificate down, if it is what was ordered.
    async fn keep(&self, host: &str, chain: String, begun: AcmeOrder) -> Result<Facts, Trouble> {
        let now = self.clock.now();
        let usable = certs::issued(host, &chain, &begun.key);
        let facts = usable.and_then(|key| Facts::of(&key.cert).ok_or(Unusable::Unreadable));
        let facts =
            facts.and_then(|facts| if now < facts.not_after { Ok(facts) } else { Err(Unusable::Expired) });
        if facts.is_err() {
            self.store.forget_acme_order(self.ordered(host)).await?;
        }
        let facts = facts?;
        let (host_name, directory) = (host.to_owned(), self.settings.directory.url().to_owned());
        let certificate =
            StoredCertificate { host: host_name, directory, chain, key: begun.key, issued: now };
        self.store.save_certificate(&certificate, facts.not_after.after(KEPT)).await?;
        self.store.forget_acme_order(self.ordered(host)).await?;
        Ok(facts)
    }
}

/// Whether an order has come to nothing, or to the certificate that there is.
async fn is_over(signed: &Signed, order: &mut Order, wanted: &Wanted<'_>) -> Result<bool, Trouble> {
    let current = match (order.state().status, wanted.current) {
        (OrderStatus::Invalid, _) => return Ok(true),
        (OrderStatus::Valid, Some((facts, _))) => facts,
        (OrderStatus::Pending | OrderStatus::Ready | OrderStatus::Processing | OrderStatus::Valid, _) => {
            return Ok(false);
        }
    };
    match order.certificate().await.map_err(|error| signed.trouble(error)) {
        Ok(chain) => {
            let of_order = chain.and_then(|chain| facts_of(&chain));
            Ok(of_order.is_none_or(|of_order| of_order.serial == current.serial))
        }
        Err(trouble @ Trouble::Away { .. }) => Err(trouble),
        Err(_) => Ok(true),
    }
}

fn identifier(host: &str) -> Identifier {
    host.parse().map_or_else(|_| Identifier::Dns(host.to_ascii_lowercase()), Identifier::Ip)
}

const fn type_of(kind: ChallengeKind) -> ChallengeType {
    match kind {
        ChallengeKind::Http01 => ChallengeType::Http01,
        ChallengeKind::TlsAlpn01 => ChallengeType::TlsAlpn01,
    }
}

fn facts_of(chain: &str) -> Option<Facts> {
    use rustls_pki_types::pem::PemObject as _;
    Facts::of(&[CertificateDer::from_pem_slice(chain.as_bytes()).ok()?])
}

/// A certificate signing request for one host, with nothing else in it.
fn signing_request(host: &str, key: &str) -> Result<Vec<u8>, Trouble> {
    let made = || {
        let key = KeyPair::from_pem(key)?;
        let mut params = CertificateParams::new([host.to_owned()])?;
        params.distinguished_name = DistinguishedName::new();
        Ok::<_, rcgen::Error>(params.serialize_request(&key)?.der().to_vec())
    };
    made().map_err(|_| Trouble::Ours("no certificate can be asked for"))
}

/// What the server says of the challenge that it found wanting.
async fn why_invalid(order: &mut Order, challenge: ChallengeKind) -> Trouble {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let Ok(state) = authorization.refresh().await else { continue };
        if let Some(problem) = state.challenges.iter().find_map(|challenge| challenge.error.as_ref()) {
            return Trouble::Unproven { challenge, refusal: Refusal::of(problem, None) };
        }
    }
    Trouble::Invalid
}
