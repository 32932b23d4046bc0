//! The whole sign-in, as a client does it: registration, browser, code, token, a call, refresh, revocation. What was made for it is
//! taken back at the end, also after a signal, and what cannot be is told; no token is ever shown.

mod listener;
mod tokens;

use std::collections::HashMap;
use std::io;

use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};
use url::Url;

use super::authority::Authority;
use super::registration::{self, Registered};
use super::{Login, View};
use crate::doctor::{Remedy, Trial};
use crate::secret::Secret;
use crate::trouble::Trouble;
use listener::Listener;
use tokens::Session;

/// What is looked at after the browser has come back.
const AFTER: &[Trouble] = &[Trouble::ExchangeFailed, Trouble::TokenUnaccepted, Trouble::RefreshFailed];

/// All of a sign-in.
const ALL: &[Trouble] =
    &[Trouble::RedirectDead, Trouble::ExchangeFailed, Trouble::TokenUnaccepted, Trouble::RefreshFailed];

/// There is no authorization server to sign in at; why has been said.
pub(super) fn nowhere(view: &View<'_>) {
    view.not_tried(AFTER, "there is nowhere to sign in");
}

/// The server asks nobody to sign in, and somebody wanted to.
pub(super) fn unneeded(view: &View<'_>) {
    let trial = Trial::new("`--login`", "the server lets everybody in");
    let cause = "There is no sign-in that could be tried: the server asks nobody for one.";
    let fix = ["Leave `--login` out; or put the server behind Portcullis, if not everybody is to use it."];
    view.examination.bad(Trouble::NoChallenge, view.subject, trial, Remedy::new(cause, fix));
}

/// What ends a program by itself: Ctrl-C, the system, the terminal that is closed.
struct Signals([Signal; 3]);

impl Signals {
    fn catch() -> io::Result<Self> {
        let [interrupt, terminate, hangup] =
            [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal);
        Ok(Self([interrupt?, terminate?, hangup?]))
    }

    /// Comes when one of them has come.
    async fn come(&mut self) {
        let Self([interrupt, terminate, hangup]) = self;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

/// Signs in at `authority` and uses the token.
pub(super) async fn sign_in(view: &View<'_>, authority: &Authority, login: &Login<'_>) {
    if !authority.refused.is_empty() {
        return view.not_tried(ALL, "the metadata names what must not be followed");
    }
    // From before there is something to take back: whoever presses Ctrl-C early must not leave it behind.
    let Ok(mut signals) = Signals::catch() else {
        return view.not_tried(ALL, "Ctrl-C cannot be heard here");
    };
    let listener = match Listener::bind().await {
        Ok(listener) => listener,
        Err(error) => return unheard(view, &error),
    };
    let Some(client) = register(view, authority, &listener).await else {
        return view.not_tried(ALL, "no client can be registered");
    };
    let session = Session::new(view, authority, &client, listener.redirect.as_str());
    let mut flow = Box::pin(flow(&session, &listener, login));
    let interrupted = tokio::select! {
        () = &mut flow => false,
        () = signals.come() => true,
    };
    if interrupted {
        view.examination.interrupt();
        // What is under way may be answered by a token: only who has it can take it back.
        session.stop.cancel();
        flow.await;
        view.not_tried(&[Trouble::RefreshFailed], "it was interrupted; what was granted is taken back");
    } else {
        drop(flow);
    }
    take_back(&session).await;
}

/// Takes back what was granted and registered, and says what stays.
async fn take_back(session: &Session<'_>) {
    let (view, client) = (session.view, session.client);
    if let Some(why) = session.take_back().await {
        let trial = Trial::new("giving back the tokens of this sign-in (RFC 7009)", why);
        let cause =
            "The tokens of this sign-in could not be revoked: they stay good until they end by themselves.";
        let fix = [
            "Have the authorization server revoke tokens, and name its `revocation_endpoint`; else end this connection there by hand.",
        ];
        view.examination.remark(Trouble::TokenUnaccepted, view.subject, trial, Remedy::new(cause, fix));
    }
    if let Some(stray) = &client.stray {
        let endpoint = session.authority.endpoint("registration_endpoint");
        registration::tell_stray(view, endpoint.as_ref().unwrap_or(&session.authority.at), stray);
    }
    if !client.delete(view).await {
        let trial = Trial::new(
            "deleting the client of this sign-in again (RFC 7592)",
            format!("the client {} stays registered", client.client_id),
        );
        let cause = "The authorization server does not let clients delete what they have registered.";
        let fix = [
            "It can do nothing without a person's approval; who wants to be rid of it deletes it there by hand.",
        ];
        view.examination.remark(Trouble::NoRegistration, view.subject, trial, Remedy::new(cause, fix));
    }
}

fn unheard(view: &View<'_>, error: &io::Error) {
    let trial = Trial::new("listening on a free port of 127.0.0.1", error.to_string());
    let cause = "The browser cannot come back to this program: no port of loopback can be listened on.";
    let fix = ["See that loopback is up: `ip address show lo`."];
    view.examination.bad(Trouble::RedirectDead, view.subject, trial, Remedy::new(cause, fix));
    view.not_tried(AFTER, "nobody could come back");
}

async fn register(view: &View<'_>, authority: &Authority, listener: &Listener) -> Option<Registered> {
    let Some(endpoint) = authority.endpoint("registration_endpoint") else {
        let trial = Trial::new(format!("GET {}", authority.at), "no registration_endpoint");
        let cause = "`--login` signs in as a client of its own, and needs registration for that: the metadata names no registration_endpoint, so nothing was tried.";
        let fix = [
            "Turn on dynamic client registration (RFC 7591) at the authorization server; or sign in with a client that it knows.",
        ];
        view.examination.bad(Trouble::NoRegistration, view.subject, trial, Remedy::new(cause, fix));
        return None;
    };
    let body = json!({
        "client_name": "portcullis doctor", "redirect_uris": [listener.redirect.as_str()],
        "grant_types": ["authorization_code", "refresh_token"], "response_types": ["code"],
        "token_endpoint_auth_method": "none", "application_type": "native",
    });
    match registration::register(view, &endpoint, &body).await {
        Ok(client) => Some(client),
        Err(why) => {
            let trial =
                Trial::new(format!("POST {endpoint}, with a redirect URI on loopback"), why.to_string());
            view.examination.bad(Trouble::RedirectInvalid, view.subject, trial, Remedy::default());
            None
        }
    }
}

async fn flow(session: &Session<'_>, listener: &Listener, login: &Login<'_>) {
    let view = session.view;
    let (state, verifier) = (Secret::random(), Secret::random());
    let Some(page) = page(session, &state, &verifier) else {
        return view.not_tried(ALL, "there is no authorization_endpoint");
    };
    view.examination.begins("waiting for the browser");
    login.browser.open(&page);
    let came = tokio::select! {
        came = tokio::time::timeout(login.patience, listener.wait()) => came,
        () = session.stop.cancelled() => return,
    };
    let Ok(back) = came else {
        let tried = format!("the browser, sent to the sign-in, with {} to come back to", listener.redirect);
        let found = format!("nothing within {} s", login.patience.as_secs());
        let cause = "The browser did not come back: nobody signed in, or it runs on another machine than this command.";
        let port = listener.redirect.port().unwrap_or_default();
        let fix = [
            "Run it again, open the URL that it prints, and sign in; `--timeout` gives more time.".to_owned(),
            format!(
                "With the browser on another machine: `ssh -L {port}:127.0.0.1:{port} HOST` for the port that is printed, and open the URL there."
            ),
        ];
        view.examination.bad(
            Trouble::RedirectDead,
            view.subject,
            Trial::new(tried, found),
            Remedy::new(cause, fix),
        );
        return view.not_tried(AFTER, "nobody signed in");
    };
    let answer: HashMap<_, _> = back.query_pairs().into_owned().collect();
    let Some(code) = code(session, &answer, &state) else {
        return view.not_tried(AFTER, "the sign-in gave no code");
    };
    view.good(Trouble::RedirectDead, "the sign-in, in a browser", "the browser came back with a code");
    session.run(&code, &verifier).await;
}

/// Where the browser is sent to.
fn page(session: &Session<'_>, state: &Secret, verifier: &Secret) -> Option<Url> {
    let mut page = session.authority.endpoint("authorization_endpoint")?;
    {
        let mut query = page.query_pairs_mut();
        query
            .append_pair("response_type", "code")
            .append_pair("client_id", &session.client.client_id)
            .append_pair("redirect_uri", session.redirect)
            .append_pair("state", state.expose())
            .append_pair("code_challenge", &verifier.digest().to_base64url())
            .append_pair("code_challenge_method", "S256")
            .append_pair("resource", &session.authority.resource);
        if let Some(scope) = &session.authority.scope {
            query.append_pair("scope", scope);
        }
    }
    Some(page)
}

/// The code, if the answer is what was asked for and comes from who was asked.
fn code(session: &Session<'_>, answer: &HashMap<String, String>, state: &Secret) -> Option<Secret> {
    let view = session.view;
    let get = |name: &str| answer.get(name).map(String::as_str);
    let tried = "the answer that the browser brought back";
    let hijacked = |found: String, cause: &str| {
        let fix = ["Do not go on with this authorization server before its operator knows of it."];
        let trial = Trial::new(tried, found);
        view.examination.bad(Trouble::LoginHijacked, view.subject, trial, Remedy::new(cause, fix));
    };
    if get("state").is_none_or(|came| Secret::new(came.to_owned()) != *state) {
        hijacked("another `state` than was sent".to_owned(), "The answer is not one to this sign-in.");
        return None;
    }
    let promised = session.authority.says("authorization_response_iss_parameter_supported");
    match get("iss") {
        Some(issuer) if issuer != session.authority.issuer => {
            hijacked(
                format!("iss={issuer}"),
                "The answer comes from another issuer than was asked (a mix-up, RFC 9207).",
            );
            return None;
        }
        None if promised => {
            hijacked(
                "no iss".to_owned(),
                "The metadata promises `iss` with every answer, and it is missing: strict clients stop.",
            );
            return None;
        }
        Some(_) | None => {}
    }
    if let Some(error) = get("error") {
        let description = get("error_description").unwrap_or_default();
        let trouble = if error == "access_denied" { Trouble::SignInRefused } else { Trouble::ExchangeFailed };
        let trial = Trial::new(tried, format!("{error}: {description}"));
        view.examination.bad(trouble, view.subject, trial, Remedy::default());
        return None;
    }
    let code = get("code").map(|code| Secret::new(code.to_owned()));
    if code.is_none() {
        hijacked(
            "neither code nor error".to_owned(),
            "The answer has neither a code nor an error (RFC 6749 §4.1.2).",
        );
    }
    code
}
