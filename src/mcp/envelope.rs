//! The JSON-RPC envelope, as far as answers of our own need it.

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::{RawValue, Value};

/// What SDK servers answer with 404 to a session id that is not (or no longer) theirs.
pub const SESSION_NOT_FOUND: i32 = -32001;

/// JSON-RPC 2.0 §5.1: the fault is on this side.
pub const INTERNAL_ERROR: i32 = -32603;

/// What SDK servers answer to a request that they will not carry out.
pub const REFUSED: i32 = -32000;

#[derive(Serialize)]
struct ErrorResponse<'a> {
    jsonrpc: &'static str,
    id: Option<&'a RawValue>,
    error: ErrorObject<'a>,
}

#[derive(Serialize)]
struct ErrorObject<'a> {
    code: i32,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a Value>,
}

/// A JSON-RPC error response. `id` as the request wrote it; `None` is `null`, for a request whose body was not read (JSON-RPC 2.0 §5).
#[must_use]
pub fn error_body(id: Option<&RawValue>, code: i32, message: &str, data: Option<&Value>) -> Bytes {
    let response = ErrorResponse { jsonrpc: "2.0", id, error: ErrorObject { code, message, data } };
    serde_json::to_vec(&response).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_carries_the_requests_id_as_it_was_written() {
        let id: Box<RawValue> = serde_json::from_str(r#""a\u0062""#).unwrap();
        let body =
            error_body(Some(&id), -32603, "no \"luck\"", Some(&serde_json::json!({ "finding": "dns" })));
        assert_eq!(
            body,
            r#"{"jsonrpc":"2.0","id":"a\u0062","error":{"code":-32603,"message":"no \"luck\"","data":{"finding":"dns"}}}"#
        );
    }

    #[test]
    fn an_error_without_a_request_has_a_null_id() {
        let body = error_body(None, SESSION_NOT_FOUND, "Session not found", None);
        assert_eq!(
            body,
            r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32001,"message":"Session not found"}}"#
        );
    }
}
