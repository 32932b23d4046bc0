//! Who a client is at `/token`, `/revoke` and `/introspect` (RFC 6749 §2.3). Registered clients are public: they name themselves,
//! by `client_id` or by HTTP Basic with an empty password. Those that were moved in from another gateway may have a secret, and
//! configured ones a secret (`client_secret_basic` and `client_secret_post`) or keys (`private_key_jwt`), and then prove it, in
//! one way at a time. A proof that fails never changes anything: whoever guesses at a client's secret must not be able to sign
//! its users out.

use http::header::AUTHORIZATION;
use http::{HeaderMap, StatusCode};

use super::clients;
use super::configured::Authentication;
use super::exchange::Exchange;
use super::grants::{deadline, patiently};
use super::reply::WireError;
use crate::oauth::{AttemptId, BasicCredentials, Client, ClientId, ErrorCode, NotBasic, Parameters, Reading};
use crate::secret::{self, Digest, Secret};
use crate::store::StoreError;
use crate::telemetry::{Audit, Event};
use crate::token::{Assertion, AssertionError, ClientKeys, Expected};
use crate::trouble::Trouble;

/// RFC 7523 §2.2.
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Why a client is not believed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    /// 401 `invalid_client`, so that clients register anew (T4, G10).
    #[error("this client is not known here; register again")]
    Unknown {
        /// Whether HTTP Basic was used, which the answer must then challenge.
        basic: bool,
    },
    /// 401 `invalid_client`: no client is named anywhere. Nothing was tried, and a 401 must name something to try (RFC 9110
    /// §15.5.2), so the answer challenges with Basic.
    #[error("client_id is missing")]
    Missing,
    /// 401 `invalid_client`: an `Authorization` header that is not Basic credentials.
    #[error(transparent)]
    Header(#[from] NotBasic),
    /// 401 `invalid_client`: a proof, where none was ever agreed upon.
    #[error("this client has no secret and no keys (token_endpoint_auth_method is none)")]
    Public {
        /// Whether it came by HTTP Basic.
        basic: bool,
    },
    /// 401 `invalid_client`: no proof, or one of another kind than the configured one.
    #[error("this client must authenticate by {needed}")]
    Unproven {
        /// How.
        needed: &'static str,
        /// Whether HTTP Basic was used.
        basic: bool,
    },
    /// 401 `invalid_client`.
    #[error("the client secret is wrong")]
    Secret {
        /// Whether it came by HTTP Basic.
        basic: bool,
    },
    /// 401 `invalid_client`.
    #[error("client_assertion_type must be {JWT_BEARER}")]
    AssertionType,
    /// 401 `invalid_client`.
    #[error(transparent)]
    Assertion(#[from] AssertionError),
    /// 401 `invalid_client`: RFC 7523 §3 item 7.
    #[error("this client_assertion was used before; sign a new one, with another jti, for each request")]
    Replayed,
    /// 400 `invalid_request`: more than one way of authenticating (RFC 6749 §2.3).
    #[error("the client authenticates in more than one way; use one")]
    Several,
    /// 400 `invalid_request`: one of the two parameters of RFC 7521 §4.2 without the other.
    #[error("client_assertion and client_assertion_type come together")]
    HalfAssertion,
    /// 400 `invalid_request`: `client_id` beside a proof that names another client (T5).
    #[error("client_id names another client than the proof beside it")]
    Disagree,
    /// 503.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl WireError for ClientError {
    fn status(&self) -> StatusCode {
        match self {
            Self::Unknown { .. }
            | Self::Missing
            | Self::Header(_)
            | Self::Public { .. }
            | Self::Unproven { .. }
            | Self::Secret { .. }
            | Self::AssertionType
            | Self::Assertion(_)
            | Self::Replayed => StatusCode::UNAUTHORIZED,
            Self::Several | Self::HalfAssertion | Self::Disagree => StatusCode::BAD_REQUEST,
            Self::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn code(&self) -> ErrorCode {
        match self {
            Self::Unknown { .. }
            | Self::Missing
            | Self::Header(_)
            | Self::Public { .. }
            | Self::Unproven { .. }
            | Self::Secret { .. }
            | Self::AssertionType
            | Self::Assertion(_)
            | Self::Replayed => ErrorCode::InvalidClient,
            Self::Several | Self::HalfAssertion | Self::Disagree => ErrorCode::InvalidRequest,
            Self::Store(_) => ErrorCode::TemporarilyUnavailable,
        }
    }

    fn trouble(&self) -> Option<Trouble> {
        match self {
            Self::Unknown { .. } => Some(Trouble::ClientUnknown),
            Self::Header(_)
            | Self::Public { .. }
            | Self::Unproven { .. }
            | Self::Secret { .. }
            | Self::AssertionType
            | Self::Assertion(_)
            | Self::Replayed => Some(Trouble::ClientUnproven),
            Self::Missing | Self::Several | Self::HalfAssertion | Self::Disagree => None,
            Self::Store(error) => Some(error.trouble()),
        }
    }

    fn challenges_basic(&self) -> bool {
        match self {
            Self::Unknown { basic }
            | Self::Public { basic }
            | Self::Unproven { basic, .. }
            | Self::Secret { basic } => *basic,
            Self::Missing | Self::Header(_) => true,
            Self::AssertionType
            | Self::Assertion(_)
            | Self::Replayed
            | Self::Several
            | Self::HalfAssertion
            | Self::Disagree
            | Self::Store(_) => false,
        }
    }
}

/// How a request says who its client is: one way, or the request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Claimed {
    /// `client_id` alone.
    Name(String),
    /// `Authorization: Basic`; the password may be empty.
    Basic(BasicCredentials),
    /// `client_id` and `client_secret`.
    Post(String, Secret),
    /// `client_assertion`.
    Assertion(String),
}

/// The client of a request.
///
/// # Errors
/// [`ClientError`].
pub(super) async fn authenticate(
    exchange: &Exchange<'_>,
    headers: &HeaderMap,
    parameters: &Parameters,
) -> Result<Client, ClientError> {
    let claimed = Claimed::read(headers, parameters)?;
    let client = claimed.find(exchange).await?;
    if parameters.get("client_id").is_some_and(|named| named != client.id.as_str()) {
        return Err(ClientError::Disagree);
    }
    match claimed.prove(exchange, &client).await {
        Ok(()) => Ok(client),
        Err(error) => Err(audited(exchange, &client, error)),
    }
}

impl Claimed {
    fn read(headers: &HeaderMap, parameters: &Parameters) -> Result<Self, ClientError> {
        let mut authorization = headers.get_all(AUTHORIZATION).iter();
        let (header, another) = (authorization.next(), authorization.next());
        let secret = parameters.get("client_secret");
        let assertion = (parameters.get("client_assertion"), parameters.get("client_assertion_type"));
        let has_assertion = assertion != (None, None);
        if another.is_some()
            || [header.is_some(), secret.is_some(), has_assertion].iter().filter(|used| **used).count() > 1
        {
            return Err(ClientError::Several);
        }
        match assertion {
            (Some(assertion), Some(JWT_BEARER)) => return Ok(Self::Assertion(assertion.to_owned())),
            (Some(_), Some(_)) => return Err(ClientError::AssertionType),
            (Some(_), None) | (None, Some(_)) => return Err(ClientError::HalfAssertion),
            (None, None) => {}
        }
        if let Some(header) = header {
            return Ok(Self::Basic(BasicCredentials::read(header.as_bytes())?));
        }
        let id = parameters.get("client_id").ok_or(ClientError::Missing)?.to_owned();
        Ok(match secret {
            Some(secret) => Self::Post(id, Secret::new(secret.to_owned())),
            None => Self::Name(id),
        })
    }

    const fn is_basic(&self) -> bool {
        matches!(self, Self::Basic(_))
    }

    async fn find(&self, exchange: &Exchange<'_>) -> Result<Client, ClientError> {
        let ids: Vec<Option<ClientId>> = match self {
            Self::Name(id) | Self::Post(id, _) => vec![ClientId::parse(id)],
            Self::Basic(basic) => basic.readings().iter().map(|one| ClientId::parse(&one.id)).collect(),
            Self::Assertion(text) => {
                vec![Some(Assertion::claimed_client(text).ok_or(AssertionError::Malformed)?)]
            }
        };
        for id in ids.into_iter().flatten() {
            if let Some(client) = patiently(deadline(), || clients::find(exchange, &id)).await? {
                return Ok(client);
            }
        }
        Err(ClientError::Unknown { basic: self.is_basic() })
    }

    /// Holds it against what the configuration says of the client; one that is not there is public.
    async fn prove(&self, exchange: &Exchange<'_>, client: &Client) -> Result<(), ClientError> {
        let configured = exchange.site.configured.get(&client.id);
        let authentication = configured.map_or(&Authentication::None, |one| &one.authentication);
        let basic = self.is_basic();
        if let (None, Some(digest)) = (configured, client.secret) {
            return self.prove_moved(client, digest);
        }
        match (authentication, self) {
            (Authentication::None, _) if !self.has_proof(client) => Ok(()),
            (Authentication::None, _) => Err(ClientError::Public { basic }),
            (Authentication::Secret(secret), Self::Basic(_) | Self::Post(..)) => {
                let proven = self.secrets(client).any(|sent| is_equal(sent, secret));
                if proven { Ok(()) } else { Err(ClientError::Secret { basic }) }
            }
            (Authentication::Secret(_), Self::Name(_) | Self::Assertion(_)) => {
                Err(ClientError::Unproven { needed: "client_secret_basic or client_secret_post", basic })
            }
            (Authentication::Keys(keys), Self::Assertion(text)) => assert(exchange, client, keys, text).await,
            (Authentication::Keys(_), Self::Name(_) | Self::Basic(_) | Self::Post(..)) => {
                Err(ClientError::Unproven { needed: "private_key_jwt", basic })
            }
        }
    }

    /// Holds it against the secret of a client that was moved in from another gateway.
    fn prove_moved(&self, client: &Client, digest: Digest) -> Result<(), ClientError> {
        let basic = self.is_basic();
        match self {
            Self::Basic(_) | Self::Post(..) => {
                let proven = self.secrets(client).any(|sent| sent.digest() == digest);
                if proven { Ok(()) } else { Err(ClientError::Secret { basic }) }
            }
            Self::Name(_) | Self::Assertion(_) => {
                Err(ClientError::Unproven { needed: "client_secret_basic or client_secret_post", basic })
            }
        }
    }

    /// Whether more came than a name.
    fn has_proof(&self, client: &Client) -> bool {
        matches!(self, Self::Assertion(_)) || self.secrets(client).any(|secret| !secret.expose().is_empty())
    }

    /// The secrets that may be meant for `client`.
    fn secrets<'a>(&'a self, client: &'a Client) -> impl Iterator<Item = &'a Secret> {
        let (basic, post) = match self {
            Self::Basic(basic) => (basic.readings(), None),
            Self::Post(_, secret) => (&[][..], Some(secret)),
            Self::Name(_) | Self::Assertion(_) => (&[][..], None),
        };
        let of_client = |reading: &&Reading| reading.id == client.id.as_str();
        basic.iter().filter(of_client).map(|reading| &reading.password).chain(post)
    }
}

/// By their digests, in constant time: not even the length is told.
fn is_equal(sent: &Secret, configured: &Secret) -> bool {
    sent.digest() == configured.digest()
}

/// Verifies an assertion and takes its `jti`: it counts once, at whatever process it comes first.
async fn assert(
    exchange: &Exchange<'_>,
    client: &Client,
    keys: &ClientKeys,
    text: &str,
) -> Result<(), ClientError> {
    let issuer = exchange.site.settings.issuer.as_str();
    let token_endpoint = format!("{issuer}/token");
    let audiences = [issuer, token_endpoint.as_str()];
    let expected = Expected { client: &client.id, audiences: &audiences, now: exchange.now };
    let assertion = Assertion::verify(text, keys, &expected)?;
    let (store, attempt) = (&exchange.shared.store, AttemptId::new(secret::random()));
    let name = (&client.id, assertion.token_id.as_str());
    let first = patiently(deadline(), || store.use_assertion(name, attempt, assertion.expires)).await?;
    if first { Ok(()) } else { Err(ClientError::Replayed) }
}

/// That the proof of a client fails that is to have one is told to the operator too: somebody may be guessing.
fn audited(exchange: &Exchange<'_>, client: &Client, error: ClientError) -> ClientError {
    let known = client.secret.is_some() || exchange.site.configured.get(&client.id).is_some();
    if known && error.status() == StatusCode::UNAUTHORIZED {
        exchange.audit(&Audit {
            client: Some(client.id.as_str()),
            reason: Some(&error.to_string()),
            ..Audit::of(Event::TokenRefused)
        });
    }
    error
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use http::HeaderValue;

    use super::*;

    fn basic(text: &str) -> String {
        format!("Basic {}", STANDARD.encode(text))
    }

    fn read(headers: &[&str], form: &str) -> Result<Claimed, ClientError> {
        let header = |value: &&str| (AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        let headers: HeaderMap = headers.iter().map(header).collect();
        Claimed::read(&headers, &Parameters::parse(form.as_bytes()).unwrap())
    }

    /// Status, code, and whether Basic is challenged.
    fn refused(headers: &[&str], form: &str) -> (u16, &'static str, bool) {
        let error = read(headers, form).unwrap_err();
        (error.status().as_u16(), error.code().as_str(), error.challenges_basic())
    }

    // T4, T5
    #[test]
    fn a_client_is_named_in_exactly_one_way() {
        assert_eq!(read(&[], "client_id=ci").unwrap(), Claimed::Name("ci".into()));
        assert_eq!(read(&[], "client_id=ci&client_secret=").unwrap(), Claimed::Name("ci".into()));
        let post = Claimed::Post("ci".into(), Secret::new("s".into()));
        assert_eq!(read(&[], "client_id=ci&client_secret=s").unwrap(), post);
        assert!(matches!(read(&[&basic("ci:s")], "client_id=ci").unwrap(), Claimed::Basic(_)));
        let assertion = format!("client_assertion=a.b.c&client_assertion_type={JWT_BEARER}");
        assert_eq!(read(&[], &assertion).unwrap(), Claimed::Assertion("a.b.c".into()));
        let both = (400, "invalid_request", false);
        let credentials = basic("ci:s");
        assert_eq!(refused(&[&credentials, &credentials], ""), both);
        assert_eq!(refused(&[&credentials], "client_secret=s"), both);
        assert_eq!(refused(&[&credentials], &assertion), both);
        assert_eq!(refused(&[], &format!("client_id=ci&client_secret=s&{assertion}")), both);
        assert_eq!(refused(&[&credentials], "client_assertion_type=x"), both);
    }

    // T4
    #[test]
    fn what_names_nobody_is_refused() {
        assert_eq!(refused(&[], ""), (401, "invalid_client", true), "nothing was tried: Basic would do");
        assert_eq!(refused(&[], "client_secret=s"), (401, "invalid_client", true));
        for header in ["Bearer x", "Basic", "Basic !!!", &basic("no colon"), &basic(":s")] {
            assert_eq!(refused(&[header], "client_id=ci"), (401, "invalid_client", true), "{header}");
        }
        assert_eq!(refused(&[], "client_assertion=a.b.c"), (400, "invalid_request", false));
        let type_alone = format!("client_assertion_type={JWT_BEARER}");
        assert_eq!(refused(&[], &type_alone), (400, "invalid_request", false));
        let saml = "client_assertion=x&client_assertion_type=urn:ietf:params:oauth:client-assertion-type:saml2-bearer";
        assert_eq!(refused(&[], saml), (401, "invalid_client", false));
    }
}
