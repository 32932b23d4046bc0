//! How much the log says: what the configuration wants and, for a while, what an operator wants instead. Audit events are written
//! whatever an operator wants.

use std::sync::{Mutex, PoisonError};

use super::{FILTER, FilterError, audit, filter};
use crate::time::Timestamp;

/// How much the log says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Level {
    /// The filter in use.
    pub filter: String,
    /// That of the configuration.
    pub configured: String,
    /// What an operator wants instead until then; `None` if that is the configured one, or if nobody has said until when.
    pub until: Option<Timestamp>,
}

/// Why the level stays as it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LevelError {
    /// A filter that cannot be understood.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// One that names audit events.
    #[error("`{0}`: audit events are always written; leave `audit` out of the filter")]
    Audit(String),
    /// There is no filter that could be replaced.
    #[error("this process's log has no filter that can be changed")]
    Fixed,
}

/// What an operator wants, which [`Override::end`] takes back.
#[derive(Debug)]
pub struct Override {
    /// What was in use before.
    pub before: Level,
    turn: u64,
}

#[derive(Debug)]
struct Levels {
    configured: String,
    instead: Option<(String, Option<Timestamp>)>,
    /// Goes up with each change, so that what is over knows whether it is its own.
    turn: u64,
}

static LEVELS: Mutex<Levels> = Mutex::new(Levels { configured: String::new(), instead: None, turn: 0 });

impl Levels {
    fn shown(&self) -> Level {
        let named = |text: &str| if text.trim().is_empty() { super::DEFAULT_FILTER } else { text }.to_owned();
        let configured = named(&self.configured);
        match &self.instead {
            Some((filter, until)) => Level { filter: named(filter), configured, until: *until },
            None => Level { filter: configured.clone(), configured, until: None },
        }
    }

    fn configure(&mut self, text: &str) {
        text.clone_into(&mut self.configured);
        self.instead = None;
        self.turn += 1;
    }

    fn replace(&mut self, text: &str, until: Option<Timestamp>) -> Override {
        let before = self.shown();
        self.instead = Some((text.to_owned(), until));
        self.turn += 1;
        Override { before, turn: self.turn }
    }

    /// Whether it was still in force.
    fn take_back(&mut self, turn: u64) -> bool {
        let is_its = self.turn == turn && self.instead.is_some();
        if is_its {
            self.instead = None;
            self.turn += 1;
        }
        is_its
    }
}

fn levels() -> std::sync::MutexGuard<'static, Levels> {
    LEVELS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Logging has started with this filter.
pub(super) fn begin(configured: &str) {
    levels().configure(configured);
}

/// How much the log says now.
#[must_use]
pub fn level() -> Level {
    levels().shown()
}

/// Logs by another configured filter from now on, whatever an operator wanted. One that cannot be understood changes nothing; the
/// configuration check lets none through.
pub fn refilter(text: &str) {
    let mut levels = levels();
    if apply(text).is_ok() {
        levels.configure(text);
    }
}

/// Logs by this filter instead of the configured one, until [`Override::end`] or until the configuration is read again.
///
/// # Errors
/// [`LevelError`]: then nothing is changed.
pub fn override_level(text: &str, until: Option<Timestamp>) -> Result<Override, LevelError> {
    refuse_audit(text)?;
    let mut levels = levels();
    apply(text)?;
    Ok(levels.replace(text, until))
}

impl Override {
    /// Goes back to the configured filter; nothing if another one was wanted since. Whether it went back.
    pub fn end(self) -> bool {
        let mut levels = levels();
        let ended = levels.take_back(self.turn);
        if ended && apply(&levels.configured).is_err() {
            tracing::error!("the log's filter stays as it was");
        }
        ended
    }
}

fn apply(text: &str) -> Result<(), LevelError> {
    let filter = filter(text)?;
    FILTER.get().and_then(|handle| handle.reload(filter).ok()).ok_or(LevelError::Fixed)
}

/// Of several parts that fit an event, the one with the longest target holds: so only one that names them whole could turn audit
/// events off.
fn refuse_audit(text: &str) -> Result<(), LevelError> {
    let target = |part: &str| part.split(['=', '[']).next().unwrap_or_default().trim() == audit::TARGET;
    match text.split(',').map(str::trim).find(|part| target(part)) {
        Some(part) => Err(LevelError::Audit(part.to_owned())),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::capture::logged;
    use super::super::{Audit, Event, Format};
    use super::*;

    fn levels() -> Levels {
        Levels { configured: "warn".into(), instead: None, turn: 0 }
    }

    fn shown(levels: &Levels) -> (String, Option<u64>) {
        let Level { filter, until, .. } = levels.shown();
        (filter, until.map(Timestamp::seconds))
    }

    #[test]
    fn what_is_wanted_for_a_while_goes_back_to_what_is_configured() {
        let mut levels = levels();
        let wanted = levels.replace("debug", Some(Timestamp::from_seconds(7)));
        assert_eq!((wanted.before.filter.as_str(), shown(&levels)), ("warn", ("debug".into(), Some(7))));
        assert!(levels.take_back(wanted.turn));
        assert_eq!(shown(&levels), ("warn".into(), None));
        assert!(!levels.take_back(wanted.turn), "once");
    }

    #[test]
    fn only_the_newest_wish_ends_by_itself_and_a_reload_ends_all() {
        let mut levels = levels();
        let first = levels.replace("debug", None);
        let second = levels.replace("trace", None);
        assert_eq!(second.before.filter, "debug");
        assert!(!levels.take_back(first.turn), "it is over already");
        assert_eq!(shown(&levels).0, "trace");
        levels.configure("");
        assert_eq!(shown(&levels).0, "info", "what an empty filter means");
        assert!(!levels.take_back(second.turn));
    }

    #[test]
    fn no_filter_of_an_operator_turns_audit_events_off() {
        for text in ["audit=off", "info, audit=error", "audit[{event}]=off,info", "audit"] {
            assert!(matches!(refuse_audit(text), Err(LevelError::Audit(_))), "{text}");
        }
        let text = refuse_audit("debug, audit=off").unwrap_err().to_string();
        assert_eq!(text, "`audit=off`: audit events are always written; leave `audit` out of the filter");
        let event = || Audit::of(Event::LoginSucceeded).write([192, 0, 2, 1].into(), "r-1", None);
        for text in [
            "off",
            "error",
            "a=off",
            "audi=off",
            "[{event}]=off",
            "aud[{event}]=off",
            "audit::x=off",
            "AUDIT=off",
        ] {
            assert_eq!(refuse_audit(text), Ok(()), "{text}");
            let lines = logged(Format::Text, text, event);
            assert!(lines.contains("login_succeeded"), "{text}: {lines}");
        }
    }

    #[test]
    fn a_filter_that_cannot_be_understood_is_refused_by_name_and_changes_nothing() {
        let refused = override_level("debgu", None).unwrap_err().to_string();
        let text = "`debgu` is no log filter; write a level (error, warn, info, debug, trace, off) or `module=level`";
        assert_eq!(refused, text);
        // No test starts the process's own log.
        assert_eq!(override_level("debug", None).unwrap_err(), LevelError::Fixed);
        assert_eq!(level().filter, "info");
    }
}
