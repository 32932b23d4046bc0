//! The configuration, from the file to the `Settings` of every module: [`read`] says every problem at once, before
//! anything is bound or opened.
//!
//! The way: [`position`] makes a tree of the text in which everything knows its place; [`shape`] finds unknown keys and
//! wrong kinds in it and puts variables in; `serde_yaml` fills the [`raw`] type with what is left; [`check`] asks whether
//! it makes sense. A value that is refused on the way stays as "refused", so that the rest is checked all the same.

mod access;
mod acme;
mod admin;
pub mod answers;
mod check;
mod clients;
mod connections;
mod documents;
mod expand;
mod forward_auth;
mod identity;
mod internal;
mod issuer;
mod limits;
mod network;
mod position;
mod problem;
mod raw;
mod secrets;
mod service_limits;
mod services;
mod shape;
mod tunnels;
mod upstreams;
mod values;

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::oauth::KeySchedule;
use crate::secret::Key;
use crate::{certs, gateway, serve, store, telemetry};

use problem::{Findings, Position};
use secrets::Here;

pub use problem::Problems;
pub use values::parse_duration;

/// The checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Issuer, services, rules and limits.
    pub gateway: gateway::Settings,
    /// Where things are kept.
    pub store: store::Settings,
    /// Where the command line reaches the gateway.
    pub admin: crate::admin::Settings,
    /// Sockets.
    pub serve: serve::Settings,
    /// Where probes and monitoring ask.
    pub internal: crate::internal::Settings,
    /// Certificates.
    pub tls: certs::Settings,
    /// Who signs people in.
    pub identity: crate::identity::Settings,
    /// Logs.
    pub telemetry: telemetry::Settings,
    /// What everything secret in the store is sealed under.
    pub secret_key: Key,
    /// What it was sealed under before; sealed again under `secret_key`.
    pub secret_key_previous: Option<Key>,
    /// How long a key of tokens or session ids is used before the next one takes over; `None` is for ever.
    pub rotate_keys: Option<Duration>,
}

/// A configuration without problems, and what is worth knowing of it.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The configuration.
    pub config: Config,
    /// Remarks by position, each as `file:line:column: text`.
    pub remarks: Vec<String>,
}

/// What surrounds a configuration file: the environment and other files.
pub trait Surroundings {
    /// An environment variable.
    fn variable(&self, name: &str) -> Option<OsString>;

    /// A file's content.
    ///
    /// # Errors
    /// If it cannot be read.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// The files in a folder.
    ///
    /// # Errors
    /// If it cannot be read; `NotFound` if it is not there.
    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>>;
}

/// This process's environment, and this machine's files.
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

impl Surroundings for System {
    fn variable(&self, name: &str) -> Option<OsString> {
        std::env::var_os(name)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        std::fs::read(path)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect()
    }
}

/// The folder beside the configuration file that holds one file a service.
const SERVICES_FOLDER: &str = "services.d";

/// A configuration is a page; whatever is larger is another file.
const MAX_BYTES: usize = 1024 * 1024;

/// Reads and checks `file`, and the services in `services.d` beside it. Relative paths in it begin at its folder.
///
/// # Errors
/// [`Problems`]: all of them.
pub fn read(file: &Path, surroundings: &dyn Surroundings) -> Result<Checked, Problems> {
    let mut findings = Findings::of(file);
    let config = read_into(file, surroundings, &mut findings);
    if config.is_none() && findings.is_clean() {
        findings
            .refuse(Position::start(0), "this cannot be read; please report it, it is a fault of Portcullis");
    }
    let (config, remarks) = findings.conclude(config)?;
    Ok(Checked { config, remarks })
}

/// Where the gateway of a configuration can be asked how it stands.
#[derive(Clone, Debug)]
pub struct Doors {
    /// By the command line; `None` if the file does not tell.
    pub admin: Option<crate::admin::Settings>,
    /// By probes; `None` if the file does not tell.
    pub internal: Option<crate::internal::Settings>,
}

/// Where the gateway of `file` is reached by the command line, as far as the file tells it: what else is wrong in it, or is
/// missing around it such as the variables of a service's environment, does not matter here.
///
/// # Errors
/// Why it cannot be told, in a sentence.
pub fn admin_socket(file: &Path, surroundings: &dyn Surroundings) -> Result<crate::admin::Settings, String> {
    doors(file, surroundings)?
        .admin
        .ok_or_else(|| format!("{} does not say where the socket is", file.display()))
}

/// The same of every place where it can be asked.
///
/// # Errors
/// Why neither can be told, in a sentence.
pub fn doors(file: &Path, surroundings: &dyn Surroundings) -> Result<Doors, String> {
    let mut findings = Findings::of(file);
    let here = Here { folder: file.parent().unwrap_or(Path::new("")), surroundings };
    let text = text_of(file, 0, (here, NOT_NAMED), &mut findings);
    let given = text.and_then(|text| fill::<raw::File>(shape::FILE, &text, 0, here, &mut findings));
    let found = given.and_then(|given| {
        let (raw, findings) = (given.value?, &mut Findings::of(file));
        let store = secrets::store(&raw, here, findings);
        let admin = admin::check(&raw, store.as_ref(), here, findings);
        let internal = internal::check(&raw, None, here, findings);
        (admin.is_some() || internal.is_some()).then_some(Doors { admin, internal })
    });
    found.ok_or_else(|| match findings.conclude::<()>(None) {
        Err(problems) if !problems.lines().is_empty() => problems.lines().join("; "),
        Ok(_) | Err(_) => format!("{} does not say where the gateway can be asked", file.display()),
    })
}

/// The `secret_key` and `secret_key_previous` of `file`, as far as the file tells them: what else is wrong in it does not matter
/// here.
///
/// # Errors
/// Why they cannot be told, in a sentence.
pub fn secret_keys(file: &Path, surroundings: &dyn Surroundings) -> Result<(Key, Option<Key>), String> {
    let mut findings = Findings::of(file);
    let here = Here { folder: file.parent().unwrap_or(Path::new("")), surroundings };
    let text = text_of(file, 0, (here, NOT_NAMED), &mut findings);
    let given = text.and_then(|text| fill::<raw::File>(shape::FILE, &text, 0, here, &mut Findings::of(file)));
    let keys = given.and_then(|given| {
        let raw = given.value?;
        let key = secrets::key(&raw, here, &mut findings);
        let previous = secrets::previous_key(&raw, key.as_ref(), here, &mut findings);
        Some((key?, previous))
    });
    match findings.conclude(keys) {
        Ok((keys, _)) => Ok(keys),
        Err(problems) if !problems.lines().is_empty() => Err(problems.lines().join("; ")),
        Err(_) => Err(format!("{} does not say what the secret key is", file.display())),
    }
}

impl Config {
    /// Reads a configuration that stands alone: no environment, no other files.
    ///
    /// # Errors
    /// [`Problems`]: all of them.
    pub fn from_text(text: &str) -> Result<Self, Problems> {
        read(Path::new("portcullis.yaml"), &Alone(text)).map(|checked| checked.config)
    }

    /// When keys are replaced without being asked to.
    #[must_use]
    pub const fn key_schedule(&self) -> KeySchedule {
        KeySchedule { rotate: self.rotate_keys, lives: self.gateway.lives }
    }

    /// The host names that certificates are needed for: the issuer's and every service's.
    #[must_use]
    pub fn hosts(&self) -> Vec<String> {
        let issuer = url::Url::parse(&self.gateway.issuer).ok();
        hosts(issuer.iter().chain(self.gateway.services.iter().map(|service| &service.url)))
    }
}

/// The host names in some URLs, each once; addresses without brackets.
fn hosts<'a>(urls: impl Iterator<Item = &'a url::Url>) -> Vec<String> {
    let names = urls.filter_map(url::Url::host_str);
    let names: std::collections::BTreeSet<_> =
        names.map(|name| name.trim_matches(['[', ']']).to_owned()).collect();
    names.into_iter().collect()
}

/// One text, and nothing around it.
struct Alone<'a>(&'a str);

impl Surroundings for Alone<'_> {
    fn variable(&self, _name: &str) -> Option<OsString> {
        None
    }

    fn read(&self, _path: &Path) -> io::Result<Vec<u8>> {
        Ok(self.0.as_bytes().to_vec())
    }

    fn list(&self, _folder: &Path) -> io::Result<Vec<PathBuf>> {
        Err(io::ErrorKind::NotFound.into())
    }
}

fn read_into(file: &Path, surroundings: &dyn Surroundings, findings: &mut Findings) -> Option<Config> {
    let folder = file.parent().unwrap_or(Path::new(""));
    let here = Here { folder, surroundings };
    let text = text_of(file, 0, (here, NO_FILE), findings);
    let given = text.and_then(|text| fill::<raw::File>(shape::FILE, &text, 0, here, findings));
    let more = more_services(here, findings);
    let mut raw = given?.value?;
    check::add_services(&mut raw, more, findings);
    check::check(&raw, here, findings)
}

fn fill<T: serde::de::DeserializeOwned>(
    keys: &'static [shape::Key],
    text: &str,
    file: usize,
    here: Here<'_>,
    findings: &mut Findings,
) -> Option<raw::Given<T>> {
    let node = position::tree(text, file, findings)?;
    shape::fill(keys, &node, &|name| here.surroundings.variable(name), findings)
}

/// The services in `services.d`, by name.
fn more_services(here: Here<'_>, findings: &mut Findings) -> Vec<(String, raw::Given<raw::Service>)> {
    let folder = here.path(SERVICES_FOLDER);
    let mut files = match here.surroundings.list(&folder) {
        Ok(files) => files,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            let number = findings.add_file(&folder);
            let text = format!("this folder cannot be read ({error}); let this user read it");
            findings.refuse(Position::whole(number), text);
            return Vec::new();
        }
    };
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml" || extension == "yml"));
    files.sort();
    let mut services = Vec::new();
    for file in files {
        let number = findings.add_file(&file);
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let Some(text) = text_of(&file, number, (here, NO_FILE), findings) else { continue };
        if let Some(given) = fill::<raw::Service>(shape::SERVICE, &text, number, here, findings) {
            services.push((name, raw::Given { at: Position::start(number), ..given }));
        }
    }
    services
}

/// Most often the very first thing that somebody is told.
const NO_FILE: &str =
    "no such file; name one: portcullis check FILE (config/examples has some), or try portcullis demo";

/// The same of a command that only asks the file about its gateway.
const NOT_NAMED: &str =
    "no such file; name it by --config FILE (health: as the argument) or PORTCULLIS_CONFIG";

/// The text of a file; `missing` is what to say if there is none.
fn text_of(
    file: &Path,
    number: usize,
    (here, missing): (Here<'_>, &str),
    findings: &mut Findings,
) -> Option<String> {
    let mut at = Position::whole(number);
    let refused = match here.surroundings.read(file) {
        Ok(bytes) if bytes.len() > MAX_BYTES => {
            "this file is over 1 MiB; write the path of a configuration".into()
        }
        Ok(bytes) => match String::from_utf8(bytes) {
            Ok(text) => return Some(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text)),
            Err(error) => {
                let good = String::from_utf8_lossy(&error.as_bytes()[..error.utf8_error().valid_up_to()])
                    .into_owned();
                let last = good.rsplit('\n').next().unwrap_or_default();
                at.line = good.matches('\n').count() + 1;
                at.column = last.chars().count() + 1;
                "this byte is not UTF-8; save the file as UTF-8".into()
            }
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => missing.into(),
        Err(error) => format!("this file cannot be read ({error}); let this user read it, or name another"),
    };
    findings.refuse(at, refused);
    None
}
