//! `portcullis rotate-secrets`: another secret key in an env file, and the one of before beside it until nothing is sealed under
//! that any more.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;

use super::admin::{Failure, Reach, print_json, run as report};
use super::env_file::{EnvError, EnvFile};
use crate::admin::kept::Sealed;
use crate::config::{self, Surroundings, System};
use crate::seal::Sealer;
use crate::secret::{Key, Secret};
use crate::store::backup::fingerprints;

/// `portcullis rotate-secrets`.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{STATUS}"))]
pub struct Arguments {
    /// The file in which `PORTCULLIS_SECRET_KEY` stands.
    #[arg(long, value_name = "FILE", default_value = ".env")]
    env: PathBuf,
    /// Take the key of before away: the running gateway must have nothing left that is sealed under it.
    #[arg(long)]
    finish: bool,
    /// Wait so many seconds until nothing is left.
    #[arg(long, value_name = "SECONDS", requires = "finish", default_value_t = 0)]
    wait: u64,
    /// Change `REDIS_PASSWORD` in the file too: Redis and the gateway are to be restarted together.
    #[arg(long, conflicts_with = "finish")]
    redis_password: bool,
    #[command(flatten)]
    reach: Reach,
}

const EXAMPLES: &str = "Examples:
  portcullis rotate-secrets --env /etc/portcullis/.env
  systemctl restart portcullis
  portcullis rotate-secrets --env /etc/portcullis/.env --finish --wait 60
  systemctl restart portcullis

Backups made until then open with the key of before only: copy it to where they are kept before --finish deletes it, and make a \
new backup.

The configuration must say secret_key_previous: ${PORTCULLIS_SECRET_KEY_PREVIOUS:-}. The keys of tokens are others, and rotate by \
themselves; before their time by: portcullis key rotate signing.";

const STATUS: &str = "Exit status: 0 done; 1 refused, and the file is as it was; 2 wrong arguments; 69 no gateway listens at the \
socket; 77 this user may not; 78 the configuration does not fit.";

const KEY: &str = "PORTCULLIS_SECRET_KEY";
const PREVIOUS: &str = "PORTCULLIS_SECRET_KEY_PREVIOUS";
const REDIS: &str = "REDIS_PASSWORD";

/// How often the gateway is asked.
const ASK: Duration = Duration::from_millis(500);

/// The command.
#[must_use]
pub fn run(arguments: &Arguments) -> ExitCode {
    report(|| {
        let mut env = EnvFile::read(&arguments.env).map_err(|error| refused(&error))?;
        if arguments.finish { finish(arguments, &mut env) } else { rotate(arguments, &mut env) }
    })
}

/// What a program is told: how it stands with the change.
fn told(env: &Path, state: &str) -> Result<ExitCode, Failure> {
    print_json(&serde_json::json!({ "env": env.display().to_string(), "state": state }))?;
    Ok(ExitCode::SUCCESS)
}

fn refused(error: &EnvError) -> Failure {
    Failure::Refused(error.to_string())
}

/// A key of the file, in the form that the configuration wants.
fn key(env: &EnvFile, name: &'static str, file: &Path) -> Result<Option<Key>, Failure> {
    let Some(text) = env.value(name).map_err(|error| refused(&error))? else { return Ok(None) };
    let odd = || Failure::Refused(format!("{name} in {} is no 64 hexadecimal digits", file.display()));
    Key::from_hex(text.expose()).map(Some).ok_or_else(odd)
}

fn rotate(arguments: &Arguments, env: &mut EnvFile) -> Result<ExitCode, Failure> {
    let file = &arguments.env;
    let shown = file.display();
    let none = || Failure::Refused(format!("there is no {KEY} in {shown}"));
    let old = key(env, KEY, file)?.ok_or_else(none)?;
    if let Some(previous) = key(env, PREVIOUS, file)? {
        let over = is_over(&arguments.reach, &old, &previous).is_ok();
        if !over {
            return Err(Failure::Refused(format!(
                "the last change is not over: {PREVIOUS} stands in {shown}; restart the gateway, then \
                 portcullis rotate-secrets --env {shown} --finish"
            )));
        }
    }
    let new = Key::random();
    let set = |env: &mut EnvFile, name, value: &Secret| {
        env.set(name, value.expose(), KEY).map_err(|error| refused(&error))
    };
    set(env, KEY, &new.to_hex())?;
    set(env, PREVIOUS, &old.to_hex())?;
    if arguments.redis_password {
        if env.value(REDIS).map_err(|error| refused(&error))?.is_none() {
            return Err(Failure::Refused(format!("there is no {REDIS} in {shown}")));
        }
        set(env, REDIS, &Key::random().to_hex())?;
    }
    is_read(&arguments.reach.config, env, &new, &old)?;
    env.write().map_err(|error| refused(&error))?;
    if arguments.reach.json {
        return told(file, "begun");
    }
    let (what, redis) = if arguments.redis_password {
        ("A new secret key and a new password for Redis stand", " Redis and")
    } else {
        ("A new secret key stands", "")
    };
    writeln!(
        io::stdout(),
        "{what} in {shown}, the key of before as {PREVIOUS}.\nBackups made until now open with the key of before only: copy \
         {PREVIOUS} to where they are kept now, --finish deletes it.\nNow restart{redis} the gateway, then: portcullis \
         rotate-secrets --env {shown} --finish --wait 60\nThen make a new backup."
    )?;
    Ok(ExitCode::SUCCESS)
}

/// The environment as it will be.
struct Changed<'a>(&'a EnvFile);

impl Surroundings for Changed<'_> {
    fn variable(&self, name: &str) -> Option<OsString> {
        let ours = [KEY, PREVIOUS, REDIS].into_iter().find(|ours| *ours == name);
        let value = ours.and_then(|name| self.0.value(name).ok().flatten());
        value.map(|value| value.expose().into()).or_else(|| System.variable(name))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        System.read(path)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        System.list(folder)
    }
}

/// A gateway that does not read the key of before would not start.
fn is_read(config: &Path, env: &EnvFile, new: &Key, old: &Key) -> Result<(), Failure> {
    let told = |why: String| {
        drop(writeln!(io::stderr(), "portcullis: {why}; nothing was changed"));
        Failure::Told(config::Problems::EXIT_CODE)
    };
    let (key, previous) = config::secret_keys(config, &Changed(env)).map_err(told)?;
    let shown = config.display();
    if key != *new {
        return Err(told(format!(
            "{shown} does not take secret_key from {KEY}: write secret_key: ${{{KEY}}} there"
        )));
    }
    if previous.as_ref() != Some(old) {
        return Err(told(format!(
            "{shown} does not take secret_key_previous from {PREVIOUS}: write secret_key_previous: ${{{PREVIOUS}:-}} there"
        )));
    }
    Ok(())
}

/// What keeps the key of before from being taken away.
enum NotOver {
    /// It will be over by itself.
    Later(String),
    /// It will not.
    Never(Failure),
}

/// Whether the running gateway has these two keys, and nothing left under the previous one.
fn is_over(reach: &Reach, key: &Key, previous: &Key) -> Result<(), NotOver> {
    let print = |key: &Key| fingerprints(&Sealer::new(key.clone())).next();
    let sealed: Sealed = reach.ask("store/sealed", &()).map_err(NotOver::Never)?;
    let never = |why: &str| Err(NotOver::Never(Failure::Refused(why.to_owned())));
    let (ours, running) = ([print(key), print(previous)], [Some(sealed.key), sealed.previous]);
    if running[0] == ours[1] {
        return never("the gateway still has the key of before: restart it first");
    }
    if running[0] == ours[0] && running[1].is_none() {
        return never("the gateway was started without the key of before: restart it with this file");
    }
    if running != ours {
        return never("the gateway has other keys than this file: is it another gateway's?");
    }
    match (sealed.left, sealed.done) {
        (_, true) => Ok(()),
        (0, false) => Err(NotOver::Later("nothing is left, and it is looked through once more".to_owned())),
        (1, false) => Err(NotOver::Later("1 record is still sealed under the key of before".to_owned())),
        (left, false) => {
            Err(NotOver::Later(format!("{left} records are still sealed under the key of before")))
        }
    }
}

fn finish(arguments: &Arguments, env: &mut EnvFile) -> Result<ExitCode, Failure> {
    let file = &arguments.env;
    let shown = file.display();
    let none = |name| Failure::Refused(format!("there is no {name} in {shown}: nothing is to be finished"));
    let new = key(env, KEY, file)?.ok_or_else(|| none(KEY))?;
    let previous = key(env, PREVIOUS, file)?.ok_or_else(|| none(PREVIOUS))?;
    let (started, patience) = (Instant::now(), Duration::from_secs(arguments.wait));
    loop {
        match is_over(&arguments.reach, &new, &previous) {
            Ok(()) => break,
            Err(NotOver::Later(_)) if started.elapsed() < patience => std::thread::sleep(ASK),
            Err(NotOver::Later(why)) => {
                return Err(Failure::Refused(format!("{why}; try again in a moment, or with --wait 60")));
            }
            Err(NotOver::Never(failure)) => return Err(failure),
        }
    }
    env.remove(PREVIOUS).and_then(|()| env.write()).map_err(|error| refused(&error))?;
    if arguments.reach.json {
        return told(file, "finished");
    }
    writeln!(
        io::stdout(),
        "The key of before is gone from {shown}. Restart the gateway once more, then make a new backup: those from before the \
         change open with the key of before only."
    )?;
    Ok(ExitCode::SUCCESS)
}
