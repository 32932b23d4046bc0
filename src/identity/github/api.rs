//! The questions put to GitHub's REST API with a person's token: who is this, which address is verified, which
//! organisations and teams is the person an active member of.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use url::Url;

use super::{BOUNDS, below, no_answer};
use crate::fetch::Fetcher;
use crate::identity::{Hidden, IdentityError, Person};
use crate::secret::Secret;

const MEDIA_TYPE: HeaderValue = HeaderValue::from_static("application/vnd.github+json");
const API_VERSION: HeaderValue = HeaderValue::from_static("2022-11-28");
const SSO: HeaderName = HeaderName::from_static("x-github-sso");

/// How many pages of a list are read: a thousand entries.
const PAGES: usize = 10;

/// GitHub's API in one person's name.
pub(super) struct Api<'a> {
    fetch: &'a Fetcher,
    base: &'a Url,
    token: Secret,
}

/// `GET /user`.
#[derive(Debug, Deserialize)]
pub(super) struct Account {
    /// Stays when the login is renamed, and is never given to anybody else.
    pub(super) id: u64,
    /// A label.
    pub(super) login: String,
}

#[derive(Deserialize)]
struct Email {
    #[serde(rename = "email")]
    address: String,
    primary: bool,
    verified: bool,
}

#[derive(Deserialize)]
struct Membership {
    state: String,
}

/// What is seen of a membership.
enum Standing {
    Active,
    Absent,
    Hidden(IdentityError),
}

impl<'a> Api<'a> {
    pub(super) const fn new(fetch: &'a Fetcher, base: &'a Url, token: Secret) -> Self {
        Self { fetch, base, token }
    }

    /// Who the token belongs to.
    pub(super) async fn account(&self) -> Result<Account, IdentityError> {
        let response = self.get(&below(self.base, &["user"])).await?;
        if response.status() == StatusCode::FORBIDDEN && says(response.body(), "suspended") {
            tracing::info!("GitHub has suspended an account");
            return Err(IdentityError::TokenRejected);
        }
        if response.status() != StatusCode::OK {
            return Err(unexpected("/user", response.status()));
        }
        let account: Account = parse(&response)?;
        // The login goes into a header for the servers behind.
        let fits = (1..=100).contains(&account.login.len())
            && account.login.bytes().all(|byte| byte.is_ascii_graphic());
        if fits { Ok(account) } else { Err(IdentityError::Answer) }
    }

    /// The primary address, if it is verified; `None` too if GitHub does not let us see it.
    pub(super) async fn primary_email(&self) -> Result<Option<String>, IdentityError> {
        let mut url = below(self.base, &["user", "emails"]);
        url.set_query(Some("per_page=100"));
        for _ in 0..PAGES {
            let response = self.get(&url).await?;
            if matches!(response.status(), StatusCode::FORBIDDEN | StatusCode::NOT_FOUND) {
                tracing::warn!("GitHub shows no e-mail address: the token lacks the permission");
                return Ok(None);
            }
            if response.status() != StatusCode::OK {
                return Err(unexpected("/user/emails", response.status()));
            }
            let found =
                parse::<Vec<Email>>(&response)?.into_iter().find(|email| email.primary && email.verified);
            match (found, self.next_page(response.headers())?) {
                (Some(email), _) => return Ok(Some(email.address)),
                (None, Some(next)) => url = next,
                (None, None) => return Ok(None),
            }
        }
        Ok(None)
    }

    /// Adds to `person` whether they are an active member of `org`, or why that cannot be seen.
    pub(super) async fn look_at_org(&self, org: &str, person: &mut Person) -> Result<(), IdentityError> {
        let of = org.to_ascii_lowercase();
        match self.standing(&["user", "memberships", "orgs", org], org).await? {
            Standing::Active => person.orgs.push(of),
            Standing::Absent => {}
            Standing::Hidden(why) => person.hidden.push(Hidden { of, why }),
        }
        Ok(())
    }

    /// The same of a team, `organisation/team`; members of its child teams are members too. GitHub knows members of a
    /// team by login, so it is the login of now, asked for a moment before.
    pub(super) async fn look_at_team(&self, team: &str, person: &mut Person) -> Result<(), IdentityError> {
        let of = team.to_ascii_lowercase();
        let Some((org, slug)) = team.split_once('/') else { return Ok(()) };
        let path = ["orgs", org, "teams", slug, "memberships", &person.user.login];
        match self.standing(&path, org).await? {
            Standing::Active => person.teams.push(of),
            Standing::Absent => {}
            Standing::Hidden(why) => person.hidden.push(Hidden { of, why }),
        }
        Ok(())
    }

    async fn standing(&self, path: &[&str], org: &str) -> Result<Standing, IdentityError> {
        let response = self.get(&below(self.base, path)).await?;
        match response.status() {
            // A pending invitation is no membership.
            StatusCode::OK if parse::<Membership>(&response)?.state == "active" => Ok(Standing::Active),
            StatusCode::OK | StatusCode::NOT_FOUND => Ok(Standing::Absent),
            StatusCode::FORBIDDEN => {
                let error = hiding(org, response.headers());
                tracing::info!(%org, %error, "GitHub hides a membership");
                Ok(Standing::Hidden(error))
            }
            status => Err(unexpected("memberships", status)),
        }
    }

    async fn get(&self, url: &Url) -> Result<Response<Bytes>, IdentityError> {
        let mut bearer = HeaderValue::from_str(&format!("Bearer {}", self.token.expose()))
            .map_err(|_| IdentityError::Answer)?;
        bearer.set_sensitive(true);
        let request = Request::get(url.as_str())
            .header(header::ACCEPT, MEDIA_TYPE)
            .header("x-github-api-version", API_VERSION)
            .header(header::AUTHORIZATION, bearer)
            .body(Bytes::new())
            .map_err(|_| IdentityError::Answer)?;
        let response = self.fetch.send(request, BOUNDS).await.map_err(|error| no_answer(&error))?;
        match refusal(&response) {
            Some(error) => Err(error),
            None if response.status() == StatusCode::UNAUTHORIZED => Err(IdentityError::TokenRejected),
            None => Ok(response),
        }
    }

    /// The list's next page (RFC 8288). The token goes along, so it must be a page of the same API.
    fn next_page(&self, headers: &HeaderMap) -> Result<Option<Url>, IdentityError> {
        let Some(next) =
            headers.get_all(header::LINK).iter().filter_map(|value| value.to_str().ok()).find_map(next)
        else {
            return Ok(None);
        };
        let url = next.parse::<Url>().map_err(|_| IdentityError::Answer)?;
        let ours = url.origin() == self.base.origin() && url.path().starts_with(self.base.path());
        if ours { Ok(Some(url)) } else { Err(IdentityError::Answer) }
    }
}

/// The target of `rel="next"` in a `Link` header.
fn next(links: &str) -> Option<&str> {
    links.split(',').find_map(|link| {
        let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
        parameters.split(';').any(|parameter| parameter.trim() == "rel=\"next\"").then_some(target)
    })
}

/// What a 5xx or a rate limit means, wherever it comes from.
pub(super) fn refusal(response: &Response<Bytes>) -> Option<IdentityError> {
    if response.status().is_server_error() {
        tracing::warn!(status = response.status().as_u16(), "GitHub is not well");
        return Some(IdentityError::Unreachable);
    }
    let limited = response.status() == StatusCode::TOO_MANY_REQUESTS
        || response.status() == StatusCode::FORBIDDEN && is_limit(response);
    limited.then_some(IdentityError::RateLimited)
}

/// Whether a 403 is a limit and not a missing permission. A secondary limit may say so in its text only.
fn is_limit(response: &Response<Bytes>) -> bool {
    let headers = response.headers();
    if headers.contains_key(SSO) {
        return false;
    }
    headers.contains_key(header::RETRY_AFTER)
        || headers.get("x-ratelimit-remaining").is_some_and(|left| left == "0")
        || says(response.body(), "rate limit")
}

/// Whether the message of a refusal has `words` in it.
fn says(body: &[u8], words: &str) -> bool {
    #[derive(Deserialize)]
    struct Refusal {
        message: String,
    }
    let has = |refusal: Refusal| refusal.message.to_ascii_lowercase().contains(words);
    serde_json::from_slice(body).is_ok_and(has)
}

/// Why an organisation does not show a membership: `X-GitHub-SSO: required; url=…`, or its owner has not let this
/// application in.
fn hiding(org: &str, headers: &HeaderMap) -> IdentityError {
    let org = org.to_owned();
    let Some(sso) = headers.get(SSO) else { return IdentityError::Restricted { org } };
    let url = sso
        .to_str()
        .ok()
        .and_then(|value| value.split_once("url="))
        .and_then(|(_, url)| url.trim().parse::<Url>().ok())
        .filter(|url| url.scheme() == "https")
        .map(String::from);
    IdentityError::SingleSignOn { org, url }
}

fn parse<T: DeserializeOwned>(response: &Response<Bytes>) -> Result<T, IdentityError> {
    // The error would quote the answer, which may hold an address.
    serde_json::from_slice(response.body()).map_err(|_| IdentityError::Answer)
}

fn unexpected(path: &'static str, status: StatusCode) -> IdentityError {
    tracing::warn!(path, status = status.as_u16(), "GitHub's answer cannot be understood");
    IdentityError::Answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        pairs.iter().map(pair).collect()
    }

    fn answer(status: u16, pairs: &[(&'static str, &'static str)], body: &'static str) -> Response<Bytes> {
        let mut response =
            Response::builder().status(status).body(Bytes::from_static(body.as_bytes())).unwrap();
        *response.headers_mut() = headers(pairs);
        response
    }

    // F4
    #[test]
    fn the_next_page_is_found_among_the_links() {
        let links = r#"<https://api.github.com/x?page=1>; rel="prev", <https://api.github.com/x?page=3>; rel="next", <https://api.github.com/x?page=9>; rel="last""#;
        assert_eq!(next(links), Some("https://api.github.com/x?page=3"));
        for none in
            ["", r#"<https://api.github.com/x?page=9>; rel="last""#, "<broken", r#"https://a/; rel="next""#]
        {
            assert_eq!(next(none), None, "{none}");
        }
    }

    // F4: the token must not go to another host
    #[test]
    fn a_next_page_elsewhere_is_refused() {
        let fetch = Fetcher::new();
        let base: Url = "https://git.example.com/api/v3".parse().unwrap();
        let api = Api::new(&fetch, &base, Secret::new("gho_x".into()));
        let good = api.next_page(&headers(&[(
            "link",
            r#"<https://git.example.com/api/v3/user/emails?page=2>; rel="next""#,
        )]));
        assert_eq!(good.unwrap().unwrap().query(), Some("page=2"));
        for evil in [
            r#"<https://evil.example/api/v3/user/emails?page=2>; rel="next""#,
            r#"<http://git.example.com/api/v3/user/emails?page=2>; rel="next""#,
            r#"<https://git.example.com/other>; rel="next""#,
            r#"<//evil.example>; rel="next""#,
        ] {
            assert_eq!(api.next_page(&headers(&[("link", evil)])), Err(IdentityError::Answer), "{evil}");
        }
    }

    // F5
    #[test]
    fn a_403_is_a_limit_only_if_it_says_so() {
        let limited = |pairs, body| refusal(&answer(403, pairs, body));
        let limit = Some(IdentityError::RateLimited);
        assert_eq!(limited(&[("retry-after", "60")], "{}"), limit);
        assert_eq!(limited(&[("x-ratelimit-remaining", "0")], "{}"), limit);
        assert_eq!(limited(&[], r#"{"message":"You have exceeded a secondary rate limit."}"#), limit);
        assert_eq!(limited(&[("x-ratelimit-remaining", "4999")], r#"{"message":"Forbidden"}"#), None);
        assert_eq!(limited(&[("x-ratelimit-remaining", "0"), ("x-github-sso", "required")], "{}"), None);
    }

    #[test]
    fn every_5xx_is_unreachable_and_nothing_else_is_refused() {
        for status in [500, 502, 503, 504] {
            assert_eq!(refusal(&answer(status, &[], "")), Some(IdentityError::Unreachable));
        }
        for status in [200, 302, 401, 404, 422] {
            assert_eq!(refusal(&answer(status, &[("retry-after", "9")], "")), None);
        }
    }

    // F4
    #[test]
    fn the_single_sign_on_link_is_passed_on_if_it_is_https() {
        let at = |value| hiding("Acme", &headers(&[("x-github-sso", value)]));
        let expected =
            |url: Option<&str>| IdentityError::SingleSignOn { org: "Acme".into(), url: url.map(Into::into) };
        assert_eq!(
            at("required; url=https://github.com/orgs/acme/sso?authorization_request=AZ"),
            expected(Some("https://github.com/orgs/acme/sso?authorization_request=AZ"))
        );
        for none in
            ["required", "required; url=javascript:alert(1)", "required; url=http://github.com/x", "url="]
        {
            assert_eq!(at(none), expected(None), "{none}");
        }
        assert_eq!(hiding("Acme", &headers(&[])), IdentityError::Restricted { org: "Acme".into() });
    }
}
