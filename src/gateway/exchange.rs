//! One request's surroundings: what every endpoint may ask for, and what the access line says at the end.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use http::header::STRICT_TRANSPORT_SECURITY;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};

use super::body::Finish;
use super::cookies::Jar;
use super::{Arrival, Body, Shared, Site, Worker, address, help, reply};
use crate::oauth::Use;
use crate::pages::Problem;
use crate::telemetry::{AccessLine, Audit, Failure, MethodClass, Note, RequestId, Subject, Tally, TraceId};
use crate::time::Timestamp;
use crate::trouble::Trouble;

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
    /// The trace it is a part of.
    trace: Option<TraceId>,
    method: MethodClass,
    /// `None` if nobody wants it. Boxed, so that most requests carry no room for one along.
    line: Option<Box<AccessLine>>,
    started: Instant,
}

impl<'a> Exchange<'a> {
    pub(super) fn begin<B>(
        site: &'a Site,
        shared: &'a Arc<Shared>,
        worker: &'a Worker,
        arrival: &Arrival,
        request: &Request<B>,
    ) -> Self {
        let address = address::client(&site.settings, arrival, request.headers());
        let inbound = request.headers().get(X_REQUEST_ID).and_then(RequestId::accept);
        let request_id = inbound.unwrap_or_else(|| worker.request_ids.make());
        let trace = TraceId::of(request.headers());
        let line = AccessLine::is_wanted().then(|| {
            let (method, uri, headers) = (request.method(), request.uri(), request.headers());
            Box::new(AccessLine::begin(&request_id, method, uri, headers, address).traced(trace))
        });
        Self {
            site,
            shared,
            worker,
            now: shared.clock.now(),
            address,
            request_id,
            trace,
            method: MethodClass::of(request.method()),
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

    /// When and from where this request came, for a grant's record.
    pub(super) fn seen(&self) -> Use {
        Use { at: self.now, from: self.network() }
    }

    /// This issuer's cookies.
    pub(super) fn jar(&self) -> Jar<'a> {
        Jar::of(&self.site.settings.issuer)
    }

    /// Writes an audit event of this request.
    pub(super) fn audit(&self, event: &Audit<'_>) {
        event.write(self.address, self.request_id.as_str(), self.trace);
    }

    /// The id of its trace, for the log.
    pub(super) fn trace_id(&self) -> Option<&str> {
        self.trace.as_ref().map(TraceId::as_str)
    }

    /// Writes an error to the log under this request's id: the client's fault quietly, ours and the store's loudly, with
    /// every source.
    pub(super) fn log(&self, status: StatusCode, trouble: Option<Trouble>, error: &dyn std::error::Error) {
        let causes = std::iter::successors(error.source(), |cause| cause.source());
        let causes: Vec<_> = causes.map(ToString::to_string).collect();
        let causes = (!causes.is_empty()).then(|| causes.join(": "));
        let (status_code, request_id) = (status.as_u16(), self.request_id.as_str());
        let (trace_id, trouble) = (self.trace_id(), trouble.map(Trouble::id));
        if status.is_server_error() {
            tracing::error!(request_id, trace_id, status = status_code, trouble, causes, "{error}");
        } else {
            tracing::info!(request_id, trace_id, status = status_code, trouble, causes, "{error}");
        }
    }

    /// Where people read about a trouble.
    pub(super) fn help(&self, trouble: Trouble) -> String {
        help::url(&self.site.settings.issuer, trouble)
    }

    /// Adds the request id, counts the answer, sees to the access line, at once or when the body has ended, and remembers what went
    /// wrong: here and nowhere else, whatever was answered.
    pub(super) fn end(mut self, subject: Subject, mut reply: Response<Body>) -> Response<Body> {
        let headers = reply.headers_mut();
        headers.insert(X_REQUEST_ID, self.request_id.value().clone());
        if self.site.is_public_https {
            headers.insert(STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
        }
        let note = reply.extensions_mut().remove::<Note>();
        let met = note.as_ref().filter(|note| !note.is_probe);
        if let Some((note, trouble)) = met.and_then(|note| Some((note, note.trouble?))) {
            self.remember(trouble, reply.status(), note);
        }
        let refusal = note.as_ref().and_then(|note| note.reason);
        self.worker.tally.answered(subject, self.method, (reply.status(), refusal));
        if let Some(line) = &mut self.line {
            line.answered(reply.status(), note.unwrap_or_default());
        }
        // What stands open says nothing of how fast anybody is.
        let timed = (!reply.body().stands_open()).then_some(subject);
        let Self { worker, line, started, .. } = self;
        match reply.body() {
            Body::Stream(_) if timed.is_none() && line.is_none() => reply,
            Body::Stream(_) => {
                let tally = timed.map(|subject| (Arc::clone(&worker.tally), subject));
                reply.map(|body| body.on_end(Box::new(Ending { line, started, tally })))
            }
            // It is known, and as good as sent.
            Body::Empty | Body::Full(_) => {
                let tally = timed.map(|subject| (Arc::clone(&worker.tally), subject));
                Ending { line, started, tally }.finish(reply.body().length(), true);
                reply
            }
        }
    }

    /// The client went away before there was an answer.
    #[cold]
    fn abandoned(&self, subject: Subject) {
        self.worker.tally.answered(subject, self.method, (GONE, Some(Self::ABANDONED)));
        if let Some(mut line) = self.line.clone() {
            line.answered(GONE, Note { reason: Some(Self::ABANDONED), ..Note::default() });
            line.emit(0, self.started.elapsed());
        }
    }

    /// Why a request of which the client knows nothing was not answered, in access lines and figures.
    const ABANDONED: &'static str = "client-gone";

    #[cold]
    fn remember(&self, trouble: Trouble, status: StatusCode, note: &Note) {
        self.shared.lately.record(Failure {
            at: self.now,
            trouble,
            request_id: self.request_id.as_str().to_owned(),
            service: note.service.clone(),
            client: note.client.clone(),
            subject: note.subject.clone(),
            network: self.network(),
            status: status.as_u16(),
        });
    }

    /// What the access line is to say beside the request's head; nothing if nobody wants one.
    pub(super) fn note(&self, note: impl FnOnce() -> Note) -> Note {
        if self.line.is_some() { note() } else { Note::default() }
    }
}

/// What nginx calls a request whose client did not wait; it is never sent.
const GONE: StatusCode = match StatusCode::from_u16(499) {
    Ok(status) => status,
    Err(_) => StatusCode::REQUEST_TIMEOUT,
};

/// Somebody waits for an answer; dropped without one, nobody does any more.
pub(super) struct Waiting<'a> {
    exchange: &'a Exchange<'a>,
    subject: Subject,
}

impl<'a> Waiting<'a> {
    pub(super) const fn of(exchange: &'a Exchange<'a>, subject: Subject) -> Self {
        Self { exchange, subject }
    }

    /// There is one.
    pub(super) fn end(self) {
        std::mem::forget(self);
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.exchange.abandoned(self.subject);
    }
}

/// What is left to do when the answer's body has ended: the access line, and counting how long it took.
struct Ending {
    line: Option<Box<AccessLine>>,
    started: Instant,
    tally: Option<(Arc<Tally>, Subject)>,
}

impl Finish for Ending {
    fn finish(&mut self, bytes: u64, complete: bool) {
        let took = self.started.elapsed();
        if let Some((tally, subject)) = &self.tally {
            tally.took(*subject, took);
        }
        if let Some(line) = &mut self.line {
            if !complete {
                line.cut_short();
            }
            line.emit(bytes, took);
        }
    }
}

/// A page that tells a person why they cannot go on; the finding's id stands in the access line too.
pub(super) fn refused_page(exchange: &Exchange<'_>, status: StatusCode, problem: &Problem) -> Response<Body> {
    let page = reply::page(status, &problem.page(exchange.request_id.as_str()));
    noted(page, Note::of_trouble(problem.trouble))
}

/// Adds to what a reply's access line is to say already.
pub(super) fn also_noted(mut reply: Response<Body>, add: impl FnOnce(&mut Note)) -> Response<Body> {
    add(reply.extensions_mut().get_or_insert_default());
    reply
}

/// Adds to a reply what its access line is to say; taken out again in [`Exchange::end`].
pub(super) fn noted(mut reply: Response<Body>, note: Note) -> Response<Body> {
    reply.extensions_mut().insert(note);
    reply
}
