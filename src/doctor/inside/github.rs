//! GitHub, asked as the gateway asks it: whether it can be reached, takes our id and secret, knows our callback URL, and knows the
//! people of the access rules.
//!
//! Id and secret are tried with a code that was never given out, which is refused for that alone if they are right. Nothing comes of
//! it, and all of it has HTTP 200.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::future::join_all;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, LOCATION};
use http::{Request, Response, StatusCode};
use serde::Deserialize;
use url::{Url, form_urlencoded};

use crate::config::Config;
use crate::doctor::{Examination, Remedy, Trial};
use crate::fetch::{Bounds, FetchError, Fetcher};
use crate::identity::{GitHubSettings, Settings};
use crate::secret::{random, to_base64url};
use crate::trouble::Trouble;

const BOUNDS: Bounds = Bounds { body: 256 * 1024, time: Duration::from_secs(6) };
/// How many users, and how many organisations, are looked up.
const LOOKED_UP: usize = 10;

/// Asks it.
pub(super) async fn examine(examination: &Examination<'_>, config: &Config) {
    let Settings::GitHub(settings) = &config.identity else {
        let asked = [Trouble::GithubUnreachable, Trouble::GithubCredentials, Trouble::GithubCallback];
        examination.not_tried(&asked, "", "people sign in by the dev identity, and not at GitHub");
        return;
    };
    examination.begins("asking GitHub");
    let callback = format!("{}/callback", config.gateway.issuer);
    let fetch = Fetcher::new();
    let case = Case { examination, settings, callback: &callback, fetch: &fetch };
    let (reached, is_known) = tokio::join!(case.examine_api(), case.examine_credentials());
    if is_known {
        case.examine_callback().await;
        if reached {
            case.examine_people(config).await;
        }
    }
}

struct Case<'a> {
    examination: &'a Examination<'a>,
    settings: &'a GitHubSettings,
    callback: &'a str,
    fetch: &'a Fetcher,
}

/// What GitHub says of an error, whatever the status.
#[derive(Deserialize)]
struct Said {
    error: Option<String>,
}

impl Case<'_> {
    /// Whether the API answers. Without a token it says 401, which is an answer.
    async fn examine_api(&self) -> bool {
        let url = below(&self.settings.api, "user");
        match self.fetch.send(get(&url), BOUNDS).await {
            Ok(answer) => self.tell_of_answer(&url, &format!("GET {url}"), answer.status()),
            Err(error) => {
                self.unreachable(&url, &format!("GET {url}"), &error);
                false
            }
        }
    }

    /// Whether id and secret are taken.
    async fn examine_credentials(&self) -> bool {
        let url = below(&self.settings.web, "login/oauth/access_token");
        let tried = format!("POST {url} with a made-up code");
        let GitHubSettings { client_id, client_secret, .. } = self.settings;
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("client_id", client_id)
            .append_pair("client_secret", client_secret.expose())
            .append_pair("code", &to_base64url(&random::<15>()))
            .append_pair("redirect_uri", self.callback)
            .finish();
        let request = Request::post(url.as_str())
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Bytes::from(form));
        let Ok(request) = request else { return false };
        let rest = [Trouble::GithubCredentials, Trouble::GithubCallback];
        let answer = match self.fetch.send(request, BOUNDS).await {
            Ok(answer) => answer,
            Err(error) => {
                self.unreachable(&url, &tried, &error);
                self.examination.not_tried(&rest, "", "GitHub cannot be reached");
                return false;
            }
        };
        if !self.tell_of_answer(&url, &tried, answer.status()) {
            self.examination.not_tried(&rest, "", "GitHub does not answer as it should");
            return false;
        }
        let is_known = self.tell_of_credentials(&tried, &answer);
        if !is_known {
            self.examination.not_tried(&rest[1..], "", "GitHub does not take the client id and secret");
        }
        is_known
    }

    fn tell_of_credentials(&self, tried: &str, answer: &Response<Bytes>) -> bool {
        let said = serde_json::from_slice::<Said>(answer.body()).ok().and_then(|said| said.error);
        let said = said.unwrap_or_default();
        let trial = Trial::new(tried, format!("{} with error {said:?}", answer.status()));
        let id = &self.settings.client_id;
        let remedy = match said.as_str() {
            "bad_verification_code" | "redirect_uri_mismatch" => {
                let found = "the code is refused, and id and secret are taken";
                self.examination.good(Trouble::GithubCredentials, id, Trial::new(tried, found));
                if said == "redirect_uri_mismatch" {
                    self.examination.bad(
                        Trouble::GithubCallback,
                        self.callback,
                        trial,
                        self.callback_remedy(None),
                    );
                    return false;
                }
                return true;
            }
            "incorrect_client_credentials" => {
                let cause =
                    format!("GitHub knows no application {id} with this secret (it says so with HTTP 200).");
                let fix = [
                    format!(
                        "Open {}, choose the OAuth app with client id {id}, \"Generate a new client secret\", and put it into .env: `GITHUB_CLIENT_SECRET=`.",
                        self.apps()
                    ),
                    "Start the gateway again: `just up`, or `sudo systemctl restart portcullis`.".to_owned(),
                ];
                Remedy::new(cause, fix)
            }
            "application_suspended" => {
                let cause = "GitHub has suspended the application.";
                Remedy::new(cause, [format!("See why at {}, and ask GitHub's support.", self.apps())])
            }
            _ if answer.status() == StatusCode::NOT_FOUND => {
                let cause = format!("GitHub never gave out the client id {id}.");
                let fix = format!(
                    "Copy \"Client ID\" of the OAuth app from {} into .env: `GITHUB_CLIENT_ID=`; it is not the App ID.",
                    self.apps()
                );
                Remedy::new(cause, [fix])
            }
            _ => {
                let cause =
                    "What GitHub answers is not understood; something between may answer in its place.";
                let remedy = Remedy::new(
                    cause,
                    [format!(
                        "See it: `curl -si -X POST {}`.",
                        below(&self.settings.web, "login/oauth/access_token")
                    )],
                );
                self.examination.remark(Trouble::GithubCredentials, id, trial, remedy);
                return false;
            }
        };
        self.examination.bad(Trouble::GithubCredentials, id, trial, remedy);
        false
    }

    /// Whether the callback URL is the one that is registered, as far as that is told to somebody who is not signed in.
    async fn examine_callback(&self) {
        let mut url = below(&self.settings.web, "login/oauth/authorize");
        url.query_pairs_mut()
            .append_pair("client_id", &self.settings.client_id)
            .append_pair("redirect_uri", self.callback)
            .append_pair("state", "doctor")
            .append_pair("code_challenge", &to_base64url(&random::<32>()))
            .append_pair("code_challenge_method", "S256");
        let tried = format!(
            "GET {} with redirect_uri={}",
            below(&self.settings.web, "login/oauth/authorize"),
            self.callback
        );
        let answer = match self.fetch.send(get(&url), BOUNDS).await {
            Ok(answer) => answer,
            Err(error) => {
                self.examination.not_tried(
                    &[Trouble::GithubCallback],
                    self.callback,
                    &format!("GitHub gives {error}"),
                );
                return;
            }
        };
        self.tell_of_callback(&tried, &url, &answer);
    }

    fn tell_of_callback(&self, tried: &str, url: &Url, answer: &Response<Bytes>) {
        let location = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let location = location.and_then(|location| url.join(location).ok());
        let told = |found: &str| Trial::new(tried, found);
        let says_mismatch = location.as_ref().is_some_and(|to| {
            to.query_pairs().any(|(name, value)| name == "error" && value == "redirect_uri_mismatch")
        });
        let is_foreign =
            String::from_utf8_lossy(answer.body()).contains("not associated with this application");
        if says_mismatch || is_foreign {
            let registered = location.filter(|_| says_mismatch).map(|mut to| {
                to.set_query(None);
                to.to_string()
            });
            let trial = told("redirect_uri_mismatch");
            self.examination.bad(
                Trouble::GithubCallback,
                self.callback,
                trial,
                self.callback_remedy(registered.as_deref()),
            );
        } else if location.as_ref().is_some_and(|to| to.as_str().starts_with(self.callback)) {
            self.examination.good(Trouble::GithubCallback, self.callback, told("it sends people back there"));
        } else {
            let cause = "GitHub wants a login before it says whether it knows the callback URL, so this cannot be told from here.";
            let fix = format!(
                "Compare it yourself at {}: \"Authorization callback URL\" must be `{}`.",
                self.apps(),
                self.callback
            );
            self.examination.remark(
                Trouble::GithubCallback,
                self.callback,
                told("the login page"),
                Remedy::new(cause, [fix]),
            );
        }
    }

    fn callback_remedy(&self, registered: Option<&str>) -> Remedy {
        let other = registered
            .map_or_else(|| "another callback URL".to_owned(), |url| format!("the callback URL {url}"));
        let cause =
            format!("The OAuth app at GitHub has {other}, and this gateway comes back to {}.", self.callback);
        let fix = format!(
            "At {}, in the OAuth app with client id {}, write as \"Authorization callback URL\": `{}`.",
            self.apps(),
            self.settings.client_id,
            self.callback
        );
        Remedy::new(cause, [fix])
    }

    /// Whether GitHub knows who the access rules name, and the administrators.
    async fn examine_people(&self, config: &Config) {
        let rules = || config.gateway.services.iter().map(|service| &service.access);
        let is_login = |user: &&String| user.as_str() != "*" && !user.contains(':');
        let mut users: Vec<&String> = rules().flat_map(|rules| &rules.users).filter(is_login).collect();
        let mut admins: Vec<&String> = config.gateway.admins.users.iter().filter(is_login).collect();
        let mut orgs: Vec<&str> = rules().flat_map(|rules| &rules.orgs).map(String::as_str).collect();
        orgs.extend(rules().flat_map(|rules| &rules.teams).filter_map(|team| Some(team.split_once('/')?.0)));
        users.sort();
        users.dedup();
        admins.sort();
        admins.dedup();
        orgs.sort_unstable();
        orgs.dedup();
        let users = users.into_iter().take(LOOKED_UP).map(|user| (user.as_str(), "users", "access.users"));
        let admins = admins.into_iter().take(LOOKED_UP).map(|user| (user.as_str(), "users", "admins"));
        let orgs = orgs.into_iter().take(LOOKED_UP).map(|org| (org, "orgs", "access.orgs"));
        let all = users.chain(admins).chain(orgs);
        join_all(all.map(|(name, kind, key)| self.examine_name(name, kind, key))).await;
    }

    /// `key` is where the configuration names it.
    async fn examine_name(&self, name: &str, kind: &'static str, key: &'static str) {
        let url = below(&self.settings.api, &format!("{kind}/{name}"));
        let GitHubSettings { client_id, client_secret, .. } = self.settings;
        let basic = STANDARD.encode(format!("{client_id}:{}", client_secret.expose()));
        let request =
            Request::get(url.as_str()).header(AUTHORIZATION, format!("Basic {basic}")).body(Bytes::new());
        let Ok(request) = request else { return };
        let Ok(answer) = self.fetch.send(request, BOUNDS).await else { return };
        let trial = |found: &str| Trial::new(format!("GET {url}"), found);
        if answer.status() == StatusCode::OK {
            self.examination.good(Trouble::NotAllowed, name, trial("GitHub knows it"));
        } else if answer.status() == StatusCode::NOT_FOUND {
            let cause = format!("`{key}` names {name}, and nobody at GitHub has that name (any more).");
            let fix = format!(
                "Mend it in the configuration; names are those in the address, {}.",
                below(&self.settings.web, "NAME")
            );
            self.examination.remark(Trouble::NotAllowed, name, trial("404"), Remedy::new(cause, [fix]));
        }
    }

    /// Whether an answer is one of GitHub's own.
    fn tell_of_answer(&self, url: &Url, tried: &str, status: StatusCode) -> bool {
        let trial = Trial::new(tried, status.to_string());
        let host = url.host_str().unwrap_or_default();
        if status.is_server_error() {
            let cause = format!("{host} answers, and is not well.");
            let fix = [
                "Wait; https://www.githubstatus.com says how it stands. People who are signed in are not concerned.",
            ];
            self.examination.bad(Trouble::GithubUnreachable, host, trial, Remedy::new(cause, fix));
            return false;
        }
        if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::FORBIDDEN) {
            let cause =
                format!("{host} limits requests from this address, or something between forbids them.");
            self.examination.remark(
                Trouble::GithubUnreachable,
                host,
                trial,
                Remedy::new(cause, ["Wait a few minutes, and look again."]),
            );
            return false;
        }
        self.examination.good(Trouble::GithubUnreachable, host, trial);
        true
    }

    fn unreachable(&self, url: &Url, tried: &str, error: &FetchError) {
        let (host, port) =
            (url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or_default());
        let cause = format!("This machine does not get through to {host}: {}.", why(error));
        let fix = [
            format!("Try it here: `curl -sv -o /dev/null {}`.", url.origin().ascii_serialization()),
            format!(
                "Let this machine out to {host}, port {port}: in its firewall, the provider's, and the container's network."
            ),
        ];
        self.examination.bad(
            Trouble::GithubUnreachable,
            host,
            Trial::new(tried, chain(error)),
            Remedy::new(cause, fix),
        );
    }

    /// Where OAuth apps are registered.
    fn apps(&self) -> Url {
        below(&self.settings.web, "settings/developers")
    }
}

fn get(url: &Url) -> Request<Bytes> {
    let mut request = Request::new(Bytes::new());
    // A URL with a host is a URI.
    if let Ok(uri) = url.as_str().parse() {
        *request.uri_mut() = uri;
    }
    request
}

fn below(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}/{path}", base.path().trim_end_matches('/')));
    url
}

/// In one clause.
fn why(error: &FetchError) -> &'static str {
    let told = chain(error);
    if told.contains("failed to lookup") {
        "nobody here knows its name (DNS)"
    } else if told.contains("refused") {
        "the connection is refused"
    } else if told.contains("certificate") {
        "its certificate is not trusted here, so something between may read along"
    } else if matches!(error, FetchError::Timeout) || told.contains("timed out") {
        "nobody answers, as behind a firewall"
    } else {
        "the connection breaks off"
    }
}

/// An error with its causes.
fn chain(error: &FetchError) -> String {
    let mut told = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        let text = cause.to_string();
        if !told.contains(&text) {
            told = format!("{told}: {text}");
        }
        next = cause.source();
    }
    told
}
