//! `services`: each one alone, then all of them together: two must not claim one place, and none a place of ours.

use std::collections::{BTreeMap, HashMap};

use url::Url;

use super::access::{self, Provider, Rules};
use super::forward_auth;
use super::problem::{Findings, Position};
use super::raw::{Given, Service, Texts};
use super::service_limits;
use super::upstreams;
use super::values::{https, is_loopback, origin, origins, web_url};
use crate::gateway::{ServiceSettings, UserIdForm};
use crate::oauth::{Hierarchy, Resource, Scope, Scopes};
use crate::policy::AccessRules;

/// Our own endpoints at the issuer's host.
const AT_ISSUER: [&str; 14] = [
    "/.well-known",
    "/assets/app.css",
    "/authorize",
    "/callback",
    "/dev/login",
    "/disconnect",
    "/help",
    "/introspect",
    "/jwks",
    "/register",
    "/revoke",
    "/sign-in",
    "/sign-out",
    "/token",
];

/// Our own endpoints at every other service's host, for clients of the 2025-03-26 revision.
const AT_SERVICES: [&str; 3] = ["/authorize", "/register", "/token"];

/// A checked service, and where its URL stands.
#[derive(Clone, Debug)]
pub(super) struct Checked {
    pub(super) at: Position,
    pub(super) url_at: Position,
    /// Where the rules stand that let people in.
    pub(super) access_at: Position,
    pub(super) settings: ServiceSettings,
}

/// What services inherit.
#[derive(Clone, Copy)]
pub(super) struct Common<'a> {
    /// The top-level `access`.
    pub(super) access: Option<&'a Rules>,
    pub(super) provider: Option<Provider>,
}

/// Checks every service by itself; `None` for those that are refused.
pub(super) fn check(
    services: &BTreeMap<String, Given<Service>>,
    common: Common<'_>,
    findings: &mut Findings,
) -> Vec<Option<Checked>> {
    services.iter().map(|(name, given)| one(name, given, common, findings)).collect()
}

fn one(name: &str, given: &Given<Service>, common: Common<'_>, findings: &mut Findings) -> Option<Checked> {
    check_name(name, given.at, findings);
    let raw = given.value.as_ref()?;
    let url = public_url(name, given.at, raw.url.as_ref(), findings);
    let upstream = upstreams::check(given.at, raw, findings);
    let paths = paths(raw.paths.as_ref(), findings);
    let public = raw.public.as_ref().is_some_and(|public| public.value == Some(true));
    if public {
        refuse_beside_public(raw, findings);
    }
    let scopes = scopes(raw.scopes.as_ref(), findings);
    let implies = implies(raw, findings);
    let describe = describe(raw, scopes.as_ref().zip(implies.as_ref()), findings);
    let own = raw.access.as_ref().map(|given| access::rules(given, common.provider, findings));
    let rules = own.as_ref().or(common.access);
    let user_id = user_id(raw.user_id.as_ref(), findings);
    let origins = origins(raw.origins.as_ref(), findings);
    let limits = service_limits::check(raw, findings);
    let sse_keep_alive = service_limits::sse_keep_alive(raw, findings);
    let forward_auth = forward_auth::check(raw, findings);
    let (text, url) = url?;
    Some(Checked {
        at: given.at,
        url_at: raw.url.as_ref()?.at,
        access_at: rules.map_or(given.at, |rules| rules.at),
        settings: ServiceSettings {
            name: name.to_owned(),
            resource: Resource::from_canonical(text),
            url,
            paths: paths?,
            upstream: upstream?,
            scopes: scopes?,
            implies: implies?,
            describe: describe?,
            access: if public {
                AccessRules::default()
            } else {
                rules.map(|rules| rules.rules.clone()).unwrap_or_default()
            },
            public,
            forward_email: raw.forward_email.as_ref().is_some_and(|given| given.value == Some(true)),
            user_id: user_id?,
            origins,
            sse_keep_alive: sse_keep_alive?,
            limits: limits?,
            forward_auth,
        },
    })
}

pub(super) fn check_name(name: &str, at: Position, findings: &mut Findings) {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name.is_empty() || name.len() > 63 || name.starts_with('-') || !name.bytes().all(allowed) {
        let shown: String = name.chars().take(80).collect();
        findings.refuse(
            at,
            format!("`{shown}` is no name for a service; write lower-case letters, digits and hyphens"),
        );
    }
}

/// What only makes sense where it is known who calls.
fn refuse_beside_public(raw: &Service, findings: &mut Findings) {
    let present = [
        ("access", raw.access.as_ref().map(|given| given.at)),
        ("scopes", raw.scopes.as_ref().map(|given| given.at)),
        ("implies", raw.implies.as_ref().map(|given| given.at)),
        ("describe", raw.describe.as_ref().map(|given| given.at)),
        ("forward_email", raw.forward_email.as_ref().map(|given| given.at)),
        ("user_id", raw.user_id.as_ref().map(|given| given.at)),
    ];
    for (key, at) in present {
        if let Some(at) = at {
            let text =
                format!("`{key}` beside `public: true`, where nobody signs in; take one of the two away");
            findings.refuse(at, text);
        }
    }
}

/// `url` as written, which is how clients will compare it, and parsed.
fn public_url(
    name: &str,
    at: Position,
    field: Option<&Given<String>>,
    findings: &mut Findings,
) -> Option<(String, Url)> {
    let Some(given) = field else {
        let text = "`url` is missing; write url: https://HOST/mcp, what people paste into their MCP client";
        findings.refuse(at, text);
        return None;
    };
    let url = web_url("url", given, "https", findings)?;
    let text = given.value.as_deref()?;
    let (_, after) = text.split_once("://")?;
    let path = after.find('/').map_or("", |index| &after[index..]);
    let normal = url.as_str();
    let refused = if url.scheme() == "http" && !is_loopback(&url) {
        Some(format!("http is for localhost only; write {}", https(&url)))
    } else if path == "/" || path.is_empty() {
        None
    } else {
        path_fault(path).map(|fault| format!("the path of `{name}` {fault}"))
    };
    if let Some(text) = refused {
        findings.refuse(given.at, text);
        return None;
    }
    if text != normal && text != normal.trim_end_matches('/') {
        findings
            .refuse(given.at, format!("`{text}` is not in the form that clients compare; write {normal}"));
        return None;
    }
    Some((text.to_owned(), url))
}

/// What is wrong with a path, so that routing could not tell where it leads.
fn path_fault(path: &str) -> Option<&'static str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:/".contains(&byte);
    if !path.starts_with('/') {
        Some("has no slash at its beginning; write /PATH")
    } else if path.contains("//") {
        Some("has an empty segment; write one slash instead of two")
    } else if path.split('/').any(|segment| matches!(segment, "." | "..")) {
        Some("has a . or .. segment; write the path it leads to")
    } else if path.split('/').any(|segment| segment == ".well-known") {
        Some("has the segment .well-known, which is always ours; write another path")
    } else if !path.bytes().all(plain) {
        Some("has encoded or odd characters; write letters, digits, - and _")
    } else if path.len() > 1 && path.ends_with('/') {
        Some("has a slash at its end; write it without, the spelling with a slash is understood too")
    } else {
        None
    }
}

fn paths(field: Option<&Given<Texts>>, findings: &mut Findings) -> Option<Vec<String>> {
    let Some(given) = field else { return Some(Vec::new()) };
    let mut paths = Vec::new();
    for entry in given.value.as_ref()? {
        let Some(path) = entry.value.as_deref() else { continue };
        match path_fault(path) {
            Some(fault) => findings.refuse(entry.at, format!("the path `{path}` {fault}")),
            None => paths.push(path.to_owned()),
        }
    }
    Some(paths)
}

fn scopes(field: Option<&Given<Texts>>, findings: &mut Findings) -> Option<Scopes> {
    let Some(given) = field else { return Scope::parse("mcp").map(|scope| std::iter::once(scope).collect()) };
    let entries = given.value.as_ref()?;
    if entries.is_empty() {
        findings.refuse(given.at, "an empty list of scopes; write one, or take the key away");
    }
    Some(entries.iter().filter_map(|entry| scope(entry.value.as_deref()?, entry.at, findings)).collect())
}

fn scope(text: &str, at: Position, findings: &mut Findings) -> Option<Scope> {
    let scope = Scope::parse(text);
    if scope.is_none() {
        findings.refuse(
            at,
            format!("`{text}` is no scope; write visible letters without spaces, quotes and backslashes"),
        );
    }
    if text == "offline_access" {
        findings.refuse(
            at,
            "`offline_access` is no scope of a service (clients get refresh tokens without); take it away",
        );
    }
    scope
}

fn implies(raw: &Service, findings: &mut Findings) -> Option<Hierarchy> {
    let Some(given) = &raw.implies else { return Some(Hierarchy::default()) };
    let mut all = BTreeMap::new();
    for (name, implied) in given.value.as_ref()? {
        let name = scope(name, implied.at, findings);
        let implied = scopes(Some(implied), findings);
        if let (Some(name), Some(implied)) = (name, implied) {
            all.insert(name, implied);
        }
    }
    Some(Hierarchy::new(all))
}

/// Words for scopes, which people read where they consent.
fn describe(
    raw: &Service,
    known: Option<(&Scopes, &Hierarchy)>,
    findings: &mut Findings,
) -> Option<BTreeMap<String, String>> {
    let Some(given) = &raw.describe else { return Some(BTreeMap::new()) };
    let known = known.map(|(scopes, implies)| scopes.union(&implies.mentioned()));
    let mut all = BTreeMap::new();
    for (name, words) in given.value.as_ref()? {
        if known.as_ref().is_some_and(|known| !known.contains(name)) {
            let text = format!(
                "`{name}` is no scope of this service; write one of scopes or implies, or take it away"
            );
            findings.refuse(words.at, text);
        }
        let Some(text) = words.value.as_deref() else { continue };
        if text.chars().count() > 200 || text.chars().any(char::is_control) {
            let text = format!(
                "`{name}` needs words that people read, on one line of at most 200 characters; write \"Read your lists\""
            );
            findings.refuse(words.at, text);
        }
        all.insert(name.clone(), text.to_owned());
    }
    Some(all)
}

fn user_id(field: Option<&Given<String>>, findings: &mut Findings) -> Option<UserIdForm> {
    let Some(given) = field else { return Some(UserIdForm::default()) };
    match given.value.as_deref()? {
        "subject" => Some(UserIdForm::Subject),
        "numeric" => Some(UserIdForm::Numeric),
        other => {
            findings.refuse(given.at, format!("`{other}` is no form of a user id; write subject or numeric"));
            None
        }
    }
}

/// Refuses services that claim a place of ours, or one that another service has.
pub(super) fn check_places(services: &[Checked], issuer: Option<&Url>, findings: &mut Findings) {
    let mut taken: HashMap<(String, String), (&str, Position)> = HashMap::new();
    for Checked { url_at, settings, .. } in services {
        let origin_of = origin(&settings.url);
        let own = std::iter::once(settings.url.path()).chain(settings.paths.iter().map(String::as_str));
        for path in own {
            let place = format!("{origin_of}{path}");
            if let Some((other, at)) = taken.get(&(origin_of.clone(), path.to_owned())) {
                let text = format!(
                    "{place} belongs to `{other}` already ({}); write another path",
                    findings.place(*at)
                );
                findings.refuse(*url_at, text);
                continue;
            }
            taken.insert((origin_of.clone(), path.to_owned()), (&settings.name, *url_at));
            let Some(issuer) = issuer else { continue };
            let at_issuer = origin(issuer) == origin_of;
            let ours = if at_issuer { &AT_ISSUER[..] } else { &AT_SERVICES[..] };
            // Below `/register` lie the registrations (RFC 7592), below `/help` the pages about troubles.
            let claims = |ours: &&&str| match **ours {
                ours @ ("/register" | "/help") if at_issuer => covers(ours, path) || covers(path, ours),
                ours if at_issuer => covers(path, ours),
                ours => path == ours,
            };
            let claimed: Vec<_> = ours.iter().filter(claims).copied().collect();
            if !claimed.is_empty() {
                let text = format!(
                    "{place} claims endpoints of Portcullis itself: {}; write another path, such as /{}/mcp",
                    claimed.join(", "),
                    settings.name
                );
                findings.refuse(*url_at, text);
            }
        }
    }
}

/// Whether `path` is a prefix of `other` on segment boundaries.
fn covers(path: &str, other: &str) -> bool {
    other
        .strip_prefix(path.trim_end_matches('/'))
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_end_at_segments() {
        assert!(covers("/", "/token") && covers("/dev", "/dev/login") && covers("/token", "/token"));
        assert!(!covers("/tok", "/token") && !covers("/token/mcp", "/token") && !covers("/mcp", "/token"));
    }

    #[test]
    fn paths_that_routing_could_misread_are_refused() {
        for good in ["/", "/mcp", "/a/b-c_d.e", "/~x"] {
            assert_eq!(path_fault(good), None, "{good}");
        }
        for wrong in [
            "",
            "mcp",
            "//mcp",
            "/a//b",
            "/a/../b",
            "/.",
            "/a%2fb",
            "/a%2e%2e",
            "/a\\b",
            "/a b",
            "/é",
            "/mcp/",
            "/.well-known/x",
        ] {
            assert!(path_fault(wrong).is_some(), "{wrong}");
        }
    }
}
