//! Whether clients can register as they do, and whether a sign-in could end elsewhere than it should.

use serde_json::{Value, json};
use url::Url;

use super::View;
use super::authority::Authority;
use super::probe;
use crate::doctor::web::{Answer, Ask};
use crate::doctor::{Remedy, Trial};
use crate::secret::Secret;
use crate::trouble::{Trouble, probes};

/// How a client registers.
struct Applicant {
    name: &'static str,
    body: Value,
}

fn applicants() -> [Applicant; 5] {
    let both = json!(["authorization_code", "refresh_token"]);
    let claude = json!({
        "client_name": "Claude", "redirect_uris": ["https://claude.ai/api/mcp/auth_callback"],
        "grant_types": both, "response_types": ["code"], "token_endpoint_auth_method": "none",
    });
    let chatgpt = json!({
        "client_name": "ChatGPT", "redirect_uris": ["https://chatgpt.com/connector_platform_oauth_redirect"],
        "grant_types": both, "response_types": ["code"], "token_endpoint_auth_method": "none",
    });
    let vscode = json!({
        "client_name": "Visual Studio Code", "client_uri": "https://code.visualstudio.com",
        "redirect_uris": [
            "https://insiders.vscode.dev/redirect", "https://vscode.dev/redirect",
            "http://127.0.0.1/", "http://127.0.0.1:33418/",
        ],
        "grant_types": both, "response_types": ["code"], "token_endpoint_auth_method": "none",
        "application_type": "native",
    });
    let cursor = json!({
        "client_name": "Cursor",
        "redirect_uris": [
            "cursor://anysphere.cursor-mcp/oauth/callback",
            "https://www.cursor.com/agents/mcp/oauth/callback",
            "http://localhost:8787/callback",
        ],
        "grant_types": both, "response_types": ["code"], "token_endpoint_auth_method": "none",
    });
    let inspector = json!({
        "client_name": "MCP Inspector", "redirect_uris": ["http://localhost:6274/oauth/callback"],
        "grant_types": both, "response_types": ["code"], "token_endpoint_auth_method": "none",
        "application_type": "native",
    });
    [
        Applicant { name: "Claude", body: claude },
        Applicant { name: "ChatGPT", body: chatgpt },
        Applicant { name: "VS Code", body: vscode },
        Applicant { name: "Cursor", body: cursor },
        Applicant { name: "MCP Inspector, and other clients on loopback", body: inspector },
    ]
}

/// Tries what can be tried without harm.
pub(super) async fn examine(view: &View<'_>, authority: &Authority) {
    tokio::join!(hijack(view, authority), apply(view, authority), forgotten(view, authority));
}

/// Registers as each client does.
async fn apply(view: &View<'_>, authority: &Authority) {
    if !view.manner.register {
        let because = if view.manner.ours {
            "clients are registered at another service of the same issuer"
        } else {
            "it would write to the authorization server: `--register` does, and deletes what it has registered where that can be done"
        };
        return view.not_tried(&[Trouble::RedirectInvalid], because);
    }
    let Some(url) = authority.endpoint("registration_endpoint") else {
        return view.not_tried(&[Trouble::RedirectInvalid], "there is no registration_endpoint");
    };
    view.examination.begins(&format!("registering at {url} as clients do"));
    let (kept, refused) = try_all(view, &url).await;
    let tried = format!("POST {url} as Claude, ChatGPT, VS Code, Cursor and the MCP Inspector");
    if refused.is_empty() {
        let left = if kept == 0 {
            String::new()
        } else {
            format!("; {kept} of the registrations could not be deleted again")
        };
        return view.good(Trouble::RedirectInvalid, tried, format!("all are registered{left}"));
    }
    if refused.iter().any(|(_, why)| why.is_limited) {
        let trial = Trial::new(tried, "429");
        let cause = "The authorization server takes few registrations from one address at a time.";
        let fix = ["Wait a minute, and run it again."];
        view.examination.remark(Trouble::RateLimited, view.subject, trial, Remedy::new(cause, fix));
        return view.not_tried(&[Trouble::RedirectInvalid], "the authorization server wants a pause");
    }
    let found: Vec<_> = refused.iter().map(|(name, why)| format!("{name}: {why}")).collect();
    let names: Vec<_> = refused.iter().map(|(name, _)| *name).collect();
    let trial = Trial::new(tried, found.join("; "));
    let closed = refused.len() == applicants().len() && refused.iter().all(|(_, why)| why.is_closed);
    if closed {
        let cause = "The registration endpoint is in the metadata, and lets nobody register without more.";
        let fix = [
            "Open it to everybody (RFC 7591 §3, without an initial access token), or take it out of the metadata and take Client ID Metadata Documents.",
        ];
        return view.examination.bad(Trouble::NoRegistration, view.subject, trial, Remedy::new(cause, fix));
    }
    let cause = format!(
        "The authorization server does not take the redirect URIs of {}: nobody can sign in with it.",
        names.join(", ")
    );
    let fix = [
        "Allow https, http on localhost, 127.0.0.1 and [::1] with any port, and `cursor://` and `vscode://`; one URI that is not liked must not spoil the others.",
        "For Portcullis: the scheme under `redirect_schemes`.",
    ];
    view.examination.bad(Trouble::RedirectInvalid, view.subject, trial, Remedy::new(cause, fix));
}

/// Registers all applicants and deletes them again: how many could not be deleted, and who was refused.
async fn try_all(view: &View<'_>, url: &Url) -> (usize, Vec<(&'static str, Refused)>) {
    let (mut kept, mut refused, mut stray) = (0, Vec::new(), None);
    for applicant in applicants() {
        match register(view, url, &applicant.body).await {
            Ok(registered) => {
                kept += usize::from(!registered.delete(view).await);
                stray = stray.or(registered.stray);
            }
            Err(why) => refused.push((applicant.name, why)),
        }
    }
    if let Some(stray) = &stray {
        tell_stray(view, url, stray);
    }
    (kept, refused)
}

/// Why nobody was registered.
pub(super) struct Refused {
    said: String,
    /// Whether it is not for what was asked, but because nobody may ask.
    is_closed: bool,
    /// Whether it is because of too many.
    is_limited: bool,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.said)
    }
}

/// A client that was registered.
pub(super) struct Registered {
    pub(super) client_id: String,
    pub(super) secret: Option<Secret>,
    /// Where it can be deleted again, and by which token (RFC 7592).
    configuration: Option<(Url, Secret)>,
    /// Where it could be deleted, which is none of the authorization server's own addresses.
    pub(super) stray: Option<Url>,
}

impl Registered {
    /// Deletes it; whether it is gone.
    pub(super) async fn delete(&self, view: &View<'_>) -> bool {
        let Some((url, token)) = &self.configuration else { return false };
        let ask = Ask::new(http::Method::DELETE, url).bearer(token);
        view.web.ask(ask).await.is_ok_and(|answer| answer.status.is_success())
    }
}

/// Whoever registers would take the token for its registration somewhere else.
pub(super) fn tell_stray(view: &View<'_>, endpoint: &Url, stray: &Url) {
    let trial = Trial::new(format!("POST {endpoint}"), format!("registration_client_uri is {stray}"));
    let cause = "The registration is managed at another origin than it was made at: clients would take its token there. It was not asked, and the registration stays.";
    let fix =
        ["Name a `registration_client_uri` on the host of the registration endpoint, or none (RFC 7592 §3)."];
    view.examination.bad(Trouble::LoginHijacked, view.subject, trial, Remedy::new(cause, fix));
}

/// Registers a client.
pub(super) async fn register(view: &View<'_>, url: &Url, body: &Value) -> Result<Registered, Refused> {
    let asked = Ask::post_json(url, body).header("accept", "application/json");
    let outcome = view.web.ask(asked).await;
    let is_limited = outcome.as_ref().is_ok_and(|answer| answer.status.as_u16() == 429);
    let refused = |is_closed| Refused { said: said(&outcome), is_closed, is_limited };
    let Ok(answer) = &outcome else { return Err(refused(true)) };
    if !matches!(answer.status.as_u16(), 200 | 201) {
        return Err(refused(matches!(answer.status.as_u16(), 401 | 403 | 404 | 405)));
    }
    let document = answer.json().ok_or_else(|| refused(false))?;
    let text = |name: &str| document.get(name).and_then(Value::as_str);
    let managed = text("registration_client_uri").and_then(|named| Url::parse(named).ok());
    let (own, stray): (Vec<_>, Vec<_>) = managed.into_iter().partition(|uri| uri.origin() == url.origin());
    let token = text("registration_access_token").map(|token| Secret::new(token.to_owned()));
    Ok(Registered {
        client_id: text("client_id").ok_or_else(|| refused(false))?.to_owned(),
        secret: text("client_secret").map(|secret| Secret::new(secret.to_owned())),
        configuration: own.into_iter().next().zip(token),
        stray: stray.into_iter().next(),
    })
}

/// An OAuth error, or what else came.
pub(super) fn said(outcome: &Result<Answer, crate::doctor::web::Fault>) -> String {
    let Ok(answer) = outcome else { return probe::found(outcome) };
    let document = answer.json().unwrap_or_default();
    let text = |name: &str| document.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    match (text("error"), text("error_description")) {
        (error, _) if error.is_empty() => answer.summary(),
        (error, description) if description.is_empty() => format!("{} {error}", answer.status.as_u16()),
        (error, description) => format!("{} {error}: {description}", answer.status.as_u16()),
    }
}

/// Clients whose registration is gone register anew when they are told so, and only then (RFC 6749 §5.2).
async fn forgotten(view: &View<'_>, authority: &Authority) {
    if !(view.manner.register || view.manner.ours || view.signs_in) {
        let because =
            "it would ask for tokens at a foreign authorization server: `--register` and `--login` do";
        return view.not_tried(&[Trouble::ClientUnknown], because);
    }
    let Some(url) = authority.endpoint("token_endpoint") else {
        return view.not_tried(&[Trouble::ClientUnknown], "the metadata has no token_endpoint");
    };
    let fields =
        [("grant_type", "refresh_token"), ("refresh_token", "none"), ("client_id", probes::UNKNOWN_CLIENT)];
    let outcome = view.web.ask(Ask::post_form(&url, &fields)).await;
    let Ok(answer) = &outcome else {
        let because = format!("the token endpoint cannot be asked: {}", said(&outcome));
        return view.not_tried(&[Trouble::ClientUnknown], &because);
    };
    if answer.status.as_u16() == 429 || answer.status.is_server_error() {
        let because = format!("the token endpoint answers {}", answer.status.as_u16());
        return view.not_tried(&[Trouble::ClientUnknown], &because);
    }
    let error = answer.json().and_then(|document| Some(document.get("error")?.as_str()?.to_owned()));
    let trial = Trial::new(format!("POST {url} as a client that nobody knows"), said(&outcome));
    if error.as_deref() == Some("invalid_client") {
        return view.examination.good(Trouble::ClientUnknown, view.subject, trial);
    }
    let cause = "A client whose registration is gone is not told so: it goes on with an id that nobody knows, until a person removes it.";
    let fix = ["Answer unknown clients 401 with `{\"error\": \"invalid_client\"}` at the token endpoint."];
    view.examination.remark(Trouble::ClientUnknown, view.subject, trial, Remedy::new(cause, fix));
}

/// Nobody's address: RFC 2606 keeps it free.
const ELSEWHERE: &str = "https://portcullis-doctor.invalid/callback";

/// A client that nobody knows must not be able to send a browser anywhere (RFC 6749 §4.1.2.1).
async fn hijack(view: &View<'_>, authority: &Authority) {
    if authority.refused.contains(&"authorization_endpoint") {
        // It has been said why.
        return;
    }
    let Some(mut url) = authority.endpoint("authorization_endpoint") else {
        return view.not_tried(&[Trouble::LoginHijacked], "the metadata has no authorization_endpoint");
    };
    let state = Secret::random();
    url.query_pairs_mut()
        .append_pair("response_type", "code")
        .append_pair("client_id", probes::UNKNOWN_CLIENT)
        .append_pair("redirect_uri", ELSEWHERE)
        .append_pair("state", state.expose())
        .append_pair("code_challenge", &state.digest().to_base64url())
        .append_pair("code_challenge_method", "S256");
    let outcome = view.web.ask(Ask::get(&url).past_a_bad_certificate()).await;
    let tried = "GET the authorization endpoint for a client that nobody knows, with a redirect URI that nobody registered";
    let Ok(answer) = &outcome else {
        return view.not_tried(&[Trouble::LoginHijacked], "the authorization endpoint does not answer");
    };
    let status = answer.status.as_u16();
    let trial = Trial::new(tried, status.to_string());
    match reception(&url, answer) {
        Reception::Refused => view.examination.good(Trouble::LoginHijacked, view.subject, trial),
        Reception::LedAstray => {
            let trial = Trial { found: format!("{status} to {ELSEWHERE}"), ..trial };
            let cause = "The authorization endpoint sends browsers wherever a stranger wants: codes and people can be led astray (an open redirector, RFC 9700 §4.11).";
            let fix = [
                "Show an error page, and redirect only to URIs that the client of that client_id has registered (RFC 6749 §4.1.2.1).",
            ];
            view.examination.bad(Trouble::LoginHijacked, view.subject, trial, Remedy::new(cause, fix));
        }
        Reception::LetIn => {
            let trial = Trial { found: answer.summary(), ..trial };
            let cause = "People are asked to sign in before anybody looks whether the client and its redirect URI are known: where the sign-in leads to then cannot be seen from here.";
            let fix = ["Look whether the client and its redirect URI are known before anything else."];
            view.examination.remark(Trouble::LoginHijacked, view.subject, trial, Remedy::new(cause, fix));
        }
        Reception::Unclear => {
            let because = format!("the authorization endpoint answers {status}, which tells nothing");
            view.not_tried(&[Trouble::LoginHijacked], &because);
        }
    }
}

/// How a client is received that nobody knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reception {
    /// With an error.
    Refused,
    /// By being sent where it wants.
    LedAstray,
    /// As if it were known, up to the sign-in.
    LetIn,
    /// By nothing that tells.
    Unclear,
}

fn reception(url: &Url, answer: &Answer) -> Reception {
    if let Some(to) = answer.location(url) {
        let told = format!("{}?{}", to.path(), to.query().unwrap_or_default());
        return if to.host_str() == Some("portcullis-doctor.invalid") {
            Reception::LedAstray
        } else if told.to_ascii_lowercase().contains("error") {
            Reception::Refused
        } else {
            Reception::LetIn
        };
    }
    match answer.status.as_u16() {
        400..=403 => Reception::Refused,
        200 if is_an_error_page(answer) => Reception::Refused,
        200 => Reception::LetIn,
        _ => Reception::Unclear,
    }
}

/// Whether a page says that something is wrong, and asks for no password.
fn is_an_error_page(answer: &Answer) -> bool {
    let text = answer.text().to_ascii_lowercase();
    let says = ["error", "invalid", "unknown", "unregistered", "not registered", "not found", "unauthorized"];
    says.iter().any(|word| text.contains(word)) && !text.contains("type=\"password\"")
}
