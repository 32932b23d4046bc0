//! What may be shown of a value that has secrets in it.

use http::Uri;

/// A request's path without its query: queries carry codes, states and, from bad clients, tokens.
#[must_use]
pub fn path(uri: &Uri) -> &str {
    uri.path()
}

/// A URL as far as it may be logged: without user, password, query and fragment. Text that is no URL is not shown.
#[must_use]
pub fn url(text: &str) -> String {
    let Ok(mut url) = url::Url::parse(text) else { return "(not a URL)".to_owned() };
    if url.cannot_be_a_base() {
        return format!("{}:(hidden)", url.scheme());
    }
    // Both fail only for URLs without a host, which have neither.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url.into()
}

/// At most `max` bytes of `text`, cut between characters.
#[must_use]
pub fn shorten(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

#[cfg(test)]
mod tests {
    use super::*;

    // T16
    #[test]
    fn a_url_is_shown_without_its_secrets() {
        for (text, shown) in [
            ("redis://:hunter2@redis:6379/0", "redis://redis:6379/0"),
            ("rediss://user:hunter2@[::1]:6380/", "rediss://[::1]:6380/"),
            ("https://a.example/callback?code=hunter2#hunter2", "https://a.example/callback"),
            ("https://hunter2@a.example", "https://a.example/"),
            ("mailto:hunter2@example.com", "mailto:(hidden)"),
            ("hunter2", "(not a URL)"),
            ("file:///var/lib/portcullis.db", "file:///var/lib/portcullis.db"),
        ] {
            assert_eq!(url(text), shown);
            assert!(!url(text).contains("hunter2"));
        }
    }

    #[test]
    fn a_path_is_shown_without_its_query() {
        assert_eq!(path(&"/authorize?state=hunter2".parse().unwrap()), "/authorize");
        assert_eq!(path(&"https://a.example/x?token=hunter2".parse().unwrap()), "/x");
    }

    #[test]
    fn text_is_cut_between_characters() {
        assert_eq!(shorten("abc", 2), "ab");
        assert_eq!(shorten("aé", 2), "a");
        assert_eq!(shorten("a", 2), "a");
    }
}
