//! What the tools accept: every argument is named in a schema, bounded, and refused with a tool error that says which one is wrong.
//!
//! rmcp's own `Parameters` would answer −32602, which a model does not get to see; the specification (2025-11-25, tools, error handling)
//! wants input validation as a tool error, so that the model can correct itself.

use std::any::Any;
use std::borrow::Cow;
use std::sync::Arc;

use rmcp::handler::server::tool::schema_for_input;
use rmcp::model::{ContentBlock, IntoContents, JsonObject};
use rmcp::service::ServiceError;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use thiserror::Error;

/// Why a tool gave no result.
#[derive(Debug, Error)]
pub(super) enum Refusal {
    #[error("wrong arguments: {0}")]
    Arguments(#[from] serde_path_to_error::Error<serde_json::Error>),
    #[error("the clock shows a moment that no calendar names")]
    Clock(#[source] time::error::ComponentRange),
    #[error("cancelled after {done} of {steps} steps")]
    Cancelled { done: u32, steps: u32 },
    #[error("the client that wanted progress is gone")]
    Gone(#[source] ServiceError),
}

impl IntoContents for Refusal {
    fn into_contents(self) -> Vec<ContentBlock> {
        vec![ContentBlock::text(self.to_string())]
    }
}

/// Arguments of a tool that takes none.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Echo {
    /// The text to send back.
    pub(super) text: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Slow {
    /// How many steps to take, each one a progress notification if the caller asked for them.
    pub(super) steps: AtMost<100>,
    /// How long each step takes, in milliseconds.
    pub(super) delay_ms: AtMost<5000>,
}

/// A number from zero up to and including `MAX`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "u32")]
pub(super) struct AtMost<const MAX: u32>(u32);

impl<const MAX: u32> AtMost<MAX> {
    pub(super) const fn number(self) -> u32 {
        self.0
    }
}

#[derive(Debug, Error)]
#[error("{number} is too much, at most {max} is allowed")]
pub(super) struct TooMuch {
    number: u32,
    max: u32,
}

impl<const MAX: u32> TryFrom<u32> for AtMost<MAX> {
    type Error = TooMuch;

    fn try_from(number: u32) -> Result<Self, TooMuch> {
        if number > MAX {
            return Err(TooMuch { number, max: MAX });
        }
        Ok(Self(number))
    }
}

impl<const MAX: u32> JsonSchema for AtMost<MAX> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        Cow::Owned(format!("AtMost{MAX}"))
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": 0, "maximum": MAX })
    }
}

/// The arguments of a call, or what is wrong with them.
pub(super) fn parse<T: DeserializeOwned>(arguments: JsonObject) -> Result<T, Refusal> {
    Ok(serde_path_to_error::deserialize(Value::Object(arguments))?)
}

/// The schema that a tool with arguments `T` announces.
pub(super) fn schema<T: JsonSchema + Any>() -> Arc<JsonObject> {
    schema_for_input::<T>().expect("the schema of a struct is an object's")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused<T: DeserializeOwned + std::fmt::Debug>(arguments: Value) -> String {
        let Value::Object(arguments) = arguments else { panic!("arguments are an object") };
        parse::<T>(arguments).unwrap_err().to_string()
    }

    #[test]
    fn every_schema_closes_its_object_and_names_its_bounds() {
        assert_eq!(
            Value::Object(schema::<Slow>().as_ref().clone()),
            json!({
                "$schema": "https://json-schema.org/draft/2020-12/schema",
                "type": "object",
                "additionalProperties": false,
                "required": ["steps", "delay_ms"],
                "properties": {
                    "steps": {
                        "type": "integer", "minimum": 0, "maximum": 100,
                        "description": "How many steps to take, each one a progress notification if the caller asked for them."
                    },
                    "delay_ms": {
                        "type": "integer", "minimum": 0, "maximum": 5000,
                        "description": "How long each step takes, in milliseconds."
                    }
                }
            })
        );
        assert_eq!(schema::<Nothing>()["additionalProperties"], json!(false));
        assert_eq!(schema::<Echo>()["additionalProperties"], json!(false));
    }

    #[test]
    fn a_refusal_names_the_argument_and_the_fault() {
        assert_eq!(
            refused::<Slow>(json!({"steps": 101, "delay_ms": 1})),
            "wrong arguments: steps: 101 is too much, at most 100 is allowed"
        );
        assert_eq!(
            refused::<Slow>(json!({"steps": 1, "delay_ms": 5001})),
            "wrong arguments: delay_ms: 5001 is too much, at most 5000 is allowed"
        );
        assert_eq!(
            refused::<Slow>(json!({"steps": -1, "delay_ms": 1})),
            "wrong arguments: steps: invalid value: integer `-1`, expected u32"
        );
        assert_eq!(
            refused::<Echo>(json!({"text": 7})),
            "wrong arguments: text: invalid type: integer `7`, expected a string"
        );
        assert_eq!(refused::<Echo>(json!({})), "wrong arguments: missing field `text`");
        assert_eq!(
            refused::<Echo>(json!({"text": "", "loud": true})),
            "wrong arguments: loud: unknown field `loud`, expected `text`"
        );
        assert_eq!(
            refused::<Nothing>(json!({"verbose": true})),
            "wrong arguments: verbose: unknown field `verbose`, there are no fields"
        );
    }

    #[test]
    fn the_bounds_themselves_are_allowed() {
        let Value::Object(arguments) = json!({"steps": 100, "delay_ms": 5000}) else { panic!() };
        let slow: Slow = parse(arguments).unwrap();
        assert_eq!((slow.steps.number(), slow.delay_ms.number()), (100, 5000));
    }
}
