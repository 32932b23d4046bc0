//! Our cookies: named and marked by the issuer's scheme (design: `__Host-` and Secure over https; over http, which
//! only a loopback issuer has, a name with the port, since cookies are not separated by port).

use std::time::Duration;

use http::HeaderMap;
use http::header::COOKIE;

use crate::secret::{Secret, base64url};

/// What a cookie is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Ties the consent form to the browser.
    Form,
    /// Ties one login at the identity provider to the browser (C7). Lives on under its flow's own name.
    Flow,
    /// The browser session.
    Session,
}

/// Reads and writes cookies for one issuer.
pub(super) struct Jar<'a> {
    issuer: &'a str,
}

impl<'a> Jar<'a> {
    pub(super) const fn of(issuer: &'a str) -> Self {
        Self { issuer }
    }

    /// The value of a cookie of ours: 32 random bytes in base64url, or it is none.
    pub(super) fn read(&self, headers: &HeaderMap, kind: Kind, part: &str) -> Option<Secret> {
        let name = self.name(kind, part);
        let lines = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut values =
            lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let value = values.find(|(key, _)| *key == name).map(|(_, value)| value)?;
        base64url::<32>(value).map(|_| Secret::new(value.to_owned()))
    }

    /// The `Set-Cookie` line of a cookie that lives for `life`.
    pub(super) fn set(&self, kind: Kind, part: &str, value: &Secret, life: Duration) -> String {
        self.line(kind, part, value.expose(), life.as_secs())
    }

    /// The `Set-Cookie` line that removes a cookie.
    pub(super) fn clear(&self, kind: Kind, part: &str) -> String {
        self.line(kind, part, "", 0)
    }

    fn line(&self, kind: Kind, part: &str, value: &str, seconds: u64) -> String {
        let secure = if self.is_https() { "; Secure" } else { "" };
        let name = self.name(kind, part);
        format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}")
    }

    fn name(&self, kind: Kind, part: &str) -> String {
        let kind = match kind {
            Kind::Form => "form",
            Kind::Flow => "flow",
            Kind::Session => "session",
        };
        let part = if part.is_empty() { String::new() } else { format!("-{part}") };
        if self.is_https() {
            return format!("__Host-portcullis-{kind}{part}");
        }
        let digits =
            self.issuer.rsplit(':').next().filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
        format!("portcullis-{}-{kind}{part}", digits.unwrap_or("80"))
    }

    fn is_https(&self) -> bool {
        self.issuer.starts_with("https:")
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const VALUE: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    #[test]
    fn over_https_a_cookie_is_bound_to_the_host_and_secure() {
        // C6
        let line = Jar::of("https://auth.example.com").set(
            Kind::Session,
            "",
            &Secret::new(VALUE.into()),
            Duration::from_mins(1),
        );
        assert_eq!(
            line,
            format!("__Host-portcullis-session={VALUE}; Path=/; Max-Age=60; HttpOnly; SameSite=Lax; Secure")
        );
    }

    #[test]
    fn over_loopback_http_the_name_carries_the_port() {
        let jar = Jar::of("http://localhost:8080");
        assert!(
            jar.clear(Kind::Flow, "x").starts_with("portcullis-8080-flow-x=; Path=/; Max-Age=0; HttpOnly")
        );
        assert!(Jar::of("http://localhost").clear(Kind::Form, "").starts_with("portcullis-80-form=;"));
    }

    #[test]
    fn a_value_that_is_not_ours_is_no_cookie() {
        let jar = Jar::of("http://localhost:8080");
        let headers = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.append(COOKIE, HeaderValue::from_str(value).unwrap());
            headers
        };
        let good = headers(&format!("other=1; portcullis-8080-form={VALUE}"));
        assert!(jar.read(&good, Kind::Form, "").is_some());
        assert!(jar.read(&headers("portcullis-8080-form=short"), Kind::Form, "").is_none());
        assert!(jar.read(&headers(&format!("portcullis-9090-form={VALUE}")), Kind::Form, "").is_none());
    }
}
