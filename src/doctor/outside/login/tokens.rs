//! From the code to the token, to the MCP server with it, to a new one, and all of it back.

use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use url::{Url, form_urlencoded};

use crate::doctor::outside::View;
use crate::doctor::outside::authority::Authority;
use crate::doctor::outside::probe;
use crate::doctor::outside::registration::{Registered, said};
use crate::doctor::web::{Answer, Ask, Fault};
use crate::doctor::{Remedy, Trial};
use crate::secret::Secret;
use crate::trouble::Trouble;

/// A client that signs in, and what it was given.
pub(super) struct Session<'a> {
    pub(super) view: &'a View<'a>,
    pub(super) authority: &'a Authority,
    pub(super) client: &'a Registered,
    pub(super) redirect: &'a str,
    /// Whether to begin nothing more.
    pub(super) stop: CancellationToken,
    given: Mutex<Vec<Given>>,
}

/// A token that came, good or not, and is to be given back.
struct Given {
    token: Secret,
    hint: &'static str,
    /// Whether another has come in its place: then it is no fault if nobody knows it any more.
    replaced: bool,
}

struct Tokens {
    access: Secret,
    refresh: Option<Secret>,
}

impl<'a> Session<'a> {
    pub(super) fn new(
        view: &'a View<'a>,
        authority: &'a Authority,
        client: &'a Registered,
        redirect: &'a str,
    ) -> Self {
        Self { view, authority, client, redirect, stop: CancellationToken::new(), given: Mutex::default() }
    }

    /// Everything that can be done with a code.
    pub(super) async fn run(&self, code: &Secret, verifier: &Secret) {
        let Some(tokens) = self.redeem(code, verifier).await else {
            return self
                .view
                .not_tried(&[Trouble::TokenUnaccepted, Trouble::RefreshFailed], "there is no token");
        };
        if self.stop.is_cancelled() {
            return;
        }
        if !self.call(&tokens).await {
            return self.view.not_tried(&[Trouble::RefreshFailed], "the token is of no use");
        }
        if self.stop.is_cancelled() {
            return;
        }
        let fresh = self.refresh(&tokens).await;
        if !self.stop.is_cancelled() {
            self.revoke(&fresh.unwrap_or(tokens)).await;
        }
    }

    async fn redeem(&self, code: &Secret, verifier: &Secret) -> Option<Tokens> {
        self.view.examination.begins("redeeming the code");
        let fields = [
            ("grant_type", "authorization_code"),
            ("code", code.expose()),
            ("redirect_uri", self.redirect),
            ("code_verifier", verifier.expose()),
            ("resource", &self.authority.resource),
        ];
        let (tried, outcome) = self.token(&fields).await?;
        let trial = Trial::new(tried, said(&outcome));
        let tokens =
            outcome.ok().filter(|answer| answer.status.is_success()).and_then(|answer| tokens(&answer));
        let Some(tokens) = tokens else {
            self.view.examination.bad(Trouble::ExchangeFailed, self.view.subject, trial, Remedy::default());
            return None;
        };
        self.view.examination.good(Trouble::ExchangeFailed, self.view.subject, trial);
        Some(tokens)
    }

    /// Keeps whatever tokens came, before anybody judges them: what is there is to be given back.
    fn keep(&self, answer: &Answer) {
        let Some(document) = answer.json() else { return };
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        for hint in ["access_token", "refresh_token"] {
            let Some(token) = document.get(hint).and_then(Value::as_str) else { continue };
            for older in given.iter_mut().filter(|older| older.hint == hint) {
                older.replaced = true;
            }
            given.push(Given { token: Secret::new(token.to_owned()), hint, replaced: false });
        }
    }

    /// Asks the token endpoint as this client.
    async fn token(&self, fields: &[(&str, &str)]) -> Option<(String, Result<Answer, Fault>)> {
        let endpoint = self.authority.endpoint("token_endpoint")?;
        let kind = fields.first().map_or("", |(_, value)| *value);
        let tried = format!("POST {endpoint} ({kind})");
        let outcome = self.view.web.ask(self.form(&endpoint, fields)).await;
        if let Ok(answer) = &outcome {
            self.keep(answer);
        }
        Some((tried, outcome))
    }

    /// A form from this client, which says who it is as the metadata wants it.
    fn form(&self, endpoint: &Url, fields: &[(&str, &str)]) -> Ask {
        let id = self.client.client_id.as_str();
        let Some(secret) = &self.client.secret else {
            return Ask::post_form(endpoint, &[fields, &[("client_id", id)]].concat());
        };
        let basic = self.authority.lists("token_endpoint_auth_methods_supported", "client_secret_basic");
        if basic == Some(false) {
            let named = [("client_id", id), ("client_secret", secret.expose())];
            return Ask::post_form(endpoint, &[fields, &named].concat());
        }
        let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let pair = Secret::new(format!("{}:{}", encode(id), encode(secret.expose())));
        let value = Secret::new(format!("Basic {}", STANDARD.encode(pair.expose())));
        Ask::post_form(endpoint, fields).authorization(&value)
    }

    /// Uses the token at the MCP server: whether it was taken.
    async fn call(&self, tokens: &Tokens) -> bool {
        let (view, url) = (self.view, self.view.url);
        view.examination.begins("calling the MCP server with the token");
        let discovered = view.web.ask(probe::discover(url).bearer(&tokens.access)).await;
        let speaks_modern = result(&discovered).is_some();
        let begun = if speaks_modern {
            discovered
        } else {
            view.web.ask(probe::initialize(url).bearer(&tokens.access)).await
        };
        let what = if speaks_modern { "server/discover" } else { "initialize" };
        let trial = Trial::new(format!("POST {url} ({what}, with the token)"), probe::found(&begun));
        if let Some((trouble, cause, fix)) = refused(&begun) {
            view.examination.bad(trouble, view.subject, trial, Remedy::new(cause, [fix]));
            return false;
        }
        let listed = if speaks_modern {
            view.web.ask(probe::modern(url, "tools/list").bearer(&tokens.access)).await
        } else {
            self.list(tokens, &begun).await
        };
        let tools = result(&listed).and_then(|result| result.get("tools")?.as_array().map(Vec::len));
        if let Some(count) = tools {
            let tried = format!("POST {url} ({what}, tools/list, with the token)");
            view.good(
                Trouble::TokenUnaccepted,
                tried,
                format!("{count} tool{}", if count == 1 { "" } else { "s" }),
            );
        } else {
            let trial = Trial::new(format!("POST {url} (tools/list, with the token)"), probe::found(&listed));
            let cause = "The token is taken, and the server does not list its tools: it may have none.";
            view.examination.remark(
                Trouble::TokenUnaccepted,
                view.subject,
                trial,
                Remedy::new(cause, [""; 0]),
            );
        }
        true
    }

    /// `tools/list` in the session that `begun` has begun, which is ended again.
    async fn list(&self, tokens: &Tokens, begun: &Result<Answer, Fault>) -> Result<Answer, Fault> {
        let (web, url) = (self.view.web, self.view.url);
        let session =
            begun.as_ref().map(|answer| answer.header("mcp-session-id").to_owned()).unwrap_or_default();
        let agreed =
            result(begun).and_then(|result| Some(result.get("protocolVersion")?.as_str()?.to_owned()));
        let agreed = agreed.unwrap_or_else(|| probe::LEGACY.to_owned());
        let dress = |ask: Ask| {
            let ask = ask.bearer(&tokens.access).header("mcp-protocol-version", &agreed);
            if session.is_empty() { ask } else { ask.header("mcp-session-id", &session) }
        };
        let ready = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        let ready = Ask::post_json(url, &ready).header("accept", probe::ACCEPT).without_body();
        drop(web.ask(dress(ready)).await);
        let listed = web.ask(dress(probe::call(url, "tools/list", &json!({})))).await;
        if !session.is_empty() {
            drop(web.ask(dress(Ask::new(http::Method::DELETE, url))).await);
        }
        listed
    }

    /// Begins at the MCP server with this token; a session that comes of it is ended again.
    async fn use_once(&self, access: &Secret) -> Result<Answer, Fault> {
        let (web, url) = (self.view.web, self.view.url);
        let used = web.ask(probe::initialize(url).bearer(access)).await;
        if let Some(end) = used.as_ref().ok().and_then(|answer| probe::end(url, answer)) {
            drop(web.ask(end.bearer(access)).await);
        }
        used
    }

    /// Refreshes, and uses what came; the new tokens.
    async fn refresh(&self, tokens: &Tokens) -> Option<Tokens> {
        let view = self.view;
        let Some(refresh) = &tokens.refresh else {
            let trial = Trial::new("the answer of the token endpoint", "no refresh_token");
            let cause = "Without a refresh token people sign in again whenever the access token ends.";
            let fix =
                ["Give public clients refresh tokens, and replace them at each use (OAuth 2.1 §4.3.1)."];
            view.examination.remark(Trouble::RefreshFailed, view.subject, trial, Remedy::new(cause, fix));
            return None;
        };
        view.examination.begins("refreshing the token");
        let fields = [
            ("grant_type", "refresh_token"),
            ("refresh_token", refresh.expose()),
            ("resource", self.authority.resource.as_str()),
        ];
        let (tried, outcome) = self.token(&fields).await?;
        let found = said(&outcome);
        let fresh = outcome
            .ok()
            .filter(|answer| answer.status.is_success())
            .and_then(|answer| tokens_of(&answer, refresh));
        let Some(fresh) = fresh else {
            let trial = Trial::new(tried, found);
            view.examination.bad(Trouble::RefreshFailed, view.subject, trial, Remedy::default());
            return None;
        };
        let used = self.use_once(&fresh.access).await;
        let trial = Trial::new(
            format!("{tried}, and the new token at {}", view.url),
            format!("{found}; {}", probe::found(&used)),
        );
        match refused(&used) {
            Some((_, cause, fix)) => {
                view.examination.bad(Trouble::RefreshFailed, view.subject, trial, Remedy::new(cause, [fix]));
            }
            None => view.examination.good(Trouble::RefreshFailed, view.subject, trial),
        }
        Some(fresh)
    }

    /// Gives the tokens back, and sees whether they are good for nothing then.
    async fn revoke(&self, tokens: &Tokens) {
        let view = self.view;
        let Some(endpoint) = self.authority.endpoint("revocation_endpoint") else { return };
        let refused = self.take_back().await;
        let used = self.use_once(&tokens.access).await;
        let after = used.as_ref().map_or(0, |answer| answer.status.as_u16());
        let (found, cause, fix) = match refused {
            Some(said) => (
                said,
                "The authorization server does not revoke a token for a public client: the token stays good until its end.",
                "Take `token` and `client_id` alone from clients without a secret (RFC 7009 §2.1).",
            ),
            None if after == 401 => return,
            None => (
                probe::found(&used),
                "A token that was revoked is still taken at the MCP server, for as long as it says of itself that it is good.",
                "Let access tokens live for minutes, or have the MCP server ask (RFC 7662).",
            ),
        };
        let trial = Trial::new(format!("POST {endpoint}, then the token at {}", view.url), found);
        view.examination.remark(Trouble::TokenUnaccepted, view.subject, trial, Remedy::new(cause, [fix]));
    }

    /// Revokes what was given and not revoked yet (RFC 7009), the newest first; why it is not revoked if it is not.
    pub(super) async fn take_back(&self) -> Option<String> {
        let given = std::mem::take(&mut *self.given.lock().unwrap_or_else(PoisonError::into_inner));
        if given.is_empty() {
            return None;
        }
        let Some(endpoint) = self.authority.endpoint("revocation_endpoint") else {
            return Some("the metadata has no revocation_endpoint".to_owned());
        };
        let mut refused = None;
        for Given { token, hint, replaced } in given.iter().rev() {
            let form = self.form(&endpoint, &[("token", token.expose()), ("token_type_hint", *hint)]);
            let outcome = self.view.web.ask(form).await;
            if !(*replaced || outcome.as_ref().is_ok_and(|answer| answer.status.is_success())) {
                refused = Some(said(&outcome));
            }
        }
        refused
    }
}

fn tokens(answer: &Answer) -> Option<Tokens> {
    let document = answer.json()?;
    let text = |name: &str| document.get(name).and_then(Value::as_str);
    if !text("token_type")?.eq_ignore_ascii_case("bearer") {
        return None;
    }
    Some(Tokens {
        access: Secret::new(text("access_token")?.to_owned()),
        refresh: text("refresh_token").map(|token| Secret::new(token.to_owned())),
    })
}

/// What a refresh gives: the old refresh token stays good if there is no new one (RFC 6749 §6).
fn tokens_of(answer: &Answer, old: &Secret) -> Option<Tokens> {
    let tokens = tokens(answer)?;
    Some(Tokens { refresh: tokens.refresh.or_else(|| Some(old.clone())), ..tokens })
}

fn result(outcome: &Result<Answer, Fault>) -> Option<Value> {
    outcome.as_ref().ok()?.json()?.get("result").cloned()
}

/// Why a call with a token was not answered.
fn refused(outcome: &Result<Answer, Fault>) -> Option<(Trouble, String, String)> {
    let answer = match outcome {
        Ok(answer) => answer,
        Err(fault) => {
            let fix = "See the server's own log for that request.".to_owned();
            return Some((
                Trouble::UpstreamDown,
                format!("The server does not answer a call with a token ({fault})."),
                fix,
            ));
        }
    };
    let challenge = answer.header("www-authenticate").to_owned();
    match answer.status.as_u16() {
        401 => Some((
            Trouble::TokenUnaccepted,
            format!("The MCP server does not believe the token that its own authorization server has just given. It says: {challenge}"),
            "Compare what the token is for (`aud`, `iss`) with what the MCP server expects; for Portcullis: `portcullis token inspect TOKEN`.".to_owned(),
        )),
        403 => Some((
            Trouble::ScopeMissing,
            format!("The token is good and lacks a scope. The server says: {challenge}"),
            "Let the metadata's `scopes_supported` and the challenge's `scope` name what is needed, so that clients ask for it.".to_owned(),
        )),
        504 => Some((
            Trouble::UpstreamSlow,
            "The server behind does not answer in time.".to_owned(),
            "See `portcullis status`, and the log of the server behind.".to_owned(),
        )),
        500.. => Some((
            Trouble::UpstreamDown,
            format!("The sign-in is good, and the server behind is not: {}.", answer.status.as_u16()),
            "See `portcullis status`, and the log of the server behind.".to_owned(),
        )),
        _ => None,
    }
}
