//! `portcullis restore`: the store as it was when a backup was made; of the same kind or the other.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, IsTerminal as _, Read, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;

use super::admin::{Failure, Reach, print_json, run as report};
use super::keeping::{More, Progress, Told, configuration, explained, in_words};
use super::serve::{control_runtime, sealer};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::secret::{random, to_base64url};
use crate::store::backup::{
    About, FormatError, Reader, RestoreError, Restored, Summary, Target, Terms, verify,
};
use crate::store::{OpenError, Settings};

/// `portcullis restore`.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{STATUS}"))]
pub struct Arguments {
    /// The backup; - is standard input.
    file: PathBuf,
    /// Take away what is in the store. Asks first.
    #[arg(long)]
    replace: bool,
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
    /// Gateways may be running over this Redis: they notice, end, and are to be started again.
    #[arg(long)]
    while_running: bool,
    #[command(flatten)]
    reach: Reach,
}

const EXAMPLES: &str = "Examples:
  portcullis restore portcullis.backup
  portcullis restore --replace portcullis.backup
  docker compose run --rm -T gateway restore - < portcullis.backup

To move to another store: make a backup, stop the gateway, write the new `store` into the configuration, restore, start.
What happened after the backup was made has not happened: revoke again what was revoked since.";

const STATUS: &str = "Exit status: 0 done; 1 nothing was restored, and says what is in the store now; 2 wrong arguments; \
78 the configuration is no good.";

/// The command.
#[must_use]
pub fn run(arguments: &Arguments) -> ExitCode {
    report(|| restore(arguments))
}

fn restore(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let config = configuration(&arguments.reach.config)?;
    is_stopped(arguments, &config)?;
    let mut file = open(&arguments.file, &config)?;
    let (about, summary) = verified(&file, &config).map_err(|error| unfit(&arguments.file, &error))?;
    file.rewind()?;
    let runtime = control_runtime().map_err(|error| Failure::Terminal(io::Error::other(error)))?;
    let restored = runtime.block_on(async {
        let opened = Target::open(&config.store, Arc::new(SystemClock)).await;
        let target = opened.map_err(|error| {
            let is_in_use = matches!(error, OpenError::InUse);
            let refused = || Failure::Refused(explained(&error));
            if is_in_use { running("another process has the store open") } else { refused() }
        })?;
        if !target.is_unused().await.map_err(|error| Failure::Refused(explained(&error)))? {
            may_replace(arguments, &config)?;
        }
        fill(target, &file, &config).await
    })?;
    tell(arguments, &config, (&about, &summary), restored)
}

/// An embedded store that a gateway has open is locked; of Redis the gateway here can be asked, and others notice by themselves.
fn is_stopped(arguments: &Arguments, config: &Config) -> Result<(), Failure> {
    let may_run = arguments.while_running && matches!(config.store, Settings::Redis { .. });
    if may_run {
        return Ok(());
    }
    match arguments.reach.listening()? {
        Some(socket) => Err(running(&format!("a gateway is running: it listens at {}", socket.display()))),
        None => Ok(()),
    }
}

fn running(why: &str) -> Failure {
    Failure::Refused(format!(
        "{why}; stop it first: systemctl stop portcullis.socket portcullis, or docker compose stop gateway"
    ))
}

fn unfit(file: &Path, error: &RestoreError) -> Failure {
    Failure::Refused(format!("{}: {}; nothing was changed", file.display(), explained(error)))
}

/// The backup, to be read twice.
fn open(file: &Path, config: &Config) -> Result<File, Failure> {
    if file == Path::new("-") {
        return keep_input(config);
    }
    File::open(file).map_err(|error| Failure::Refused(format!("cannot read {}: {error}", file.display())))
}

/// Standard input, kept in a file without a name: beside the store, or where temporary files are.
fn keep_input(config: &Config) -> Result<File, Failure> {
    let mut input = io::stdin().lock();
    if input.is_terminal() {
        return Err(Failure::Usage(
            "a backup cannot be typed; name a file, or give it on: restore - < FILE".into(),
        ));
    }
    let beside = match &config.store {
        Settings::Embedded { path } => path.parent(),
        Settings::Redis { .. } => None,
    };
    let folder = beside.map_or_else(std::env::temp_dir, Path::to_owned);
    let mut keep = || {
        let path = folder.join(format!(".restoring-{}", to_base64url(&random::<6>())));
        let mut kept = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        fs::remove_file(&path)?;
        io::copy(&mut input, &mut kept)?;
        kept.rewind()?;
        Ok(kept)
    };
    keep().map_err(|error: io::Error| {
        Failure::Refused(format!(
            "standard input cannot be kept in {} ({error}); name a file, or another folder by TMPDIR",
            folder.display()
        ))
    })
}

fn reader(file: &File) -> Result<Reader<impl Read>, FormatError> {
    Reader::begin(BufReader::with_capacity(64 << 10, file))
}

/// Reads all of it: nothing is written before it is known to be good.
fn verified(file: &File, config: &Config) -> Result<(About, Summary), RestoreError> {
    let reader = reader(file)?;
    let about = reader.about().clone();
    let mut progress = Progress::new("checking");
    let summary = verify(reader, &sealer(config), |counts| progress.tell(counts));
    progress.end();
    Ok((about, summary?))
}

/// Whether what is in the store may be taken away.
fn may_replace(arguments: &Arguments, config: &Config) -> Result<(), Failure> {
    if !arguments.replace {
        return Err(Failure::Refused(
            "the store is not empty; restore --replace takes away what is in it".to_owned(),
        ));
    }
    if arguments.yes {
        return Ok(());
    }
    let input = io::stdin();
    if !input.is_terminal() {
        return Err(Failure::Usage("nobody can be asked here; write --yes beside --replace".to_owned()));
    }
    let store = match &config.store {
        Settings::Embedded { path } => path.display().to_string(),
        Settings::Redis { prefix, .. } => format!("Redis (under {prefix})"),
    };
    write!(
        io::stderr(),
        "What is in {store} is lost: every client and sign-in since the backup. Type yes to go on: "
    )?;
    let mut answer = String::new();
    input.read_line(&mut answer)?;
    if answer.trim() == "yes" { Ok(()) } else { Err(Failure::Refused("nothing was changed".to_owned())) }
}

async fn fill(target: Target, file: &File, config: &Config) -> Result<Restored, Failure> {
    let keys = sealer(config);
    let terms = Terms { now: SystemClock.now(), lives: config.gateway.lives, sealer: &keys };
    let reader = reader(file).map_err(|error| Failure::Refused(explained(&error)))?;
    let mut progress = Progress::new("restoring");
    let filled = target.fill(reader, &terms, |counts| progress.tell(counts)).await;
    progress.end();
    filled.map_err(|error| {
        let left = match config.store {
            Settings::Embedded { .. } => "the store is as it was",
            Settings::Redis { .. } => "the store is not whole, and no gateway starts over it; restore again",
        };
        Failure::Refused(format!("{}; {left}", explained(&error)))
    })
}

fn tell(
    arguments: &Arguments,
    config: &Config,
    (about, summary): (&About, &Summary),
    restored: Restored,
) -> Result<ExitCode, Failure> {
    let Restored { counts, expired } = restored;
    let to = match config.store {
        Settings::Embedded { .. } => "embedded",
        Settings::Redis { .. } => "redis",
    };
    if arguments.reach.json {
        print_json(&Told {
            file: &arguments.file.display().to_string(),
            records: counts.records,
            entries: counts.entries,
            kinds: &summary.kinds,
            made_at: about.made_at.to_rfc3339(),
            made_by: &about.made_by,
            from: &about.from,
            more: More::Restore { expired, to },
        })?;
    } else {
        let ended =
            if expired == 0 { String::new() } else { format!("; {expired} that had ended were left out") };
        writeln!(
            io::stdout(),
            "Restored the {} store as of {}: {}{ended}. Start the gateway.",
            to,
            about.made_at.to_rfc3339(),
            in_words(&Summary { counts, kinds: summary.kinds.clone() }),
        )?;
    }
    Ok(ExitCode::SUCCESS)
}
