//! What a client meets that knows nothing but a URL: the way there, where to sign in, and the sign-in itself. Everything is asked as
//! clients ask it, and judged by what the strictest of them accept.

mod authority;
mod certificate;
pub mod challenge;
mod clock;
mod cors;
mod door;
mod front;
mod login;
mod probe;
mod reach;
mod registration;
mod resource;
mod trust;
mod walk;
mod words;

use std::net::SocketAddr;
use std::time::Duration;

use url::Url;

use super::web::Web;
use super::{Examination, Trial};
use crate::host::is_loopback_url;
use crate::time::Timestamp;
use crate::trouble::Trouble;
use authority::Authority;
use door::Door;
use resource::Resource;

pub use trust::is_page;

/// A client, as it behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// claude.ai and Claude Desktop.
    Claude,
    /// `ChatGPT`.
    ChatGpt,
    /// Visual Studio Code.
    VsCode,
    /// Cursor.
    Cursor,
    /// The MCP Inspector.
    Inspector,
}

/// How an MCP server is looked at from outside.
#[derive(Clone, Debug, Default)]
pub struct Manner {
    /// As which client; as all of them if none is named.
    pub client: Option<Client>,
    /// Who is asked for addresses; the system if nobody is named.
    pub resolver: Option<SocketAddr>,
    /// Further certificate authorities that are trusted, in PEM.
    pub roots: Option<Vec<u8>>,
    /// Whose clock is compared with this machine's, besides the server's own; GitHub's if nobody is named.
    pub clock: Option<Url>,
    /// Whether clients are registered at the authorization server for a try, and deleted again where that can be done.
    pub register: bool,
    /// Whether the server is ours: then it may name whatever its configuration does, and is no stranger's. Whoever looks at ours sets
    /// `register` for one MCP server of each authorization server, for clients are not registered by service.
    pub ours: bool,
}

/// A sign-in with a browser.
pub struct Login<'a> {
    /// Who opens the page.
    pub browser: &'a dyn Browser,
    /// How long the person may take.
    pub patience: Duration,
}

/// Something that brings a page before a person.
pub trait Browser: Send + Sync {
    /// Opens `url`, or tells the person to.
    fn open(&self, url: &Url);
}

/// What is looked at, and how.
#[derive(Clone, Copy)]
struct View<'a> {
    examination: &'a Examination<'a>,
    web: &'a Web,
    subject: &'a str,
    url: &'a Url,
    manner: &'a Manner,
    /// What time it is by a clock that is right, if this machine's is not.
    true_time: Option<Timestamp>,
    /// Whether there is to be a sign-in.
    signs_in: bool,
}

impl View<'_> {
    fn not_tried(&self, troubles: &[Trouble], because: &str) {
        self.examination.not_tried(troubles, self.subject, because);
    }

    fn good(&self, trouble: Trouble, tried: impl Into<String>, found: impl Into<String>) {
        self.examination.good(trouble, self.subject, Trial::new(tried, found));
    }

    /// Whether nobody but this machine can mean it by this URL.
    fn is_local(&self) -> bool {
        is_loopback_url(self.url)
    }
}

/// What comes after the way there.
const DISCOVERY: &[Trouble] = &[
    Trouble::NoChallenge,
    Trouble::PrmMissing,
    Trouble::PrmResource,
    Trouble::IssuerMismatch,
    Trouble::NoRegistration,
    Trouble::Cors,
];

/// What signing in needs.
const SIGNING_IN: &[Trouble] = &[Trouble::RedirectInvalid, Trouble::LoginHijacked, Trouble::ClientUnknown];

/// Looks at the MCP server at `url` as clients do. What is known of it is told under the name `subject`.
pub async fn examine(examination: &Examination<'_>, subject: &str, url: &Url, manner: &Manner) {
    examine_and_sign_in(examination, subject, url, (manner, None)).await;
}

/// The same, and signs in there if `login` says how.
pub async fn examine_and_sign_in(
    examination: &Examination<'_>,
    subject: &str,
    url: &Url,
    (manner, login): (&Manner, Option<Login<'_>>),
) {
    let web = Web::new(manner);
    let view =
        View { examination, web: &web, subject, url, manner, true_time: None, signs_in: login.is_some() };
    let ((), found) = tokio::join!(walk::walk(&view, login.is_some()), look(&view));
    if let Some(login) = login {
        match found {
            Some(authority) => login::sign_in(&view, &authority, &login).await,
            None => login::nowhere(&view),
        }
    }
}

/// Everything but a sign-in. What there is to sign in with, if all that needs is there.
async fn look(view: &View<'_>) -> Option<Authority> {
    let rest = |because: &str| {
        let front = [Trouble::WrongUrl, Trouble::Waf, Trouble::Tunnel];
        view.not_tried(&[&front, DISCOVERY, SIGNING_IN].concat(), because);
    };
    let true_time = match reach::examine(view).await {
        Ok(true_time) => true_time,
        Err(because) => {
            rest(&because);
            return None;
        }
    };
    let view = &View { true_time, ..*view };
    let asked = probe::all(view).await;
    let door = match front::examine(view, &asked).await {
        Ok(door) => door,
        Err(because) => {
            view.not_tried(&[DISCOVERY, SIGNING_IN].concat(), &because);
            return None;
        }
    };
    let challenges = match door {
        Door::Open => {
            front::passed(view, &asked);
            door::open(view, &asked);
            let but_this = DISCOVERY.get(1..).unwrap_or_default();
            view.not_tried(&[but_this, SIGNING_IN].concat(), "the server lets everybody in without a login");
            if view.signs_in {
                login::unneeded(view);
            }
            return None;
        }
        Door::Guarded => door::examine(view, &asked),
    };
    let resource = resource::examine(view, &challenges).await;
    let inner = |found: &Resource| resource::behind_a_proxy(&found.named, view.url);
    if !resource.as_ref().is_some_and(inner) {
        front::passed(view, &asked);
    }
    discover(view, resource, &challenges).await
}

async fn discover(view: &View<'_>, resource: Option<Resource>, challenges: &door::Told) -> Option<Authority> {
    let because = "there is no protected resource metadata that names an authorization server";
    let Some(resource) = resource else {
        authority::without_resource(view).await;
        view.not_tried(&[&[Trouble::NoRegistration, Trouble::Cors], SIGNING_IN].concat(), because);
        return None;
    };
    let Some(mut authority) = authority::examine(view, &resource).await else {
        let because = "the authorization server has no metadata";
        view.not_tried(&[&[Trouble::NoRegistration, Trouble::Cors], SIGNING_IN].concat(), because);
        return None;
    };
    authority.scope = challenges.scope.clone().or(resource.scopes.clone());
    authority::registrable(view, &authority);
    tokio::join!(cors::examine(view, &resource, &authority), registration::examine(view, &authority));
    Some(authority)
}
