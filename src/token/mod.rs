//! The tokens we issue: access tokens (RFC 9068 JWTs, ES256), minted and verified here, and refresh tokens,
//! which carry a MAC and no secret of the store.

mod access;
mod cache;
mod keys;
mod refresh;
#[cfg(test)]
pub(crate) mod testing;

pub use access::{AccessToken, Check, Claims, Finding, TokenError, Verified, claimed, inspect, verify};
pub use cache::{Remembered, TokenCache};
pub use keys::{KeyError, SigningKey, SigningKeys};
pub use refresh::{RefreshKeys, RefreshToken};
