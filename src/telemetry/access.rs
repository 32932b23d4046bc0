//! The one line about a request.

use std::net::IpAddr;
use std::time::Duration;

use http::header::HOST;
use http::{HeaderMap, Method, StatusCode, Uri};

use super::{RequestId, TraceId, redact};
use crate::trouble::Trouble;

/// What is logged of one request: begun when it comes, filled in when it is answered, written when its body has ended.
#[derive(Clone, Debug)]
pub struct AccessLine {
    request_id: RequestId,
    trace: Option<TraceId>,
    method: Method,
    host: Option<String>,
    path: String,
    peer: IpAddr,
    status: Option<StatusCode>,
    note: Note,
}

/// What an endpoint knows of a request beyond its head.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Note {
    /// The service's name.
    pub service: Option<String>,
    /// The user's `sub`.
    pub subject: Option<String>,
    /// The client's id.
    pub client: Option<String>,
    /// Why it was refused: an error code, or a limit's name.
    pub reason: Option<&'static str>,
    /// Which trouble that is, for `portcullis doctor --explain`.
    pub trouble: Option<Trouble>,
    /// Whether it is doctor that has made it on purpose: it is told like any other, and not remembered as trouble.
    pub is_probe: bool,
}

impl Note {
    /// Refused, for this and nothing more precise.
    #[must_use]
    pub fn of_trouble(trouble: Trouble) -> Self {
        Self { reason: Some(trouble.id()), trouble: Some(trouble), ..Self::default() }
    }
}

impl AccessLine {
    /// What is known when the request has come. The query is left out (T16, X4): it carries codes and states.
    #[must_use]
    pub fn begin(
        request_id: &RequestId,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        peer: IpAddr,
    ) -> Self {
        let host = uri.authority().map(http::uri::Authority::host);
        let host = host.or_else(|| headers.get(HOST).and_then(|host| host.to_str().ok()));
        Self {
            request_id: request_id.clone(),
            trace: None,
            method: method.clone(),
            host: host.map(|host| redact::shorten(host, MAX_HOST).to_owned()),
            path: redact::shorten(redact::path(uri), MAX_PATH).to_owned(),
            peer,
            status: None,
            note: Note::default(),
        }
    }

    /// The trace that the request is a part of.
    #[must_use]
    pub fn traced(self, trace: Option<TraceId>) -> Self {
        Self { trace, ..self }
    }

    /// What is known when the answer's head goes out.
    pub fn answered(&mut self, status: StatusCode, note: Note) {
        self.status = Some(status);
        self.note = note;
    }

    /// The body did not reach its end: the client went away, or the answer was broken off.
    pub fn cut_short(&mut self) {
        self.note.reason = self.note.reason.or(Some("cut_short"));
    }

    /// Whether anybody wants these lines. Asked before one is begun: most of what it costs is putting it together.
    #[must_use]
    pub fn is_wanted() -> bool {
        tracing::enabled!(target: TARGET, tracing::Level::INFO)
    }

    /// Writes the line, `duration` after the request came and with `bytes` of body sent.
    pub fn emit(&self, bytes: u64, duration: Duration) {
        tracing::info!(
            target: TARGET,
            request_id = self.request_id.as_str(),
            trace_id = self.trace.as_ref().map(TraceId::as_str),
            method = self.method.as_str(),
            host = self.host.as_deref(),
            path = self.path.as_str(),
            status = self.status.map(|status| status.as_u16()),
            duration_ms = milliseconds(duration),
            bytes,
            service = self.note.service.as_deref(),
            sub = self.note.subject.as_deref(),
            client = self.note.client.as_deref(),
            peer = %self.peer,
            reason = self.note.reason,
            trouble = self.note.trouble.map(Trouble::id),
        );
    }
}

/// The target of access lines, for filters.
pub(super) const TARGET: &str = "access";
/// The longest DNS name.
const MAX_HOST: usize = 255;
/// A path may be as long as a request's head; the log is not the attacker's to fill.
const MAX_PATH: usize = 512;

/// With microseconds as decimals and no more.
fn milliseconds(duration: Duration) -> f64 {
    let micros = u32::try_from(duration.as_micros()).unwrap_or(u32::MAX);
    f64::from(micros) / 1000.0
}

#[cfg(test)]
mod tests {
    use super::super::Format;
    use http::HeaderValue;

    use super::super::capture::logged;
    use super::*;

    fn line(uri: &str, host: &str) -> AccessLine {
        let headers = HeaderMap::from_iter([(HOST, host.parse().unwrap())]);
        let id = RequestId::accept(&HeaderValue::from_static("r-1")).unwrap();
        AccessLine::begin(&id, &Method::GET, &uri.parse().unwrap(), &headers, [192, 0, 2, 1].into())
    }

    fn json(line: &AccessLine) -> serde_json::Value {
        let text = logged(Format::Json, "info", || line.emit(5, Duration::from_micros(1_250)));
        serde_json::from_str(text.trim_end()).unwrap()
    }

    #[test]
    fn the_line_carries_who_asked_for_what_and_how_it_ended() {
        let mut line = line("/mcp", "fetch.example.com");
        let note = Note {
            service: Some("fetch".into()),
            subject: Some("github:583231".into()),
            client: Some("c-1".into()),
            reason: Some("policy"),
            trouble: Some(Trouble::NotAllowed),
            is_probe: false,
        };
        line.answered(StatusCode::FORBIDDEN, note);
        let mut value = json(&line);
        let fields = value.as_object_mut().unwrap();
        assert!(fields.remove("timestamp").is_some());
        assert_eq!(
            value,
            serde_json::json!({
                "level": "INFO", "target": "access", "request_id": "r-1", "method": "GET",
                "host": "fetch.example.com", "path": "/mcp", "status": 403, "duration_ms": 1.25, "bytes": 5,
                "service": "fetch", "sub": "github:583231", "client": "c-1", "peer": "192.0.2.1", "reason": "policy",
                "trouble": "not-allowed",
            })
        );
    }

    // trouble: trace-one
    #[test]
    fn the_line_names_the_request_and_its_trace() {
        let trace = TraceId::from_text("0af7651916cd43dd8448eb211c80319c");
        let value = json(&line("/mcp", "h").traced(trace));
        assert_eq!(
            (&value["request_id"], &value["trace_id"]),
            (&"r-1".into(), &"0af7651916cd43dd8448eb211c80319c".into())
        );
    }

    // T16, X4
    #[test]
    fn the_query_is_never_logged() {
        for format in [Format::Text, Format::Json] {
            let line = line("/callback?code=hunter2&state=hunter2", "auth.example.com");
            let text = logged(format, "trace", || line.emit(0, Duration::ZERO));
            assert!(text.contains("/callback") && !text.contains("hunter2") && !text.contains('?'), "{text}");
        }
    }

    #[test]
    fn what_is_not_known_is_not_in_the_line() {
        let value = json(&line("/", "h"));
        for absent in ["status", "service", "sub", "client", "reason", "trace_id"] {
            assert_eq!(value.get(absent), None, "{absent}");
        }
    }

    #[test]
    fn http2_names_the_host_in_the_uri() {
        assert_eq!(
            json(&line("https://two.example.com:8443/mcp", "one.example.com"))["host"],
            "two.example.com"
        );
    }

    #[test]
    fn a_long_path_is_cut() {
        let value = json(&line(&format!("/{}", "a".repeat(60_000)), "h"));
        assert_eq!(value["path"].as_str().unwrap().len(), MAX_PATH);
    }
}
