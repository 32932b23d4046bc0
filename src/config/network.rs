//! `listen`, `tls`, `trusted_proxies` and `published_on_loopback`: where we listen, with what certificates, and whose
//! connections are accepted. Plain HTTP must have somebody in front whom we know.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;

use super::acme;
use super::issuer::Issuer;
use super::problem::{Findings, Position};
use super::raw::{CertificateFiles, File, Given, Listen, Texts, Tls};
use super::secrets::Here;
use super::values::LOOPBACK;
use crate::certs;
use crate::serve::Peers;

/// The checked network settings.
#[derive(Clone, Debug)]
pub(super) struct Network {
    pub(super) tls: certs::Settings,
    pub(super) tls_at: Position,
    pub(super) listen: Vec<SocketAddr>,
    pub(super) redirect: Vec<SocketAddr>,
    pub(super) peers: Peers,
    pub(super) trusted_proxies: Vec<IpNet>,
    pub(super) published_on_loopback: bool,
}

impl Network {
    pub(super) const fn tls_is_off(&self) -> bool {
        matches!(self.tls, certs::Settings::Off)
    }

    pub(super) fn listens_on_loopback_only(&self) -> bool {
        self.listen.iter().chain(&self.redirect).all(|address| address.ip().is_loopback())
    }

    /// Whether `url`'s https, if it is, ends here or at somebody we know.
    pub(super) fn serves(&self, url: &url::Url) -> bool {
        match url.scheme() {
            "https" => !self.tls_is_off() || !self.trusted_proxies.is_empty(),
            _ => self.tls_is_off(),
        }
    }
}

/// Checks the four keys together.
pub(super) fn check(
    raw: &File,
    issuer: Option<&Issuer>,
    here: Here<'_>,
    findings: &mut Findings,
) -> Option<Network> {
    let tls = tls(raw.tls.as_ref(), here, findings);
    let trusted_proxies = proxies(raw.trusted_proxies.as_ref(), findings);
    let published_on_loopback = raw.published_on_loopback.as_ref().map_or(Some(false), |given| given.value);
    let empty = Listen::default();
    let listen = raw.listen.as_ref().map_or(Some(&empty), |given| given.value.as_ref())?;
    let https = addresses(listen.https.as_ref(), findings);
    let http = addresses(listen.http.as_ref(), findings);
    let (Certificates { mut settings, at: tls_at, choice }, published_on_loopback) =
        (tls?, published_on_loopback?);
    let front = Front { issuer, published_on_loopback };
    let (listen, redirect) = if matches!(settings, certs::Settings::Off) {
        if let Some(given) = &listen.https {
            findings
                .refuse(given.at, "nothing is served by TLS with `tls: off`; write the address as `http`");
        }
        (front.plain(http?, tls_at, findings)?, Vec::new())
    } else {
        front.encrypted(https?, http?, findings)
    };
    if let (certs::Settings::Acme(acme), Some(choice)) = (&mut settings, choice) {
        acme.challenges = acme::answerable(&choice, !redirect.is_empty(), findings);
    }
    if published_on_loopback
        && let (Some(published), Some(_)) = (&raw.published_on_loopback, raw.trusted_proxies.as_ref())
    {
        let text =
            "`published_on_loopback` and `trusted_proxies` exclude each other; keep the one that is true";
        findings.refuse(published.at, text);
    }
    let mut network = Network {
        tls: settings,
        tls_at,
        listen,
        redirect,
        peers: Peers::Anybody,
        trusted_proxies: trusted_proxies?,
        published_on_loopback,
    };
    network.peers = peers(&network, findings)?;
    Some(network)
}

fn peers(network: &Network, findings: &mut Findings) -> Option<Peers> {
    if network.published_on_loopback {
        Some(Peers::LoopbackAndDefaultGateway)
    } else if !network.tls_is_off() {
        Some(Peers::Anybody)
    } else if !network.trusted_proxies.is_empty() {
        Some(Peers::Networks(network.trusted_proxies.clone()))
    } else if network.listens_on_loopback_only() {
        Some(Peers::Loopback)
    } else {
        let text = "with `tls: off` anybody on the network could read tokens; write listen: { http: localhost:8080 }, or \
                    trusted_proxies: [ADDRESS] for what terminates TLS in front, or published_on_loopback: true in a \
                    container whose port is published on 127.0.0.1";
        findings.refuse(network.tls_at, text);
        None
    }
}

/// `tls`, checked by itself.
struct Certificates {
    settings: certs::Settings,
    at: Position,
    /// Of ACME.
    choice: Option<acme::Choice>,
}

fn tls(field: Option<&Given<Tls>>, here: Here<'_>, findings: &mut Findings) -> Option<Certificates> {
    const WAYS: &str = "write tls: { acme: { email: you@YOUR-DOMAIN } }, tls: { files: [{ certificate: FILE, key: FILE }] }, \
                        tls: { local_ca: FOLDER } or tls: off";
    let Some(Given { at, value }) = field else {
        findings.refuse(Position::start(0), format!("`tls` is missing; {WAYS}"));
        return None;
    };
    let (at, raw) = (*at, value.as_ref()?);
    let found = |settings| Some(Certificates { settings, at, choice: None });
    let refused = match (&raw.word, &raw.files, &raw.local_ca, &raw.acme) {
        (Some(word), ..) => match word.value.as_deref()? {
            "off" | "false" => return found(certs::Settings::Off),
            "acme" | "auto" | "letsencrypt" => {
                "`acme` is no word but a section; write tls: { acme: { email: you@YOUR-DOMAIN } }".into()
            }
            other => format!("`{other}` is no way to have certificates; {WAYS}"),
        },
        (None, Some(files), None, None) => {
            return found(certs::Settings::Files(certificates(files, here, findings)?));
        }
        (None, None, Some(folder), None) => {
            return found(certs::Settings::LocalCa { directory: here.path(folder.value.as_deref()?) });
        }
        (None, None, None, Some(given)) => {
            let (settings, choice) = acme::check(given, here, findings)?;
            return Some(Certificates {
                settings: certs::Settings::Acme(settings),
                at,
                choice: Some(choice),
            });
        }
        (None, None, None, None) => format!("`tls` is empty; {WAYS}"),
        (None, ..) => "`acme`, `files` and `local_ca` exclude each other; keep one".into(),
    };
    findings.refuse(at, refused);
    None
}

fn certificates(
    files: &Given<Vec<Given<CertificateFiles>>>,
    here: Here<'_>,
    findings: &mut Findings,
) -> Option<Vec<certs::CertificateFiles>> {
    let given = files.value.as_ref()?;
    if given.is_empty() {
        findings.refuse(files.at, "`files` is empty; write [{ certificate: FILE, key: FILE }]");
    }
    let mut pairs = Vec::new();
    for Given { at, value } in given {
        let Some(pair) = value else { continue };
        for (name, field) in [("certificate", &pair.certificate), ("key", &pair.key)] {
            if field.is_none() {
                findings.refuse(
                    *at,
                    format!("`{name}` is missing; write both, {{ certificate: FILE, key: FILE }}"),
                );
            }
        }
        let certificate = pem(pair.certificate.as_ref(), here, findings);
        let key = pem(pair.key.as_ref(), here, findings);
        if let (Some(certificate), Some(key)) = (certificate, key) {
            pairs.push(certs::CertificateFiles { certificate, key });
        }
    }
    (!pairs.is_empty()).then_some(pairs)
}

/// The path of a file that is there and can be read.
pub(super) fn pem(field: Option<&Given<String>>, here: Here<'_>, findings: &mut Findings) -> Option<PathBuf> {
    let Given { at, value } = field?;
    let path = here.path(value.as_deref()?);
    match here.surroundings.read(&path) {
        Ok(_) => Some(path),
        Err(error) => {
            let shown = path.display();
            let text = format!("{shown} cannot be read ({error}); write a file that is there and readable");
            findings.refuse(*at, text);
            None
        }
    }
}

/// The trusted networks; `None` if one of them is refused.
fn proxies(field: Option<&Given<Texts>>, findings: &mut Findings) -> Option<Vec<IpNet>> {
    let Some(given) = field else { return Some(Vec::new()) };
    let entries = given.value.as_ref()?;
    if entries.is_empty() {
        findings.refuse(
            given.at,
            "`trusted_proxies` is empty; write an address or network, or take the key away",
        );
        return None;
    }
    let read = |entry: &Given<String>| match proxy(entry.value.as_deref()?) {
        Ok(network) => Some(network),
        Err(text) => {
            findings.refuse(entry.at, text);
            None
        }
    };
    let networks: Vec<_> = entries.iter().map(read).collect();
    networks.into_iter().collect()
}

fn proxy(text: &str) -> Result<IpNet, String> {
    match text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from)) {
        None => Err(format!("`{text}` is neither address nor network; write 10.0.0.5 or 10.0.0.0/8")),
        Some(network) if network.prefix_len() == 0 => Err(format!(
            "`{text}` trusts everybody to say who they are; write the proxy's own address or network"
        )),
        Some(network) if network.trunc() != network => {
            Err(format!("`{text}` has bits beyond its prefix; write {}", network.trunc()))
        }
        Some(network) => Ok(network),
    }
}

/// What the defaults of `listen` depend on.
struct Front<'a> {
    issuer: Option<&'a Issuer>,
    published_on_loopback: bool,
}

impl Front<'_> {
    /// The issuer's port where it alone is reached: on loopback, or on all addresses of a container.
    fn own_port(&self) -> Option<Vec<SocketAddr>> {
        let issuer = self.issuer.filter(|issuer| issuer.is_loopback())?;
        let port = issuer.url.port_or_known_default()?;
        Some(if self.published_on_loopback {
            vec![SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port)]
        } else {
            LOOPBACK.map(|ip| SocketAddr::new(ip, port)).to_vec()
        })
    }

    /// The listeners with `tls: off`.
    fn plain(
        &self,
        http: Option<Vec<SocketAddr>>,
        tls: Position,
        findings: &mut Findings,
    ) -> Option<Vec<SocketAddr>> {
        let listen = http.or_else(|| self.own_port()).filter(|listen| !listen.is_empty());
        // With the issuer refused, it is not known whether its port would do.
        if listen.is_none() && self.issuer.is_some() {
            findings.refuse(
                tls,
                "`listen.http` is missing; with `tls: off` write listen: { http: localhost:8080 }",
            );
        }
        listen
    }

    /// The listeners with TLS, and where http is redirected to it: port 80 beside port 443.
    fn encrypted(
        &self,
        https: Option<Vec<SocketAddr>>,
        http: Option<Vec<SocketAddr>>,
        findings: &mut Findings,
    ) -> (Vec<SocketAddr>, Vec<SocketAddr>) {
        let everywhere = || vec![SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 443)];
        let https = https.or_else(|| self.own_port()).unwrap_or_else(everywhere);
        if https.is_empty() {
            findings.refuse(
                Position::start(0),
                "`listen.https` is an empty list; write listen: { https: \":443\" }",
            );
        }
        let beside =
            || https.iter().filter(|a| a.port() == 443).map(|a| SocketAddr::new(a.ip(), 80)).collect();
        let http = http.unwrap_or_else(beside);
        (https, http)
    }
}

/// The addresses of a listener; `None` if it is refused, `Some(None)` if it is absent.
#[expect(clippy::option_option, reason = "refused and absent are different, and no third thing")]
pub(super) fn addresses(
    field: Option<&Given<Texts>>,
    findings: &mut Findings,
) -> Option<Option<Vec<SocketAddr>>> {
    let Some(given) = field else { return Some(None) };
    let mut all: Vec<SocketAddr> = Vec::new();
    let mut good = true;
    for entry in given.value.as_ref()? {
        match entry.value.as_deref().map(address) {
            Some(Ok(found)) if found.iter().any(|one| all.contains(one) && one.port() != 0) => {
                findings.refuse(entry.at, "this address stands here a second time; keep one");
            }
            Some(Ok(found)) => {
                all.extend(found);
                continue;
            }
            Some(Err(text)) => findings.refuse(entry.at, text),
            None => {}
        }
        good = false;
    }
    good.then_some(Some(all))
}

/// The socket addresses of `host:port`; `localhost` is both loopback addresses, no host every address.
fn address(text: &str) -> Result<Vec<SocketAddr>, String> {
    const FORMS: &str = "write :443, localhost:8080, 10.0.0.5:443 or [::]:443";
    if let Ok(address) = text.parse() {
        return Ok(vec![address]);
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return Err(format!("`{text}` is no address to listen on; {FORMS}"));
    };
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let Some(port) = digits.then(|| port.parse::<u16>().ok()).flatten() else {
        return Err(format!("`{text}` has no port from 0 to 65535; {FORMS}"));
    };
    match host {
        "" | "*" => Ok(vec![SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port)]),
        "localhost" => Ok(LOOPBACK.map(|ip| SocketAddr::new(ip, port)).to_vec()),
        _ if host.parse::<Ipv6Addr>().is_ok() => {
            Err(format!("`{text}` lacks brackets; write [{host}]:{port}"))
        }
        _ => Err(format!("`{host}` is no address of this machine; {FORMS}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listener_addresses() {
        let shown =
            |text| address(text).map(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
        assert_eq!(shown(":443").as_deref(), Ok("[::]:443"));
        assert_eq!(shown("localhost:8080").as_deref(), Ok("127.0.0.1:8080 [::1]:8080"));
        assert_eq!(shown("10.0.0.5:1").as_deref(), Ok("10.0.0.5:1"));
        assert_eq!(shown("[::1]:0").as_deref(), Ok("[::1]:0"));
        for wrong in [
            "443",
            "localhost",
            "localhost:",
            "localhost:+80",
            ":65536",
            "::1:80",
            "example.com:443",
            ":",
            "",
            "é:1",
        ] {
            assert!(address(wrong).is_err(), "{wrong}");
        }
    }
}
