//! Questions to a person at a terminal, a line each; what is secret is typed unseen. Questions go to standard error, so that
//! standard output has the answer of the command alone.

use std::io::{self, IsTerminal as _, Read as _, Stderr, Stdin, Write as _};

use rustix::process::{Signal, getpid, kill_process};
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};

/// What a terminal sends for Ctrl-C.
const CANCEL: u8 = 3;

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
        self.prompt(prompt)?;
        let mut line = String::new();
        if self.input.read_line(&mut line)? == 0 {
            return Err(ended());
        }
        Ok(line.trim().to_owned())
    }

    /// The same, typed unseen. Ctrl-C ends the process as it does elsewhere, but not before the terminal is as it was.
    ///
    /// # Errors
    /// As of [`Self::line`].
    pub(super) fn hidden_line(&self, prompt: &str) -> io::Result<String> {
        let unseen = Unseen::start()?;
        let line = self.prompt(prompt).and_then(|()| self.typed());
        drop(unseen);
        self.say("");
        if let Some(line) = line? {
            return Ok(line.trim().to_owned());
        }
        kill_process(getpid(), Signal::INT)?;
        // Whoever started it ignores that signal.
        Err(io::Error::other("it was cancelled"))
    }

    fn prompt(&self, prompt: &str) -> io::Result<()> {
        let mut out = self.out.lock();
        write!(out, "{prompt}: ")?;
        out.flush()
    }

    /// What is typed until the line ends; `None` if that is by Ctrl-C.
    fn typed(&self) -> io::Result<Option<String>> {
        let mut line = Vec::new();
        for byte in self.input.lock().bytes() {
            match byte? {
                b'\n' => return text(line).map(Some),
                CANCEL => return Ok(None),
                byte => line.push(byte),
            }
        }
        if line.is_empty() { Err(ended()) } else { text(line).map(Some) }
    }
}

fn ended() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the input ended before everything was answered")
}

fn text(line: Vec<u8>) -> io::Result<String> {
    String::from_utf8(line)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "what was typed is not UTF-8"))
}

/// Nothing that is typed is seen for as long as this lives.
struct Unseen(Termios);

impl Unseen {
    fn start() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut unseen = before.clone();
        // A signal would end the process before anything is put back: Ctrl-C ends the line instead.
        unseen.local_modes.remove(LocalModes::ECHO | LocalModes::ISIG);
        unseen.special_codes[SpecialCodeIndex::VEOL] = CANCEL;
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
