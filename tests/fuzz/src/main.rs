//! One program for all fuzz targets; `FUZZ_TARGET` says which. What every target asserts is more than that nothing crashes:
//! what is read can be written and read again, and what must not be believed is not.

#![no_main]

mod backup;
mod clients;
mod config;
mod doctor;
#[path = "../../support/faults.rs"]
#[allow(dead_code, unreachable_pub, reason = "the gateway's tests use the rest")]
mod faults;
mod oauth;
#[path = "../../support/rig.rs"]
#[allow(dead_code, unreachable_pub, reason = "the gateway's tests use the rest")]
mod rig;
mod token_endpoint;
mod tokens;
mod upstream;

use std::sync::LazyLock;

type Target = fn(&[u8]);

/// Each has a folder of seeds by its name.
const TARGETS: [(&str, Target); 16] = [
    ("answer", upstream::answer),
    ("backup", backup::backup),
    ("basic", token_endpoint::basic),
    ("challenge", doctor::challenge),
    ("code", tokens::code),
    ("config", config::config),
    ("document", clients::document),
    ("document-url", clients::document_url),
    ("form", oauth::form),
    ("jwt", tokens::jwt),
    ("query", oauth::query),
    ("redirect", oauth::redirect),
    ("refresh", tokens::refresh),
    ("registration", clients::registration),
    ("resource", oauth::resource),
    ("scope", oauth::scope),
];

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    let found = TARGETS.iter().find(|(known, _)| *known == name);
    found.unwrap_or_else(|| panic!("FUZZ_TARGET is one of {:?}", TARGETS.map(|(name, _)| name))).1
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| TARGET(data));

/// The text of an input, for readers that are given text.
fn text(data: &[u8]) -> Option<&str> {
    std::str::from_utf8(data).ok()
}
