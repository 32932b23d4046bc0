//! What doctor sends that is wrong on purpose. The gateway knows it by exactly this, so that an examination is not told as trouble by the
//! next one; nobody can hide behind it, for a request that carries it can only fail.

/// A bearer token that nobody ever gave.
pub const FORGED_TOKEN: &str = "portcullis-doctor-has-no-token";

/// The id of a client that nobody ever registered.
pub const UNKNOWN_CLIENT: &str = "portcullis-doctor-nobody-knows-me";
