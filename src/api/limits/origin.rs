//! Where a request comes from: the address of its connection, or the one that a trusted proxy names.

use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use tonic::codegen::http::{Extensions, HeaderMap};
use tonic::transport::server::{TcpConnectInfo, TlsConnectInfo};

/// Where proxies write down whom they speak for.
const FORWARDED: &str = "x-forwarded-for";

/// A range of addresses, `10.0.0.0/8` or one address alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: u128,
    mask: u128,
}

impl FromStr for Network {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Network, &'static str> {
        const WRONG: &str = "is no network, such as 10.0.0.0/8, 2001:db8::/32 or 192.0.2.1";
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix.parse::<u32>().map_err(|_| WRONG)?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| WRONG)?;
        let before = if address.is_ipv4() { 96 } else { 0 };
        let bits = prefix.map_or(128, |prefix| prefix.saturating_add(before));
        if bits > 128 {
            return Err(WRONG);
        }
        let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
        Ok(Network { address: wide(address) & mask, mask })
    }
}

impl Network {
    fn holds(self, address: IpAddr) -> bool {
        wide(address) & self.mask == self.address
    }
}

/// An address as one of IPv6, those of IPv4 mapped.
fn wide(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(four) => four.to_ipv6_mapped().to_bits(),
        IpAddr::V6(six) => six.to_bits(),
    }
}

/// Whom to believe, and whom not to limit.
#[derive(Clone, Debug, Default)]
pub struct Origins {
    /// Proxies that are believed when they say whom they speak for.
    pub proxies: Vec<Network>,
    /// Who is never limited.
    pub unlimited: Vec<Network>,
    /// Whether this machine itself is limited too.
    pub limit_loopback: bool,
}

impl Origins {
    /// Where a request comes from, if it came over a network.
    pub(in crate::api) fn of(
        &self,
        extensions: &Extensions,
        headers: &HeaderMap,
    ) -> Option<IpAddr> {
        let plain = extensions.get::<TcpConnectInfo>();
        let tls = extensions.get::<TlsConnectInfo<TcpConnectInfo>>();
        let info = plain.or_else(|| tls.map(TlsConnectInfo::get_ref));
        let peer = info?.remote_addr()?.ip().to_canonical();
        let values = headers.get_all(FORWARDED).iter();
        let forwarded: Vec<&str> = values.filter_map(|value| value.to_str().ok()).collect();
        Some(self.behind(peer, &forwarded))
    }

    /// The last address on the way that is none of our proxies, by the values of `x-forwarded-for`.
    /// What lies before it, anybody may have written.
    pub(super) fn behind(&self, peer: IpAddr, forwarded: &[&str]) -> IpAddr {
        let mut nearest = peer;
        for text in forwarded.iter().flat_map(|value| value.split(',')).rev() {
            if !self.is_proxy(nearest) {
                break;
            }
            let Some(address) = read(text.trim()) else { break };
            nearest = address.to_canonical();
        }
        nearest
    }

    fn is_proxy(&self, address: IpAddr) -> bool {
        self.proxies.iter().any(|network| network.holds(address))
    }

    /// Whether the address is never limited.
    pub(super) fn is_unlimited(&self, address: IpAddr) -> bool {
        (address.is_loopback() && !self.limit_loopback)
            || self.unlimited.iter().any(|network| network.holds(address))
    }
}

/// An address with or without a port, of IPv6 with or without brackets.
fn read(text: &str) -> Option<IpAddr> {
    let bare = text.trim_start_matches('[').split(']').next()?;
    let socket = || text.parse::<std::net::SocketAddr>().map(|it| it.ip());
    bare.parse().or_else(|_| socket()).ok()
}

/// What counts as one address: of IPv6 the network that a customer is given, from which every
/// address is free to be taken.
pub(super) fn site(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(_) => wide(address),
        IpAddr::V6(six) => Ipv6Addr::from_bits(six.to_bits() >> 64 << 64).to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn networks_hold_what_lies_in_them() {
        let holds =
            |network: &str, address: &str| network.parse::<Network>().unwrap().holds(ip(address));
        assert!(holds("10.0.0.0/8", "10.255.0.1"));
        assert!(!holds("10.0.0.0/8", "11.0.0.1"));
        assert!(holds("10.1.2.3/8", "10.9.9.9"), "what lies beyond the prefix does not matter");
        assert!(holds("192.0.2.1", "192.0.2.1") && !holds("192.0.2.1", "192.0.2.2"));
        assert!(holds("2001:db8::/32", "2001:db8:1::1"));
        assert!(holds("0.0.0.0/0", "9.9.9.9") && !holds("0.0.0.0/0", "2001:db8::1"));
        assert!(holds("::/0", "2001:db8::1"));
        for bad in ["", "10.0.0.0/33", "::/129", "10.0.0.0/", "ten", "10.0.0.0/-1"] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
    }

    #[test]
    fn of_ipv6_a_whole_network_counts_as_one() {
        assert_eq!(site(ip("2001:db8:1:2::1")), site(ip("2001:db8:1:2:ffff::9")));
        assert_ne!(site(ip("2001:db8:1:2::1")), site(ip("2001:db8:1:3::1")));
        assert_ne!(site(ip("192.0.2.1")), site(ip("192.0.2.2")));
    }

    #[test]
    fn only_trusted_proxies_are_believed_and_only_for_what_they_saw() {
        let origins =
            Origins { proxies: vec!["10.0.0.0/8".parse().unwrap()], ..Origins::default() };
        let behind =
            |peer: &str, forwarded: &[&str]| origins.behind(ip(peer), forwarded).to_string();
        assert_eq!(behind("192.0.2.1", &["198.51.100.7"]), "192.0.2.1", "no proxy of ours");
        assert_eq!(behind("10.0.0.1", &["198.51.100.7"]), "198.51.100.7");
        assert_eq!(behind("10.0.0.1", &["1.1.1.1, 198.51.100.7, 10.0.0.2"]), "198.51.100.7");
        assert_eq!(behind("10.0.0.1", &["1.1.1.1", "198.51.100.7:4711"]), "198.51.100.7");
        assert_eq!(behind("10.0.0.1", &["[2001:db8::1]:5"]), "2001:db8::1");
        assert_eq!(behind("10.0.0.1", &["unknown"]), "10.0.0.1");
        assert_eq!(behind("10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn this_machine_is_not_limited_unless_asked() {
        assert!(Origins::default().is_unlimited(ip("127.0.0.1")));
        assert!(Origins::default().is_unlimited(ip("::1")));
        let strict = Origins { limit_loopback: true, ..Origins::default() };
        assert!(!strict.is_unlimited(ip("127.0.0.1")));
        assert!(!Origins::default().is_unlimited(ip("192.0.2.1")));
    }
}
