//! What an answer of a server behind tells of it. Pure.

use http::HeaderValue;
use http::StatusCode;
use http::header::{CONTENT_TYPE, LOCATION};
use serde_json::Value;

use crate::doctor::web::messages;
use crate::upstream::Reply;

/// What somebody met who asked as a client does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Met {
    /// An MCP server.
    Server(Server),
    /// An MCP server that does not speak what was asked for.
    Revision {
        /// Its words.
        said: String,
        /// What it speaks, as far as it says so.
        theirs: Vec<String>,
    },
    /// Nothing of MCP at this path.
    Nothing {
        /// Where it sends whoever asks.
        elsewhere: Option<String>,
    },
    /// Somebody who wants a login of their own.
    Login,
    /// Somebody who does not take the `Host`, in their words.
    Host(String),
    /// An MCP server in another mode of transport, in its words.
    Transport(String),
    /// Somebody who is not well.
    Failing,
}

/// An MCP server that has answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Server {
    /// What it calls itself, and its version.
    pub(super) name: String,
    /// The revisions that it said it speaks; the one that it chose first.
    pub(super) revisions: Vec<String>,
    /// The session that it began.
    pub(super) session: Option<HeaderValue>,
}

/// What the answer to `initialize` or `server/discover` tells.
pub(super) fn read(reply: &Reply) -> Met {
    let (status, said) = (reply.status, words(reply));
    let message = message(reply);
    let error = message.as_ref().and_then(|message| message.get("error"));
    if let Some(result) = message.as_ref().and_then(|message| message.get("result"))
        && let Some(server) = server(result, reply)
    {
        return Met::Server(server);
    }
    if let Some(theirs) = error.and_then(unsupported) {
        return Met::Revision { said, theirs };
    }
    let lower = said.to_ascii_lowercase();
    if status == StatusCode::UNAUTHORIZED || status == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
        return Met::Login;
    }
    let is_about_host = ["invalid host", "host header", "origin"].iter().any(|word| lower.contains(word));
    if status == StatusCode::MISDIRECTED_REQUEST || (status.is_client_error() && is_about_host) {
        return Met::Host(said);
    }
    if ["stateless http transport not enabled", "transport not enabled", "sse transport", "only sse"]
        .iter()
        .any(|word| lower.contains(word))
    {
        return Met::Transport(said);
    }
    match status {
        StatusCode::FORBIDDEN => Met::Login,
        status if status.is_server_error() => Met::Failing,
        status if status.is_redirection() => {
            let elsewhere = reply.headers.get(LOCATION).and_then(|value| value.to_str().ok());
            Met::Nothing { elsewhere: elsewhere.map(str::to_owned) }
        }
        // It knows JSON-RPC, and not what every client of its transport asks first.
        _ if error.is_some() && status != StatusCode::NOT_FOUND => Met::Transport(said),
        _ => Met::Nothing { elsewhere: None },
    }
}

/// Where the old transport takes messages, if this is its event stream (2024-11-05).
pub(super) fn old_transport(reply: &Reply) -> Option<String> {
    if !is_stream(reply) {
        return None;
    }
    let text = String::from_utf8_lossy(&reply.body).replace("\r\n", "\n");
    let event = text
        .split("\n\n")
        .find(|event| event.lines().any(|line| field(line, "event") == Some("endpoint")))?;
    let data = event.lines().find_map(|line| field(line, "data"))?;
    let path = data.split(['?', '#']).next().unwrap_or(data);
    let path = path
        .find("://")
        .and_then(|at| path[at + 3..].find('/').map(|slash| &path[at + 3 + slash..]))
        .unwrap_or(path);
    Some(path.to_owned())
}

/// The names of the tools in an answer to `tools/list`.
pub(super) fn tools(reply: &Reply) -> Option<Vec<String>> {
    let message = message(reply)?;
    let tools = message.get("result")?.get("tools")?.as_array()?;
    let mut names: Vec<String> =
        tools.iter().filter_map(|tool| Some(tool.get("name")?.as_str()?.to_owned())).collect();
    names.sort();
    Some(names)
}

/// The status and the beginning of what was said with it, in one line.
pub(super) fn words(reply: &Reply) -> String {
    const MOST: usize = 160;
    let error = message(reply).and_then(|message| {
        Some(message.get("error")?.get("message")?.as_str().unwrap_or_default().to_owned())
    });
    let is_page = reply.body.trim_ascii_start().starts_with(b"<");
    let text = match error {
        Some(error) => error,
        None if is_page && reply.status.is_success() => "a web page, no MCP server".to_owned(),
        None if is_page || is_stream(reply) => String::new(),
        None => String::from_utf8_lossy(&reply.body).into_owned(),
    };
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let short: String = text.chars().take(MOST).collect();
    if short.is_empty() { reply.status.to_string() } else { format!("{}: {short}", reply.status) }
}

fn server(result: &Value, reply: &Reply) -> Option<Server> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let chosen = result.get("protocolVersion").and_then(text);
    let listed = result.get("supportedVersions").and_then(Value::as_array);
    let listed = listed.map(|all| all.iter().filter_map(text).collect::<Vec<_>>()).unwrap_or_default();
    let mut revisions: Vec<String> = chosen.into_iter().collect();
    revisions.extend(listed);
    if revisions.is_empty() {
        return None;
    }
    let info =
        result.get("serverInfo").or_else(|| result.get("_meta")?.get("io.modelcontextprotocol/serverInfo"));
    let part = |name| info.and_then(|info| info.get(name)).and_then(Value::as_str).unwrap_or_default();
    let name = format!("{} {}", part("name"), part("version")).trim().to_owned();
    Some(Server { name, revisions, session: reply.session().cloned() })
}

/// The revisions that an error names, if it is about revisions.
fn unsupported(error: &Value) -> Option<Vec<String>> {
    let listed = error.get("data").and_then(|data| data.get("supported")).and_then(Value::as_array);
    let message = error.get("message").and_then(Value::as_str).unwrap_or_default().to_ascii_lowercase();
    let is_about = message.contains("protocol version") || message.contains("protocolversion");
    let theirs = listed.into_iter().flatten().filter_map(|one| one.as_str().map(str::to_owned)).collect();
    (listed.is_some() || is_about).then_some(theirs)
}

/// The JSON-RPC answer, wherever it stands.
fn message(reply: &Reply) -> Option<Value> {
    if !is_stream(reply) {
        return serde_json::from_slice(&reply.body).ok();
    }
    messages(&reply.body).into_iter().find(|message| message.get("id").is_some())
}

fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    Some(line.strip_prefix(name)?.strip_prefix(':')?.trim())
}

fn is_stream(reply: &Reply) -> bool {
    let kind = reply.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.starts_with("text/event-stream")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::HeaderMap;

    use super::*;

    fn reply(status: u16, kind: &'static str, body: &str) -> Reply {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        let status = StatusCode::from_u16(status).unwrap();
        Reply { status, headers, body: body.to_owned().into(), took: Duration::ZERO }
    }

    fn json(status: u16, body: &str) -> Met {
        read(&reply(status, "application/json", body))
    }

    #[test]
    fn a_server_is_known_by_its_result_as_json_and_as_an_event() {
        let result = r#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-06-18","serverInfo":{"name":"todo","version":"1.2"}}}"#;
        let expected =
            Server { name: "todo 1.2".into(), revisions: vec!["2025-06-18".into()], session: None };
        assert_eq!(json(200, result), Met::Server(expected.clone()));
        let event = format!("id: 1\r\nevent: message\r\ndata: {result}\r\n\r\n");
        assert_eq!(read(&reply(200, "text/event-stream", &event)), Met::Server(expected));
        let discover =
            r#"{"id":1,"result":{"supportedVersions":["2026-07-28","2025-11-25"],"capabilities":{}}}"#;
        let Met::Server(server) = json(200, discover) else { panic!() };
        assert_eq!(server.revisions, ["2026-07-28", "2025-11-25"]);
    }

    #[test]
    fn what_is_no_server_is_told_apart() {
        let nothing = Met::Nothing { elsewhere: None };
        assert_eq!(json(404, "Not Found"), nothing);
        assert_eq!(json(405, ""), nothing);
        assert_eq!(read(&reply(200, "text/html", "<!doctype html>")), nothing);
        assert_eq!(json(404, r#"{"id":1,"error":{"code":-32000,"message":"no"}}"#), nothing);
        assert_eq!((json(401, ""), json(407, ""), json(403, "")), (Met::Login, Met::Login, Met::Login));
        assert_eq!(
            json(421, "Invalid Host header"),
            Met::Host("421 Misdirected Request: Invalid Host header".into())
        );
        assert_eq!(
            json(403, "Invalid Origin header"),
            Met::Host("403 Forbidden: Invalid Origin header".into())
        );
        assert_eq!(json(500, "oh"), Met::Failing);
        let stateless =
            r#"{"id":null,"error":{"code":-32000,"message":"Stateless HTTP transport not enabled"}}"#;
        assert_eq!(
            json(400, stateless),
            Met::Transport("400 Bad Request: Stateless HTTP transport not enabled".into())
        );
    }

    #[test]
    fn an_error_about_revisions_names_those_of_the_server() {
        let error = r#"{"id":1,"error":{"code":-32602,"message":"Unsupported protocol version","data":{"supported":["2031-01-01"],"requested":"2025-11-25"}}}"#;
        let said = "200 OK: Unsupported protocol version".to_owned();
        assert_eq!(json(200, error), Met::Revision { said, theirs: vec!["2031-01-01".into()] });
    }

    #[test]
    fn the_old_transport_is_known_by_its_first_event() {
        for (data, path) in [
            ("/messages/?session_id=1", "/messages/"),
            ("http://127.0.0.1:8000/messages?x=1", "/messages"),
            ("messages", "messages"),
        ] {
            let stream = format!(": hello\n\nevent: endpoint\ndata: {data}\n\n");
            assert_eq!(old_transport(&reply(200, "text/event-stream", &stream)).as_deref(), Some(path));
        }
        assert_eq!(old_transport(&reply(200, "text/event-stream", "event: message\ndata: {}\n\n")), None);
        assert_eq!(old_transport(&reply(200, "text/plain", "event: endpoint\ndata: /x\n\n")), None);
    }
}
