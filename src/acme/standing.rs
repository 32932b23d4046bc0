//! How it stands with every host's certificate, for the operator.

use super::{Acme, Host, plan};
use crate::certs::Facts;
use crate::store::{Renewal, StoreError};
use crate::time::Timestamp;

/// How it stands with a host's certificate.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The host.
    pub host: String,
    /// What the certificate that is shown says of itself; `None` if there is none.
    pub facts: Option<Facts>,
    /// When it is renewed, if all goes well.
    pub renews: Option<Timestamp>,
    /// How it went so far.
    pub renewal: Renewal,
    /// Whether this process is at work on it.
    pub at_work: bool,
}

impl Acme {
    /// How it stands with every host, as of two seconds ago at most.
    #[must_use]
    pub fn standings(&self) -> Vec<Standing> {
        let view = self.view();
        let standing = |(host, known): (&String, &Host)| Standing {
            host: host.clone(),
            facts: known.shown.as_ref().map(|(facts, _)| facts.clone()),
            renews: known.shown.as_ref().map(|(facts, _)| plan::renewal(facts, &known.renewal)),
            renewal: known.renewal.clone(),
            at_work: view.at_work.contains(host),
        };
        view.hosts.iter().map(standing).collect()
    }

    /// Has a host's certificate ordered anew, now, whatever is waited for. `false` if it is none of ours.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn renew(&self, host: &str) -> Result<bool, StoreError> {
        if !self.certificates.hosts().iter().any(|ours| ours == host) {
            return Ok(false);
        }
        self.write_down(host, |renewal| Renewal { asked: true, next: None, ..renewal }).await?;
        self.wake.notify_one();
        Ok(true)
    }
}
