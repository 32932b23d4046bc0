//! Certificates: how it stands with each, and another one before its time.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Fault, shown};
use crate::acme::{Acme, Standing};
use crate::certs::{Certificates, Facts, SourceKind};
use crate::time::Timestamp;

/// Who has the certificates of this gateway.
#[derive(Clone, Default)]
pub struct Keepers {
    /// What the listeners show; `None` with `tls: off`.
    pub certificates: Option<Arc<Certificates>>,
    /// Who orders them, if they come by ACME.
    pub acme: Option<Arc<Acme>>,
}

/// `certs/show` and `certs/renew`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Named {
    /// The host.
    pub host: String,
}

/// Every certificate.
#[derive(Debug, Serialize, Deserialize)]
pub struct Listed {
    /// They, a host each.
    pub certificates: Vec<Row>,
}

/// How it stands with a host's certificate. Moments are RFC 3339.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// The host.
    pub host: String,
    /// `acme`, `file` or `local_ca`.
    pub source: String,
    /// `valid`, `not_yet_valid`, `expired`, or `none`.
    pub state: String,
    /// Who issued it.
    pub issuer: Option<String>,
    /// Its serial number.
    pub serial: Option<String>,
    /// The names it is for.
    pub names: Vec<String>,
    /// From when on.
    pub not_before: Option<String>,
    /// Until when.
    pub not_after: Option<String>,
    /// When it is renewed, if that is for the gateway to do.
    pub renews: Option<String>,
    /// Where the certificate authority says why then.
    pub explanation: Option<String>,
    /// Whether an operator has asked for another one, which is not there yet.
    pub asked: bool,
    /// Why the last attempt failed.
    pub problem: Option<String>,
    /// How many did, since one went well.
    pub failures: u32,
    /// When the next one is.
    pub next_try: Option<String>,
}

impl Keepers {
    fn rows(&self, now: Timestamp) -> Vec<Row> {
        if let Some(acme) = &self.acme {
            return acme.standings().into_iter().map(|standing| row_of(standing, now)).collect();
        }
        let Some(certificates) = &self.certificates else { return Vec::new() };
        let hosts = certificates.hosts();
        let row = |host: &String| {
            let facts = certificates.shown(host).and_then(|key| Facts::of(&key.cert));
            row(host.clone(), certificates.source(), facts, now)
        };
        hosts.iter().map(row).collect()
    }

    fn row(&self, host: &str, now: Timestamp) -> Result<Row, Fault> {
        let rows = self.rows(now);
        let hosts: Vec<_> = rows.iter().map(|row| row.host.clone()).collect();
        let found = rows.into_iter().find(|row| row.host.eq_ignore_ascii_case(host));
        found.ok_or_else(|| Fault::NoHost(host.to_owned(), hosts.join(", ")))
    }
}

pub(super) fn list(keepers: &Keepers, now: Timestamp) -> Listed {
    Listed { certificates: keepers.rows(now) }
}

pub(super) fn show(keepers: &Keepers, asked: &Named, now: Timestamp) -> Result<Row, Fault> {
    keepers.row(&asked.host, now)
}

pub(super) async fn renew(keepers: &Keepers, asked: &Named, now: Timestamp) -> Result<Row, Fault> {
    let row = keepers.row(&asked.host, now)?;
    let Some(acme) = &keepers.acme else { return Err(Fault::NotOrdered(row.host, from(&row.source))) };
    acme.renew(&row.host).await?;
    tracing::info!(host = row.host, "the operator asked for another certificate");
    keepers.row(&row.host, now)
}

fn from(source: &str) -> &'static str {
    if source == SourceKind::LocalCa.as_str() {
        "is made by the local CA, and made anew by itself a month before it ends"
    } else {
        "comes from files: replace them, and the new one is shown within seconds"
    }
}

fn row(host: String, source: SourceKind, facts: Option<Facts>, now: Timestamp) -> Row {
    let state = match &facts {
        None => "none",
        Some(facts) if facts.not_after <= now => "expired",
        Some(facts) if now < facts.not_before => "not_yet_valid",
        Some(_) => "valid",
    };
    let moments = facts.as_ref().map(|facts| (shown(facts.not_before), shown(facts.not_after))).unzip();
    Row {
        host,
        source: source.as_str().to_owned(),
        state: state.to_owned(),
        issuer: facts.as_ref().map(|facts| facts.issuer.clone()),
        serial: facts.as_ref().map(|facts| facts.serial.clone()),
        names: facts.map(|facts| facts.names).unwrap_or_default(),
        not_before: moments.0,
        not_after: moments.1,
        renews: None,
        explanation: None,
        asked: false,
        problem: None,
        failures: 0,
        next_try: None,
    }
}

fn row_of(standing: Standing, now: Timestamp) -> Row {
    let Standing { host, facts, renews, renewal } = standing;
    // After a success it is only for how long the new certificate is left alone.
    let failed = renewal.problem.is_some();
    Row {
        renews: renews.map(shown),
        explanation: renewal.suggested.and_then(|suggested| suggested.explanation),
        asked: renewal.asked,
        problem: renewal.problem,
        failures: renewal.failures,
        next_try: failed.then_some(renewal.next).flatten().map(shown),
        ..row(host, SourceKind::Acme, facts, now)
    }
}
