//! How often a limit has refused something, by reason: counted where it happens, read by whoever shows figures.

use std::sync::atomic::{AtomicU64, Ordering};

/// Why a limit refused a request. Its word is the reason in the request's access line, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestRefusal {
    /// The head has too many bytes or lines: 431. hyper answers it before there is a request, so there is no access line.
    HeadTooLarge,
    /// The body is larger than the service's limit: 413.
    BodyTooLarge,
    /// The body did not go on: 408.
    BodyTooSlow,
    /// The user has as many requests open at the service as one may: 429.
    UserRequests,
    /// The same of streams.
    UserStreams,
    /// All users together have as many requests open at the service as it may get: 429.
    ServiceRequests,
    /// The same of streams.
    ServiceStreams,
    /// The upstream took too long to accept a connection, or to begin its answer: 504.
    UpstreamSlow,
    /// The address has used up the rate of an endpoint: 429.
    RateLimited,
}

impl RequestRefusal {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::HeadTooLarge,
        Self::BodyTooLarge,
        Self::BodyTooSlow,
        Self::UserRequests,
        Self::UserStreams,
        Self::ServiceRequests,
        Self::ServiceStreams,
        Self::UpstreamSlow,
        Self::RateLimited,
    ];

    /// Its word.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::HeadTooLarge => "head-too-large",
            Self::BodyTooLarge => "body-too-large",
            Self::BodyTooSlow => "body-too-slow",
            Self::UserRequests => "user-requests",
            Self::UserStreams => "user-streams",
            Self::ServiceRequests => "service-requests",
            Self::ServiceStreams => "service-streams",
            Self::UpstreamSlow => "upstream-slow",
            Self::RateLimited => "rate-limited",
        }
    }
}

/// Why a connection was closed before it had brought a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionRefusal {
    /// Peers from there are not accepted.
    Peer,
    /// As many are open as may be.
    Total,
    /// As many are open from its address as may be.
    PerAddress,
    /// The TLS handshake took too long.
    SlowHandshake,
    /// The first request's head did not come.
    SlowHead,
}

impl ConnectionRefusal {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Peer, Self::Total, Self::PerAddress, Self::SlowHandshake, Self::SlowHead];

    /// Its word.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Peer => "peer",
            Self::Total => "total",
            Self::PerAddress => "per-address",
            Self::SlowHandshake => "slow-handshake",
            Self::SlowHead => "slow-head",
        }
    }
}

/// The counts of one process.
#[derive(Debug, Default)]
pub struct Refusals {
    /// In the order of [`RequestRefusal::ALL`], which is that of the enum.
    requests: [AtomicU64; RequestRefusal::ALL.len()],
    connections: [AtomicU64; ConnectionRefusal::ALL.len()],
}

impl Refusals {
    /// Counts a refused request.
    pub fn request(&self, why: RequestRefusal) {
        self.requests[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a refused connection.
    pub fn connection(&self, why: ConnectionRefusal) {
        self.connections[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How many requests were refused so far, by reason; those that never happened too.
    #[must_use]
    pub fn requests(&self) -> Vec<(&'static str, u64)> {
        let count = |why: RequestRefusal| self.requests[why as usize].load(Ordering::Relaxed);
        RequestRefusal::ALL.map(|why| (why.reason(), count(why))).to_vec()
    }

    /// The same of connections.
    #[must_use]
    pub fn connections(&self) -> Vec<(&'static str, u64)> {
        let count = |why: ConnectionRefusal| self.connections[why as usize].load(Ordering::Relaxed);
        ConnectionRefusal::ALL.map(|why| (why.reason(), count(why))).to_vec()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_reason_is_counted_under_its_own_word() {
        let refusals = Refusals::default();
        for (number, why) in RequestRefusal::ALL.into_iter().enumerate() {
            (0..=number).for_each(|_| refusals.request(why));
        }
        for (number, why) in ConnectionRefusal::ALL.into_iter().enumerate() {
            (0..=number).for_each(|_| refusals.connection(why));
        }
        let (requests, connections) = (refusals.requests(), refusals.connections());
        assert_eq!(requests.iter().map(|(_, count)| *count).collect::<Vec<_>>(), (1..=9).collect::<Vec<_>>());
        assert_eq!(
            connections.iter().map(|(_, count)| *count).collect::<Vec<_>>(),
            (1..=5).collect::<Vec<_>>()
        );
        let words: BTreeSet<_> = requests.iter().chain(&connections).map(|(word, _)| *word).collect();
        assert_eq!(words.len(), 14);
        assert_eq!(requests[1], ("body-too-large", 2));
        assert_eq!(connections[2], ("per-address", 3));
    }
}
