//! `forward_auth` of a service: that another proxy asks about its requests, and what cannot be had then.

use super::problem::{Findings, Position};
use super::raw::{File, Given, Service};

/// Whether it is on. What needs the gateway on the requests' way is refused beside it: nobody else seals session ids for their
/// user, and knows the replica of each.
pub(super) fn check(raw: &Service, findings: &mut Findings) -> bool {
    let Some(at) = asked(raw) else { return false };
    let has = |texts: &Option<Given<Vec<Given<String>>>>, more_than: usize| {
        texts.as_ref().and_then(|given| given.value.as_ref()).is_some_and(|texts| texts.len() > more_than)
    };
    if has(&raw.paths, 0) {
        let text = "`forward_auth` beside `paths`, whose sessions are safe only where requests go through Portcullis; take \
                    one of the two away";
        findings.refuse(at, text);
    }
    if has(&raw.upstream, 1) {
        let text = "`forward_auth` beside several replicas, of which only Portcullis knows where a session lives; write \
                    one, or take `forward_auth` away";
        findings.refuse(at, text);
    }
    true
}

/// Refuses what nobody could ask for: it takes a listener, and a proxy that is believed.
pub(super) fn check_asked(raw: &File, findings: &mut Findings) {
    let services = raw.services.as_ref().and_then(|given| given.value.as_ref());
    let mut services = services.into_iter().flat_map(|services| services.values());
    let Some(at) = services.find_map(|given| asked(given.value.as_ref()?)) else { return };
    let listen = raw.listen.as_ref().map(|given| given.value.as_ref());
    // Of a section that is refused nothing more is said.
    if listen.is_none_or(|listen| listen.is_some_and(|listen| listen.internal.is_none())) {
        let text = "`forward_auth` is asked for at the internal listener; write listen: { internal: localhost:9400 }";
        findings.refuse(at, text);
    }
    if raw.trusted_proxies.is_none() {
        let text = "`forward_auth` is asked for by a proxy; write its address under `trusted_proxies` \
                    ([127.0.0.1, \"::1\"] for one on this machine)";
        findings.refuse(at, text);
    }
}

/// Where it is turned on.
fn asked(raw: &Service) -> Option<Position> {
    raw.forward_auth.as_ref().filter(|given| given.value == Some(true)).map(|given| given.at)
}
