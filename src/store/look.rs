//! Whether the store could be opened with this configuration: it is looked at, and nothing is written.

use std::sync::Arc;

use tokio::runtime::Handle;

use super::backend::{Backend, Name};
use super::embedded::{Looking, Sight};
use super::schema::{self, CHECK, SCHEMA};
use super::{OpenError, Settings, StoreError, open_backend};
use crate::clock::Clock;
use crate::seal::Sealer;

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// No gateway was here before.
    Nothing,
    /// A store that opens with this `secret_key`.
    Ours,
    /// A file that was not closed properly: only whoever opens it to write can read it.
    NotClosed,
}

/// Who reads.
enum Reader {
    File(Looking),
    Backend(Arc<dyn Backend>),
}

impl Reader {
    async fn get(&self, name: Name) -> Result<Option<Vec<u8>>, StoreError> {
        match self {
            Self::File(file) => file.get(&name),
            Self::Backend(backend) => backend.get(&name).await,
        }
    }
}

/// Looks at the store of `settings` as whoever opens it will.
///
/// # Errors
/// Whatever would keep it from being opened.
pub async fn look(settings: &Settings, sealer: &Sealer, clock: Arc<dyn Clock>) -> Result<Found, OpenError> {
    let reader = match settings {
        Settings::Embedded { path } => match Looking::open(path)? {
            Sight::Nothing => return Ok(Found::Nothing),
            Sight::NotClosed => return Ok(Found::NotClosed),
            Sight::File(file) => Reader::File(file),
        },
        Settings::Redis { .. } => Reader::Backend(open_backend(settings, &Handle::current(), clock).await?),
    };
    if reader.get(schema::restoring()).await?.is_some() {
        return Err(OpenError::HalfRestored);
    }
    if let Some(bytes) = reader.get(schema::schema()).await? {
        let found = schema::read::<u32>(&schema::schema(), &bytes, sealer)?.value;
        if found > SCHEMA {
            return Err(OpenError::Schema { found, known: SCHEMA });
        }
    }
    let Some(bytes) = reader.get(schema::check()).await? else { return Ok(Found::Nothing) };
    let has_previous = sealer.previous().is_some();
    match schema::read::<String>(&schema::check(), &bytes, sealer) {
        Ok(check) if check.value == CHECK => {}
        Ok(_) | Err(_) if has_previous => return Err(OpenError::NeitherKey),
        Ok(_) | Err(_) => return Err(OpenError::SecretKey),
    }
    if !has_previous && reader.get(schema::resealing()).await?.is_some() {
        return Err(OpenError::StillSealed);
    }
    Ok(Found::Ours)
}
