//! Doctor, the half on the gateway's machine: each trouble is really made, the real binary finds it and says the line that mends it, and
//! following that line makes it go away.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/mod.rs"]
mod support;

#[path = "doctor_inside/behind.rs"]
mod behind;
#[path = "doctor_inside/examined.rs"]
mod examined;
#[path = "doctor_inside/github.rs"]
mod github;
#[path = "doctor_inside/hosts.rs"]
mod hosts;
#[path = "wire/process.rs"]
#[allow(dead_code, reason = "other rungs use the rest of it")]
mod process;
#[path = "doctor_inside/running.rs"]
mod running;
#[path = "doctor_inside/server.rs"]
mod server;
#[path = "doctor_inside/starting.rs"]
mod starting;
#[path = "doctor_inside/store.rs"]
mod store;
#[path = "doctor/zone.rs"]
#[allow(dead_code, reason = "the doctor rung uses the rest")]
mod zone;
