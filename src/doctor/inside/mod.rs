//! What the machine knows on which the gateway runs, or should: its configuration, its ports, its store, the servers behind it.

mod behind;
mod certificates;
mod clock;
mod configuration;
mod github;
mod hosts;
mod ports;
mod presence;
mod running;
mod store;

use std::path::Path;

use super::Examination;
use super::outside::Manner;
use crate::config::{Checked, Config, Problems};
use crate::gateway::ServiceSettings;
use crate::internal;

/// What is looked at.
pub struct Inside<'a> {
    /// The configuration.
    pub file: &'a Path,
    /// What came of reading it.
    pub checked: &'a Result<Checked, Problems>,
    /// What the running gateway says of itself; or why it is not asked.
    pub running: &'a Result<internal::Report, Silence>,
    /// The only service that is looked at; all of them if none is named.
    pub service: Option<&'a str>,
    /// How its public URLs are looked at.
    pub manner: &'a Manner,
}

/// Why the running gateway says nothing of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Silence {
    /// It does not run: nobody listens where it would be asked.
    Stopped(String),
    /// It may run, and cannot be asked.
    Unasked(String),
    /// It runs, and does not answer.
    Hanging(String),
}

impl Silence {
    /// Why, in the words of whoever asked.
    fn why(&self) -> &str {
        match self {
            Self::Stopped(why) | Self::Unasked(why) | Self::Hanging(why) => why,
        }
    }
}

/// Looks at everything, side by side.
pub async fn examine(examination: &Examination<'_>, inside: &Inside<'_>) {
    configuration::tell(examination, inside);
    let Ok(Checked { config, .. }) = inside.checked else {
        configuration::rest_not_tried(examination);
        running::examine(examination, inside, None);
        return;
    };
    let silence = presence::examine(examination, config, inside).await.map(Err);
    let inside = &Inside { running: silence.as_ref().unwrap_or(inside.running), ..*inside };
    let services = services(config, inside.service);
    certificates::examine(examination, config);
    // It waits for nothing, and would be felt in the time that others measure.
    ports::examine(examination, config, inside.running);
    tokio::join!(
        store::examine(examination, config, inside.running),
        hosts::examine(examination, config, &services, inside),
        clock::examine(examination, config),
        github::examine(examination, config),
        behind::examine(examination, &services),
    );
    running::examine(examination, inside, Some(config));
}

/// Those that are looked at.
fn services<'a>(config: &'a Config, only: Option<&str>) -> Vec<&'a ServiceSettings> {
    let services = config.gateway.services.iter();
    services.filter(|service| only.is_none_or(|only| only == service.name)).collect()
}
