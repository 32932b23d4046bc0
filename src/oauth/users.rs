//! The person: who signed in, and what is known of them that access rules ask for.

use serde::{Deserialize, Serialize};

use super::Subject;

/// Who signed in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The stable identity: the token's `sub`.
    pub subject: Subject,
    /// The login at the identity provider: a label, which can change.
    pub login: String,
    /// The primary verified e-mail address, where the provider tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
}

/// What access rules are tried against.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The user.
    pub user: User,
    /// Lower-case logins of the access rules that are pinned to this user's subject.
    #[serde(default)]
    pub pinned: Vec<String>,
    /// Lower-case names of the organisations in which the membership is `active`.
    #[serde(default)]
    pub orgs: Vec<String>,
}
