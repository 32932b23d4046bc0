//! Queues: what strangers can make stands in line, so that there is never more of a kind than its limit, whoever makes how
//! much of it: registrations nobody has used, sign-ins nobody has finished, the browsers of one person. Who comes gets
//! the next number, and what came `limit` numbers earlier goes: a few operations, however long the line is. A newcomer is
//! never refused.
//!
//! A raised limit holds at once. After a lowered one, what is too many ends by itself, like all that waits here. If the
//! count itself is lost, the line begins anew, and what stood in the old one ends by itself too.

use super::backend::{Expect, Name};
use super::schema::{self, Place, Queue};
use super::{Flow, Session, Store, StoreError, Swap};
use crate::oauth::{Client, ClientId};
use crate::secret::Secret;
use crate::time::Timestamp;

/// Browsers in which one person is remembered at most.
const BROWSERS: u64 = 100;

/// What becomes of a registration whose turn it is to go.
enum Fate {
    /// It was deleted.
    Gone(ClientId),
    /// Somebody is signing in with it.
    Busy,
    /// It is used, or was gone already.
    Stays,
}

impl Store {
    /// Writes a client that has just registered, until `client.expires`. Where `limit` others are that nobody has used, the oldest
    /// goes, unless somebody is signing in with it: then it stands in line once more, with the newcomer. Two that stand
    /// together do not both stay, so there are never more than twice the limit. The ids of those that went.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn add_client(
        &self,
        client: &Client,
        limit: u64,
        now: Timestamp,
    ) -> Result<Vec<ClientId>, StoreError> {
        let (turn, due) = self.next_turn(&Queue::Clients, limit).await?;
        let (mut gone, mut spared) = (Vec::new(), None);
        for name in self.place(due.as_ref()).await?.map_or_else(Vec::new, Place::names) {
            match self.evict(&name, now).await? {
                Fate::Gone(id) => gone.push(id),
                Fate::Busy if spared.is_none() => spared = Some(name),
                Fate::Busy => gone.extend(self.delete_unused(&name, now).await?),
                Fate::Stays => {}
            }
        }
        let name = schema::client(&client.id);
        let place = Place { name: name.to_string(), beside: spared.as_ref().map(Name::to_string) };
        // First the place: a client without one would not be found again.
        self.write(turn, &place, Some(client.expires), Expect::Any).await?;
        self.write(name, client, Some(client.expires), Expect::Any).await?;
        self.leave(due).await?;
        Ok(gone)
    }

    /// Stores a flow under the digest of its `state`. Where `limit` others are, the oldest goes.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn begin_flow(&self, state: &Secret, flow: &Flow, limit: u64) -> Result<(), StoreError> {
        let (turn, due) = self.next_turn(&Queue::Flows, limit).await?;
        for name in self.place(due.as_ref()).await?.map_or_else(Vec::new, Place::names) {
            self.backend.delete(&name).await?;
        }
        let name = schema::flow(state);
        let busy = flow.request.as_ref().map(|request| schema::busy(&request.client));
        let place = Place { name: name.to_string(), beside: busy.as_ref().map(Name::to_string) };
        self.write(turn, &place, Some(flow.expires), Expect::Any).await?;
        tokio::try_join!(
            async {
                let Some(busy) = busy else { return Ok(Swap::Done) };
                self.write(busy, &1, Some(flow.expires), Expect::Any).await
            },
            self.write(name, flow, Some(flow.expires), Expect::Any),
        )?;
        self.leave(due).await
    }

    /// Stores a browser session under the digest of its cookie. Of the browsers of one person, 100 are remembered.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn save_session(&self, cookie: &Secret, session: &Session) -> Result<(), StoreError> {
        let queue = Queue::SessionsOf(&session.facts.user.subject);
        let (turn, due) = self.next_turn(&queue, BROWSERS).await?;
        for name in self.place(due.as_ref()).await?.map_or_else(Vec::new, Place::names) {
            self.backend.delete(&name).await?;
        }
        let name = schema::session(cookie);
        let place = Place { name: name.to_string(), beside: None };
        self.write(turn, &place, Some(session.expires), Expect::Any).await?;
        self.write(name, session, Some(session.expires), Expect::Any).await?;
        self.leave(due).await
    }

    /// The newcomer's place, and the one whose turn it is to go.
    async fn next_turn(&self, queue: &Queue<'_>, limit: u64) -> Result<(Name, Option<Name>), StoreError> {
        let never = Timestamp::from_seconds(u64::MAX);
        let number = self.backend.increment(&schema::turns(queue), never).await?;
        let due = number.checked_sub(limit).filter(|due| *due > 0);
        Ok((schema::place(queue, number), due.map(|due| schema::place(queue, due))))
    }

    /// Who stands at a place; nobody, if it cannot be read: that must not keep newcomers out.
    async fn place(&self, name: Option<&Name>) -> Result<Option<Place>, StoreError> {
        let Some(name) = name else { return Ok(None) };
        let Some(bytes) = self.backend.get(name).await? else { return Ok(None) };
        Ok(schema::read::<Place>(name, &bytes, &self.sealer).ok().map(|read| read.value))
    }

    async fn leave(&self, place: Option<Name>) -> Result<(), StoreError> {
        match place {
            Some(place) => self.backend.delete(&place).await,
            None => Ok(()),
        }
    }

    /// Deletes a client that nobody has used and nobody is just signing in with.
    async fn evict(&self, name: &Name, now: Timestamp) -> Result<Fate, StoreError> {
        let Some(client) = self.unused(name, now).await? else { return Ok(Fate::Stays) };
        if self.read::<u32>(&schema::busy(&client.value.id), now).await?.is_some() {
            return Ok(Fate::Busy);
        }
        Ok(self.delete_unused(name, now).await?.map_or(Fate::Stays, Fate::Gone))
    }

    /// Deletes a client, unless it is used: by compare-and-swap, so that of this and [`Self::keep_client`] at the same
    /// moment only one happens.
    async fn delete_unused(&self, name: &Name, now: Timestamp) -> Result<Option<ClientId>, StoreError> {
        while let Some(client) = self.unused(name, now).await? {
            let ended = Client { expires: now, ..client.value };
            let written = self.write(name.clone(), &ended, Some(now), Expect::Equal(client.bytes)).await?;
            if written == Swap::Done {
                // It has ended, and nobody writes what has ended: nothing can come between.
                self.backend.delete(name).await?;
                return Ok(Some(ended.id));
            }
        }
        Ok(None)
    }

    /// A client that can be read and is not used.
    async fn unused(&self, name: &Name, now: Timestamp) -> Result<Option<super::Loaded<Client>>, StoreError> {
        match self.read::<Client>(name, now).await {
            Ok(client) => Ok(client.filter(|client| !client.value.is_used())),
            Err(StoreError::Damaged { .. }) => Ok(None),
            Err(error @ (StoreError::Away(_) | StoreError::Contended)) => Err(error),
        }
    }
}
