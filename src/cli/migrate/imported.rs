//! The clients on their way into our store.

use std::sync::Arc;

use anyhow::Context as _;

use super::clients::{Fault, Judged, judge};
use super::report::{Clients, Report};
use super::source::Found;
use crate::cli::serve::sealer;
use crate::cli::state;
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::oauth::Client;
use crate::store::{OpenError, Store};

/// What is written into a new configuration where some of them have a secret.
pub(super) const ADVERTISED: &str = "\n# Some of the clients that were moved in have a secret; the metadata says how to send it.\n\
                                     clients: { imported_secrets: true }\n";
/// What to write into one that is there.
pub(super) const ADVERTISE: &str = "some of the clients have a secret; write clients: { imported_secrets: true }, so that they are told \
                                    how to send it";

/// Those that may come in.
pub(super) struct Imported(Vec<Client>);

impl Imported {
    /// Judges every record; what is wrong goes into the report.
    pub(super) fn judge(records: Vec<Found>, config: &Config, report: &mut Report) -> Self {
        let now = SystemClock.now();
        let told = report.clients.insert(Clients::default());
        let mut good = Vec::new();
        for (key, value) in records {
            let judged = match value {
                // It has ended since the keys were listed.
                Ok(bytes) if bytes.is_empty() => continue,
                Ok(bytes) => judge(&key, &bytes, &config.gateway.redirects, now),
                Err(why) => Judged::Refused(why),
            };
            told.found += 1;
            let fault = |why| Fault { key: key.clone(), why };
            match judged {
                Judged::Good { client, .. }
                    if config.gateway.clients.iter().any(|one| one.client.id == client.id) =>
                {
                    told.refused.push(fault("the configuration has a client of this id".to_owned()));
                }
                Judged::Good { client, without } => {
                    told.without.extend(without.into_iter().map(fault));
                    good.push(*client);
                }
                Judged::Expired => told.expired += 1,
                Judged::Refused(why) => told.refused.push(fault(why)),
            }
        }
        told.good = good.len();
        Self(good)
    }

    /// Whether one of them has a secret.
    pub(super) fn has_secrets(&self) -> bool {
        self.0.iter().any(|client| client.secret.is_some())
    }

    /// Writes them; those that are there already stay as they are.
    ///
    /// # Errors
    /// If the store cannot be opened or goes away; what was written before stays, and the next run goes on.
    pub(super) async fn write(&self, config: &Config, report: &mut Report) -> anyhow::Result<()> {
        let control = tokio::runtime::Handle::current();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        state::create_folder_of(&config.store)?;
        let opened = Store::open(&config.store, sealer(config), &control, Arc::clone(&clock)).await;
        let store = match opened {
            Ok(store) => store,
            Err(error @ OpenError::InUse) => {
                return Err(error)
                    .context("an embedded store belongs to one process, so stop the gateway for this");
            }
            Err(error) => return Err(error.into()),
        };
        let (mut imported, mut there) = (0, 0);
        for client in &self.0 {
            if store.admit_client(client, clock.now()).await? {
                imported += 1;
            } else {
                there += 1;
            }
        }
        if let Some(told) = &mut report.clients {
            (told.imported, told.already_there) = (imported, there);
        }
        Ok(())
    }
}
