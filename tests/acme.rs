//! Rung 4 for certificates by ACME: the real binary, and certificate authorities that look at it. Debian's Pebble and Caddy are
//! two of them; the third is a double in this process, for what neither has (renewal information, profiles, faults on demand).

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/mod.rs"]
mod support;

#[path = "acme/double.rs"]
mod double;
#[path = "acme/double_test.rs"]
mod double_test;

#[path = "wire/client.rs"]
#[allow(dead_code, reason = "the wire rung uses the rest")]
mod client;
#[path = "storm/faketime.rs"]
#[allow(dead_code, reason = "the storm rung uses the rest")]
mod faketime;
#[path = "wire/process.rs"]
#[allow(dead_code, reason = "the wire rung uses the rest")]
mod process;

#[path = "acme/caddy.rs"]
mod caddy;
#[path = "acme/door.rs"]
mod door;
#[path = "acme/expose.rs"]
mod expose;
#[path = "acme/failing.rs"]
mod failing;
#[path = "acme/gateway.rs"]
mod gateway;
#[path = "acme/issuing.rs"]
mod issuing;
#[path = "acme/login.rs"]
mod login;
#[path = "acme/pebble.rs"]
mod pebble;
#[path = "acme/program.rs"]
mod program;
#[path = "acme/renewing.rs"]
mod renewing;
#[path = "acme/sharing.rs"]
mod sharing;
#[path = "acme/testssl.rs"]
mod testssl;
#[path = "acme/visitor.rs"]
mod visitor;
