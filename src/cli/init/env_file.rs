//! `.env`: variables in the one spelling that a shell, systemd's `EnvironmentFile=` and compose's `env_file` all read alike.

use std::fmt::Write as _;

use crate::secret::Secret;

/// What of a value cannot be spelled so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::cli) enum Unwritable {
    #[error("it is empty")]
    Empty,
    #[error("it has a line break or another control character in it")]
    Control,
    /// Single quotes cannot hold `'`, nor compose's a `\`; in double quotes `$` and a backtick are read differently.
    #[error(
        "it has both one of ' \\ and one of $ ` in it, which no quoting brings alike through a shell, systemd and compose"
    )]
    Quotes,
}

/// The variables that the configuration names.
#[derive(Clone, Debug, Default)]
pub(in crate::cli) struct Variables(Vec<(String, Secret)>);

impl Variables {
    /// Adds one; `name` is ours.
    ///
    /// # Errors
    /// [`Unwritable`].
    pub(in crate::cli) fn add(&mut self, name: &str, value: Secret) -> Result<(), Unwritable> {
        quoted(value.expose())?;
        self.0.push((name.to_owned(), value));
        Ok(())
    }

    /// The value of one.
    pub(in crate::cli) fn value(&self, name: &str) -> Option<&Secret> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// The file's text.
    pub(in crate::cli) fn text(&self) -> Secret {
        let mut text = String::from(
            "# Secrets of portcullis.yaml: for their owner only. Keep a copy of the secret key: without it the store cannot be read.\n",
        );
        for (name, value) in &self.0 {
            // Every value was tried when it was added; writing to a `String` does not fail.
            let value = quoted(value.expose()).unwrap_or_default();
            let _ = writeln!(text, "{name}={value}");
        }
        Secret::new(text)
    }
}

/// Whether `value` can be written.
///
/// # Errors
/// Why not.
pub(in crate::cli) fn writable(value: &str) -> Result<(), Unwritable> {
    quoted(value).map(drop)
}

fn quoted(value: &str) -> Result<String, Unwritable> {
    if value.is_empty() {
        return Err(Unwritable::Empty);
    }
    if value.chars().any(char::is_control) {
        return Err(Unwritable::Control);
    }
    if !value.contains(['\'', '\\']) {
        return Ok(format!("'{value}'"));
    }
    if value.contains(['$', '`']) {
        return Err(Unwritable::Quotes);
    }
    Ok(format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_those_that_every_reader_takes_alike() {
        for (value, spelled) in [
            ("plain", "'plain'"),
            ("a$b #c \"d\" `e` =f", "'a$b #c \"d\" `e` =f'"),
            ("it's", "\"it's\""),
            ("b\\s \"q\" 'x'", "\"b\\\\s \\\"q\\\" 'x'\""),
        ] {
            assert_eq!(quoted(value).as_deref(), Ok(spelled));
        }
        assert_eq!(quoted(""), Err(Unwritable::Empty));
        assert_eq!(quoted("a\nb"), Err(Unwritable::Control));
        for both in ["it's $5", "a\\$b", "'`'"] {
            assert_eq!(quoted(both), Err(Unwritable::Quotes), "{both}");
        }
    }
}
