//! `admin_socket`: where the command line reaches the running gateway.

use super::problem::Findings;
use super::raw::File;
use super::secrets::Here;
use crate::admin::Settings;
use crate::store;

/// What the system lets a socket's path have, and a byte for its end.
const LONGEST: usize = 107;

/// The path as written, or the usual one for the kind of store.
pub(super) fn check(
    raw: &File,
    store: Option<&store::Settings>,
    here: Here<'_>,
    findings: &mut Findings,
) -> Option<Settings> {
    let Some(given) = &raw.admin_socket else { return Some(usual(store)) };
    let refused = match given.value.as_deref()? {
        "off" | "false" => return Some(Settings::Off),
        path if path.ends_with('/') => format!("`{path}` is a folder; write {path}admin.sock"),
        path => {
            let path = here.path(path);
            let length = path.as_os_str().len();
            if length <= LONGEST {
                return Some(Settings::At(path));
            }
            format!("this path has {length} bytes and a socket's at most {LONGEST}; write a shorter one")
        }
    };
    findings.refuse(given.at, refused);
    None
}

/// Beside a file store; of one that cannot be read, which is told where that is checked, as of Redis.
fn usual(store: Option<&store::Settings>) -> Settings {
    let folder = match store {
        Some(store::Settings::Embedded { path }) => path.parent(),
        Some(store::Settings::Redis { .. }) | None => None,
    };
    let Some(folder) = folder else { return Settings::IfPossible(Settings::USUAL.into()) };
    let path = folder.join("admin.sock");
    // Nobody has written this path, so its length is no reason not to start.
    let fits = path.as_os_str().len() <= LONGEST;
    if fits { Settings::At(path) } else { Settings::IfPossible(path) }
}
