//! The JSON-RPC envelope, as far as answers of our own need it.

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::Value;

/// What SDK servers answer with 404 to a session id that is not (or no longer) theirs.
pub const SESSION_NOT_FOUND: i32 = -32001;

/// JSON-RPC 2.0 §5.1: the fault is on this side.
pub const INTERNAL_ERROR: i32 = -32603;

/// What SDK servers answer to a request that they will not carry out.
pub const REFUSED: i32 = -32000;

#[derive(Serialize)]
struct ErrorResponse<'a> {
    jsonrpc: &'static str,
    id: (),
    error: ErrorObject<'a>,
}

#[derive(Serialize)]
struct ErrorObject<'a> {
    code: i32,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a Value>,
}

/// A JSON-RPC error response to a request whose body was not read: its id is `null` (JSON-RPC 2.0 §5).
#[must_use]
pub fn error_body(code: i32, message: &str, data: Option<&Value>) -> Bytes {
    let response = ErrorResponse { jsonrpc: "2.0", id: (), error: ErrorObject { code, message, data } };
    serde_json::to_vec(&response).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_a_null_id_and_data_if_there_is_some() {
        assert_eq!(
            error_body(SESSION_NOT_FOUND, "Session not found", None),
            r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32001,"message":"Session not found"}}"#
        );
        assert_eq!(
            error_body(INTERNAL_ERROR, "no \"luck\"", Some(&serde_json::json!({ "finding": "dns" }))),
            r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32603,"message":"no \"luck\"","data":{"finding":"dns"}}}"#
        );
    }
}
