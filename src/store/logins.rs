//! Verbs for what a login needs: clients and their proofs, flows, browser sessions, pinned logins.

use std::collections::BTreeSet;

use super::backend::{Append, Expect};
use super::schema::{self, Pin};
use super::{Flow, Loaded, Session, Store, StoreError, Swap};
use crate::oauth::{AttemptId, Client, ClientId, Subject};
use crate::secret::Secret;
use crate::time::Timestamp;

impl Store {
    /// Writes a client's record, until `client.expires`.
    ///
    /// # Errors
    /// [`StoreError`], as of every verb.
    pub async fn save_client(&self, client: &Client) -> Result<(), StoreError> {
        let name = schema::client(&client.id);
        self.write(name, client, Some(client.expires), Expect::Any).await.map(drop)
    }

    /// Writes the record of a client that was moved in from elsewhere, unless there is one: what it became here stays. Whether it was
    /// written.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn admit_client(&self, client: &Client, now: Timestamp) -> Result<bool, StoreError> {
        let name = schema::client(&client.id);
        if self.read::<Client>(&name, now).await?.is_some() {
            return Ok(false);
        }
        // Nobody else makes a record of this name, but one that has ended may still be there, to be collected.
        self.write(name, client, Some(client.expires), Expect::Any).await?;
        Ok(true)
    }

    /// Reads a client; an expired one is absent (G10).
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn client(&self, id: &ClientId, now: Timestamp) -> Result<Option<Client>, StoreError> {
        Ok(self.read(&schema::client(id), now).await?.map(|loaded| loaded.value))
    }

    /// Reads a client that is to be changed by [`Self::swap_client`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn loaded_client(
        &self,
        id: &ClientId,
        now: Timestamp,
    ) -> Result<Option<Loaded<Client>>, StoreError> {
        self.read(&schema::client(id), now).await
    }

    /// Replaces a client's record by compare-and-swap, until `new.expires`: one that was deleted meanwhile stays so.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn swap_client(&self, old: &Loaded<Client>, new: &Client) -> Result<Swap, StoreError> {
        let expect = Expect::Equal(old.bytes.clone());
        self.write(schema::client(&new.id), new, Some(new.expires), expect).await
    }

    /// Deletes a client's record (G10). Its grants are for the caller to end.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn delete_client(&self, id: &ClientId) -> Result<(), StoreError> {
        self.backend.delete(&schema::client(id)).await
    }

    /// Takes an assertion's `jti` for its first use (RFC 7523 §3 item 7): `false` if it was used before. The same `attempt`
    /// may ask again after [`StoreError::Away`] and gets the same answer.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn use_assertion(
        &self,
        (client, token_id): (&ClientId, &str),
        attempt: AttemptId,
        until: Timestamp,
    ) -> Result<bool, StoreError> {
        let name = schema::assertion(client, token_id);
        Ok(self.write(name, &attempt, Some(until), Expect::Absent).await? == Swap::Done)
    }

    /// Lets a client's record live until `until` at least: a used registration outlives its grants. Whether there is such a
    /// client: an unused one may have been evicted just before.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn keep_client(
        &self,
        id: &ClientId,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let name = schema::client(id);
        // Every conflict means that somebody else got further, so this ends.
        while let Some(old) = self.read::<Client>(&name, now).await? {
            if old.value.expires >= until {
                return Ok(true);
            }
            let new = Client { expires: until, ..old.value };
            if self.write(name.clone(), &new, Some(until), Expect::Equal(old.bytes)).await? == Swap::Done {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Writes what the document of a client says now. A record that is there keeps its first day, and its life if that is
    /// longer: grants of other people hang on it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn renew_client(&self, client: &Client, now: Timestamp) -> Result<(), StoreError> {
        let name = schema::client(&client.id);
        // Every conflict means that somebody else got further, so this ends.
        loop {
            let (new, expect) = match self.read::<Client>(&name, now).await? {
                // One that has ended may still be there, to be collected.
                None => (client.clone(), Expect::Any),
                Some(old) => {
                    let new = Client {
                        issued_at: old.value.issued_at,
                        expires: old.value.expires.max(client.expires),
                        ..client.clone()
                    };
                    if new == old.value {
                        return Ok(());
                    }
                    (new, Expect::Equal(old.bytes))
                }
            };
            if self.write(name.clone(), &new, Some(new.expires), expect).await? == Swap::Done {
                return Ok(());
            }
        }
    }

    /// Takes a flow: the second caller gets `None` (C7, C8).
    ///
    /// # Errors
    /// [`StoreError`]. After [`StoreError::Away`] the flow may be gone, and the person has to begin again: that it is absent
    /// then says nothing about a second use.
    pub async fn take_flow(&self, state: &Secret, now: Timestamp) -> Result<Option<Flow>, StoreError> {
        let name = schema::flow(state);
        let Some(bytes) = self.backend.take(&name).await? else { return Ok(None) };
        Ok(schema::read(&name, &bytes, &self.sealer)?.at(now))
    }

    /// Reads a browser session.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn session(&self, cookie: &Secret, now: Timestamp) -> Result<Option<Session>, StoreError> {
        Ok(self.read(&schema::session(cookie), now).await?.map(|loaded| loaded.value))
    }

    /// Ends a browser session: signing out, on the connections page.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn end_session(&self, cookie: &Secret) -> Result<(), StoreError> {
        self.backend.delete(&schema::session(cookie)).await
    }

    /// Pins a login of the access rules to the first subject that signs in with it, and tells whose it is (F3). The
    /// login is compared lower-case. Pins have no end.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn pin_login(&self, login: &str, subject: &Subject) -> Result<Subject, StoreError> {
        let login = login.to_lowercase();
        let name = schema::pin(&login);
        if let Some(bytes) = self.backend.get(&name).await? {
            return Ok(schema::read::<Pin>(&name, &bytes, &self.sealer)?.value.subject);
        }
        // The hint goes first: without a pin it says nothing, but a pin without its hint would not be found.
        let hint = Append { log: schema::pins_of(subject), entry: login.clone().into_bytes(), keep: None };
        self.backend.append(hint).await?;
        let pin = Pin { login, subject: subject.clone() };
        Ok(self.read_or_begin(name, &pin).await?.subject)
    }

    /// The logins pinned to a subject, lower-case.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn pins(&self, subject: &Subject) -> Result<Vec<String>, StoreError> {
        let log = schema::pins_of(subject);
        let hints: BTreeSet<_> = self.backend.read_logs(&[log], 0).await?.entries.into_iter().collect();
        let mut logins = Vec::new();
        for hint in hints {
            let login = String::from_utf8_lossy(&hint);
            let name = schema::pin(&login);
            let Some(bytes) = self.backend.get(&name).await? else { continue };
            let pin = schema::read::<Pin>(&name, &bytes, &self.sealer)?.value;
            if pin.subject == *subject {
                logins.push(pin.login);
            }
        }
        Ok(logins)
    }
}
