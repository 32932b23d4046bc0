//! Keys: what there are, and a new one before its time.

use serde::{Deserialize, Serialize};

use super::{Fault, shown};
use crate::gateway::{KeyStatus, Operator, list_keys, rotate_keys};
use crate::oauth::Rotation;
use crate::store::RingKind;

/// `keys/rotate`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Rotate {
    /// `signing`, `refresh` or `session`.
    pub kind: String,
    /// `after-wait`, `at-once` or `compromised`.
    pub how: String,
}

/// Every key.
#[derive(Debug, Serialize, Deserialize)]
pub struct Listed {
    /// They.
    pub keys: Vec<Row>,
}

/// A key.
#[derive(Debug, Serialize, Deserialize)]
pub struct Row {
    /// What it is for.
    pub kind: String,
    /// Its name: a JWT's `kid`.
    pub id: String,
    /// `next`, `active` or `retiring`.
    pub state: String,
    /// When it was made.
    pub created: String,
    /// From when on it signs.
    pub signs_from: String,
    /// From when on it is trusted no more, if that is known.
    pub leaves: Option<String>,
}

pub(super) async fn list(operator: &Operator) -> Result<Listed, Fault> {
    let keys = list_keys(operator.shared(), operator.lives()).await?;
    Ok(Listed { keys: keys.iter().map(row).collect() })
}

pub(super) async fn rotate(operator: &Operator, asked: Rotate) -> Result<Row, Fault> {
    let kinds = "signing, refresh, session";
    let kind = RingKind::ALL.into_iter().find(|kind| kind.as_str() == asked.kind);
    let kind = kind.ok_or_else(|| Fault::NoWord(asked.kind.clone(), "kind of key", kinds))?;
    let rotation = match asked.how.as_str() {
        "after-wait" => Rotation::AfterWait,
        "at-once" => Rotation::AtOnce,
        "compromised" => Rotation::Compromised,
        _ => return Err(Fault::NoWord(asked.how, "way of rotating", "after-wait, at-once, compromised")),
    };
    let key = rotate_keys(operator.shared(), kind, rotation, operator.lives()).await?;
    Ok(row(&key))
}

fn row(key: &KeyStatus) -> Row {
    Row {
        kind: key.kind.as_str().to_owned(),
        id: key.id.to_string(),
        state: key.state.as_str().to_owned(),
        created: shown(key.created),
        signs_from: shown(key.signs_from),
        leaves: key.leaves.map(shown),
    }
}
