//! Portcullis: the gateway in front of MCP servers that know nothing of OAuth.
//!
//! A request's way is one straight line, each step a module, and no step looks back:
//!
//! ```text
//! serve (listen → tls → connection) → gateway (handle → route)
//!    ├─ OAuth endpoint : load → decide (oauth, pure) → commit ┐
//!    └─ MCP            : guard → forward (upstream)           ┴→ reply → access line
//! ```
//!
//! Modules point one way; `tests/layers.rs` holds the table and fails on any other edge.
//!
//! | module | what it is |
//! |---|---|
//! | [`secret`], [`time`], [`clock`], [`seal`], [`host`] | leaves: secrets are types, time is an argument, sealing, host names |
//! | [`histogram`] | how long things take, counted without a lock |
//! | [`trouble`] | the troubles people have: their ids and what there is to say of each |
//! | [`oauth`], [`policy`], [`mcp`] | the rules, pure |
//! | [`token`] | access tokens (JWT) and refresh tokens (MAC) |
//! | [`store`] | what outlives a request: one file, or Redis |
//! | [`identity`], [`fetch`] | who signs people in, and the outbound client for it |
//! | [`upstream`] | the servers behind |
//! | [`certs`], [`acme`], [`serve`] | certificates, who orders them, sockets, connections, the drain |
//! | [`pages`] | what a person sees |
//! | [`gateway`] | handle, route, every endpoint, guard, forward, reply |
//! | [`tasks`] | what runs beside requests |
//! | [`telemetry`] | log lines and redaction |
//! | [`admin`] | what an operator asks of a running gateway, over a unix socket |
//! | [`internal`] | what probes and monitoring ask |
//! | [`doctor`] | what is wrong, why, and what to do |
//! | [`config`], [`cli`] | the configuration file, the command line |
//! | `echo` | the built-in diagnostic MCP server |

pub mod acme;
pub mod admin;
pub mod certs;
pub mod cli;
pub mod clock;
pub mod config;
pub mod doctor;
#[cfg(feature = "echo")]
pub mod echo;
pub mod fetch;
pub mod gateway;
pub mod histogram;
pub mod host;
pub mod identity;
pub mod internal;
pub mod mcp;
pub mod oauth;
pub mod pages;
pub mod policy;
pub mod seal;
pub mod secret;
pub mod serve;
pub mod store;
pub mod tasks;
pub mod telemetry;
pub mod time;
pub mod timer;
pub mod token;
pub mod trouble;
pub mod upstream;
