//! The store: whether it can be opened, with this key, how fast it is, and what it would forget. It is never written.

mod file;
mod redis;

use std::sync::Arc;

use super::Silence;
use crate::clock::SystemClock;
use crate::config::Config;
use crate::doctor::{Examination, Remedy, Trial};
use crate::internal;
use crate::seal::Sealer;
use crate::store::{Found, OpenError, Settings, look};
use crate::trouble::Trouble;

/// Looks at it.
pub(super) async fn examine(
    examination: &Examination<'_>,
    config: &Config,
    running: &Result<internal::Report, Silence>,
) {
    examination.begins("looking at the store");
    match &config.store {
        Settings::Redis { url, .. } => {
            if redis::examine(examination, url).await {
                look_at_key(examination, config).await;
            } else {
                examination.not_tried(&[Trouble::SecretKeyChanged], "", "Redis cannot be used");
            }
        }
        Settings::Embedded { path } => file::examine(examination, config, path, running).await,
    }
}

/// As the gateway will do it when it starts.
async fn look_at_key(examination: &Examination<'_>, config: &Config) {
    match sight(config).await {
        Ok(found) => tell_of_key(examination, found),
        Err(error) => tell_of_fault(examination, config, &error),
    }
}

async fn sight(config: &Config) -> Result<Found, OpenError> {
    let sealer = Sealer::new(config.secret_key.clone());
    let sealer = match &config.secret_key_previous {
        Some(previous) => sealer.with_previous(previous.clone()),
        None => sealer,
    };
    look(&config.store, &sealer, Arc::new(SystemClock)).await
}

const TRIED: &str = "opening what the store has under secret_key";

fn tell_of_key(examination: &Examination<'_>, found: Found) {
    match found {
        Found::Ours => examination.good(Trouble::SecretKeyChanged, "", Trial::new(TRIED, "it opens")),
        Found::Nothing => {
            examination.good(
                Trouble::SecretKeyChanged,
                "",
                Trial::new(TRIED, "the store is empty: any key will do"),
            );
        }
        Found::NotClosed => examination.not_tried(
            &[Trouble::SecretKeyChanged],
            "",
            "the file was not closed properly: the gateway mends it when it starts",
        ),
    }
}

/// What keeps the gateway from opening it, once it can be reached.
fn tell_of_fault(examination: &Examination<'_>, config: &Config, error: &OpenError) {
    let trial = Trial::new(TRIED, error.to_string());
    match error {
        OpenError::SecretKey | OpenError::NeitherKey => {
            let cause = "The store was made under another secret_key than the one that is configured now.";
            let fix = [
                "Write the old key back: `PORTCULLIS_SECRET_KEY=` in .env, from a backup of that file or from the machine that ran before.",
                "To change it on purpose, have both: `secret_key: ${PORTCULLIS_SECRET_KEY}` and `secret_key_previous: ${PORTCULLIS_SECRET_KEY_PREVIOUS}`, or run `portcullis rotate-secrets`.",
                "If the old key is lost, begin with an empty store: everybody signs in once more.",
            ];
            examination.bad(Trouble::SecretKeyChanged, "", trial, Remedy::new(cause, fix));
        }
        OpenError::StillSealed => {
            let cause =
                "The key was changed, and what was sealed under the one before is not all sealed again yet.";
            let fix = [
                "Write `secret_key_previous: ${PORTCULLIS_SECRET_KEY_PREVIOUS}` again, until the log says that 0 are left.",
            ];
            examination.bad(Trouble::SecretKeyChanged, "", trial, Remedy::new(cause, fix));
        }
        OpenError::HalfRestored => {
            let cause = "A restore into this store was broken off.";
            examination.bad(
                of(config),
                "",
                trial,
                Remedy::new(cause, ["Run it again: `portcullis restore FILE`."]),
            );
        }
        OpenError::Schema { .. } => {
            let cause = "A newer version of Portcullis wrote this store.";
            examination.bad(
                of(config),
                "",
                trial,
                Remedy::new(cause, ["Install the newer version: `just pull` and `just up`, or its package."]),
            );
        }
        OpenError::Store(_)
        | OpenError::NoFolder(_)
        | OpenError::NotAFolder(_)
        | OpenError::File { .. }
        | OpenError::NoStore { .. }
        | OpenError::Url(_)
        | OpenError::Nothing
        | OpenError::Provider { .. }
        | OpenError::InUse => examination.bad(of(config), "", trial, Remedy::default()),
    }
}

const fn of(config: &Config) -> Trouble {
    match config.store {
        Settings::Redis { .. } => Trouble::RedisDown,
        Settings::Embedded { .. } => Trouble::StoreFile,
    }
}
