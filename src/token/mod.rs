//! The tokens we issue: access tokens (RFC 9068 JWTs, ES256), minted and verified here, and refresh tokens,
//! which carry a MAC and no secret of the store. And the assertions by which clients with keys prove who they are.

mod access;
mod assertion;
mod cache;
mod client_keys;
mod keys;
mod refresh;
#[cfg(test)]
pub(crate) mod testing;

pub use access::{AccessToken, Check, Claims, Finding, TokenError, Verified, claimed, inspect, verify};
pub use assertion::{Assertion, AssertionError, Expected, LONGEST_ASSERTION};
pub use cache::{CacheFigures, Remembered, TokenCache};
pub use client_keys::{ClientKeys, ClientKeysError};
pub use keys::{KeyError, SigningKey, SigningKeys};
pub use refresh::{RefreshKeys, RefreshToken};
