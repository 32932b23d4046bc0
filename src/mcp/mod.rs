//! What a gateway may know of MCP. Pure.

mod envelope;
mod era;
mod session;

pub use envelope::{INTERNAL_ERROR, REFUSED, SESSION_NOT_FOUND, error_body};
pub use era::{Era, REVISIONS};
pub use session::{SessionOwner, SessionSealer, UpstreamSession};
