//! What must not be seen: `secret_key`, the store's URL, and secrets that stand in files of their own. No text here
//! repeats a value.

use std::path::{Path, PathBuf};

use url::Url;

use super::Surroundings;
use super::problem::{Findings, Position};
use super::raw::{Field, File, Given};
use crate::secret::{Key, Secret};
use crate::store;
use crate::trouble::Trouble;

/// Where relative paths begin, and how files are read.
#[derive(Clone, Copy)]
pub(super) struct Here<'a> {
    /// The configuration file's folder.
    pub(super) folder: &'a Path,
    pub(super) surroundings: &'a dyn Surroundings,
}

impl Here<'_> {
    /// `path`, beginning at the configuration file's folder.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }
}

/// The keys one of which holds a secret.
pub(super) struct Pair<'a> {
    pub(super) name: &'static str,
    pub(super) value: &'a Field<String>,
    pub(super) file: &'a Field<String>,
    /// Where to say that both are missing, and what to write then.
    pub(super) section: Position,
    pub(super) example: &'static str,
}

/// A secret that stands in the configuration or in a file of its own, but not in both.
pub(super) fn secret(pair: &Pair<'_>, here: Here<'_>, findings: &mut Findings) -> Option<Given<Secret>> {
    match (pair.value, pair.file) {
        (None, None) => {
            let Pair { name, example, .. } = pair;
            findings
                .refuse(pair.section, format!("`{name}` is missing; write {example}, or {name}_file: FILE"));
            None
        }
        (Some(_), Some(file)) => {
            let name = pair.name;
            findings.refuse(file.at, format!("`{name}` and `{name}_file` stand here both; keep one"));
            None
        }
        (Some(value), None) => {
            let secret = value.value.clone().map(Secret::new)?;
            Some(Given { at: value.at, value: Some(secret) })
        }
        (None, Some(file)) => {
            let secret = read(file, here, findings)?;
            Some(Given { at: file.at, value: Some(secret) })
        }
    }
}

fn read(file: &Given<String>, here: Here<'_>, findings: &mut Findings) -> Option<Secret> {
    let path = here.path(file.value.as_deref()?);
    let shown = path.display();
    let text = match here.surroundings.read(&path).map(String::from_utf8) {
        Ok(Ok(text)) if !text.trim().is_empty() => return Some(Secret::new(text.trim().to_owned())),
        Ok(Ok(_)) => format!("{shown} is empty; write the secret into it"),
        Ok(Err(_)) => format!("{shown} is not text; write the secret into it"),
        Err(error) => format!("{shown} cannot be read ({error}); write a file that is there and readable"),
    };
    findings.refuse_as(Trouble::EnvShape, file.at, text);
    None
}

/// `secret_key` or `secret_key_file`.
pub(super) fn key(raw: &File, here: Here<'_>, findings: &mut Findings) -> Option<Key> {
    let pair = Pair {
        name: "secret_key",
        value: &raw.secret_key,
        file: &raw.secret_key_file,
        section: Position::start(0),
        example: "secret_key: ${PORTCULLIS_SECRET_KEY} (64 hexadecimal digits, as `openssl rand -hex 32` makes them)",
    };
    read_key("the secret key", &secret(&pair, here, findings)?, findings)
}

/// `secret_key_previous` or `secret_key_previous_file`, of which none need be there; not the same as `new`. An empty one is none: so
/// one configuration does with and without the variable.
pub(super) fn previous_key(
    raw: &File,
    new: Option<&Key>,
    here: Here<'_>,
    findings: &mut Findings,
) -> Option<Key> {
    let is_empty = |given: &Given<String>| given.value.as_ref().is_some_and(String::is_empty);
    let value = &raw.secret_key_previous.clone().filter(|given| !is_empty(given));
    let pair = Pair {
        name: "secret_key_previous",
        value,
        file: &raw.secret_key_previous_file,
        section: Position::start(0),
        example: "the secret_key of before",
    };
    if pair.value.is_none() && pair.file.is_none() {
        return None;
    }
    let given = secret(&pair, here, findings)?;
    let key = read_key("the previous secret key", &given, findings)?;
    if new.is_some_and(|new| new.to_hex() == key.to_hex()) {
        let text =
            "`secret_key_previous` is the same as `secret_key`; write the one of before, or take it away";
        findings.refuse_as(Trouble::SecretKeyChanged, given.at, text);
    }
    Some(key)
}

fn read_key(name: &str, given: &Given<Secret>, findings: &mut Findings) -> Option<Key> {
    let text = given.value.as_ref()?.expose();
    let mut digits = text.chars();
    let first = digits.next();
    let refusal = if Key::from_hex(text).is_none() {
        let length = text.chars().count();
        let what =
            if length == 64 { "other characters than digits".into() } else { format!("{length} characters") };
        format!("{name} has {what}; write 64 hexadecimal digits, such as `openssl rand -hex 32` prints")
    } else if digits.all(|digit| Some(digit) == first) {
        format!("{name} is one digit over and over; write what `openssl rand -hex 32` prints")
    } else {
        return Key::from_hex(text);
    };
    findings.refuse_as(Trouble::EnvShape, given.at, refusal);
    None
}

/// `store` or `store_file`, and `store_prefix`.
pub(super) fn store(raw: &File, here: Here<'_>, findings: &mut Findings) -> Option<store::Settings> {
    let prefix = prefix(raw.store_prefix.as_ref(), findings);
    let pair = Pair {
        name: "store",
        value: &raw.store,
        file: &raw.store_file,
        section: Position::start(0),
        example: "store: file:/var/lib/portcullis/portcullis.db or store: redis://HOST:6379/0",
    };
    let given = secret(&pair, here, findings)?;
    let url = given.value?;
    if let Some(path) = url.expose().strip_prefix("file:") {
        if let Some(given) = &raw.store_prefix {
            findings.refuse(given.at, "`store_prefix` is for Redis only; take it away beside a file store");
        }
        // `file:///path` is the same as `file:/path`.
        let path = path.strip_prefix("//").filter(|path| path.starts_with('/')).unwrap_or(path);
        if path.is_empty() || path.starts_with("//") || path.ends_with('/') {
            findings.refuse_as(
                Trouble::EnvShape,
                given.at,
                "`store` names no file; write file:/var/lib/portcullis/portcullis.db",
            );
            return None;
        }
        return Some(store::Settings::Embedded { path: here.path(path) });
    }
    if let Err(text) = redis(url.expose()) {
        findings.refuse_as(Trouble::EnvShape, given.at, text);
        return None;
    }
    Some(store::Settings::Redis { url, prefix: prefix? })
}

pub(super) fn redis(text: &str) -> Result<(), &'static str> {
    if text.starts_with('/') || text.starts_with('.') {
        return Err("`store` has no protocol; write file: before the path");
    }
    let Some((scheme, _)) = text.split_once("://") else {
        return Err("`store` has no protocol; write redis://HOST:6379/0 or file:/PATH");
    };
    if !matches!(scheme, "redis" | "rediss") {
        return Err("`store` is of an unknown kind; write redis://, rediss:// (with TLS) or file:/PATH");
    }
    let url = Url::parse(text)
        .map_err(|_| "`store` is not a URL; write redis://:PASSWORD@HOST:6379/0, with %40 for @ and %2F for / in the password")?;
    let database = url.path().trim_start_matches('/');
    if url.host_str().is_none_or(str::is_empty) {
        Err("`store` names no host; write redis://HOST:6379/0")
    } else if !database.bytes().all(|byte| byte.is_ascii_digit()) || database.len() > 5 {
        Err("after the host of `store` comes the number of a database; write redis://HOST:6379/0")
    } else if url.query().is_some() || url.fragment().is_some() {
        Err("`store` has a `?` or `#` in it; write %3F and %23 if they belong to the password")
    } else {
        Ok(())
    }
}

fn prefix(given: Option<&Given<String>>, findings: &mut Findings) -> Option<String> {
    let Some(given) = given else { return Some("pc:".into()) };
    let text = given.value.as_deref()?;
    // Braces are a Cluster's hash tag, the others patterns of SCAN.
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"{}*?[]\\".contains(&byte);
    if text.len() <= 64 && text.bytes().all(plain) {
        return Some(text.to_owned());
    }
    findings.refuse_as(
        Trouble::EnvShape,
        given.at,
        "`store_prefix` has odd characters or more than 64; write letters, digits, - and :",
    );
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redis_urls_have_a_host_and_a_database_number() {
        for good in [
            "redis://h",
            "redis://h/",
            "redis://h:6379/0",
            "rediss://:p%40ss@h:6380/15",
            "redis://u:p@[::1]/1",
        ] {
            assert_eq!(redis(good), Ok(()), "{good}");
        }
        for wrong in [
            "/path",
            "h:6379",
            "redis:h",
            "http://h",
            "redis://",
            "redis:///0",
            "redis://h/x",
            "redis://h/0?x=1",
        ] {
            assert!(redis(wrong).is_err(), "{wrong}");
        }
    }
}
