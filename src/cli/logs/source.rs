//! Where the log's lines come from: a file, standard input, or systemd's journal. They are read one after the other, however many there
//! are.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::super::table::plain;

/// Our unit, as deploy/systemd has it.
pub(in crate::cli) const UNIT: &str = "portcullis.service";

/// The longest line that is kept whole; ours are shorter.
const LONGEST: usize = 256 * 1024;

/// Where lines come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Source {
    File(PathBuf),
    /// Standard input.
    Input,
    /// That of this unit.
    Journal(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Input => f.write_str("standard input"),
            Self::Journal(unit) => write!(f, "the journal of {unit}"),
        }
    }
}

/// Lines as they come.
pub(in crate::cli) struct Lines {
    reader: Box<dyn BufRead>,
    /// Who brings them.
    child: Option<Child>,
}

impl Source {
    /// Begins to read; of the journal only what is not before `since` (a moment in UTC without a zone), and only the `last` lines.
    ///
    /// # Errors
    /// Why not, and what to do.
    pub(in crate::cli) fn open(&self, since: Option<&str>, last: Option<usize>) -> Result<Lines, String> {
        match self {
            Self::Input => Ok(Lines { reader: Box::new(BufReader::new(io::stdin())), child: None }),
            Self::File(path) => {
                let file = File::open(path)
                    .map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
                Ok(Lines { reader: Box::new(BufReader::new(file)), child: None })
            }
            Self::Journal(unit) => journal(unit, since, last),
        }
    }
}

const NO_JOURNAL: &str = "there is no journal here (no journalctl); name the log's file by --file, or with Compose: \
     docker compose logs --no-log-prefix gateway | portcullis logs --request ID --file -";

/// Never through a shell, and each value in one argument with its option, so that none is taken for another option.
fn journal(unit: &str, since: Option<&str>, last: Option<usize>) -> Result<Lines, String> {
    let mut command = Command::new("journalctl");
    command.args([&format!("--unit={unit}"), "--output=cat", "--no-pager", "--quiet"]);
    command.args(since.map(|since| format!("--since={} UTC", since.replace('T', " "))));
    command.args(last.map(|last| format!("--lines={last}")));
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.map_err(|error| {
        if error.kind() == io::ErrorKind::NotFound {
            NO_JOURNAL.to_owned()
        } else {
            format!("journalctl cannot be run: {error}")
        }
    })?;
    let output = child.stdout.take().ok_or("journalctl says nothing")?;
    Ok(Lines { reader: Box::new(BufReader::new(output)), child: Some(child) })
}

impl Lines {
    /// The next line, without its end; what is no UTF-8 in it is replaced.
    ///
    /// # Errors
    /// Those of reading.
    pub(in crate::cli) fn next(&mut self) -> io::Result<Option<String>> {
        let mut line = Vec::new();
        let mut read_any = false;
        loop {
            let (used, ended) = {
                let buffer = self.reader.fill_buf()?;
                let end = buffer.iter().position(|byte| *byte == b'\n');
                let piece = &buffer[..end.unwrap_or(buffer.len())];
                let room = LONGEST.saturating_sub(line.len()).min(piece.len());
                line.extend_from_slice(&piece[..room]);
                (piece.len() + usize::from(end.is_some()), end.is_some())
            };
            read_any |= used > 0;
            self.reader.consume(used);
            if ended || used == 0 {
                return Ok(read_any.then(|| String::from_utf8_lossy(&line).into_owned()));
            }
        }
    }

    /// Waits for whoever brought the lines.
    ///
    /// # Errors
    /// What it said, if it failed.
    pub(in crate::cli) fn end(self) -> Result<(), String> {
        let Some(mut child) = self.child else { return Ok(()) };
        drop(self.reader);
        let mut said = String::new();
        if let Some(errors) = child.stderr.take() {
            drop(errors.take(4096).read_to_string(&mut said));
        }
        let status = child.wait().map_err(|error| format!("journalctl: {error}"))?;
        if status.success() { Ok(()) } else { Err(format!("journalctl failed: {}", plain(said.trim()))) }
    }
}

/// A unit's name (systemd.unit(5)).
pub(in crate::cli) fn unit(text: &str) -> Result<String, String> {
    let is_known = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
    let good = (1..=255).contains(&text.len()) && text.bytes().all(is_known) && !text.starts_with('-');
    good.then(|| text.to_owned())
        .ok_or_else(|| "this is no unit's name, such as portcullis.service".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(bytes: Vec<u8>) -> Lines {
        Lines { reader: Box::new(BufReader::with_capacity(7, io::Cursor::new(bytes))), child: None }
    }

    #[test]
    fn lines_come_one_by_one_and_an_endless_one_is_cut() {
        let mut read = lines(b"one\n\ntwo \xff\nthree".to_vec());
        for expected in ["one", "", "two \u{fffd}", "three"] {
            assert_eq!(read.next().unwrap().as_deref(), Some(expected));
        }
        assert_eq!(read.next().unwrap(), None);
        let mut read = lines([vec![b'x'; 3 * LONGEST], b"\nnext".to_vec()].concat());
        assert_eq!(read.next().unwrap().unwrap().len(), LONGEST);
        assert_eq!(read.next().unwrap().as_deref(), Some("next"));
    }

    #[test]
    fn a_unit_is_a_name_and_no_option() {
        for good in ["portcullis.service", "portcullis@blue.service", "a"] {
            assert_eq!(unit(good).as_deref(), Ok(good));
        }
        for bad in ["", "-f", "--vacuum-size=1", "a b", "a;b", "a/b", "$(x)", "é"] {
            assert!(unit(bad).is_err(), "{bad}");
        }
    }
}
