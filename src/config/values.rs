//! Values that several keys have: durations, URLs, origins, and where their hosts are.

use std::net::IpAddr;
use std::time::Duration;

use url::{Host, Url};

use super::problem::Findings;
use super::raw::{Given, Texts};
use crate::trouble::Trouble;

/// The longest time any key takes.
const TEN_YEARS: Duration = Duration::from_hours(10 * 365 * 24);

/// A key's value, or `default` if it is absent; `None` if it is refused.
pub(super) fn duration(
    field: Option<&Given<String>>,
    default: Duration,
    findings: &mut Findings,
) -> Option<Duration> {
    let Some(given) = field else { return Some(default) };
    let text = given.value.as_deref()?;
    let read = parse_duration(text).filter(|duration| *duration <= TEN_YEARS);
    if read.is_none() {
        let text =
            format!("`{text}` is no length of time; write a number and a unit, such as 30s, 15m, 8h or 90d");
        findings.refuse_as(Trouble::EnvShape, given.at, text);
    }
    read
}

/// A number and `s`, `m`, `h` or `d`.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => return None,
    };
    let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let number: u64 = digits.then(|| number.parse().ok())??;
    number.checked_mul(seconds).map(Duration::from_secs)
}

/// An http or https URL with a host, and without user name, password, query and fragment. `scheme` is what to write
/// where there is none.
pub(super) fn web_url(
    name: &str,
    given: &Given<String>,
    scheme: &str,
    findings: &mut Findings,
) -> Option<Url> {
    let text = given.value.as_deref()?;
    match parse_web_url(name, text, scheme) {
        Ok(url) => Some(url),
        Err(text) => {
            findings.refuse_as(Trouble::EnvShape, given.at, text);
            None
        }
    }
}

fn parse_web_url(name: &str, text: &str, scheme: &str) -> Result<Url, String> {
    // Before anything is repeated: what stands before an @ may be a password.
    if text.contains('@') {
        return Err(format!("`{name}` has an `@` in it; write the URL without user name and password"));
    }
    let Some((written, _)) = text.split_once("://") else {
        // Most often the port of something on this machine.
        if scheme == "http" && !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(format!("`{text}` is not a URL; write http://localhost:{text}/mcp"));
        }
        return Err(format!("`{text}` has no protocol; write {scheme}://{}", text.trim_start_matches('/')));
    };
    if !matches!(written.to_ascii_lowercase().as_str(), "http" | "https") {
        return Err(format!("`{text}` is not a web address; write {scheme}://..."));
    }
    if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(format!("`{name}` has a space in it; write the URL without"));
    }
    let url = Url::parse(text)
        .map_err(|error| format!("`{text}` is not a URL ({error}); write {scheme}://HOST"))?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err(format!("`{name}` has a `?` or `#` in it; write the URL without"));
    }
    Ok(url)
}

/// Whether a URL's host is `localhost` or a loopback address.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// `https://host[:port]`.
pub(super) fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

/// An http URL as it is with https, to be suggested.
pub(super) fn https(url: &Url) -> String {
    url.as_str().trim_end_matches('/').replacen("http:", "https:", 1)
}

/// The last two labels of a host name; `None` for addresses and `localhost`.
pub(super) fn domain(url: &Url) -> Option<String> {
    let Some(Host::Domain(name)) = url.host() else { return None };
    let mut labels = name.trim_end_matches('.').rsplit('.');
    let (last, before) = (labels.next()?, labels.next()?);
    Some(format!("{before}.{last}"))
}

/// Origins whose browsers may call; those that are none are refused.
pub(super) fn origins(field: Option<&Given<Texts>>, findings: &mut Findings) -> Vec<String> {
    let given = field.and_then(|field| field.value.as_ref()).into_iter().flatten();
    given.filter_map(|given| one_origin(given, findings)).collect()
}

fn one_origin(given: &Given<String>, findings: &mut Findings) -> Option<String> {
    let text = given.value.as_deref()?;
    let refusal = match Url::parse(text) {
        _ if matches!(text, "*" | "null") => {
            format!(
                "`{text}` would let every web page call; write the origins one by one, such as https://app.example.com"
            )
        }
        Ok(url) => {
            // Origins of other schemes (vscode-webview, chrome-extension) are opaque to the URL standard.
            let normal = if url.origin().is_tuple() {
                origin(&url)
            } else {
                format!("{}://{}", url.scheme(), url.authority())
            };
            if normal == text && url.username().is_empty() && url.has_host() {
                return Some(normal);
            }
            if text.contains('@') || !url.has_host() {
                "this is no origin; write one such as https://app.example.com".into()
            } else {
                format!("`{text}` is not an origin as browsers send it; write {normal}")
            }
        }
        Err(_) => format!("`{text}` is no origin; write one such as https://app.example.com"),
    };
    findings.refuse_as(Trouble::EnvShape, given.at, refusal);
    None
}

/// An address of this machine's own.
pub(super) const LOOPBACK: [IpAddr; 2] =
    [IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), IpAddr::V6(std::net::Ipv6Addr::LOCALHOST)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_a_number_and_a_unit() {
        let seconds = |text| parse_duration(text).map(|duration| duration.as_secs());
        assert_eq!(seconds("5s"), Some(5));
        assert_eq!(seconds("60m"), Some(3600));
        assert_eq!(seconds("1h"), Some(3600));
        assert_eq!(seconds("90d"), Some(90 * 86400));
        for wrong in [
            "",
            "5",
            "s",
            "-5s",
            "+5s",
            "1.5h",
            "5 s",
            "5S",
            "1h30m",
            "5é",
            "99999999999999999999d",
            "18446744073709551615d",
        ] {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_url_with_a_password_is_not_repeated() {
        let told = parse_web_url("upstream", "http://root:hunter2@host/", "http").unwrap_err();
        assert!(!told.contains("hunter2"), "{told}");
    }

    #[test]
    fn loopback_hosts_are_localhost_and_loopback_addresses() {
        let loopback = |text| is_loopback(&Url::parse(text).unwrap());
        assert!(
            loopback("http://localhost:1") && loopback("http://127.0.0.1") && loopback("http://[::1]:8080")
        );
        for other in [
            "http://localhost.example.com",
            "http://0.0.0.0",
            "http://10.0.0.1",
            "http://[::]",
            "http://local",
        ] {
            assert!(!loopback(other), "{other}");
        }
    }

    #[test]
    fn domains_are_the_last_two_labels() {
        let domain = |text| domain(&Url::parse(text).unwrap());
        assert_eq!(domain("https://a.b.example.com/").as_deref(), Some("example.com"));
        assert_eq!(domain("https://localhost/"), None);
        assert_eq!(domain("https://10.0.0.1/"), None);
    }
}
