//! What a person sees while doctor is at work: one line on a terminal that always says what is being done, and is wiped away at
//! the end. Nothing where nobody looks.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::Mutex;

use crate::cli::table::plain;
use crate::doctor::{Finding, Progress, Verdict};

/// The one line.
pub(super) struct Live {
    shown: Option<Mutex<State>>,
}

#[derive(Default)]
struct State {
    done: usize,
    bad: usize,
    last: String,
}

/// As much of a line as every terminal has room for.
const WIDTH: usize = 78;

impl Live {
    /// Shows something if `wanted`, and a person looks.
    pub(super) fn start(wanted: bool) -> Self {
        let shown = (wanted && io::stderr().is_terminal()).then(Mutex::default);
        Self { shown }
    }

    /// Wipes it away.
    pub(super) fn end(&self) {
        if self.shown.is_some() {
            drop(write!(io::stderr(), "\r\x1b[K"));
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let Some(state) = &self.shown else { return };
        let mut state = state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        change(&mut state);
        let line: String = state.line().chars().take(WIDTH).collect();
        // A terminal that is gone needs no progress.
        drop(write!(io::stderr(), "\r\x1b[K{line}"));
        drop(io::stderr().flush());
    }
}

impl State {
    fn line(&self) -> String {
        let bad = if self.bad == 0 { String::new() } else { format!(", {} wrong", self.bad) };
        format!("{} looked at{bad}: {}", self.done, self.last)
    }
}

impl Progress for Live {
    fn begins(&self, what: &str) {
        self.change(|state| state.last = plain(what));
    }

    fn found(&self, finding: &Finding) {
        self.change(|state| {
            state.done += 1;
            state.bad += usize::from(finding.verdict == Verdict::Bad);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_how_far_it_is() {
        let mut state = State { done: 3, bad: 0, last: "asking a.example".into() };
        assert_eq!(state.line(), "3 looked at: asking a.example");
        state.bad = 1;
        assert_eq!(state.line(), "3 looked at, 1 wrong: asking a.example");
    }
}
