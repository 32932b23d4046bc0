//! A server behind that gives no answer at all: why, and what to look at.

use std::error::Error as _;
use std::io;
use std::path::Path;

use super::told::Case;
use crate::doctor::Remedy;
use crate::host::is_loopback_url;
use crate::trouble::Trouble;
use crate::upstream::{UpstreamError, name_of};

impl Case<'_> {
    /// Tells why nothing came back.
    pub(super) fn no_answer(&self, error: &UpstreamError) {
        let trial = self.trial(&chain(error));
        match error {
            UpstreamError::ConnectTimeout => {
                let cause = format!(
                    "{} takes no connection: a firewall or another network is between, or its host is off.",
                    name_of(self.url)
                );
                self.bad(Trouble::UpstreamDown, trial, Remedy::new(cause, self.reach_it()));
                self.untried_after(&[Trouble::UpstreamDown], "it cannot be reached");
            }
            UpstreamError::AnswerTimeout => {
                self.good(Trouble::UpstreamDown, "it takes connections");
                self.bad(Trouble::UpstreamSlow, trial, self.too_slow());
                self.untried_after(&[Trouble::UpstreamDown, Trouble::UpstreamSlow], "it does not answer");
            }
            UpstreamError::Unreachable(source) => {
                self.bad(Trouble::UpstreamDown, trial, self.unreachable(source.as_ref()));
                self.untried_after(&[Trouble::UpstreamDown], "it cannot be reached");
            }
            UpstreamError::BrokeOff(_) | UpstreamError::Body(_) => {
                let cause = "It takes the connection and ends it without an answer: it is another kind of server, wants TLS, or crashes.";
                let fix = [format!(
                    "Look at its log; if it speaks TLS: `upstream: https://{}{}`.",
                    name_of(self.url),
                    self.url.path()
                )];
                self.bad(Trouble::UpstreamDown, trial, Remedy::new(cause, fix));
                self.untried_after(&[Trouble::UpstreamDown], "it does not answer");
            }
        }
    }

    /// It answers without TLS only.
    pub(super) fn plain(&self, error: &UpstreamError) {
        let name = name_of(self.url);
        let cause = format!("{name} speaks plain HTTP, and the URL says https.");
        let fix = format!("Write `upstream: http://{name}{}`.", self.url.path());
        self.bad(Trouble::UpstreamDown, self.trial(&chain(error)), Remedy::new(cause, [fix]));
        self.untried_after(&[Trouble::UpstreamDown], "it cannot be reached by TLS");
    }

    /// Refused, no such name, or what else there is.
    fn unreachable(&self, source: &(dyn std::error::Error + 'static)) -> Remedy {
        let (host, name) = (self.url.host_str().unwrap_or_default(), name_of(self.url));
        let kind = source.downcast_ref::<io::Error>();
        if kind.is_some_and(|error| error.to_string().starts_with("failed to lookup")) {
            let cause = format!(
                "Nobody knows the host {host}: a typing error, or the name of a container in another network."
            );
            let fix = format!(
                "Put both into one network, or mend the name: `upstream: http://HOST:{}{}`.",
                self.port(),
                self.url.path()
            );
            return Remedy::new(cause, [fix]);
        }
        let mut cause = format!(
            "Nothing takes connections on {name}: the server does not run, or listens on another port or address."
        );
        let mut fix = self.reach_it();
        if is_loopback_url(self.url) && is_container() {
            cause = format!("{cause} This is a container, and {host} is the container itself.");
            let (port, path) = (self.port(), self.url.path());
            fix.push(format!(
                "Name it by its service in compose: `upstream: http://mcp-server:{port}{path}`; one on the host itself: \
                 `upstream: http://host.docker.internal:{port}{path}` with `extra_hosts: [\"host.docker.internal:host-gateway\"]`."
            ));
        }
        Remedy::new(cause, fix)
    }

    fn reach_it(&self) -> Vec<String> {
        vec![
            format!(
                "Start it so that it listens on port {}, on 0.0.0.0 if it is another machine or container.",
                self.port()
            ),
            format!(
                "Or write where it listens: `upstream: {}://HOST:PORT{}`.",
                self.url.scheme(),
                self.url.path()
            ),
        ]
    }
}

/// Whether this process runs in a container, whose loopback is its own.
fn is_container() -> bool {
    ["/.dockerenv", "/run/.containerenv"].iter().any(|file| Path::new(file).exists())
        || std::env::var_os("KUBERNETES_SERVICE_HOST").is_some()
}

/// An error with its causes, each once.
fn chain(error: &UpstreamError) -> String {
    let mut told = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if !told.contains(&text) {
            told = format!("{told}: {text}");
        }
        next = cause.source();
    }
    told
}
