//! One request's surroundings: what every endpoint may ask for, and what the access line says at the end.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use http::{HeaderName, HeaderValue, Request, Response};
use hyper::body::Incoming;

use super::body::Finish;
use super::{Arrival, Body, Shared, Site, Worker, address};
use crate::secret;
use crate::telemetry::{AccessLine, RequestId};
use crate::time::Timestamp;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What an endpoint may ask for beside the request itself.
pub(super) struct Exchange<'a> {
    pub(super) site: &'a Site,
    pub(super) shared: &'a Arc<Shared>,
    pub(super) worker: &'a Worker,
    /// When the request came.
    pub(super) now: Timestamp,
    /// The client's address, behind trusted proxies too.
    pub(super) address: IpAddr,
    /// In, out, upstream, and in every log line.
    pub(super) request_id: RequestId,
    line: AccessLine,
    started: Instant,
}

/// What an endpoint adds to its request's access line: put into the response's extensions.
#[derive(Clone, Debug, Default)]
pub(super) struct Note {
    pub(super) service: Option<String>,
    pub(super) subject: Option<String>,
    pub(super) client: Option<String>,
    pub(super) reason: Option<&'static str>,
}

impl<'a> Exchange<'a> {
    pub(super) fn begin(
        site: &'a Site,
        shared: &'a Arc<Shared>,
        worker: &'a Worker,
        arrival: &Arrival,
        request: &Request<Incoming>,
    ) -> Self {
        let address = address::client(&site.settings, arrival, request.headers());
        let inbound = request.headers().get(X_REQUEST_ID).and_then(|value| value.to_str().ok());
        let request_id = RequestId::accept_or_make(inbound, secret::random());
        let line =
            AccessLine::begin(&request_id, request.method(), request.uri(), request.headers(), address);
        Self {
            site,
            shared,
            worker,
            now: shared.clock.now(),
            address,
            request_id,
            line,
            started: Instant::now(),
        }
    }

    /// The client's address, an IPv6 one without its host part: one customer has a whole /64.
    pub(super) fn network(&self) -> String {
        match self.address {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
            }
        }
    }

    /// Adds the request id and sees to the access line: at once, or when the body has ended.
    pub(super) fn end(self, mut reply: Response<Body>) -> Response<Body> {
        let note = reply.extensions_mut().remove::<Note>().unwrap_or_default();
        let mut line = self.line;
        line.answered(reply.status(), note.service, note.subject, note.client, note.reason);
        if let Ok(id) = HeaderValue::from_str(self.request_id.as_str()) {
            reply.headers_mut().insert(X_REQUEST_ID, id);
        }
        let line = Box::new(Line { line, started: self.started });
        reply.map(|body| body.on_end(line))
    }
}

/// The access line, written when the answer's body has ended.
struct Line {
    line: AccessLine,
    started: Instant,
}

impl Finish for Line {
    fn finish(&mut self, bytes: u64, complete: bool) {
        if !complete {
            self.line.cut_short();
        }
        self.line.emit(bytes, self.started.elapsed());
    }
}

/// Adds a note to a reply.
pub(super) fn noted(mut reply: Response<Body>, note: Note) -> Response<Body> {
    reply.extensions_mut().insert(note);
    reply
}
