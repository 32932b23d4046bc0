//! The keys that the gateway works with, from the rings in the store.

use std::sync::Arc;

use super::Shared;
use crate::mcp::SessionSealer;
use crate::oauth::KeyId;
use crate::seal::Sealer;
use crate::secret::{self, Key, Secret};
use crate::store::{RingKind, Store, StoreError, StoredKey};
use crate::time::Timestamp;
use crate::token::{KeyError, RefreshKeys, SigningKey, SigningKeys};

/// Why keys cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyRingError {
    /// The store is away.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A key cannot be read or made.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// The keys of access tokens; the first process to ask makes one.
///
/// # Errors
/// [`KeyRingError`].
pub async fn load_signing_keys(store: &Store, now: Timestamp) -> Result<SigningKeys, KeyRingError> {
    let fresh = fresh(SigningKey::generate()?.expose().to_owned(), now);
    let ring = store.key_ring(RingKind::Signing, fresh).await?;
    let keys = ring.into_iter().map(|key| SigningKey::read(key.id, &Secret::new(key.material)));
    Ok(SigningKeys::new(keys.collect::<Result<_, _>>()?)?)
}

/// The keys of refresh tokens; the first process to ask makes one.
///
/// # Errors
/// [`KeyRingError`].
pub async fn load_refresh_keys(store: &Store, now: Timestamp) -> Result<RefreshKeys, KeyRingError> {
    Ok(RefreshKeys::new(symmetric(store, RingKind::Refresh, now).await?))
}

/// The keys of session ids; the first process to ask makes one.
///
/// # Errors
/// [`KeyRingError`].
pub async fn load_session_keys(store: &Store, now: Timestamp) -> Result<SessionSealer, KeyRingError> {
    let keys = symmetric(store, RingKind::Session, now).await?;
    Ok(SessionSealer::new(keys.into_iter().map(|(_, key)| Sealer::new(key)).collect()))
}

/// Reads the signing keys again: a token named one that is not here, which another process may have made.
pub(super) async fn reload_signing_keys(shared: &Shared) {
    match load_signing_keys(&shared.store, shared.clock.now()).await {
        Ok(keys) => shared.signing.store(Arc::new(keys)),
        Err(error) => tracing::warn!(%error, "the signing keys could not be read again"),
    }
}

async fn symmetric(store: &Store, kind: RingKind, now: Timestamp) -> Result<Vec<(KeyId, Key)>, KeyRingError> {
    let ring = store.key_ring(kind, fresh(secret::to_base64url(&secret::random::<32>()), now)).await?;
    let keys = ring.into_iter().map(|key| {
        let bytes = secret::base64url(&key.material).ok_or(KeyError)?;
        Ok((key.id, Key::new(bytes)))
    });
    keys.collect()
}

fn fresh(material: String, now: Timestamp) -> StoredKey {
    StoredKey { id: KeyId::issue(secret::random()), material, created: now }
}
