//! Verbs for the people themselves: the one record of a user, pins taken back, and which provider's people they are.

use serde::{Deserialize, Serialize};

use super::backend::Expect;
use super::schema::{self, Pin, Provider};
use super::{Loaded, OpenError, Store, StoreError, Swap};
use crate::oauth::{Known, Subject};
use crate::time::Timestamp;

/// What is kept of a user between sign-ins: one record a user, sealed. It outlives the user's grants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserRecord {
    /// What the identity provider said of them.
    pub known: Known,
    /// What it is asked with, of the newest sign-in; `None` once it no longer accepts that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<UserToken>,
    /// When the record ends.
    pub expires: Timestamp,
}

/// A provider's token, as it is kept.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserToken {
    /// Goes along with every question.
    pub access: String,
    /// When that ends; absent if it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends: Option<Timestamp>,
    /// What it is renewed with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh: Option<String>,
}

impl std::fmt::Debug for UserToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("UserToken")
    }
}

impl Store {
    /// Reads a user's record.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn user(
        &self,
        subject: &Subject,
        now: Timestamp,
    ) -> Result<Option<Loaded<UserRecord>>, StoreError> {
        self.read(&schema::user(subject), now).await
    }

    /// Writes a user's record, whatever there was: the newest sign-in wins.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn save_user(&self, record: &UserRecord) -> Result<(), StoreError> {
        let name = schema::user(&record.known.user.subject);
        self.write(name, record, Some(record.expires), Expect::Any).await.map(drop)
    }

    /// Replaces a user's record by compare-and-swap: what is learned later must not undo a newer sign-in.
    ///
    /// # Errors
    /// [`StoreError`]. After [`StoreError::Away`] it may have been written.
    pub async fn swap_user(&self, old: &Loaded<UserRecord>, new: &UserRecord) -> Result<Swap, StoreError> {
        let name = schema::user(&new.known.user.subject);
        self.write(name, new, Some(new.expires), Expect::Equal(old.bytes.clone())).await
    }

    /// Takes a login's pin back, so that the next who signs in with it is its owner; tells whose it was (F3). That one
    /// loses what the login let them into when they refresh next.
    ///
    /// # Errors
    /// [`StoreError`]. After [`StoreError::Away`] the pin may be gone.
    pub async fn forget_login(&self, login: &str) -> Result<Option<Subject>, StoreError> {
        let name = schema::pin(&login.to_lowercase());
        let Some(bytes) = self.backend.take(&name).await? else { return Ok(None) };
        Ok(Some(schema::read::<Pin>(&name, &bytes, &self.sealer)?.value.subject))
    }

    /// Ties the store to the provider at `origin`, once and for all: a subject is a number there, and the same number is
    /// somebody else elsewhere.
    ///
    /// # Errors
    /// [`OpenError::Provider`] if the users are another provider's.
    pub async fn bind_provider(&self, origin: &str) -> Result<(), OpenError> {
        let ours = Provider { origin: origin.to_owned() };
        let Provider { origin: found } = self.read_or_begin(schema::provider(), &ours).await?;
        if found == ours.origin {
            Ok(())
        } else {
            Err(OpenError::Provider { found, configured: ours.origin })
        }
    }
}
