//! Tokens: taken apart, and issued for programs that cannot sign in.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Fault, grants, shown};
use crate::gateway::{Inspection, Operator, Wanted};
use crate::secret::Secret;

/// `tokens/inspect`. Has no `Debug`: it holds a token.
#[derive(Serialize, Deserialize)]
pub struct Inspect {
    /// The token, or code.
    pub token: String,
    /// The name of the service that it is held against.
    pub service: Option<String>,
}

/// `tokens/issue`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Issue {
    /// `github:583231`, or a login.
    pub user: String,
    /// The service's name.
    pub service: String,
    /// Space-separated.
    pub scope: String,
    /// Seconds.
    pub ttl: u64,
}

/// A token, told once. Has no `Debug`: it holds a token.
#[derive(Serialize, Deserialize)]
pub struct Issued {
    /// The token.
    pub token: String,
    /// When it ends.
    pub expires: String,
    /// Its grant, by which it is revoked.
    pub grant: grants::Row,
}

pub(super) async fn inspect(operator: &Operator, asked: Inspect) -> Result<Inspection, Fault> {
    Ok(operator.inspect(&Secret::new(asked.token), asked.service.as_deref()).await??)
}

pub(super) async fn issue(operator: &Operator, asked: Issue) -> Result<Issued, Fault> {
    let Issue { user, service, scope, ttl } = asked;
    let issued = operator.issue(&Wanted { user, service, scope, ttl: Duration::from_secs(ttl) }).await?;
    Ok(Issued {
        token: issued.token.expose().to_owned(),
        expires: shown(issued.until),
        grant: grants::row(operator, &issued.grant),
    })
}
