//! What a connection may take. The listeners ask for it when they accept one, so that a reload holds for the next.

use std::time::Duration;

/// The limits of connections, as configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// How many may be open.
    pub total: usize,
    /// How many of these from one address (IPv6: one /64); trusted proxies have none.
    pub per_address: usize,
    /// From the accepted connection to the end of the TLS handshake.
    pub handshake: Duration,
    /// For a request's head; on HTTP/1.1 also the time that a kept connection may wait for its next request.
    pub head: Duration,
    /// How long a connection may be without requests.
    pub idle: Duration,
    /// The largest head of a request; more is 431.
    pub header_bytes: u32,
    /// The most header lines of a request; more is 431.
    pub header_count: usize,
    /// How many requests may be open on one HTTP/2 connection.
    pub streams: u32,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            total: 20_000,
            per_address: 10_000,
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(30),
            idle: Duration::from_mins(2),
            // Tokens are 1 KB, a `state` may be long.
            header_bytes: 64 * 1024,
            header_count: Self::DEFAULT_HEADER_COUNT,
            streams: 250,
        }
    }
}

impl ConnectionLimits {
    /// What hyper takes without an allocation a request.
    pub const DEFAULT_HEADER_COUNT: usize = 100;
}
