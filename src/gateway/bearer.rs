//! The one way a token may be sent (RFC 6750 §2.1), and the challenge that tells a client where to get one.

use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::guard::Refusal;
use crate::token::TokenError;

/// No token of ours is longer (R13).
const LONGEST: usize = 4096;

/// The bearer token of a request. In the query a token is never accepted: alone it counts as none, beside a header it is
/// a second method (R6).
///
/// # Errors
/// [`Refusal::NoToken`], [`Refusal::TwoMethods`], or a token that cannot be one.
pub(super) fn token<'h>(headers: &'h HeaderMap, query: Option<&str>) -> Result<&'h str, Refusal> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(if headers.contains_key(AUTHORIZATION) { Refusal::TwoMethods } else { Refusal::NoToken });
    };
    if query.is_some_and(has_token) {
        return Err(Refusal::TwoMethods);
    }
    let token = after_scheme(value.as_bytes()).ok_or(Refusal::NoToken)?;
    if token.len() > LONGEST {
        return Err(TokenError::Malformed.into());
    }
    let token = str::from_utf8(token).map_err(|_| TokenError::Malformed)?;
    // Every byte is looked at: a loop that may end early is slower than the whole of it.
    let is_graphic = token.bytes().fold(true, |all, byte| all & byte.is_ascii_graphic());
    if is_graphic && !token.is_empty() { Ok(token) } else { Err(TokenError::Malformed.into()) }
}

/// What stands behind `Bearer`, in whatever case (RFC 9110 §11.1), without the spaces around it; `None` for another scheme.
fn after_scheme(credentials: &[u8]) -> Option<&[u8]> {
    let credentials = credentials.trim_ascii();
    let end = credentials.iter().position(u8::is_ascii_whitespace).unwrap_or(credentials.len());
    let (scheme, rest) = credentials.split_at(end);
    scheme.eq_ignore_ascii_case(b"Bearer").then(|| rest.trim_ascii())
}

fn has_token(query: &str) -> bool {
    url::form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == "access_token")
}

/// `Bearer name="value", …`: always with parameters, all of them quoted, for clients that look for `name="value"` (requirements §2 item 1).
pub(super) fn challenge(parameters: &[(&str, &str)]) -> String {
    let parameters: Vec<_> =
        parameters.iter().map(|(name, value)| format!("{name}=\"{}\"", quotable(value))).collect();
    format!("Bearer {}", parameters.join(", "))
}

/// `text` within RFC 6750 §3's characters, which need no escape in a quoted string.
fn quotable(text: &str) -> String {
    text.chars()
        .map(|char| match char {
            '"' | '\\' => '\'',
            ' '..='~' => char,
            _ => '?',
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(values: &[&[u8]]) -> HeaderMap {
        values.iter().map(|value| (AUTHORIZATION, HeaderValue::from_bytes(value).unwrap())).collect()
    }

    fn read(value: &str) -> Result<String, Refusal> {
        token(&headers(&[value.as_bytes()]), None).map(str::to_owned)
    }

    // R13
    #[test]
    fn the_scheme_is_read_in_any_case_and_with_any_number_of_spaces() {
        for value in
            ["Bearer abc", "bearer abc", "BEARER abc", "Bearer    abc", "  Bearer abc  ", "Bearer \t abc"]
        {
            assert_eq!(read(value), Ok("abc".to_owned()), "{value:?}");
        }
    }

    // R1
    #[test]
    fn another_scheme_is_no_token() {
        for value in ["Basic YTpi", "", "Bearerabc", "Bear", "DPoP abc", "abc"] {
            assert_eq!(read(value), Err(Refusal::NoToken), "{value:?}");
        }
        assert_eq!(token(&HeaderMap::new(), None), Err(Refusal::NoToken));
    }

    // R13, R4
    #[test]
    fn what_cannot_be_a_token_is_an_invalid_one() {
        let long = format!("Bearer {}", "a".repeat(8192));
        for value in ["Bearer", "Bearer ", "Bearer a b", "Bearer a, Bearer b", &long] {
            assert_eq!(read(value), Err(TokenError::Malformed.into()), "{value:.20}");
        }
        let binary = headers(&[b"Bearer \xff\xfe"]);
        assert_eq!(token(&binary, None), Err(TokenError::Malformed.into()));
        let accents = headers(&["Bearer é".as_bytes()]);
        assert_eq!(token(&accents, None), Err(TokenError::Malformed.into()));
    }

    // R6
    #[test]
    fn a_token_in_the_query_is_never_accepted() {
        assert_eq!(token(&HeaderMap::new(), Some("access_token=abc")), Err(Refusal::NoToken));
        let header = headers(&[b"Bearer abc"]);
        for query in ["access_token=abc", "a=b&access_token=", "access%5Ftoken=abc", "access_token"] {
            assert_eq!(token(&header, Some(query)), Err(Refusal::TwoMethods), "{query}");
        }
        assert_eq!(token(&header, Some("my_access_token=1&session=2")), Ok("abc"));
    }

    // R6
    #[test]
    fn two_authorization_headers_are_two_methods() {
        let two = headers(&[b"Bearer abc", b"Bearer abc"]);
        assert_eq!(token(&two, None), Err(Refusal::TwoMethods));
        let mixed = headers(&[b"Basic YTpi", b"Bearer abc"]);
        assert_eq!(token(&mixed, None), Err(Refusal::TwoMethods));
    }

    #[test]
    fn no_value_breaks_out_of_its_quotes() {
        assert_eq!(
            challenge(&[("scope", "a b"), ("error_description", "a \"b\" \\ é\r\n")]),
            r#"Bearer scope="a b", error_description="a 'b' ' ???""#
        );
    }
}
