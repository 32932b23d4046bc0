//! What is asked, and what is answered.

use std::net::SocketAddr;

use bytes::Bytes;
use http::response::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::Full;
use serde_json::Value;
use url::{Position, Url, form_urlencoded};

use super::Shown;
use crate::host::is_loopback_url;
use crate::secret::Secret;

/// What we call ourselves where no client is played.
const USER_AGENT: &str = concat!("portcullis-doctor/", env!("CARGO_PKG_VERSION"));

/// One request. It has no `Debug`, for it may carry secrets.
#[derive(Clone)]
pub struct Ask {
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Bytes,
    pinned: Option<SocketAddr>,
    past_a_bad_certificate: bool,
    secret: bool,
    head_only: bool,
}

impl Ask {
    /// `method` at `url`, without a body.
    #[must_use]
    pub fn new(method: Method, url: &Url) -> Self {
        Self {
            method,
            url: url.clone(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            pinned: None,
            past_a_bad_certificate: false,
            secret: false,
            head_only: false,
        }
        .header("user-agent", USER_AGENT)
    }

    /// GET.
    #[must_use]
    pub fn get(url: &Url) -> Self {
        Self::new(Method::GET, url)
    }

    /// POST with JSON.
    #[must_use]
    pub fn post_json(url: &Url, body: &Value) -> Self {
        let mut ask = Self::new(Method::POST, url).header("content-type", "application/json");
        ask.body = body.to_string().into();
        ask
    }

    /// POST with a form; it may carry secrets, so that it never goes past a bad certificate, nor by plain http to
    /// another machine.
    #[must_use]
    pub fn post_form(url: &Url, fields: &[(&str, &str)]) -> Self {
        let mut ask =
            Self::new(Method::POST, url).header("content-type", "application/x-www-form-urlencoded");
        ask.body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish().into();
        ask.secret = true;
        ask
    }

    /// With a header, in place of one of that name. A value that no header can have is left out.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(HeaderName::from_static(name), value);
        }
        self
    }

    /// With a bearer token; the request never goes past a bad certificate, nor by plain http to another machine.
    #[must_use]
    pub fn bearer(self, token: &Secret) -> Self {
        self.authorization(&Secret::new(format!("Bearer {}", token.expose())))
    }

    /// With an Authorization header; the request never goes past a bad certificate, nor by plain http to another machine.
    #[must_use]
    pub fn authorization(mut self, value: &Secret) -> Self {
        if let Ok(mut value) = HeaderValue::from_str(value.expose()) {
            value.set_sensitive(true);
            self.headers.insert(header::AUTHORIZATION, value);
        }
        self.secret = true;
        self
    }

    /// At this address, wherever the name leads.
    #[must_use]
    pub const fn at(mut self, address: SocketAddr) -> Self {
        self.pinned = Some(address);
        self
    }

    /// Though the certificate is not good, for what can be learnt behind it; unless the request carries a secret.
    #[must_use]
    pub const fn past_a_bad_certificate(mut self) -> Self {
        self.past_a_bad_certificate = true;
        self
    }

    /// The answer's body is not read.
    #[must_use]
    pub const fn without_body(mut self) -> Self {
        self.head_only = true;
        self
    }

    /// Where it goes.
    #[must_use]
    pub const fn url(&self) -> &Url {
        &self.url
    }

    /// Its method and URL, for people.
    #[must_use]
    pub fn shown(&self) -> String {
        format!("{} {}", self.method, self.url)
    }

    pub(super) const fn pinned(&self) -> Option<SocketAddr> {
        self.pinned
    }

    /// Whether it must not be read by anybody on the way.
    pub(super) const fn is_secret(&self) -> bool {
        self.secret
    }

    /// Whether it goes to this machine itself.
    pub(super) fn stays_here(&self) -> bool {
        match self.pinned {
            Some(address) => address.ip().is_loopback(),
            None => is_loopback_url(&self.url),
        }
    }

    pub(super) const fn goes_on(&self) -> bool {
        self.past_a_bad_certificate && !self.secret
    }

    pub(super) const fn head_only(&self) -> bool {
        self.head_only
    }

    pub(super) fn into_request(self) -> Option<Request<Full<Bytes>>> {
        let target: Uri = self.url[Position::BeforePath..Position::AfterQuery].parse().ok()?;
        let authority = &self.url[Position::BeforeHost..Position::AfterPort];
        let mut request = Request::new(Full::new(self.body));
        *request.method_mut() = self.method;
        *request.uri_mut() = target;
        *request.headers_mut() = self.headers;
        request.headers_mut().insert(header::HOST, HeaderValue::from_str(authority).ok()?);
        Some(request)
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// As much of the body as was read.
    pub body: Bytes,
    /// Whether there was more of it than was read: too large, too slow, or broken off.
    pub cut: bool,
    /// Which of the host's addresses it came from.
    pub address: SocketAddr,
    /// The certificates that were shown, if it came over TLS.
    pub shown: Option<Shown>,
}

/// The JSON messages of an event stream: an event's `data` lines belong together (WHATWG HTML §9.2.6).
#[must_use]
pub fn messages(stream: &[u8]) -> Vec<Value> {
    let text = String::from_utf8_lossy(stream).replace("\r\n", "\n");
    let data = |event: &str| {
        let lines = event.lines().filter_map(|line| line.strip_prefix("data:"));
        lines.map(|data| data.strip_prefix(' ').unwrap_or(data)).collect::<Vec<_>>().join("\n")
    };
    text.split("\n\n").filter_map(|event| serde_json::from_str(&data(event)).ok()).collect()
}

impl Answer {
    pub(super) fn new(parts: Parts, address: SocketAddr, shown: Option<Shown>) -> Self {
        Self { status: parts.status, headers: parts.headers, body: Bytes::new(), cut: false, address, shown }
    }

    /// A header's first value; empty if there is none that can be read.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The media type without its parameters, in small letters.
    #[must_use]
    pub fn media_type(&self) -> String {
        let value = self.header("content-type").split(';').next().unwrap_or_default();
        value.trim().to_ascii_lowercase()
    }

    /// Whether it is a stream of server-sent events.
    #[must_use]
    pub fn is_event_stream(&self) -> bool {
        self.media_type() == "text/event-stream"
    }

    /// Whether it is a page for people.
    #[must_use]
    pub fn is_html(&self) -> bool {
        self.media_type() == "text/html"
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The JSON in the body; in an event stream, the first message that answers something.
    #[must_use]
    pub fn json(&self) -> Option<Value> {
        if !self.is_event_stream() {
            return serde_json::from_slice(&self.body).ok();
        }
        let mut messages = messages(&self.body).into_iter();
        messages.find(|message| message.get("result").is_some() || message.get("error").is_some())
    }

    /// Where a redirect leads, from `url` on.
    #[must_use]
    pub fn location(&self, url: &Url) -> Option<Url> {
        if !self.status.is_redirection() {
            return None;
        }
        url.join(self.header("location")).ok()
    }

    /// Its status and what else tells what it is, for people: `404, text/html`.
    #[must_use]
    pub fn summary(&self) -> String {
        let status = self.status.as_u16();
        if self.status.is_redirection() && !self.header("location").is_empty() {
            return format!("{status} to {}", self.header("location"));
        }
        match self.media_type().as_str() {
            "" => status.to_string(),
            media => format!("{status}, {media}"),
        }
    }
}
