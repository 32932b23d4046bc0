//! The authorization request (RFC 6749 §4.1.1): read once for the page that GET shows, and once more, from
//! scratch, when the form is posted.

use super::{
    Client, ClientId, CodeChallenge, ErrorCode, OAuthError, Parameters, RedirectUri, Resource, Scopes,
};

/// A request that may be shown to a person.
#[derive(Clone, Debug)]
pub struct AuthorizeRequest {
    /// Who asks.
    pub client: ClientId,
    /// Where the answer goes.
    pub redirect: RedirectUri,
    /// The client's `state`, byte for byte.
    pub state: Option<String>,
    /// The S256 challenge.
    pub challenge: CodeChallenge,
    /// Which service is meant.
    pub resource: ResourceChoice,
    /// What was asked for, unknown scopes included; the service decides what is granted.
    pub scopes: Scopes,
}

/// Which service an authorization request means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResourceChoice {
    /// It says so, or there is only one.
    Named(Resource),
    /// It does not say, and there are several: the page asks.
    Ask(Vec<Resource>),
}

/// Why an authorization request is refused.
#[derive(Clone, Debug)]
pub enum AuthorizeError {
    /// Told to the person on a page, never to the redirect URI (A1): the redirect URI is missing or not one of the
    /// client's. An unknown client is found by the caller, who looks it up.
    Page {
        /// What was sent as `redirect_uri`, if anything.
        redirect_uri: Option<String>,
    },
    /// Told to the client by redirect, with `state` and `iss` (A10).
    Redirect {
        /// Where to.
        redirect: RedirectUri,
        /// The request's `state`.
        state: Option<String>,
        /// What is wrong.
        error: OAuthError,
    },
}

impl AuthorizeRequest {
    /// The `client_id` of a request, which has to be looked up before anything else can be said.
    #[must_use]
    pub fn client_id(parameters: &Parameters) -> Option<ClientId> {
        parameters.get("client_id").and_then(ClientId::parse)
    }

    /// Reads a request of `client`. An absent `redirect_uri` is accepted when the client has just one registered.
    /// `resources` are those of all services. Order: redirect URI (page, as when `client_id` or `redirect_uri` is
    /// repeated) → other repeated parameters → `response_type`, and whether the client registered for codes → PKCE
    /// (A4: missing challenge or a method that is not S256 is `invalid_request`) → resource (A5, A6).
    ///
    /// # Errors
    /// [`AuthorizeError`].
    pub fn read(
        parameters: &Parameters,
        client: &Client,
        resources: &[Resource],
    ) -> Result<Self, AuthorizeError> {
        let redirect = redirect_uri(parameters, client)?;
        let state = parameters.get("state").map(str::to_owned);
        match Demand::read(parameters, client, resources) {
            Ok(Demand { challenge, resource }) => Ok(Self {
                client: client.id.clone(),
                redirect,
                state,
                challenge,
                resource,
                scopes: Scopes::parse(parameters.get("scope").unwrap_or_default()),
            }),
            Err(error) => Err(AuthorizeError::Redirect { redirect, state, error }),
        }
    }
}

/// Where an answer may go: the one thing that is told to the person and not to the client if it is wrong.
fn redirect_uri(parameters: &Parameters, client: &Client) -> Result<RedirectUri, AuthorizeError> {
    let asked = parameters.get("redirect_uri");
    let once = |name| parameters.all(name).nth(1).is_none();
    let proven = match (asked, client.metadata.redirect_uris.as_slice()) {
        (Some(uri), _) => client.redirect(uri),
        (None, [only]) => only.matches(only.as_str()),
        (None, _) => None,
    };
    proven
        .filter(|_| once("client_id") && once("redirect_uri"))
        .ok_or_else(|| AuthorizeError::Page { redirect_uri: asked.map(str::to_owned) })
}

/// Most bytes of a `state` that we carry through a sign-in.
const LONGEST_STATE: usize = 4096;

/// The part of a request whose errors go to the redirect URI.
struct Demand {
    challenge: CodeChallenge,
    resource: ResourceChoice,
}

impl Demand {
    fn read(parameters: &Parameters, client: &Client, resources: &[Resource]) -> Result<Self, OAuthError> {
        parameters.check_repeated().map_err(|error| OAuthError::from(&error))?;
        response_type(parameters, client)?;
        if parameters.get("state").is_some_and(|state| state.len() > LONGEST_STATE) {
            return Err(OAuthError::new(ErrorCode::InvalidRequest, "state is longer than 4096 bytes"));
        }
        let challenge = challenge(parameters)?;
        let resource = resource_choice(parameters, resources)?;
        Ok(Self { challenge, resource })
    }
}

fn response_type(parameters: &Parameters, client: &Client) -> Result<(), OAuthError> {
    match parameters.get("response_type") {
        None => Err(OAuthError::new(ErrorCode::InvalidRequest, "response_type is missing; it must be code")),
        Some("code") if client.may_authorize() => Ok(()),
        Some("code") => Err(OAuthError::new(
            ErrorCode::UnauthorizedClient,
            "the client registered without authorization_code",
        )),
        Some(other) => Err(OAuthError::new(
            ErrorCode::UnsupportedResponseType,
            format_args!("the response_type {other} is not supported; use code"),
        )),
    }
}

/// PKCE is required, S256 only; an absent method means `plain` (RFC 7636 §4.3).
fn challenge(parameters: &Parameters) -> Result<CodeChallenge, OAuthError> {
    let invalid = |text| OAuthError::new(ErrorCode::InvalidRequest, text);
    let challenge = parameters
        .get("code_challenge")
        .ok_or_else(|| invalid("code_challenge is missing; PKCE with S256 is required"))?;
    if parameters.get("code_challenge_method") != Some("S256") {
        return Err(invalid("code_challenge_method must be S256"));
    }
    CodeChallenge::parse(challenge).ok_or_else(|| invalid("code_challenge must be 43 base64url characters"))
}

fn resource_choice(parameters: &Parameters, resources: &[Resource]) -> Result<ResourceChoice, OAuthError> {
    let named = Resource::find(parameters.all("resource"), resources.iter())
        .map_err(|error| OAuthError::from(&error))?;
    match (named, resources) {
        (Some(resource), _) | (None, [resource]) => Ok(ResourceChoice::Named(resource.clone())),
        (None, []) => Err(OAuthError::new(ErrorCode::InvalidTarget, "there is no service to ask for here")),
        (None, several) => Ok(ResourceChoice::Ask(several.to_vec())),
    }
}

/// The URL that carries `code` to the client, with `state` and `iss` (RFC 9207).
#[must_use]
pub fn redirect_with_code(redirect: &RedirectUri, code: &str, state: Option<&str>, issuer: &str) -> String {
    answer(redirect, &[("code", code)], state, issuer)
}

/// The URL that carries an error to the client, with `state` and `iss` (RFC 9207).
#[must_use]
pub fn redirect_with_error(
    redirect: &RedirectUri,
    error: &OAuthError,
    state: Option<&str>,
    issuer: &str,
) -> String {
    let description = error.wire_description();
    answer(redirect, &[("error", error.code.as_str()), ("error_description", &description)], state, issuer)
}

fn answer(redirect: &RedirectUri, said: &[(&str, &str)], state: Option<&str>, issuer: &str) -> String {
    let mut pairs = said.to_vec();
    pairs.extend(state.map(|state| ("state", state)));
    pairs.push(("iss", issuer));
    redirect.with_query(&pairs)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::{CALLBACK, CHALLENGE, client_with};
    use super::*;

    const ISSUER: &str = "https://auth.example.com";

    fn resources() -> Vec<Resource> {
        ["http://localhost:4720/mcp", "https://todo.example.com/mcp"]
            .map(|url| Resource::from_canonical(url.to_owned()))
            .to_vec()
    }

    fn read_as(client: &Client, query: &str) -> Result<AuthorizeRequest, AuthorizeError> {
        AuthorizeRequest::read(&Parameters::parse(query.as_bytes()).unwrap(), client, &resources())
    }

    fn client() -> Client {
        client_with(&[CALLBACK, "https://a.example/cb?tenant=1"])
    }

    fn read(query: &str) -> Result<AuthorizeRequest, AuthorizeError> {
        read_as(&client(), query)
    }

    /// A good request, then `more`.
    fn good(more: &str) -> String {
        format!(
            "response_type=code&client_id=c1&redirect_uri={CALLBACK}&code_challenge={CHALLENGE}\
             &code_challenge_method=S256&state=s1{more}"
        )
    }

    /// The URL an error goes to.
    fn refused(query: &str) -> String {
        match read(query) {
            Err(AuthorizeError::Redirect { redirect, state, error }) => {
                redirect_with_error(&redirect, &error, state.as_deref(), ISSUER)
            }
            other => panic!("{query}: {other:?}"),
        }
    }

    fn pairs(url: &str) -> Vec<(String, String)> {
        url::Url::parse(url).unwrap().query_pairs().into_owned().collect()
    }

    // A5, A7, A12: recorded requests of TS v2, py 2.x, TS v1, py 1.x (shared wire logs).
    #[test]
    fn the_requests_of_real_clients_are_read() {
        for (callback, query, scopes) in [
            (
                "http://localhost:4741/callback",
                "response_type=code&client_id=c_b248086b-015e-4a6c-8906-441f7c7c46a4&code_challenge=XyvYLpPkDg9SbHe9WDGW4AJv_aWK8XV1Vb8GFIgfvt0&code_challenge_method=S256&redirect_uri=http://localhost:4741/callback&state=st0.943259294431587&scope=mcp:read+offline_access&prompt=consent&resource=http://localhost:4720/mcp",
                "mcp:read offline_access",
            ),
            (
                "http://localhost:4731/callback",
                "response_type=code&client_id=c_1723b684-0eb7-45b0-b90d-406ee2eb6e6a&redirect_uri=http://localhost:4731/callback&state=L_DEbrdOtdC3B_oWJjr9JbW6eiveeE5rtRMVyESqjZo&code_challenge=7QV8RZOGM30bCwixwbHMq4Lbr8LgWRrk0wrj_C1Zwe0&code_challenge_method=S256&resource=http://localhost:4720/mcp&scope=mcp:read+offline_access&prompt=consent",
                "mcp:read offline_access",
            ),
            (
                "http://localhost:4741/callback",
                "response_type=code&client_id=c_023ad0f1-a855-4968-a31c-36ef60b316ba&code_challenge=lwo69ZUVRKH-z4TUSNl697GuZJ0LLuD7z0sQB5tDbGc&code_challenge_method=S256&redirect_uri=http://localhost:4741/callback&state=st0.16955273375281754&scope=mcp:read&resource=http://localhost:4720/mcp",
                "mcp:read",
            ),
            (
                "http://localhost:4731/callback",
                "response_type=code&client_id=c_f91b88db-1d22-4ff4-9d04-06cb2fac55d8&redirect_uri=http://localhost:4731/callback&state=uH0s_aLlE5eFphHmq3-uxi2sVHyjBn0RYDGppC1rhew&code_challenge=vB9SnUu7WRD9Dvc7FU031Z-27KEIiZ4n2NpVfu1Mkuw&code_challenge_method=S256&resource=http://localhost:4720/mcp&scope=mcp:write",
                "mcp:write",
            ),
        ] {
            let request = read_as(&client_with(&[callback]), query).unwrap();
            assert_eq!(request.redirect.as_str(), callback);
            assert_eq!(request.scopes.to_string(), scopes);
            assert_eq!(request.resource, ResourceChoice::Named(resources()[0].clone()));
            assert!(request.state.is_some_and(|state| query.contains(&format!("state={state}&"))));
        }
    }

    // A8
    #[test]
    fn a_state_has_bounds() {
        let with = |length| good("").replace("state=s1", &format!("state={}", "s".repeat(length)));
        assert!(read(&with(LONGEST_STATE)).is_ok());
        assert_eq!(pairs(&refused(&with(LONGEST_STATE + 1)))[0].1, "invalid_request");
    }

    // A1
    #[test]
    fn a_redirect_uri_that_is_not_proven_is_told_on_a_page() {
        for (query, shown) in [
            (good("").replace("/callback", "/other"), Some("http://localhost:4741/other")),
            (good("").replace("redirect_uri", "redirect"), None),
            (good("&redirect_uri=https://evil.example/"), Some(CALLBACK)),
            (good(&format!("&redirect_uri={CALLBACK}")), Some(CALLBACK)),
            (good("&client_id=c2"), Some(CALLBACK)),
        ] {
            match read(&query) {
                Err(AuthorizeError::Page { redirect_uri }) => {
                    assert_eq!(redirect_uri.as_deref(), shown, "{query}");
                }
                other => panic!("{query}: {other:?}"),
            }
        }
    }

    #[test]
    fn the_only_redirect_uri_need_not_be_sent() {
        let query = good("").replace("redirect_uri", "redirect");
        let request = read_as(&client_with(&[CALLBACK]), &query).unwrap();
        assert_eq!(request.redirect.as_str(), CALLBACK);
    }

    // A4, A5, A12: each with its code, and the order of the checks.
    #[test]
    fn everything_else_that_is_wrong_is_told_to_the_client() {
        for (query, code) in [
            (good("&state=s2"), "invalid_request"),
            (good("&foo=1&foo=1"), "invalid_request"),
            (good("&response_type=token"), "invalid_request"),
            (good("").replace("response_type=code", "response_type="), "invalid_request"),
            (good("").replace("response_type=code", "response_type=token"), "unsupported_response_type"),
            (
                good("").replace("response_type=code", "response_type=code%20token"),
                "unsupported_response_type",
            ),
            (good("").replace("response_type=code&", "response_type=token&x=1&x=1&"), "invalid_request"),
            (good("").replace("code_challenge=", "challenge="), "invalid_request"),
            (good("").replace("S256", "plain"), "invalid_request"),
            (good("").replace("S256", "s256"), "invalid_request"),
            (good("").replace("&code_challenge_method=S256", ""), "invalid_request"),
            (good("").replace(CHALLENGE, &CHALLENGE[1..]), "invalid_request"),
            (good("&resource=https://other.example/mcp"), "invalid_target"),
            (
                good("&resource=http://localhost:4720/mcp&resource=https://todo.example.com/mcp"),
                "invalid_target",
            ),
        ] {
            let answer = pairs(&refused(&query));
            assert_eq!(answer[0], ("error".to_owned(), code.to_owned()), "{query}");
            assert_eq!(answer[1].0, "error_description");
            // A10
            assert_eq!(
                answer[2..],
                [("state".into(), "s1".into()), ("iss".into(), ISSUER.into())],
                "{query}"
            );
        }
    }

    #[test]
    fn a_client_without_the_code_grant_is_unauthorized() {
        let mut client = client();
        client.metadata.grant_types = vec!["refresh_token".to_owned()];
        match read_as(&client, &good("")) {
            Err(AuthorizeError::Redirect { error, .. }) => {
                assert_eq!(error.code, ErrorCode::UnauthorizedClient);
            }
            other => panic!("{other:?}"),
        }
    }

    // A12, requirements §2 item 12
    #[test]
    fn what_is_unknown_is_ignored() {
        let more = "&prompt=consent&nonce=n&request=x.y.z&request_uri=https://evil.example&response_mode=fragment&display=";
        assert!(read(&good(more)).is_ok());
    }

    // A5, requirements §2 item 5
    #[test]
    fn without_a_resource_the_only_service_is_meant_or_the_page_asks() {
        assert_eq!(read(&good("")).unwrap().resource, ResourceChoice::Ask(resources()));
        let parameters = Parameters::parse(good("&resource=").as_bytes()).unwrap();
        let one = AuthorizeRequest::read(&parameters, &client(), &resources()[1..]).unwrap();
        assert_eq!(one.resource, ResourceChoice::Named(resources()[1].clone()));
        match AuthorizeRequest::read(&parameters, &client(), &[]) {
            Err(AuthorizeError::Redirect { error, .. }) => assert_eq!(error.code, ErrorCode::InvalidTarget),
            other => panic!("{other:?}"),
        }
    }

    // A6, A12
    #[test]
    fn equal_resources_are_one() {
        let query = good("&resource=HTTPS://TODO.example.com/mcp/&resource=https://todo.example.com");
        assert_eq!(read(&query).unwrap().resource, ResourceChoice::Named(resources()[1].clone()));
    }

    // A9, A15
    #[test]
    fn the_code_is_appended_to_the_redirect_uri_s_own_query() {
        let query = good("").replace(CALLBACK, "https://a.example/cb?tenant%3D1");
        let request = read(&query).unwrap();
        assert_eq!(
            redirect_with_code(&request.redirect, "g.c~", request.state.as_deref(), ISSUER),
            "https://a.example/cb?tenant=1&code=g.c~&state=s1&iss=https%3A%2F%2Fauth.example.com"
        );
        assert_eq!(
            redirect_with_code(&request.redirect, "g.c", None, ISSUER),
            "https://a.example/cb?tenant=1&code=g.c&iss=https%3A%2F%2Fauth.example.com"
        );
    }

    // C11
    #[test]
    fn an_error_is_sent_in_the_characters_of_the_rfc() {
        let redirect = read(&good("")).unwrap().redirect;
        let error =
            OAuthError { code: ErrorCode::AccessDenied, description: "\"no\"\r\nä".to_owned(), uri: None };
        assert_eq!(
            redirect_with_error(&redirect, &error, Some("s"), "https://i"),
            "http://localhost:4741/callback?error=access_denied&error_description=%27no%27%3F%3F%3F&state=s&iss=https%3A%2F%2Fi"
        );
    }

    #[test]
    fn a_client_id_that_cannot_be_one_is_none() {
        let id = |query: &str| AuthorizeRequest::client_id(&Parameters::parse(query.as_bytes()).unwrap());
        assert_eq!(id("client_id=c1"), ClientId::parse("c1"));
        for wrong in ["", "client_id=", "client_id=a%20b", &format!("client_id={}", "a".repeat(513))] {
            assert_eq!(id(wrong), None, "{wrong}");
        }
    }

    proptest! {
        // A8
        #[test]
        fn state_comes_back_byte_for_byte(state in "[\\PC\\x00-\\x1f]{1,40}", times in 1_usize..100) {
            let mut state = state.repeat(times);
            while state.len() > LONGEST_STATE {
                state.pop();
            }
            let encoded: String = url::form_urlencoded::byte_serialize(state.as_bytes()).collect();
            let request = read(&good("").replace("state=s1", &format!("state={encoded}"))).unwrap();
            let url = redirect_with_code(&request.redirect, "c", request.state.as_deref(), ISSUER);
            prop_assert!(url.is_ascii());
            prop_assert_eq!(&pairs(&url)[1], &("state".to_owned(), state));
        }

        #[test]
        fn any_query_is_read_or_refused(query in "([a-z_]{1,4}|state|resource|redirect_uri)=\\PC{0,20}(&\\PC{0,20}){0,4}") {
            if let Ok(parameters) = Parameters::parse(query.as_bytes()) {
                let _ = AuthorizeRequest::client_id(&parameters);
                prop_assert!(AuthorizeRequest::read(&parameters, &client(), &resources()).is_err());
            }
            if let Ok(parameters) = Parameters::parse(format!("{}&{query}", good("")).as_bytes()) {
                let _ = AuthorizeRequest::read(&parameters, &client(), &resources());
            }
        }
    }
}
