//! The authorization server's metadata (RFC 8414): where it is, whether it is that of the issuer that was named, and whether clients
//! can register and sign in by what it says.

use serde_json::Value;
use url::Url;

use super::probe::{self, Probe};
use super::resource::Resource;
use super::{View, reach, trust};
use crate::doctor::web::{Answer, Ask};
use crate::doctor::{Remedy, Trial};
use crate::host::is_loopback_url;
use crate::trouble::Trouble;

/// An authorization server, by its metadata.
#[derive(Clone, Debug)]
pub(super) struct Authority {
    /// Where the metadata was.
    pub(super) at: Url,
    /// As it was named, byte by byte.
    pub(super) issuer: String,
    /// The metadata.
    pub(super) document: Value,
    /// What clients would ask for.
    pub(super) scope: Option<String>,
    /// What clients send as `resource`.
    pub(super) resource: String,
    /// Endpoints that are named and must not be asked.
    pub(super) refused: Vec<&'static str>,
}

impl Authority {
    /// A URL of the metadata, if it may be asked.
    pub(super) fn endpoint(&self, name: &str) -> Option<Url> {
        if self.refused.contains(&name) {
            return None;
        }
        Url::parse(self.text(name)?).ok()
    }

    /// A text of the metadata.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.document.get(name)?.as_str()
    }

    /// Whether the list of that name has this value; `None` if there is no list.
    pub(super) fn lists(&self, name: &str, value: &str) -> Option<bool> {
        let list = self.document.get(name)?.as_array()?;
        Some(list.iter().any(|one| one.as_str() == Some(value)))
    }

    /// Whether it says so.
    pub(super) fn says(&self, name: &str) -> bool {
        self.document.get(name).and_then(Value::as_bool) == Some(true)
    }

    /// Who it is, for people.
    pub(super) fn host(&self) -> String {
        Url::parse(&self.issuer).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default()
    }
}

/// Where clients look, in their order, and how it is called.
pub(super) fn places(issuer: &Url) -> Vec<(&'static str, Url)> {
    let path = issuer.path().trim_end_matches('/').to_owned();
    let at = |path: String| {
        let mut place = issuer.clone();
        place.set_query(None);
        place.set_fragment(None);
        place.set_path(&path);
        place
    };
    let mut places = vec![
        ("inserted, OAuth", at(format!("/.well-known/oauth-authorization-server{path}"))),
        ("inserted, OpenID", at(format!("/.well-known/openid-configuration{path}"))),
    ];
    if !path.is_empty() {
        places.push(("appended, OpenID", at(format!("{path}/.well-known/openid-configuration"))));
        places.push(("at the root, OAuth", at("/.well-known/oauth-authorization-server".to_owned())));
    }
    places
}

/// Fetches metadata as clients do.
pub(super) fn ask(place: &Url) -> Ask {
    Ask::get(place).header("accept", "application/json").header("mcp-protocol-version", probe::LEGACY)
}

/// The first of the documents that is one.
pub(super) async fn find(
    view: &View<'_>,
    issuer: &Url,
) -> Result<(&'static str, Url, Value, Probe), Vec<Probe>> {
    let mut failed = Vec::new();
    for (name, place) in places(issuer) {
        let probe = probe::probe(view, ask(&place), "").await;
        let document = probe.answer().filter(|answer| answer.status == http::StatusCode::OK);
        match document.and_then(Answer::json).filter(|document| document.get("issuer").is_some()) {
            Some(document) => return Ok((name, place, document, probe)),
            None => failed.push(probe),
        }
    }
    Err(failed)
}

/// Clients of before 2025-06 look for the authorization server's metadata at the MCP server itself; whether there is some.
pub(super) async fn without_resource(view: &View<'_>) {
    let mut origin = view.url.clone();
    origin.set_path("/");
    origin.set_query(None);
    let found = find(view, &origin).await.is_ok();
    let because = if found {
        "there is no protected resource metadata; clients of before 2025-06 do find an authorization server at the MCP server itself"
    } else {
        "there is no protected resource metadata that names an issuer"
    };
    view.not_tried(&[Trouble::IssuerMismatch], because);
}

/// Finds the metadata of the issuer that `resource` names, and judges it.
pub(super) async fn examine(view: &View<'_>, resource: &Resource) -> Option<Authority> {
    let trial = |found: &str| Trial::new(format!("GET {}", resource.at), found.to_owned());
    let Some(issuer) = Url::parse(&resource.issuer).ok().filter(Url::has_host) else {
        let cause = format!("`authorization_servers` names {:?}, which is no URL.", resource.issuer);
        let fix = ["Name the issuer as a URL: `\"authorization_servers\": [\"https://auth.example.com\"]`."];
        view.examination.bad(
            Trouble::IssuerMismatch,
            view.subject,
            trial(&resource.issuer),
            Remedy::new(cause, fix),
        );
        return None;
    };
    if trust::leads_inside(view, &issuer).await {
        let cause = format!(
            "A server of the internet names {issuer} as authorization server, and {}. It was not asked.",
            trust::INSIDE
        );
        let fix = [
            "Name the issuer as everybody reaches it: `\"authorization_servers\": [\"https://auth.example.com\"]`.",
        ];
        let trial = trial(&resource.issuer);
        view.examination.bad(Trouble::IssuerMismatch, view.subject, trial, Remedy::new(cause, fix));
        return None;
    }
    if issuer.origin() != view.url.origin() {
        let subject = issuer.host_str().unwrap_or_default().to_owned();
        let there = View { url: &issuer, subject: &subject, ..*view };
        if let Err(because) = reach::examine_host(&there).await {
            view.not_tried(&[Trouble::IssuerMismatch], &because);
            return None;
        }
    }
    view.examination.begins(&format!("fetching the metadata of {issuer}"));
    let (how, at, document, probe) = match find(view, &issuer).await {
        Ok(found) => found,
        Err(failed) => {
            absent(view, resource, &failed);
            return None;
        }
    };
    let mut authority = Authority {
        at,
        issuer: resource.issuer.clone(),
        document,
        scope: None,
        resource: resource.named.clone(),
        refused: Vec::new(),
    };
    compare(view, (&probe, how), &authority);
    trust::examine(view, &mut authority).await;
    ports(view, &probe, &authority);
    Some(authority)
}

fn absent(view: &View<'_>, resource: &Resource, failed: &[Probe]) {
    let tried: Vec<_> = failed.iter().map(|probe| probe.tried.clone()).collect();
    let found: Vec<_> = failed.iter().map(Probe::found).collect();
    let trial = Trial::new(tried.join("; "), found.join("; "));
    let cause = format!(
        "{} is named as authorization server and has no metadata: clients do not know where to sign in.",
        resource.issuer
    );
    let place =
        failed.first().map(|probe| probe.tried.trim_start_matches("GET ").to_owned()).unwrap_or_default();
    let fix = [
        format!("`{place}` must answer 200 with JSON (RFC 8414), and let a proxy in front pass it."),
        format!("Or name the right issuer under `authorization_servers` in {}.", resource.at),
    ];
    let remedy = Remedy::new(cause, fix).shown(&[("Claude", "Couldn't reach the MCP server")]);
    view.examination.bad(Trouble::IssuerMismatch, view.subject, trial, remedy);
}

fn compare(view: &View<'_>, (probe, how): (&Probe, &str), authority: &Authority) {
    let said = authority.text("issuer").unwrap_or_default();
    let trial = Trial::new(probe.tried.as_str(), format!("\"issuer\": \"{said}\" ({how})"));
    if said != authority.issuer {
        let slash = said.trim_end_matches('/') == authority.issuer.trim_end_matches('/');
        let what = if slash { "a slash at the end" } else { "more than a slash" };
        let who = if slash {
            "the Python SDK stops; rmcp and the TypeScript SDK forgive the slash"
        } else {
            "every strict client stops, for it looks like another server in the right one's place (RFC 8414 §3.3)"
        };
        let cause = format!(
            "The metadata of {} says that its issuer is {said}: they differ by {what}; {who}.",
            authority.issuer
        );
        let fix = [
            format!(
                "Make them the same bytes: either `\"issuer\": \"{}\"` in the metadata,",
                authority.issuer
            ),
            format!("or `\"authorization_servers\": [\"{said}\"]` in the protected resource metadata."),
        ];
        let mut remedy = Remedy::new(cause, fix);
        if slash {
            remedy = remedy.shown(&[("Python SDK", "stops with an issuer mismatch")]);
        }
        return view.examination.bad(Trouble::IssuerMismatch, view.subject, trial, remedy);
    }
    if !authority.says("authorization_response_iss_parameter_supported") {
        let trial =
            Trial::new(trial.tried, format!("{}, as it should be; no `iss` is promised", trial.found));
        let cause = "The issuer is right; the authorization server does not say that it sends `iss` with its answers (RFC 9207): clients of several servers cannot tell whose answer it is; ChatGPT makes a redirect URI of its own for each such server.";
        let fix = ["Send `iss`, and say so: `\"authorization_response_iss_parameter_supported\": true`."];
        return view.examination.remark(
            Trouble::IssuerMismatch,
            view.subject,
            trial,
            Remedy::new(cause, fix),
        );
    }
    view.examination.good(Trouble::IssuerMismatch, view.subject, trial);
}

/// What clients ask, or send browsers to.
pub(super) const ENDPOINTS: [&str; 4] =
    ["authorization_endpoint", "token_endpoint", "registration_endpoint", "revocation_endpoint"];

/// Claude asks the authorization server, too, on port 443 only.
fn ports(view: &View<'_>, probe: &Probe, authority: &Authority) {
    let odd = |name: &&str| {
        let url = authority.endpoint(name)?;
        let odd = url.port_or_known_default() != Some(443) && !is_loopback_url(&url);
        odd.then(|| format!("{name} is {url}"))
    };
    let odd: Vec<_> = ENDPOINTS.iter().filter_map(odd).collect();
    if odd.is_empty() {
        return;
    }
    let trial = Trial::new(probe.tried.as_str(), odd.join("; "));
    let cause = "Claude connects to port 443 only, of the authorization server as of the MCP server.";
    let fix = ["Let the authorization server listen on port 443, and name its endpoints without a port."];
    view.examination.bad(Trouble::Port443, &authority.host(), trial, Remedy::new(cause, fix));
}

/// Whether clients can register and sign in by what the metadata says.
pub(super) fn registrable(view: &View<'_>, authority: &Authority) {
    let by_request = authority.text("registration_endpoint").is_some();
    let by_document = authority.says("client_id_metadata_document_supported");
    let public = authority.lists("token_endpoint_auth_methods_supported", "none");
    let pkce = authority.lists("code_challenge_methods_supported", "S256");
    let how = match (by_request, by_document) {
        (true, true) => "registration_endpoint, and Client ID Metadata Documents",
        (true, false) => "registration_endpoint",
        (false, true) => "Client ID Metadata Documents",
        (false, false) => "neither registration_endpoint nor client_id_metadata_document_supported",
    };
    let trial = |found: &str| Trial::new(format!("GET {}", authority.at), found.to_owned());
    let say = |found: &str, remedy: Remedy| {
        view.examination.bad(Trouble::NoRegistration, view.subject, trial(found), remedy);
    };
    let bad = |found: &str, cause: &str, fix: &str| say(found, Remedy::new(cause, [fix]));
    if !(by_request || by_document) {
        return bad(
            how,
            "The authorization server lets no client register: every one must be entered by hand, and most cannot be.",
            "Turn on dynamic client registration (RFC 7591), or Client ID Metadata Documents, at the authorization server; or put the MCP server behind Portcullis, which has both.",
        );
    }
    if pkce != Some(true) {
        let remedy = Remedy::new(
            "The metadata does not say that PKCE with S256 is understood: Claude and the TypeScript SDK stop there (MCP requires it).",
            [
                "Add `\"code_challenge_methods_supported\": [\"S256\"]` to the metadata, and check the challenge at the token endpoint.",
            ],
        );
        let shown = [
            ("TypeScript SDK", "Incompatible auth server: does not support code challenge method S256"),
            ("Claude", "Couldn't reach the MCP server"),
        ];
        return say("code_challenge_methods_supported without S256", remedy.shown(&shown));
    }
    if public != Some(true) && !by_request {
        return bad(
            "Client ID Metadata Documents, and token_endpoint_auth_methods_supported without none",
            "Clients that name themselves by a document have no secret; Claude does not begin where `none` is not listed.",
            "Add `none` to `token_endpoint_auth_methods_supported`, and let public clients redeem codes with PKCE alone.",
        );
    }
    if public != Some(true) {
        let cause = "Public clients are not provided for (`none` is not among token_endpoint_auth_methods_supported): clients on people's computers are given secrets that are none.";
        let fix = ["Add `none` to `token_endpoint_auth_methods_supported`, with PKCE for all."];
        return view.examination.remark(
            Trouble::NoRegistration,
            view.subject,
            trial(how),
            Remedy::new(cause, fix),
        );
    }
    view.examination.good(Trouble::NoRegistration, view.subject, trial(&format!("{how}; none; S256")));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_looked_for_where_clients_do() {
        let of = |issuer: &str| {
            let places = places(&Url::parse(issuer).unwrap());
            places.into_iter().map(|(_, place)| place.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(
            of("https://a.example"),
            [
                "https://a.example/.well-known/oauth-authorization-server",
                "https://a.example/.well-known/openid-configuration"
            ]
        );
        assert_eq!(
            of("https://a.example/t/1/"),
            [
                "https://a.example/.well-known/oauth-authorization-server/t/1",
                "https://a.example/.well-known/openid-configuration/t/1",
                "https://a.example/t/1/.well-known/openid-configuration",
                "https://a.example/.well-known/oauth-authorization-server",
            ]
        );
    }
}
