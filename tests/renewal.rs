//! Rung 3: certificates by ACME in process, by a clock that stands still until a test moves it, from a certificate authority whose
//! every whim the test decides.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "acme/double.rs"]
mod double;
#[path = "renewal/rig.rs"]
mod rig;
#[path = "renewal/several.rs"]
mod several;
#[path = "renewal/times.rs"]
mod times;
#[path = "renewal/troubles.rs"]
mod troubles;
#[path = "renewal/waits.rs"]
mod waits;
