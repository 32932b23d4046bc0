//! What `expose` says, step by step.

use std::io::{self, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use super::folder::Folder;
use super::wanted::Wanted;
use crate::acme::Acme;
use crate::admin::certs::Keepers;
use crate::cli::init::plan::Plan;
use crate::cli::table::plain;

/// How long the server behind may take to accept a connection before it counts as away.
const CONNECT: Duration = Duration::from_secs(1);
/// How often it is looked whether the certificate is there.
const LOOK: Duration = Duration::from_millis(500);

/// What can be said before anything is served.
pub(super) fn before(plan: &Plan, wanted: &Wanted, folder: &Folder) -> io::Result<()> {
    step(
        "State",
        &format!("{} (store, secret key, and what was asked for; for you only)", folder.path().display()),
    )?;
    step("Server", &server(&wanted.upstream))?;
    let Some(_) = &wanted.public else {
        return step("Sign-in", "any name, without a password: this machine only");
    };
    step("Sign-in", &format!("GitHub; callback URL of the OAuth app: {}/callback", plan.issuer))?;
    let access = &plan.access;
    let rules = [&access.users, &access.orgs, &access.teams].map(|rules| rules.join(", "));
    let rules: Vec<_> = rules.into_iter().filter(|rules| !rules.is_empty()).collect();
    step("Allowed", &rules.join("; "))?;
    if let Some(port) = wanted.url.port() {
        step(
            "Careful",
            &format!(
                "the URL has port {port}, and Claude Desktop, claude.ai and ChatGPT reach port 443 only; the certificate is proven \
                 on port 443, too, so forward it to port {port}"
            ),
        )?;
    }
    Ok(())
}

/// Once everything answers: the URL, and how it goes on with the certificate.
pub(super) fn ready(plan: &Plan, wanted: &Wanted, keepers: Keepers) {
    let port = wanted.url.port_or_known_default().unwrap_or_default();
    // Nothing can be said to an output that is gone; what is served goes on.
    drop(step("Listening", &format!("port {port}")));
    let url =
        plan.services.first().map(|service| (service.name.clone(), service.url.clone())).unwrap_or_default();
    match keepers.acme {
        Some(acme) => drop(tokio::spawn(certificate(acme, url))),
        None => drop(paste(&url, false)),
    }
}

/// Tells of the certificate what changes, until it is there.
async fn certificate(acme: Arc<Acme>, url: (String, String)) {
    let mut told = String::new();
    loop {
        let standing = acme.standings().into_iter().next();
        if let Some(facts) = standing.as_ref().and_then(|standing| standing.facts.as_ref()) {
            drop(step(
                "Certificate",
                &format!("there, until {}; renewed by itself", facts.not_after.to_rfc3339()),
            ));
            drop(paste(&url, true));
            return;
        }
        let problem = standing.and_then(|standing| standing.renewal.problem);
        let now = match &problem {
            Some(problem) => format!("not yet: {}; it is tried again", plain(problem)),
            None => "ordered …".to_owned(),
        };
        if now != told {
            drop(step("Certificate", &now));
            told = now;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// What to do with the URL; only programs on this machine reach one that is not `public`.
fn paste((name, url): &(String, String), public: bool) -> io::Result<()> {
    step("Paste", url)?;
    step("", &format!("Claude Code: claude mcp add --transport http {name} {url}"))?;
    if public {
        step("", "Claude: Settings, Connectors, Add custom connector")?;
    }
    step("", "Ctrl-C stops.")
}

/// Whether the server behind listens, as far as a connection tells.
fn server(upstream: &Url) -> String {
    let host = upstream.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let port = upstream.port_or_known_default().unwrap_or_default();
    let connected = (host, port).to_socket_addrs().and_then(|addresses| {
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for address in addresses {
            match TcpStream::connect_timeout(&address, CONNECT) {
                Ok(_) => return Ok(()),
                Err(error) => last = error,
            }
        }
        Err(last)
    });
    match connected {
        Ok(()) => format!("{upstream} (listens)"),
        Err(error) => format!("{upstream} (does not listen: {error}; start it, until then clients get 502)"),
    }
}

fn step(what: &str, text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{what:<12} {text}")?;
    out.flush()
}
