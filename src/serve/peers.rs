//! Whose connections are accepted: decided before a byte is read.

use std::net::{IpAddr, Ipv4Addr};

use super::Peers;

/// The rule, with what it needs to know of the machine.
#[derive(Debug)]
pub(super) struct Admitted {
    peers: Peers,
    gateways: Vec<Ipv4Addr>,
}

impl Admitted {
    /// Looks up the default gateway if the rule is about it.
    pub(super) fn new(peers: Peers) -> Self {
        let gateways = match peers {
            Peers::LoopbackAndDefaultGateway => default_gateways(),
            Peers::Anybody | Peers::Loopback | Peers::Networks(_) => Vec::new(),
        };
        Self { peers, gateways }
    }

    /// Whether `address` may connect.
    pub(super) fn admits(&self, address: IpAddr) -> bool {
        // On a socket for both families, IPv4 addresses look like [::ffff:192.0.2.1].
        let address = address.to_canonical();
        match &self.peers {
            Peers::Anybody => true,
            Peers::Loopback => address.is_loopback(),
            Peers::LoopbackAndDefaultGateway => {
                address.is_loopback() || self.gateways.iter().any(|gateway| *gateway == address)
            }
            Peers::Networks(networks) => {
                address.is_loopback() || networks.iter().any(|network| network.contains(&address))
            }
        }
    }
}

fn default_gateways() -> Vec<Ipv4Addr> {
    match std::fs::read_to_string("/proc/net/route") {
        Ok(routes) => gateways(&routes),
        Err(error) => {
            tracing::warn!(%error, "the default gateway is not known: only loopback peers are accepted");
            Vec::new()
        }
    }
}

/// The gateways of the default routes in Linux's `/proc/net/route`: hexadecimal, in the machine's byte order.
fn gateways(routes: &str) -> Vec<Ipv4Addr> {
    const RTF_GATEWAY: u32 = 2;
    let number = |text: &str| u32::from_str_radix(text, 16).ok();
    let gateway = |line: &str| {
        let columns: Vec<_> = line.split_whitespace().collect();
        let &[_, destination, gateway, flags, _, _, _, mask, ..] = columns.as_slice() else { return None };
        let is_default = number(destination)? == 0 && number(mask)? == 0 && number(flags)? & RTF_GATEWAY != 0;
        is_default.then(|| number(gateway).map(|gateway| Ipv4Addr::from(gateway.to_ne_bytes())))?
    };
    routes.lines().filter_map(gateway).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(admitted: &Admitted, address: &str) -> bool {
        admitted.admits(address.parse().unwrap())
    }

    #[test]
    fn loopback_means_every_loopback_address_of_both_families() {
        let admitted = Admitted::new(Peers::Loopback);
        for address in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert!(admits(&admitted, address), "{address}");
        }
        for address in ["192.0.2.1", "::ffff:192.0.2.1", "2001:db8::1", "0.0.0.0", "::"] {
            assert!(!admits(&admitted, address), "{address}");
        }
    }

    #[test]
    fn trusted_proxies_are_their_networks_and_loopback() {
        let networks = vec!["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
        let admitted = Admitted::new(Peers::Networks(networks));
        for address in ["10.1.2.3", "::ffff:10.1.2.3", "2001:db8::7", "127.0.0.1", "::1"] {
            assert!(admits(&admitted, address), "{address}");
        }
        for address in ["11.0.0.1", "::ffff:11.0.0.1", "2001:db9::7"] {
            assert!(!admits(&admitted, address), "{address}");
        }
    }

    #[test]
    fn the_default_gateway_is_found_among_the_routes() {
        let routes = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
            eth0\t00000000\t010011AC\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
            eth0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n\
            eth1\t00000000\t010012AC\t0003\t0\t0\t0\t000000FF\t0\t0\t0\n\
            eth1\t0000000A\t010013AC\t0003\t0\t0\t0\t000000FF\t0\t0\t0\n\
            broken line\n";
        assert_eq!(gateways(routes), [Ipv4Addr::new(172, 17, 0, 1)]);
        let admitted = Admitted { peers: Peers::LoopbackAndDefaultGateway, gateways: gateways(routes) };
        for address in ["172.17.0.1", "::ffff:172.17.0.1", "127.0.0.1"] {
            assert!(admits(&admitted, address), "{address}");
        }
        for address in ["172.17.0.2", "172.18.0.1", "192.0.2.1"] {
            assert!(!admits(&admitted, address), "{address}");
        }
    }

    #[test]
    fn with_tls_anybody_may_connect() {
        assert!(admits(&Admitted::new(Peers::Anybody), "192.0.2.1"));
    }
}
