//! Leases, so that of several processes one does what must not be done twice. Whoever takes one looks again at what is to be
//! done: another may have done it just before.

use super::backend::{Expect, Name};
use super::schema::{self, Lease};
use super::{Store, StoreError, Swap};
use crate::secret;
use crate::time::Timestamp;

/// A lease that we hold, until its end or its release.
#[derive(Debug)]
pub struct Held {
    name: Name,
    lease: Lease,
    bytes: Vec<u8>,
}

impl Store {
    /// Whether the caller may do what only one may do until `until`; nobody else may before.
    ///
    /// # Errors
    /// [`StoreError`]. After [`StoreError::Away`] nobody may until then.
    pub async fn lease(&self, what: &str, until: Timestamp, now: Timestamp) -> Result<bool, StoreError> {
        Ok(self.hold(what, until, now).await?.is_some())
    }

    /// The same, to be kept longer or given back.
    ///
    /// # Errors
    /// [`StoreError`]. After [`StoreError::Away`] nobody may have it until then.
    pub async fn hold(
        &self,
        what: &str,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Option<Held>, StoreError> {
        let name = schema::lease(what);
        // A lease that has ended may still lie there: it is replaced, by one.
        let expect = match self.backend.get(&name).await? {
            None => Expect::Absent,
            Some(bytes) if schema::read::<Lease>(&name, &bytes, &self.sealer)?.at(now).is_some() => {
                return Ok(None);
            }
            Some(bytes) => Expect::Equal(bytes),
        };
        let lease = Lease { holder: secret::to_base64url(&secret::random::<16>()) };
        self.put_lease(name, lease, until, expect).await
    }

    /// Keeps a lease until `until`; `None` if it ended, and may be somebody else's now.
    ///
    /// # Errors
    /// [`StoreError`]. After [`StoreError::Away`] it is held until its former end at least.
    pub async fn keep(&self, held: &Held, until: Timestamp) -> Result<Option<Held>, StoreError> {
        let expect = Expect::Equal(held.bytes.clone());
        self.put_lease(held.name.clone(), held.lease.clone(), until, expect).await
    }

    /// Gives a lease back before its end, unless it is somebody else's already.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn release(&self, held: Held, now: Timestamp) -> Result<(), StoreError> {
        // One that ended at this moment: deleting could hit the next holder's.
        self.put_lease(held.name, held.lease, now, Expect::Equal(held.bytes)).await.map(drop)
    }

    async fn put_lease(
        &self,
        name: Name,
        lease: Lease,
        until: Timestamp,
        expect: Expect,
    ) -> Result<Option<Held>, StoreError> {
        let bytes = schema::write(&name, &lease, Some(until), &self.sealer);
        let swap = self.write(name.clone(), &lease, Some(until), expect).await?;
        Ok((swap == Swap::Done).then_some(Held { name, lease, bytes }))
    }
}
