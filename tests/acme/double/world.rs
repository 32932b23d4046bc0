//! What the double knows, and how it begins.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::time::Duration;

use super::authority::Authority;
use super::{EVERY, Failure, Now, Proof, Resource, World};

impl World {
    pub(super) fn empty(address: SocketAddr, now: Now) -> Self {
        Self {
            now,
            url: format!("http://{address}"),
            authority: Authority::new(),
            next: 0,
            nonces: HashSet::new(),
            binding: None,
            renewal_info: true,
            profiles: Vec::new(),
            challenges: vec!["http-01", "tls-alpn-01", "dns-01"],
            proofs: HashMap::from([(EVERY.to_owned(), Proof::Believed)]),
            life: Duration::from_hours(24 * 90),
            processing: (0, None),
            invalid: None,
            suggestion: None,
            suggestions: HashMap::new(),
            failures: Vec::new(),
            accounts: BTreeMap::new(),
            orders: Vec::new(),
            authorizations: BTreeMap::new(),
            issued: Vec::new(),
            seen: Vec::new(),
        }
    }

    /// A number that was not given before.
    pub(super) const fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// What is to go wrong with a request now.
    pub(super) fn failure(&mut self, resource: Resource) -> Option<Failure> {
        let at = self.failures.iter().position(|(of, _, _)| *of == resource)?;
        let (_, failure, left) = &mut self.failures[at];
        let failure = failure.clone();
        *left -= 1;
        if *left == 0 {
            self.failures.remove(at);
        }
        Some(failure)
    }

    pub(super) fn proof(&self, host: &str) -> Proof {
        self.proofs.get(host).or_else(|| self.proofs.get(EVERY)).expect("one for every host").clone()
    }
}
