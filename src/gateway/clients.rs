//! Which client an id is.

use super::exchange::Exchange;
use crate::oauth::{Client, ClientId};
use crate::store::StoreError;

/// The client of an id, the configuration's first; `None` if nobody has it (any more).
///
/// # Errors
/// [`StoreError`].
pub(super) async fn find(exchange: &Exchange<'_>, id: &ClientId) -> Result<Option<Client>, StoreError> {
    if let Some(configured) = exchange.site.configured.get(id) {
        return Ok(Some(configured.client.clone()));
    }
    exchange.shared.store.client(id, exchange.now).await
}
