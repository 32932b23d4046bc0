//! Rung 3: the whole gateway in process, over a duplex pipe, with a stopped clock.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../support/mod.rs"]
mod support;

mod audit;
mod authorize;
mod client_auth;
mod client_configuration;
mod client_credentials;
mod clients;
mod connections;
mod consent;
mod discovery;
mod documents;
mod github;
mod guard;
mod in_flight;
mod introspection;
mod keys;
mod limits;
mod lost_answers;
mod origins;
mod refresh;
mod registration;
mod reload;
mod revoke;
mod scopes;
mod secret_key;
mod stored;
mod targets;
mod tokens;
mod troubles;
mod verify;
mod watch;
