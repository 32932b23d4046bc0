//! Rung 4 for certificates by ACME: the real binary, and certificate authorities that look at it. Debian's Pebble and Caddy are
//! two of them; the third is a double in this process, for what neither has (renewal information, profiles, faults on demand).

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/mod.rs"]
mod support;

#[path = "acme/double.rs"]
mod double;
#[path = "acme/double_test.rs"]
mod double_test;
