//! The file: `portcullis-backup 1`, a line of JSON that says what it is, parts one after the other, how many there were, the
//! SHA-256 of everything before, and a MAC of that under a key of `secret_key`.
//!
//! A part is one byte for its kind, the length of its name (2 bytes, big-endian) and the name, a number (8 bytes: when a
//! record ends, all ones for never; what a counter says; an entry's score), the length of its bytes (4) and these. The last is `Z`:
//! how many parts came, twice 8 bytes (records and counters, entries), the digest, and the MAC (HMAC-SHA-256, 32 bytes).
//!
//! The digest is for who copies a backup and has no key: it tells what was damaged on the way. Only the MAC tells what somebody
//! has changed, and not all records are sealed by themselves: without it nothing is restored.
//!
//! Read it as foreign bytes: no length is believed further than its limit, and nothing that was read counts before the end did.

use std::io::{self, Read};

use serde::{Deserialize, Serialize};

use super::keys;
use crate::seal::{Sealer, is_mac, mac};
use crate::secret::{Digest, Hasher, Key, base64url};
use crate::time::Timestamp;

/// The first line, up to the format's number.
const MAGIC: &str = "portcullis-backup ";
/// The format this version writes, and the only one it reads.
const FORMAT: u32 = 1;
/// The longest line at the beginning.
const LONGEST_LINE: usize = 4096;
/// The longest name.
const LONGEST_NAME: usize = 512;
/// The most that can stand under a name.
const LARGEST: usize = 16 << 20;
const NEVER: u64 = u64::MAX;

const RECORD: u8 = b'R';
const NUMBER: u8 = b'N';
const ENTRY: u8 = b'E';
const END: u8 = b'Z';

/// What a backup says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The version of Portcullis that made it.
    pub made_by: String,
    /// When.
    pub made_at: Timestamp,
    /// From what kind of store: `embedded` or `redis`.
    pub from: String,
    /// The schema of its records.
    pub schema: u32,
    /// Tells whether another `secret_key` is the same; nothing of the key itself.
    pub key: String,
}

/// One part of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// A record.
    Record {
        /// Its logical name.
        name: String,
        /// What is there.
        bytes: Vec<u8>,
        /// When it ends; `None` is never.
        ends: Option<Timestamp>,
    },
    /// A counter.
    Number {
        /// Its logical name.
        name: String,
        /// What it says.
        number: u64,
    },
    /// An entry of a log.
    Entry {
        /// The log's logical name.
        log: String,
        /// Its score: milliseconds.
        score: u64,
        /// What it says.
        entry: Vec<u8>,
    },
}

impl Piece {
    /// The name of the record, counter or log.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Record { name, .. } | Self::Number { name, .. } => name,
            Self::Entry { log, .. } => log,
        }
    }
}

/// How much a backup holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Records and counters.
    pub records: u64,
    /// Entries of logs.
    pub entries: u64,
}

impl Counts {
    pub(super) const fn add(&mut self, piece: &Piece) {
        match piece {
            Piece::Record { .. } | Piece::Number { .. } => self.records += 1,
            Piece::Entry { .. } => self.entries += 1,
        }
    }
}

/// Why something cannot be read as a backup.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// Nothing at all.
    #[error("it is empty")]
    Empty,
    /// Something else.
    #[error("it is no backup of portcullis")]
    NoBackup,
    /// Another format.
    #[error(
        "it has format {0}, and this version knows format {FORMAT}; use the version of portcullis that made it, or a newer one"
    )]
    Version(u32),
    /// It ends before its end.
    #[error("it ends too early, at byte {0}: it was cut, or never written whole")]
    Cut(u64),
    /// It does not say what it should.
    #[error("it is damaged at byte {0}")]
    Damaged(u64),
    /// All of it can be read, but is not what was written.
    #[error("it is damaged: its checksum does not fit")]
    Checksum,
    /// What was written, but not by a gateway that has this `secret_key`.
    #[error("it is forged or damaged: its seal is none of secret_key")]
    Forged,
    /// More than the backup.
    #[error("something stands behind its end, at byte {0}")]
    Behind(u64),
    /// The file cannot be read.
    #[error("it cannot be read")]
    Read(#[from] io::Error),
}

/// A name or record that the format has no room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is larger than anything that portcullis writes")]
pub(super) struct TooLarge;

/// Writes a backup piece by piece.
pub(super) struct Writer {
    buffer: Vec<u8>,
    key: Key,
    hasher: Hasher,
    counts: Counts,
}

impl Writer {
    /// The beginning. At its end it is sealed under `key`.
    ///
    /// # Panics
    /// Never: what a backup says of itself is text and numbers, which JSON can always say.
    pub(super) fn begin(about: &About, key: Key) -> Self {
        let about = serde_json::to_string(about).expect("plain data");
        let buffer = format!("{MAGIC}{FORMAT}\n{about}\n").into_bytes();
        Self { buffer, key, hasher: Hasher::new(), counts: Counts::default() }
    }

    pub(super) fn add(&mut self, piece: &Piece) -> Result<(), TooLarge> {
        match piece {
            Piece::Record { name, bytes, ends } => {
                self.part(RECORD, name, ends.map_or(NEVER, Timestamp::seconds), bytes)
            }
            Piece::Number { name, number } => self.part(NUMBER, name, *number, &[]),
            Piece::Entry { log, score, entry } => self.part(ENTRY, log, *score, entry),
        }?;
        self.counts.add(piece);
        Ok(())
    }

    fn part(&mut self, kind: u8, name: &str, number: u64, bytes: &[u8]) -> Result<(), TooLarge> {
        if name.len() > LONGEST_NAME || bytes.len() > LARGEST {
            return Err(TooLarge);
        }
        let name_length = u16::try_from(name.len()).map_err(|_| TooLarge)?;
        let length = u32::try_from(bytes.len()).map_err(|_| TooLarge)?;
        self.buffer.push(kind);
        self.buffer.extend(name_length.to_be_bytes());
        self.buffer.extend(name.as_bytes());
        self.buffer.extend(number.to_be_bytes());
        self.buffer.extend(length.to_be_bytes());
        self.buffer.extend(bytes);
        Ok(())
    }

    /// How much waits to be taken.
    pub(super) const fn waiting(&self) -> usize {
        self.buffer.len()
    }

    /// What was written since.
    pub(super) fn take(&mut self) -> Vec<u8> {
        self.hasher.update(&self.buffer);
        std::mem::take(&mut self.buffer)
    }

    /// The last of it.
    ///
    /// # Panics
    /// Never: a MAC is 32 bytes in base64url.
    pub(super) fn end(mut self) -> Vec<u8> {
        self.buffer.push(END);
        self.buffer.extend(self.counts.records.to_be_bytes());
        self.buffer.extend(self.counts.entries.to_be_bytes());
        let mut last = self.take();
        let digest = self.hasher.finish();
        let mac = mac(&self.key, &[digest.as_bytes()]);
        last.extend(digest.as_bytes());
        last.extend(base64url::<32>(mac.expose()).expect("a MAC"));
        last
    }
}

/// Reads a backup piece by piece.
pub struct Reader<R> {
    source: R,
    /// Of everything that was read.
    hasher: Hasher,
    at: u64,
    about: About,
    /// What it must be sealed under, if that is known.
    key: Option<Key>,
    counts: Counts,
}

impl<R: Read> Reader<R> {
    /// Reads the beginning. `source` is read in small pieces: let it be buffered.
    ///
    /// # Errors
    /// [`FormatError`].
    pub fn begin(source: R) -> Result<Self, FormatError> {
        let about = About {
            made_by: String::new(),
            made_at: Timestamp::from_seconds(0),
            from: String::new(),
            schema: 0,
            key: String::new(),
        };
        let mut reader =
            Self { source, hasher: Hasher::new(), at: 0, about, key: None, counts: Counts::default() };
        let first = reader.line(MAGIC.len() + 10);
        let line = match first {
            Err(FormatError::Cut(0)) => return Err(FormatError::Empty),
            Err(FormatError::Read(error)) => return Err(error.into()),
            // Other programs' files may have no line ends at all.
            Err(_) => return Err(FormatError::NoBackup),
            Ok(line) => line,
        };
        let version = line.strip_prefix(MAGIC).ok_or(FormatError::NoBackup)?;
        let version: u32 = version.parse().map_err(|_| FormatError::NoBackup)?;
        if version != FORMAT {
            return Err(FormatError::Version(version));
        }
        let from = reader.at;
        let line = reader.line(LONGEST_LINE)?;
        reader.about = serde_json::from_str(&line).map_err(|_| FormatError::Damaged(from))?;
        Ok(reader)
    }

    /// What it says of itself: true once everything was read.
    #[must_use]
    pub const fn about(&self) -> &About {
        &self.about
    }

    /// Has its end be believed only if it was sealed under this `secret_key`, the new or the previous one. `false` if it says of
    /// itself that it was made under another: then nothing in it is proved.
    pub fn prove(&mut self, sealer: &Sealer) -> bool {
        let made_under = |(fingerprint, _): &(String, Key)| *fingerprint == self.about.key;
        self.key = keys(sealer).find(made_under).map(|(_, key)| key);
        self.key.is_some()
    }

    /// How much was read; all of it once [`Self::piece`] has said `None`.
    #[must_use]
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// The next piece. `None` at the end: then it was whole, and every piece is what was written; by whom, only [`Self::prove`]
    /// makes sure.
    ///
    /// # Errors
    /// [`FormatError`].
    pub fn piece(&mut self) -> Result<Option<Piece>, FormatError> {
        let from = self.at;
        let [kind] = self.bytes::<1>()?;
        if kind == END {
            return self.end().map(|()| None);
        }
        let length = usize::from(u16::from_be_bytes(self.bytes()?));
        if !matches!(kind, RECORD | NUMBER | ENTRY) || length > LONGEST_NAME {
            return Err(FormatError::Damaged(from));
        }
        let name = String::from_utf8(self.read(length)?).map_err(|_| FormatError::Damaged(from))?;
        let number = u64::from_be_bytes(self.bytes()?);
        let length = usize::try_from(u32::from_be_bytes(self.bytes()?)).unwrap_or(usize::MAX);
        if length > LARGEST || (kind == NUMBER && length > 0) {
            return Err(FormatError::Damaged(from));
        }
        let bytes = self.read(length)?;
        let piece = match kind {
            NUMBER => Piece::Number { name, number },
            ENTRY => Piece::Entry { log: name, score: number, entry: bytes },
            _ => {
                let ends = (number != NEVER).then(|| Timestamp::from_seconds(number));
                Piece::Record { name, bytes, ends }
            }
        };
        self.counts.add(&piece);
        Ok(Some(piece))
    }

    fn end(&mut self) -> Result<(), FormatError> {
        let from = self.at - 1;
        let records = u64::from_be_bytes(self.bytes()?);
        let entries = u64::from_be_bytes(self.bytes()?);
        let digest = std::mem::take(&mut self.hasher).finish();
        if Digest::from_bytes(self.bytes()?) != digest {
            return Err(FormatError::Checksum);
        }
        let tag = self.bytes()?;
        if self.key.as_ref().is_some_and(|key| !is_mac(&tag, key, &[digest.as_bytes()])) {
            return Err(FormatError::Forged);
        }
        if (Counts { records, entries }) != self.counts {
            return Err(FormatError::Damaged(from));
        }
        if !self.up_to(1)?.is_empty() {
            return Err(FormatError::Behind(self.at - 1));
        }
        Ok(())
    }

    /// A line of at most `limit` bytes, without its end.
    fn line(&mut self, limit: usize) -> Result<String, FormatError> {
        let from = self.at;
        let mut line = Vec::new();
        while line.len() < limit {
            match self.bytes::<1>()? {
                [b'\n'] => return String::from_utf8(line).map_err(|_| FormatError::Damaged(from)),
                [byte] => line.push(byte),
            }
        }
        Err(FormatError::Damaged(from))
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        let read = self.up_to(N)?;
        read.try_into().map_err(|_| FormatError::Cut(self.at))
    }

    fn read(&mut self, length: usize) -> Result<Vec<u8>, FormatError> {
        let read = self.up_to(length)?;
        if read.len() == length { Ok(read) } else { Err(FormatError::Cut(self.at)) }
    }

    /// So many bytes, or all that are left. Room is made as they come: what a length says is not believed.
    fn up_to(&mut self, length: usize) -> Result<Vec<u8>, FormatError> {
        let mut read = Vec::new();
        self.source.by_ref().take(length as u64).read_to_end(&mut read)?;
        self.hasher.update(&read);
        self.at += read.len() as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests;
