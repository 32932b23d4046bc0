//! Which addresses are public: everything a stranger may have us connect to. Taken from IANA's special-purpose address
//! registries (RFC 6890) and from what clouds put at public-looking addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

const fn v4(a: u8, b: u8, c: u8, d: u8, length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length)
}

const fn v6(start: [u16; 3], length: u8) -> Ipv6Net {
    let [a, b, c] = start;
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0), length)
}

/// IPv4 addresses that are not public.
const SPECIAL_V4: [Ipv4Net; 19] = [
    v4(0, 0, 0, 0, 8),        // this network (RFC 791)
    v4(10, 0, 0, 0, 8),       // private use (RFC 1918)
    v4(100, 64, 0, 0, 10),    // shared by carriers (RFC 6598); Alibaba's metadata
    v4(127, 0, 0, 0, 8),      // loopback (RFC 1122)
    v4(168, 63, 129, 16, 32), // Azure's wire server, reachable from inside only
    v4(169, 254, 0, 0, 16),   // link-local (RFC 3927); the clouds' metadata
    v4(172, 16, 0, 0, 12),    // private use (RFC 1918)
    v4(192, 0, 0, 0, 24),     // protocol assignments (RFC 6890); Oracle's metadata
    v4(192, 0, 2, 0, 24),     // documentation (RFC 5737)
    v4(192, 31, 196, 0, 24),  // AS112 (RFC 7535)
    v4(192, 52, 193, 0, 24),  // AMT (RFC 7450)
    v4(192, 88, 99, 0, 24),   // 6to4 relays (RFC 7526)
    v4(192, 168, 0, 0, 16),   // private use (RFC 1918)
    v4(192, 175, 48, 0, 24),  // AS112 (RFC 7534)
    v4(198, 18, 0, 0, 15),    // benchmarking (RFC 2544)
    v4(198, 51, 100, 0, 24),  // documentation (RFC 5737)
    v4(203, 0, 113, 0, 24),   // documentation (RFC 5737)
    v4(224, 0, 0, 0, 4),      // multicast (RFC 5771)
    v4(240, 0, 0, 0, 4),      // reserved, and broadcast (RFC 1112)
];

/// Where public IPv6 addresses are (RFC 4291 §2.4). Outside of it are loopback, IPv4-mapped and IPv4-compatible,
/// unique local, link-local and site-local addresses, multicast, segment routing, and what was never assigned.
const GLOBAL_UNICAST: Ipv6Net = v6([0x2000, 0, 0], 3);

/// What is not public within [`GLOBAL_UNICAST`]. 6to4 and Teredo carry an IPv4 address and are dead: none is let through.
const SPECIAL_V6: [Ipv6Net; 5] = [
    v6([0x2001, 0, 0], 23), // protocol assignments (RFC 2928), Teredo (RFC 4380) and ORCHID among them
    v6([0x2001, 0xdb8, 0], 32), // documentation (RFC 3849)
    v6([0x2002, 0, 0], 16), // 6to4 (RFC 3056)
    v6([0x2620, 0x4f, 0x8000], 48), // AS112 (RFC 7534)
    v6([0x3fff, 0, 0], 20), // documentation (RFC 9637)
];

/// NAT64 (RFC 6052 §2.1): a resolver of a network without IPv4 writes every IPv4 address like this.
const NAT64: Ipv6Net = v6([0x64, 0xff9b, 0], 96);

/// Whether `address` is one of the public internet. An address that carries another one is judged by that one where a
/// resolver may have made it (NAT64), and refused where only a name's owner can have (IPv4-mapped, 6to4, Teredo).
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !SPECIAL_V4.iter().any(|net| net.contains(&address)),
        IpAddr::V6(address) if NAT64.contains(&address) => {
            let [.., a, b, c, d] = address.octets();
            is_public(Ipv4Addr::new(a, b, c, d).into())
        }
        IpAddr::V6(address) => {
            GLOBAL_UNICAST.contains(&address) && !SPECIAL_V6.iter().any(|net| net.contains(&address))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    // M4
    #[test]
    fn addresses_of_the_internet_are_public() {
        for public in
            "93.184.216.34 1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 \
             128.0.0.0 169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 192.0.1.0 192.167.255.255 \
             192.169.0.0 198.17.255.255 198.20.0.0 223.255.255.255 168.63.129.15 2606:4700:4700::1111 \
             2a00:1450:4001::1 2001:200::1 2001:4860:4860::8888 2003::1 3ffe:ffff::1 64:ff9b::5db8:d822"
                .split_whitespace()
        {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
    }

    // M4: the first and the last address of each network, and the ways in which one address is put into another.
    #[test]
    fn special_addresses_are_not_public() {
        for special in
            "0.0.0.0 0.255.255.255 10.0.0.0 10.255.255.255 100.64.0.0 100.127.255.255 100.100.100.200 \
             127.0.0.1 127.255.255.255 168.63.129.16 169.254.0.0 169.254.169.254 169.254.255.255 172.16.0.0 \
             172.31.255.255 192.0.0.0 192.0.0.192 192.0.0.255 192.0.2.1 192.31.196.1 192.52.193.1 \
             192.88.99.1 192.168.0.0 192.168.255.255 192.175.48.1 198.18.0.0 198.19.255.255 198.51.100.7 \
             203.0.113.255 224.0.0.1 239.255.255.255 240.0.0.0 255.255.255.255 :: ::1 ::ffff:10.0.0.1 \
             ::ffff:93.184.216.34 ::127.0.0.1 ::93.184.216.34 ::ffff:0:10.0.0.1 64:ff9b::10.0.0.1 \
             64:ff9b::127.0.0.1 64:ff9b::169.254.169.254 64:ff9b:1::5db8:d822 100::1 100:0:0:1::1 2001::1 \
             2001:0:4136:e378:8000:63bf:3fff:fdd2 2001:1::1 2001:2::1 2001:10::1 2001:20::1 2001:1ff:ffff::1 \
             2001:db8::1 2001:db8:ffff::1 2002:a00:1::1 2002:5db8:d822::1 2620:4f:8000::1 3fff::1 \
             3fff:fff:ffff::1 4000::1 5f00::1 fc00::1 fd00:ec2::254 fd20:ce::254 fe80::1 febf::1 fec0::1 \
             ff00::1 ff02::1"
                .split_whitespace()
        {
            assert!(!is_public(special.parse().unwrap()), "{special}");
        }
    }

    proptest! {
        // M4: no way of writing an address that is not public into an IPv6 address makes it public.
        #[test]
        fn an_address_stays_what_it_is_in_every_disguise(bits: u32) {
            let inner = Ipv4Addr::from_bits(bits);
            let [a, b, c, d] = inner.octets();
            let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
            let nat64 = Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low);
            prop_assert_eq!(is_public(nat64.into()), is_public(inner.into()));
            for never in [inner.to_ipv6_mapped(), inner.to_ipv6_compatible(), Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1)] {
                prop_assert!(!is_public(never.into()), "{}", never);
            }
        }

        // M4: where the standard library has an opinion, ours is no more generous.
        #[test]
        fn the_standard_library_finds_nothing_special_in_a_public_address(bits: u32) {
            let ip = Ipv4Addr::from_bits(bits);
            if is_public(ip.into()) {
                let special = ip.is_loopback() || ip.is_private() || ip.is_link_local() || ip.is_multicast();
                prop_assert!(!special && !ip.is_documentation() && !ip.is_broadcast() && !ip.is_unspecified());
            }
        }
    }
}
