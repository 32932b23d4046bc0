//! Certificates that somebody else renews: whether their files are good for the hosts, read as the gateway reads them.

use std::time::Duration;

use crate::certs::{CertificateError, CertificateFiles, Certificates, Facts, Settings};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::doctor::{Examination, Remedy, Trial};
use crate::time::Timestamp;
use crate::trouble::Trouble;

/// How long before its end a certificate should have a successor.
const SOON: Duration = Duration::from_hours(7 * 24);

/// Judges them, if the configuration names files.
pub(super) fn examine(examination: &Examination<'_>, config: &Config) {
    let Settings::Files(files) = &config.tls else { return };
    let (now, hosts) = (SystemClock.now(), config.hosts());
    let tried = format!("reading {}", shown(files));
    match Certificates::load(&config.tls, &hosts, now) {
        Ok(Some(certificates)) => {
            for host in &hosts {
                let facts = certificates.shown(host).and_then(|key| Facts::of(&key.cert));
                let Some(facts) = facts else { continue };
                tell_of_dates(examination, (host, &tried), &facts, (files, now));
            }
        }
        Ok(None) => {}
        Err(error) => tell_of_fault(examination, &tried, &error, files),
    }
}

fn shown(files: &[CertificateFiles]) -> String {
    let pair = |pair: &CertificateFiles| format!("{} and {}", pair.certificate.display(), pair.key.display());
    files.iter().map(pair).collect::<Vec<_>>().join(", ")
}

fn tell_of_dates(
    examination: &Examination<'_>,
    (host, tried): (&str, &str),
    facts: &Facts,
    (files, now): (&[CertificateFiles], Timestamp),
) {
    let (begin, end) = (facts.not_before.to_rfc3339(), facts.not_after.to_rfc3339());
    let found =
        format!("issued by {} for {}, from {begin} until {end}", facts.issuer, facts.names.join(", "));
    let trial = Trial::new(tried, found);
    if now > facts.not_after {
        let cause = format!("The certificate for {host} ended at {end}, and its files were not replaced.");
        examination.bad(Trouble::Cert, host, trial, Remedy::new(cause, [replace(files)]));
    } else if now < facts.not_before {
        let cause =
            format!("The certificate for {host} is good from {begin} on only; or the clock is wrong.");
        examination.bad(Trouble::Cert, host, trial, Remedy::new(cause, [replace(files)]));
    } else if facts.not_after.since(now) < SOON {
        let cause = format!("The certificate for {host} ends at {end}, in less than a week.");
        examination.remark(Trouble::Cert, host, trial, Remedy::new(cause, [replace(files)]));
    } else {
        examination.good(Trouble::Cert, host, trial);
    }
}

fn tell_of_fault(
    examination: &Examination<'_>,
    tried: &str,
    error: &CertificateError,
    files: &[CertificateFiles],
) {
    let (subject, cause, fix) = match error {
        CertificateError::File { path, source } => (
            path.display().to_string(),
            format!("The file {} cannot be used: {source}.", path.display()),
            format!(
                "See whether it is there, and the gateway's user may read it: `ls -lL {}`.",
                path.display()
            ),
        ),
        CertificateError::Content { path, problem } => {
            (path.display().to_string(), format!("{}: {problem}.", path.display()), replace(files))
        }
        CertificateError::Missing(host) => (
            host.clone(),
            format!("None of the files has a certificate for {host}."),
            format!("{} They must be for {host}.", replace(files)),
        ),
        CertificateError::Crypto => {
            (String::new(), "The cryptographic library refuses them.".to_owned(), replace(files))
        }
    };
    let trial = Trial::new(tried, error.to_string());
    examination.bad(Trouble::Cert, &subject, trial, Remedy::new(cause, [fix]));
}

fn replace(files: &[CertificateFiles]) -> String {
    format!(
        "Replace {} (certbot: fullchain.pem and privkey.pem); a running gateway reads them again by itself.",
        shown(files)
    )
}
