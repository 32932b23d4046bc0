//! The refresh storm: two real `portcullis serve` on one real Redis, clients that retry, race each other and lose answers,
//! and processes that are killed. Nobody may be signed out but by the thief that we plant (T8–T10, T15, R14).
//!
//! The processes' clock is moved by Debian's libfaketime. `STORM_SEED` repeats a run's choices; what two processes and fifty
//! clients make of them at the same moment is theirs.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/mod.rs"]
mod support;

#[path = "wire/client.rs"]
#[allow(dead_code, reason = "the wire rung uses the rest")]
mod client;
#[path = "wire/process.rs"]
#[allow(dead_code, reason = "the wire rung uses the rest")]
mod process;
#[path = "wire/recorder.rs"]
#[allow(dead_code, reason = "the wire rung uses the rest")]
mod recorder;

#[path = "storm/audit.rs"]
mod audit;
#[path = "storm/cases.rs"]
mod cases;
#[path = "storm/chance.rs"]
mod chance;
#[path = "storm/customer.rs"]
mod customer;
#[path = "storm/faketime.rs"]
mod faketime;
#[path = "storm/http.rs"]
mod http1;
#[path = "storm/oracle.rs"]
mod oracle;
#[path = "storm/pair.rs"]
mod pair;
#[path = "storm/thief.rs"]
mod thief;
#[path = "storm/weather.rs"]
mod weather;
