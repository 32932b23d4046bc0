//! The embedded file: its folder, who has it, whether there is room.

use std::fs;
use std::path::{Path, PathBuf};

use procfs::process::{self, FDTarget};

use super::{sight, tell_of_fault, tell_of_key};
use crate::config::Config;
use crate::doctor::inside::Silence;
use crate::doctor::{Examination, Remedy, Trial};
use crate::internal;
use crate::serve::Owner;
use crate::store::{Found, OpenError};
use crate::trouble::Trouble;

/// With less room than this nothing can be written soon; with less than that somebody should look.
const FULL: u64 = 16 << 20;
const NARROW: u64 = 512 << 20;

/// Looks at the file at `path`.
pub(super) async fn examine(
    examination: &Examination<'_>,
    config: &Config,
    path: &Path,
    running: &Result<internal::Report, Silence>,
) {
    let case = Case { examination, path, subject: &path.display().to_string() };
    if running.is_ok() {
        let trial = Trial::new("asking the running gateway", "it has the file open");
        examination.good(Trouble::StoreFile, case.subject, trial);
        let because = "the running gateway has the file, which it has opened with the key of when it started";
        examination.not_tried(&[Trouble::SecretKeyChanged], "", because);
        case.tell_of_room();
        return;
    }
    let runs = matches!(running, Err(Silence::Unasked(_) | Silence::Hanging(_)));
    match sight(config).await {
        Ok(found) => {
            case.tell_of_folder(found);
            tell_of_key(examination, found);
        }
        Err(OpenError::InUse) if runs && case.is_of_a_gateway() => case.maybe_ours(),
        Err(OpenError::File { .. }) if runs => {
            let because = "the gateway runs as another user, whose file this is";
            examination.not_tried(&[Trouble::StoreFile, Trouble::SecretKeyChanged], case.subject, because);
        }
        Err(error) => case.tell_of(config, &error),
    }
}

struct Case<'a> {
    examination: &'a Examination<'a>,
    path: &'a Path,
    subject: &'a str,
}

impl Case<'_> {
    fn folder(&self) -> PathBuf {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        folder.unwrap_or(Path::new(".")).to_owned()
    }

    /// A file that opens, or one that is not there yet: whether it can be written.
    fn tell_of_folder(&self, found: Found) {
        let target = if found == Found::Nothing { self.folder() } else { self.path.to_owned() };
        let may = rustix::fs::access(&target, rustix::fs::Access::WRITE_OK | rustix::fs::Access::READ_OK);
        match may {
            Ok(()) => {
                let found = match found {
                    Found::Nothing => "its folder can be written; there is no file yet",
                    Found::Ours => "it can be read and written",
                    Found::NotClosed => "it can be read and written; the gateway mends it when it starts",
                };
                self.examination.good(Trouble::StoreFile, self.subject, Trial::new(self.tried(), found));
                self.tell_of_room();
            }
            Err(error) => self.not_ours(&error.to_string()),
        }
    }

    fn tell_of(&self, config: &Config, error: &OpenError) {
        match error {
            OpenError::NoFolder(_) => self.without_a_folder(error),
            OpenError::NotAFolder(_) => {
                let cause = format!("{} is a file, so the store cannot be in it.", self.folder().display());
                let fix = ["Write another path: `store: file:/var/lib/portcullis/portcullis.db`."];
                self.bad(error, Remedy::new(cause, fix), "there is no store yet");
            }
            OpenError::InUse => self.in_use(error),
            OpenError::File { source, .. } => {
                self.not_ours(&source.to_string());
                self.no_key("the store cannot be read by this user");
            }
            OpenError::NoStore { .. } => {
                let cause = "The file is no store of Portcullis, or is damaged.";
                let fix = [format!(
                    "Put a backup in its place: `portcullis restore FILE`; or take it away: `mv {0} {0}.broken`.",
                    self.subject
                )];
                self.bad(error, Remedy::new(cause, fix), "the store cannot be read");
            }
            OpenError::SecretKey | OpenError::NeitherKey | OpenError::StillSealed => {
                self.tell_of_folder(Found::Ours);
                tell_of_fault(self.examination, config, error);
            }
            OpenError::Store(_)
            | OpenError::Url(_)
            | OpenError::HalfRestored
            | OpenError::Nothing
            | OpenError::Provider { .. }
            | OpenError::Schema { .. } => tell_of_fault(self.examination, config, error),
        }
    }

    /// The gateway makes the last folder of the path, and no more.
    fn without_a_folder(&self, error: &OpenError) {
        let folder = self.folder();
        let shown = folder.display();
        if folder.parent().is_some_and(Path::is_dir) {
            let found = format!("{shown} is not there; the gateway makes it when it starts");
            self.examination.good(Trouble::StoreFile, self.subject, Trial::new(self.tried(), found));
            tell_of_key(self.examination, Found::Nothing);
            return;
        }
        let cause = format!("The folder {shown} does not exist, nor does the one it should be in.");
        let fix = [
            format!("Make it, as the user that runs portcullis: `mkdir -p -m 700 {shown}`."),
            format!("For a system service: `sudo install -d -o portcullis -g portcullis -m 700 {shown}`."),
        ];
        self.bad(error, Remedy::new(cause, fix), "there is no store yet");
    }

    fn in_use(&self, error: &OpenError) {
        let unseen = || "a process that this user may not see".to_owned();
        let owner = owner(self.path).map_or_else(unseen, |owner| owner.to_string());
        let cause = format!("The file belongs to one process at a time, and {owner} has it.");
        let fix = [
            "Stop that one (`sudo systemctl stop portcullis`), or give each gateway a file of its own.",
            "If it is this gateway, which cannot be asked: run the doctor as its user, or as root.",
        ];
        self.bad(error, Remedy::new(cause, fix), "another process has the store");
    }

    fn no_key(&self, because: &str) {
        self.examination.not_tried(&[Trouble::SecretKeyChanged], "", because);
    }

    /// Whether a process of this program has the file, as far as it can be seen.
    fn is_of_a_gateway(&self) -> bool {
        owner(self.path).is_none_or(|owner| owner.is_this_program())
    }

    /// A gateway has it, which may be the one that cannot be asked.
    fn maybe_ours(&self) {
        let owner = owner(self.path).map_or_else(|| "The gateway".to_owned(), |owner| owner.to_string());
        let trial = Trial::new(self.tried(), format!("{owner} has it"));
        let cause = format!("{owner} has the file: it may be this gateway, which cannot be asked.");
        let fix = [
            "Run the doctor as the user that runs portcullis, or as root; and let it be asked: take `admin_socket: off` away.",
        ];
        self.examination.remark(Trouble::StoreFile, self.subject, trial, Remedy::new(cause, fix));
        self.no_key("another process has the store");
    }

    fn not_ours(&self, why: &str) {
        let folder = self.folder();
        let cause = format!("This user may not write {} ({why}).", self.subject);
        let fix = [
            format!(
                "Give it to the user that runs portcullis: `sudo chown -R portcullis: {}`.",
                folder.display()
            ),
            "If that is so already: run the doctor as that user, `sudo -u portcullis portcullis doctor`."
                .to_owned(),
        ];
        let trial = Trial::new(self.tried(), why);
        self.examination.bad(Trouble::StoreFile, self.subject, trial, Remedy::new(cause, fix));
    }

    fn tell_of_room(&self) {
        let Ok(disk) = rustix::fs::statvfs(self.folder()) else { return };
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        let found = format!("{} MiB are free", free >> 20);
        let trial = Trial::new(format!("df {}", self.folder().display()), found);
        let fix = [format!("Make room, or move the store: `df -h {}`.", self.folder().display())];
        if free < FULL {
            let cause = "The disk is full: nobody can sign in or refresh, for that is written down.";
            self.examination.bad(Trouble::StoreFile, self.subject, trial, Remedy::new(cause, fix));
        } else if free < NARROW {
            let cause = "The disk is nearly full, and the store and the logs grow.";
            self.examination.remark(Trouble::StoreFile, self.subject, trial, Remedy::new(cause, fix));
        }
    }

    fn bad(&self, error: &OpenError, remedy: Remedy, because: &str) {
        let trial = Trial::new(self.tried(), error.to_string());
        self.examination.bad(Trouble::StoreFile, self.subject, trial, remedy);
        self.no_key(because);
    }

    fn tried(&self) -> String {
        format!("opening {} to read", self.subject)
    }
}

/// Who has a file open, if this user may see it.
fn owner(path: &Path) -> Option<Owner> {
    let path = fs::canonicalize(path).ok()?;
    let holds = |process: &process::Process| {
        let mut files = process.fd().into_iter().flatten().filter_map(Result::ok);
        files.any(|file| matches!(&file.target, FDTarget::Path(open) if *open == path))
    };
    let mut all = process::all_processes().ok()?.filter_map(Result::ok);
    let process = all.find(holds)?;
    Some(Owner { name: process.stat().ok()?.comm, pid: process.pid })
}
