//! Networks in the notation of RFC 4632: an address and how many of its leading bits count.

use std::fmt;
use std::net::{AddrParseError, IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};

/// A network, its host bits all zero.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Cidr {
    base: IpAddr,
    prefix_bits: u8,
}

#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CidrError {
    #[error("`{0}` is not an IP address")]
    Address(String),
    #[error("`{prefix}` is not a prefix length")]
    Prefix { prefix: String, prefix_bits_max: u8 },
    #[error("`{given}` has bits set beyond its prefix")]
    HostBits { given: String, corrected: Cidr },
}

impl CidrError {
    /// What to do about it.
    pub fn help(&self) -> String {
        match self {
            Self::Address(_) => "write a network as in `10.0.0.0/8` or `::1`".to_owned(),
            Self::Prefix { prefix_bits_max, .. } => format!("write a number from 0 to {prefix_bits_max}"),
            Self::HostBits { corrected, .. } => format!("write `{corrected}`"),
        }
    }
}

impl Cidr {
    /// Whether the address lies in the network. An IPv4-mapped IPv6 address (`::ffff:10.0.0.1`, what a dual-stack
    /// socket reports for an IPv4 peer) counts as the IPv4 address that it stands for.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.base, address.to_canonical()) {
            (IpAddr::V4(base), IpAddr::V4(address)) => base == masked_v4(address, self.prefix_bits),
            (IpAddr::V6(base), IpAddr::V6(address)) => base == masked_v6(address, self.prefix_bits),
            _ => false,
        }
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    /// `10.0.0.0/8`, `2001:db8::/32`, or a bare address, which is a network of its own.
    fn from_str(text: &str) -> Result<Self, CidrError> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_: AddrParseError| CidrError::Address(address.into()))?;
        let prefix_bits_max = if address.is_ipv4() { 32 } else { 128 };
        let prefix_bits = match prefix {
            Some(prefix) => prefix_from(prefix, prefix_bits_max)?,
            None => prefix_bits_max,
        };
        let base = match address {
            IpAddr::V4(address) => IpAddr::V4(masked_v4(address, prefix_bits)),
            IpAddr::V6(address) => IpAddr::V6(masked_v6(address, prefix_bits)),
        };
        let network = Self { base, prefix_bits };
        if base != address {
            return Err(CidrError::HostBits { given: text.into(), corrected: network });
        }
        Ok(network.unmapped())
    }
}

impl Cidr {
    /// Its lowest and its highest address.
    pub(super) fn ends(&self) -> (IpAddr, IpAddr) {
        let last = match self.base {
            IpAddr::V4(base) => {
                let host_bits = u32::MAX.checked_shr(self.prefix_bits.into()).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from_bits(base.to_bits() | host_bits))
            }
            IpAddr::V6(base) => {
                let host_bits = u128::MAX.checked_shr(self.prefix_bits.into()).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from_bits(base.to_bits() | host_bits))
            }
        };
        (self.base, last)
    }

    /// `::ffff:10.0.0.0/104` names the same peers as `10.0.0.0/8`, and only the latter is ever compared.
    fn unmapped(self) -> Self {
        match self.base {
            IpAddr::V6(base) if self.prefix_bits >= MAPPED_BITS => match base.to_ipv4_mapped() {
                Some(base) => Self { base: IpAddr::V4(base), prefix_bits: self.prefix_bits - MAPPED_BITS },
                None => self,
            },
            _ => self,
        }
    }
}

impl<'de> Deserialize<'de> for Cidr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(VisitCidr)
    }
}

struct VisitCidr;

impl Visitor<'_> for VisitCidr {
    type Value = Cidr;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a network as in `10.0.0.0/8` or `::1`")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Cidr, E> {
        text.parse().map_err(|error: CidrError| {
            let help = error.help();
            E::invalid_value(Unexpected::Str(text), &help.strip_prefix("write ").unwrap_or(&help))
        })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix_bits)
    }
}

/// Digits only: `str::parse` would also take `+8`.
fn prefix_from(prefix: &str, prefix_bits_max: u8) -> Result<u8, CidrError> {
    let digits = !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_digit());
    match prefix.parse() {
        Ok(prefix_bits) if digits && prefix_bits <= prefix_bits_max => Ok(prefix_bits),
        _ => Err(CidrError::Prefix { prefix: prefix.into(), prefix_bits_max }),
    }
}

fn masked_v4(address: Ipv4Addr, prefix_bits: u8) -> Ipv4Addr {
    let mask = u32::MAX.checked_shl(32 - u32::from(prefix_bits)).unwrap_or(0);
    Ipv4Addr::from_bits(address.to_bits() & mask)
}

fn masked_v6(address: Ipv6Addr, prefix_bits: u8) -> Ipv6Addr {
    let mask = u128::MAX.checked_shl(128 - u32::from(prefix_bits)).unwrap_or(0);
    Ipv6Addr::from_bits(address.to_bits() & mask)
}

/// Length of the prefix `::ffff:0:0/96`, under which IPv6 holds IPv4's addresses (RFC 4291 §2.5.5.2).
const MAPPED_BITS: u8 = 96;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(network: &str, inside: &[&str], outside: &[&str]) {
        let network: Cidr = network.parse().unwrap();
        for address in inside {
            assert!(network.contains(address.parse().unwrap()), "{network} lacks {address}");
        }
        for address in outside {
            assert!(!network.contains(address.parse().unwrap()), "{network} has {address}");
        }
    }

    #[track_caller]
    fn check_refused(text: &str, message: &str) {
        let error = text.parse::<Cidr>().unwrap_err();
        assert_eq!(format!("{error}: {}", error.help()), message);
    }

    #[test]
    fn a_network_holds_its_own_and_no_neighbour() {
        check("10.0.0.0/8", &["10.0.0.0", "10.255.255.255"], &["9.255.255.255", "11.0.0.0", "::a00:1"]);
        check("192.168.4.0/22", &["192.168.7.255"], &["192.168.8.0", "192.168.3.255"]);
        check("2001:db8::/33", &["2001:db8:7fff::1"], &["2001:db8:8000::", "2001:db9::"]);
    }

    #[test]
    fn the_ends_of_the_prefix_range_work() {
        check("0.0.0.0/0", &["0.0.0.0", "255.255.255.255", "::ffff:1.2.3.4"], &["::1"]);
        check("::/0", &["::1", "ffff::"], &["1.2.3.4", "::ffff:1.2.3.4"]);
        check("127.0.0.1", &["127.0.0.1"], &["127.0.0.2"]);
        check("::1", &["::1"], &["::2", "127.0.0.1"]);
    }

    #[test]
    fn a_mapped_address_is_the_ipv4_address_it_stands_for() {
        check("10.0.0.0/8", &["::ffff:10.1.2.3"], &["::ffff:11.0.0.1"]);
        check("::ffff:10.0.0.0/104", &["::ffff:10.1.2.3", "10.1.2.3"], &["11.0.0.1"]);
    }

    #[test]
    fn what_is_refused_says_what_to_write() {
        check_refused("10.0.0.1/8", "`10.0.0.1/8` has bits set beyond its prefix: write `10.0.0.0/8`");
        check_refused("2001:db8::1/64", "`2001:db8::1/64` has bits set beyond its prefix: write `2001:db8::/64`");
        check_refused("10.0.0.0/33", "`33` is not a prefix length: write a number from 0 to 32");
        check_refused("::/129", "`129` is not a prefix length: write a number from 0 to 128");
        check_refused("10.0.0.0/+8", "`+8` is not a prefix length: write a number from 0 to 32");
        check_refused("10.0.0.0/", "`` is not a prefix length: write a number from 0 to 32");
        check_refused("10.0/8", "`10.0` is not an IP address: write a network as in `10.0.0.0/8` or `::1`");
        check_refused("internal", "`internal` is not an IP address: write a network as in `10.0.0.0/8` or `::1`");
    }
}
