//! Another `secret_key`: what was sealed under the previous one is sealed again, record by record, while everything goes on.
//!
//! The check value goes first: whoever has the old key alone is refused from then on, before it finds half a store unreadable.
//! A mark (`meta:resealing`) stays until nothing is left, and refuses whoever has the new key alone too early.

use std::collections::BTreeSet;

use super::backend::{Expect, Name, Prefix, Put};
use super::schema::{self, CHECK, SEALED};
use super::{OpenError, Store, StoreError, Swap};
use crate::trouble::Trouble;

/// How often a record that others write meanwhile is tried.
const ATTEMPTS: usize = 5;
/// How many records are sealed again between two lines of the log.
const TOLD_EVERY: usize = 1000;

/// What one pass over the store came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resealed {
    /// Nothing is left that only the previous key opens.
    NoneLeft,
    /// So many records were sealed again. Another process may have written further ones with the previous key: look again.
    Some(usize),
    /// The store is led by what is the *previous* key here, and nothing was touched: another process was started with the
    /// keys the other way round.
    NotOurs,
}

/// The sealed records of the whole store, by the key that opens them.
#[derive(Clone, Debug, Default)]
struct Sealed {
    /// Those of the previous key.
    before: Vec<Name>,
    /// Those of neither key.
    lost: Vec<Name>,
}

impl Store {
    /// Refuses a `secret_key` that does not open the check value; the first one to come writes it. With a previous key that
    /// does, the store is led by the new one from now on.
    pub(super) async fn check_secret_key(&self) -> Result<(), OpenError> {
        match self.read_or_begin(schema::check(), &CHECK.to_owned()).await {
            Ok(check) if check == CHECK => {}
            Ok(_) | Err(StoreError::Damaged { .. }) if self.sealer.previous().is_some() => {
                return Err(OpenError::NeitherKey);
            }
            Ok(_) | Err(StoreError::Damaged { .. }) => return Err(OpenError::SecretKey),
            Err(other @ (StoreError::Away(_) | StoreError::Contended)) => return Err(other.into()),
        }
        if self.sealer.previous().is_none() {
            let begun = self.backend.get(&schema::resealing()).await?.is_some();
            return if begun { Err(OpenError::StillSealed) } else { Ok(()) };
        }
        if !self.is_led_by_new_key().await? {
            self.write(schema::resealing(), &schema::RESEALING, None, Expect::Any).await?;
            self.seal_again(&schema::check()).await?;
            tracing::info!("secret_key is new to the store; what secret_key_previous sealed is sealed again");
        }
        Ok(())
    }

    /// One pass: seals again what only the previous key opens. It can stop anywhere, and be begun anew; several processes may do
    /// the same at once.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn reseal(&self) -> Result<Resealed, StoreError> {
        if !self.is_led_by_new_key().await? {
            return Ok(Resealed::NotOurs);
        }
        let Sealed { before, lost } = self.sealed().await?;
        if let Some(name) = lost.first() {
            let trouble = Trouble::SecretKeyChanged.id();
            tracing::error!(count = lost.len(), %name, trouble, "sealed records open with neither key, and stay as they are");
        }
        if before.is_empty() {
            self.backend.delete(&schema::resealing()).await?;
            return Ok(Resealed::NoneLeft);
        }
        // Once more: a process with the keys the other way round takes it away, having nothing left itself.
        self.write(schema::resealing(), &schema::RESEALING, None, Expect::Any).await?;
        for (done, name) in before.iter().enumerate() {
            if done % TOLD_EVERY == 0 {
                tracing::info!(left = before.len() - done, "sealing again what secret_key_previous sealed");
            }
            self.seal_again(name).await?;
        }
        Ok(Resealed::Some(before.len()))
    }

    /// How many records only the previous key opens.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn left_to_reseal(&self) -> Result<usize, StoreError> {
        Ok(self.sealed().await?.before.len())
    }

    /// Whether a change of `secret_key` is over: our key leads the store, and somebody who looked found nothing left.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn is_resealed(&self) -> Result<bool, StoreError> {
        let marked = self.backend.get(&schema::resealing()).await?.is_some();
        Ok(!marked && self.is_led_by_new_key().await?)
    }

    /// Whether the check value is sealed under our `secret_key`.
    async fn is_led_by_new_key(&self) -> Result<bool, StoreError> {
        let name = schema::check();
        let Some(bytes) = self.backend.get(&name).await? else { return Ok(false) };
        Ok(schema::reseal(&name, &bytes, &self.sealer)?.is_none())
    }

    /// Looks at every record of a kind that is sealed.
    async fn sealed(&self) -> Result<Sealed, StoreError> {
        let mut found = Sealed::default();
        for kind in SEALED {
            for name in self.names(kind).await? {
                let Some(bytes) = self.backend.get(&name).await? else { continue };
                match schema::reseal(&name, &bytes, &self.sealer) {
                    Ok(None) => {}
                    Ok(Some(_)) => found.before.push(name),
                    Err(_) => found.lost.push(name),
                }
            }
        }
        Ok(found)
    }

    /// The names of a kind, each once.
    async fn names(&self, kind: &'static str) -> Result<Vec<Name>, StoreError> {
        let mut names = BTreeSet::new();
        let mut cursor = None;
        loop {
            let page = self.backend.scan(Prefix { text: kind, sharded: false }, cursor).await?;
            names.extend(page.names);
            cursor = page.next;
            if cursor.is_none() {
                return Ok(names.into_iter().map(Name::new).collect());
            }
        }
    }

    /// Seals one record under the new key, if it is still there and was not sealed again by somebody else.
    async fn seal_again(&self, name: &Name) -> Result<(), StoreError> {
        for _ in 0..ATTEMPTS {
            let Some(old) = self.backend.get(name).await? else { return Ok(()) };
            let Some(again) = schema::reseal(name, &old, &self.sealer)? else { return Ok(()) };
            let put = Put {
                name: name.clone(),
                bytes: again.bytes,
                expect: Expect::Equal(old),
                expires: again.exp,
                append: None,
            };
            if self.backend.put(put).await? == Swap::Done {
                return Ok(());
            }
        }
        Err(StoreError::Contended)
    }
}
