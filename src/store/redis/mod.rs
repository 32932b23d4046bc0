//! The Redis backend: a primitive is one command, or one script on one slot. Every operation runs as a task of the control
//! runtime, so it goes on when its caller is dropped.

mod link;
mod look;
mod scripts;
mod snapshot;
mod trouble;

use std::sync::Arc;
use std::time::Duration;

use ::redis::{Cmd, FromRedisValue, IntoConnectionInfo, Pipeline, cmd, pipe};
use tokio::runtime::Handle;

pub use self::look::{RedisAway, RedisLook, look, the_other_way};
pub use self::trouble::What;

use self::link::{Again, Link};
use self::snapshot::Passing;
use super::backend::{
    Append, Backend, Cursor, Expect, Load, LogPage, Name, Prefix, Put, Reply, ScanPage, Snapshot,
};
use super::{COLLECT_AFTER, Damage, OpenError, StoreError, Swap};
use crate::clock::Clock;
use crate::secret::Secret;
use crate::time::Timestamp;

/// The longest life a key is given; what ends later has none worth setting.
const LONGEST: Duration = Duration::from_hours(100 * 365 * 24);
/// How many keys Redis looks at for one page of a scan.
const SCANNED_AT_ONCE: u32 = 1000;

/// One Redis server.
#[derive(Clone)]
pub(super) struct Redis {
    link: Arc<Link>,
    prefix: String,
    control: Handle,
    clock: Arc<dyn Clock>,
}

impl Redis {
    /// A backend for the server at `url`. Connects when first used.
    pub(super) fn open(
        url: &Secret,
        prefix: &str,
        control: Handle,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OpenError> {
        let no_url = |error: ::redis::RedisError| OpenError::Url(error.into());
        let info = url.expose().into_connection_info().map_err(no_url)?;
        let link = Link::new(info).map_err(no_url)?;
        Ok(Self { link: Arc::new(link), prefix: prefix.to_owned(), control, clock })
    }

    /// `pc:client:…`, or in a shard `pc:{g07}:grant:…`: what is in braces decides the slot of a Cluster.
    fn key(&self, name: &Name) -> String {
        match name.shard() {
            Some(shard) => format!("{}{{g{:02}}}:{name}", self.prefix, shard.index()),
            None => format!("{}{name}", self.prefix),
        }
    }

    /// How long Redis keeps what ends at `expires`, in milliseconds; 0 is for ever.
    fn life(&self, expires: Option<Timestamp>) -> u64 {
        let Some(expires) = expires else { return 0 };
        let life = expires.since(self.clock.now()).min(LONGEST) + COLLECT_AFTER;
        milliseconds(life)
    }

    /// The commands that put a part of a copy where it was.
    fn load_part(&self, pipeline: &mut Pipeline, part: Load) {
        match part {
            Load::Record { name, bytes, ends } => {
                let set = pipeline.cmd("SET").arg(self.key(&name)).arg(bytes);
                if ends.is_some() {
                    set.arg("PX").arg(self.life(ends));
                }
                set.ignore();
            }
            Load::Number { name, number } => {
                pipeline.cmd("SET").arg(self.key(&name)).arg(number).ignore();
            }
            Load::Entry { log, score, entry, keep } => {
                let key = self.key(&log);
                pipeline.cmd("ZADD").arg(&key).arg(score).arg(entry).ignore();
                if let Some(keep) = keep {
                    pipeline.cmd("PEXPIRE").arg(key).arg(milliseconds(keep)).ignore();
                }
            }
            Load::Gone(name) => {
                pipeline.cmd("DEL").arg(self.key(&name)).ignore();
            }
        }
    }

    fn command<'a, T: FromRedisValue + Send + 'static>(
        &self,
        again: Again,
        name: String,
        command: Cmd,
    ) -> Reply<'a, T> {
        self.spawn(again, name, move |mut connection| {
            let command = command.clone();
            async move { command.query_async(&mut connection).await }
        })
    }

    fn pipeline<'a, T: FromRedisValue + Send + 'static>(
        &self,
        again: Again,
        name: String,
        pipeline: Pipeline,
    ) -> Reply<'a, T> {
        self.spawn(again, name, move |mut connection| {
            let pipeline = pipeline.clone();
            async move { pipeline.query_async(&mut connection).await }
        })
    }

    fn spawn<'a, T, Operation, Answer>(
        &self,
        again: Again,
        name: String,
        operation: Operation,
    ) -> Reply<'a, T>
    where
        T: Send + 'static,
        Operation: Fn(::redis::aio::MultiplexedConnection) -> Answer + Send + Sync + 'static,
        Answer: Future<Output = ::redis::RedisResult<T>> + Send,
    {
        let link = Arc::clone(&self.link);
        let task = self.control.spawn(async move { link.run(again, &name, operation).await });
        Box::pin(async move { task.await.unwrap_or_else(|error| Err(StoreError::away(error))) })
    }
}

impl Backend for Redis {
    fn get<'a>(&'a self, name: &'a Name) -> Reply<'a, Option<Vec<u8>>> {
        self.command(Again::Safe, name.to_string(), cmd("GET").arg(self.key(name)).take())
    }

    fn put(&self, put: Put) -> Reply<'_, Swap> {
        let key = self.key(&put.name);
        let log = put.append.as_ref().map_or_else(|| key.clone(), |append| self.key(&append.log));
        let (expect, old) = match &put.expect {
            Expect::Any => ("any", [].as_slice()),
            Expect::Absent => ("absent", [].as_slice()),
            Expect::Equal(bytes) => ("equal", bytes.as_slice()),
        };
        let mut command = cmd("EVAL");
        command.arg(scripts::PUT).arg(2).arg(key).arg(log);
        command.arg(expect).arg(old).arg(put.bytes).arg(self.life(put.expires));
        if let Some(append) = put.append {
            command.arg(append.entry).arg(append.keep.map_or(0, milliseconds));
        }
        let written = self.command::<bool>(Again::Safe, put.name.to_string(), command);
        Box::pin(async move { Ok(if written.await? { Swap::Done } else { Swap::Conflict }) })
    }

    fn take<'a>(&'a self, name: &'a Name) -> Reply<'a, Option<Vec<u8>>> {
        self.command(Again::Never, name.to_string(), cmd("GETDEL").arg(self.key(name)).take())
    }

    fn delete<'a>(&'a self, name: &'a Name) -> Reply<'a, ()> {
        self.command(Again::Safe, name.to_string(), cmd("DEL").arg(self.key(name)).take())
    }

    fn increment<'a>(&'a self, name: &'a Name, expires: Timestamp) -> Reply<'a, u64> {
        let mut command = cmd("EVAL");
        command.arg(scripts::INCREMENT).arg(1).arg(self.key(name)).arg(self.life(Some(expires)));
        self.command(Again::Never, name.to_string(), command)
    }

    fn scan(&self, prefix: Prefix, cursor: Option<Cursor>) -> Reply<'_, ScanPage> {
        let tag = if prefix.sharded { "{g??}:" } else { "" };
        let pattern = format!("{}{tag}{}*", escaped(&self.prefix), escaped(prefix.text));
        let mut command = cmd("SCAN");
        command.arg(cursor.map_or_else(|| "0".to_owned(), |Cursor(position)| position));
        command.arg("MATCH").arg(pattern).arg("COUNT").arg(SCANNED_AT_ONCE);
        let cut = self.prefix.len() + tag.len();
        let page = self.command::<(String, Vec<String>)>(Again::Safe, prefix.text.to_owned(), command);
        Box::pin(async move {
            let (next, keys) = page.await?;
            let names = keys.iter().filter_map(|key| key.get(cut..)).map(str::to_owned).collect();
            Ok(ScanPage { names, next: (next != "0").then_some(Cursor(next)) })
        })
    }

    fn append(&self, append: Append) -> Reply<'_, ()> {
        let mut command = cmd("EVAL");
        command.arg(scripts::APPEND).arg(1).arg(self.key(&append.log));
        command.arg(append.entry).arg(append.keep.map_or(0, milliseconds));
        self.command(Again::Safe, append.log.to_string(), command)
    }

    fn read_logs<'a>(&'a self, logs: &'a [Name], since: u64) -> Reply<'a, LogPage> {
        // One connection executes a pipeline in order, so TIME is not later than what is read after it.
        let mut pipeline = pipe();
        pipeline.cmd("TIME");
        for log in logs {
            pipeline.cmd("ZRANGEBYSCORE").arg(self.key(log)).arg(since).arg("+inf");
        }
        let name = logs.first().map(Name::to_string).unwrap_or_default();
        let answers = self.pipeline::<Vec<::redis::Value>>(Again::Safe, name.clone(), pipeline);
        Box::pin(
            async move { log_page(answers.await?).ok_or_else(|| StoreError::damaged(&name, Damage::Form)) },
        )
    }

    fn trim<'a>(&'a self, log: &'a Name, keep: Duration) -> Reply<'a, ()> {
        let mut command = cmd("EVAL");
        command.arg(scripts::TRIM).arg(1).arg(self.key(log)).arg(milliseconds(keep));
        self.command(Again::Safe, log.to_string(), command)
    }

    fn collect(&self, _now: Timestamp) -> Reply<'_, bool> {
        Box::pin(std::future::ready(Ok(false)))
    }

    fn ping(&self) -> Reply<'_, ()> {
        self.command(Again::Safe, "PING".to_owned(), cmd("PING"))
    }

    fn snapshot(&self) -> Reply<'_, Box<dyn Snapshot>> {
        let snapshot: Box<dyn Snapshot> = Box::new(Passing(self.clone()));
        Box::pin(std::future::ready(Ok(snapshot)))
    }

    fn load(&self, parts: Vec<Load>) -> Reply<'_, ()> {
        let mut pipeline = pipe();
        for part in parts {
            self.load_part(&mut pipeline, part);
        }
        self.pipeline(Again::Safe, "restore".to_owned(), pipeline)
    }
}

/// The answers of TIME and of one ZRANGEBYSCORE a log.
fn log_page(answers: Vec<::redis::Value>) -> Option<LogPage> {
    let mut answers = answers.into_iter();
    let (seconds, microseconds): (u64, u64) = ::redis::from_redis_value(answers.next()?).ok()?;
    let mut page = LogPage { entries: Vec::new(), now: seconds * 1000 + microseconds / 1000 };
    for answer in answers {
        page.entries.extend(::redis::from_redis_value::<Vec<Vec<u8>>>(answer).ok()?);
    }
    Some(page)
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.min(LONGEST + COLLECT_AFTER).as_millis()).unwrap_or(u64::MAX)
}

/// `text` for a glob pattern that matches nothing else.
fn escaped(text: &str) -> String {
    text.chars().fold(String::new(), |mut pattern, char| {
        if matches!(char, '*' | '?' | '[' | ']' | '^' | '-' | '\\') {
            pattern.push('\\');
        }
        pattern.push(char);
        pattern
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_cannot_widen_a_scan() {
        assert_eq!(escaped(r"a*[b]?\:"), r"a\*\[b\]\?\\:");
    }
}
