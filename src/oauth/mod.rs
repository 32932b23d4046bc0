//! The rules of OAuth, pure: no await, no clock, no randomness, no store. Every endpoint loads what it
//! needs, asks a function of this module what is to be done, and commits the answer.

mod authorize;
mod basic;
mod clients;
mod documents;
mod error;
mod grants;
mod ids;
mod metadata;
mod parameters;
mod pkce;
mod redirect;
mod refresh;
mod resources;
mod rings;
mod scopes;
#[cfg(test)]
pub(crate) mod testing;
mod users;

pub use authorize::{
    AuthorizeError, AuthorizeRequest, ResourceChoice, redirect_with_code, redirect_with_error,
};
pub use basic::{BasicCredentials, NotBasic, Reading};
pub use clients::{
    AUTHORIZATION_CODE, CLIENT_CREDENTIALS, Client, ClientLimits, ClientMetadata, REFRESH_TOKEN,
    RegistrationError, register, update,
};
pub use documents::{
    DocumentError, DocumentRules, DocumentUrl, DocumentUrlError, HostPattern, read_document,
};
pub use error::{ErrorCode, OAuthError};
pub use grants::{
    Approval, Code, Grant, GrantState, Issuance, LONGEST_ISSUED, Redeemed, Redemption, RedemptionError,
    RevocationReason, TokenLives, Use,
};
pub use ids::{AttemptId, ClientId, GrantId, KeyId, SHARDS, ShardId, Subject};
pub use metadata::{AuthorizationServerMetadata, ConfiguredClients, Endpoints, ProtectedResourceMetadata};
pub use parameters::{ParameterError, Parameters};
pub use pkce::{CodeChallenge, CodeVerifier, VerifierError};
pub use redirect::{NEVER_PRIVATE, RESERVED, RedirectError, RedirectPolicy, RedirectUri, RegisteredRedirect};
pub use refresh::{Presented, Refresh, RefreshError, RefreshFact, RefreshOutcome};
pub use resources::{Resource, ResourceError};
pub use rings::{GRACE, KeyPlace, KeySchedule, KeyState, LEAD, Ring, Rotation, StoredKey, WAIT};
pub use scopes::{Hierarchy, Scope, Scopes};
pub use users::{Facts, Known, Membership, Standing, User};

/// What is implemented, for operators.
pub const SPECIFICATIONS: [&str; 12] = [
    "OAuth 2.1",
    "RFC 6750",
    "RFC 7009",
    "RFC 7591",
    "RFC 7592",
    "RFC 7636",
    "RFC 7662",
    "RFC 8414",
    "RFC 8707",
    "RFC 9068",
    "RFC 9207",
    "RFC 9728",
];
