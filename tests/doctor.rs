//! Rung 4 for the doctor: the real binary, in a little internet of each test's own, in which everything is good until the test breaks
//! it; and the real gateway, in which nothing is to be found.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/mod.rs"]
mod support;

#[path = "wire/client.rs"]
#[allow(dead_code, reason = "the wire rung uses the rest")]
mod client;
#[path = "wire/process.rs"]
#[allow(dead_code, reason = "the wire rung uses the rest")]
mod process;

#[path = "doctor/arguments.rs"]
mod arguments;
#[path = "doctor/discovery.rs"]
mod discovery;
#[path = "doctor/good.rs"]
mod good;
#[path = "doctor/login.rs"]
mod login;
#[path = "doctor/ours.rs"]
mod ours;
#[path = "doctor/reaching.rs"]
mod reaching;
#[path = "doctor/signing_in.rs"]
mod signing_in;
#[path = "doctor/strangers.rs"]
mod strangers;
#[path = "doctor/verdicts.rs"]
mod verdicts;
#[path = "doctor/walks.rs"]
mod walks;
#[path = "doctor/world.rs"]
mod world;
#[path = "doctor/zone.rs"]
mod zone;
