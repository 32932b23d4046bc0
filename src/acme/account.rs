//! The account at the ACME server: one for all processes, made when there is none.

use std::time::Duration;

use instant_acme::{Account, AccountCredentials, ExternalAccountKey, NewAccount};

use super::http::{AskedToWait, Http};
use super::trouble::Trouble;
use super::{Acme, readable};
use crate::secret::base64url_bytes;
use crate::store::AcmeAccount;

/// How long one process may take to make it.
const LEASE: Duration = Duration::from_mins(2);
/// How long another waits for that, and how often it looks.
const LOOKS: usize = 240;
const LOOK: Duration = Duration::from_millis(500);

/// An account in use.
pub(super) struct Signed {
    pub(super) account: Account,
    /// As they are stored.
    credentials: String,
    asked_to_wait: AskedToWait,
}

impl Signed {
    /// What the library says, as it concerns us.
    pub(super) fn trouble(&self, error: instant_acme::Error) -> Trouble {
        Trouble::of(error, self.asked_to_wait.last())
    }
}

impl Acme {
    /// The account, by which requests are signed. Its server's directory is read anew.
    pub(super) async fn account(&self) -> Result<Signed, Trouble> {
        for _ in 0..LOOKS {
            if let Some(stored) = self.stored_account().await? {
                return self.known(stored).await;
            }
            let now = self.clock.now();
            let what = format!("acme account {}", self.directory());
            if let Some(held) = self.store.hold(&what, now.after(LEASE), now).await? {
                let made = match self.stored_account().await? {
                    Some(stored) => self.known(stored).await,
                    None => self.new_account().await,
                };
                self.store.release(held, self.clock.now()).await?;
                return made;
            }
            tokio::time::sleep(LOOK).await;
        }
        Err(Trouble::Unfinished { wait: None })
    }

    /// Forgets an account that its server does not know any more. Whoever works for another host may have done so, and have made
    /// another.
    pub(super) async fn forget_account(&self, unknown: &Signed) -> Result<(), Trouble> {
        let (directory, binding, now) = (self.directory(), self.binding(), self.clock.now());
        let stored = &unknown.credentials;
        if self.store.forget_acme_account(directory, binding, stored, now).await? {
            tracing::warn!(
                "the certificate authority does not know our account any more; another one is made"
            );
        }
        Ok(())
    }

    async fn stored_account(&self) -> Result<Option<AcmeAccount>, Trouble> {
        let now = self.clock.now();
        Ok(readable(self.store.acme_account(self.directory(), self.binding(), now).await)?)
    }

    async fn known(&self, stored: AcmeAccount) -> Result<Signed, Trouble> {
        let credentials: AccountCredentials = serde_json::from_str(&stored.credentials)
            .map_err(|_| Trouble::Ours("the stored ACME account cannot be read"))?;
        let (http, asked_to_wait) = self.http();
        let account = Account::builder_with_http(Box::new(http)).from_credentials(credentials).await;
        let account = account.map_err(|error| Trouble::of(error, asked_to_wait.last()))?;
        let signed = Signed { account, credentials: stored.credentials.clone(), asked_to_wait };
        if stored.email != self.settings.email {
            self.tell_contact(&signed, stored).await?;
        }
        Ok(signed)
    }

    /// Another contact. That the server does not like it keeps nobody from a certificate.
    async fn tell_contact(&self, signed: &Signed, stored: AcmeAccount) -> Result<(), Trouble> {
        let contact = format!("mailto:{}", self.settings.email);
        match signed.account.update_contacts(&[contact.as_str()]).await {
            Ok(()) => tracing::info!("the certificate authority was told the new e-mail address"),
            Err(error) => {
                let trouble = signed.trouble(error);
                if trouble.kind() == Some("accountDoesNotExist") {
                    self.forget_account(signed).await?;
                    return Err(trouble);
                }
                tracing::warn!("the certificate authority was not told the new e-mail address: {trouble}");
            }
        }
        let stored = AcmeAccount { email: self.settings.email.clone(), ..stored };
        Ok(self.store.save_acme_account(self.directory(), self.binding(), &stored).await?)
    }

    async fn new_account(&self) -> Result<Signed, Trouble> {
        let (http, asked_to_wait) = self.http();
        let contact = format!("mailto:{}", self.settings.email);
        let contact = [contact.as_str()];
        let new =
            NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
        let binding = self.settings.binding.as_ref().and_then(|binding| {
            let key = base64url_bytes(binding.key.expose().trim_end_matches('='))?;
            Some(ExternalAccountKey::new(binding.kid.clone(), &key))
        });
        let builder = Account::builder_with_http(Box::new(http));
        let made = builder.create(&new, self.directory().to_owned(), binding.as_ref()).await;
        let (account, credentials) = made.map_err(|error| Trouble::of(error, asked_to_wait.last()))?;
        let credentials = serde_json::to_string(&credentials)
            .map_err(|_| Trouble::Ours("the ACME account cannot be written down"))?;
        let stored = AcmeAccount { credentials: credentials.clone(), email: self.settings.email.clone() };
        self.store.save_acme_account(self.directory(), self.binding(), &stored).await?;
        tracing::info!(
            directory = self.directory(),
            account = account.id(),
            "made an account at the certificate authority"
        );
        Ok(Signed { account, credentials, asked_to_wait })
    }

    fn http(&self) -> (Http, AskedToWait) {
        Http::new(self.fetcher.clone(), std::sync::Arc::clone(&self.clock))
    }

    fn directory(&self) -> &str {
        self.settings.directory.url()
    }

    fn binding(&self) -> Option<&str> {
        self.settings.binding.as_ref().map(|binding| binding.kid.as_str())
    }
}
