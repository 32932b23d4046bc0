//! Answers that caches on the way may not share (P12). A server behind knows nothing of tokens, so what it lets everybody keep
//! it says in ignorance of who may read it: taken at its word, a shared cache would hand one user's answer to everybody.

use http::header::CACHE_CONTROL;
use http::{HeaderMap, HeaderValue};

/// Takes everything out of an answer to a request with a token that would let a shared cache keep it. Where nothing says so,
/// none may (RFC 9111 §3.5), and nothing is added.
pub(super) fn keep_private(headers: &mut HeaderMap) {
    while let Some(name) = headers.keys().find(|name| is_for_shared_caches(name.as_str())).cloned() {
        headers.remove(name);
    }
    if directives(headers).any(lets_share) {
        let narrowed = narrowed(headers);
        headers.insert(CACHE_CONTROL, narrowed);
    }
}

/// What shared caches heed before `Cache-Control`: RFC 9213 and its forerunners, and nginx's own.
fn is_for_shared_caches(name: &str) -> bool {
    matches!(name, "surrogate-control" | "edge-control" | "x-accel-expires")
        || name.ends_with("cdn-cache-control")
}

/// The directives of `Cache-Control`. What cannot be read may say anything.
fn directives(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(CACHE_CONTROL).iter();
    values.flat_map(|value| value.to_str().unwrap_or("public").split(',')).map(str::trim)
}

/// Whether a directive lets shared caches keep what was asked for with a token.
fn lets_share(directive: &str) -> bool {
    is_for_all(directive) || directive.eq_ignore_ascii_case("must-revalidate")
}

fn is_for_all(directive: &str) -> bool {
    let name = directive.split('=').next().unwrap_or_default().trim();
    name.eq_ignore_ascii_case("public") || name.eq_ignore_ascii_case("s-maxage")
}

/// The same for one user's own cache.
fn narrowed(headers: &HeaderMap) -> HeaderValue {
    let mut kept: Vec<&str> = directives(headers).filter(|directive| !is_for_all(directive)).collect();
    // With an argument `private` is about some headers only.
    let is_closed = |one: &&str| one.eq_ignore_ascii_case("private") || one.eq_ignore_ascii_case("no-store");
    if !kept.iter().any(is_closed) {
        kept.push("private");
    }
    HeaderValue::try_from(kept.join(", ")).unwrap_or(HeaderValue::from_static("private"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `Cache-Control` of an answer that came with `told`.
    fn kept(told: &[&'static str]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for value in told {
            headers.append(CACHE_CONTROL, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        keep_private(&mut headers);
        let values = headers.get_all(CACHE_CONTROL).iter();
        values.map(|value| value.to_str().unwrap().to_owned()).collect()
    }

    // P12
    #[test]
    fn what_no_shared_cache_may_keep_stays_as_it_is() {
        for told in [
            &[][..],
            &["private"],
            &["no-store"],
            &["no-cache"],
            &["no-cache, no-transform"],
            &["max-age=60"],
            &["private, max-age=60", "no-transform"],
            &["publicity, x-public=1"],
        ] {
            assert_eq!(kept(told), told, "{told:?}");
        }
    }

    // P12, RFC 9111 §3.5
    #[test]
    fn what_would_let_a_shared_cache_keep_an_answer_is_taken_out() {
        for (told, expected) in [
            (&["public"][..], "private"),
            (&["public, max-age=60"], "max-age=60, private"),
            (&["Public,max-age=60"], "max-age=60, private"),
            (&["max-age=60", "PUBLIC"], "max-age=60, private"),
            (&["s-maxage=600"], "private"),
            (&["s-maxage = 600, max-age=1"], "max-age=1, private"),
            (&["private, s-maxage=600"], "private"),
            (&["no-store, public"], "no-store"),
            (&["private=\"set-cookie\", public"], "private=\"set-cookie\", private"),
            (&["max-age=60, must-revalidate"], "max-age=60, must-revalidate, private"),
            (&["private, must-revalidate"], "private, must-revalidate"),
            (&["no-cache, m\u{fc}ll"], "private"),
        ] {
            assert_eq!(kept(told), [expected], "{told:?}");
        }
    }

    // P12
    #[test]
    fn what_only_shared_caches_read_is_taken_out() {
        let names = [
            "cdn-cache-control",
            "cloudflare-cdn-cache-control",
            "surrogate-control",
            "edge-control",
            "x-accel-expires",
        ];
        let mut headers: HeaderMap = names
            .iter()
            .map(|name| (name.parse().unwrap(), HeaderValue::from_static("max-age=60")))
            .collect();
        headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
        keep_private(&mut headers);
        assert_eq!(headers.keys().collect::<Vec<_>>(), ["x-accel-buffering"]);
    }
}
