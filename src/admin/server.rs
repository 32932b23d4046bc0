//! The socket's server: one request a connection, bounded in size, time and number, so that no broken command holds up the
//! gateway or another command. A backup may take its time, as long as it is taken.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Response};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::answer::{Answer, Body, Pulse};
use super::{Fault, Settings, SocketError, certs, clients, grants, kept, keys, log, socket, tokens, users};
use crate::gateway::Gateway;
use crate::internal::{Status, figures};

/// The largest request: a token and a few names.
const LARGEST: usize = 64 * 1024;
/// How long a request may take to come.
const ARRIVAL: Duration = Duration::from_secs(10);
/// How long it may take altogether: a page of a large store over a slow network.
const WHOLE: Duration = Duration::from_mins(2);
/// How many are answered side by side.
const AT_ONCE: usize = 16;

/// A socket that is listened at until this is dropped.
pub struct Listening {
    task: JoinHandle<()>,
    _file: socket::File,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What is administered.
#[derive(Clone)]
pub struct Administered {
    /// Clients, grants, tokens, users and keys.
    pub gateway: Arc<Gateway>,
    /// Certificates.
    pub keepers: certs::Keepers,
    /// How it stands with the process.
    pub status: Arc<Status>,
}

/// Listens where `settings` say.
///
/// # Errors
/// [`SocketError`], where the socket is a must.
pub fn start(settings: &Settings, administered: Administered) -> Result<Option<Listening>, SocketError> {
    let (listener, file) = match settings {
        Settings::Off => return Ok(None),
        Settings::At(path) => socket::listen(path)?,
        Settings::IfPossible(path) => match socket::listen(path) {
            Ok(listening) => listening,
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::warn!(%error, cause, "the command line cannot administer this gateway");
                return Ok(None);
            }
        },
    };
    let owner = file.owner;
    let task = tokio::spawn(accept(listener, Arc::new(administered), owner));
    Ok(Some(Listening { task, _file: file }))
}

async fn accept(listener: UnixListener, administered: Arc<Administered>, owner: u32) {
    let room = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "the admin socket cannot accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        // Whoever may not ask is told so, and takes a place for a second at most.
        let asker = Asker::of(&stream, owner);
        let Ok(place) = Arc::clone(&room).try_acquire_owned() else { continue };
        let administered = Arc::clone(&administered);
        tokio::spawn(async move {
            let limit = if asker.refused.is_none() { WHOLE } else { Duration::from_secs(1) };
            let pulse = Pulse::default();
            let mut serving = std::pin::pin!(serve(stream, &administered, asker, &pulse));
            while timeout(limit, &mut serving).await.is_err() && pulse.was_felt() {}
            drop(place);
        });
    }
}

/// Who asks.
#[derive(Clone, Copy)]
struct Asker {
    /// By id, where the system tells it.
    user: Option<u32>,
    /// Who might ask, if this one may not.
    refused: Option<u32>,
}

impl Asker {
    /// `SO_PEERCRED`: what the file's mode says already, said by the system of the process that connected.
    fn of(stream: &UnixStream, owner: u32) -> Self {
        let user = stream.peer_cred().ok().map(|peer| peer.uid());
        let permitted = user.is_some_and(|user| user == 0 || user == owner);
        if !permitted {
            tracing::warn!(user, "the admin socket was asked by somebody who may not");
        }
        Self { user, refused: (!permitted).then_some(owner) }
    }
}

async fn serve(stream: UnixStream, administered: &Administered, asker: Asker, pulse: &Pulse) {
    let service = service_fn(async |request| {
        let answer = answer(administered, asker, request).await;
        Ok::<_, Infallible>(answer.map(|answer| Body::new(answer, pulse.clone())))
    });
    let connection = http1::Builder::new()
        .keep_alive(false)
        .timer(TokioTimer::new())
        .header_read_timeout(ARRIVAL)
        .max_buf_size(LARGEST)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a connection to the admin socket was broken off");
    }
}

async fn answer(administered: &Administered, asker: Asker, request: Request<Incoming>) -> Response<Answer> {
    let path = request.uri().path().to_owned();
    let answered = match asker.refused {
        Some(owner) => Err(Fault::NotPermitted(owner)),
        None => route(administered, (asker.user, &path), request).await,
    };
    let (status, body) = match answered {
        Ok(body) => (http::StatusCode::OK, body),
        Err(fault) => {
            tracing::info!(path, status = fault.status().as_u16(), "refused at the admin socket: {fault}");
            (fault.status(), json(&fault.answered()))
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// One line a request.
async fn route(
    administered: &Administered,
    (user, path): (Option<u32>, &str),
    request: Request<Incoming>,
) -> Result<Answer, Fault> {
    let operator = &administered.gateway.operator();
    let (keepers, now) = (&administered.keepers, operator.now());
    let unknown = || Fault::NoSuchRequest(path.to_owned());
    let verb = path.strip_prefix("/v1/").filter(|_| *request.method() == Method::POST).ok_or_else(unknown)?;
    let body = body(request).await?;
    match verb {
        "certs/list" => Ok(json(&certs::list(keepers, now))),
        "certs/show" => certs::show(keepers, &read(&body)?, now).map(|answer| json(&answer)),
        "certs/renew" => certs::renew(keepers, &read(&body)?, now).await.map(|answer| json(&answer)),
        "clients/list" => clients::list(operator, read(&body)?).await.map(|answer| json(&answer)),
        "clients/show" => clients::show(operator, read(&body)?).await.map(|answer| json(&answer)),
        "clients/delete" => clients::delete(operator, read(&body)?).await.map(|answer| json(&answer)),
        "gateway/status" => Ok(json(&administered.status.report())),
        "gateway/health" => Ok(json(&serde_json::json!({ "status": "ok" }))),
        "gateway/metrics" => Ok(json(&figures(&administered.status))),
        "gateway/ready" => Ok(json(&administered.status.readiness())),
        "grants/list" => grants::list(operator, read(&body)?).await.map(|answer| json(&answer)),
        "grants/revoke" => grants::revoke(operator, read(&body)?).await.map(|answer| json(&answer)),
        "log/show" => Ok(json(&log::show())),
        "log/set" => log::set(&operator.shared().clock, &read(&body)?, user).map(|answer| json(&answer)),
        "tokens/inspect" => tokens::inspect(operator, read(&body)?).await.map(|answer| json(&answer)),
        "tokens/issue" => tokens::issue(operator, read(&body)?).await.map(|answer| json(&answer)),
        "users/forget" => users::forget(operator, read(&body)?).await.map(|answer| json(&answer)),
        "keys/list" => keys::list(operator).await.map(|answer| json(&answer)),
        "keys/rotate" => keys::rotate(operator, read(&body)?).await.map(|answer| json(&answer)),
        "store/backup" => Ok(Answer::Streamed(kept::back_up(operator))),
        "store/sealed" => kept::sealed(operator).await.map(|answer| json(&answer)),
        _ => Err(unknown()),
    }
}

async fn body(request: Request<Incoming>) -> Result<Bytes, Fault> {
    let body = timeout(ARRIVAL, Limited::new(request.into_body(), LARGEST).collect()).await;
    body.map_err(|_| Fault::Body)?.map(http_body_util::Collected::to_bytes).map_err(|_| Fault::Body)
}

/// The reader's own words would repeat what was sent, and that may be a token.
fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(body).map_err(|_| Fault::Json)
}

/// Answers are structs of text and numbers: serialising them cannot fail.
fn json(answer: &impl Serialize) -> Answer {
    Answer::Whole(serde_json::to_vec(answer).unwrap_or_default().into())
}
