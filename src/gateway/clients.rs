//! Which client an id is.

use super::exchange::Exchange;
use crate::oauth::{Client, ClientId};
use crate::store::StoreError;

/// The client of an id; `None` if nobody has it (any more).
///
/// # Errors
/// [`StoreError`].
pub(super) async fn find(exchange: &Exchange<'_>, id: &ClientId) -> Result<Option<Client>, StoreError> {
    exchange.shared.store.client(id, exchange.now).await
}
