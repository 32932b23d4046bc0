//! Request bodies of our own endpoints: bounded, of the right content type, read once.

use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::reply::WireError;
use crate::oauth::{ErrorCode, ParameterError, Parameters};
use crate::trouble::Trouble;
use crate::upstream::RequestBody;

/// Most bytes of a form: an authorization request with its longest `state` fits.
pub(super) const MOST: usize = 64 * 1024;
/// Longest time a body may take to come.
const LONGEST: Duration = Duration::from_secs(10);

/// Why a body cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyReadError {
    /// RFC 6749 §3.2 (T14).
    #[error("the content type must be application/x-www-form-urlencoded")]
    NotForm,
    /// Over [`MOST`] bytes.
    #[error("the request body is too large")]
    TooLarge,
    /// Over [`LONGEST`].
    #[error("the request body did not come in time")]
    TooSlow,
    /// The client broke off.
    #[error("the request body broke off")]
    BrokeOff,
    /// Not UTF-8, or a parameter twice.
    #[error(transparent)]
    Parameters(#[from] ParameterError),
}

impl WireError for BodyReadError {
    fn status(&self) -> StatusCode {
        match self {
            Self::NotForm | Self::BrokeOff | Self::Parameters(_) => StatusCode::BAD_REQUEST,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
        }
    }

    fn code(&self) -> ErrorCode {
        match self {
            Self::NotForm | Self::TooLarge | Self::TooSlow | Self::BrokeOff | Self::Parameters(_) => {
                ErrorCode::InvalidRequest
            }
        }
    }

    fn trouble(&self) -> Option<Trouble> {
        match self {
            Self::NotForm | Self::BrokeOff | Self::Parameters(_) => None,
            Self::TooLarge | Self::TooSlow => Some(Trouble::RequestBody),
        }
    }
}

/// Reads a whole body of at most `most` bytes.
///
/// # Errors
/// [`BodyReadError`].
pub(super) async fn read(mut body: RequestBody, most: usize) -> Result<Bytes, BodyReadError> {
    let collected = tokio::time::timeout(LONGEST, Limited::new(&mut body, most).collect()).await;
    let Ok(collected) = collected else {
        body.give_up();
        return Err(BodyReadError::TooSlow);
    };
    match collected {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(BodyReadError::TooLarge),
        Err(_) => Err(BodyReadError::BrokeOff),
    }
}

/// Reads a form whose parameters must not repeat.
///
/// # Errors
/// [`BodyReadError`].
pub(super) async fn parameters(
    request: Request<RequestBody>,
) -> Result<(HeaderMap, Parameters), BodyReadError> {
    let (parts, body) = request.into_parts();
    if !is_form(&parts.headers) {
        return Err(BodyReadError::NotForm);
    }
    let parameters = Parameters::parse(&read(body, MOST).await?)?;
    parameters.check_repeated()?;
    Ok((parts.headers, parameters))
}

fn is_form(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/x-www-form-urlencoded")
}
