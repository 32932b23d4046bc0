//! HTTP/1.1 as a client (RFC 9112), for one request at a time: written to the connection by the task that asks and read by the
//! one that wants the answer, which is the same. A general client has a task for each connection and channels to it; between
//! two ends of a proxy those cost more than the protocol.

mod answer;
mod connection;
mod conversation;
mod framing;
mod head;

pub use answer::read_answer;
pub(super) use connection::{Connection, Io, Origin};
pub(super) use conversation::{Failed, Reading, converse};

#[cfg(test)]
mod tests;
