//! Whether the gateway runs: by its own word, or by what answers on its ports; and whether it runs with what its file says.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use url::Url;

use super::hosts::near;
use super::{Inside, Silence};
use crate::certs::Settings as Tls;
use crate::config::Config;
use crate::doctor::web::{Ask, Fault, Web};
use crate::doctor::{Examination, Remedy, Trial};
use crate::identity;
use crate::internal::{Report, Standing};
use crate::serve::{Owner, owners};
use crate::store;
use crate::trouble::Trouble;

/// How long its own listener may take to answer: it is on this machine.
const PATIENCE: Duration = Duration::from_secs(3);

/// Tells it; why the gateway says nothing of itself, if it does not.
pub(super) async fn examine(
    examination: &Examination<'_>,
    config: &Config,
    inside: &Inside<'_>,
) -> Option<Silence> {
    let silence = match inside.running {
        Ok(report) => {
            tell_of_changes(examination, config, report);
            return None;
        }
        Err(silence) => silence,
    };
    let Some(address) = config.serve.listen.iter().copied().find(|address| address.port() != 0) else {
        return Some(silence.clone());
    };
    let (tried, outcome) = at_the_listener(config, near(address), inside).await;
    let case = Case { examination, inside, tried, why: silence.why() };
    Some(case.tell(&outcome, config, address.port()))
}

/// What came of asking its own listener who it is.
enum Outcome {
    /// An authorization server with this issuer.
    Issuer(String),
    /// Something else.
    Stranger(String),
    /// Nobody listens.
    Nobody(String),
    /// Somebody takes the connection, and says nothing.
    Mute(String),
}

async fn at_the_listener(config: &Config, address: SocketAddr, inside: &Inside<'_>) -> (String, Outcome) {
    const DOCUMENT: &str = "/.well-known/oauth-authorization-server";
    let tried = format!("GET {}{DOCUMENT} at {address}", config.gateway.issuer);
    let Ok(mut url) = Url::parse(&config.gateway.issuer) else {
        return (tried, Outcome::Nobody("the issuer is no URL".to_owned()));
    };
    let scheme = url.scheme().to_owned();
    url.set_path(DOCUMENT);
    // A gateway without a proxy in front believes nobody who says that he is one, and refuses him.
    let behind_a_proxy = matches!(config.tls, Tls::Off) && scheme == "https";
    if behind_a_proxy {
        // An https URL may well become an http one.
        let _ = url.set_scheme("http");
    }
    let web = Web::new(inside.manner);
    let ask = Ask::get(&url).at(address).past_a_bad_certificate();
    let ask = if behind_a_proxy { ask.header("x-forwarded-proto", &scheme) } else { ask };
    let outcome = match tokio::time::timeout(PATIENCE, web.ask(ask)).await {
        Err(_) => Outcome::Mute(format!("no answer within {} s", PATIENCE.as_secs())),
        Ok(Ok(answer)) => {
            let document = serde_json::from_str::<Value>(&answer.text()).ok();
            let issuer = document.as_ref().and_then(|document| document.get("issuer")?.as_str());
            match issuer {
                Some(issuer) => Outcome::Issuer(issuer.to_owned()),
                // It believes other proxies than this machine; the id is in every answer of a gateway.
                None if behind_a_proxy && !answer.header("x-request-id").is_empty() => {
                    Outcome::Issuer(config.gateway.issuer.clone())
                }
                None => Outcome::Stranger(answer.summary()),
            }
        }
        Ok(Err(fault @ Fault::Timeout(_))) => Outcome::Mute(fault.to_string()),
        Ok(Err(fault @ (Fault::Connect(_) | Fault::Url | Fault::Plain | Fault::Name(_)))) => {
            Outcome::Nobody(fault.to_string())
        }
        Ok(Err(fault @ (Fault::Tls { .. } | Fault::Broke(_)))) => Outcome::Stranger(fault.to_string()),
    };
    (tried, outcome)
}

struct Case<'a> {
    examination: &'a Examination<'a>,
    inside: &'a Inside<'a>,
    tried: String,
    why: &'a str,
}

impl Case<'_> {
    fn tell(&self, outcome: &Outcome, config: &Config, port: u16) -> Silence {
        let owner = owners(port).into_iter().next();
        let of_ours = owner.as_ref().is_some_and(Owner::is_this_program);
        match outcome {
            Outcome::Issuer(issuer) if *issuer == config.gateway.issuer => {
                self.unasked(format!("a gateway of {issuer} answers"))
            }
            Outcome::Issuer(issuer) if of_ours => self.another(issuer, config),
            Outcome::Stranger(found) if of_ours => self.unasked(found.clone()),
            Outcome::Mute(found) if of_ours => self.hanging(found, owner.as_ref()),
            Outcome::Mute(found) if owner.is_none() => self.hanging(found, None),
            Outcome::Nobody(found)
            | Outcome::Issuer(found)
            | Outcome::Stranger(found)
            | Outcome::Mute(found) => self.stopped(found),
        }
    }

    /// It runs, and its word is not to be had.
    fn unasked(&self, found: String) -> Silence {
        let cause = format!("The gateway runs and cannot be asked: {}.", self.why);
        let fix = [
            "Give it a socket: `admin_socket: /run/portcullis/admin.sock`, or a port: `listen: { internal: localhost:9400 }`; then restart it.",
            "If it has one: run the doctor as the user that runs portcullis, or as root.",
        ];
        let remedy = Remedy::new(cause, fix);
        self.examination.remark(Trouble::GatewayDown, "", Trial::new(self.tried.as_str(), found), remedy);
        Silence::Unasked(self.why.to_owned())
    }

    /// A gateway that calls itself otherwise: another one, or this one from before a change.
    fn another(&self, issuer: &str, config: &Config) -> Silence {
        let cause = format!(
            "A gateway of {issuer} runs on this port, and the file says {}: it was not started again after a change, or it is another one.",
            config.gateway.issuer
        );
        let fix = [
            RESTART.to_owned(),
            "If it is another gateway: write another port under `listen` for one of them.".to_owned(),
        ];
        let trial = Trial::new(self.tried.as_str(), format!("the issuer {issuer}"));
        self.examination.bad(Trouble::GatewayDown, "", trial, Remedy::new(cause, fix));
        Silence::Unasked(self.why.to_owned())
    }

    fn hanging(&self, found: &str, owner: Option<&Owner>) -> Silence {
        let owner = owner.map_or_else(|| "The gateway".to_owned(), |owner| format!("The gateway, {owner},"));
        let cause = format!("{owner} runs and does not answer: it hangs, or was stopped by a signal.");
        let fix = [
            "See how it stands: `systemctl status portcullis`, and its log: `journalctl -u portcullis -n 50`, or `just logs gateway`.",
            RESTART,
        ];
        let trial = Trial::new(self.tried.as_str(), found);
        self.examination.bad(Trouble::GatewayDown, "", trial, Remedy::new(cause, fix));
        Silence::Hanging(found.to_owned())
    }

    fn stopped(&self, found: &str) -> Silence {
        let file = self.inside.file.display();
        let cause = "The gateway does not run: nobody answers where it should listen.";
        let fix = [format!(
            "Start it: `portcullis serve {file}`, or `sudo systemctl start portcullis`, or `just up`; what is wrong besides comes first."
        )];
        let trial = Trial::new(self.tried.as_str(), found);
        self.examination.bad(Trouble::GatewayDown, "", trial, Remedy::new(cause, fix));
        Silence::Stopped(self.why.to_owned())
    }
}

const RESTART: &str = "Restart it: `sudo systemctl restart portcullis`, or `just restart gateway`.";

/// Whether the running gateway is the one that its file describes.
fn tell_of_changes(examination: &Examination<'_>, config: &Config, report: &Report) {
    let tried = "comparing the running gateway with its file";
    let differences = report.standing.as_ref().map(|standing| differences(config, standing));
    let Some((what, found)) = differences.filter(|found| !found.is_empty()).map(|found| told(&found)) else {
        let found = format!("it runs since {} s, with what its file says", report.uptime_seconds);
        examination.good(Trouble::GatewayDown, "", Trial::new(tried, found));
        return;
    };
    let cause = format!(
        "The gateway runs with another {what} than the file says: the file was changed after it was started."
    );
    examination.bad(Trouble::GatewayDown, "", Trial::new(tried, found), Remedy::new(cause, [RESTART]));
}

struct Difference {
    what: &'static str,
    runs: String,
    says: String,
}

fn differences(config: &Config, standing: &Standing) -> Vec<Difference> {
    let (kind, origin) = match &config.identity {
        identity::Settings::Dev => ("dev", None),
        identity::Settings::GitHub(github) => ("github", Some(github.web.origin().ascii_serialization())),
    };
    let store = match &config.store {
        store::Settings::Embedded { .. } => "file",
        store::Settings::Redis { .. } => "redis",
    };
    let whole = |kind: &str, origin: Option<&str>| {
        origin.map_or_else(|| kind.to_owned(), |origin| format!("{kind} at {origin}"))
    };
    let service = |(name, url): (&str, &str)| format!("{name} ({url})");
    let running = standing.services.iter().map(|one| service((&one.name, &one.url)));
    let written = config.gateway.services.iter().map(|one| service((&one.name, one.resource.as_str())));
    let all = |services: &mut dyn Iterator<Item = String>| services.collect::<Vec<_>>().join(", ");
    let pairs = [
        ("issuer", standing.issuer.clone(), config.gateway.issuer.clone()),
        (
            "identity",
            whole(&standing.identity.kind, standing.identity.origin.as_deref()),
            whole(kind, origin.as_deref()),
        ),
        ("store", standing.store.kind.clone(), store.to_owned()),
        ("set of services", all(&mut running.into_iter()), all(&mut written.into_iter())),
    ];
    let differ = pairs.into_iter().filter(|(_, runs, says)| runs != says);
    differ.map(|(what, runs, says)| Difference { what, runs, says }).collect()
}

fn told(found: &[Difference]) -> (String, String) {
    let what: Vec<_> = found.iter().map(|one| one.what).collect();
    let each = found.iter().map(|one| format!("{}: {} runs, {} is written", one.what, one.runs, one.says));
    (what.join(" and "), each.collect::<Vec<_>>().join("; "))
}
