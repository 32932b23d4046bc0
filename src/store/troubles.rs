//! Which trouble it is when the store does not do it.

use super::{OpenError, StoreError, embedded};
use crate::trouble::Trouble;

impl StoreError {
    /// Which trouble it is: every answer that a store cannot give has one.
    #[must_use]
    pub fn trouble(&self) -> Trouble {
        match self {
            Self::Away(why) if embedded::is_of_file(&**why) => Trouble::StoreFile,
            Self::Away(_) | Self::Contended | Self::Damaged { .. } => Trouble::RedisDown,
        }
    }
}

impl OpenError {
    /// Which trouble it is.
    #[must_use]
    pub fn trouble(&self) -> Option<Trouble> {
        match self {
            Self::Store(error) => Some(error.trouble()),
            Self::NoFolder(_)
            | Self::NotAFolder(_)
            | Self::File { .. }
            | Self::NoStore { .. }
            | Self::InUse => Some(Trouble::StoreFile),
            Self::Url(_) => Some(Trouble::RedisDown),
            Self::SecretKey | Self::NeitherKey | Self::StillSealed => Some(Trouble::SecretKeyChanged),
            Self::HalfRestored => Some(Trouble::Backup),
            Self::Nothing | Self::Provider { .. } | Self::Schema { .. } => None,
        }
    }
}
