//! A tunnel in front (ngrok, cloudflared) that the configuration does not know of.

use super::issuer::Issuer;
use super::network::Network;
use super::problem::Findings;
use super::services::Checked;
use crate::host::Tunnel;
use crate::trouble::Trouble;

/// Says that a tunnel leads here, where the configuration does not know of it: what it passes on would count as everybody's own
/// request, and TLS would never arrive.
pub(super) fn remark(issuer: &Issuer, network: &Network, services: &[Checked], findings: &mut Findings) {
    if !network.trusted_proxies.is_empty() || network.published_on_loopback {
        return;
    }
    let services = services.iter().map(|service| (service.url_at, &service.settings.url));
    for (at, url) in std::iter::once((issuer.at, &issuer.url)).chain(services) {
        let host = url.host_str().unwrap_or_default();
        if Tunnel::of(host).is_some_and(|tunnel| tunnel.ends_tls) {
            let text = format!(
                "{host} is a tunnel's host, which speaks TLS by itself; write tls: off, and trusted_proxies: [127.0.0.1, \"::1\"] \
                 for a tunnel whose program runs on this machine"
            );
            findings.remark_as(Trouble::Tunnel, at, text);
        }
    }
}
