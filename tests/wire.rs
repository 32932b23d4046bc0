//! Rung 4: the real binary on real sockets of loopback, with a server behind it that keeps every byte it is sent.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/mod.rs"]
mod support;

#[path = "wire/admin.rs"]
mod admin;
#[path = "wire/bodies.rs"]
mod bodies;
#[path = "wire/bundle.rs"]
mod bundle;
#[path = "wire/certs.rs"]
mod certs;
#[path = "wire/client.rs"]
mod client;
#[path = "wire/clients.rs"]
mod clients;
#[path = "wire/confusion.rs"]
mod confusion;
#[path = "wire/differential.rs"]
mod differential;
#[path = "wire/drain.rs"]
mod drain;
#[path = "wire/edges.rs"]
mod edges;
#[path = "wire/evicted.rs"]
mod evicted;
#[path = "wire/expose.rs"]
mod expose;
#[path = "wire/figures.rs"]
mod figures;
#[path = "wire/health.rs"]
mod health;
#[path = "wire/http2.rs"]
mod http2;
#[path = "wire/internal.rs"]
mod internal;
#[path = "wire/keep.rs"]
mod keep;
#[path = "wire/keys.rs"]
mod keys;
#[path = "wire/limits.rs"]
mod limits;
#[path = "wire/lines.rs"]
mod lines;
#[path = "wire/load.rs"]
mod load;
#[path = "wire/log.rs"]
mod log;
#[path = "wire/member.rs"]
mod member;
#[path = "wire/migrate.rs"]
mod migrate;
#[path = "wire/oracle.rs"]
mod oracle;
#[path = "wire/passed.rs"]
mod passed;
#[path = "wire/process.rs"]
mod process;
#[path = "acme/program.rs"]
mod program;
#[path = "wire/proxies.rs"]
mod proxies;
#[path = "wire/recorder.rs"]
mod recorder;
#[path = "wire/redirect.rs"]
mod redirect;
#[path = "wire/reload.rs"]
mod reload;
#[path = "wire/replicas.rs"]
mod replicas;
#[path = "wire/revocation.rs"]
mod revocation;
#[path = "wire/rotation.rs"]
mod rotation;
#[path = "wire/slow.rs"]
mod slow;
#[path = "wire/smuggling.rs"]
mod smuggling;
#[path = "wire/standing.rs"]
mod standing;
#[path = "wire/start.rs"]
mod start;
#[path = "wire/status.rs"]
mod status;
#[path = "wire/takeover.rs"]
mod takeover;
#[path = "wire/tls.rs"]
mod tls;
#[path = "wire/unauthenticated.rs"]
mod unauthenticated;
#[path = "wire/unwanted.rs"]
mod unwanted;
#[path = "wire/upgrade.rs"]
mod upgrade;
