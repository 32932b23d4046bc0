//! Users: whose a login of the access rules is.

use serde::{Deserialize, Serialize};

use super::Fault;
use crate::gateway::Operator;

/// `users/forget`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Forget {
    /// The login as the access rules have it, in any case.
    pub login: String,
}

/// A login that is nobody's now.
#[derive(Debug, Serialize, Deserialize)]
pub struct Forgotten {
    /// The login.
    pub login: String,
    /// Whose it was.
    pub user: String,
}

pub(super) async fn forget(operator: &Operator, asked: Forget) -> Result<Forgotten, Fault> {
    let login = asked.login.to_lowercase();
    let owner = operator.forget_login(&login).await?;
    let user = owner.ok_or_else(|| Fault::NoPin(login.clone()))?.to_string();
    tracing::info!(login, user, "the operator unpinned a login; the next who signs in with it is its owner");
    Ok(Forgotten { login, user })
}
