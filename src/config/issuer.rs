//! `issuer`: an origin, byte for byte as clients will compare it (RFC 8414 §3.3).

use url::Url;

use super::problem::{Findings, Position};
use super::raw::File;
use super::values::{https, is_loopback, origin, web_url};
use crate::trouble::Trouble;

/// The checked issuer.
#[derive(Clone, Debug)]
pub(super) struct Issuer {
    pub(super) at: Position,
    pub(super) text: String,
    pub(super) url: Url,
}

impl Issuer {
    /// Whether it is on `localhost` or a loopback address.
    pub(super) fn is_loopback(&self) -> bool {
        is_loopback(&self.url)
    }
}

/// Checks `issuer` (checklist D9, D10).
pub(super) fn check(raw: &File, findings: &mut Findings) -> Option<Issuer> {
    let Some(given) = &raw.issuer else {
        let text =
            "`issuer` is missing; write issuer: https://auth.example.com, the origin people sign in at";
        findings.refuse(Position::start(0), text);
        return None;
    };
    let url = web_url("issuer", given, "https", findings)?;
    let (text, normal) = (given.value.as_deref()?, origin(&url));
    let refusal = if url.scheme() == "http" && !is_loopback(&url) {
        Some(format!("http is for localhost only; write {}", https(&url)))
    } else if text == normal {
        None
    } else if text.strip_suffix('/') == Some(&normal) {
        Some(format!("an issuer has no slash at its end; write {normal} without the slash"))
    } else if url.path() != "/" {
        Some(format!("an issuer has no path; write {normal}"))
    } else {
        Some(format!("`{text}` is not in the form that clients compare; write {normal}"))
    };
    match refusal {
        Some(refusal) => findings.refuse_as(Trouble::EnvShape, given.at, refusal),
        None => return Some(Issuer { at: given.at, text: normal, url }),
    }
    None
}
