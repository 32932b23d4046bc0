//! Host names as requests and URLs write them: without the port, and whether they mean this machine.

use std::net::{IpAddr, Ipv6Addr};

use url::{Host, Url};

/// `host` of `host[:port]` (RFC 3986 §3.2.2). An IPv6 address keeps its brackets. A user name stays, so that it is found
/// to be no host.
#[must_use]
pub fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if is_whole(host) && port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        Some(_) | None => authority,
    }
}

/// Whether `host` is no IPv6 address without brackets, cut in two.
fn is_whole(host: &str) -> bool {
    !host.contains(':') || host.ends_with(']')
}

/// Whether `host`, without a port, is `localhost` or a loopback address, as it is written: a resolver is not asked, and
/// a trailing dot makes another name.
#[must_use]
pub fn is_loopback_name(host: &str) -> bool {
    let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match bracketed {
        Some(address) => address.parse::<Ipv6Addr>().is_ok_and(|address| address.is_loopback()),
        None => {
            host.eq_ignore_ascii_case("localhost")
                || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
        }
    }
}

/// Whether `url` leads to `localhost` or a loopback address, whatever else it has in it.
#[must_use]
pub fn is_loopback_url(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// A tunnel from the internet to a machine that has no address of its own there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// The hosts that it gives away, for as long as it runs, are below this one.
    pub above: &'static str,
    /// What it is called.
    pub name: &'static str,
    /// Whether TLS always ends with it. Where it may not, the machine behind it has a certificate of its own.
    pub ends_tls: bool,
}

impl Tunnel {
    /// The widely known one that `host` belongs to.
    #[must_use]
    pub fn of(host: &str) -> Option<Self> {
        let (above, name) = *TUNNELS.iter().find(|(above, _)| {
            host.strip_suffix(*above).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
        })?;
        Some(Self { above, name, ends_tls: above != "ts.net" })
    }
}

const TUNNELS: [(&str, &str); 11] = [
    ("devtunnels.ms", "dev tunnels"),
    ("lhr.life", "localhost.run"),
    ("loca.lt", "localtunnel"),
    ("ngrok-free.app", "ngrok"),
    ("ngrok-free.dev", "ngrok"),
    ("ngrok.app", "ngrok"),
    ("ngrok.dev", "ngrok"),
    ("ngrok.io", "ngrok"),
    ("serveo.net", "Serveo"),
    ("trycloudflare.com", "cloudflared"),
    ("ts.net", "Tailscale Funnel"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tunnel_is_known_by_what_its_hosts_are_below() {
        let name = |host| Tunnel::of(host).map(|tunnel| tunnel.name);
        assert_eq!(name("a-b.trycloudflare.com"), Some("cloudflared"));
        assert_eq!(name("x.eu.ngrok.io"), Some("ngrok"));
        assert!(Tunnel::of("box.tail1.ts.net").is_some_and(|tunnel| !tunnel.ends_tls));
        assert!(Tunnel::of("a.serveo.net").is_some_and(|tunnel| tunnel.ends_tls));
        for other in ["ngrok.io", ".ngrok.io", "evilngrok.io", "ngrok.io.example", "ngrok.io.", ""] {
            assert_eq!(Tunnel::of(other), None, "{other}");
        }
    }

    #[test]
    fn only_a_port_is_cut_off() {
        for (authority, host) in [
            ("a.example:8443", "a.example"),
            ("a.example:", "a.example"),
            ("a.example", "a.example"),
            ("a.example.:80", "a.example."),
            ("127.0.0.1:80", "127.0.0.1"),
            ("[::1]:80", "[::1]"),
            ("[::1]", "[::1]"),
            ("[2001:db8::1]:", "[2001:db8::1]"),
            ("::1", "::1"),
            ("2001:db8::1:80", "2001:db8::1:80"),
            ("a.example:evil", "a.example:evil"),
            ("user:1@a.example", "user:1@a.example"),
            ("user@a.example:80", "user@a.example"),
            ("", ""),
        ] {
            assert_eq!(without_port(authority), host, "{authority}");
        }
    }

    #[test]
    fn a_loopback_name_is_localhost_or_a_loopback_address() {
        for loopback in ["localhost", "LocalHost", "127.0.0.1", "127.9.9.9", "[::1]", "::1", "[0:0::1]"] {
            assert!(is_loopback_name(loopback), "{loopback}");
        }
    }

    #[test]
    fn what_only_looks_like_loopback_is_not() {
        for other in [
            "",
            "localhost.",
            "127.0.0.1.",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "localhost@evil.example",
            "evil@localhost",
            "localhost:80",
            "[127.0.0.1]",
            "[localhost]",
            "[[::1]]",
            "[::1",
            "::1]",
            "[::]",
            "0.0.0.0",
            "10.0.0.1",
            "127.1",
            "2130706433",
            "0x7f.0.0.1",
            "::ffff:127.0.0.1",
        ] {
            assert!(!is_loopback_name(other), "{other}");
        }
    }

    #[test]
    fn a_url_is_loopback_by_its_host_alone() {
        let is_loopback = |text: &str| is_loopback_url(&Url::parse(text).unwrap());
        for loopback in [
            "http://localhost",
            "http://LOCALHOST:8080/x",
            "https://127.0.0.1/",
            // The URL parser reads addresses as browsers do.
            "http://2130706433/",
            "http://127.0.0.1./",
            "http://[::1]:1/",
            "http://evil.example@localhost/",
            "any://localhost/",
        ] {
            assert!(is_loopback(loopback), "{loopback}");
        }
        for other in [
            "http://localhost@evil.example/",
            "http://127.0.0.1:80@evil.example/",
            "http://localhost./",
            "http://localhost.evil.example/",
            "http://[::]/",
            "http://10.0.0.1/",
            "http://evil.example/localhost",
            "data:localhost",
        ] {
            assert!(!is_loopback(other), "{other}");
        }
    }
}
