//! A copy of the file's content: one read transaction, so the store as it was at one moment. While it is held, the file keeps what
//! is overwritten meanwhile.

use std::future::ready;

use super::tables::{self, Reading};
use crate::store::StoreError;
use crate::store::backend::{Copied, Cursor, Name, Of, Reply, ScanPage, Snapshot};

/// One read transaction. Every call reads at once, so whoever copies much does so on a thread of its own.
pub(super) struct Moment(pub(super) Reading);

impl Snapshot for Moment {
    fn backend(&self) -> &'static str {
        "embedded"
    }

    fn is_one_moment(&self) -> bool {
        true
    }

    fn names(&self, of: Of, cursor: Option<Cursor>) -> Reply<'_, ScanPage> {
        let page = match of {
            Of::Records => self.0.scan("", cursor.as_ref()),
            Of::Logs => self.0.scan_logs(cursor.as_ref()),
        };
        Box::pin(ready(page.map_err(StoreError::away)))
    }

    fn records<'a>(&'a self, names: &'a [Name]) -> Reply<'a, Vec<Option<Copied>>> {
        let copied: Result<_, redb::Error> = names.iter().map(|name| self.0.copy(name.as_str())).collect();
        Box::pin(ready(copied.map_err(StoreError::away)))
    }

    fn entries<'a>(&'a self, log: &'a Name) -> Reply<'a, Vec<(u64, Vec<u8>)>> {
        Box::pin(ready(self.0.entries(log.as_str()).map_err(StoreError::away)))
    }

    fn number(&self, bytes: &[u8]) -> Option<u64> {
        (bytes.len() == 8).then(|| tables::number(bytes))
    }
}
