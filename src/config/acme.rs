//! `tls.acme`: certificates from a certificate authority that speaks ACME (RFC 8555).

use url::{Host, Url};

use super::network::{Network, pem};
use super::problem::{Findings, Position};
use super::raw::{Acme, ExternalAccount, Given};
use super::secrets::{Here, Pair, secret};
use super::values::{is_loopback, web_url};
use crate::certs::{self, AcmeSettings, ChallengeKind, Directory, ExternalAccountBinding};
use crate::secret::base64url_bytes;

/// Checks `tls.acme`. Which challenges can be answered is left open: it depends on the listeners.
pub(super) fn check(
    given: &Given<Acme>,
    here: Here<'_>,
    findings: &mut Findings,
) -> Option<(AcmeSettings, Choice)> {
    let raw = given.value.as_ref()?;
    let email = email(given.at, raw.email.as_ref(), findings);
    let directory = directory(raw.directory.as_ref(), findings);
    let roots = raw.ca_file.as_ref().map(|file| pem(Some(file), here, findings));
    let binding = raw.eab.as_ref().map(|eab| binding(eab, here, findings));
    let choice = choice(raw.challenge.as_ref(), findings);
    let profile = raw.profile.as_ref().map(|profile| profile.value.clone());
    let choice = choice?;
    let settings = AcmeSettings {
        email: email?,
        directory: directory?,
        roots: present(roots)?,
        binding: present(binding)?,
        profile: present(profile)?,
        challenges: choice.kinds.to_vec(),
    };
    Some((settings, choice))
}

/// A key that may be absent, unless what it says was refused.
#[expect(clippy::option_option, reason = "refused and absent are different, and no third thing")]
fn present<T>(field: Option<Option<T>>) -> Option<Option<T>> {
    field.map_or(Some(None), |value| value.map(Some))
}

/// Which challenges somebody wants to be used, and where they said so.
pub(super) struct Choice {
    at: Option<Position>,
    kinds: &'static [ChallengeKind],
}

/// The challenges that can be answered with these listeners.
pub(super) fn answerable(choice: &Choice, plain_http: bool, findings: &mut Findings) -> Vec<ChallengeKind> {
    let possible = |kind: &&ChallengeKind| plain_http || **kind != ChallengeKind::Http01;
    let kinds: Vec<_> = choice.kinds.iter().filter(possible).copied().collect();
    if let (true, Some(at)) = (kinds.is_empty(), choice.at) {
        findings.refuse(
            at,
            "http-01 is answered on port 80, and nothing listens there; write listen: { http: \":80\" }, or \
             challenge: tls-alpn-01",
        );
    }
    kinds
}

/// Names for which Let's Encrypt, like every public authority, has no certificates.
pub(super) fn names(network: &Network, hosts: &[String], findings: &mut Findings) {
    let certs::Settings::Acme(settings) = &network.tls else { return };
    if !settings.directory.is_lets_encrypt() {
        return;
    }
    for host in hosts.iter().filter(|host| !is_public(host)) {
        findings.refuse(
            network.tls_at,
            format!(
                "Let's Encrypt has no certificates for {host}, which is no name on the internet; write tls: {{ local_ca: FOLDER }} to \
                 develop, or the directory of your own ACME server"
            ),
        );
    }
}

pub(super) fn is_public(host: &str) -> bool {
    const PRIVATE: [&str; 7] = ["localhost", "local", "internal", "test", "invalid", "example", "onion"];
    match Host::parse(host) {
        Ok(Host::Domain(name)) => {
            let last = name.trim_end_matches('.').rsplit_once('.').map(|(_, last)| last.to_ascii_lowercase());
            last.is_some_and(|last| !PRIVATE.contains(&last.as_str()))
        }
        Ok(Host::Ipv4(address)) => crate::fetch::is_public(address.into()),
        Ok(Host::Ipv6(address)) => crate::fetch::is_public(address.into()),
        Err(_) => host.parse().is_ok_and(crate::fetch::is_public),
    }
}

pub(super) fn email(
    section: Position,
    given: Option<&Given<String>>,
    findings: &mut Findings,
) -> Option<String> {
    let Some(given) = given else {
        let text =
            "`email` is missing; write email: you@YOUR-DOMAIN, where the certificate authority can reach you";
        findings.refuse(section, text);
        return None;
    };
    let text = given.value.as_deref()?;
    let bare = text.strip_prefix("mailto:").unwrap_or(text);
    let good = bare
        .split_once('@')
        .is_some_and(|(user, domain)| !user.is_empty() && !domain.is_empty() && !domain.contains('@'))
        && bare.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',' && byte != b'?');
    if !good {
        findings
            .refuse(given.at, format!("`{text}` is no e-mail address; write one, such as you@YOUR-DOMAIN"));
    }
    good.then(|| bare.to_owned())
}

fn directory(given: Option<&Given<String>>, findings: &mut Findings) -> Option<Directory> {
    let Some(given) = given else { return Some(Directory::LetsEncrypt) };
    match given.value.as_deref()? {
        "letsencrypt" => Some(Directory::LetsEncrypt),
        "letsencrypt-staging" => Some(Directory::LetsEncryptStaging),
        word if !word.contains(':') => {
            findings.refuse(
                given.at,
                format!("`{word}` is no directory; write letsencrypt, letsencrypt-staging, or the https URL of an ACME directory"),
            );
            None
        }
        _ => {
            let url: Url = web_url("directory", given, "https", findings)?;
            if url.scheme() == "http" && !is_loopback(&url) {
                findings.refuse(
                    given.at,
                    "`directory` is plain http, where anybody on the way could change it; write https://...",
                );
                return None;
            }
            Some(Directory::Url(url.to_string()))
        }
    }
}

fn binding(
    given: &Given<ExternalAccount>,
    here: Here<'_>,
    findings: &mut Findings,
) -> Option<ExternalAccountBinding> {
    let raw = given.value.as_ref()?;
    if raw.kid.is_none() {
        findings
            .refuse(given.at, "`kid` is missing; write the key id that your certificate authority gave you");
    }
    let pair = Pair {
        name: "key",
        value: &raw.key,
        file: &raw.key_file,
        section: given.at,
        example: "key: ${ACME_EAB_KEY}, the HMAC key that your certificate authority gave you",
    };
    let key = secret(&pair, here, findings)?;
    let (at, key) = (key.at, key.value?);
    if base64url_bytes(key.expose().trim_end_matches('=')).is_none() {
        findings
            .refuse(at, "the HMAC key is not in base64url; write it as your certificate authority shows it");
        return None;
    }
    Some(ExternalAccountBinding { kid: raw.kid.as_ref()?.value.clone()?, key })
}

fn choice(given: Option<&Given<String>>, findings: &mut Findings) -> Option<Choice> {
    use ChallengeKind::{Http01, TlsAlpn01};
    let Some(given) = given else { return Some(Choice { at: None, kinds: &[TlsAlpn01, Http01] }) };
    let kinds: &[ChallengeKind] = match given.value.as_deref()? {
        "auto" => &[TlsAlpn01, Http01],
        "http-01" => &[Http01],
        "tls-alpn-01" => &[TlsAlpn01],
        other => {
            let instead = if other == "dns-01" { " (dns-01 is not answered here)" } else { "" };
            findings.refuse(
                given.at,
                format!("`{other}` is no challenge{instead}; write auto, http-01 or tls-alpn-01"),
            );
            return None;
        }
    };
    Some(Choice { at: Some(given.at), kinds })
}
