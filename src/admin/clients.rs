//! Clients: who may ask people for grants.

use serde::{Deserialize, Serialize};

use super::{Fault, shown};
use crate::gateway::Operator;
use crate::oauth::{Client, ClientId};
use crate::store::GrantsOf;

/// `clients/list`.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct List {
    /// Only those that somebody has allowed something, or only the others.
    pub used: Option<bool>,
    /// The `next` of the page before.
    pub from: Option<String>,
}

/// Some of the clients.
#[derive(Debug, Serialize, Deserialize)]
pub struct Listed {
    /// They.
    pub clients: Vec<Row>,
    /// Where to go on.
    pub next: Option<String>,
}

/// A client.
#[derive(Debug, Serialize, Deserialize)]
pub struct Row {
    /// Its id.
    pub id: String,
    /// What it calls itself: anything at all.
    pub name: Option<String>,
    /// Whether somebody has allowed it something.
    pub used: bool,
    /// When it registered, or was approved first.
    pub since: String,
    /// When its registration ends, unless it is used meanwhile.
    pub until: String,
    /// Where it may have people sent back to.
    pub redirect_uris: Vec<String>,
}

/// `clients/show` and `clients/delete`.
#[derive(Debug, Serialize, Deserialize)]
pub struct One {
    /// The client's id.
    pub id: String,
}

/// A client and what hangs on it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Shown {
    /// The client.
    pub client: Row,
    /// How many grants it has that have not ended.
    pub grants: usize,
}

/// A client that is gone.
#[derive(Debug, Serialize, Deserialize)]
pub struct Deleted {
    /// Which.
    pub id: String,
    /// How many grants have ended with it.
    pub grants_revoked: usize,
}

pub(super) async fn list(operator: &Operator, asked: List) -> Result<Listed, Fault> {
    let page = operator.shared().store.page_of_clients(asked.from, operator.now()).await?;
    let wanted = |client: &Client| asked.used.is_none_or(|used| used == client.is_used());
    let clients = page.found.into_iter().filter(wanted).map(row).collect();
    Ok(Listed { clients, next: page.next })
}

pub(super) async fn show(operator: &Operator, asked: One) -> Result<Shown, Fault> {
    let id = id(&asked.id)?;
    let client = operator.client(&id).await?.ok_or(Fault::NoClient(asked.id))?;
    let (of, mut from, mut grants) = (GrantsOf::Client(id), None, 0);
    loop {
        let page = operator.shared().store.page_of_grants(&of, from, operator.now()).await?;
        grants += page.found.len();
        from = page.next;
        if from.is_none() {
            return Ok(Shown { client: row(client), grants });
        }
    }
}

pub(super) async fn delete(operator: &Operator, asked: One) -> Result<Deleted, Fault> {
    let id = id(&asked.id)?;
    if operator.is_configured(&id) {
        return Err(Fault::Configured(asked.id));
    }
    let ended = operator.delete_client(&id).await?;
    let grants_revoked = ended.ok_or_else(|| Fault::NoClient(asked.id.clone()))?;
    Ok(Deleted { id: asked.id, grants_revoked })
}

/// A client's id as an operator wrote it.
pub(super) fn id(text: &str) -> Result<ClientId, Fault> {
    ClientId::parse(text).ok_or_else(|| Fault::NoId(text.to_owned(), "client"))
}

fn row(client: Client) -> Row {
    let used = client.is_used();
    Row {
        id: client.id.to_string(),
        used,
        since: shown(client.issued_at),
        until: shown(client.expires),
        redirect_uris: client.metadata.redirect_uris.iter().map(|uri| uri.as_str().to_owned()).collect(),
        name: client.metadata.client_name,
    }
}
