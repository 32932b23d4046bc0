//! The name of a request: in, out, upstream, in every log line and on every error page.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::HeaderValue;

use crate::secret;

/// A request's name: 1 to 64 characters of `[A-Za-z0-9._-]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// The caller's own id, if it is harmless.
    #[must_use]
    pub fn accept(inbound: &HeaderValue) -> Option<Self> {
        let harmless = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let id = inbound.as_bytes();
        ((1..=64).contains(&id.len()) && id.iter().all(harmless)).then(|| Self(inbound.clone()))
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    /// As a header's value.
    #[must_use]
    pub const fn value(&self) -> &HeaderValue {
        &self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Makes ids that are never the same: random bytes, once for whoever makes them, and a number that goes up. An id is no secret, and
/// asking for randomness takes longer than anything else that is done for it; but it does not tell how many there were.
#[derive(Debug)]
pub struct RequestIds {
    maker: u64,
    step: u64,
    made: AtomicU64,
}

impl RequestIds {
    /// A maker of its own for these random bytes.
    #[must_use]
    pub fn new(random: [u8; 24]) -> Self {
        let [maker, step, made] =
            [0, 8, 16].map(|at| u64::from_le_bytes(std::array::from_fn(|offset| random[at + offset])));
        // An odd step visits every number before it comes back.
        Self { maker, step: step | 1, made: made.into() }
    }

    /// The next one: 22 characters.
    #[must_use]
    pub fn make(&self) -> RequestId {
        let number = self.made.fetch_add(self.step, Ordering::Relaxed);
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.maker.to_le_bytes());
        bytes[8..].copy_from_slice(&mixed(number).to_le_bytes());
        let text = secret::to_base64url(&bytes);
        RequestId(
            HeaderValue::from_maybe_shared(Bytes::from(text)).unwrap_or(HeaderValue::from_static("request")),
        )
    }
}

/// Another number for each number, far from those of its neighbours (the finalizer of `MurmurHash3`, which can be undone).
const fn mixed(mut number: u64) -> u64 {
    number = (number ^ (number >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    number = (number ^ (number >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    number ^ (number >> 33)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn accepted(id: &[u8]) -> Option<String> {
        RequestId::accept(&HeaderValue::from_bytes(id).ok()?).map(|id| id.to_string())
    }

    #[test]
    fn a_harmless_request_id_is_kept() {
        for id in ["a", "req_1.2-3", &"x".repeat(64)] {
            assert_eq!(accepted(id.as_bytes()).as_deref(), Some(id));
        }
    }

    #[test]
    fn any_other_request_id_is_not() {
        for id in ["", "a b", "a\tb", "é", "<b>", &"x".repeat(65)] {
            assert_eq!(accepted(id.as_bytes()), None, "{id:?}");
        }
    }

    #[test]
    fn made_ids_are_all_different_and_a_gateway_behind_this_one_keeps_them() {
        let (one, other) = (RequestIds::new([7; 24]), RequestIds::new([8; 24]));
        let made: BTreeSet<_> =
            (0..1000).flat_map(|_| [one.make().to_string(), other.make().to_string()]).collect();
        assert_eq!(made.len(), 2000);
        for id in &made {
            assert_eq!(id.len(), 22);
            assert_eq!(accepted(id.as_bytes()).as_deref(), Some(&**id));
        }
    }
}
