//! `WWW-Authenticate`, read by its grammar (RFC 9110 §11.6.1): any number of challenges, in any number of fields, with parameters
//! that may be quoted. Clients do the same, or worse: what does not parse here starts no sign-in.

/// Most bytes of all fields together.
const LENGTH: usize = 16 * 1024;
/// Most challenges and parameters.
const MOST: usize = 64;

/// One way to authenticate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Challenge {
    /// The scheme, as it was written.
    pub scheme: String,
    /// What `Negotiate` and `Basic` have in place of parameters.
    pub token68: Option<String>,
    /// Names in small letters, values without their quotes.
    pub parameters: Vec<(String, String)>,
}

impl Challenge {
    /// The first parameter of that name.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Whether it asks for a bearer token.
    #[must_use]
    pub fn is_bearer(&self) -> bool {
        self.scheme.eq_ignore_ascii_case("bearer")
    }
}

/// Why a field is no list of challenges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// More of it than anybody reads.
    #[error("it is longer than anybody reads")]
    TooLong,
    /// Another character than a name, a value or a comma begins with.
    #[error("at byte {0} there is neither a scheme nor a parameter")]
    Unexpected(usize),
    /// A quoted value without its end.
    #[error("the value that begins at byte {0} has no closing quote")]
    Unquoted(usize),
}

/// Reads the values of all `WWW-Authenticate` fields of an answer.
///
/// # Errors
/// [`Malformed`].
pub fn read<'a>(fields: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<Challenge>, Malformed> {
    let mut challenges = Vec::new();
    let mut length = 0;
    for field in fields {
        length += field.len();
        if length > LENGTH {
            return Err(Malformed::TooLong);
        }
        Cursor { bytes: field, at: 0 }.challenges(&mut challenges)?;
    }
    Ok(challenges)
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn challenges(mut self, challenges: &mut Vec<Challenge>) -> Result<(), Malformed> {
        // A parameter belongs to the last challenge of its own field.
        let first = challenges.len();
        loop {
            self.skip(|byte| matches!(byte, b' ' | b'\t' | b','));
            if self.peek().is_none() {
                return Ok(());
            }
            let word = self.word()?;
            match challenges.get_mut(first..).and_then(<[Challenge]>::last_mut) {
                Some(challenge) if challenge.token68.is_none() && self.is_parameter() => {
                    let value = self.value()?;
                    challenge.parameters.push((word.to_ascii_lowercase(), value));
                    if challenge.parameters.len() > MOST {
                        return Err(Malformed::TooLong);
                    }
                }
                Some(_) | None => challenges.push(self.challenge(word)?),
            }
            if challenges.len() > MOST {
                return Err(Malformed::TooLong);
            }
            self.end_of_element()?;
        }
    }

    /// The rest of a challenge up to its first parameter.
    fn challenge(&mut self, scheme: String) -> Result<Challenge, Malformed> {
        let mut challenge = Challenge { scheme, ..Challenge::default() };
        let begin = self.at;
        self.skip(is_space);
        if self.at == begin || matches!(self.peek(), None | Some(b',')) {
            return Ok(challenge);
        }
        let begin = self.at;
        self.skip(|byte| is_token(byte) || byte == b'/');
        self.skip(|byte| byte == b'=');
        let token68 =
            String::from_utf8_lossy(self.bytes.get(begin..self.at).unwrap_or_default()).into_owned();
        self.skip(is_space);
        if !token68.is_empty() && matches!(self.peek(), None | Some(b',')) {
            challenge.token68 = Some(token68);
            return Ok(challenge);
        }
        self.at = begin;
        let name = self.word()?;
        if !self.is_parameter() {
            return Err(Malformed::Unexpected(self.at));
        }
        challenge.parameters.push((name.to_ascii_lowercase(), self.value()?));
        Ok(challenge)
    }

    fn word(&mut self) -> Result<String, Malformed> {
        let begin = self.at;
        self.skip(is_token);
        match self.bytes.get(begin..self.at) {
            Some(word) if !word.is_empty() => Ok(String::from_utf8_lossy(word).into_owned()),
            Some(_) | None => Err(Malformed::Unexpected(begin)),
        }
    }

    /// Whether `=` comes next, with spaces before it at most; it is passed if so.
    fn is_parameter(&mut self) -> bool {
        let begin = self.at;
        self.skip(is_space);
        let is = self.peek() == Some(b'=');
        self.at = if is { self.at + 1 } else { begin };
        is
    }

    fn value(&mut self) -> Result<String, Malformed> {
        self.skip(is_space);
        if self.peek() == Some(b'"') { self.quoted() } else { self.word() }
    }

    fn quoted(&mut self) -> Result<String, Malformed> {
        let begin = self.at;
        let mut value = Vec::new();
        self.at += 1;
        while let Some(byte) = self.peek() {
            self.at += 1;
            match byte {
                b'"' => return Ok(String::from_utf8_lossy(&value).into_owned()),
                b'\\' => {
                    value.extend(self.peek());
                    self.at += 1;
                }
                other => value.push(other),
            }
        }
        Err(Malformed::Unquoted(begin))
    }

    fn end_of_element(&mut self) -> Result<(), Malformed> {
        self.skip(is_space);
        match self.peek() {
            None | Some(b',') => Ok(()),
            Some(_) => Err(Malformed::Unexpected(self.at)),
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn skip(&mut self, wanted: impl Fn(u8) -> bool) {
        while self.peek().is_some_and(&wanted) {
            self.at += 1;
        }
    }
}

const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// RFC 9110 §5.6.2.
const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+')
        || matches!(byte, b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(text: &str) -> Result<Vec<Challenge>, Malformed> {
        read([text.as_bytes()])
    }

    fn shown(text: &str) -> String {
        let challenges = of(text).unwrap();
        let shown = challenges.iter().map(|one| {
            let parameters: Vec<_> =
                one.parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
            format!("{}({}{})", one.scheme, one.token68.as_deref().unwrap_or_default(), parameters.join(";"))
        });
        shown.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn challenges_and_parameters_are_told_apart() {
        for (text, expected) in [
            ("Bearer", "Bearer()"),
            (
                "Bearer resource_metadata=\"https://a.example/x\"",
                "Bearer(resource_metadata=https://a.example/x)",
            ),
            (
                "bearer realm=a, Resource_Metadata = \"b,c\" ,scope=d",
                "bearer(realm=a;resource_metadata=b,c;scope=d)",
            ),
            ("Basic realm=\"a \\\"b\\\" c\", Bearer error=e", "Basic(realm=a \"b\" c) Bearer(error=e)"),
            ("Negotiate a87421000492aa87+/==, Bearer x=y", "Negotiate(a87421000492aa87+/==) Bearer(x=y)"),
            // RFC 9110 §11.6.1's own example.
            (
                "Basic realm=\"simple\", Newauth realm=\"apps\", type=1, title=\"Login to \\\"apps\\\"\"",
                "Basic(realm=simple) Newauth(realm=apps;type=1;title=Login to \"apps\")",
            ),
            (", ,Bearer , , Basic,", "Bearer() Basic()"),
            ("", ""),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn a_parameter_belongs_to_a_challenge_of_its_own_field() {
        let fields = [&b"Basic realm=a"[..], b"Bearer scope=\"b c\""];
        let challenges = read(fields).unwrap();
        assert_eq!((challenges.len(), challenges[1].parameter("scope")), (2, Some("b c")));
        assert!(challenges[1].is_bearer() && !challenges[0].is_bearer());
    }

    #[test]
    fn what_is_no_challenge_is_refused() {
        for (text, why) in [
            ("=", Malformed::Unexpected(0)),
            ("Bearer realm=\"a", Malformed::Unquoted(13)),
            ("Bearer realm=\"a\" scope=b", Malformed::Unexpected(17)),
            ("Bearer a b", Malformed::Unexpected(8)),
            ("Bearer realm=a=b", Malformed::Unexpected(14)),
            ("\"Bearer\"", Malformed::Unexpected(0)),
            ("Bearer \u{e9}", Malformed::Unexpected(7)),
        ] {
            assert_eq!(of(text), Err(why), "{text}");
        }
        assert_eq!(of(&"a,".repeat(MOST + 1)), Err(Malformed::TooLong));
        assert_eq!(of(&format!("Bearer {}", "a=b,".repeat(MOST + 1))), Err(Malformed::TooLong));
        assert_eq!(of(&"a".repeat(LENGTH + 1)), Err(Malformed::TooLong));
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_or_refused(bytes: Vec<u8>) {
            let _ = read([&bytes[..]]);
        }

        #[test]
        fn what_is_quoted_comes_back(value in "[ -~]{0,40}") {
            let quoted = value.replace('\\', "\\\\").replace('"', "\\\"");
            let text = format!("Bearer error=x, resource_metadata=\"{quoted}\", scope=y");
            let challenges = of(&text).unwrap();
            prop_assert_eq!(challenges[0].parameter("resource_metadata"), Some(value.as_str()));
            prop_assert_eq!(challenges[0].parameters.len(), 3);
        }
    }
}
