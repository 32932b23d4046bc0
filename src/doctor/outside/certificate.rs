//! The certificate that a server shows: what is wrong with it, and what keeps it from getting a better one.

use std::time::Duration;

use url::Url;

use super::{View, reach};
use crate::doctor::web::{Answer, Ask, Fault, Shown, TlsFault};
use crate::doctor::{Remedy, Trial};
use crate::time::Timestamp;
use crate::trouble::Trouble;

/// How long before its end a certificate should have a successor.
const SOON: Duration = Duration::from_hours(7 * 24);

/// Judges what was shown, or why nothing was.
pub(super) async fn judge(view: &View<'_>, (tried, outcome): (&str, &Result<Answer, Fault>), now: Timestamp) {
    if view.url.scheme() != "https" {
        return view.not_tried(&[Trouble::Cert], "the URL is plain http");
    }
    let (fault, shown) = match outcome {
        Ok(Answer { shown: Some(shown), .. }) => (shown.fault.clone(), Some(shown)),
        Err(Fault::Tls { fault, shown }) => (Some(fault.clone()), shown.as_deref()),
        Ok(_) | Err(_) => {
            return view.not_tried(&[Trouble::Cert], "there was no handshake to see one in");
        }
    };
    let facts = shown.and_then(Shown::facts);
    let about = facts.as_ref().map_or_else(String::new, |facts| {
        let ends = facts.not_after.to_rfc3339();
        format!(" (issued by {} for {}, until {ends})", facts.issuer, facts.names.join(", "))
    });
    let Some(fault) = fault else {
        let trial = Trial::new(tried, format!("a good certificate{about}"));
        let ends = facts.map(|facts| facts.not_after).filter(|end| end.since(now) < SOON);
        return match ends {
            Some(end) => {
                let cause = format!(
                    "The certificate ends at {}, in less than a week: its renewal is overdue.",
                    end.to_rfc3339()
                );
                let fix = [renew(view)];
                view.examination.remark(Trouble::Cert, view.subject, trial, Remedy::new(cause, fix));
            }
            None => view.examination.good(Trouble::Cert, view.subject, trial),
        };
    };
    let in_time = facts.as_ref().is_some_and(|facts| facts.not_before <= now && now <= facts.not_after);
    if in_time && matches!(fault, TlsFault::Expired(_) | TlsFault::NotYet(_)) {
        let because =
            "by this machine's clock, which is wrong, it has ended or not begun; by the true time it is good";
        return view.not_tried(&[Trouble::Cert], because);
    }
    if fault == TlsFault::NotTls {
        return plain(view, tried, &fault).await;
    }
    let (cause, mut fix) = remedy(view, &fault);
    let hindrances = hindrances(view, &fault).await;
    fix.extend(hindrances.iter().map(|(_, fix)| fix.clone()));
    let causes: Vec<_> =
        std::iter::once(cause).chain(hindrances.into_iter().map(|(cause, _)| cause)).collect();
    let trial = Trial::new(tried, format!("{fault}{about}"));
    view.examination.bad(Trouble::Cert, view.subject, trial, Remedy::new(causes.join(" "), fix));
}

/// What answers speaks no TLS: whether it speaks HTTP without is tried.
async fn plain(view: &View<'_>, tried: &str, fault: &TlsFault) {
    let http = reach::with_scheme(view.url, "http");
    let ask = Ask::get(&http).header("accept", "text/event-stream").without_body();
    let tried = format!("{tried}; {}", ask.shown());
    let answers = view.web.ask(ask).await.is_ok();
    let (cause, fix) = if !answers {
        let (cause, fix) = remedy(view, fault);
        (cause, fix.join(" "))
    } else if view.is_local() {
        (
            "The server speaks plain HTTP, and the URL is https.".to_owned(),
            format!("http:// answers there: give clients `{http}`."),
        )
    } else {
        let (_, fix) = remedy(view, fault);
        ("The server speaks plain HTTP: TLS is missing there, and clients want https of every host but their own machine.".to_owned(), fix.join(" "))
    };
    let trial = Trial::new(tried, fault.to_string());
    view.examination.bad(Trouble::Cert, view.subject, trial, Remedy::new(cause, [fix]).shown(&[]));
}

fn renew(view: &View<'_>) -> String {
    let host = view.url.host_str().unwrap_or_default();
    format!(
        "On the server's machine: `portcullis cert renew {host}` (certbot: `sudo certbot renew`), and read what it says; with `tls: {{ files: … }}` replace those files instead."
    )
}

fn remedy(view: &View<'_>, fault: &TlsFault) -> (String, Vec<String>) {
    let host = view.url.host_str().unwrap_or_default();
    let (cause, fix) = match fault {
        TlsFault::Expired(end) => {
            (format!("The certificate ended at {} and was not renewed.", end.to_rfc3339()), renew(view))
        }
        TlsFault::NotYet(begin) => (
            format!("The certificate is good from {} on only.", begin.to_rfc3339()),
            "Set the clock of the machine that made it: `sudo timedatectl set-ntp true`; then make it anew.".to_owned(),
        ),
        TlsFault::WrongName(names) => (
            format!("The server shows a certificate for {}, and none for {host}.", names.join(", ")),
            format!("Let the server have a certificate for {host}: for Portcullis, the host must stand in the configuration's `issuer` or a service's `url`; then `portcullis cert renew {host}`. Else {host} leads to the wrong machine."),
        ),
        TlsFault::Staging(_) => (
            "The certificate comes from a directory for tests (staging), which nobody trusts.".to_owned(),
            "In portcullis.yaml: `directory: letsencrypt` under tls.acme; then `sudo systemctl restart portcullis`.".to_owned(),
        ),
        TlsFault::SelfSigned => (
            "The certificate is signed by itself: no client trusts it.".to_owned(),
            "In portcullis.yaml: `tls: { acme: { email: you@example.com, directory: letsencrypt } }`, or a certificate of an authority that clients know.".to_owned(),
        ),
        TlsFault::Incomplete(issuer) => (
            format!("The server shows its own certificate and not that of {issuer}: browsers may know it, programs do not."),
            "Configure the whole chain (certbot's fullchain.pem, and not cert.pem).".to_owned(),
        ),
        TlsFault::UnknownIssuer(issuer) => (
            format!("Nobody trusts {issuer}, who issued the certificate, but those who were told to."),
            "Is it your own authority? Then doctor needs `--ca FILE`, and clients NODE_EXTRA_CA_CERTS=FILE or SSL_CERT_FILE=FILE; Claude and ChatGPT will not connect. Else take a certificate of a public authority.".to_owned(),
        ),
        TlsFault::Refused(_) => (
            format!("The server has no certificate for {host} yet, or does not serve that name."),
            format!("On the server's machine: `portcullis cert list` says how far it is, and what the authority said. Is {host} in the configuration?"),
        ),
        TlsFault::NotTls => (
            "What answers there speaks neither TLS nor HTTP.".to_owned(),
            "Let TLS end there: a proxy in front must listen for TLS on port 443, and Portcullis with `listen: { https: \"0.0.0.0:443\" }`.".to_owned(),
        ),
        TlsFault::Roots(_) => (
            "This machine has no root certificates, so nothing can be verified from here.".to_owned(),
            "`sudo apt-get install ca-certificates`, or name a file that has some: `--ca FILE`.".to_owned(),
        ),
        TlsFault::Closed | TlsFault::Handshake(_) | TlsFault::Certificate(_) => (
            "Server and clients do not agree on how to speak TLS.".to_owned(),
            format!("See what it offers: `openssl s_client -connect {host}:443 -servername {host}`; it must speak TLS 1.2 or 1.3."),
        ),
    };
    (cause, vec![fix])
}

/// What keeps an ACME client from getting a certificate: a CAA record, and port 80.
async fn hindrances(view: &View<'_>, fault: &TlsFault) -> Vec<(String, String)> {
    let unissued = matches!(
        fault,
        TlsFault::Expired(_) | TlsFault::SelfSigned | TlsFault::Refused(_) | TlsFault::WrongName(_)
    );
    let Some(host) = view.url.domain().filter(|_| unissued && !view.is_local()) else { return Vec::new() };
    let mut hindrances = Vec::new();
    if let Ok(Some(issuers)) = view.web.issuers(host).await
        && !issuers.iter().any(|issuer| issuer == "letsencrypt.org")
    {
        let issuers = issuers.join(", ");
        hindrances.push((
            format!("A CAA record lets only {issuers} issue certificates for {host}."),
            format!("If Let's Encrypt is to issue it, at the DNS provider: `{host}. 300 IN CAA 0 issue \"letsencrypt.org\"`."),
        ));
    }
    let challenge = format!("http://{host}/.well-known/acme-challenge/portcullis-doctor");
    if let Ok(url) = Url::parse(&challenge)
        && let Err(fault) = view.web.ask(Ask::get(&url).without_body()).await
    {
        hindrances.push((
            format!("Port 80 of {host}, where an authority looks for http-01, does not answer ({fault})."),
            "Open port 80, there and at the provider: `sudo ufw allow 80/tcp`; or use tls-alpn-01, which needs 443 only.".to_owned(),
        ));
    }
    hindrances
}
