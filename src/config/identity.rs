//! `identity`: who signs people in, and the troubles of GitHub's credentials that can be seen before anybody tries.

use url::Url;

use super::access::Provider;
use super::issuer::Issuer;
use super::network::Network;
use super::problem::{Findings, Position};
use super::raw::{File, GitHub, Given};
use super::secrets::{Here, Pair, secret};
use super::values::{is_loopback, web_url};
use crate::identity::{GitHubSettings, Settings};
use crate::trouble::Trouble;

const CHOICE: &str = "write identity: { github: { client_id: ..., client_secret: ... } }, or identity: { dev: {} } to try \
                      things out on this machine";

/// Which provider is meant, as far as that can be told before it is checked.
pub(super) fn provider(raw: &File) -> Option<Provider> {
    let identity = raw.identity.as_ref()?.value.as_ref()?;
    match (&identity.github, &identity.dev) {
        (Some(_), None) => Some(Provider::GitHub),
        (None, Some(_)) => Some(Provider::Dev),
        (Some(_), Some(_)) | (None, None) => None,
    }
}

/// Checks `identity`.
pub(super) fn check(raw: &File, here: Here<'_>, findings: &mut Findings) -> Option<Settings> {
    let Some(given) = &raw.identity else {
        findings.refuse(Position::start(0), format!("`identity` is missing; {CHOICE}"));
        return None;
    };
    let identity = given.value.as_ref()?;
    match (&identity.github, &identity.dev) {
        (Some(github), None) => settings(github, here, findings).map(Settings::GitHub),
        (None, Some(_)) => Some(Settings::Dev),
        (Some(_), Some(dev)) => {
            findings.refuse(dev.at, "`github` and `dev` exclude each other; keep one");
            None
        }
        (None, None) => {
            findings.refuse(given.at, format!("`identity` names no provider; {CHOICE}"));
            None
        }
    }
}

fn settings(given: &Given<GitHub>, here: Here<'_>, findings: &mut Findings) -> Option<GitHubSettings> {
    let raw = given.value.as_ref()?;
    if raw.client_id.is_none() {
        findings.refuse(
            given.at,
            "`client_id` is missing; write client_id: ${GITHUB_CLIENT_ID}, of your OAuth app at GitHub",
        );
    }
    let pair = Pair {
        name: "client_secret",
        value: &raw.client_secret,
        file: &raw.client_secret_file,
        section: given.at,
        example: "client_secret: ${GITHUB_CLIENT_SECRET}",
    };
    let client_secret = secret(&pair, here, findings);
    let web = base("web_url", raw.web_url.as_ref(), findings);
    let api = base("api_url", raw.api_url.as_ref(), findings);
    if let (None, Some(api)) = (&raw.web_url, &raw.api_url) {
        findings.refuse(api.at, "`api_url` stands here without `web_url`; write both, or `web_url` alone");
    }
    let (web, api) = (web?, api?);
    let client_id = raw.client_id.as_ref().filter(|given| given.value.is_some());
    if let (Some(id), Some(secret), None) = (client_id, &client_secret, &web) {
        remark_odd(id, secret, findings);
    }
    let (id, secret) = (client_id?.value.clone()?, client_secret?.value?);
    let web = web.or_else(|| Url::parse("https://github.com").ok())?;
    let api = api.or_else(|| api_of(&web))?;
    Some(GitHubSettings { client_id: id, client_secret: secret, web, api })
}

/// A base URL of GitHub's; `None` if it is refused, `Some(None)` if it is absent.
#[expect(clippy::option_option, reason = "refused and absent are different, and no third thing")]
fn base(name: &str, field: Option<&Given<String>>, findings: &mut Findings) -> Option<Option<Url>> {
    let Some(given) = field else { return Some(None) };
    let mut url = web_url(name, given, "https", findings)?;
    if url.scheme() == "http" && !is_loopback(&url) {
        findings.refuse(given.at, format!("`{name}` would send secrets over plain http; write https://..."));
        return None;
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Some(Some(url))
}

/// Where the API of a GitHub is: `api.HOST` for github.com and its data-residency domains, else a path.
fn api_of(web: &Url) -> Option<Url> {
    let host = web.host_str()?;
    let mut api = web.clone();
    if host == "github.com" || host.ends_with(".ghe.com") {
        api.set_host(Some(&format!("api.{host}"))).ok()?;
    } else {
        api.set_path("/api/v3");
    }
    Some(api)
}

/// Says what looks wrong with the credentials of github.com (trouble `env-shape`): remarks, for GitHub may change their forms.
fn remark_odd(id: &Given<String>, secret: &Given<crate::secret::Secret>, findings: &mut Findings) {
    let (Some(id_text), Some(secret_text)) = (id.value.as_deref(), secret.value.as_ref()) else { return };
    let secret_text = secret_text.expose();
    let is_hex =
        |text: &str, length| text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_id = |text: &str| text.starts_with("Ov") || text.starts_with("Iv") || is_hex(text, 20);
    if is_hex(id_text, 40) && is_id(secret_text) {
        findings.remark_as(
            Trouble::EnvShape,
            id.at,
            "client_id and client_secret seem to be swapped; the id begins with Ov or Iv",
        );
        return;
    }
    if !is_id(id_text) {
        findings.remark_as(Trouble::EnvShape, id.at, "this does not look like a client id of GitHub; those begin with Ov or Iv, old ones have 20 hexadecimal digits");
    }
    if secret_text.starts_with("gh") || secret_text.starts_with("github_pat_") {
        findings.remark_as(
            Trouble::EnvShape,
            secret.at,
            "this is a token and not a client secret; make one in the OAuth app's settings",
        );
    } else if !is_hex(secret_text, 40) {
        findings.remark_as(
            Trouble::EnvShape,
            secret.at,
            "this does not look like a client secret of GitHub; those have 40 hexadecimal digits",
        );
    }
}

/// Refuses the `dev` identity wherever somebody else could reach it.
pub(super) fn check_dev(
    raw: &File,
    issuer: Option<&Issuer>,
    network: Option<&Network>,
    findings: &mut Findings,
) {
    let identity = raw.identity.as_ref().and_then(|given| given.value.as_ref());
    let Some(Given { at, .. }) = identity.and_then(|identity| identity.dev.as_ref()) else { return };
    if provider(raw) != Some(Provider::Dev) {
        return;
    }
    if let Some(issuer) = issuer.filter(|issuer| !issuer.is_loopback()) {
        let text = format!(
            "the dev identity lets anybody in under any name, so the issuer must be on this machine and not {}; write \
             issuer: http://localhost:8080, or identity: {{ github: ... }}",
            issuer.text
        );
        findings.refuse(*at, text);
        return;
    }
    let Some(network) = network else { return };
    if !network.trusted_proxies.is_empty() {
        findings.refuse(*at, "the dev identity stands behind no proxy; take trusted_proxies away, or write identity: { github: ... }");
    } else if !network.listens_on_loopback_only() && !network.published_on_loopback {
        let text = "the dev identity needs loopback listeners; write localhost:PORT under `listen`, or \
                    published_on_loopback: true in a container whose port is published on 127.0.0.1";
        findings.refuse(*at, text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_api_is_found_from_the_web_url() {
        for (web, api) in [
            ("https://github.com", "https://api.github.com/"),
            ("https://acme.ghe.com", "https://api.acme.ghe.com/"),
            ("https://git.example.com", "https://git.example.com/api/v3"),
        ] {
            assert_eq!(api_of(&Url::parse(web).unwrap()).unwrap().as_str(), api);
        }
    }
}
