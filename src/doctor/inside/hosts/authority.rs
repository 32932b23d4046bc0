//! Whether the certificate authority gets what it wants to see: its word of last time, CAA records, and port 80.

use url::Url;

use super::{Hosts, Lead};
use crate::certs::{AcmeSettings, ChallengeKind, Settings as Tls};
use crate::doctor::inside::Silence;
use crate::doctor::web::Ask;
use crate::doctor::{Remedy, Trial};
use crate::host::is_loopback_name;
use crate::internal::Report;
use crate::trouble::Trouble;

const RETRY: &str = "Mend what it says, then have it tried at once: `portcullis cert renew`.";

impl Hosts<'_> {
    /// Whether the certificate authority gets what it wants to see.
    pub(super) async fn examine_authority(&self, host: &str, lead: &Lead) {
        let Tls::Acme(acme) = &self.config.tls else { return };
        if let Ok(report) = self.inside.running {
            self.tell_of_certificate(host, report);
        }
        tokio::join!(self.examine_issuers(host, acme), self.examine_challenge(host, acme, lead));
    }

    fn tell_of_certificate(&self, host: &str, report: &Report) {
        let Some(certificate) = report.certificates.iter().find(|certificate| certificate.host == host)
        else {
            return;
        };
        let end = certificate.not_after.as_deref();
        let problem = certificate.problem.as_deref();
        let state = match end {
            Some(end) if certificate.expired => format!("it has expired at {end}"),
            Some(end) => format!("it is good until {end}"),
            None => "there is none yet".to_owned(),
        };
        let found =
            problem.map_or_else(|| state.clone(), |problem| format!("{state}; last problem: {problem}"));
        let trial = Trial::new("asking the running gateway for its certificate", found);
        match (problem, end) {
            (None, Some(_)) if !certificate.expired => self.examination.good(Trouble::Cert, host, trial),
            (Some(problem), Some(_)) if !certificate.expired => {
                let remedy = Remedy::new(format!("Renewing it has failed: {problem}."), [RETRY]);
                self.examination.remark(Trouble::Cert, host, trial, remedy);
            }
            (problem, _) => {
                let cause = problem.map_or_else(
                    || "The certificate authority has not issued one yet.".to_owned(),
                    |problem| format!("The certificate authority has not issued one: {problem}."),
                );
                self.examination.bad(Trouble::Cert, host, trial, Remedy::new(cause, [RETRY]));
            }
        }
    }

    /// RFC 8659: whether the authority may issue at all.
    async fn examine_issuers(&self, host: &str, acme: &AcmeSettings) {
        if !acme.directory.is_lets_encrypt() || is_loopback_name(host) {
            return;
        }
        let trial = |found: String| Trial::new(format!("CAA of {host}"), found);
        let Ok(Some(issuers)) = self.web.issuers(host).await else { return };
        if issuers.iter().any(|issuer| issuer.eq_ignore_ascii_case("letsencrypt.org")) {
            self.examination.good(Trouble::Cert, host, trial(issuers.join(", ")));
            return;
        }
        let cause = format!(
            "A CAA record allows certificates of {} only, and not of Let's Encrypt.",
            issuers.join(", ")
        );
        let fix = [format!("At your DNS provider, add `{host}. CAA 0 issue \"letsencrypt.org\"`.")];
        self.examination.bad(Trouble::Cert, host, trial(issuers.join(", ")), Remedy::new(cause, fix));
    }

    /// Whether port 80 leads here, where the authority looks for the proof.
    async fn examine_challenge(&self, host: &str, acme: &AcmeSettings, lead: &Lead) {
        let stopped = matches!(self.inside.running, Err(Silence::Stopped(_) | Silence::Hanging(_)));
        if !acme.challenges.contains(&ChallengeKind::Http01) || stopped || !matches!(lead, Lead::Here) {
            return;
        }
        let Ok(url) = Url::parse(&format!("http://{host}/.well-known/acme-challenge/portcullis-doctor"))
        else {
            return;
        };
        let tried = format!("GET {url}");
        let cause = match self.web.ask(Ask::get(&url)).await {
            Ok(answer) => {
                let is_ours =
                    answer.location(&url).is_some_and(|to| to.scheme() == "https" && to.host() == url.host())
                        || answer.text().starts_with("Nothing is served here");
                if is_ours {
                    self.examination.good(
                        Trouble::Cert,
                        host,
                        Trial::new(tried, "this gateway answers on port 80"),
                    );
                    return;
                }
                (
                    answer.summary(),
                    "Another server answers on port 80, where the certificate authority looks for our proof.",
                )
            }
            Err(fault) => (
                fault.to_string(),
                "Port 80 is closed, and the certificate authority looks for our proof there.",
            ),
        };
        let (found, cause) = cause;
        let fix = [
            "Open it: `sudo ufw allow 80/tcp`, in the provider's firewall too; have `listen: { https: \":443\", http: \":80\" }`.",
        ];
        let (trial, remedy) = (Trial::new(tried, found), Remedy::new(cause, fix));
        if acme.challenges.contains(&ChallengeKind::TlsAlpn01) {
            self.examination.remark(Trouble::Cert, host, trial, remedy);
        } else {
            self.examination.bad(Trouble::Cert, host, trial, remedy);
        }
    }
}
