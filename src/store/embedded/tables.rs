//! The tables of the embedded file, and what a transaction does with them.

use std::ops::Bound;
use std::time::Duration;

use ::redb::{
    Database, Error, ReadOnlyTable, ReadableDatabase, ReadableTable, Table, TableDefinition, WriteTransaction,
};

use crate::store::Swap;
use crate::store::backend::{Append, Copied, Cursor, Expect, Load, Put, ScanPage};
use crate::time::Timestamp;

/// Name → when it ends (8 bytes, big-endian; all ones is never), then the record.
const RECORDS: TableDefinition<&str, &[u8]> = TableDefinition::new("records");
/// (When it ends, name), for the sweep.
const ENDS: TableDefinition<(u64, &str), ()> = TableDefinition::new("ends");
/// (Log, milliseconds, entry).
const LOGS: TableDefinition<(&str, u64, &[u8]), ()> = TableDefinition::new("logs");

const NEVER: u64 = u64::MAX;
/// How many names one page of a scan has.
const SCANNED_AT_ONCE: usize = 1000;

/// Makes the tables, so that reading finds them.
pub(super) fn create(database: &Database) -> Result<(), Error> {
    let transaction = database.begin_write()?;
    transaction.open_table(RECORDS)?;
    transaction.open_table(ENDS)?;
    transaction.open_table(LOGS)?;
    Ok(transaction.commit()?)
}

/// The score of the newest entry in the logs whose names begin with `prefix`.
pub(super) fn newest_score(database: &Database, prefix: &str) -> Result<u64, Error> {
    let logs = database.begin_read()?.open_table(LOGS)?;
    let mut newest = 0;
    for entry in logs.range((prefix, 0, [].as_slice())..)? {
        let (key, _) = entry?;
        let (log, score, _) = key.value();
        if !log.starts_with(prefix) {
            break;
        }
        newest = newest.max(score);
    }
    Ok(newest)
}

/// A read transaction: the store as it was at one moment.
pub(super) struct Reading {
    records: ReadOnlyTable<&'static str, &'static [u8]>,
    logs: ReadOnlyTable<(&'static str, u64, &'static [u8]), ()>,
}

impl Reading {
    pub(super) fn begin(database: &impl ReadableDatabase) -> Result<Self, Error> {
        let transaction = database.begin_read()?;
        Ok(Self { records: transaction.open_table(RECORDS)?, logs: transaction.open_table(LOGS)? })
    }

    pub(super) fn get(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.records.get(name)?.map(|value| split(value.value()).1.to_vec()))
    }

    pub(super) fn scan(&self, prefix: &str, cursor: Option<&Cursor>) -> Result<ScanPage, Error> {
        let mut page = ScanPage::default();
        let from = cursor.map_or(Bound::Included(prefix), |Cursor(last)| Bound::Excluded(last.as_str()));
        for entry in self.records.range::<&str>((from, Bound::Unbounded))? {
            let name = entry?.0.value().to_owned();
            if !name.starts_with(prefix) {
                break;
            }
            page.names.push(name);
            if page.names.len() == SCANNED_AT_ONCE {
                page.next = page.names.last().cloned().map(Cursor);
                break;
            }
        }
        Ok(page)
    }

    /// What is under a name, and when it ends.
    pub(super) fn copy(&self, name: &str) -> Result<Option<Copied>, Error> {
        let found = self.records.get(name)?;
        Ok(found.map(|value| {
            let (end, bytes) = split(value.value());
            Copied { bytes: bytes.to_vec(), ends: (end != NEVER).then(|| Timestamp::from_seconds(end)) }
        }))
    }

    /// The names of logs, each once.
    pub(super) fn scan_logs(&self, cursor: Option<&Cursor>) -> Result<ScanPage, Error> {
        let mut page = ScanPage::default();
        let mut last = cursor.map_or_else(String::new, |Cursor(last)| last.clone());
        while page.names.len() < SCANNED_AT_ONCE {
            // Behind every entry of this log, and before whatever log comes next.
            let behind = (last.as_str(), u64::MAX, [].as_slice());
            let mut rest = self.logs.range((Bound::Excluded(behind), Bound::Unbounded))?;
            let Some(next) = rest.next() else { return Ok(page) };
            next?.0.value().0.clone_into(&mut last);
            page.names.push(last.clone());
        }
        page.next = Some(Cursor(last));
        Ok(page)
    }

    /// The entries of a log with their scores.
    pub(super) fn entries(&self, log: &str) -> Result<Vec<(u64, Vec<u8>)>, Error> {
        let mut entries = Vec::new();
        for entry in self.logs.range((log, 0, [].as_slice())..)? {
            let (key, _) = entry?;
            let (of, score, text) = key.value();
            if of != log {
                break;
            }
            entries.push((score, text.to_vec()));
        }
        Ok(entries)
    }

    pub(super) fn log(&self, log: &str, since: u64, entries: &mut Vec<Vec<u8>>) -> Result<(), Error> {
        for entry in self.logs.range((log, since, [].as_slice())..)? {
            let (key, _) = entry?;
            let (of, _, text) = key.value();
            if of != log {
                break;
            }
            entries.push(text.to_vec());
        }
        Ok(())
    }
}

/// The tables of one write transaction.
pub(super) struct Writing<'t> {
    records: Table<'t, &'static str, &'static [u8]>,
    ends: Table<'t, (u64, &'static str), ()>,
    logs: Table<'t, (&'static str, u64, &'static [u8]), ()>,
    /// The score of what is appended now.
    score: u64,
}

impl<'t> Writing<'t> {
    pub(super) fn begin(transaction: &'t WriteTransaction, score: u64) -> Result<Self, Error> {
        Ok(Self {
            records: transaction.open_table(RECORDS)?,
            ends: transaction.open_table(ENDS)?,
            logs: transaction.open_table(LOGS)?,
            score,
        })
    }

    pub(super) fn put(&mut self, put: &Put) -> Result<Swap, Error> {
        let name = put.name.as_str();
        let current = self.records.get(name)?.map(|value| split(value.value()).1.to_vec());
        let expected = match &put.expect {
            Expect::Any => true,
            Expect::Absent | Expect::Equal(_) if current.as_ref() == Some(&put.bytes) => {
                return Ok(Swap::Done);
            }
            Expect::Absent => current.is_none(),
            Expect::Equal(bytes) => current.as_ref() == Some(bytes),
        };
        if !expected {
            return Ok(Swap::Conflict);
        }
        self.insert(name, &put.bytes, put.expires.map_or(NEVER, Timestamp::seconds))?;
        if let Some(append) = &put.append {
            self.append(append)?;
        }
        Ok(Swap::Done)
    }

    pub(super) fn remove(&mut self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        let Some(removed) = self.records.remove(name)? else { return Ok(None) };
        let (end, bytes) = split(removed.value());
        if end != NEVER {
            self.ends.remove((end, name))?;
        }
        Ok(Some(bytes.to_vec()))
    }

    pub(super) fn increment(&mut self, name: &str, expires: Timestamp) -> Result<u64, Error> {
        let current = self.records.get(name)?.map_or(0, |value| number(split(value.value()).1));
        let next = current.saturating_add(1);
        self.insert(name, &next.to_be_bytes(), expires.seconds())?;
        Ok(next)
    }

    pub(super) fn append(&mut self, append: &Append) -> Result<(), Error> {
        let log = append.log.as_str();
        if let Some(keep) = append.keep {
            self.trim(log, keep)?;
        }
        self.logs.insert((log, self.score, append.entry.as_slice()), ())?;
        Ok(())
    }

    pub(super) fn trim(&mut self, log: &str, keep: Duration) -> Result<(), Error> {
        let keep = u64::try_from(keep.as_millis()).unwrap_or(u64::MAX);
        let old = (log, 0, [].as_slice())..(log, self.score.saturating_sub(keep), [].as_slice());
        for entry in self.logs.extract_from_if(old, |_, ()| true)? {
            entry?;
        }
        Ok(())
    }

    /// Puts a part of a copy where it was.
    pub(super) fn load(&mut self, part: &Load) -> Result<(), Error> {
        match part {
            Load::Record { name, bytes, ends } => {
                self.insert(name.as_str(), bytes, ends.map_or(NEVER, Timestamp::seconds))
            }
            Load::Number { name, number } => self.insert(name.as_str(), &number.to_be_bytes(), NEVER),
            Load::Entry { log, score, entry, .. } => {
                self.logs.insert((log.as_str(), *score, entry.as_slice()), ())?;
                Ok(())
            }
            Load::Gone(name) => {
                self.remove(name.as_str())?;
                self.empty(name.as_str())
            }
        }
    }

    /// Away with every entry of a log.
    fn empty(&mut self, log: &str) -> Result<(), Error> {
        let all = (log, 0, [].as_slice())..(log, u64::MAX, [].as_slice());
        for entry in self.logs.extract_from_if(all, |_, ()| true)? {
            entry?;
        }
        Ok(())
    }

    /// Removes at most `limit` records that ended at `ended` or before; how many.
    pub(super) fn collect(&mut self, ended: Timestamp, limit: usize) -> Result<usize, Error> {
        let past = self.ends.range(..(ended.seconds().saturating_add(1), ""))?;
        let names = past.take(limit).map(|entry| Ok(entry?.0.value().1.to_owned()));
        let names = names.collect::<Result<Vec<String>, Error>>()?;
        for name in &names {
            self.remove(name)?;
        }
        Ok(names.len())
    }

    fn insert(&mut self, name: &str, bytes: &[u8], end: u64) -> Result<(), Error> {
        let value = [&end.to_be_bytes(), bytes].concat();
        let before = self.records.insert(name, value.as_slice())?.map_or(NEVER, |old| split(old.value()).0);
        if before != end && before != NEVER {
            self.ends.remove((before, name))?;
        }
        if before != end && end != NEVER {
            self.ends.insert((end, name), ())?;
        }
        Ok(())
    }
}

/// When a value ends, and what is in it. One too short to say so has been damaged: never ends, and nobody can read it.
fn split(value: &[u8]) -> (u64, &[u8]) {
    value.split_first_chunk().map_or((NEVER, &[]), |(end, bytes)| (u64::from_be_bytes(*end), bytes))
}

/// What a counter says.
pub(super) fn number(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_be_bytes)
}
