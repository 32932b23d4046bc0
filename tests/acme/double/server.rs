//! The double's way of a request: what fails, the envelope of RFC 8555 §6, and the resource.

use std::sync::{Arc, Mutex};

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::header::{self, HeaderName};
use http::{Method, Request};
use http_body_util::BodyExt;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::answers::{Answer, Refused, json_answer, refused, text, with};
use super::{Failure, Resource, Seen, Suggestion, World, proof};

const NONCE: HeaderName = HeaderName::from_static("replay-nonce");

/// What a JWS says.
pub(super) struct Envelope {
    pub(super) protected: Value,
    pub(super) payload: Value,
}

pub(super) async fn serve(listener: TcpListener, world: Arc<Mutex<World>>, changes: watch::Sender<usize>) {
    // Dropped with this task, and with it every connection.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        let (world, changes) = (Arc::clone(&world), changes.clone());
        let service = service_fn(move |request| {
            let (world, changes) = (Arc::clone(&world), changes.clone());
            async move {
                let answer = answer(world, &changes, request).await;
                changes.send_modify(|count| *count += 1);
                answer
            }
        });
        connections.spawn(async move {
            let connection = hyper::server::conn::http1::Builder::new();
            let _ = connection.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// `Err` closes the connection without an answer.
async fn answer(
    world: Arc<Mutex<World>>,
    changes: &watch::Sender<usize>,
    request: Request<Incoming>,
) -> Result<Answer, std::io::Error> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
    let (path, envelope) = (parts.uri.path().to_owned(), envelope(&body));
    let resource = resource(&path);
    let lock = || world.lock().expect("no test panics in here");
    let index = {
        let mut world = lock();
        let (protected, payload) = envelope
            .as_ref()
            .map(|envelope| (envelope.protected.clone(), envelope.payload.clone()))
            .unwrap_or_default();
        let method = parts.method.clone();
        world.seen.push(Seen { resource, method, path: path.clone(), protected, payload, status: 0 });
        world.seen.len() - 1
    };
    let hung_up = || Err(std::io::ErrorKind::ConnectionAborted.into());
    let failure = lock().failure(resource);
    let answered = match failure {
        Some(Failure::HangUp) => return hung_up(),
        Some(Failure::Slow(time)) => {
            changes.send_modify(|count| *count += 1);
            tokio::time::sleep(time).await;
            None
        }
        Some(Failure::LostAnswer | Failure::DoneAndRefused(..)) | None => None,
        Some(Failure::Garbage) => Some(text(200, "application/json", "{\"status\":".into())),
        Some(Failure::Status(status)) => Some(text(status, "text/html", "<html>Oops!</html>".into())),
        Some(Failure::Problem(status, kind, ref retry_after)) => {
            let answer = refused(&Refused(status, kind, format!("the test says {kind}")));
            Some(match retry_after {
                Some(wait) => with(answer, header::RETRY_AFTER, wait),
                None => answer,
            })
        }
    };
    let answered = answered.unwrap_or_else(|| {
        let mut world = lock();
        let done = world.route(resource, &parts.method, &path, envelope.as_ref());
        done.unwrap_or_else(|refusal| refused(&refusal))
    });
    if let Some(looked) = lock().to_be_looked_at(resource, &path) {
        tokio::spawn(proof::look(Arc::clone(&world), changes.clone(), looked));
    }
    if failure == Some(Failure::LostAnswer) {
        return hung_up();
    }
    let answered = if let Some(Failure::DoneAndRefused(status, kind)) = failure {
        refused(&Refused(status, kind, "it is done already".into()))
    } else {
        answered
    };
    let mut world = lock();
    world.seen[index].status = answered.status().as_u16();
    let nonce = world.nonce();
    Ok(with(answered, NONCE, &nonce))
}

fn resource(path: &str) -> Resource {
    match path.split('/').nth(1).unwrap_or_default() {
        "directory" => Resource::Directory,
        "new-nonce" => Resource::NewNonce,
        "new-account" => Resource::NewAccount,
        "account" => Resource::Account,
        "new-order" => Resource::NewOrder,
        "order" => Resource::Order,
        "authorization" => Resource::Authorization,
        "challenge" => Resource::Challenge,
        "finalize" => Resource::Finalize,
        "certificate" => Resource::Certificate,
        "renewal-info" => Resource::RenewalInfo,
        _ => Resource::Unknown,
    }
}

/// The flattened JSON serialization, if it is one.
fn envelope(body: &Bytes) -> Option<Envelope> {
    let jws: Value = serde_json::from_slice(body).ok()?;
    let part = |name: &str| BASE64_URL_SAFE_NO_PAD.decode(jws[name].as_str()?).ok();
    let payload = part("payload")?;
    jws["signature"].as_str()?;
    let payload = if payload.is_empty() { Value::Null } else { serde_json::from_slice(&payload).ok()? };
    Some(Envelope { protected: serde_json::from_slice(&part("protected")?).ok()?, payload })
}

/// RFC 7638 §3.
pub(super) fn thumbprint(key: &Value) -> String {
    let text = format!(r#"{{"crv":{},"kty":{},"x":{},"y":{}}}"#, key["crv"], key["kty"], key["x"], key["y"]);
    BASE64_URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, text.as_bytes()))
}

impl World {
    fn nonce(&mut self) -> String {
        let nonce = format!("nonce-{}", self.number());
        self.nonces.insert(nonce.clone());
        nonce
    }

    fn route(
        &mut self,
        resource: Resource,
        method: &Method,
        path: &str,
        envelope: Option<&Envelope>,
    ) -> Result<Answer, Refused> {
        match resource {
            Resource::Directory => return Ok(self.directory()),
            Resource::NewNonce => return Ok(text(200, "text/plain", String::new())),
            Resource::RenewalInfo if self.renewal_info => return self.suggested(path),
            Resource::RenewalInfo | Resource::Unknown => return Err(unknown(path)),
            Resource::NewAccount
            | Resource::Account
            | Resource::NewOrder
            | Resource::Order
            | Resource::Authorization
            | Resource::Challenge
            | Resource::Finalize
            | Resource::Certificate => {}
        }
        let malformed = |what: &str| Refused(400, "malformed", what.to_owned());
        let Some(envelope) = envelope.filter(|_| *method == Method::POST) else {
            return Err(malformed("a POST of a JWS is wanted"));
        };
        if envelope.protected["url"] != format!("{}{path}", self.url) {
            return Err(malformed("`url` is another one's"));
        }
        if !self.nonces.remove(envelope.protected["nonce"].as_str().unwrap_or_default()) {
            return Err(Refused(400, "badNonce", "no such nonce".into()));
        }
        if resource == Resource::NewAccount {
            return self.new_account(envelope);
        }
        let account = envelope.protected["kid"].as_str().unwrap_or_default().to_owned();
        if !self.accounts.contains_key(&account) {
            return Err(Refused(400, "accountDoesNotExist", format!("there is no account {account:?}")));
        }
        self.signed(resource, path, &account, &envelope.payload)
    }

    fn directory(&self) -> Answer {
        let url = |name: &str| format!("{}/{name}", self.url);
        let mut directory = json!({
            "newNonce": url("new-nonce"), "newAccount": url("new-account"), "newOrder": url("new-order"),
            "meta": { "externalAccountRequired": self.binding.is_some() },
        });
        if self.renewal_info {
            directory["renewalInfo"] = url("renewal-info").into();
        }
        if !self.profiles.is_empty() {
            let described = self.profiles.iter().map(|name| (name.clone(), url(name).into()));
            directory["meta"]["profiles"] = Value::Object(described.collect());
        }
        json_answer(200, &directory)
    }

    fn new_account(&mut self, envelope: &Envelope) -> Result<Answer, Refused> {
        let thumbprint = thumbprint(&envelope.protected["jwk"]);
        let known = self.accounts.iter().find(|(_, account)| account.thumbprint == thumbprint);
        if let Some((url, _)) = known {
            return Ok(with(json_answer(200, &json!({ "status": "valid" })), header::LOCATION, url));
        }
        if let Some(kid) = &self.binding {
            let bound = &envelope.payload["externalAccountBinding"];
            let protected =
                bound["protected"].as_str().and_then(|text| BASE64_URL_SAFE_NO_PAD.decode(text).ok());
            let Some(protected) = protected else {
                return Err(Refused(403, "externalAccountRequired", "an account is to be bound".into()));
            };
            let protected: Value = serde_json::from_slice(&protected).unwrap_or_default();
            if protected["kid"] != *kid {
                return Err(Refused(403, "unauthorized", format!("unknown key id {}", protected["kid"])));
            }
        }
        let number = self.number();
        let url = format!("{}/account/{number}", self.url);
        let contact = envelope.payload["contact"].clone();
        self.accounts.insert(url.clone(), super::Account { thumbprint, contact });
        Ok(with(json_answer(201, &json!({ "status": "valid" })), header::LOCATION, &url))
    }

    fn suggested(&self, path: &str) -> Result<Answer, Refused> {
        let id = path.rsplit('/').next().unwrap_or_default();
        let issued = self.issued.iter().find(|issued| issued.id == id).ok_or_else(|| unknown(path))?;
        let life = issued.not_after - issued.not_before;
        let by_life = || Suggestion {
            window: (issued.not_before + life * 6 / 10, issued.not_before + life * 7 / 10),
            retry_after: 6 * 60 * 60,
            explanation: None,
        };
        let said = self.suggestions.get(&issued.serial).or(self.suggestion.as_ref());
        let said = said.cloned().unwrap_or_else(by_life);
        let moment = |at: u64| {
            let at = time::OffsetDateTime::from_unix_timestamp(i64::try_from(at).expect("a time"))
                .expect("a time");
            let (date, time) = (at.date(), at.time());
            let (hour, minute, second) = time.as_hms();
            let (year, month, day) = date.to_calendar_date();
            format!("{year:04}-{:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z", u8::from(month))
        };
        let mut body = json!({
            "suggestedWindow": { "start": moment(said.window.0), "end": moment(said.window.1) },
        });
        if let Some(url) = &said.explanation {
            body["explanationURL"] = url.clone().into();
        }
        Ok(with(json_answer(200, &body), header::RETRY_AFTER, &said.retry_after.to_string()))
    }
}

pub(super) fn unknown(path: &str) -> Refused {
    Refused(404, "malformed", format!("there is no {path}"))
}
