//! Verbs for certificates by ACME: what all processes share of accounts, orders, challenges and what came of them.

use serde::{Deserialize, Serialize};

use super::backend::Expect;
use super::schema;
use super::{Loaded, Store, StoreError, Swap};
use crate::secret;
use crate::time::Timestamp;

/// An account at an ACME server (RFC 8555 §7.1.2). Sealed: it holds the account's key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcmeAccount {
    /// The account's URL and key, as the ACME library writes them.
    pub credentials: String,
    /// The contact that the server knows.
    pub email: String,
}

/// A certificate with its key. Sealed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredCertificate {
    /// What it is for.
    pub host: String,
    /// The directory it came from.
    pub directory: String,
    /// PEM, the leaf first.
    pub chain: String,
    /// PKCS#8, PEM.
    pub key: String,
    /// When it came.
    pub issued: Timestamp,
}

/// An order that was begun (RFC 8555 §7.1.3): whoever comes next goes on with it. Sealed: it holds the certificate's key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcmeOrder {
    /// The order's URL.
    pub url: String,
    /// The key of the certificate to come: PKCS#8, PEM.
    pub key: String,
    /// The challenge it is to be proven by.
    pub challenge: String,
}

/// How it goes with a host's certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renewal {
    /// How often it failed since it last went well.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failures: u32,
    /// Why it failed last, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Not before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Timestamp>,
    /// The challenge to begin with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenge: Option<String>,
    /// An operator wants it now.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub asked: bool,
    /// What the server suggests for the certificate there is (RFC 9773).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suggested: Option<Suggested>,
}

/// What a server says of when to renew a certificate (RFC 9773 §4.2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suggested {
    /// Of which certificate: its serial number.
    pub serial: String,
    /// From when to when; `None` if it does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<(Timestamp, Timestamp)>,
    /// When to ask again.
    pub again: Timestamp,
    /// Where it says why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explanation: Option<String>,
    /// How often it was asked in vain since it last answered.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failures: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl std::fmt::Debug for AcmeAccount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AcmeAccount")
    }
}

impl std::fmt::Debug for StoredCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StoredCertificate({})", self.host)
    }
}

impl std::fmt::Debug for AcmeOrder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AcmeOrder({})", self.url)
    }
}

/// A host, and the directory whose certificate it is to have: processes that are configured for different ones, as while one is
/// changed for another, do not undo each other's work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ordered<'a> {
    /// The directory's URL.
    pub directory: &'a str,
    /// The host.
    pub host: &'a str,
}

/// A challenge that a certificate authority may ask about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenChallenge<'a> {
    /// `http-01`: its token on a host.
    Http01 {
        /// The host.
        host: &'a str,
        /// The token.
        token: &'a str,
    },
    /// `tls-alpn-01`: a host.
    TlsAlpn01 {
        /// The host.
        host: &'a str,
    },
}

impl Store {
    /// The account at a directory; `binding` is the id of the key that binds it to another account.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn acme_account(
        &self,
        directory: &str,
        binding: Option<&str>,
        now: Timestamp,
    ) -> Result<Option<AcmeAccount>, StoreError> {
        let account = self.read(&schema::acme_account(directory, binding), now).await?;
        Ok(account.map(|account| account.value))
    }

    /// Writes the account at a directory, whatever there was.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn save_acme_account(
        &self,
        directory: &str,
        binding: Option<&str>,
        account: &AcmeAccount,
    ) -> Result<(), StoreError> {
        let name = schema::acme_account(directory, binding);
        self.write(name, account, None, Expect::Any).await.map(drop)
    }

    /// Forgets an account that the server has forgotten, unless there is another by now; whether it was forgotten here.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn forget_acme_account(
        &self,
        directory: &str,
        binding: Option<&str>,
        credentials: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let name = schema::acme_account(directory, binding);
        let Some(found) = self.read::<AcmeAccount>(&name, now).await? else { return Ok(false) };
        if found.value.credentials != credentials {
            return Ok(false);
        }
        // It ends at this moment: deleting could hit one that was made since.
        let gone = AcmeAccount { credentials: String::new(), email: String::new() };
        Ok(self.write(name, &gone, Some(now), Expect::Equal(found.bytes)).await? == Swap::Done)
    }

    /// What a directory issued for a host.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn certificate(
        &self,
        of: Ordered<'_>,
        now: Timestamp,
    ) -> Result<Option<StoredCertificate>, StoreError> {
        Ok(self.read(&schema::certificate(of), now).await?.map(|found| found.value))
    }

    /// What any directory issued for a host last.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn newest_certificate(
        &self,
        host: &str,
        now: Timestamp,
    ) -> Result<Option<StoredCertificate>, StoreError> {
        Ok(self.read(&schema::newest_certificate(host), now).await?.map(|found| found.value))
    }

    /// Writes a host's certificate in place of the one of before, kept until `until`; every process shows it soon.
    ///
    /// # Errors
    /// [`StoreError`]. After [`StoreError::Away`] it may be there.
    pub async fn save_certificate(
        &self,
        certificate: &StoredCertificate,
        until: Timestamp,
    ) -> Result<(), StoreError> {
        let of = Ordered { directory: &certificate.directory, host: &certificate.host };
        for name in [schema::newest_certificate(of.host), schema::certificate(of)] {
            self.write(name, certificate, Some(until), Expect::Any).await?;
        }
        self.touch_certificates().await
    }

    /// The order that was begun for a host.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn acme_order(&self, of: Ordered<'_>, now: Timestamp) -> Result<Option<AcmeOrder>, StoreError> {
        Ok(self.read(&schema::acme_order(of), now).await?.map(|found| found.value))
    }

    /// Writes down an order that was begun.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn save_acme_order(
        &self,
        of: Ordered<'_>,
        order: &AcmeOrder,
        until: Timestamp,
    ) -> Result<(), StoreError> {
        self.write(schema::acme_order(of), order, Some(until), Expect::Any).await.map(drop)
    }

    /// Forgets the order of a host: it is done, or nothing comes of it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn forget_acme_order(&self, of: Ordered<'_>) -> Result<(), StoreError> {
        self.backend.delete(&schema::acme_order(of)).await
    }

    /// How it goes with a host's certificate. `None` if nobody has written anything down.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn renewal(
        &self,
        of: Ordered<'_>,
        now: Timestamp,
    ) -> Result<Option<Loaded<Renewal>>, StoreError> {
        self.read(&schema::renewal(of), now).await
    }

    /// Writes down how it goes, if it still is as it was loaded; every process knows soon.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn swap_renewal(
        &self,
        of: Ordered<'_>,
        old: Option<&Loaded<Renewal>>,
        new: &Renewal,
        until: Timestamp,
    ) -> Result<Swap, StoreError> {
        // What has ended may lie there still.
        let expect = old.map_or(Expect::Any, |old| Expect::Equal(old.bytes.clone()));
        let swap = self.write(schema::renewal(of), new, Some(until), expect).await?;
        if swap == Swap::Done {
            self.touch_certificates().await?;
        }
        Ok(swap)
    }

    /// Lets every process answer a challenge until `until`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn open_challenge(
        &self,
        challenge: OpenChallenge<'_>,
        answer: &str,
        until: Timestamp,
    ) -> Result<(), StoreError> {
        let name = schema::challenge(challenge);
        self.write(name, &answer.to_owned(), Some(until), Expect::Any).await.map(drop)
    }

    /// The answer to a challenge, if it is open.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn challenge(
        &self,
        challenge: OpenChallenge<'_>,
        now: Timestamp,
    ) -> Result<Option<String>, StoreError> {
        Ok(self.read(&schema::challenge(challenge), now).await?.map(|found| found.value))
    }

    /// Answers a challenge no more.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn close_challenge(&self, challenge: OpenChallenge<'_>) -> Result<(), StoreError> {
        self.backend.delete(&schema::challenge(challenge)).await
    }

    /// Changes whenever a certificate, or how it goes with one, was written by any process.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn certificates_changed(&self, now: Timestamp) -> Result<Option<String>, StoreError> {
        Ok(self.read(&schema::certificates(), now).await?.map(|found| found.value))
    }

    /// After what has changed: whoever sees the new mark reads what was written before it.
    async fn touch_certificates(&self) -> Result<(), StoreError> {
        let mark = secret::to_base64url(&secret::random::<16>());
        self.write(schema::certificates(), &mark, None, Expect::Any).await.map(drop)
    }
}
