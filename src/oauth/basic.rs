//! HTTP Basic credentials of a client (RFC 6749 §2.3.1, RFC 7617), read without believing anything.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;

use crate::secret::Secret;

/// A client's name and password, in every way they may be meant: RFC 6749 §2.3.1 has both form-encoded before they are put
/// together, which some clients do and others do not (T5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BasicCredentials {
    readings: Vec<Reading>,
}

/// One way to read them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The client's id, perhaps.
    pub id: String,
    /// Its secret; empty where none was sent.
    pub password: Secret,
}

/// A header that is not Basic credentials. What it is stays unsaid: it may be a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the Authorization header is not HTTP Basic with a client id")]
pub struct NotBasic;

impl BasicCredentials {
    /// Reads the value of an `Authorization` header.
    ///
    /// # Errors
    /// [`NotBasic`]: another scheme, no base64, no UTF-8, no colon, or no id.
    pub fn read(header: &[u8]) -> Result<Self, NotBasic> {
        let header = std::str::from_utf8(header).map_err(|_| NotBasic)?;
        let (scheme, encoded) = header.trim().split_once(' ').ok_or(NotBasic)?;
        if !scheme.eq_ignore_ascii_case("Basic") {
            return Err(NotBasic);
        }
        let decoded = STANDARD.decode(encoded.trim()).map_err(|_| NotBasic)?;
        let decoded = String::from_utf8(decoded).map_err(|_| NotBasic)?;
        let (id, password) = decoded.split_once(':').filter(|(id, _)| !id.is_empty()).ok_or(NotBasic)?;
        let raw = Reading { id: id.to_owned(), password: Secret::new(password.to_owned()) };
        let form = form_decoded(id).zip(form_decoded(password));
        let form = form.map(|(id, password)| Reading { id, password: Secret::new(password) });
        let differs = form.filter(|form| *form != raw);
        Ok(Self { readings: std::iter::once(raw).chain(differs).collect() })
    }

    /// The ways to read them, as sent first.
    #[must_use]
    pub fn readings(&self) -> &[Reading] {
        &self.readings
    }
}

/// `application/x-www-form-urlencoded` text, decoded; `None` if that is no UTF-8.
fn form_decoded(text: &str) -> Option<String> {
    percent_decode_str(&text.replace('+', " ")).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(text: impl AsRef<[u8]>) -> String {
        format!("Basic {}", STANDARD.encode(text))
    }

    fn read(text: &str) -> Vec<(String, String)> {
        let credentials = BasicCredentials::read(header(text).as_bytes()).unwrap();
        let pair = |one: &Reading| (one.id.clone(), one.password.expose().to_owned());
        credentials.readings().iter().map(pair).collect()
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(id, password)| ((*id).to_owned(), (*password).to_owned())).collect()
    }

    // T5
    #[test]
    fn credentials_are_read_raw_and_percent_encoded() {
        assert_eq!(read("c_x:"), pairs(&[("c_x", "")]));
        assert_eq!(read("ci:s3cret"), pairs(&[("ci", "s3cret")]));
        assert_eq!(read("c%5Fx:a%2Bb"), pairs(&[("c%5Fx", "a%2Bb"), ("c_x", "a+b")]));
        assert_eq!(read("ci:a+b"), pairs(&[("ci", "a+b"), ("ci", "a b")]));
        assert_eq!(read("ci:a:b:c"), pairs(&[("ci", "a:b:c")]), "only the first colon parts");
        assert_eq!(read("ci:%ff"), pairs(&[("ci", "%ff")]), "what decodes to no text is meant raw");
    }

    #[test]
    fn the_scheme_is_read_in_any_case_and_with_any_number_of_spaces() {
        for value in ["Basic Y2k6cw==", "bASIC   Y2k6cw==  "] {
            assert_eq!(BasicCredentials::read(value.as_bytes()).unwrap().readings()[0].id, "ci", "{value}");
        }
    }

    #[test]
    fn what_is_not_basic_is_refused() {
        let (no_colon, no_id, latin) = (header("no colon"), header(":secret"), header(b"ci:\xff"));
        for wrong in [
            "",
            "Basic",
            "Basic ",
            "Basic !!!",
            "Basic Y2k6cw",
            "Bearer x",
            "BasicY2k6cw==",
            &no_colon,
            &no_id,
            &latin,
        ] {
            assert_eq!(BasicCredentials::read(wrong.as_bytes()), Err(NotBasic), "{wrong}");
        }
        assert_eq!(BasicCredentials::read(b"Basic \xff"), Err(NotBasic));
    }

    #[test]
    fn a_password_is_never_printed() {
        let credentials = BasicCredentials::read(header("ci:hunter2").as_bytes()).unwrap();
        assert!(!format!("{credentials:?}").contains("hunter2"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_credentials_or_none(bytes in prop::collection::vec(any::<u8>(), 0..80), raw in any::<bool>()) {
            let value = if raw { bytes } else { header(bytes).into_bytes() };
            if let Ok(credentials) = BasicCredentials::read(&value) {
                prop_assert!((1..=2).contains(&credentials.readings().len()));
                prop_assert!(credentials.readings().iter().take(1).all(|reading| !reading.id.is_empty()));
            }
        }
    }
}
