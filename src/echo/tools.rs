//! The tools: what was received, who the gateway says is calling, the time, and an answer that takes its time.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use http::request::Parts;
use rmcp::handler::server::common::Extension;
use rmcp::handler::server::router::tool::ToolRouter;
use rmcp::model::{JsonObject, ProgressNotificationParam};
use rmcp::service::RequestContext;
use rmcp::{Json, RoleServer, ServerHandler, tool, tool_handler, tool_router};
use schemars::JsonSchema;
use serde::Serialize;
use time::OffsetDateTime;

use super::arguments::{Echo, Nothing, Refusal, Slow, parse, schema};

/// The server's tools; one copy answers one session or, without sessions, one request.
#[derive(Clone)]
pub(super) struct Tools {
    now: Arc<dyn Fn() -> u64 + Send + Sync>,
    router: Arc<ToolRouter<Self>>,
}

impl Tools {
    pub(super) fn new(now: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self { now: Arc::new(now), router: Arc::new(Self::tool_router()) }
    }
}

#[tool_router]
impl Tools {
    #[tool(
        description = "Sends the text back, unchanged.",
        input_schema = schema::<Echo>(),
        annotations(title = "Echo", read_only_hint = true, idempotent_hint = true, open_world_hint = false)
    )]
    async fn echo(&self, arguments: JsonObject) -> Result<Json<Echoed>, Refusal> {
        let Echo { text } = parse(arguments)?;
        Ok(Json(Echoed { text }))
    }

    #[tool(
        description = "Tells who the gateway says is calling: the identity headers X-User-Id, X-User-Name and X-User-Email of this request. \
                       A header that did not arrive is null.",
        input_schema = schema::<Nothing>(),
        annotations(title = "Who am I", read_only_hint = true, idempotent_hint = true, open_world_hint = false)
    )]
    async fn whoami(
        &self,
        arguments: JsonObject,
        Extension(request): Extension<Parts>,
    ) -> Result<Json<Identity>, Refusal> {
        let Nothing {} = parse(arguments)?;
        Ok(Json(Identity {
            id: joined(&request.headers, "x-user-id"),
            name: joined(&request.headers, "x-user-name"),
            email: joined(&request.headers, "x-user-email"),
        }))
    }

    #[tool(
        description = "Lists every HTTP header of this request as the server received it, sorted by name. Nothing is hidden, \
                       so what should not have passed the gateway is seen here.",
        input_schema = schema::<Nothing>(),
        annotations(title = "Request headers", read_only_hint = true, idempotent_hint = true, open_world_hint = false)
    )]
    async fn headers(
        &self,
        arguments: JsonObject,
        Extension(request): Extension<Parts>,
    ) -> Result<Json<Headers>, Refusal> {
        let Nothing {} = parse(arguments)?;
        Ok(Json(Headers { headers: listed(&request.headers) }))
    }

    #[tool(
        description = "Tells the server's time in UTC, as in RFC 3339.",
        input_schema = schema::<Nothing>(),
        annotations(title = "Time", read_only_hint = true, idempotent_hint = true, open_world_hint = false)
    )]
    async fn time(&self, arguments: JsonObject) -> Result<Json<Time>, Refusal> {
        let Nothing {} = parse(arguments)?;
        Ok(Json(Time { now: rfc3339((self.now)())? }))
    }

    #[tool(
        description = "Takes `steps` steps of `delay_ms` milliseconds before it answers, with a progress notification after each if the \
                       request carries a progress token. Stops when it is cancelled.",
        input_schema = schema::<Slow>(),
        annotations(title = "Slow answer", read_only_hint = true, idempotent_hint = true, open_world_hint = false)
    )]
    async fn slow(
        &self,
        arguments: JsonObject,
        context: RequestContext<RoleServer>,
    ) -> Result<Json<Slept>, Refusal> {
        let slow: Slow = parse(arguments)?;
        let (steps, delay_ms) = (slow.steps.number(), slow.delay_ms.number());
        let delay = Duration::from_millis(delay_ms.into());
        for step in 1..=steps {
            tokio::select! {
                () = context.ct.cancelled() => return Err(Refusal::Cancelled { done: step - 1, steps }),
                () = tokio::time::sleep(delay) => report(&context, step, steps).await?,
            }
        }
        Ok(Json(Slept { steps, delay_ms }))
    }
}

#[tool_handler(
    router = self.router,
    name = "portcullis-echo",
    instructions = "The diagnostic server of Portcullis. Its tools show what the gateway passed on: `whoami` and `headers` for one request, \
                    `slow` for streaming."
)]
impl ServerHandler for Tools {}

#[derive(Debug, Serialize, JsonSchema)]
struct Echoed {
    /// The text as it came.
    text: String,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Identity {
    /// `X-User-Id`
    id: Option<String>,
    /// `X-User-Name`
    name: Option<String>,
    /// `X-User-Email`
    email: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Headers {
    /// Sorted by name; a header that came twice is listed twice, in the order of arrival.
    headers: Vec<Header>,
}

#[derive(Debug, PartialEq, Serialize, JsonSchema)]
struct Header {
    /// In lower case.
    name: String,
    /// Bytes that are not UTF-8 make the whole value escaped, as `\xff`.
    value: String,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Time {
    /// For example `2026-11-21T02:47:20Z`.
    now: String,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Slept {
    /// Steps taken.
    steps: u32,
    /// Milliseconds each of them took.
    delay_ms: u32,
}

async fn report(context: &RequestContext<RoleServer>, step: u32, steps: u32) -> Result<(), Refusal> {
    let Some(token) = context.meta.get_progress_token() else { return Ok(()) };
    let progress = ProgressNotificationParam::new(token, step.into())
        .with_total(steps.into())
        .with_message(format!("step {step} of {steps}"));
    context.peer.notify_progress(progress).await.map_err(Refusal::Gone)
}

/// A header's values as one (RFC 9110 §5.3), so that a second `X-User-Id` beside the gateway's own is seen.
fn joined(headers: &HeaderMap, name: &str) -> Option<String> {
    let values: Vec<String> = headers.get_all(name).iter().map(|v| text(v.as_bytes())).collect();
    (!values.is_empty()).then(|| values.join(", "))
}

fn listed(headers: &HeaderMap) -> Vec<Header> {
    let mut listed: Vec<Header> = headers
        .iter()
        .map(|(name, value)| Header { name: name.to_string(), value: text(value.as_bytes()) })
        .collect();
    // Stable, so values of one name keep their order.
    listed.sort_by(|a, b| a.name.cmp(&b.name));
    listed
}

fn text(value: &[u8]) -> String {
    str::from_utf8(value).map_or_else(|_| value.escape_ascii().to_string(), str::to_owned)
}

/// `seconds` after 1970-01-01T00:00:00Z as a `date-time` of RFC 3339 §5.6.
fn rfc3339(seconds: u64) -> Result<String, Refusal> {
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    let at = OffsetDateTime::from_unix_timestamp(seconds).map_err(Refusal::Clock)?;
    let (year, month, day) = at.to_calendar_date();
    let (hour, minute, second) = at.to_hms();
    Ok(format!("{year:04}-{:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z", u8::from(month)))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn header(name: &str, value: &str) -> Header {
        Header { name: name.to_owned(), value: value.to_owned() }
    }

    #[test]
    fn headers_are_sorted_complete_and_never_hidden() {
        let mut headers = HeaderMap::new();
        headers.append("x-b", HeaderValue::from_static("2"));
        headers.append("authorization", HeaderValue::from_static("Bearer shown"));
        headers.append("x-b", HeaderValue::from_static("1"));
        headers.append("x-a", HeaderValue::from_bytes(b"caf\xe9").unwrap());
        headers.append("cookie", HeaderValue::from_bytes("é".as_bytes()).unwrap());
        let mut sensitive = HeaderValue::from_static("also shown");
        sensitive.set_sensitive(true);
        headers.append("x-secret", sensitive);
        assert_eq!(
            listed(&headers),
            [
                header("authorization", "Bearer shown"),
                header("cookie", "é"),
                header("x-a", r"caf\xe9"),
                header("x-b", "2"),
                header("x-b", "1"),
                header("x-secret", "also shown"),
            ]
        );
    }

    #[test]
    fn a_second_identity_header_is_seen() {
        let mut headers = HeaderMap::new();
        assert_eq!(joined(&headers, "x-user-id"), None);
        headers.append("x-user-id", HeaderValue::from_static("github:1"));
        headers.append("x-user-id", HeaderValue::from_static("github:2"));
        assert_eq!(joined(&headers, "x-user-id").as_deref(), Some("github:1, github:2"));
    }

    #[test]
    fn time_is_written_as_rfc_3339_wants_it() {
        assert_eq!(rfc3339(0).unwrap(), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(951_782_400).unwrap(), "2000-02-29T00:00:00Z");
        assert_eq!(rfc3339(1_795_229_240).unwrap(), "2026-11-21T02:47:20Z");
        assert!(matches!(rfc3339(u64::MAX), Err(Refusal::Clock(_))));
    }

    #[test]
    fn every_tool_is_described_and_marked_as_reading_only() {
        let tools = Tools::new(|| 0).router.list_all();
        let names: Vec<&str> = tools.iter().map(|tool| tool.name.as_ref()).collect();
        assert_eq!(names, ["echo", "headers", "slow", "time", "whoami"]);
        for tool in tools {
            assert!(tool.description.is_some(), "{}", tool.name);
            assert!(tool.output_schema.is_some(), "{}", tool.name);
            let hints = tool.annotations.unwrap();
            assert_eq!(hints.read_only_hint, Some(true), "{}", tool.name);
            assert!(hints.title.is_some(), "{}", tool.name);
        }
    }
}
