//! Redis: refused, unknown, locked or by TLS; slow; forgetful.

use std::collections::BTreeMap;
use std::time::Duration;

use url::Url;

use crate::doctor::{Examination, Remedy, Trial};
use crate::secret::Secret;
use crate::store::{RedisAway, RedisFault, RedisLook, look_at_redis, the_other_way};
use crate::trouble::Trouble;

/// From when on a PING is worth a word, and from when on people feel it at every step.
const SLOW: Duration = Duration::from_millis(10);
const TOO_SLOW: Duration = Duration::from_millis(100);

/// Looks at it; whether it can be used.
pub(super) async fn examine(examination: &Examination<'_>, url: &Secret) -> bool {
    match look_at_redis(url).await {
        Ok(look) => {
            let found = format!("Redis {} answers", look.version);
            examination.good(Trouble::RedisDown, &look.server, Trial::new("PING", found));
            tell_of_speed(examination, &look);
            tell_of_memory(examination, &look, url);
            true
        }
        Err(away) => {
            let remedy = remedy(&away, url).await;
            let subject = away.server.as_str();
            examination.bad(
                Trouble::RedisDown,
                subject,
                Trial::new(format!("PING at {}", shown(url)), away.said),
                remedy,
            );
            let rest = [Trouble::RedisForgets, Trouble::RedisSlow];
            examination.not_tried(&rest, subject, "Redis cannot be used");
            false
        }
    }
}

async fn remedy(away: &RedisAway, url: &Secret) -> Remedy {
    let line = format!("`store: {}`", shown(url));
    if matches!(away.what, RedisFault::Tls | RedisFault::SilentTls | RedisFault::Silent | RedisFault::Broken)
        && let Some(other) = answers_the_other_way(url).await
    {
        let by_tls = other.expose().starts_with("rediss:");
        let cause = if by_tls {
            "This port speaks TLS, and the URL says that it does not."
        } else {
            "This port speaks no TLS, and the URL says that it does."
        };
        return Remedy::new(cause, [format!("Write `store: {}`.", shown(&other))]);
    }
    match away.what {
        RedisFault::Refused => Remedy::new(
            format!("Nobody listens at {}: Redis does not run, or has another port.", away.server),
            [
                "Start it: `sudo systemctl start redis-server`, or `just up`.".to_owned(),
                format!("Or mend the port in {line}; `sudo ss -ltnp | grep redis` shows it."),
            ],
        ),
        RedisFault::Name => Remedy::new(
            "Nobody knows this host name.",
            [
                format!("Mend the host in {line}."),
                "In compose it is the name of the service, `redis`, and both are in one network.".to_owned(),
            ],
        ),
        RedisFault::Password => Remedy::new(
            "The password in the URL is wrong, or there is none where Redis wants one.",
            [
                "Write the one that redis.conf has as `requirepass` into .env: `REDIS_PASSWORD=`.".to_owned(),
                format!(
                    "The line is `store: {}`; characters such as @ : / in it are percent-encoded.",
                    with_password(url)
                ),
                "Then have .env read again and restart the gateway: `sudo systemctl restart portcullis`, or `just up`; in a shell `set -a; . ./.env; set +a` first.".to_owned(),
                format!("Try it: `redis-cli -u {} ping`.", for_cli(&Secret::new(with_password(url)))),
            ],
        ),
        RedisFault::Tls => Remedy::new(
            "The TLS handshake fails: Redis' certificate is not for this host, or nobody here trusts who issued it.",
            [format!(
                "Name it as its certificate does in {line}, and let this machine trust its authority: `sudo update-ca-certificates`."
            )],
        ),
        RedisFault::Silent | RedisFault::SilentTls | RedisFault::Broken => Remedy::new(
            "Something takes the connection and does not answer as Redis does: a firewall, a swapping machine, or another kind of server.",
            [format!("Ask it from here: `redis-cli -u {} ping`.", for_cli(url))],
        ),
        RedisFault::ReadOnly => Remedy::new(
            "This is a replica, which cannot be written.",
            [format!("Write the primary's host into {line}; `redis-cli info replication` names it.")],
        ),
        RedisFault::Answer => Remedy::new(
            "Redis answers, and does not do what it is asked; or it is no Redis that answers.",
            [format!("See what it says: `redis-cli -u {} ping`.", for_cli(url))],
        ),
    }
}

/// The URL that would be right, if TLS alone is what is wrong.
async fn answers_the_other_way(url: &Secret) -> Option<Secret> {
    let other = the_other_way(url)?;
    match look_at_redis(&other).await {
        Ok(_) | Err(RedisAway { what: RedisFault::Password, .. }) => Some(other),
        // Whoever shows a certificate speaks TLS, whether it is trusted here or not.
        Err(RedisAway { what: RedisFault::Tls, said, .. }) if said.contains("certificate") => Some(other),
        Err(_) => None,
    }
}

/// The URL, without what is secret in it.
fn shown(url: &Secret) -> String {
    let Ok(mut url) = Url::parse(url.expose()) else { return "redis://HOST:6379/0".into() };
    if url.password().is_some() {
        // Both are possible where there is a password already.
        let _ = url.set_password(Some("PASSWORD"));
    }
    url.to_string()
}

/// The same as `redis-cli` takes it: an empty name of the user is a user for it, and the wrong one.
fn for_cli(url: &Secret) -> String {
    let shown = shown(url);
    let Ok(mut url) = Url::parse(&shown) else { return shown };
    if url.password().is_some() && url.username().is_empty() {
        // A URL with a password has room for a name.
        let _ = url.set_username("default");
    }
    if url.port().is_none() {
        // Likewise for the port of one with a host.
        let _ = url.set_port(Some(6379));
    }
    url.to_string()
}

fn with_password(url: &Secret) -> String {
    let Ok(mut url) = Url::parse(url.expose()) else {
        return "redis://:${REDIS_PASSWORD}@HOST:6379/0".into();
    };
    let _ = url.set_password(Some("PASSWORD"));
    url.to_string().replace(":PASSWORD@", ":${REDIS_PASSWORD}@")
}

fn tell_of_speed(examination: &Examination<'_>, look: &RedisLook) {
    let at =
        |percent: usize| look.pings.get((look.pings.len() - 1) * percent / 100).copied().unwrap_or_default();
    let milliseconds = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1000.0);
    let found = format!("half within {}, 95 of 100 within {}", milliseconds(at(50)), milliseconds(at(95)));
    let trial = Trial::new(format!("{} PINGs", look.pings.len()), found);
    let subject = look.server.as_str();
    if at(95) <= SLOW {
        examination.good(Trouble::RedisSlow, subject, trial);
    } else if at(95) <= TOO_SLOW {
        let cause = "Every step of a sign-in asks Redis a few times, and waits for it.";
        examination.remark(
            Trouble::RedisSlow,
            subject,
            trial,
            Remedy::new(cause, ["Put Redis beside the gateway."]),
        );
    } else {
        examination.bad(Trouble::RedisSlow, subject, trial, Remedy::default());
    }
}

fn tell_of_memory(examination: &Examination<'_>, look: &RedisLook, url: &Secret) {
    let subject = look.server.as_str();
    let cli = format!("redis-cli -u {}", for_cli(url));
    let failing = |name: &str| look.persistence.get(name).is_some_and(|status| status != "ok");
    if failing("rdb_last_bgsave_status") || failing("aof_last_write_status") {
        let trial = Trial::new("INFO persistence", "the last write to disk has failed");
        let cause = "Redis cannot write to its disk: it is full, or its folder is not its own.";
        let fix =
            ["Look into its log, and make room: `df -h`; `ls -ld $(redis-cli config get dir | tail -1)`."];
        examination.bad(Trouble::RedisForgets, subject, trial, Remedy::new(cause, fix));
        return;
    }
    let Some(settings) = &look.settings else {
        let trial =
            Trial::new("CONFIG GET appendonly save maxmemory maxmemory-policy", "this user may not ask that");
        let cause = "Whether Redis keeps what it is told cannot be seen from here.";
        let fix = [format!(
            "Look yourself, as a user who may: `{cli} config get appendonly`, and the same of `save` and `maxmemory-policy`."
        )];
        examination.remark(Trouble::RedisForgets, subject, trial, Remedy::new(cause, fix));
        return;
    };
    let told = |name: &str| settings.get(name).map_or("", String::as_str);
    let found = ["appendonly", "save", "maxmemory", "maxmemory-policy"]
        .map(|name| format!("{name} {:?}", told(name)));
    let trial = || Trial::new("CONFIG GET appendonly save maxmemory maxmemory-policy", found.join(", "));
    let worse = [evicts(settings, &cli), keeps_nothing(settings, &cli)];
    let mut is_good = true;
    for remedy in worse.into_iter().flatten() {
        is_good = false;
        examination.bad(Trouble::RedisForgets, subject, trial(), remedy);
    }
    if !is_good {
        return;
    }
    if told("appendonly") == "yes" {
        examination.good(Trouble::RedisForgets, subject, trial());
    } else {
        let cause = format!(
            "Redis writes everything to disk only now and then (`save {}`): a crash loses what came after.",
            told("save")
        );
        let fix = [format!(
            "Have it write at once: `{cli} config set appendonly yes`, and `appendonly yes` in redis.conf."
        )];
        examination.remark(Trouble::RedisForgets, subject, trial(), Remedy::new(cause, fix));
    }
}

fn keeps_nothing(settings: &BTreeMap<String, String>, cli: &str) -> Option<Remedy> {
    let told = |name: &str| settings.get(name).map_or("", String::as_str);
    (told("appendonly") != "yes" && told("save").is_empty()).then(|| {
        let cause = "Redis keeps nothing on disk: when it is restarted, every client, grant and key is gone, and everybody signs in again.";
        let fix = [
            format!("At once: `{cli} config set appendonly yes`."),
            "For good: `appendonly yes` in redis.conf (in compose: `command: redis-server --appendonly yes`), and a volume at /data.".to_owned(),
        ];
        Remedy::new(cause, fix)
    })
}

fn evicts(settings: &BTreeMap<String, String>, cli: &str) -> Option<Remedy> {
    let told = |name: &str| settings.get(name).map_or("", String::as_str);
    let (most, policy) = (told("maxmemory"), told("maxmemory-policy"));
    (!matches!(most, "" | "0") && policy != "noeviction").then(|| {
        let cause = format!("When its memory ({most} bytes) is full, Redis throws keys away ({policy}): grants and clients among them.");
        let fix = [
            format!("At once: `{cli} config set maxmemory-policy noeviction`."),
            "For good: `maxmemory-policy noeviction` in redis.conf; and share this Redis with nobody.".to_owned(),
        ];
        Remedy::new(cause, fix)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_its_password() {
        let shown = |url: &str| shown(&Secret::new(url.to_owned()));
        assert_eq!(shown("redis://:s3cret@redis:6379/0"), "redis://:PASSWORD@redis:6379/0");
        assert_eq!(shown("rediss://me:s3cret@redis:6379"), "rediss://me:PASSWORD@redis:6379");
        assert_eq!(shown("redis://127.0.0.1:6379/0"), "redis://127.0.0.1:6379/0");
        let for_cli = |url: &str| for_cli(&Secret::new(url.to_owned()));
        assert_eq!(for_cli("redis://:s3cret@redis/0"), "redis://default:PASSWORD@redis:6379/0");
        assert_eq!(for_cli("rediss://me:s3cret@redis:6380"), "rediss://me:PASSWORD@redis:6380");
        assert_eq!(for_cli("redis://127.0.0.1:6379/0"), "redis://127.0.0.1:6379/0");
        let url = Secret::new("redis://127.0.0.1:6379/0".to_owned());
        assert_eq!(with_password(&url), "redis://:${REDIS_PASSWORD}@127.0.0.1:6379/0");
    }

    fn look(pings: &[u64], settings: Option<&[(&str, &str)]>) -> RedisLook {
        let owned = |pair: &(&str, &str)| (pair.0.to_owned(), pair.1.to_owned());
        RedisLook {
            server: "redis:6379".into(),
            version: "8".into(),
            pings: pings.iter().map(|time| Duration::from_millis(*time)).collect(),
            settings: settings.map(|all| all.iter().map(owned).collect()),
            persistence: BTreeMap::new(),
        }
    }

    // trouble: redis-slow
    #[test]
    fn percentiles_of_pings_decide_whether_redis_is_slow() {
        for (pings, verdict) in [
            (&[1, 1, 2, 2, 9][..], "good"),
            (&[1, 12, 15, 15, 15], "remark"),
            (&[1, 120, 150, 150, 150], "bad"),
            // One that is late says nothing of the others.
            (&[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 500], "good"),
        ] {
            let examination = Examination::new(&());
            tell_of_speed(&examination, &look(pings, None));
            let told = serde_json::to_value(examination.conclude("")).unwrap();
            assert_eq!(told["findings"][0]["verdict"], verdict, "{pings:?}");
        }
    }

    #[test]
    fn settings_that_may_not_be_read_are_a_remark_with_the_command_that_reads_them() {
        let examination = Examination::new(&());
        tell_of_memory(&examination, &look(&[1], None), &Secret::new("redis://redis:6379/0".into()));
        let report = examination.conclude("");
        assert!(
            report.is_healthy() && report.findings[0].fix[0].contains("config get appendonly"),
            "{report:?}"
        );
    }
}
