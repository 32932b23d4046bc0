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
}

impl Acme {
    /// How it stands with every host, as of two seconds ago at most.
    #[must_use]
    pub fn standings(&self) -> Vec<Standing> {
        let view = self.view();
        let standing = |(host, known): (&String, &Host)| Standing {
            host: host.clone(),
            facts: known.shown().map(|(facts, _)| facts.clone()),
            renews: known.of_directory.as_ref().map(|(facts, _)| plan::renewal(facts, &known.renewal)),
            renewal: known.renewal.clone(),
        };
        view.hosts.iter().map(standing).collect()
    }

    /// Has the certificate of one of our hosts ordered anew, now, whatever is waited for.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn renew(&self, host: &str) -> Result<(), StoreError> {
        self.write_down(host, |renewal| Renewal { asked: true, next: None, ..renewal }).await?;
        self.look().await?;
        self.wake.notify_one();
        Ok(())
    }
}
