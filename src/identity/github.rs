//! GitHub, or a GitHub Enterprise Server: the authorization code flow by the `oauth2` crate with PKCE, then a
//! few questions to the REST API. The identity is the numeric id, for a login can be renamed and taken over. The
//! token goes back to the caller, who asks again with it; a GitHub App's ends and is renewed.

mod api;
mod exchange;

use std::time::Duration;

use oauth2::basic::{BasicClient, BasicTokenResponse};
use oauth2::{
    AuthType, AuthUrl, AuthorizationCode, ClientId, ClientSecret, CsrfToken, EndpointNotSet, EndpointSet,
    PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, RefreshToken, Scope, TokenResponse, TokenUrl,
};
use url::Url;

use self::api::Api;
use self::exchange::TokenEndpoint;
use super::{Asked, BoxFuture, Identity, IdentityError, Person, ProviderToken, SignInStart, SignedIn};
use crate::fetch::{Bounds, FetchError, Fetcher};
use crate::oauth::{Subject, User};
use crate::secret::{self, Secret};
use crate::time::Timestamp;
use crate::trouble::Trouble;

/// Bounds of one request to GitHub; a page of 100 addresses is about 15 KB.
const BOUNDS: Bounds = Bounds { body: 256 * 1024, time: Duration::from_secs(10) };

/// How long all questions about one person may take together.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the configuration says of GitHub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitHubSettings {
    /// The OAuth app's client id.
    pub client_id: String,
    /// Its secret.
    pub client_secret: Secret,
    /// `https://github.com`, or a GitHub Enterprise Server.
    pub web: Url,
    /// `https://api.github.com`, or `https://HOST/api/v3`.
    pub api: Url,
}

/// An `oauth2` client that knows where to authorize and where to redeem.
type Client = BasicClient<EndpointSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointSet>;

/// GitHub.
pub struct GitHub {
    settings: GitHubSettings,
    callback: RedirectUrl,
    fetch: Fetcher,
}

impl GitHub {
    /// For an issuer without trailing slash; the callback is `<issuer>/callback`.
    ///
    /// # Panics
    /// If `issuer` is not a URL: the configuration's check lets none through.
    #[must_use]
    pub fn new(settings: GitHubSettings, issuer: String, fetch: Fetcher) -> Self {
        let callback = RedirectUrl::new(issuer + "/callback").expect("the issuer is a URL");
        Self { settings, callback, fetch }
    }

    /// The crate's client; making one costs a few short strings.
    fn client(&self) -> Client {
        let endpoint = |name| below(&self.settings.web, &["login", "oauth", name]);
        BasicClient::new(ClientId::new(self.settings.client_id.clone()))
            .set_client_secret(ClientSecret::new(self.settings.client_secret.expose().to_owned()))
            .set_auth_uri(AuthUrl::from_url(endpoint("authorize")))
            .set_token_uri(TokenUrl::from_url(endpoint("access_token")))
            .set_redirect_uri(self.callback.clone())
            .set_auth_type(AuthType::RequestBody)
    }

    /// Asks about the person whose token this is.
    async fn person(&self, token: &Secret, asked: &Asked) -> Result<Person, IdentityError> {
        let api = Api::new(&self.fetch, &self.settings.api, token.clone());
        let account = api.account().await?;
        let email = if asked.email { api.primary_email().await? } else { None };
        let subject = Subject::new("github", &account.id.to_string());
        let user = User { subject, login: account.login, email };
        let mut person = Person { user, orgs: Vec::new(), teams: Vec::new(), hidden: Vec::new() };
        for org in &asked.orgs {
            api.look_at_org(org, &mut person).await?;
        }
        for team in &asked.teams {
            api.look_at_team(team, &mut person).await?;
        }
        Ok(person)
    }

    async fn redeem(
        &self,
        code: &Secret,
        verifier: &Secret,
        asked: &Asked,
        now: Timestamp,
    ) -> Result<ProviderToken, IdentityError> {
        let answer = self
            .client()
            .exchange_code(AuthorizationCode::new(code.expose().to_owned()))
            .set_pkce_verifier(PkceCodeVerifier::new(verifier.expose().to_owned()))
            .request_async(&TokenEndpoint(&self.fetch))
            .await
            .map_err(exchange::error)?;
        // GitHub separates scopes by commas, so the crate sees them as one. A GitHub App's token names none.
        let granted: Vec<&str> =
            answer.scopes().into_iter().flatten().flat_map(|scope| scope.split(',')).map(str::trim).collect();
        let missing: Vec<&str> = scopes(asked).filter(|scope| !covers(&granted, scope)).collect();
        if granted.iter().any(|scope| !scope.is_empty()) && !missing.is_empty() {
            tracing::warn!(?missing, "GitHub granted fewer scopes than were asked for");
        }
        Ok(token(&answer, now))
    }

    async fn refresh(&self, refresh: &Secret, now: Timestamp) -> Result<ProviderToken, IdentityError> {
        let answer = self
            .client()
            .exchange_refresh_token(&RefreshToken::new(refresh.expose().to_owned()))
            .request_async(&TokenEndpoint(&self.fetch))
            .await
            .map_err(exchange::error)?;
        Ok(token(&answer, now))
    }
}

/// The scopes without which GitHub would not tell what is asked.
fn scopes(asked: &Asked) -> impl Iterator<Item = &'static str> {
    let org = asked.memberships().then_some("read:org");
    let email = asked.email.then_some("user:email");
    std::iter::once("read:user").chain(org).chain(email)
}

fn token(answer: &BasicTokenResponse, now: Timestamp) -> ProviderToken {
    ProviderToken {
        access: Secret::new(answer.access_token().secret().clone()),
        ends: answer.expires_in().map(|life| now.after(life)),
        refresh: answer.refresh_token().map(|refresh| Secret::new(refresh.secret().clone())),
    }
}

/// Lets a browser or a client wait no longer than this.
async fn in_time<T>(answer: impl Future<Output = Result<T, IdentityError>>) -> Result<T, IdentityError> {
    tokio::time::timeout(PATIENCE, answer).await.unwrap_or(Err(IdentityError::Unreachable))
}

impl Identity for GitHub {
    fn name(&self) -> &'static str {
        "GitHub"
    }

    fn asks_for(&self, asked: &Asked) -> Vec<&'static str> {
        let orgs = asked.memberships().then_some("your organisation memberships");
        let email = asked.email.then_some("your e-mail addresses");
        std::iter::once("your public profile").chain(orgs).chain(email).collect()
    }

    fn start(&self, state: &Secret, asked: &Asked, another_account: bool) -> SignInStart {
        let verifier = PkceCodeVerifier::new(secret::to_base64url(&secret::random::<32>()));
        let client = self.client();
        let mut request = client
            .authorize_url(|| CsrfToken::new(state.expose().to_owned()))
            .add_scopes(scopes(asked).map(|scope| Scope::new(scope.to_owned())))
            .set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&verifier));
        if another_account {
            request = request.add_extra_param("prompt", "select_account");
        }
        let (url, _state) = request.url();
        SignInStart { url: url.into(), verifier: Secret::new(verifier.into_secret()) }
    }

    fn finish<'a>(
        &'a self,
        code: &'a Secret,
        verifier: &'a Secret,
        asked: &'a Asked,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<SignedIn, IdentityError>> {
        Box::pin(in_time(async move {
            let token = self.redeem(code, verifier, asked, now).await?;
            Ok(SignedIn { person: self.person(&token.access, asked).await?, token })
        }))
    }

    fn recheck<'a>(
        &'a self,
        token: &'a ProviderToken,
        asked: &'a Asked,
    ) -> BoxFuture<'a, Result<Person, IdentityError>> {
        Box::pin(in_time(self.person(&token.access, asked)))
    }

    fn renew<'a>(
        &'a self,
        token: &'a ProviderToken,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<ProviderToken, IdentityError>> {
        Box::pin(in_time(async move {
            self.refresh(token.refresh.as_ref().ok_or(IdentityError::TokenRejected)?, now).await
        }))
    }

    fn refused(&self, error: &str) -> IdentityError {
        exchange::meaning(error)
    }
}

/// Whether the granted scopes allow what `scope` would: some of GitHub's contain others.
fn covers(granted: &[&str], scope: &str) -> bool {
    let wider: &[&str] = match scope {
        "read:org" => &["write:org", "admin:org"],
        _ => &["user"],
    };
    granted.iter().any(|granted| *granted == scope || wider.contains(granted))
}

/// `base` with `segments` behind its path, each percent-encoded; a trailing slash of `base` makes no difference.
fn below(base: &Url, segments: &[&str]) -> Url {
    let mut url = base.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(segments);
    }
    url
}

/// What it means that there is no answer. The source chain goes to the log here: a page cannot use it.
fn no_answer(error: &FetchError) -> IdentityError {
    let meaning = match error {
        FetchError::TooLarge => IdentityError::Answer,
        FetchError::Roots(_) | FetchError::NotHttps | FetchError::Unreachable(_) | FetchError::Timeout => {
            IdentityError::Unreachable
        }
    };
    let trouble = Trouble::GithubUnreachable.id();
    tracing::warn!(trouble, error = error as &dyn std::error::Error, "GitHub cannot be asked");
    meaning
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn github(web: &str) -> GitHub {
        let settings = GitHubSettings {
            client_id: "Iv1.client".into(),
            client_secret: Secret::new("very-secret".into()),
            web: web.parse().unwrap(),
            api: "https://api.github.com".parse().unwrap(),
        };
        GitHub::new(settings, "https://auth.example.com".into(), Fetcher::new())
    }

    fn started(web: &str, state: &str) -> SignInStart {
        github(web).start(&Secret::new(state.into()), &Asked::default(), false)
    }

    fn query(url: &str) -> HashMap<String, String> {
        url.parse::<Url>().unwrap().query_pairs().into_owned().collect()
    }

    // F2
    #[test]
    fn a_sign_in_starts_with_an_s256_challenge_of_its_own_verifier() {
        let start = started("https://github.com", "s&t=a te");
        assert!(start.url.starts_with("https://github.com/login/oauth/authorize?"), "{}", start.url);
        let query = query(&start.url);
        assert_eq!(query["code_challenge_method"], "S256");
        assert_eq!(query["code_challenge"], start.verifier.digest().to_base64url());
        assert_eq!(query["response_type"], "code");
        assert_eq!(query["client_id"], "Iv1.client");
        assert_eq!(query["redirect_uri"], "https://auth.example.com/callback");
        assert_eq!(query["state"], "s&t=a te");
        assert!(!query.contains_key("prompt") && !start.url.contains("very-secret"));
    }

    #[test]
    fn every_sign_in_has_a_verifier_of_43_url_safe_characters_that_is_new() {
        let start = || started("https://github.com", "state").verifier;
        let (first, second) = (start(), start());
        assert_ne!(first, second);
        assert_eq!(first.expose().len(), 43);
        assert!(first.expose().bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
    }

    #[test]
    fn only_the_scopes_that_some_rule_needs_are_asked_for() {
        let some = || vec!["acme/core".to_owned()];
        for (orgs, teams, email, scopes) in [
            (vec![], vec![], false, "read:user"),
            (some(), vec![], false, "read:user read:org"),
            (vec![], some(), false, "read:user read:org"),
            (vec![], vec![], true, "read:user user:email"),
            (some(), some(), true, "read:user read:org user:email"),
        ] {
            let asked = Asked { orgs, teams, email };
            let start = github("https://github.com").start(&Secret::new("state".into()), &asked, false);
            assert_eq!(query(&start.url)["scope"], scopes);
        }
    }

    #[test]
    fn another_account_makes_github_ask_which() {
        let state = Secret::new("state".into());
        let start = github("https://github.com").start(&state, &Asked::default(), true);
        assert_eq!(query(&start.url)["prompt"], "select_account");
    }

    // F6
    #[test]
    fn an_enterprise_servers_address_may_end_in_a_slash_or_have_a_path() {
        for (web, url) in [
            ("https://git.example.com/", "https://git.example.com/login/oauth/authorize?"),
            ("https://example.com/git", "https://example.com/git/login/oauth/authorize?"),
            ("https://example.com/git/", "https://example.com/git/login/oauth/authorize?"),
        ] {
            let start = started(web, "state");
            assert!(start.url.starts_with(url), "{}", start.url);
        }
    }

    // F5
    #[test]
    fn what_github_says_at_the_callback_is_understood() {
        let github = github("https://github.com");
        for (error, meaning) in [
            ("access_denied", IdentityError::Denied),
            ("application_suspended", IdentityError::Suspended),
            ("redirect_uri_mismatch", IdentityError::Callback),
            ("something_new", IdentityError::Answer),
            ("", IdentityError::Answer),
        ] {
            assert_eq!(github.refused(error), meaning, "{error}");
        }
    }

    #[test]
    fn a_wider_scope_covers_a_narrower_one() {
        assert!(covers(&["admin:org", "user"], "read:org") && covers(&["user"], "user:email"));
        assert!(
            !covers(&["user"], "read:org")
                && !covers(&["read:org"], "read:user")
                && !covers(&[], "read:user")
        );
    }

    #[test]
    fn the_secret_is_not_in_the_settings_debug() {
        let shown = format!("{:?}", github("https://github.com").settings);
        assert!(!shown.contains("very-secret"), "{shown}");
    }
}
