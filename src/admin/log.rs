//! The log: how much it says, and more or less of it for a while.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Fault, shown};
use crate::clock::Clock;
use crate::telemetry::{self, Audit, Event};

/// `log/set`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Set {
    /// The filter, as in the configuration.
    pub filter: String,
    /// For how many seconds; for good, that is until the configuration is read again, if it is not said.
    pub seconds: Option<u64>,
}

/// How much the log says.
#[derive(Debug, Serialize, Deserialize)]
pub struct Level {
    /// The filter in use.
    pub filter: String,
    /// That of the configuration.
    pub configured: String,
    /// Until when another one than the configured is in use, if that was said.
    pub until: Option<String>,
}

pub(super) fn show() -> Level {
    let telemetry::Level { filter, configured, until } = telemetry::level();
    Level { filter, configured, until: until.map(shown) }
}

/// Sets the level as the user with this id wants it.
pub(super) fn set(clock: &Arc<dyn Clock>, asked: &Set, user: Option<u32>) -> Result<Level, Fault> {
    let wait = asked.seconds.map(Duration::from_secs);
    let until = wait.map(|wait| clock.now().after(wait));
    let wanted = telemetry::override_level(&asked.filter, until)?;
    let who = user.map_or_else(|| "somebody".to_owned(), |user| format!("user id {user}"));
    let length = asked.seconds.map(|seconds| format!(" for {seconds} s")).unwrap_or_default();
    let (filter, before) = (telemetry::level().filter, &wanted.before.filter);
    tell("operator", &format!("{who} set `{filter}`{length}; before it was `{before}`"));
    if let Some(wait) = wait {
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            if wanted.end() {
                let filter = telemetry::level().filter;
                tell("gateway", &format!("the time that was said is over: `{filter}` again"));
            }
        });
    }
    Ok(show())
}

/// As an audit event, since those are written at any level.
fn tell(by: &str, reason: &str) {
    Audit { by: Some(by), reason: Some(reason), ..Audit::of(Event::LogLevelChanged) }.write_alone();
}
