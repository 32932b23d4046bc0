//! The OAuth web flow: the authorize page and the token endpoint.

use std::collections::HashSet;
use std::time::Duration;

use http::header::{self, HeaderValue};
use portcullis::secret::{Digest, random, to_base64url};
use serde_json::json;
use url::{Url, form_urlencoded};

use super::answers::{json_answer, oauth_answer, redirect, text};
use super::{Answer, CLIENT_ID, CLIENT_SECRET, Code, Seen, Token, Visitor, World};

/// How long a code works.
const CODE_LIFE: Duration = Duration::from_mins(10);

impl World {
    /// `GET /login/oauth/authorize`.
    pub(super) fn authorize(&mut self, seen: &Seen) -> Answer {
        let query = |name: &str| seen.query.get(name).map_or("", String::as_str);
        if query("client_id") != CLIENT_ID {
            return text(404, "<h1>Page not found</h1>");
        }
        let Ok(asked) = query("redirect_uri").parse::<Url>() else { return text(400, "redirect_uri") };
        let back = |to: &Url, name: &str, value: &str| {
            let mut to = to.clone();
            to.query_pairs_mut().append_pair(name, value).append_pair("state", query("state"));
            redirect(&to)
        };
        if let Some(registered) = self.callback.as_ref().filter(|registered| !is_below(registered, &asked)) {
            return back(registered, "error", "redirect_uri_mismatch");
        }
        if self.suspended {
            return back(&asked, "error", "application_suspended");
        }
        if query("code_challenge_method") != "S256" || query("code_challenge").len() != 43 {
            return text(400, "this GitHub insists on PKCE with S256");
        }
        let login = match (&self.visitor, seen.query.get("as")) {
            (Visitor::Approves(login), _) => login.clone(),
            (Visitor::Asks, Some(login)) if !login.is_empty() => login.clone(),
            (Visitor::Denies, _) | (Visitor::Asks, Some(_)) => {
                return back(&asked, "error", "access_denied");
            }
            (Visitor::Asks, None) => return self.page(seen),
        };
        let Some(user) = self.by_login(&login).map(|user| user.id) else { return text(404, "no such user") };
        let code = format!("{:016x}", u64::from_be_bytes(random()));
        let issued = self.now();
        let (scope, challenge) = (query("scope").to_owned(), query("code_challenge").to_owned());
        let grant = Code { user, scope, challenge, redirect_uri: asked.to_string(), issued };
        self.codes.insert(code.clone(), grant);
        back(&asked, "code", &code)
    }

    /// The page a person would see: the same request again, with `as=LOGIN`, or with an empty `as` for "cancel".
    fn page(&self, seen: &Seen) -> Answer {
        let link = |login: &str, label: &str| {
            let query = form_urlencoded::Serializer::new(String::new())
                .extend_pairs(&seen.query)
                .append_pair("as", login)
                .finish()
                .replace('&', "&amp;");
            format!("<p><a href=\"/login/oauth/authorize?{query}\">{label}</a></p>")
        };
        let users: String = self
            .users
            .iter()
            .map(|user| link(&user.login, &format!("Authorize as {}", user.login)))
            .collect();
        let cancel = link("", "Cancel");
        let mut page = text(200, &format!("<!doctype html><title>Fake GitHub</title>{users}{cancel}"));
        page.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        page
    }

    /// `POST /login/oauth/access_token`.
    pub(super) fn redeem(&mut self, seen: &Seen) -> Answer {
        let form = |name: &str| seen.form.get(name).map_or("", String::as_str);
        if form("client_id") != CLIENT_ID {
            return json_answer(404, &json!({ "error": "Not Found" }));
        }
        let error = |code| oauth_answer(seen, &[("error", code), ("error_description", "Because.")]);
        if form("client_secret") != CLIENT_SECRET {
            return error("incorrect_client_credentials");
        }
        if self.suspended {
            return error("application_suspended");
        }
        if form("grant_type") == "refresh_token" {
            return self.renew(seen);
        }
        // Taken before anything about it is checked: a code works once.
        let now = self.now();
        let Some(code) = self.codes.remove(form("code")).filter(|code| now < code.issued + CODE_LIFE) else {
            return error("bad_verification_code");
        };
        if form("redirect_uri") != code.redirect_uri {
            return error("redirect_uri_mismatch");
        }
        if Digest::of(form("code_verifier").as_bytes()).to_base64url() != code.challenge {
            return error("bad_verification_code");
        }
        let scopes = code.scope.split_whitespace().map(str::to_owned).collect();
        self.give(seen, code.user, scopes)
    }

    /// `grant_type=refresh_token`: both old tokens stop working.
    fn renew(&mut self, seen: &Seen) -> Answer {
        let presented = seen.form.get("refresh_token");
        let old = self
            .tokens
            .iter()
            .find(|(_, token)| token.refresh.is_some() && token.refresh.as_ref() == presented);
        let Some((name, old)) = old.map(|(name, old)| (name.clone(), old.clone())) else {
            return oauth_answer(seen, &[("error", "bad_refresh_token"), ("error_description", "Because.")]);
        };
        self.tokens.remove(&name);
        self.give(seen, old.user, old.scopes)
    }

    /// A new token; a GitHub App's ends, and names no scopes.
    fn give(&mut self, seen: &Seen, user: u64, scopes: HashSet<String>) -> Answer {
        let life = self.token_life;
        let access =
            format!("{}_{}", if life.is_some() { "ghu" } else { "gho" }, to_base64url(&random::<27>()));
        let refresh = life.map(|_| format!("ghr_{}", to_base64url(&random::<27>())));
        let mut named: Vec<&str> = scopes.iter().map(String::as_str).collect();
        named.sort_unstable();
        let named = if life.is_some() { String::new() } else { named.join(",") };
        let seconds = life.map(|life| life.as_secs().to_string()).unwrap_or_default();
        let mut answer = vec![("access_token", access.as_str()), ("token_type", "bearer"), ("scope", &named)];
        if let Some(refresh) = &refresh {
            answer.extend([("expires_in", seconds.as_str()), ("refresh_token", refresh)]);
            answer.push(("refresh_token_expires_in", "15897600"));
        }
        let answer = oauth_answer(seen, &answer);
        self.given.extend([Some(access.clone()), refresh.clone()].into_iter().flatten());
        let ends = life.map(|life| self.now() + life);
        self.tokens.insert(access, Token { user, scopes, ends, refresh });
        answer
    }
}

/// GitHub's rule for callbacks: the same host and port (on loopback any port), the same path or one below it.
fn is_below(registered: &Url, asked: &Url) -> bool {
    let loopback = matches!(registered.host_str(), Some("127.0.0.1" | "[::1]" | "localhost"));
    let port = loopback || registered.port_or_known_default() == asked.port_or_known_default();
    let path = registered.path().trim_end_matches('/');
    let below = asked.path().strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    registered.scheme() == asked.scheme() && registered.host() == asked.host() && port && below
}
