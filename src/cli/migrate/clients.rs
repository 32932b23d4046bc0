//! The old gateway's registered clients, one record each, judged by our rules.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::oauth::{
    Client, ClientId, ClientLimits, DocumentUrl, RedirectPolicy, RegisteredRedirect, register,
};
use crate::secret::Secret;
use crate::time::Timestamp;

/// What every key begins with; the client id follows.
pub(super) const PREFIX: &str = "oauth:client:";
/// The most bytes of a record.
pub(super) const MOST: usize = 64 * 1024;

/// A record as it stands there. What is a list may be JSON inside a string.
#[derive(Deserialize)]
struct Record {
    client_id: String,
    #[serde(default)]
    client_secret: Option<String>,
    #[serde(default)]
    client_secret_expires_at: Option<u64>,
    #[serde(default)]
    client_id_issued_at: Option<u64>,
    redirect_uris: Value,
    #[serde(default)]
    client_name: Option<String>,
    #[serde(default)]
    scope: Option<String>,
    #[serde(default)]
    response_types: Option<Value>,
    #[serde(default)]
    grant_types: Option<Value>,
    #[serde(default)]
    registration_access_token: Option<String>,
}

/// What became of a record.
#[derive(Debug)]
pub(super) enum Judged {
    /// It may come in; with what of it may not.
    Good { client: Box<Client>, without: Vec<String> },
    /// Its time is over.
    Expired,
    /// It may not, and why.
    Refused(String),
}

/// A key and why it, or something in it, was not taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Fault {
    pub(super) key: String,
    pub(super) why: String,
}

/// Judges the record at `key`.
pub(super) fn judge(key: &str, bytes: &[u8], policy: &RedirectPolicy, now: Timestamp) -> Judged {
    match read(key, bytes, policy, now) {
        Ok(judged) => judged,
        Err(why) => Judged::Refused(why),
    }
}

fn read(key: &str, bytes: &[u8], policy: &RedirectPolicy, now: Timestamp) -> Result<Judged, String> {
    if bytes.len() > MOST {
        return Err(format!("the record has more than {MOST} bytes"));
    }
    // The error would repeat what stands there, which may be a secret.
    let record: Value = serde_json::from_slice(bytes)
        .map_err(|error| format!("it is no JSON (line {}, column {})", error.line(), error.column()))?;
    if !record.is_object() {
        return Err("it is no JSON object".to_owned());
    }
    let record: Record = serde_json::from_value(record).map_err(|_| {
        "it has not the members of a client: client_id and redirect_uris, texts as texts and times in seconds".to_owned()
    })?;
    let id = id(key, &record)?;
    let expires = match record.client_secret_expires_at {
        None | Some(0) => Timestamp::from_seconds(u64::MAX),
        Some(end) => Timestamp::from_seconds(end),
    };
    if expires <= now {
        return Ok(Judged::Expired);
    }
    let (redirects, without) = redirects(&record.redirect_uris, policy)?;
    let metadata = json!({
        "redirect_uris": redirects,
        "client_name": record.client_name,
        "scope": record.scope,
        "grant_types": list("grant_types", record.grant_types.as_ref())?,
        "response_types": list("response_types", record.response_types.as_ref())?,
    });
    let metadata = register(metadata.to_string().as_bytes(), policy, ClientLimits::default());
    let mut metadata = metadata.map_err(|error| error.to_string())?;
    let secret = record.client_secret.filter(|secret| !secret.is_empty()).map(Secret::new);
    if secret.is_some() {
        // It takes client_secret_post as well.
        "client_secret_basic".clone_into(&mut metadata.token_endpoint_auth_method);
    }
    let token = record.registration_access_token.filter(|token| !token.is_empty()).map(Secret::new);
    // Whoever registered later than now did so by another clock.
    let issued = record.client_id_issued_at.map_or(now, Timestamp::from_seconds).min(now);
    // One that ends within a day of its registration would count as unused, and could be evicted.
    let issued = issued.min(expires.before(Client::UNUSED + Duration::from_secs(1)));
    let client = Client {
        id,
        metadata,
        issued_at: issued,
        expires,
        registration_token: token.map(|token| token.digest()),
        secret: secret.map(|secret| secret.digest()),
    };
    Ok(Judged::Good { client: Box::new(client), without })
}

fn id(key: &str, record: &Record) -> Result<ClientId, String> {
    if key.strip_prefix(PREFIX) != Some(&record.client_id) {
        return Err("its client_id is another one than the key's".to_owned());
    }
    let id = ClientId::parse(&record.client_id)
        .ok_or("its client_id is none: 1 to 512 visible ASCII characters")?;
    if DocumentUrl::is_meant_by(&id) {
        return Err("its client_id is a URL, as of a client with a metadata document, which needs no import"
            .to_owned());
    }
    if id.is_issued() {
        return Err("its client_id has the form of those that register here".to_owned());
    }
    Ok(id)
}

/// Those that our rules take, and what is wrong with the others.
fn redirects(value: &Value, policy: &RedirectPolicy) -> Result<(Vec<String>, Vec<String>), String> {
    let uris = list("redirect_uris", Some(value))?.unwrap_or_default();
    let (mut good, mut without) = (Vec::new(), Vec::new());
    for (index, uri) in uris.into_iter().enumerate() {
        match RegisteredRedirect::check(&uri, policy) {
            Ok(_) => good.push(uri),
            Err(why) => without.push(format!("redirect_uris[{index}] was left out: {why}")),
        }
    }
    if good.is_empty() {
        let whys = if without.is_empty() { "there is none".to_owned() } else { without.join("; ") };
        return Err(format!("none of its redirect_uris can be used: {whys}"));
    }
    Ok((good, without))
}

/// A list of texts, or JSON of one inside a text.
fn list(member: &str, value: Option<&Value>) -> Result<Option<Vec<String>>, String> {
    let Some(value) = value.filter(|value| !value.is_null()) else { return Ok(None) };
    let read = match value {
        Value::String(text) => serde_json::from_str(text).ok(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            serde_json::from_value(value.clone()).ok()
        }
    };
    read.map(Some).ok_or_else(|| format!("its {member} is no list of texts"))
}
