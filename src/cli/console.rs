//! Questions to a person at a terminal, a line each; what is secret is typed unseen. Questions go to standard error, so that
//! standard output has the answer of the command alone.

use std::io::{self, IsTerminal as _, Stderr, Stdin, Write as _};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

/// The terminal that the command was called at.
#[derive(Debug)]
pub(super) struct Console {
    input: Stdin,
    out: Stderr,
}

impl Console {
    /// The terminal; `None` where nobody sits.
    pub(super) fn here() -> Option<Self> {
        let (input, out) = (io::stdin(), io::stderr());
        (input.is_terminal() && out.is_terminal()).then_some(Self { input, out })
    }

    /// Says something.
    pub(super) fn say(&self, text: &str) {
        // Nothing can be said to a terminal that is gone; the next question tells.
        drop(writeln!(self.out.lock(), "{text}"));
    }

    /// The answer to a question, without the space around it.
    ///
    /// # Errors
    /// If the terminal is gone, or says that nothing more comes.
    pub(super) fn line(&self, prompt: &str) -> io::Result<String> {
        let mut out = self.out.lock();
        write!(out, "{prompt}: ")?;
        out.flush()?;
        let mut line = String::new();
        if self.input.read_line(&mut line)? == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the input ended before everything was answered",
            ));
        }
        Ok(line.trim().to_owned())
    }

    /// The same, typed unseen.
    ///
    /// # Errors
    /// As of [`Self::line`].
    pub(super) fn hidden_line(&self, prompt: &str) -> io::Result<String> {
        let _unseen = Unseen::start()?;
        let line = self.line(prompt);
        self.say("");
        line
    }
}

/// Nothing that is typed is seen for as long as this lives.
struct Unseen(Termios);

impl Unseen {
    fn start() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut unseen = before.clone();
        unseen.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &unseen)?;
        Ok(Self(before))
    }
}

impl Drop for Unseen {
    fn drop(&mut self) {
        // Where the terminal is gone, nobody misses it.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}
