//! A copy of what is in Redis. There is no moment at which it all is so: SCAN goes on while others write, so whoever copies says
//! in which order ([`crate::store::backup`]).

use std::time::Duration;

use ::redis::{Value, cmd, from_redis_value, pipe};

use super::Redis;
use super::link::Again;
use crate::store::backend::{Copied, Cursor, Name, Of, Reply, ScanPage, Snapshot};
use crate::store::{COLLECT_AFTER, Damage, StoreError};

/// How many keys Redis looks at for one page of names.
const SCANNED_AT_ONCE: u32 = 1000;

/// A server that is read while others write.
pub(super) struct Passing(pub(super) Redis);

impl Snapshot for Passing {
    fn backend(&self) -> &'static str {
        "redis"
    }

    fn is_one_moment(&self) -> bool {
        false
    }

    fn names(&self, of: Of, cursor: Option<Cursor>) -> Reply<'_, ScanPage> {
        let kind = match of {
            Of::Records => "string",
            Of::Logs => "zset",
        };
        let mut command = cmd("SCAN");
        command.arg(cursor.map_or_else(|| "0".to_owned(), |Cursor(position)| position));
        command.arg("MATCH").arg(format!("{}*", super::escaped(&self.0.prefix)));
        command.arg("COUNT").arg(SCANNED_AT_ONCE).arg("TYPE").arg(kind);
        let page = self.0.command::<(String, Vec<Vec<u8>>)>(Again::Safe, "SCAN".to_owned(), command);
        Box::pin(async move {
            let (next, keys) = page.await?;
            // What is no text is nobody's of ours.
            let keys = keys.into_iter().filter_map(|key| String::from_utf8(key).ok());
            let names = keys.filter_map(|key| Some(logical(key.strip_prefix(&self.0.prefix)?).to_owned()));
            Ok(ScanPage { names: names.collect(), next: (next != "0").then_some(Cursor(next)) })
        })
    }

    fn records<'a>(&'a self, names: &'a [Name]) -> Reply<'a, Vec<Option<Copied>>> {
        let mut pipeline = pipe();
        for name in names {
            let key = self.0.key(name);
            pipeline.cmd("GET").arg(&key).cmd("PTTL").arg(key);
        }
        let whose = names.first().map(Name::to_string).unwrap_or_default();
        let answers = self.0.pipeline::<Vec<Value>>(Again::Safe, whose.clone(), pipeline);
        Box::pin(async move {
            let now = self.0.clock.now();
            let mut answers = answers.await?.into_iter();
            let mut next = || Some((answers.next()?, answers.next()?));
            let mut copied = Vec::with_capacity(names.len());
            while let Some((value, life)) = next() {
                let read = || {
                    let bytes: Option<Vec<u8>> = from_redis_value(value).ok()?;
                    Some((bytes, from_redis_value::<i64>(life).ok()?))
                };
                let (bytes, life) = read().ok_or_else(|| StoreError::damaged(&whose, Damage::Form))?;
                let ends = u64::try_from(life).ok().map(|life| {
                    // To the nearest second: `Redis::life` has added as much.
                    now.after(Duration::from_millis(life + 500)).before(COLLECT_AFTER)
                });
                copied.push(bytes.map(|bytes| Copied { bytes, ends }));
            }
            Ok(copied)
        })
    }

    fn entries<'a>(&'a self, log: &'a Name) -> Reply<'a, Vec<(u64, Vec<u8>)>> {
        let mut command = cmd("ZRANGE");
        command.arg(self.0.key(log)).arg(0).arg(-1).arg("WITHSCORES");
        let entries = self.0.command::<Vec<(Vec<u8>, u64)>>(Again::Safe, log.to_string(), command);
        Box::pin(async move { Ok(entries.await?.into_iter().map(|(entry, score)| (score, entry)).collect()) })
    }

    fn number(&self, bytes: &[u8]) -> Option<u64> {
        std::str::from_utf8(bytes).ok()?.parse().ok()
    }
}

/// A key without its shard's tag.
fn logical(key: &str) -> &str {
    let tagged = key.strip_prefix("{g").and_then(|key| key.split_once("}:"));
    tagged.map_or(key, |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_no_part_of_a_name() {
        assert_eq!(logical("{g07}:grant:x"), "grant:x");
        assert_eq!(logical("client:{g07}:x"), "client:{g07}:x");
    }
}
