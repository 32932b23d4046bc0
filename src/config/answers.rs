//! Single answers that a person gives before there is a file, by the rules of the keys that they become: `portcullis init`
//! refuses what `check` would refuse, in the same words.

use std::path::Path;

use url::{Host, Url};

use super::access::{self, Provider};
use super::problem::{Findings, Position};
use super::raw::Given;
use super::{acme, secrets, services, values};

/// A domain under which every host gets a certificate from a public authority, such as `example.com`; in lower case.
///
/// # Errors
/// What is wrong with it, and what to write.
pub fn domain(text: &str) -> Result<String, String> {
    let refused = || format!("`{text}` is not a domain; write the name alone, such as example.com");
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    let label =
        |label: &str| (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-');
    if text.len() > 240 || !text.bytes().all(plain) || !text.split('.').all(label) {
        return Err(refused());
    }
    let lower = text.to_ascii_lowercase();
    let url = Url::parse(&format!("https://{lower}")).map_err(|_| refused())?;
    if !matches!(url.host(), Some(Host::Domain(name)) if name == lower) {
        return Err(refused());
    }
    if !acme::is_public(&lower) {
        return Err(format!(
            "Let's Encrypt has no certificates for {lower}, which is no name on the internet; write a domain of yours, such as \
             example.com"
        ));
    }
    Ok(lower)
}

/// `tls.acme.email`.
///
/// # Errors
/// What is wrong with it, and what to write.
pub fn email(text: &str) -> Result<String, String> {
    judged(text, |given, findings| drop(acme::email(given.at, Some(given), findings)))
}

/// One of `access.users`.
///
/// # Errors
/// What is wrong with it, and what to write.
pub fn user(text: &str) -> Result<String, String> {
    judged(text, |given, findings| drop(access::user(given, Some(Provider::GitHub), findings)))
}

/// One of `access.orgs`.
///
/// # Errors
/// What is wrong with it, and what to write.
pub fn org(text: &str) -> Result<String, String> {
    judged(text, |given, findings| drop(access::name(given, "organisation", findings)))
}

/// One of `access.teams`.
///
/// # Errors
/// What is wrong with it, and what to write.
pub fn team(text: &str) -> Result<String, String> {
    judged(text, |given, findings| drop(access::team(given, findings)))
}

/// The name of a service.
///
/// # Errors
/// What is wrong with it, and what to write.
pub fn service_name(text: &str) -> Result<String, String> {
    judged(text, |given, findings| services::check_name(text, given.at, findings))
}

/// A service's `upstream`.
///
/// # Errors
/// What is wrong with it, and what to write.
pub fn upstream(text: &str) -> Result<String, String> {
    judged(text, |given, findings| drop(values::web_url("upstream", given, "http", findings)))
}

/// A service's `url`, whatever else it has to agree with.
///
/// # Errors
/// What is wrong with it, and what to write.
pub fn public_url(text: &str) -> Result<Url, String> {
    let refusal = judged(text, |given, findings| drop(values::web_url("url", given, "https", findings)));
    let text = refusal?;
    Url::parse(&text).map_err(|error| format!("`{text}` is not a URL ({error}); write https://HOST/mcp"))
}

/// The URL of a Redis, without a file of its own.
///
/// # Errors
/// What is wrong with it, and what to write; the URL is not repeated.
pub fn redis(text: &str) -> Result<(), &'static str> {
    secrets::redis(text)
}

fn judged(text: &str, check: impl FnOnce(&Given<String>, &mut Findings)) -> Result<String, String> {
    let mut findings = Findings::of(Path::new(""));
    check(&Given { at: Position::start(0), value: Some(text.to_owned()) }, &mut findings);
    findings.first_refusal().map_or_else(|| Ok(text.to_owned()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_is_a_name_on_the_internet_in_lower_case() {
        assert_eq!(domain("Example.COM").as_deref(), Ok("example.com"));
        for wrong in [
            "",
            "https://example.com",
            "example.com/",
            "example.com:443",
            "a b.com",
            "-a.com",
            "a-.com",
            "a..com",
            "example.com.",
            "ä.com",
            "1.2.3.4",
            "*.example.com",
            "a@b.com",
        ] {
            assert!(
                domain(wrong).unwrap_err().starts_with(&format!("`{wrong}` is not a domain; ")),
                "{wrong}"
            );
        }
        for private in ["localhost", "a.local", "a.internal", "com"] {
            let told = domain(private).unwrap_err();
            assert!(
                told.starts_with(&format!("Let's Encrypt has no certificates for {private}, ")),
                "{told}"
            );
        }
    }

    #[test]
    fn answers_are_refused_as_check_refuses_them() {
        assert_eq!(email("you@example.com").as_deref(), Ok("you@example.com"));
        assert_eq!(
            email("you").unwrap_err(),
            "`you` is no e-mail address; write one, such as you@YOUR-DOMAIN"
        );
        assert_eq!(user("*").as_deref(), Ok("*"));
        assert_eq!(user("@a").unwrap_err(), "`@a` is no login; write a without the @");
        assert_eq!(org("a/b").unwrap_err(), "`a/b` is no organisation; write the organisation alone");
        assert_eq!(
            team("a").unwrap_err(),
            "`a` is no team; write ORGANISATION/TEAM, such as example/platform"
        );
        assert!(service_name("A").unwrap_err().starts_with("`A` is no name for a service; "));
        assert_eq!(upstream("host:1").unwrap_err(), "`host:1` has no protocol; write http://host:1");
        assert_eq!(
            upstream("3000").unwrap_err(),
            "`3000` is not a URL; write http://localhost:3000/mcp",
            "a port alone is one of this machine"
        );
        assert_eq!(public_url("https://a.example/mcp").unwrap().path(), "/mcp");
        assert_eq!(redis("redis://h/0"), Ok(()));
    }
}
