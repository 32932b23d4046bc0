//! What is about to be written, read as `check` would read it from there.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use super::env_file::Variables;
use super::files::Places;
use crate::config::{self, Checked, Problems, Surroundings, System};

/// Reads the configuration before it is there.
///
/// # Errors
/// [`Problems`]: it must not be written.
pub(in crate::cli) fn read(places: &Places, yaml: &str, variables: &Variables) -> Result<Checked, Problems> {
    config::read(&places.yaml, &Trial { file: &places.yaml, yaml, variables })
}

/// This machine, with the two files on it.
struct Trial<'a> {
    file: &'a Path,
    yaml: &'a str,
    variables: &'a Variables,
}

impl Surroundings for Trial<'_> {
    fn variable(&self, name: &str) -> Option<OsString> {
        let own = self.variables.value(name).map(|value| value.expose().into());
        own.or_else(|| System.variable(name))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        if path == self.file { Ok(self.yaml.as_bytes().to_vec()) } else { System.read(path) }
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        System.list(folder)
    }
}
