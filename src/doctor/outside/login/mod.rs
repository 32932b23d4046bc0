//! The whole sign-in, as a client does it: registration, browser, code, token, a call, refresh, revocation. What was made for it is
//! taken back at the end, also after Ctrl-C; no token is ever shown.

mod listener;
mod tokens;

use std::collections::HashMap;

use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
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

/// Signs in at `authority` and uses the token.
pub(super) async fn sign_in(view: &View<'_>, authority: &Authority, login: &Login<'_>) {
    // From before there is something to take back: whoever presses Ctrl-C early must not leave it behind.
    let Ok(mut interrupt) = signal(SignalKind::interrupt()) else {
        return view.not_tried(&[&[Trouble::RedirectDead], AFTER].concat(), "Ctrl-C cannot be heard here");
    };
    let Ok(listener) = Listener::bind().await else {
        return view.not_tried(&[&[Trouble::RedirectDead], AFTER].concat(), "no port of loopback is free");
    };
    let Some(client) = register(view, authority, &listener).await else {
        return view.not_tried(&[&[Trouble::RedirectDead], AFTER].concat(), "no client can be registered");
    };
    let session = Session::new(view, authority, &client, listener.redirect.as_str());
    let interrupted = tokio::select! {
        () = flow(&session, &listener, login) => false,
        _ = interrupt.recv() => true,
    };
    if interrupted {
        view.examination.interrupt();
        view.not_tried(&[Trouble::RefreshFailed], "it was interrupted; what was granted is taken back");
    }
    // What cannot be revoked ends by itself.
    let _refused = session.take_back().await;
    client.delete(view).await;
}

async fn register(view: &View<'_>, authority: &Authority, listener: &Listener) -> Option<Registered> {
    let endpoint = authority.endpoint("registration_endpoint")?;
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
        return view
            .not_tried(&[&[Trouble::RedirectDead], AFTER].concat(), "there is no authorization_endpoint");
    };
    view.examination.begins("waiting for the browser");
    login.browser.open(&page);
    let came = tokio::time::timeout(login.patience, listener.wait()).await;
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
