//! What a client says in a query or a form: parameters, redirect URIs, scopes, resources. The `url` crate, which the gateway
//! does not decide by, is the second opinion.

use std::borrow::Cow;
use std::collections::BTreeSet;

use portcullis::oauth::{
    AuthorizeError, AuthorizeRequest, Client, ClientId, ClientLimits, Parameters, RedirectPolicy,
    RegisteredRedirect, Resource, ResourceChoice, Scope, Scopes, redirect_with_code, register,
};
use portcullis::time::Timestamp;
use url::{Host, Url, form_urlencoded};

use crate::text;

/// What is read can be written and read again, and is what a browser's reader makes of it.
pub(crate) fn form(data: &[u8]) {
    let theirs: Vec<(Cow<'_, str>, Cow<'_, str>)> = form_urlencoded::parse(data).collect();
    let Ok(read) = Parameters::parse(data) else {
        let broken = |text: &str| text.contains('\u{fffd}');
        assert!(theirs.iter().any(|(name, value)| broken(name) || broken(value)), "refused for nothing");
        return;
    };
    let ours: Vec<_> = read.iter().map(|(name, value)| (name.into(), value.into())).collect();
    assert_eq!(ours, theirs);
    let written = form_urlencoded::Serializer::new(String::new()).extend_pairs(read.iter()).finish();
    assert_eq!(Parameters::parse(written.as_bytes()).unwrap(), read);
    let mut names = BTreeSet::new();
    let present = read.iter().filter(|(name, value)| *name != "resource" && !value.is_empty());
    let once = present.map(|(name, _)| name).all(|name| names.insert(name));
    assert_eq!(read.check_repeated().is_ok(), once);
    for (name, _) in read.iter() {
        assert_eq!(read.get(name), read.all(name).next());
        assert_eq!(read.only(&[name]).iter().count(), read.all(name).count());
        assert_eq!(read.without(&[name]).get(name), None);
    }
}

const REDIRECTS: [&str; 3] =
    ["https://client.example/cb?x=1", "http://localhost/cb", "cursor://anysphere.cursor-mcp/oauth/cb"];
const RESOURCES: [&str; 3] =
    ["https://mcp.example.com/mcp", "https://mcp.example.com/other", "https://one.example.com/a/b"];
const ISSUER: &str = "https://auth.example.com";

fn resources() -> Vec<Resource> {
    RESOURCES.iter().map(|url| Resource::from_canonical((*url).to_owned())).collect()
}

fn client() -> Client {
    let body = serde_json::json!({ "client_name": "Fuzz", "redirect_uris": REDIRECTS }).to_string();
    let metadata = register(body.as_bytes(), &RedirectPolicy::default(), ClientLimits::default()).unwrap();
    let now = Timestamp::from_seconds(1_800_000_000);
    Client {
        id: ClientId::parse("c_fuzz").unwrap(),
        metadata,
        issued_at: now,
        expires: now,
        registration_token: None,
        secret: None,
    }
}

/// An authorization request's answer goes where the client has registered, with its own `state` and our `iss`.
pub(crate) fn query(data: &[u8]) {
    let Ok(parameters) = Parameters::parse(data) else { return };
    let (client, resources) = (client(), resources());
    let (redirect, state) = match AuthorizeRequest::read(&parameters, &client, &resources) {
        Ok(request) => {
            assert!(parameters.check_repeated().is_ok(), "A12");
            assert_eq!(parameters.get("response_type"), Some("code"));
            assert_eq!(parameters.get("code_challenge_method"), Some("S256"), "A4");
            assert_eq!(parameters.get("code_challenge").map(str::len), Some(43));
            match request.resource {
                ResourceChoice::Named(named) => assert!(resources.contains(&named)),
                ResourceChoice::Ask(asked) => assert_eq!(asked, resources),
            }
            (request.redirect, request.state)
        }
        Err(AuthorizeError::Redirect { redirect, state, .. }) => (redirect, state),
        Err(AuthorizeError::Page { .. }) => return,
    };
    assert_eq!(parameters.get("redirect_uri"), Some(redirect.as_str()), "A1: several are registered");
    assert!(registered(redirect.as_str()), "{redirect:?}");
    assert_eq!(state.as_deref(), parameters.get("state"), "A8");
    let answer = redirect_with_code(&redirect, "a+code", state.as_deref(), ISSUER);
    assert!(answer.starts_with(redirect.as_str()), "A15: {answer}");
    let answer = Url::parse(&answer).unwrap();
    let sent: Vec<_> = answer.query_pairs().filter(|(name, _)| name != "x").collect();
    let mut wanted = vec![("code", "a+code")];
    wanted.extend(state.as_deref().map(|state| ("state", state)));
    wanted.push(("iss", ISSUER));
    assert_eq!(
        sent,
        wanted.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect::<Vec<_>>()
    );
}

/// Whether it is one of [`REDIRECTS`], but for a loopback one's port.
fn registered(uri: &str) -> bool {
    let loopback = |uri: &str| {
        let rest = uri.strip_prefix("http://localhost")?;
        let (port, path) = rest.split_at(rest.find('/')?);
        (port.is_empty() || port[1..].parse::<u16>().is_ok()).then(|| path.to_owned())
    };
    REDIRECTS.contains(&uri) || loopback(uri).is_some_and(|path| path == "/cb")
}

/// `registered LF requested`: what matches is what was registered, by the `url` crate's reading too.
pub(crate) fn redirect(data: &[u8]) {
    let Some((registered, requested)) = text(data).and_then(|text| text.split_once('\n')) else { return };
    let Ok(checked) = RegisteredRedirect::check(registered, &RedirectPolicy::default()) else { return };
    assert_eq!(checked.as_str(), registered);
    let ours = checked.matches(registered).expect("a redirect URI matches itself");
    let read = Url::parse(registered).unwrap();
    assert_eq!((read.username(), read.password(), read.fragment()), ("", None, None), "G3");
    match read.scheme() {
        "https" => assert!(read.has_host()),
        "http" => assert!(is_loopback(&read) && ours.is_loopback(), "G3"),
        "javascript" | "data" | "file" | "blob" | "about" | "vbscript" => panic!("G3: {registered}"),
        _ => assert!(ours.is_private_use()),
    }
    let answer = ours.with_query(&[("code", "a b&c=d#e")]);
    let answer = Url::parse(&answer).unwrap();
    assert_eq!((answer.scheme(), answer.host(), answer.port()), (read.scheme(), read.host(), read.port()));
    assert!(answer.query_pairs().any(|pair| pair == ("code".into(), "a b&c=d#e".into())), "{answer}");
    let Some(followed) = checked.matches(requested) else { return };
    assert_eq!(followed.as_str(), requested);
    if requested != registered {
        let other = Url::parse(requested).unwrap();
        assert!(is_loopback(&read) && is_loopback(&other), "A2");
        assert_eq!((read.host(), read.path(), read.query()), (other.host(), other.path(), other.query()));
        assert_eq!((other.username(), other.password(), other.fragment()), ("", None, None));
    }
}

fn is_loopback(url: &Url) -> bool {
    url.scheme() == "http"
        && match url.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        }
}

/// `one LF other`: sets of scopes are written and read again, and are sets.
pub(crate) fn scope(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let (one, other) = text.split_once('\n').unwrap_or((text, ""));
    let (one, other) = (Scopes::parse(one), Scopes::parse(other));
    let allowed = |byte: u8| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
    for scope in one.iter() {
        assert!(!scope.as_str().is_empty() && scope.as_str().bytes().all(allowed), "RFC 6749 §3.3");
        assert_eq!(Scope::parse(scope.as_str()).as_ref(), Some(scope));
    }
    assert_eq!(Scopes::parse(&one.to_string()), one);
    let (both, either) = (one.intersection(&other), one.union(&other));
    assert!(one.contains_all(&both) && other.contains_all(&both));
    assert!(either.contains_all(&one) && either.contains_all(&other));
    assert_eq!(both.iter().count() + either.iter().count(), one.iter().count() + other.iter().count());
}

/// What is found is on the host that was named, and at its path or at the bare origin.
pub(crate) fn resource(data: &[u8]) {
    let Some(named) = text(data) else { return };
    let known = resources();
    for one in &known {
        let found = Resource::find([one.as_str()].into_iter(), known.iter()).unwrap();
        assert_eq!(found, Some(one), "its own spelling");
    }
    let Ok(found) = Resource::find([named].into_iter(), known.iter()) else { return };
    let found = found.expect("one was named");
    let (asked, meant) = (Url::parse(named).unwrap(), Url::parse(found.as_str()).unwrap());
    assert_eq!(asked.origin(), meant.origin());
    assert_eq!((asked.username(), asked.password(), asked.fragment()), ("", None, None));
    let path = |url: &Url| url.path().trim_end_matches('/').to_owned();
    let alone =
        known.iter().filter(|one| Url::parse(one.as_str()).unwrap().origin() == meant.origin()).count() == 1;
    assert!(path(&asked) == path(&meant) || (asked.path() == "/" && alone), "{named} is {found}");
    let twice = Resource::find([named, found.as_str()].into_iter(), known.iter());
    assert_eq!(twice.unwrap(), Some(found));
}
