//! Which client an id is: the one place that says so.

use super::authorize::{Asked, Refused};
use super::documents;
use super::exchange::Exchange;
use super::{Shared, Site};
use crate::oauth::{Client, ClientId, DocumentUrl};
use crate::store::StoreError;
use crate::time::Timestamp;

/// The client of an id, the configuration's first; `None` if nobody has it (any more). Asks nobody but our own store: a
/// client that named a metadata document is found as it was when somebody last approved it, for as long as such clients
/// are accepted.
///
/// # Errors
/// [`StoreError`].
pub(super) async fn find(exchange: &Exchange<'_>, id: &ClientId) -> Result<Option<Client>, StoreError> {
    find_at((exchange.site, exchange.shared), id, exchange.now).await
}

/// The same, without a request.
///
/// # Errors
/// [`StoreError`].
pub(super) async fn find_at(
    (site, shared): (&Site, &Shared),
    id: &ClientId,
    now: Timestamp,
) -> Result<Option<Client>, StoreError> {
    if let Some(configured) = site.configured.get(id) {
        return Ok(Some(configured.client.clone()));
    }
    if DocumentUrl::is_meant_by(id) && !documents::admits(site, id) {
        return Ok(None);
    }
    shared.store.client(id, now).await
}

/// A client that asks for authorization, as it is at this moment.
pub(super) struct Asking {
    pub(super) client: Client,
    /// The domain that vouches for it by its metadata document.
    pub(super) verified: Option<String>,
}

/// The client of an id at `/authorize`, the only place where a metadata document is fetched. What the store knows of such
/// a client is no answer here, since the document may have changed.
///
/// # Errors
/// [`Refused`].
pub(super) async fn asking(exchange: &Exchange<'_>, id: &ClientId) -> Result<Asking, Refused> {
    if !DocumentUrl::is_meant_by(id) {
        let client = find(exchange, id).await?.ok_or(Refused::UnknownClient)?;
        return Ok(Asking { client, verified: None });
    }
    let (metadata, url) = documents::find(exchange, id).await?;
    let client = Client {
        id: id.clone(),
        metadata,
        issued_at: exchange.now,
        expires: exchange.now.after(Client::UNUSED),
        registration_token: None,
        secret: None,
    };
    Ok(Asking { client, verified: Some(url.host().to_owned()) })
}

/// Writes down what a client's document says, once a person has approved it: the endpoints that come next find it there.
///
/// # Errors
/// [`StoreError`].
pub(super) async fn remember(exchange: &Exchange<'_>, asked: &Asked) -> Result<(), StoreError> {
    match asked.verified {
        Some(_) => exchange.shared.store.renew_client(&asked.client, exchange.now).await,
        None => Ok(()),
    }
}
