//! What several rungs share.

#![allow(dead_code, unreachable_pub, reason = "every test binary uses another part of this")]

pub mod faults;
pub mod github;
pub mod network;
pub mod redis;
pub mod rig;
