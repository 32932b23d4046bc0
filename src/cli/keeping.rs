//! What `portcullis backup` and `restore` share: a backup on its way, and how it is told.

use std::io::{self, IsTerminal as _, Read, Write};
use std::path::Path;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde::Serialize;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use super::admin::Failure;
use super::check;
use crate::config::{self, Config};
use crate::store::backup::{BackupError, Counts, FormatError, Summary};

/// How many parts come between two tellings.
const TOLD_EVERY: u64 = 5000;

/// Where a backup comes from.
pub(super) enum Source {
    /// The running gateway.
    Gateway(Incoming),
    /// The store itself.
    Store(mpsc::Receiver<Result<Bytes, BackupError>>),
}

/// A backup as it comes; every byte of it that is read is written to `copy` too.
pub(super) struct Arriving<'a, W> {
    pub(super) source: Source,
    pub(super) runtime: &'a Runtime,
    pub(super) copy: W,
    pub(super) left: Bytes,
    pub(super) length: u64,
}

/// The gateway's own words are in its log.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the gateway broke the backup off; see its log")]
struct BrokenOff;

impl<W> Arriving<'_, W> {
    fn next(&mut self) -> Option<io::Result<Bytes>> {
        match &mut self.source {
            Source::Gateway(body) => loop {
                let frame = self.runtime.block_on(body.frame())?;
                match frame.map(http_body::Frame::into_data) {
                    Ok(Ok(data)) => return Some(Ok(data)),
                    // Trailers.
                    Ok(Err(_)) => {}
                    Err(_) => return Some(Err(io::Error::other(BrokenOff))),
                }
            },
            Source::Store(pieces) => {
                self.runtime.block_on(pieces.recv()).map(|piece| piece.map_err(io::Error::other))
            }
        }
    }
}

impl<W: Write> Read for Arriving<'_, W> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.left.is_empty() {
            match self.next() {
                None => return Ok(0),
                Some(piece) => self.left = piece?,
            }
        }
        let piece = self.left.split_to(self.left.len().min(out.len()));
        out[..piece.len()].copy_from_slice(&piece);
        self.copy.write_all(&piece)?;
        self.length += piece.len() as u64;
        Ok(piece.len())
    }
}

/// The configuration; what is wrong with it is told.
///
/// # Errors
/// [`Failure::Told`]; [`Failure::Configuration`] if there is none.
pub(super) fn configuration(file: &Path) -> Result<Config, Failure> {
    // In the words of the other commands that only need to know where the gateway is.
    if let (false, Err(why)) = (file.exists(), config::admin_socket(file, &config::System)) {
        return Err(Failure::Configuration(why));
    }
    let mut told = Vec::new();
    if let Ok(checked) = check::read(file, &config::System, &mut told) {
        return Ok(checked.config);
    }
    io::stderr().write_all(&told)?;
    Err(Failure::Told(config::Problems::EXIT_CODE))
}

/// A number that grows on a terminal.
pub(super) struct Progress {
    what: &'static str,
    shown: bool,
    next: u64,
}

impl Progress {
    pub(super) const fn new(what: &'static str) -> Self {
        Self { what, shown: false, next: TOLD_EVERY }
    }

    pub(super) fn tell(&mut self, counts: Counts) {
        let parts = counts.records + counts.entries;
        if parts < self.next {
            return;
        }
        self.next = parts + TOLD_EVERY;
        let mut errors = io::stderr();
        if errors.is_terminal() {
            self.shown = true;
            // A terminal that is gone is told nothing.
            drop(write!(errors, "\r{}: {parts} parts", self.what));
        }
    }

    pub(super) fn end(self) {
        if self.shown {
            drop(write!(io::stderr(), "\r\x1b[K"));
        }
    }
}

/// `12 clients, 30 grants`: what people know of it.
pub(super) fn in_words(summary: &Summary) -> String {
    let kinds = [("client", "client"), ("grant", "grant"), ("user", "user"), ("certificate", "certificate")];
    let words = kinds.into_iter().filter_map(|(kind, word)| {
        let number = *summary.kinds.get(kind)?;
        Some(if number == 1 { format!("1 {word}") } else { format!("{number} {word}s") })
    });
    let words = words.collect::<Vec<_>>().join(", ");
    let Counts { records, entries } = summary.counts;
    let among = if words.is_empty() { words } else { format!(" ({words})") };
    format!("{records} records{among} and {entries} entries of logs")
}

/// What was wrong with a backup: its reader's words, or those of who reads for it.
pub(super) fn explained(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(why) = cause {
        text = format!("{text}: {why}");
        cause = why.source();
    }
    text
}

/// The reader's words, or of a backup that did not arrive the reason alone.
pub(super) fn not_arrived(error: &FormatError) -> String {
    if let FormatError::Read(why) = error {
        explained(why)
    } else {
        format!("the backup is not whole: {error}")
    }
}

/// What a program is told.
#[derive(Debug, Serialize)]
pub(super) struct Told<'a> {
    pub(super) file: &'a str,
    pub(super) records: u64,
    pub(super) entries: u64,
    pub(super) kinds: &'a std::collections::BTreeMap<&'static str, u64>,
    pub(super) made_at: String,
    pub(super) made_by: &'a str,
    pub(super) from: &'a str,
    #[serde(flatten)]
    pub(super) more: More,
}

/// What only one of the two commands has to tell.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum More {
    Backup { bytes: u64, through: &'static str },
    Restore { expired: u64, to: &'static str },
}
