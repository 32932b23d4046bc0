//! Query strings and form bodies as OAuth reads them (RFC 6749 §3.1): no parameter twice but `resource`, an
//! empty value is an absent one, unknown parameters are kept but ignored.

use std::borrow::Cow;
use std::collections::HashSet;

use percent_encoding::percent_decode;

use super::{ErrorCode, OAuthError};

/// The parameters of one request, in the order they came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameters(Vec<(String, String)>);

/// Why parameters cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParameterError {
    /// RFC 6749 §3.1: "parameters … MUST NOT be included more than once".
    #[error("the parameter {0} is repeated")]
    Repeated(String),
    /// Not valid UTF-8 after percent-decoding.
    #[error("the parameters are not UTF-8")]
    NotUtf8,
}

impl Parameters {
    /// Reads `application/x-www-form-urlencoded` text. Repeated parameters are not yet an error: an
    /// authorization endpoint must first know whether it may redirect (see [`Self::check_repeated`]).
    ///
    /// # Errors
    /// [`ParameterError::NotUtf8`].
    pub fn parse(text: &[u8]) -> Result<Self, ParameterError> {
        let pairs = text.split(|&byte| byte == b'&').filter(|pair| !pair.is_empty());
        pairs.map(pair).collect::<Result<_, _>>().map(Self)
    }

    /// Finds a parameter other than `resource` that came more than once. Equal values are repetition too, empty
    /// ones are absent (RFC 6749 §3.1).
    ///
    /// # Errors
    /// [`ParameterError::Repeated`] with the parameter's name.
    pub fn check_repeated(&self) -> Result<(), ParameterError> {
        let mut seen = HashSet::new();
        let mut present = self.0.iter().filter(|(name, value)| name != "resource" && !value.is_empty());
        match present.find(|(name, _)| !seen.insert(name.as_str())) {
            Some((name, _)) => Err(ParameterError::Repeated(name.clone())),
            None => Ok(()),
        }
    }

    /// The first non-empty value of `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(key, value)| *key == name && !value.is_empty()).map(|(_, value)| value)
    }

    /// Every non-empty value of `name`.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(key, value)| key == name && !value.is_empty())
            .map(|(_, value)| value.as_str())
    }

    /// Every parameter in order, the empty ones too.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Those of these parameters that are in `names` and not empty.
    #[must_use]
    pub fn only(&self, names: &[&str]) -> Self {
        let kept = self.0.iter().filter(|(name, value)| names.contains(&name.as_str()) && !value.is_empty());
        Self(kept.cloned().collect())
    }

    /// These parameters without those in `names`.
    #[must_use]
    pub fn without(&self, names: &[&str]) -> Self {
        Self(self.0.iter().filter(|(name, _)| !names.contains(&name.as_str())).cloned().collect())
    }
}

impl From<&ParameterError> for OAuthError {
    fn from(error: &ParameterError) -> Self {
        Self::new(ErrorCode::InvalidRequest, error)
    }
}

/// One `name=value`; a name alone has an empty value.
fn pair(text: &[u8]) -> Result<(String, String), ParameterError> {
    let (name, value) = match text.iter().position(|&byte| byte == b'=') {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (text, &text[text.len()..]),
    };
    Ok((decode(name)?, decode(value)?))
}

fn decode(text: &[u8]) -> Result<String, ParameterError> {
    let spaced: Vec<u8> = text.iter().map(|&byte| if byte == b'+' { b' ' } else { byte }).collect();
    percent_decode(&spaced).decode_utf8().map(Cow::into_owned).map_err(|_| ParameterError::NotUtf8)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Parameters {
        Parameters::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn plus_and_percent_are_decoded_in_names_and_values() {
        let read = parse("s%63ope=+offline_access&state=a%2Bb%26%3D%C3%A4&flag&=x&&");
        let pairs: Vec<_> = read.iter().collect();
        assert_eq!(pairs, [("scope", " offline_access"), ("state", "a+b&=ä"), ("flag", ""), ("", "x")]);
    }

    #[test]
    fn an_empty_value_is_an_absent_one() {
        let read = parse("scope=&scope=mcp&resource=&resource=a&resource=b");
        assert_eq!(read.get("scope"), Some("mcp"));
        assert_eq!(read.get("state"), None);
        assert_eq!(read.all("resource").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(read.check_repeated(), Ok(()));
    }

    // A12
    #[test]
    fn only_resource_may_come_twice() {
        for repeated in ["a=1&a=1", "a=1&b=2&a=3", "a=1&%61=2"] {
            assert_eq!(
                parse(repeated).check_repeated(),
                Err(ParameterError::Repeated("a".to_owned())),
                "{repeated}"
            );
        }
        assert_eq!(parse("resource=a&resource=b&state=x").check_repeated(), Ok(()));
        assert_eq!(parse("a=1&A=1").check_repeated(), Ok(()), "names are case-sensitive");
    }

    #[test]
    fn bytes_that_are_not_utf_8_are_refused() {
        assert_eq!(Parameters::parse(b"state=%ff"), Err(ParameterError::NotUtf8));
        assert_eq!(Parameters::parse(b"\xc3\x28=1"), Err(ParameterError::NotUtf8));
    }

    #[test]
    fn a_percent_sign_that_encodes_nothing_stands_for_itself() {
        let read = parse("state=100%&code=%zz%4");
        assert_eq!(read.iter().collect::<Vec<_>>(), [("state", "100%"), ("code", "%zz%4")]);
    }

    #[test]
    fn without_leaves_out_every_parameter_of_that_name() {
        assert_eq!(parse("a=1&b=2&a=3&c=4").without(&["a", "c"]), parse("b=2"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(read) = Parameters::parse(&bytes) {
                let _ = read.check_repeated();
                prop_assert!(read.iter().all(|(name, _)| read.without(&[name]).get(name).is_none()));
            }
        }

        #[test]
        fn what_was_encoded_is_read_back(value in any::<String>()) {
            let text: String = url::form_urlencoded::byte_serialize(value.as_bytes()).collect();
            let expected = Some(value.as_str()).filter(|value| !value.is_empty());
            let read = parse(&format!("state={text}"));
            prop_assert_eq!(read.get("state"), expected);
        }
    }
}
