//! Who a client is at `/token` and `/revoke` (RFC 6749 §2.3). Registered clients are public: they name themselves, by
//! `client_id` or by HTTP Basic with an empty password, and have no secret.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use http::{HeaderMap, StatusCode};

use super::clients;
use super::exchange::Exchange;
use super::grants::{deadline, patiently};
use super::reply::WireError;
use crate::oauth::{Client, ClientId, ErrorCode, Parameters};
use crate::store::StoreError;

/// Why a client is not believed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    /// 401 `invalid_client`, so that clients register anew (T4, G10).
    #[error("this client is not known here; register again")]
    Unknown {
        /// Whether HTTP Basic was used, which the answer must then challenge.
        basic: bool,
    },
    /// 401 `invalid_client`: no `client_id` anywhere.
    #[error("client_id is missing")]
    Missing,
    /// 401 `invalid_client`: an `Authorization` header that is not Basic credentials.
    #[error("the Authorization header is not HTTP Basic with a client id")]
    Header,
    /// 401 `invalid_client`: a secret, where none was ever issued.
    #[error("this client has no secret (token_endpoint_auth_method is none)")]
    Secret {
        /// Whether it came by HTTP Basic.
        basic: bool,
    },
    /// 400 `invalid_request`: `client_id` beside Basic that names another client (T5).
    #[error("client_id and the Authorization header name different clients")]
    Disagree,
    /// 503.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl WireError for ClientError {
    fn status(&self) -> StatusCode {
        match self {
            Self::Unknown { .. } | Self::Missing | Self::Header | Self::Secret { .. } => {
                StatusCode::UNAUTHORIZED
            }
            Self::Disagree => StatusCode::BAD_REQUEST,
            Self::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn code(&self) -> ErrorCode {
        match self {
            Self::Unknown { .. } | Self::Missing | Self::Header | Self::Secret { .. } => {
                ErrorCode::InvalidClient
            }
            Self::Disagree => ErrorCode::InvalidRequest,
            Self::Store(_) => ErrorCode::TemporarilyUnavailable,
        }
    }

    fn challenges_basic(&self) -> bool {
        match self {
            Self::Unknown { basic } | Self::Secret { basic } => *basic,
            Self::Header => true,
            Self::Missing | Self::Disagree | Self::Store(_) => false,
        }
    }
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
    let basic = headers.get(AUTHORIZATION).map(|value| read_basic(value.as_bytes())).transpose()?;
    let in_body = parameters.get("client_id");
    let secret = parameters.get("client_secret").is_some();
    let Some(basic) = basic else {
        let named = in_body.ok_or(ClientError::Missing)?;
        let client = load(exchange, named).await?.ok_or(ClientError::Unknown { basic: false })?;
        return if secret { Err(ClientError::Secret { basic: false }) } else { Ok(client) };
    };
    let mut found = None;
    for id in &basic.ids {
        found = load(exchange, id).await?;
        if found.is_some() {
            break;
        }
    }
    let client = found.ok_or(ClientError::Unknown { basic: true })?;
    if in_body.is_some_and(|named| named != client.id.as_str()) {
        return Err(ClientError::Disagree);
    }
    if secret || basic.has_password {
        return Err(ClientError::Secret { basic: true });
    }
    Ok(client)
}

async fn load(exchange: &Exchange<'_>, id: &str) -> Result<Option<Client>, StoreError> {
    match ClientId::parse(id) {
        Some(id) => patiently(deadline(), || clients::find(exchange, &id)).await,
        None => Ok(None),
    }
}

struct Basic {
    /// The user name as sent, and form-decoded if that differs (T5: some clients encode it, others do not).
    ids: Vec<String>,
    has_password: bool,
}

fn read_basic(header: &[u8]) -> Result<Basic, ClientError> {
    let header = std::str::from_utf8(header).map_err(|_| ClientError::Header)?;
    let (scheme, credentials) = header.split_once(' ').ok_or(ClientError::Header)?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(ClientError::Header);
    }
    let decoded = STANDARD.decode(credentials.trim()).map_err(|_| ClientError::Header)?;
    let decoded = String::from_utf8(decoded).map_err(|_| ClientError::Header)?;
    let (id, password) = decoded.split_once(':').ok_or(ClientError::Header)?;
    let unescaped =
        percent_encoding::percent_decode_str(&id.replace('+', " ")).decode_utf8_lossy().into_owned();
    let mut ids = vec![id.to_owned()];
    if unescaped != id {
        ids.push(unescaped);
    }
    Ok(Basic { ids, has_password: !password.is_empty() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(text: &str) -> String {
        format!("Basic {}", STANDARD.encode(text))
    }

    #[test]
    fn basic_is_read_raw_and_percent_encoded() {
        // T5
        let basic = read_basic(header("c%5Fx:").as_bytes()).unwrap();
        assert_eq!(basic.ids, ["c%5Fx", "c_x"]);
        assert!(!basic.has_password);
        let basic = read_basic(header("c_x:s").as_bytes()).unwrap();
        assert_eq!(basic.ids, ["c_x"]);
        assert!(basic.has_password);
    }

    #[test]
    fn what_is_not_basic_is_refused() {
        for wrong in ["Bearer x", "Basic", "Basic !!!", &header("no colon")[..], "Basic /w=="] {
            assert!(matches!(read_basic(wrong.as_bytes()), Err(ClientError::Header)), "{wrong}");
        }
    }
}
