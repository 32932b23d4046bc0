//! `${NAME}`, `${NAME:-default}`, `${NAME:?message}` and `$$`, inside one parsed scalar. The file's text is never
//! touched, so a value from the environment cannot add keys to it.

use std::ffi::OsString;

use crate::trouble::Trouble;

/// What is wrong with a scalar, and how many characters from its beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) offset: usize,
    pub(super) trouble: Trouble,
    pub(super) text: String,
}

const FORMS: &str = "write ${NAME}, ${NAME:-default}, ${NAME:?message}, or $$ for a dollar sign";

/// `text` with its variables put in, or everything that is wrong with it. A variable that is set but empty counts as
/// missing: container tools pass unset variables on like that.
pub(super) fn expand(text: &str, variable: &dyn Fn(&str) -> Option<OsString>) -> Result<String, Vec<Fault>> {
    let (mut out, mut faults) = (String::new(), Vec::new());
    let mut rest = text;
    while let Some(index) = rest.find('$') {
        out.push_str(&rest[..index]);
        let offset = text[..text.len() - rest.len() + index].chars().count();
        let after = &rest[index + 1..];
        let (value, used) = if after.starts_with('$') {
            (Ok("$".to_owned()), 1)
        } else if let Some(inside) = after.strip_prefix('{') {
            match inside.find('}') {
                Some(end) => (substitute(&inside[..end], variable), end + 2),
                None => (Err((Trouble::EnvShape, format!("`${{` has no `}}`; {FORMS}"))), after.len()),
            }
        } else {
            (Err((Trouble::EnvShape, format!("a single `$`; {FORMS}"))), 0)
        };
        match value {
            Ok(value) => out.push_str(&value),
            Err((trouble, text)) => faults.push(Fault { offset, trouble, text }),
        }
        rest = &after[used..];
    }
    out.push_str(rest);
    if faults.is_empty() { Ok(out) } else { Err(faults) }
}

/// The value of what stands between the braces.
fn substitute(
    inside: &str,
    variable: &dyn Fn(&str) -> Option<OsString>,
) -> Result<String, (Trouble, String)> {
    let end = inside.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(inside.len());
    let (name, operator) = inside.split_at(end);
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || operator.contains("${") {
        return Err((Trouble::EnvShape, format!("`${{{inside}}}` is not understood; {FORMS}")));
    }
    let value = match variable(name).map(OsString::into_string) {
        Some(Ok(value)) => value,
        Some(Err(_)) => {
            let text = format!("the environment variable {name} is not UTF-8; set it to plain text");
            return Err((Trouble::EnvShape, text));
        }
        None => String::new(),
    };
    if operator.is_empty() && value.is_empty() {
        let state = if variable(name).is_some() { "empty" } else { "not set" };
        // A default for a secret would stand in the file for everybody to read.
        let secret = ["_KEY", "_SECRET", "_PASSWORD", "_TOKEN"].iter().any(|end| name.ends_with(end));
        let or = if secret { String::new() } else { format!(", or write ${{{name}:-default}}") };
        Err((Trouble::EnvMissing, format!("the environment variable {name} is {state}; set it{or}")))
    } else if let Some(default) = operator.strip_prefix(":-") {
        Ok(if value.is_empty() { default.to_owned() } else { value })
    } else if let Some(message) = operator.strip_prefix(":?") {
        if value.is_empty() { Err((Trouble::EnvMissing, missing(name, message))) } else { Ok(value) }
    } else if operator.is_empty() {
        Ok(value)
    } else {
        Err((Trouble::EnvShape, format!("`${{{inside}}}` is not understood; {FORMS}")))
    }
}

fn missing(name: &str, message: &str) -> String {
    let message = if message.is_empty() { "set it" } else { message };
    format!("the environment variable {name} is missing; {message}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn env(name: &str) -> Option<OsString> {
        match name {
            "HOST" => Some("example.com".into()),
            "EMPTY" => Some("".into()),
            "TRICKY" => Some("${HOST}: x".into()),
            _ => None,
        }
    }

    fn faults(text: &str) -> Vec<(usize, String)> {
        expand(text, &env).unwrap_err().into_iter().map(|fault| (fault.offset, fault.text)).collect()
    }

    #[test]
    fn variables_and_defaults_are_put_in() {
        for (text, expected) in [
            ("", ""),
            ("plain", "plain"),
            ("https://${HOST}/mcp", "https://example.com/mcp"),
            ("${HOST}${HOST}", "example.comexample.com"),
            ("${NONE:-d:e-f}", "d:e-f"),
            ("${EMPTY:-d}", "d"),
            ("${NONE:-}", ""),
            ("${HOST:-d}", "example.com"),
            ("${HOST:?needed}", "example.com"),
            ("a$$b$${HOST}", "a$b${HOST}"),
        ] {
            assert_eq!(expand(text, &env).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn a_value_is_not_expanded_again() {
        assert_eq!(expand("${TRICKY}", &env).as_deref(), Ok("${HOST}: x"));
    }

    #[test]
    fn every_fault_is_told_with_its_place() {
        assert_eq!(
            faults("é${A}-${EMPTY}"),
            [
                (1, "the environment variable A is not set; set it, or write ${A:-default}".into()),
                (6, "the environment variable EMPTY is empty; set it, or write ${EMPTY:-default}".into()),
            ]
        );
    }

    #[test]
    fn no_default_is_offered_for_a_secret() {
        for name in ["PORTCULLIS_SECRET_KEY", "GITHUB_CLIENT_SECRET", "REDIS_PASSWORD", "INTERNAL_TOKEN"] {
            let told = format!("the environment variable {name} is not set; set it");
            assert_eq!(faults(&format!("${{{name}}}")), [(0, told)]);
        }
    }

    #[test]
    fn a_message_of_ones_own_is_told() {
        assert_eq!(faults("${A:?ask ops}"), [(0, "the environment variable A is missing; ask ops".into())]);
        assert_eq!(faults("${A:?}"), [(0, "the environment variable A is missing; set it".into())]);
    }

    #[test]
    fn unknown_forms_are_refused_and_not_taken_literally() {
        for text in
            ["$HOST", "$", "${", "${HOST", "${}", "${1A}", "${A-b}", "${A:+b}", "${A:-${HOST}}", "${a b}"]
        {
            let told = faults(text);
            assert!(told[0].1.ends_with(FORMS), "{text}: {told:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[$${}:?A-]{0,12}|.*") {
            let _ = expand(&text, &env);
        }

        #[test]
        fn text_without_a_dollar_stays_as_it_is(text in "[^$]*") {
            prop_assert_eq!(expand(&text, &env), Ok(text));
        }
    }
}
