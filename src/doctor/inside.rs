//! What the machine knows on which the gateway runs, or should: its configuration, its ports, its store, the servers behind it.

use std::path::Path;

use super::Examination;
use super::outside::Manner;
use crate::config::{Checked, Problems};
use crate::internal;

/// What is looked at.
pub struct Inside<'a> {
    /// The configuration.
    pub file: &'a Path,
    /// What came of reading it.
    pub checked: &'a Result<Checked, Problems>,
    /// What the running gateway says of itself; or why it is not asked.
    pub running: &'a Result<internal::Report, String>,
    /// The only service that is looked at; all of them if none is named.
    pub service: Option<&'a str>,
    /// How its public URLs are looked at.
    pub manner: &'a Manner,
}

/// Looks at everything.
pub async fn examine(examination: &Examination<'_>, inside: &Inside<'_>) {
    let (_, _) = (examination, inside);
}
