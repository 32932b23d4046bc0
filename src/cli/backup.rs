//! `portcullis backup`: everything that must survive, in one file; while the gateway runs or not.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, IsTerminal as _, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use bytes::Bytes;
use clap::Args;
use tokio::runtime::Runtime;

use super::admin::{Failure, Reach, run as report};
use super::keeping::{
    Arriving, More, Progress, Source, Told, configuration, explained, in_words, not_arrived,
};
use super::serve::{control_runtime, sealer};
use super::table::json_pretty;
use crate::clock::{Clock, SystemClock};
use crate::secret::{random, to_base64url};
use crate::store::backup::{About, Reader, Summary};
use crate::store::{OpenError, Settings, Store, open_backend};

/// `portcullis backup`.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{STATUS}"))]
pub struct Arguments {
    /// Where it goes: a new file, for this user alone; - is standard output.
    file: PathBuf,
    #[command(flatten)]
    reach: Reach,
}

const EXAMPLES: &str = "Examples:
  portcullis backup portcullis.backup
  portcullis backup --config /etc/portcullis/portcullis.yaml /root/portcullis-$(date +%F).backup
  docker compose exec -T gateway portcullis backup - > portcullis.backup

The file is worth nothing without secret_key, which is not in it: keep a copy of that elsewhere. It is private all the same: \
who is not to know who uses what is not to have it.";

const STATUS: &str = "Exit status: 0 done; 1 no backup was made; 2 wrong arguments; 69 the gateway broke off; 77 this user may not; \
78 the configuration is no good.";

/// The command.
#[must_use]
pub fn run(arguments: &Arguments) -> ExitCode {
    report(|| back_up(&arguments.file, &arguments.reach))
}

fn back_up(file: &Path, reach: &Reach) -> Result<ExitCode, Failure> {
    let to_output = file == Path::new("-");
    if to_output && io::stdout().is_terminal() {
        return Err(Failure::Usage(
            "a backup is nothing to look at; name a file, or send it on: backup - > FILE".into(),
        ));
    }
    if !to_output && file.symlink_metadata().is_ok() {
        return Err(taken(file));
    }
    let runtime = control_runtime().map_err(|error| Failure::Terminal(io::Error::other(error)))?;
    let (source, way) = source(reach, &runtime)?;
    writeln!(io::stderr(), "{}", way.said)?;
    let done = if to_output {
        receive(source, &runtime, io::stdout().lock())?
    } else {
        let part = Part::beside(file).map_err(|error| unwritable(file, &error))?;
        let done = receive(source, &runtime, &part.file)?;
        part.becomes(file)?;
        done
    };
    tell(file, reach, &done, way.through)
}

fn taken(file: &Path) -> Failure {
    Failure::Refused(format!("{} is there already; name another file", file.display()))
}

fn unwritable(file: &Path, error: &io::Error) -> Failure {
    Failure::Refused(format!("cannot write {}: {error}", file.display()))
}

/// Which way the backup comes.
struct Way {
    said: String,
    through: &'static str,
}

/// The running gateway, which alone has an embedded store; or else the store itself.
fn source(reach: &Reach, runtime: &Runtime) -> Result<(Source, Way), Failure> {
    let streamed = match reach.stream("store/backup", runtime) {
        // `admin_socket: off`, or no configuration at all, which is told below.
        Err(Failure::Configuration(_)) => None,
        streamed => streamed?,
    };
    if let Some((socket, body)) = streamed {
        let said = format!("Through the gateway at {}.", socket.display());
        return Ok((Source::Gateway(body), Way { said, through: "gateway" }));
    }
    let config = configuration(&reach.config)?;
    let (place, is_file) = match &config.store {
        Settings::Embedded { path } => (path.display().to_string(), true),
        Settings::Redis { .. } => ("Redis".to_owned(), false),
    };
    let opened = runtime.block_on(async {
        if let Settings::Embedded { path } = &config.store
            && !path.exists()
        {
            return Err(OpenError::Nothing);
        }
        let control = runtime.handle();
        let backend = open_backend(&config.store, control, Arc::new(SystemClock)).await?;
        let store = Store::to_be_read(backend, sealer(&config)).await?;
        Ok(Source::Store(store.back_up(SystemClock.now())))
    });
    let source = opened.map_err(|error| {
        Failure::Refused(if matches!(error, OpenError::Nothing) {
            format!("there is nothing in the store {place} to back up")
        } else if matches!(error, OpenError::InUse) {
            format!(
                "another process has the store {place} open, and no gateway listens at its admin socket; \
                 name that by --socket, or stop the process"
            )
        } else {
            explained(&error)
        })
    })?;
    let store = if is_file { format!("the store {place}") } else { place };
    Ok((source, Way { said: format!("From {store}; no gateway listens here."), through: "store" }))
}

/// A backup that has come whole.
struct Done {
    about: About,
    summary: Summary,
    length: u64,
}

/// Writes the backup to `copy`, and reads it meanwhile, so that none is called good that cannot be restored.
fn receive(source: Source, runtime: &Runtime, copy: impl Write) -> Result<Done, Failure> {
    let arriving = Arriving { source, runtime, copy, left: Bytes::new(), length: 0 };
    let mut buffered = BufReader::with_capacity(64 << 10, arriving);
    let mut progress = Progress::new("backing up");
    let read = Reader::begin(&mut buffered).and_then(|mut reader| {
        let summary = Summary::of(&mut reader, |counts| progress.tell(counts))?;
        Ok((reader.about().clone(), summary))
    });
    progress.end();
    let (about, summary) = read.map_err(|error| Failure::Refused(not_arrived(&error)))?;
    let mut arriving = buffered.into_inner();
    arriving.copy.flush()?;
    Ok(Done { about, summary, length: arriving.length })
}

/// A file on its way to be a backup; gone unless it becomes one.
struct Part {
    file: File,
    path: PathBuf,
}

impl Part {
    /// For this user alone, from its first byte.
    fn beside(file: &Path) -> io::Result<Self> {
        let name = file.file_name().ok_or_else(|| io::Error::other("it names no file"))?;
        let name = format!(".{}.{}", name.to_string_lossy(), to_base64url(&random::<6>()));
        let path = file.with_file_name(name);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Self { file, path })
    }

    /// Puts it where it belongs, unless something has come there meanwhile.
    fn becomes(self, file: &Path) -> Result<(), Failure> {
        let placed = || {
            self.file.sync_all()?;
            match fs::hard_link(&self.path, file) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(error),
                // Not every file system has links.
                Err(_) => fs::rename(&self.path, file)?,
            }
            let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
            File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
        };
        placed().map_err(|error| {
            let is_taken = error.kind() == io::ErrorKind::AlreadyExists;
            if is_taken { taken(file) } else { unwritable(file, &error) }
        })
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // Renamed already, where there are no links.
        drop(fs::remove_file(&self.path));
    }
}

fn tell(file: &Path, reach: &Reach, done: &Done, through: &'static str) -> Result<ExitCode, Failure> {
    let Done { about, summary, length } = done;
    let shown = file.display().to_string();
    let text = if reach.json {
        let told = Told {
            file: &shown,
            records: summary.counts.records,
            entries: summary.counts.entries,
            kinds: &summary.kinds,
            made_at: about.made_at.to_rfc3339(),
            made_by: &about.made_by,
            from: &about.from,
            more: More::Backup { bytes: *length, through },
        };
        json_pretty(&told).map_err(io::Error::from)?
    } else {
        let what = if shown == "-" { "The backup" } else { &shown };
        format!("{what}: {}, {length} bytes.", in_words(summary))
    };
    if file == Path::new("-") {
        writeln!(io::stderr(), "{text}")?;
    } else {
        writeln!(io::stdout(), "{text}")?;
    }
    Ok(ExitCode::SUCCESS)
}
