//! [`Timestamp`]: a moment, handed as an argument to everything that decides by time.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Whole seconds since 1970-01-01T00:00:00Z, as in a JWT's `NumericDate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The moment `seconds` after the epoch.
    #[must_use]
    pub const fn from_seconds(seconds: u64) -> Self {
        Self(seconds)
    }

    /// Seconds since the epoch.
    #[must_use]
    pub const fn seconds(self) -> u64 {
        self.0
    }

    /// As RFC 3339 has it, in UTC; `never` for what no calendar has.
    #[must_use]
    pub fn to_rfc3339(self) -> String {
        let seconds = i64::try_from(self.0).unwrap_or(i64::MAX);
        let Ok(at) = ::time::OffsetDateTime::from_unix_timestamp(seconds) else { return "never".to_owned() };
        let (year, month, day) = (at.year(), u8::from(at.month()), at.day());
        format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", at.hour(), at.minute(), at.second())
    }

    /// `duration` later, in whole seconds; the last representable moment instead of an overflow.
    #[must_use]
    pub const fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration.as_secs()))
    }

    /// `duration` earlier, not before the epoch.
    #[must_use]
    pub const fn before(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(duration.as_secs()))
    }

    /// How long ago `earlier` was; zero if it is in the future.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_secs(self.0.saturating_sub(earlier.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_shown_in_utc() {
        assert_eq!(Timestamp::from_seconds(1_800_000_000).to_rfc3339(), "2027-01-15T08:00:00Z");
        assert_eq!(Timestamp::from_seconds(u64::MAX).to_rfc3339(), "never");
    }
}
